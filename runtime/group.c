/* SPDX-License-Identifier: MIT */
/* group - see group.h */
#include "runtime/group.h"

#include <errno.h>
#include <limits.h>

#include "runtime/spawn.h"
#include "timers/waiting.h"

/* All under the word's lock, or by the one who set the group up. */
struct wakes {
    struct wait_node *waiters;                  /* the group became empty */
    struct wait_node *spawner;                  /* a place became free */
};

static struct fiber *members(const struct weft_group *g) { return g->members_.head; }

static struct chain chain_of_caller(void)
{
    struct fiber *self = thread_self()->fiber;
    struct chain c = { NULL, NULL, 0, self ? self->sched : NULL };
    return c;
}

/* Leave the lock: WORD_WAITERS says whether anybody queues, in either queue. */
static void unlock(struct weft_group *g)
{
    word_unlock(waiting_word(&g->word_), g->waiters_.head || g->spawners_.head ? WORD_WAITERS : 0);
}

static struct wakes leave(struct weft_group *g)
{
    struct wakes w = { NULL, NULL };
    if (--g->count_ == 0)
        w.waiters = waiting_pop_all(waiting_queue(&g->waiters_), g->first_);
    if ((w.spawner = wait_pop(waiting_queue(&g->spawners_))) != NULL) {
        g->count_++;                            /* the place is handed over, nobody can slip in between */
        w.spawner->result = 0;
    }
    return w;
}

static void wake(struct wakes w)
{
    waiting_ready_all(w.waiters);
    if (w.spawner)
        ready(w.spawner->fiber);
}

static void cancel_all(struct weft_group *g, struct chain *c)
{
    g->cancelled_ = 1;
    for (struct fiber *f = members(g); f; f = f->group_next) {
        uint64_t handle = handle_lock(f);
        spawn_cancel_locked(f, c);
        handle_unlock(f, handle);
    }
}

void group_add(struct weft_group *g, struct fiber *f)
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
    unlock(g);
}

void group_ended(struct weft_group *g, struct fiber *f)
{
    struct chain c = chain_of_caller();
    struct wakes w;
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
            cancel_all(g, &c);
    }
    w = leave(g);
    unlock(g);
    if (c.head)
        worker_queue_chain(&c);
    wake(w);
}

/* ---- the public calls ---------------------------------------------------------------------------------------------------- */

int weft_group_init(struct weft_group *g, unsigned limit, unsigned flags)
{
    if (flags & ~WEFT_FAILFAST)
        return -EINVAL;
    *g = (struct weft_group){ .limit_ = limit, .flags_ = flags };
    return 0;
}

weft_t weft_group_spawn(struct weft_group *g, weft_fn fn, void *arg)
{
    struct spawn s = { .fn = fn, .arg = arg, .detached = true, .group = g };
    struct wakes w;
    struct fiber *self;
    weft_t id;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    word_lock(waiting_word(&g->word_));
    if (g->cancelled_) {
        unlock(g);
        return -ECANCELED;
    }
    if (!g->limit_ || g->count_ < g->limit_) {
        g->count_++;
        unlock(g);
    } else {
        struct wait_node node = { .fiber = self };
        uint32_t state = g->waiters_.head || g->spawners_.head ? WORD_WAITERS : 0;
        r = waiting_object(self, waiting_word(&g->word_), state, waiting_queue(&g->spawners_), &node, WEFT_FOREVER, false);
        if (r < 0)
            return r;
    }
    id = spawn(&s);
    if (id < 0) {                               /* give the place back */
        word_lock(waiting_word(&g->word_));
        w = leave(g);
        unlock(g);
        wake(w);
    }
    return id;
}

int weft_group_wait(struct weft_group *g, int64_t deadline)
{
    struct wait_node node = { .fiber = NULL };
    struct fiber *self;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    uint32_t state = word_lock(waiting_word(&g->word_));
    if (g->count_) {
        /* the answer comes with the token: by then another waiter may have freed the group */
        return waiting_object(self, waiting_word(&g->word_), state, waiting_queue(&g->waiters_), &node, deadline, false);
    }
    r = (int)g->first_;
    unlock(g);
    return r;
}

int weft_group_cancel(struct weft_group *g)
{
    struct chain c = chain_of_caller();
    word_lock(waiting_word(&g->word_));
    cancel_all(g, &c);
    for (struct wait_node *n = waiting_pop_all(waiting_queue(&g->spawners_), -ECANCELED), *next; n; n = next) {
        next = n->next;
        ready_later(n->fiber, &c);
    }
    unlock(g);
    if (c.head)
        worker_queue_chain(&c);
    return 0;
}

int weft_group_close(struct weft_group *g)
{
    struct fiber *self = park_self();
    int64_t ambient;
    uint32_t shield;
    int r;
    if (!self)
        return -ENOMEM;
    weft_group_cancel(g);
    ambient = self->deadline;
    shield = self->shield;
    self->deadline = WEFT_FOREVER;
    self->shield = 1;
    r = weft_group_wait(g, WEFT_FOREVER);
    self->shield = shield;
    self->deadline = ambient;
    return r;
}
