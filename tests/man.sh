#!/bin/bash
# SPDX-License-Identifier: MIT
#
# man - the manual says what the headers say
#
# Every public function has a page, or an alias of one, with its prototype and with every error that its comment in the header
# names; every page has all sections, renders without a warning, and refers to pages that are there; every example compiles, and
# where the library is built it runs and exits with 0. Prints 'N passed, N failed'.
set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C
dir=runtime/man
bin=${WEFT_BIN:-$PWD/build/${FLAVOR:-release}/bin}
headers=(runtime/weft.h ./*/weft/*.h)
version=$(sed -n 's/^#define WEFT_VERSION "\(.*\)"/\1/p' runtime/weft.h)
passed=0 failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

check() { # WHAT COMMAND...: one test
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $what"
        sed 's/^/  | /' "$work/said" | head -n 20
    fi
}

# ---- the headers ---------------------------------------------------------------------------------------------------------

# "name;prototype;codes" for each function. A comment belongs to the functions that follow it without a blank line; [W] stands
# for the four codes of every call that waits.
declared() {
    awk '
        function codes(text,   all, code) {
            if (text ~ /\[W\]/) all = " -ECANCELED -ETIMEDOUT -EDEADLK -ESTALE"
            while (match(text, /-E[A-Z][A-Z0-9]+/)) {
                code = substr(text, RSTART, RLENGTH)
                text = substr(text, RSTART + RLENGTH)
                all = all " " code
            }
            return all
        }
        FNR == 1 { above = "" }
        /^[ \t]*$/ { above = ""; next }
        /^WEFT_API/ {
            text = $0
            while (text !~ /;/ && (getline line) > 0) text = text " " line
            proto = text
            sub(/;.*/, "", proto); sub(/^WEFT_API +/, "", proto); sub(/^WEFT_NORETURN/, "_Noreturn", proto)
            gsub(/[ \t]+/, " ", proto)
            name = proto
            sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
            own = text
            sub(/^[^;]*;/, "", own)
            while (own ~ /\/\*/ && own !~ /\*\// && (getline line) > 0) own = own " " line
            print name ";" proto ";" codes(above " " own)
            next
        }
        { above = above " " $0 }' "${headers[@]}"
}

# ---- the pages -----------------------------------------------------------------------------------------------------------

alias_of() { sed -n '1s/^\.so man3\///p' "$1"; }
plain() { sed 's/\\f[BIRP]//g; s/\\-/-/g; s/\\&//g; s/\\(aq/'\''/g; s/\\e/\\/g' "$1"; }

# The page that describes function NAME; nothing if there is none.
page_of() {
    local page=$dir/$1.3 other
    [ -e "$page" ] || return 1
    other=$(alias_of "$page")
    echo "${other:+$dir/}${other:-$page}"
}

# What is between section NAME and the next.
section() { plain "$2" | awk -v want=".SH $1" '/^\.SH / { on = $0 == want; next } on'; }

documented() { # NAME PROTOTYPE CODES
    local name=$1 page code bad=0
    page=$(page_of "$name") || { echo "no page"; return 1; }
    [ -e "$page" ] || { echo "$dir/$name.3 is an alias of nothing"; return 1; }
    section NAME "$page" | grep -qw "$name" || { echo "$page does not name it"; bad=1; }
    section SYNOPSIS "$page" | grep -qxF "$2;" || { echo "$page has not: $2;"; bad=1; }
    for code in $3; do
        section ERRORS "$page" | grep -qx -e "\.B $code" || { echo "$page does not list $code"; bad=1; }
    done
    return $bad
}

complete() { # PAGE
    local want bad=0
    grep -qE "^\.TH [A-Z_]+ [37] [0-9-]+ \"weft $version\" \"weft\"\$" "$1" || { echo "not of version $version"; bad=1; }
    for want in NAME SYNOPSIS DESCRIPTION CONTRACT EXAMPLE 'SEE ALSO'; do
        grep -qx "\.SH $want" "$1" || { echo "no $want"; bad=1; }
    done
    case $1 in *.7) return $bad ;; esac
    for want in 'RETURN VALUE' ERRORS; do
        grep -qx "\.SH $want" "$1" || { echo "no $want"; bad=1; }
    done
    for want in Deadline Cancellation Close Threads Memory; do
        section CONTRACT "$1" | grep -qx "\.B $want" || { echo "the contract does not speak of: $want"; bad=1; }
    done
    return $bad
}

references() { # PAGE
    local name bad=0
    for name in $(plain "$1" | grep -oE '\bweft(_[a-z0-9_]+)?\([37]\)' | sort -u | tr '()' '. '); do
        [ -e "$dir/$name" ] || { echo "$name is not there"; bad=1; }
    done
    return $bad
}

silent() { # COMMAND...: it writes nothing
    "$@" >"$work/lint" 2>&1 || true
    cat "$work/lint"
    [ ! -s "$work/lint" ]
}
render() { groff -man -ww -Tascii "$1" >/dev/null; }
by_groff() { silent render "$1"; }
by_mandoc() { silent mandoc -T lint -W warning "$1"; }

known_alias() { # FILE: of a page that names it, or of the page of its noun
    local other name=${1##*/}
    other=$(alias_of "$1")
    if [ ! -e "$dir/$other" ] || [ -n "$(alias_of "$dir/$other")" ]; then
        echo "$other is no page"
        return 1
    fi
    [ "${name%.3}" = weft_io ] || section NAME "$dir/$other" | grep -qw "${name%.3}"
}

# ---- the examples --------------------------------------------------------------------------------------------------------

compiles() { # FILE.c
    "${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -fsyntax-only -iquote . -iquote sched -iquote timers -iquote io -Iruntime "$1"
}

runs() { # FILE.c
    local build jemalloc=
    read -r -a build <"$bin/../flags"
    case " ${build[*]} " in *' -ljemalloc '*) jemalloc=-ljemalloc ;; esac
    # shellcheck disable=SC2086
    "${build[@]}" -idirafter runtime -o "$work/example" "$1" "$bin/../lib/libweft.a" $jemalloc -pthread && timeout 60 "$work/example"
}

# --------------------------------------------------------------------------------------------------------------------------

declared >"$work/declared"
[ -s "$work/declared" ] || { echo "man: the headers declare nothing"; failed=1; }
while IFS=';' read -r name proto codes; do
    check "$name" documented "$name" "$proto" "$codes"
done <"$work/declared"

pages=()
for file in "$dir"/*.[37]; do
    if [ -n "$(alias_of "$file")" ]; then
        check "$file: alias" known_alias "$file"
    else
        pages+=("$file")
    fi
done

lint=
if command -v groff >/dev/null && groff -man -Tascii /dev/null >/dev/null 2>&1; then lint+=' by_groff'; fi
if command -v mandoc >/dev/null; then lint+=' by_mandoc'; fi
[ -n "$lint" ] || echo "man: neither groff nor mandoc is here; the pages are not rendered"

for page in "${pages[@]}"; do
    check "$page: sections" complete "$page"
    check "$page: references" references "$page"
    for by in $lint; do check "$page: $by" "$by" "$page"; done
    example=$work/$(basename "$page" | tr . _).c
    section EXAMPLE "$page" | sed -n '/^\.EX$/,/^\.EE$/{ /^\.E[XE]$/d; p }' >"$example"
    check "$page: the example compiles" compiles "$example"
    if [ -e "$bin/../lib/libweft.a" ]; then check "$page: the example runs" runs "$example"; fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
