/* SPDX-License-Identifier: MIT */
/* members - see members.h */
#include "runtime/members.h"

#include <limits.h>

#include "runtime/cancel.h"
#include "timers/waiting.h"

static struct fiber *members(const struct weft_group *g) { return g->members_.head; }

struct chain members_chain(void)
{
    struct fiber *self = thread_self()->fiber;
    struct chain c = { NULL, NULL, 0, self ? self->sched : NULL };
    return c;
}

void members_unlock(struct weft_group *g)
{
    word_unlock(waiting_word(&g->word_), g->waiters_.head || g->spawners_.head ? WORD_WAITERS : 0);
}

struct members_wakes members_leave(struct weft_group *g)
{
    struct members_wakes w = { NULL, NULL };
    if (--g->count_ == 0)
        w.waiters = waiting_pop_all(waiting_queue(&g->waiters_), g->first_);
    if ((w.spawner = wait_pop(waiting_queue(&g->spawners_))) != NULL) {
        g->count_++;                            /* the place is handed over, nobody can slip in between */
        w.spawner->result = 0;
    }
    return w;
}

void members_wake(struct members_wakes w)
{
    waiting_ready_all(w.waiters);
    if (w.spawner)
        ready(w.spawner->fiber);
}

void members_cancel(struct weft_group *g, struct chain *c)
{
    g->cancelled_ = 1;
    for (struct fiber *f = members(g); f; f = f->group_next) {
        uint64_t handle = handle_lock(f);
        cancel_locked(f, c);
        handle_unlock(f, handle);
    }
}

void members_add(struct weft_group *g, struct fiber *f)
{
    struct fiber *first;
    word_lock(waiting_word(&g->word_));
    first = members(g);
    f->group_prev = NULL;
    f->group_next = first;
    if (first)
        first->group_prev = f;
    g->members_.head = f;
    if (g->cancelled_)                          /* between the count and now; f is not visible yet */
        store_relaxed32(&f->cancel, 1);
    members_unlock(g);
}

void members_ended(struct weft_group *g, struct fiber *f)
{
    struct chain c = members_chain();
    struct members_wakes w;
    c.sched = f->sched;
    word_lock(waiting_word(&g->word_));
    if (f->group_prev)
        f->group_prev->group_next = f->group_next;
    else
        g->members_.head = f->group_next;
    if (f->group_next)
        f->group_next->group_prev = f->group_prev;
    if (f->result < 0 && !g->first_) {
        g->first_ = f->result < INT_MIN ? INT_MIN : f->result;
        if (g->flags_ & WEFT_FAILFAST && !g->cancelled_)
            members_cancel(g, &c);
    }
    w = members_leave(g);
    members_unlock(g);
    if (c.head)
        worker_queue_chain(&c);
    members_wake(w);
}
