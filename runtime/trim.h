/* SPDX-License-Identifier: MIT */
/*
 * trim - memory goes back after a burst
 *
 * Owns       nothing but the decision when: a second after a worker fell asleep while the depot held more warm stacks than
 *            TRIM_KEEP, what stayed unused over that second is given back, TRIM_STEP stacks at a time, and then the chunks of
 *            descriptors that have nobody in them.
 * Threads    trim_call: a worker that is going to park. The work itself is done by the I/O thread between two waits, in steps of
 *            about 0.1 ms, so that no worker pays for it and I/O is hardly held up.
 * Asleep     nothing is armed unless there is something to give back, so an idle process stays asleep.
 */
#ifndef RUNTIME_TRIM_H
#define RUNTIME_TRIM_H

#include "runtime/weft.h"

struct sched;

int trim_start(weft_rt *rt);                    /* 0, -ENOMEM */
void trim_stop(weft_rt *rt);                    /* neither workers nor the I/O thread run any more */
void trim_call(struct sched *s);                /* the hook parking */

#endif
