/* SPDX-License-Identifier: MIT */
/*
 * fiber - what the scheduler schedules: the descriptor, its states, and who may do what to it when
 *
 * Owns       the descriptor. Its memory is type-stable (table.h): any thread may look at the handle word of a fiber that ended
 *            long ago and learn so from the generation.
 * Threads    that wait outside any fiber have a descriptor too (sched == NULL), so that every object knows one kind of waiter.
 *
 *    NEW --spawn--> READY --dispatch--> RUNNING --return--> DEAD
 *                    ^  ^                |  ^  |
 *                    |  +-----yield------+  |  | the switch is over: fiber_to_parked()
 *                    |                      |  v
 *                    |       the token came |  PARKED
 *                    |       before: resume |  |
 *                    |                  NOTIFIED  fiber_notify(): PARKED -> READY, the caller must queue it
 *                    |                      ^  |                 RUNNING -> NOTIFIED, nothing to do
 *                    +------- ready --------|--+
 *
 *    state      stack belongs to        linked in              changed by
 *    NEW        nobody                  nothing                its spawner
 *    READY      nobody                  exactly one run queue  the worker that takes it
 *    RUNNING    its worker              nothing                itself; a waker makes it NOTIFIED
 *    NOTIFIED   its worker              nothing                itself or its worker, which take the token
 *    PARKED     nobody                  its wait places        the waker that wins the exchange
 *    DEAD       nobody                  nothing                its worker, after the last switch
 *
 * A wait is decided by a second word, wait (see wait.h): of all that could end it exactly one wins the claim, and exactly that
 * one calls ready() once. The state word then only settles whether the fiber has left its stack yet. Two words, since a claim
 * comes under the object's lock and before the value is handed over, and the token after both.
 *
 * Invariant  a fiber is in one run queue, or runs on one worker, or is parked; and it is queued only after its registers are
 *            saved, since only PARKED -> READY queues and only the worker, after the switch, makes it PARKED.
 * Ordering   F1 fiber_to_parked release -> fiber_notify acquire: the saved registers.
 *            F2 fiber_notify release -> fiber_to_parked / fiber_take_token acquire: what the waker handed over.
 * Letters    I fixed from spawn on; O the running fiber, or whoever owns it by its state; L under the handle's lock bit;
 *            A atomic, any thread.
 */
#ifndef SCHED_FIBER_H
#define SCHED_FIBER_H

#include "sched/atomic.h"
#include "sched/config.h"
#include "sched/context.h"
#include "sched/sanitize.h"
#include "sched/stack.h"

struct sched;
struct wait_node;

enum fiber_state { FIBER_NEW, FIBER_READY, FIBER_RUNNING, FIBER_NOTIFIED, FIBER_PARKED, FIBER_DEAD };

/* The handle: generation << FIBER_INDEX_BITS | flags; an id is generation << FIBER_INDEX_BITS | index. */
#define FIBER_INDEX_BITS 24
#define HANDLE_LOCKED UINT64_C(1)               /* guards the letters L */
#define HANDLE_USED UINT64_C(2)                 /* a fiber or a thread, not a free descriptor */
#define HANDLE_ENDED UINT64_C(4)                /* result is there, nobody has joined */
#define HANDLE_DETACHED UINT64_C(8)             /* frees itself at its end */
#define HANDLE_TOKEN UINT64_C(16)               /* weft_unpark came, weft_park did not yet */
#define HANDLE_PARKED UINT64_C(32)              /* it waits in weft_park */
#define HANDLE_FLAGS ((UINT64_C(1) << FIBER_INDEX_BITS) - 1)

#define FIBER_PINNED 1u                         /* flags */
#define FIBER_DAEMON 2u
#define FIBER_INTERNAL 4u                       /* the runtime's own: not cancelled, not counted, not dumped */
#define FIBER_NOWAIT 8u                         /* a wait answers -EDEADLK */

