/* SPDX-License-Identifier: MIT */
/*
 * deque - one worker's queue of runnable fibers
 *
 * Owns       the rings; never an item.
 * Threads    init, destroy: nobody else may look. push, pop, take: the owner. steal, empty, count: any thread.
 * Promises   push, pop and take never wait for a thief; take tries again only when a thief has just got an item. steal
 *            may answer LOST: somebody else got an item in the meantime. Every item pushed comes out exactly once.
 * Invariants top never decreases; only the owner writes bottom; live slots are [top, bottom), at most a ring full; the
 *            indices count modulo 2^64 and are compared by their signed difference; bottom is one below top while the
 *            owner finds out that there is nothing to pop; items are not NULL.
 *            A replaced ring lives until destroy, unpoisoned and unwritten: a thief that loaded the ring before the
 *            growth may still read its slot from it, and what it reads there is right as long as its CAS on top
 *            succeeds. All retired rings together are smaller than the live one.
 * Ordering   D1 every store of bottom is a release -> steal's acquire of bottom: the slot, and what the item points to.
 *               pop's store is one too: a thief may read the lowered bottom and take an older item by it, and a release
 *               sequence does not go on through a plain store (C++20).
 *            D2 fence_full in pop and in steal, drawn in deque.c.
 *            D3 claim's release of top -> the acquire of top in push: the slot is read before it is used again.
 *            D4 grow's release of ring -> steal's acquire of ring: the capacity and the copied slots.
 * Source     Chase & Lev, SPAA 2005; orders from Le, Pop, Cohen, Zappa Nardelli, PPoPP 2013.
 *            We differ: release stores of bottom instead of a release fence in push (TSAN sees them); the CAS on top is
 *            acq_rel and steal's first load of top relaxed, since the fences of D2 stand in each pair that needs them;
 *            push keeps the top it last saw, so that it touches the thieves' line once per lap and not once per push;
 *            pop looks before it fences, so that an empty one is cheap; take, the owner's way to the oldest.
 * Rejected   shrinking: a thief may hold the larger ring, and the peak comes again. Seq_cst accesses in place of D2:
 *            the same instructions on x86, a wait for the store buffer in each load on aarch64. A fixed ring with an
 *            overflow list: push would touch a lock just when the worker is busiest.
 */
#ifndef SCHED_DEQUE_H
#define SCHED_DEQUE_H

#include <stddef.h>

#include "sched/atomic.h"
#include "sched/config.h"

struct deque {
    /* written by the owner */
    _Alignas(CACHE_LINE) atom64 bottom;     /* next index to push at */
    atomptr ring;                           /* struct deque_ring; owner writes, others read_acquire */
    uint64_t top_seen;                      /* owner only: some earlier value of top, read with acquire */

    /* written by the owner and thieves */
    _Alignas(CACHE_LINE) atom64 top;        /* index of the oldest item */
};

enum deque_verdict { DEQUE_OK, DEQUE_EMPTY, DEQUE_LOST };

/* start is the first index; any value does, tests begin near a wrap-around. 0 or -ENOMEM. */
int deque_init(struct deque *d, uint64_t start);
void deque_destroy(struct deque *d);

/* Any thread: the oldest. *item is written only with DEQUE_OK. EMPTY may be stale at once. */
enum deque_verdict deque_steal(struct deque *d, void **item);

/* Any thread: about how many. */
uint64_t deque_count(const struct deque *d);

/* ---- the owner's side, inline: each switch of a fiber goes through it ---------------------------------------------------- */

/* The lines that tests/model/deque_model.c must see broken; more of them are in deque.c. */
#ifdef MUTANT_DEQUE_POP_FENCE
#define deque_pop_fence() ((void)0)
#else
#define deque_pop_fence() fence_full()
#endif
#ifdef MUTANT_DEQUE_PUSH_RELAXED
#define deque_raise_bottom store_relaxed64
#else
#define deque_raise_bottom store_release64
#endif
#ifdef MUTANT_DEQUE_POP_RELAXED
#define deque_lower_bottom store_relaxed64
#else
#define deque_lower_bottom store_release64
#endif
#ifdef MUTANT_DEQUE_TAKE_NO_CAS
#define deque_take_claim(top, t) (store_release64(top, *(t) + 1), true)
#else
#define deque_take_claim(top, t) cas_acqrel64(top, t, *(t) + 1)
#endif
#ifdef MUTANT_DEQUE_POP_NO_CAS
#define deque_pop_claim(top, t) (store_release64(top, *(t) + 1), true)
#else
#define deque_pop_claim(top, t) cas_acqrel64(top, t, *(t) + 1)
#endif

