#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ledger - runtime/ARCHITECTURE.md says what the source says, and the check of that sees what is wrong
#
# Prints 'N passed, N failed'.
# shellcheck disable=SC2016
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0
page=$(mktemp) || exit 1
trap 'rm -f "$page" "$page.said"' EXIT

good() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    echo "FAIL $1"
    cat "$page.said"
}

# sees WHAT SED-SCRIPT: the page with this change is complained of
sees() {
    sed -E "$2" runtime/ARCHITECTURE.md >"$page"
    if cmp -s "$page" runtime/ARCHITECTURE.md; then
        echo "the change changes nothing: $2" >"$page.said"
        bad "$1"
    elif tools/checks/ledger "$page" >"$page.said"; then
        bad "$1 is not seen"
    elif ! grep -q "$1" "$page.said"; then
        bad "$1 is not what is said"
    else
        good
    fi
}

if tools/checks/ledger >"$page.said"; then good; else bad 'the page and the source differ'; fi
sees 'tags in the source that' '/^\| D1 \|/d'
sees 'tags in the ledger that' 's/^\| D1 \| deque/| D1 | deque, injector/'
sees 'tags in the ledger that' 's/^\| D1 \|/| D9 |/'
sees 'in two rows' '/^\| D1 \|/{ p; }'
sees 'rooms without a line' '/^- `deque`/d'
sees 'lines without a room' 's/^- `deque`/- `no_such_room`/'
sees 'mutants that are not named' 's/MUTANT_DEQUE_POP_FENCE//'
sees 'mutants that are not there' 's/MUTANT_DEQUE_POP_FENCE/& MUTANT_NO_SUCH/'
sees 'named, but not there' 's|`sched/fiber\.h`|`sched/no_such.h`|'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
