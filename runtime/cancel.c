/* SPDX-License-Identifier: MIT */
/* cancel - see cancel.h */
#include "runtime/cancel.h"

#include <errno.h>

#include "runtime/weft.h"
#include "sched/park.h"

void cancel_locked(struct fiber *f, struct chain *c)
{
    if (wait_cancel(f))
        ready_later(f, c);
}

int weft_cancel(weft_t id)
{
    struct fiber *f = table_lock_id(id);
    struct chain c = { NULL, NULL, 0, NULL };
    if (!f)
        return -ESRCH;
    c.sched = f->sched;
    if (f->sched && !(f->flags & FIBER_INTERNAL))
        cancel_locked(f, &c);
    handle_unlock(f, load_relaxed64(&f->handle) & ~HANDLE_LOCKED);
    if (c.head)
        worker_queue(chain_pop(&c));
    return c.sched ? 0 : -ESRCH;
}
