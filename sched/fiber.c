/* SPDX-License-Identifier: MIT */
/*
 * fiber - the transitions; the drawing is in fiber.h
 *
 *    park (the worker, after the switch)         ready (the one claim winner)
 *    saves registers                             hands over the value
 *    CAS state RUNNING -> PARKED                 xchg state NOTIFIED
 *
 * Both are read-modify-writes of one word, so one of them is first: either the CAS fails on NOTIFIED and the worker resumes the
 * fiber, or the exchange finds PARKED and the waker queues it. There is no third outcome, hence no lost and no double wake-up.
 */
#include "sched/fiber.h"

bool fiber_to_parked(struct fiber *f)
{
    uint32_t seen = FIBER_RUNNING;
    if (cas_acqrel32(&f->state, &seen, FIBER_PARKED))           /* F1, F2: pairs with fiber_notify */
        return true;
    store_relaxed32(&f->state, FIBER_RUNNING);
    return false;
}

bool fiber_notify(struct fiber *f)
{
    if (xchg_acqrel32(&f->state, FIBER_NOTIFIED) != FIBER_PARKED)       /* F1, F2: pairs with fiber_to_parked */
        return false;
    store_relaxed32(&f->state, FIBER_READY);
    return true;
}

bool fiber_take_token(struct fiber *f)
{
    if (load_acquire32(&f->state) != FIBER_NOTIFIED)            /* F2: pairs with fiber_notify */
        return false;
    store_relaxed32(&f->state, FIBER_RUNNING);
    return true;
}

void fiber_to_ready(struct fiber *f) { store_relaxed32(&f->state, FIBER_READY); }
void fiber_to_running(struct fiber *f) { store_relaxed32(&f->state, FIBER_RUNNING); }
void fiber_to_dead(struct fiber *f) { store_relaxed32(&f->state, FIBER_DEAD); }
