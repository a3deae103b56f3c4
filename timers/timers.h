/* SPDX-License-Identifier: MIT */
/*
 * timers - the wheels of one runtime: armed and disarmed by any thread, driven by one
 *
 * Owns       a wheel per shard (one for each worker and one for all other threads), the lock over it, and the word in
 *            which the driver says until when it sleeps. Never the nodes.
 * Threads    arm, disarm: any. expire, next, sleep, wake: the driver, that is the I/O thread.
 * Promises   Never early. Exactly one of fire() and a disarm that answers true. When disarm has returned, fire() is
 *            over and the node's memory is the caller's: fire() runs under the shard's lock and disarm takes that
 *            lock, which is the proof. The driver is interrupted only for a timer that is due before the moment until
 *            which it sleeps. Within a shard timers fire in the order of due, and equal ones in the order of arming.
 * Invariants T1 first <= due of every node in the shard's wheel. It changes under the lock, rises only by the driver.
 *            T2 while the driver sleeps until u, for every armed node: due >= u, or an interrupt is on its way: see
 *               timers.c.
 * Locks      a shard's spin lock, innermost: fire() runs under it and must not arm, disarm or wait. It may make a
 *            fiber ready or add to `out`. The driver lets go of it every TIMERS_BATCH nodes.
 * Source     shards as in bthread's timer thread; cancellation is physical, since most nodes lie on stacks.
 * Rejected   Cancellation by a CAS on a state word, unlinking later: 2 ns instead of 9, but the memory stays in use
 *            by the wheel. One wheel under one lock: every arm of every worker would meet there. Wheels owned by the
 *            workers: a worker in a long computation would hold up its timers.
 */
#ifndef TIMERS_TIMERS_H
#define TIMERS_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/atomic.h"
#include "timers/wheel.h"

#ifdef WEFT_TINY
#define TIMERS_BATCH 2              /* most nodes that fire while a shard's lock is held in one go */
#define TIMERS_TURN 70000           /* ns; the driver moves a wheel's base at least as often, if it is awake anyway */
#else
#define TIMERS_BATCH 64
#define TIMERS_TURN 4000000
#endif

/* Valid when zeroed: not armed. */
struct timer_node {
    struct wheel_node wheel;        /* first; due is set by arm and stays; owner is the shard */
    void (*fire)(struct timer_node *n, void *out);      /* the caller's; set before arm */
};

/* What the floor above posts here: end the driver's sleep, or its next one if it has not begun. From any thread. */
struct waker {
    void (*interrupt)(void *arg);
    void *arg;
};

struct timers_shard;

struct timers {
    struct timers_shard *shards;    /* these three fixed after init */
    unsigned count;
    struct waker waker;

    /* On its own line: INT64_MIN while the driver is awake and will look again before it sleeps. */
    atom64 sleeping_until __attribute__((aligned(64)));
};

/* 0, -EINVAL for no shards, -ENOMEM. The driver counts as awake. */
int timers_init(struct timers *t, unsigned shards, int64_t now, struct waker waker);

/* No thread uses t any more; what is still armed never fires. */
void timers_destroy(struct timers *t);

/* n is not armed. shard: any number, those beyond the last mean the last. due may be past; INT64_MAX never fires and
 * costs nothing. n may have fired before this returns. */
void timers_arm(struct timers *t, struct timer_node *n, int64_t due, unsigned shard);

/* True: it was armed and will not fire. False: it has fired, or was never armed. In either case see Promises.
 * Not two at once for one node, and not before its arm has returned. */
bool timers_disarm(struct timers *t, struct timer_node *n);

/* Call fire(n, out) for all that are due at now; how many. */
unsigned timers_expire(struct timers *t, int64_t now, void *out);

/* Nothing is due before this moment; INT64_MAX for never. As exact as wheel_next. */
int64_t timers_next(struct timers *t);

/* The driver is going to sleep: the moment until which it may. From now on arms of earlier timers interrupt it. */
int64_t timers_sleep(struct timers *t);

/* The driver has woken up, or did not sleep. To be followed by timers_expire and timers_sleep before the next sleep. */
void timers_wake(struct timers *t);

#endif
