/* SPDX-License-Identifier: MIT */
/*
 * self - what a fiber asks or tells about itself
 *
 * Threads    the running fiber, or a thread outside (which has no id, no worker and cannot be cancelled). weft_unpark: any.
 * Tokens     of weft_park and weft_unpark lie in the handle, under its lock: TOKEN, one that came first; PARKED, somebody
 *            waits for one. Both are never set at once.
 */
#include <errno.h>

#include "runtime/rt.h"
#include "timers/waiting.h"

static struct fiber *running(void) { return thread_self()->fiber; }

weft_t weft_self(void)
{
    struct fiber *f = running();
    return f ? fiber_id(f) : 0;
}

weft_rt *weft_current(void)
{
    struct fiber *f = running();
    return f ? rt_of(f) : NULL;
}

int weft_workers(weft_rt *rt) { return rt ? (int)rt->sched.count : -EINVAL; }
const char *weft_version(void) { return WEFT_VERSION; }

int weft_worker(void)
{
    struct worker *w = thread_self()->worker;
    return w ? (int)w->index : -1;
}

/* ---- letting others run -------------------------------------------------------------------------------------------------- */

static int cancelled(const struct fiber *f) { return load_relaxed32(&f->cancel) && !f->shield ? -ECANCELED : 0; }

int weft_yield(void)
{
    struct thread *t = thread_self();
    struct fiber *f = t->fiber;
    if (!f) {
        sched_yield();
        return 0;
    }
    if (t->worker && !f->nosuspend)
        worker_leave(AFTER_YIELD);
    return cancelled(f);
}

int weft_checkpoint(void)
{
    struct thread *t = thread_self();
    struct fiber *f = t->fiber;
    if (!f)
        return 0;
    if (t->worker && load_relaxed32(&t->worker->tripwire) && worker_trip(t->worker))
        return weft_yield();
    return cancelled(f);
}

/* ---- tokens -------------------------------------------------------------------------------------------------------------- */

int weft_park(int64_t deadline)
{
    struct fiber *self;
    uint64_t handle;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (park_is_thread(self))
        return -EDEADLK;
    handle = handle_lock(self);
    if (handle & HANDLE_TOKEN) {
        handle_unlock(self, handle & ~HANDLE_TOKEN);
        return 0;
    }
    r = waiting_admit(self, &deadline);
    if (r < 0) {
        handle_unlock(self, handle);
        return r;
    }
    wait_open(self);
    handle_unlock(self, handle | HANDLE_PARKED);
    r = waiting_park(self, deadline);
    if (r < 0) {
        handle = handle_lock(self);
        handle_unlock(self, handle & ~HANDLE_PARKED);
    }
    return r;
}

int weft_unpark(weft_t id)
{
    struct fiber *f = table_lock_id(id);
    uint64_t handle;
    bool mine;
    if (!f)
        return -ESRCH;
    handle = load_relaxed64(&f->handle) & ~HANDLE_LOCKED;
    mine = handle & HANDLE_PARKED && wait_claim(f, WAIT_EVENT);
    /* a waiter that is just giving up leaves the token for its next park */
    handle_unlock(f, mine ? handle & ~HANDLE_PARKED : handle | HANDLE_TOKEN);
    if (mine)
        ready(f);
    return 0;
}

/* ---- flags --------------------------------------------------------------------------------------------------------------- */

int weft_cancelled(void)
{
    struct fiber *f = running();
    return f && load_relaxed32(&f->cancel);
}

int weft_shield(int on)
{
    struct fiber *f = park_self();
    int before = f ? (int)f->shield : 0;
    if (f)
        f->shield = on != 0;
    return before;
}

int weft_nosuspend(int on)
{
    struct fiber *f = park_self();
    int before = f ? (int)f->nosuspend : 0;
    if (f)
        f->nosuspend = on != 0;
    return before;
}

int weft_pin(int on)
{
    struct thread *t = thread_self();
    struct fiber *f = t->fiber;
    int before = f && f->pin >= 0;
    if (f && t->worker)
        f->pin = on ? (int32_t)t->worker->index : -1;
    return before;
}

int64_t weft_deadline(int64_t deadline)
{
    struct fiber *f = park_self();
    int64_t before = f ? f->deadline : WEFT_FOREVER;
    if (f && deadline < before)
        f->deadline = deadline;
    return before;
}

void weft_deadline_restore(int64_t previous)
{
    struct fiber *f = park_self();
    if (f)
        f->deadline = previous;
}

/* ---- blocking ------------------------------------------------------------------------------------------------------------ */

int weft_block_begin(void)
{
    struct thread *t = thread_self();
    struct fiber *f = t->fiber;
    if (!f || !t->worker || f->pin >= 0)
        return -EINVAL;
    return sched_block_begin(&rt_of(f)->threads);
}

int weft_block_end(void)
{
    struct thread *t = thread_self();
    if (!t->fiber || t->worker)
        return -EINVAL;
    sched_block_end();
    return 0;
}
