#!/bin/sh
# SPDX-License-Identifier: MIT
#
# gdb_backtrace - at every instruction of a switch a debugger sees a whole stack
#
# Steps a program through the first switch to a fiber, a switch back and a second one, instruction by instruction. At each, gdb's
# backtrace must end in context_entry (on the fiber) or in main or what calls it, and must not be cut short by an error; so must
# that of the fiber that is not running, from the registers in its saved frame. Exit 0, 1, or 77 if there is no gdb here.

cd "$(dirname "$0")/.." || exit 1
command -v gdb >/dev/null || exit 77
gdb -nx -batch -ex 'python pass' 2>&1 | grep -q . && exit 77
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

cat >"$dir/prog.c" <<'C'
#include <stdint.h>
#include "sched/context.h"
static struct context home;
struct context side;
static char stack[65536];
static volatile int sink;
__attribute__((noinline)) static void inner(void) { context_switch(&side, &home); sink++; }
__attribute__((noinline)) static void outer(void) { inner(); sink++; }
static void entry(void *arg) { (void)arg; for (;;) outer(); }
__attribute__((noinline)) void done(void) { sink++; }
int main(void)
{
    context_init(&side, stack + sizeof stack, entry, 0);
    context_switch(&home, &side);
    context_switch(&home, &side);
    done();
    return 0;
}
C

cat >"$dir/look.py" <<'PY'
import gdb

seen, bad = {"home": 0, "fiber": 0, "parked": 0}, []

def names():
    out, f = [], gdb.newest_frame()
    while f is not None and len(out) < 50:
        out.append(f.name() or "??")
        older = f.older()
        if older is None and f.unwind_stop_reason() not in (gdb.FRAME_UNWIND_NO_REASON, gdb.FRAME_UNWIND_OUTERMOST):
            out.append(gdb.frame_stop_reason_string(f.unwind_stop_reason()))
        f = older
    return out

def check(what, n, last):
    seen[what] += 1
    if n[-1] not in last or "??" in n:
        bad.append("%s at %s: %s" % (what, gdb.selected_frame().pc(), " < ".join(n)))

def parked():
    """What a tool does with a fiber that does not run: load the frame at its sp, look, and put the registers back."""
    keep = {r: int(gdb.parse_and_eval("$" + r)) for r in ("rsp", "rip", "rbp")}
    sp = int(gdb.parse_and_eval("(long) side.sp"))
    word = lambda off: int(gdb.parse_and_eval("*(long *) %d" % (sp + off)))
    pc, fp = word(48), word(40)
    for r, v in (("rsp", sp + 56), ("rip", pc), ("rbp", fp)):
        gdb.execute("set $%s = %d" % (r, v))
    n = names()
    for r, v in keep.items():
        gdb.execute("set $%s = %d" % (r, v))
    check("parked", n, ("context_entry",))
    if n[-3:] != ["outer", "entry", "context_entry"]:
        bad.append("parked: " + " < ".join(n))

gdb.execute("set confirm off")
gdb.execute("set pagination off")
gdb.execute("break main")
gdb.execute("break done")
gdb.execute("run", to_string=True)
for i in range(2000):
    n = names()
    if n[0] == "done":
        parked()
        break
    if "context_entry" in n or "entry" in n:
        check("fiber", n, ("context_entry",))
    else:
        check("home", n, ("main", "__libc_start_call_main", "__libc_start_main", "_start"))
    gdb.execute("stepi", to_string=True)
else:
    bad.append("never got to done()")
gdb.execute("kill", to_string=True)
for b in bad:
    print(b)
if min(seen.values()) == 0:
    print("not everything was looked at:", seen)
print("%d backtraces, %d bad" % (sum(seen.values()), len(bad)))
gdb.execute("quit %d" % (1 if bad or min(seen.values()) == 0 else 0))
PY

for flags in "-O2 -fno-omit-frame-pointer" "-O0"; do
    # shellcheck disable=SC2086
    ${CC:-cc} -std=gnu11 -g $flags -I. "$dir/prog.c" sched/context_"$(uname -m)".S -o "$dir/prog" || exit 1
    gdb -nx -batch -x "$dir/look.py" "$dir/prog" >"$dir/out" 2>&1
    rc=$?
    sed -n '/^Breakpoint/d; / at .*: \|^parked: \|^never\|^not every\|backtraces,/p' "$dir/out"
    [ $rc -eq 0 ] || exit 1
done
