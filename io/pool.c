/* SPDX-License-Identifier: MIT */
/* pool - see pool.h */
#include "io/pool.h"

#include <errno.h>
#include <stdio.h>

#include "io/sys.h"
#include "sched/clock.h"
#include "sched/mem.h"
#include "timers/waiting.h"
#include "weft/io.h"

struct job {
    struct wait_node node;                      /* first */
    weft_fn fn;
    void *arg;
    int64_t result;
};

struct pool_thread {
    pthread_t id;
    struct pool *pool;
    struct pool_thread *next;                   /* below it in idle */
    pthread_cond_t wake;
    bool called;
};

/* ---- the threads; all under the mutex unless they say otherwise ---------------------------------------------------------- */

static void run_job(struct pool *p, struct job *j)
{
    struct fiber *f = j->node.fiber;
    pthread_mutex_unlock(&p->mutex);
    j->result = j->fn(j->arg);
    ready(f);                                   /* from here on j is gone */
    pthread_mutex_lock(&p->mutex);
}

static void leave_idle(struct pool *p, struct pool_thread *t)
{
    struct pool_thread **at = &p->idle;
    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
}

/* False: nothing came in time. */
static bool await(struct pool *p, struct pool_thread *t)
{
    int64_t end = clock_now() + POOL_IDLE;
    struct timespec until = { end / WEFT_SEC, end % WEFT_SEC };
    int late = 0;
    t->called = false;
    t->next = p->idle;
    p->idle = t;
    while (!t->called && !p->stopping && !late)
        late = pthread_cond_timedwait(&t->wake, &p->mutex, &until);
    if (!t->called)
        leave_idle(p, t);
    return t->called || p->stopping;
}

static void destroy(struct pool_thread *t)
{
    pthread_cond_destroy(&t->wake);
    mem_free(t, sizeof *t, _Alignof(struct pool_thread));
}

/* Not under the mutex. */
static void join(struct pool_thread *t)
{
    if (!t)
        return;
    pthread_join(t->id, NULL);
    destroy(t);
}

static void *run(void *arg)
{
    struct pool_thread *self = arg, *before;
    struct pool *p = self->pool;
    struct wait_node *n;
    pthread_mutex_lock(&p->mutex);
    do
        while ((n = wait_pop(&p->jobs)) != NULL)
            run_job(p, (struct job *)n);
    while (!p->stopping && await(p, self));
    before = p->ended;
    p->ended = self;
    if (--p->threads == 0)
        pthread_cond_signal(&p->empty);
    pthread_mutex_unlock(&p->mutex);            /* from here on p may be gone, once it has joined us */
    join(before);
    return NULL;
}

static int add_thread(struct pool *p)
{
    struct pool_thread *t = mem_alloc(sizeof *t, _Alignof(struct pool_thread));
    pthread_condattr_t attr;
    char suffix[6];
    if (!t)
        return -EAGAIN;
    t->pool = p;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &attr);
    pthread_condattr_destroy(&attr);
    snprintf(suffix, sizeof suffix, "/b%u", p->number % 1000);
    if (sys_thread(&t->id, run, t, p->name, suffix)) {
        destroy(t);
        return -EAGAIN;
    }
    p->threads++;
    p->number++;
    return 0;
}

/* See to it that somebody comes for one more job. */
static int call_thread(struct pool *p)
{
    struct pool_thread *t = p->idle;
    if (t) {
        p->idle = t->next;
        t->called = true;
        pthread_cond_signal(&t->wake);
        return 0;
    }
    if (p->threads < p->limit && add_thread(p) && !p->threads)
        return -EAGAIN;
    return 0;
}

/* ---- the fibers ---------------------------------------------------------------------------------------------------------- */

int pool_run(struct fiber *self, weft_fn fn, void *arg, int64_t *result, int64_t deadline)
{
    struct pool *p = self->sched->pool;
    struct job j = { .node.fiber = self, .fn = fn, .arg = arg };
    int r = waiting_admit(self, &deadline);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->mutex);
    r = p->stopping ? -ESHUTDOWN : call_thread(p);
    if (r == 0) {
        wait_open(self);
        wait_push(&p->jobs, &j.node);
    }
    pthread_mutex_unlock(&p->mutex);
    if (r < 0)
        return r;
    r = waiting_park(self, deadline);
    if (r < 0) {
        pthread_mutex_lock(&p->mutex);
        wait_remove(&p->jobs, &j.node);
        pthread_mutex_unlock(&p->mutex);
        return r;
    }
    if (j.node.result == 0 && result)
        *result = j.result;
    return (int)j.node.result;
}

int weft_blocking(weft_fn fn, void *arg, int64_t *result, int64_t deadline)
{
    struct fiber *self;
    int64_t value;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (!park_is_thread(self))
        return pool_run(self, fn, arg, result, deadline);
    value = fn(arg);
    if (result)
        *result = value;
    return 0;
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------ */

int pool_start(struct pool *p, struct sched *s, unsigned limit, const char *name)
{
    *p = (struct pool){ .sched = s, .limit = limit ? limit : 1 };
    snprintf(p->name, sizeof p->name, "%s", name);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->empty, NULL);
    s->pool = p;
    return 0;
}

void pool_stop(struct pool *p)
{
    struct wait_node *left;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    left = waiting_pop_all(&p->jobs, -ESHUTDOWN);
    for (struct pool_thread *t = p->idle; t; t = t->next)
        pthread_cond_signal(&t->wake);
    while (p->threads)
        pthread_cond_wait(&p->empty, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    waiting_ready_all(left);
    join(p->ended);
    p->sched->pool = NULL;
    pthread_cond_destroy(&p->empty);
    pthread_mutex_destroy(&p->mutex);
}
