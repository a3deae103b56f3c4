/* SPDX-License-Identifier: MIT */
/* sleep - waiting for a moment and for nothing else */
#include "weft/time.h"

#include <errno.h>

#include "sched/clock.h"
#include "timers/waiting.h"

int64_t weft_now(void) { return clock_now(); }

int64_t weft_after(int64_t ns)
{
    int64_t at;
    return __builtin_add_overflow(clock_now(), ns, &at) ? WEFT_FOREVER : at;
}

int weft_sleep(int64_t deadline)
{
    struct fiber *self;
    int64_t until = deadline;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    r = waiting_admit(self, &until);
    if (r == 0) {
        wait_open(self);
        r = waiting_park(self, until);
    }
    /* its own time has come, or somebody else's before it? */
    return r == -ETIMEDOUT && until >= deadline ? 0 : r;
}
