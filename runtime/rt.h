/* SPDX-License-Identifier: MIT */
/*
 * rt - a runtime: one of each floor, its life, who is inside and who is alive
 *
 *    FREE --weft_start--> RUNNING --weft_stop--> STOPPING --nobody left--> CLOSED --torn down--> FREE
 *
 * Owns       the scheduler, the timers, the reactor, the pool; who is counted, who is inside from outside.
 * Threads    any; a thread that is no fiber of this runtime enters by rt_enter() and leaves by rt_leave(), so that the end of the
 *            runtime can wait for it. The struct itself is never freed but used again, so that a late call on a stopped
 *            runtime is answered with -ESHUTDOWN and does not crash.
 * Counting   fibers are counted where they are spawned and where they end, by counters with one writer each. A reader who adds
 *            up first all that ended and then all that were spawned, and finds the same, knows that at one moment in between
 *            nobody lived; and only those who live (and threads inside) spawn.
 * Ordering   Q1 ended++; light; read draining  <-- Dekker -->  draining = 1; heavy; read the counters: the last one to end sees
 *            that somebody waits, or the waiter sees that it has ended.
 *            Q2 a spawn publishes its fiber; light; reads state  <-- Dekker -->  stop writes state; heavy; walks the table: a fiber
 *            is seen by the walk, or its spawner sees the stop and cancels it itself.
 *            Q4 ended++ release -> rt_alive acquire: what the fiber spawned was counted before.
 *            Q5 the stopper lets go, release -> the next one takes over, acquire: what is stopped already.
 *            Q3 inside++ (SC); reads state  <-- Dekker -->  stop writes CLOSED; fence; reads inside.
 */
#ifndef RUNTIME_RT_H
#define RUNTIME_RT_H

#include "io/pool.h"
#include "io/reactor.h"
#include "runtime/weft.h"
#include "sched/threads.h"
#include "timers/timers.h"

enum rt_state { RT_FREE, RT_CLOSED, RT_STOPPING, RT_RUNNING };  /* from STOPPING on it may be held */

struct weft_rt {
    struct sched sched;                         /* first, so that a fiber's scheduler tells its runtime */
    struct threads threads;
    struct timers timers;
    struct reactor reactor;
    struct pool pool;
    size_t stack_size;                          /* I */
    atom32 state;                               /* A enum rt_state: Q2 */
    atom64 inside;                              /* A calls in progress that do not rest on a fiber of ours */
    uint64_t epoch;                             /* I which life of this struct it is */
    atom64 foreign_spawned, foreign_daemons;    /* A fibers spawned from outside; daemons are counted apart */
    atom32 stopper;                             /* A 1: somebody stops it: Q5 */
    atom32 draining;                            /* A 1: somebody waits for the counts: Q1 */
    struct weft_event quiet;                    /* set whenever they may have become equal */
    struct weft_rt *next;                       /* under rt.c's lock */
    struct monitor *monitor;                    /* runtime/monitor.c */
    struct trim *trim;                          /* runtime/trim.c */
    struct callbacks *callbacks;                /* runtime/timer.c */
};

static inline struct weft_rt *rt_of(const struct fiber *f) { return (struct weft_rt *)f->sched; }

/* A caller that is no fiber of rt: 0, and rt lives until rt_leave(); or -EINVAL (NULL), -ESHUTDOWN. */
int rt_enter(struct weft_rt *rt);
void rt_leave(struct weft_rt *rt);

/* The same while it is stopping, too, if it is still in this life. */
bool rt_hold(struct weft_rt *rt, uint64_t epoch);

/* The caller's own, or outside a fiber the oldest that runs; NULL: none. To be left. */
struct weft_rt *rt_hold_any(void);

/* Fibers alive: counted ones that are not daemons, or all. */
int64_t rt_alive(struct weft_rt *rt, bool daemons);

/* Wait until that is 0. 0, or as a wait. */
int rt_drain(struct weft_rt *rt, bool daemons, int64_t deadline);

/* After the counts of a fiber that ended. */
void rt_ended(struct weft_rt *rt);

struct weft_rt *rt_make(void);                  /* a struct in a new life, CLOSED; NULL: no memory */
bool rt_free(struct weft_rt *rt);               /* true: no other is in use */

#endif