struct deque_ring {
    struct deque_ring *older;                   /* the one that this one replaced; read by destroy only */
    uint64_t capacity;                          /* a power of two; fixed */
    atomptr slot[];
};

static inline atomptr *deque_slot(struct deque_ring *r, uint64_t index) { return &r->slot[index & (r->capacity - 1)]; }
static inline int64_t deque_span(uint64_t from, uint64_t to) { return (int64_t)(to - from); }

/* The ring with room for one more, published; NULL: no memory. */
struct deque_ring *deque_grow(struct deque *d, struct deque_ring *old, uint64_t top, uint64_t bottom);

/* Owner. false: full, and no memory to grow; nothing has changed. */
static inline bool deque_push(struct deque *d, void *item)
{
    uint64_t b = load_relaxed64(&d->bottom);
    struct deque_ring *r = load_relaxedptr(&d->ring);

    if (b - d->top_seen >= r->capacity) {
        d->top_seen = load_acquire64(&d->top);      /* D3: pairs with the CAS of steal, take and pop */
        if (b - d->top_seen >= r->capacity) {
            r = deque_grow(d, r, d->top_seen, b);
            if (!r)
                return false;
        }
    }
    store_relaxedptr(deque_slot(r, b), item);
    deque_raise_bottom(&d->bottom, b + 1);                /* D1: pairs with deque_steal */
    return true;
}

/* Owner: the newest, or NULL. D2 is drawn in deque.c. */
static inline void *deque_pop(struct deque *d)
{
    uint64_t b = load_relaxed64(&d->bottom) - 1;
    if (deque_span(load_relaxed64(&d->top), b) < 0)       /* top may be old, but it never comes down */
        return NULL;

    struct deque_ring *r = load_relaxedptr(&d->ring);
    deque_lower_bottom(&d->bottom, b);                    /* D1: pairs with deque_steal */
    deque_pop_fence();                                    /* D2: pairs with deque_steal */
    uint64_t t = load_relaxed64(&d->top);
    void *item = deque_span(t, b) < 0 ? NULL : load_relaxedptr(deque_slot(r, b));

    if (deque_span(t, b) > 0)
        return item;
    if (item && !deque_pop_claim(&d->top, &t))            /* D3: pairs with deque_push */
        item = NULL;
    store_release64(&d->bottom, b + 1);             /* D1: empty again, bottom == top */
    return item;
}

/* Owner: what was pushed n items before the newest, a hint: it may be gone. */
static inline void *deque_peek(struct deque *d, uint64_t n)
{
    return load_relaxedptr(deque_slot(load_relaxedptr(&d->ring), load_relaxed64(&d->bottom) - 1 - n));
}

/* Owner: the oldest, or NULL. The owner's bottom is exact, and slot t is its own store: the CAS alone settles it with the
 * thieves, without a fence. */
static inline void *deque_take(struct deque *d)
{
    uint64_t b = load_relaxed64(&d->bottom);
    uint64_t t = load_relaxed64(&d->top);
    struct deque_ring *r = load_relaxedptr(&d->ring);

    while (deque_span(t, b) > 0) {
        void *item = load_relaxedptr(deque_slot(r, t));
        if (deque_take_claim(&d->top, &t)) {              /* D3: pairs with deque_push */
            d->top_seen = t + 1;
            return item;
        }
    }
    return NULL;
}

/* Pop and take for an owner that shares its deque with no thief: a runtime of one worker. */
static inline void *deque_pop_alone(struct deque *d)
{
    uint64_t b = load_relaxed64(&d->bottom);
    if (load_relaxed64(&d->top) == b)
        return NULL;
    store_release64(&d->bottom, b - 1);
    return load_relaxedptr(deque_slot(load_relaxedptr(&d->ring), b - 1));
}

static inline void *deque_take_alone(struct deque *d)
{
    uint64_t t = load_relaxed64(&d->top);
    if (t == load_relaxed64(&d->bottom))
        return NULL;
    d->top_seen = t + 1;
    store_release64(&d->top, t + 1);
    return load_relaxedptr(deque_slot(load_relaxedptr(&d->ring), t));
}

/*
 * Any thread. After a fence_full of the caller that comes later than the pusher's, an item that was pushed and that
 * nobody has taken is never overlooked: from its push to its removal top <= its index < bottom. The other way round the
 * answer may be late.
 */
static inline bool deque_empty(const struct deque *d)
{
    return deque_span(load_relaxed64(&d->top), load_relaxed64(&d->bottom)) <= 0;
}

#endif
