/* SPDX-License-Identifier: MIT */
/* group - the calls: fibers that are waited for together, and cannot outlive their scope; see members.h */
#include <errno.h>

#include "runtime/members.h"
#include "runtime/spawn.h"
#include "timers/waiting.h"

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
    struct members_wakes w;
    struct fiber *self;
    weft_t id;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    word_lock(waiting_word(&g->word_));
    if (g->cancelled_) {
        members_unlock(g);
        return -ECANCELED;
    }
    if (!g->limit_ || g->count_ < g->limit_) {
        g->count_++;
        members_unlock(g);
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
        w = members_leave(g);
        members_unlock(g);
        members_wake(w);
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
    members_unlock(g);
    return r;
}

int weft_group_cancel(struct weft_group *g)
{
    struct chain c = members_chain();
    word_lock(waiting_word(&g->word_));
    members_cancel(g, &c);
    for (struct wait_node *n = waiting_pop_all(waiting_queue(&g->spawners_), -ECANCELED), *next; n; n = next) {
        next = n->next;
        ready_later(n->fiber, &c);
    }
    members_unlock(g);
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
