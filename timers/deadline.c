/* SPDX-License-Identifier: MIT */
/* deadline - see deadline.h */
#include "timers/deadline.h"

#include "sched/park.h"
#include "timers/due.h"
#include "timers/timers.h"

struct deadline {
    struct timer_node node;
    struct fiber *fiber;
};

/* On the driver's thread, under the shard's lock: so the node cannot go away, and the fiber cannot pass timers_disarm. */
static void expire(struct timer_node *node, void *out)
{
    struct fiber *f = ((struct deadline *)node)->fiber;
    if (wait_claim(f, WAIT_TIMEOUT))
        ready_later(f, &((struct due *)out)->ready);
}

static void park_until(struct fiber *self, int64_t deadline)
{
    struct timers *timers = self->sched->timers;
    struct deadline d = { .node.fire = expire, .fiber = self };
    struct worker *w = thread_self()->worker;
    timers_arm(timers, &d.node, deadline, w ? w->index : 0);
    park(self);
    (void)timers_disarm(timers, &d.node);
}

enum wait_state deadline_wait(struct fiber *self, int64_t deadline)
{
    if (!self->shield && load_relaxed32(&self->cancel) && wait_claim(self, WAIT_CANCEL))     /* C1: after wait_open's barrier */
        return wait_close(self);                /* nobody else won, so no token comes */
    if (park_is_thread(self)) {
        if (!park_thread(self, deadline) && !wait_claim(self, WAIT_TIMEOUT))
            park(self);
    } else if (deadline == INT64_MAX) {
        park(self);
    } else {
        park_until(self, deadline);
    }
    return wait_close(self);
}