struct fiber {
    /* all that a switch touches */
    _Alignas(CACHE_LINE) atom64 handle;                              /* A */
    atom32 state;                               /* A enum fiber_state; a waiting thread's futex */
    atom32 wait;                                /* A wait.h */
    struct context context;                     /* O */
    struct fiber *next;                         /* O whoever holds it in a queue or a free list */
    struct sched *sched;                        /* I NULL: a thread */
    uint32_t index;                             /* I its place in the table */
    uint32_t flags;                             /* O */
    int32_t pin;                                /* O the worker it may run on, or -1 for any */
    atom32 cancel;                              /* A 1: cancelled */
    uint32_t shield;                            /* O */
    uint32_t nosuspend;                         /* O */

    struct stack stack;                         /* O */
    int64_t (*fn)(void *);                      /* I */
    void *arg;                                  /* I */
    int64_t result;                             /* O, then L once HANDLE_ENDED */
    int64_t deadline;                           /* O ambient */

    struct { void *head, *tail; } joiners;      /* L wait nodes */
    void *group;                                /* I */
    struct fiber *group_next, *group_prev;      /* under the group's lock */
    char name[24];                              /* I */
    struct san_context san;                     /* O empty in ordinary builds */
};

/* What a transition found; the caller has to act on it. */
#define FIBER_VERDICT __attribute__((warn_unused_result))

/*
 *    park (the worker, after the switch)         ready (the one claim winner)
 *    saves registers                             hands over the value
 *    CAS state RUNNING -> PARKED                 xchg state NOTIFIED
 *
 * Both are read-modify-writes of one word, so one of them is first: either the CAS fails on NOTIFIED and the worker resumes the
 * fiber, or the exchange finds PARKED and the waker queues it. There is no third outcome, hence no lost and no double wake-up.
 */

/* The lines that tests/model/park_model.c must see broken. */
#ifdef MUTANT_FIBER_PARKED_STORE
#define parked_cas(state, seen, x) ((void)(seen), store_release32(state, x), true)
#elif defined(MUTANT_FIBER_PARKED_ACQUIRE)
#define parked_cas cas_acquire32
#else
#define parked_cas cas_acqrel32
#endif
#ifdef MUTANT_FIBER_NOTIFY_SPLIT
static inline uint32_t notify_xchg(atom32 *state, uint32_t x)
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

/* RUNNING -> PARKED, by its worker after the switch. False: the token came first, the fiber is RUNNING and must be resumed. */
FIBER_VERDICT static inline bool fiber_to_parked(struct fiber *f)
{
    uint32_t seen = FIBER_RUNNING;
    if (parked_cas(&f->state, &seen, FIBER_PARKED))           /* F1, F2: pairs with fiber_notify */
        return true;
    store_relaxed32(&f->state, FIBER_RUNNING);
    return false;
}

/* Give the token. True: it was PARKED and is READY now, the caller owns it and must queue it. False: it will find the token. */
FIBER_VERDICT static inline bool fiber_notify(struct fiber *f)
{
    if (notify_xchg(&f->state, FIBER_NOTIFIED) != FIBER_PARKED)       /* F1, F2: pairs with fiber_to_parked */
        return false;
    store_relaxed32(&f->state, FIBER_READY);
    return true;
}

/* By the running fiber: take a token that came before the switch. True: it was there, no need to switch. */
FIBER_VERDICT static inline bool fiber_take_token(struct fiber *f)
{
    if (token_load(&f->state) != FIBER_NOTIFIED)            /* F2: pairs with fiber_notify */
        return false;
    store_relaxed32(&f->state, FIBER_RUNNING);
    return true;
}

/* spawn, yield: nobody else can see it yet; dispatch; the end */
static inline void fiber_to_ready(struct fiber *f) { store_relaxed32(&f->state, FIBER_READY); }
static inline void fiber_to_running(struct fiber *f) { store_relaxed32(&f->state, FIBER_RUNNING); }
static inline void fiber_to_dead(struct fiber *f) { store_relaxed32(&f->state, FIBER_DEAD); }

static inline int64_t fiber_id(const struct fiber *f)
{
    return (int64_t)((load_relaxed64(&f->handle) & ~HANDLE_FLAGS) | f->index);
}

#endif
