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

#include "sched/atomic.h"
#include "sched/config.h"

struct deque {
    /* written by the owner */
    _Alignas(CACHE_LINE) atom64 bottom;     /* next index to push at */
    atomptr ring;                           /* struct ring; owner writes, others read_acquire */
    uint64_t top_seen;                      /* owner only: some earlier value of top, read with acquire */

    /* written by the owner and thieves */
    _Alignas(CACHE_LINE) atom64 top;        /* index of the oldest item */
};

enum deque_verdict { DEQUE_OK, DEQUE_EMPTY, DEQUE_LOST };

/* start is the first index; any value does, tests begin near a wrap-around. 0 or -ENOMEM. */
int deque_init(struct deque *d, uint64_t start);
void deque_destroy(struct deque *d);

/* Owner. false: full, and no memory to grow; nothing has changed. */
bool deque_push(struct deque *d, void *item);

/* Owner: the newest, or NULL. */
void *deque_pop(struct deque *d);

/* Owner: the oldest, or NULL. */
void *deque_take(struct deque *d);

/* Any thread: the oldest. *item is written only with DEQUE_OK. EMPTY may be stale at once. */
enum deque_verdict deque_steal(struct deque *d, void **item);

/*
 * Any thread. After a fence_full of the caller that comes later than the pusher's, an item that was pushed and that
 * nobody has taken is never overlooked: from its push to its removal top <= its index < bottom. The other way round the
 * answer may be late.
 */
bool deque_empty(const struct deque *d);

/* Any thread: about how many. */
uint64_t deque_count(const struct deque *d);

#endif
