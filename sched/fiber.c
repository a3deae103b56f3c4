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

/* The lines that tests/model/park_model.c must see broken. */
#ifdef MUTANT_FIBER_PARKED_STORE
#define parked_cas(state, seen, x) ((void)(seen), store_release32(state, x), true)
#elif defined(MUTANT_FIBER_PARKED_ACQUIRE)
#define parked_cas cas_acquire32
#else
#define parked_cas cas_acqrel32
#endif
#ifdef MUTANT_FIBER_NOTIFY_SPLIT
static uint32_t notify_xchg(atom32 *state, uint32_t x)
{
    uint32_t seen = load_acquire32(state);
    store_release32(state, x);
    return seen;
}
#else
#define notify_xchg xchg_acqrel32
#endif
#ifdef MUTANT_FIBER_TOKEN_RELAXED
#define token_load load_relaxed32
#else
#define token_load load_acquire32
#endif

bool fiber_to_parked(struct fiber *f)
{
    uint32_t seen = FIBER_RUNNING;
    if (parked_cas(&f->state, &seen, FIBER_PARKED))             /* F1, F2: pairs with fiber_notify */
        return true;
    store_relaxed32(&f->state, FIBER_RUNNING);
    return false;
}

bool fiber_notify(struct fiber *f)
{
    if (notify_xchg(&f->state, FIBER_NOTIFIED) != FIBER_PARKED)         /* F1, F2: pairs with fiber_to_parked */
        return false;
    store_relaxed32(&f->state, FIBER_READY);
    return true;
}

bool fiber_take_token(struct fiber *f)
{
    if (token_load(&f->state) != FIBER_NOTIFIED)                /* F2: pairs with fiber_notify */
        return false;
    store_relaxed32(&f->state, FIBER_RUNNING);
    return true;
}

void fiber_to_ready(struct fiber *f) { store_relaxed32(&f->state, FIBER_READY); }
void fiber_to_running(struct fiber *f) { store_relaxed32(&f->state, FIBER_RUNNING); }
void fiber_to_dead(struct fiber *f) { store_relaxed32(&f->state, FIBER_DEAD); }
