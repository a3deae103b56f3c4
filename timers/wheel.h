/* SPDX-License-Identifier: MIT */
/*
 * wheel - moments to come, in order
 *
 * Owns       the order of its nodes; never the nodes, which lie in the caller's structs, often on a fiber's stack.
 * Threads    none of its own, no lock, no clock, no memory after init: time is an argument. One thread at a time.
 * Promises   wheel_expire gives the nodes back in the order of due, and among equal ones in the order of wheel_add:
 *            exactly what a stable sorted list would do. Never before due; after it only by what the caller comes late.
 *            wheel_next answers a T such that nothing is due before T, and T is the due of the earliest node except in
 *            one case: that of a slot with more than WHEEL_SCAN nodes, added out of order, of which the earliest was
 *            removed before its time. Then T is the removed one's due, and after a wheel_expire(T) it is exact again:
 *            one early wake-up for such a slot, never a late one.
 *            add and remove O(1). expire: amortised some moves of a node (2 on average with 1 M of them scattered
 *            over 30 s), none if the slots filled in order, as with constant timeouts. It can be had in pieces of
 *            about WHEEL_PIECE nodes. Any due, any now, any jump between two calls; INT64_MAX never fires.
 * Shape      WHEEL_LEVELS rings of WHEEL_SLOTS slots. A slot of level 0 is one tick (65.5 us); each further level is
 *            8 times as coarse, so a slot is at most an eighth of its distance. A node goes into the finest level
 *            that reaches it from `base`. 15 levels reach all 2^64 ns: no rounds, no overflow list, no wrap of any
 *            clock.
 * Slots      are sorted if their nodes came in order (or from the front): adding at the tail compares with the tail's
 *            due, whose line is written anyway. Else they are mixed, until their time comes. Then a short one is
 *            sorted where it is, a long one parted: its nodes go to finer levels, straight down to the finest that W4
 *            allows. A little of that is done ahead when nothing is due.
 * Invariants W1 base never falls; expire moves it to the smaller of `now` and the least bound, so nothing is due
 *               before it but what was added too late, and as long as there is such a node base stands still.
 *            W2 a node in level l has  0 <= (max(due, base) >> shift(l)) - (base >> shift(l)) < WHEEL_SLOTS:
 *               therefore all nodes of one slot lie in one and the same stretch of time, and going round from base's
 *               slot is going forward in time, and no slot is ever left behind.
 *            W3 bound[l] <= the due of every node in level l. A slot without its bit in `mixed` is sorted; with it,
 *               slot.min <= the due of all its nodes, and equal to the smallest unless its bit in `stale` is set.
 *            W4 of two nodes with equal due the earlier added lies in the same slot, before the other, or in a
 *               coarser level. For add: base only moves towards due. For parting: from the tail, each node to the
 *               front of the first busy slot below that covers it, or of the finest; the slot gets no new nodes by
 *               then, for base is so near that a finer level reaches all of it. Ties between levels therefore go to
 *               the coarser one.
 * Not bound  the nodes of one tick are sorted in one step: 100,000 in disorder within 65 us take some ms.
 * Source     Varghese & Lauck, SOSP 1987, scheme 7; the 8:64 geometry is that of Linux's timer wheel (Gleixner 2015),
 *            which rounds far timers up by as much as a slot, never moves them and is done: we keep the exact due.
 * Rejected   Cascades level by level at each boundary: all nodes move, sorted or not, all of a slot in one step.
 *            Sorting a far slot in one step when its time comes: 50 to 90 ms under the lock with 100,000 nodes in
 *            it, against 0.1 ms for the longest piece of parting; the cost for each node is about the same.
 *            Rounds in one big ring: the far ones are looked at on every turn. Lazy removal: the node's stack is gone
 *            by then. A heap: no O(1) add and remove; at 1 M nodes every one of them misses the cache log n times.
 */
#ifndef TIMERS_WHEEL_H
#define TIMERS_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEEL_TICK_BITS 16          /* a slot of level 0 lasts 2^16 ns */
#ifdef WEFT_TINY
#define WHEEL_SLOT_BITS 2           /* 4 slots in a level */
#define WHEEL_STEP_BITS 1           /* a level is twice as coarse as the one below it */
#define WHEEL_LEVELS 47
#define WHEEL_SCAN 2
#define WHEEL_PIECE 2
#else
#define WHEEL_SLOT_BITS 6           /* at most 6: a level's slots are the bits of one word */
#define WHEEL_STEP_BITS 3
#define WHEEL_LEVELS 15
#define WHEEL_SCAN 64               /* most nodes that wheel_next looks at in a slot whose earliest was removed */
#define WHEEL_PIECE 64              /* nodes that are moved in one go; a slot with no more is sorted where it is */
#endif
#define WHEEL_SLOTS (1u << WHEEL_SLOT_BITS)

struct wheel_link {
    struct wheel_link *next, *prev;
};

/* Valid when zeroed. */
struct wheel_node {
    struct wheel_link link;         /* first; next is NULL while in no wheel */
    int64_t due;
    uint32_t slot;                  /* level * WHEEL_SLOTS + index */
    uint32_t owner;                 /* the caller's own */
};

struct wheel_slot {                 /* means nothing while its bit in busy is clear, so init need not touch it */
    struct wheel_link list;
    int64_t min;                    /* W3 */
};

struct wheel {
    int64_t base;                   /* W1 */
    uint64_t live;                  /* levels that have a node */
    int64_t bound[WHEEL_LEVELS];    /* W3 */
    struct {
        uint64_t busy;              /* slots that have a node */
        uint64_t mixed, stale;      /* W3 */
    } level[WHEEL_LEVELS];
    struct wheel_slot slot[WHEEL_LEVELS * WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now);

/* n is in no wheel. due may be past: it fires at the next expire, in its order. */
void wheel_add(struct wheel *w, struct wheel_node *n, int64_t due);

/* n is in w. */
void wheel_remove(struct wheel *w, struct wheel_node *n);

static inline bool wheel_queued(const struct wheel_node *n) { return n->link.next != NULL; }

/* Take out and return the earliest node if it is due at now, else NULL. Between two calls anything may be added and
 * removed. A now before an earlier one is harmless. *work goes down by the nodes that were touched, to 0 and not
 * below; at 0 the answer is NULL although there may be more: come again. So a caller under a lock can let go of it. */
struct wheel_node *wheel_expire(struct wheel *w, int64_t now, unsigned *work);

/* See Promises. INT64_MAX if there is nothing to wait for. */
int64_t wheel_next(struct wheel *w);

#endif
