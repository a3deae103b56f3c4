/* SPDX-License-Identifier: MIT */
/*
 * due - what comes out of a look at the timers
 *
 * Owns       nothing; the driver (the I/O thread) has one on its stack, hands it to timers_expire as `out`, and afterwards, with
 *            no lock held, queues the ready fibers and makes the calls.
 */
#ifndef TIMERS_DUE_H
#define TIMERS_DUE_H

#include "sched/injector.h"

struct due_call {
    struct due_call *next;
    void (*run)(struct due_call *self);         /* on the driver's thread: short, and it may arm timers */
};

struct due {
    struct chain ready;
    struct due_call *calls;
};

static inline void due_add_call(struct due *d, struct due_call *c)
{
    c->next = d->calls;
    d->calls = c;
}

static inline void due_run_calls(struct due *d)
{
    while (d->calls) {
        struct due_call *c = d->calls;
        d->calls = c->next;
        c->run(c);
    }
}

#endif
