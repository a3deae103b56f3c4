/* SPDX-License-Identifier: MIT */
/*
 * fibers - the scheduler for model programs that are about waiting
 *
 * Takes the place of worker.c, timers.c and table.c of sched, once in each program. A model thread plays a fiber together with
 * the worker that it happens to be on, or a thread outside: it parks by the real fiber_to_parked after its "registers are saved"
 * (model_exclusive), and goes on when somebody has queued it. What the run queues order is ordered by a semaphore.
 *
 * Checked    by itself: whoever queues a fiber, and the worker that resumes it, comes after its registers were saved; a fiber is
 *            never queued twice. By fibers_end(): nobody has a token left, is queued or waits.
 * Timers     one slot for each model thread; fibers_time(i) is the driver: fires the i-th thread's timer, as soon as there is one.
 * Needs      sched/park.c sched/fiber.h timers/deadline.c timers/waiting.c
 */
#ifndef MODEL_FIBERS_H
#define MODEL_FIBERS_H

#include <errno.h>
#include <string.h>

#include "model/explorer.h"
#include "sched/lock.h"
#include "sched/park.h"
#include "timers/due.h"
#include "timers/timers.h"
#include "timers/waiting.h"

#define SOON (INT64_MAX - 1)            /* a deadline that comes when the model says so */

static struct sched fibers_sched;
static struct timers fibers_timers;
static struct worker fibers_worker;
static struct fiber fiber[MODEL_THREADS];                       /* of each model thread */
static struct { char unused[8]; } fibers_stack[MODEL_THREADS];  /* stands for what the switch saves */
static struct model_sem fibers_queued[MODEL_THREADS];
static struct thread fibers_thread[MODEL_THREADS + 1];
static struct { struct spin lock; struct timer_node *node; } fibers_timer[MODEL_THREADS];
static bool fibers_over[MODEL_THREADS];                         /* it waits no more */

/* ---- in the place of worker.c -------------------------------------------------------------------------------------------- */

struct thread *thread_self(void) { return &fibers_thread[model_self()]; }

void worker_leave(enum after wish)
{
    unsigned i = model_self();
    MODEL_ASSERT(wish == AFTER_PARK);
    model_exclusive(&fibers_stack[i]);          /* the registers are saved */
    if (!fiber_to_parked(&fiber[i]))
        return;
    model_sem_wait(&fibers_queued[i]);
    model_exclusive(&fibers_stack[i]);          /* and loaded */
    fiber_to_running(&fiber[i]);
}

void worker_queue(struct fiber *f)
{
    unsigned i = (unsigned)(f - fiber);
    MODEL_ASSERT(i < MODEL_THREADS && f->sched);
    model_exclusive(&fibers_stack[i]);
    MODEL_ASSERT(fibers_queued[i].count.v == 0);
    model_sem_post(&fibers_queued[i]);
}

void worker_queue_chain(struct chain *c)
{
    for (struct fiber *f; (f = chain_pop(c)) != NULL;)
        worker_queue(f);
}

struct fiber *table_get(struct table_cache *c) { (void)c; return NULL; }
void table_put(struct table_cache *c, struct fiber *f) { (void)c; (void)f; }
void table_publish(struct fiber *f, uint64_t flags) { (void)f; (void)flags; }
uint64_t handle_lock(struct fiber *f) { (void)f; return 0; }

bool futex_wait(atom32 *word, uint32_t value, int64_t deadline);
void futex_wake(atom32 *word);

bool futex_wait(atom32 *word, uint32_t value, int64_t deadline)
{
    return model_futex_wait(word, value, deadline != INT64_MAX) == -ETIMEDOUT;
}

void futex_wake(atom32 *word) { (void)model_futex_wake(word, 1); }

/* ---- in the place of timers.c -------------------------------------------------------------------------------------------- */

void timers_arm(struct timers *t, struct timer_node *n, int64_t due, unsigned shard)
{
    unsigned i = model_self();
    MODEL_ASSERT(t == &fibers_timers && due == SOON && shard == 0);
    spin_lock(&fibers_timer[i].lock);
    MODEL_ASSERT(!fibers_timer[i].node);
    fibers_timer[i].node = n;
    spin_unlock(&fibers_timer[i].lock);
}

bool timers_disarm(struct timers *t, struct timer_node *n)
{
    unsigned i = model_self();
    bool armed;
    spin_lock(&fibers_timer[i].lock);
    armed = fibers_timer[i].node == n;
    if (armed)
        fibers_timer[i].node = NULL;
    spin_unlock(&fibers_timer[i].lock);
    return t && armed;
}

static bool fibers_armed_or_over(void *arg)
{
    unsigned i = *(unsigned *)arg;
    return fibers_timer[i].node || fibers_over[i];
}

static inline void fibers_time(unsigned i)
{
    struct due due = { { NULL, NULL, 0, &fibers_sched }, NULL };
    struct timer_node *n;
    model_wait_until(fibers_armed_or_over, &i);
    spin_lock(&fibers_timer[i].lock);
    n = fibers_timer[i].node;
    fibers_timer[i].node = NULL;
    if (n)
        n->fire(n, &due);
    spin_unlock(&fibers_timer[i].lock);
    worker_queue_chain(&due.ready);
}

/* ---- setup and check ----------------------------------------------------------------------------------------------------- */

/* The first `n` model threads are fibers, or threads outside where the bit in `outside` is set. */
static void fibers_begin(unsigned n, unsigned outside)
{
    memset(fiber, 0, sizeof fiber);
    memset(fibers_queued, 0, sizeof fibers_queued);
    memset(fibers_thread, 0, sizeof fibers_thread);
    memset(fibers_timer, 0, sizeof fibers_timer);
    memset(fibers_over, 0, sizeof fibers_over);
    fibers_sched.timers = &fibers_timers;
    fibers_sched.count = 2;
    fibers_worker.sched = &fibers_sched;
    for (unsigned i = 0; i < n; i++) {
        bool out = outside >> i & 1;
        struct thread *t = &fibers_thread[i];
        fiber[i].sched = out ? NULL : &fibers_sched;
        fiber[i].index = i;
        fiber[i].handle.v = UINT64_C(1) << FIBER_INDEX_BITS;
        fiber[i].pin = -1;
        fiber[i].deadline = INT64_MAX;
        fiber[i].state.v = FIBER_RUNNING;
        fiber[i].wait.v = WAIT_NONE;
        t->fiber = out ? NULL : &fiber[i];
        t->outside = out ? &fiber[i] : NULL;
        t->worker = out ? NULL : &fibers_worker;
        model_name(&fiber[i].state, "state %u", i);
        model_name(&fiber[i].wait, "wait %u", i);
        model_name(&fiber[i].cancel, "cancel %u", i);
        model_name(&fibers_queued[i], "queued %u", i);
        model_name(&fibers_stack[i], "stack %u", i);
        model_name(&fibers_timer[i].lock, "timer %u", i);
    }
}

/* A thread that timed out is left as PARKED; it parks from there the next time. */
static void fibers_end(void)
{
    for (unsigned i = 0; i < MODEL_THREADS && fiber[i].handle.v; i++) {
        uint32_t state = fiber[i].state.v;
        MODEL_ASSERT(state == FIBER_RUNNING || (!fiber[i].sched && state == FIBER_PARKED));
        MODEL_ASSERT(fiber[i].wait.v == WAIT_NONE);
        MODEL_ASSERT(fibers_queued[i].count.v == 0);
        MODEL_ASSERT(!fibers_timer[i].node);
    }
}

#endif
