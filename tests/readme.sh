#!/bin/bash
# SPDX-License-Identifier: MIT
#
# readme - what README.md shows works
#
# Its program compiles, runs and prints what it should; so it does by the commands for an installed weft; every make target and
# every file that is named is there. Prints 'N passed, N failed'.
# shellcheck disable=SC2016
set -u
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
flavor=${WEFT_FLAVOR:-${FLAVOR:-release}}
bin=${WEFT_BIN:-$PWD/build/$flavor/bin}
cc=${CC:-cc}
passed=0 failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $what"
        sed 's/^/  | /' "$work/said" | tail -n 20
    fi
}

# block KIND N: the N-th block of code of this kind
block() {
    awk -v kind="\`\`\`$1" -v n="$2" '
        on && /^```$/ { on = 0 }
        on
        $0 == kind { seen++; on = seen == n }' README.md
}

prints_36() { [ "$("$@")" = 36 ]; }

program_runs() {
    local build jemalloc=
    read -r -a build <"$bin/../flags"
    case " ${build[*]} " in *' -ljemalloc '*) jemalloc=-ljemalloc ;; esac
    # shellcheck disable=SC2086
    "${build[@]}" -idirafter runtime -o "$work/static" "$work/prog.c" "$bin/../lib/libweft.a" $jemalloc -pthread &&
        prints_36 "$work/static"
}

short() { # at most 15 lines of C, blank ones not counted, and two screens before the map
    local lines before
    lines=$(grep -c . "$work/prog.c")
    before=$(grep -n '^## The source' README.md | cut -d: -f1)
    echo "$lines lines of C, $before before the map"
    [ "$lines" -le 15 ] && [ "$before" -le 100 ]
}

# The lines of the block "Use it in your program", with another prefix; make in the root, the rest beside the program.
installed_runs() {
    local line prefix=$work/prefix
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
    while IFS= read -r line; do
        line=${line//\/usr\/local/$prefix}
        case $line in
        'make '*) sh -ec "${line/make /make -s FLAVOR=$flavor CC=$cc }" || return 1 ;;
        'cc '*) (cd "$work" && sh -ec "${line/#cc /$cc }") || return 1 ;;
        *) echo "not understood: $line"; return 1 ;;
        esac
    done < <(block sh 2)
    prints_36 "$work/prog"
}

manual_is_installed() {
    [ -e "$work/prefix/share/man/man7/weft.7" ] && [ -e "$work/prefix/share/man/man3/weft_join.3" ]
}

targets_are_there() {
    local target bad=0
    while read -r target; do
        grep -qE "^$target:" Makefile || { echo "no target $target"; bad=1; }
    done < <(grep -oE '(^|`)make [a-z]+\b' README.md | cut -d' ' -f2 | sort -u)
    return $bad
}

files_are_there() {
    local file bad=0
    for file in $(grep -oE '\]\([^)#:]+\)' README.md | tr -d '])(' | sort -u) \
                $(grep -oE '\btools/(checks|bench|examples)[a-z_/]*' README.md | sort -u); do
        [ -e "$file" ] || { echo "no $file"; bad=1; }
    done
    for file in $(grep -oE '`(index|echo|fib|pipeline)`' README.md | tr -d '`'); do
        [ -e "tools/examples/$file.c" ] || { echo "no tools/examples/$file.c"; bad=1; }
    done
    return $bad
}

block c 1 >"$work/prog.c"
check 'the program runs' program_runs
check 'short' short
check 'the program runs by an installed weft' installed_runs
check 'the manual is installed' manual_is_installed
check 'targets' targets_are_there
check 'files' files_are_there
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
