/* SPDX-License-Identifier: MIT */
/*
 * pool - threads for what blocks: a runtime's jobs, first come first served
 *
 * Owns       the threads, started on demand up to the limit; the queue. A job lies on the stack of the fiber that waits for it.
 * Threads    pool_run: any fiber of the runtime. start, stop: one foreign thread.
 * Job        begins by claiming its fiber's wait as an event, ends by making it ready. So deadline and cancellation, which need
 *            the claim, withdraw a job that did not begin, and cannot touch one that did: its fiber waits until it has ended.
 * Idle       each idle thread waits on a condition of its own, the last one to become idle is the first to get work; so what the
 *            load does not need lies at the bottom, and ends after POOL_IDLE without waking another.
 *            A thread that ends joins the one that ended before it; the last is joined by the stop.
 * Lock       a mutex, under which a job is claimed, but no job is run and no fiber made ready.
 */
#ifndef IO_POOL_H
#define IO_POOL_H

#include <pthread.h>

#include "sched/wait.h"
#include "sched/worker.h"
#include "weft/base.h"

#define POOL_IDLE (5 * WEFT_SEC)

struct pool_thread;

struct pool {
    struct sched *sched;                        /* I */
    unsigned limit;                             /* I most threads */
    char name[12];                              /* I */
    pthread_mutex_t mutex;
    struct wait_queue jobs;                     /* under the mutex, like all below */
    struct pool_thread *idle;                   /* the newest first */
    struct pool_thread *ended;                  /* one that nobody has joined */
    unsigned threads, number;                   /* that did not end; ever made */
    bool stopping;
    pthread_cond_t empty;                       /* threads is 0 */
};

/* 0, -ENOMEM. s->pool is set. No thread is started yet. */
int pool_start(struct pool *p, struct sched *s, unsigned limit, const char *name);

/* Jobs that did not begin get -ESHUTDOWN; the threads are joined. */
void pool_stop(struct pool *p);

/* Run fn(arg) on a thread, and wait: 0 with its result; not begun: -EAGAIN (there is no thread, and none can be had), -ESHUTDOWN,
 * or why the wait ended. */
int pool_run(struct fiber *self, weft_fn fn, void *arg, int64_t *result, int64_t deadline);

#endif
