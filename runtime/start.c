/* SPDX-License-Identifier: MIT */
/*
 * start - how a runtime comes up, runs a main fiber, and goes down
 *
 * Start      1 a struct, 2 timers, 3 the pool, 4 the I/O thread, 5 workers. A failure takes back what was done, in reverse.
 * Stop       1 STOPPING: no more spawns, 2 every fiber is cancelled, 3 none is left (or the deadline has passed: they are
 *            named, and
 *            the runtime stays STOPPING), 4 the callbacks' fiber ends, 5 nobody is inside from outside, 6 the workers' threads,
 *            7 the pool, 8 the I/O thread, which workers still needed, 9 workers and timers, 10 fibers that nobody joined,
 *            11 the struct.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cancel.h"
#include "runtime/cpus.h"
#include "runtime/monitor.h"
#include "runtime/spawn.h"
#include "runtime/timer.h"
#include "runtime/trim.h"
#include "sched/barrier.h"
#include "sched/clock.h"
#include "sched/overflow.h"
#include "timers/waiting.h"

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

static __thread struct overflow_stack signal_stack;

/* Without one an overflow still ends the process, only without a word. */
static void thread_begin(void) { (void)overflow_thread_begin(&signal_stack); }
static void thread_end(void) { overflow_thread_end(&signal_stack); }

/* In a signal handler, on the thread whose fiber overflowed. */
static const char *describe(void *top, int64_t *id)
{
    struct fiber *f = thread_self()->fiber;
    if (!f || f->stack.top != top)
        return NULL;
    *id = fiber_id(f);
    return f->name;
}

/* ---- start --------------------------------------------------------------------------------------------------------------- */

static const struct sched_hooks hooks = { spawn_ended, monitor_call, trim_call };

/* The last one hands back the memory that all share. */
static void release(struct weft_rt *rt)
{
    if (rt_free(rt)) {
        stack_pool_release();
        table_trim();
    }
}

static int bring_up(struct weft_rt *rt, unsigned workers, unsigned blocking, const char *name)
{
    struct waker waker = { reactor_interrupt, &rt->reactor };
    int error;
    if ((error = timers_init(&rt->timers, workers + 1, clock_now(), waker)) < 0)
        return error;
    rt->sched.timers = &rt->timers;
    rt->sched.count = workers;
    rt->threads.begin = thread_begin;
    rt->threads.end = thread_end;
    if ((error = overflow_install(describe)) < 0)
        goto no_overflow;
    if ((error = monitor_start(rt)) < 0)
        goto no_monitor;
    if ((error = trim_start(rt)) < 0)
        goto no_trim;
    if ((error = timer_begin(rt)) < 0)
        goto no_callbacks;
    if ((error = pool_start(&rt->pool, &rt->sched, blocking, name)) < 0)
        goto no_pool;
    if ((error = reactor_start(&rt->reactor, &rt->sched, &rt->timers, name)) < 0)
        goto no_reactor;
    if ((error = sched_start(&rt->sched, &rt->threads, workers, &hooks, name)) < 0)
        goto no_sched;
    return 0;
no_sched:
    reactor_stop(&rt->reactor);
no_reactor:
    pool_stop(&rt->pool);
no_pool:
    timer_end(rt);
no_callbacks:
    trim_stop(rt);
no_trim:
    monitor_stop(rt);
no_monitor:
    overflow_remove();
no_overflow:
    timers_destroy(&rt->timers);
    return error;
}

/* How many workers: the environment, the option, the machine. */
static int count_workers(const struct weft_opts *o, unsigned *workers)
{
    const char *text = getenv("WEFT_WORKERS");
    char *end;
    unsigned long n = o->workers;
    if (text && *text) {
        n = strtoul(text, &end, 10);
        if (*end || *text == '-' || n == 0 || n > MAX_WORKERS) {
            fprintf(stderr, "weft: WEFT_WORKERS=%s is not a number from 1 to %d\n", text, MAX_WORKERS);
            return -EINVAL;
        }
    }
    if (n > MAX_WORKERS)
        return -EINVAL;
    *workers = n ? (unsigned)n : cpus_usable(MAX_WORKERS);
    return 0;
}

static int start(struct weft_rt **out, const struct weft_opts *given)
{
    struct weft_opts o = { .size = sizeof o };
    struct weft_rt *rt;
    unsigned workers;
    int error;
    if (given) {
        size_t size = given->size && given->size < sizeof o ? given->size : sizeof o;
        memcpy(&o, given, size);
    }
    if (o.flags || (error = count_workers(&o, &workers)) < 0)
        return -EINVAL;
    if (waiting_stale())
        return -ESTALE;
    barrier_init();
    if ((error = waiting_watch_fork()) < 0)
        return error;
    if (!(rt = rt_make()))
        return -ENOMEM;
    rt->stack_size = o.stack_size ? o.stack_size : STACK_DEFAULT;
    error = bring_up(rt, workers, o.blocking_threads ? o.blocking_threads : 16, o.name ? o.name : "weft");
    if (error) {
        release(rt);
        return error;
    }
    store_release32(&rt->state, RT_RUNNING);
    *out = rt;
    return 0;
}

int weft_start(weft_rt **rt, const struct weft_opts *opts) { return rt ? start(rt, opts) : -EINVAL; }

/* ---- stop ---------------------------------------------------------------------------------------------------------------- */

struct walk { struct weft_rt *rt; struct chain chain; int named; };

static enum table_verdict cancel_one(struct fiber *f, void *arg)
{
    struct walk *w = arg;
    if (f->sched == &w->rt->sched && !(f->flags & FIBER_INTERNAL) && !(load_relaxed64(&f->handle) & HANDLE_ENDED))
        cancel_locked(f, &w->chain);
    return TABLE_NEXT;
}

static enum table_verdict name_one(struct fiber *f, void *arg)
{
    struct walk *w = arg;
    if (f->sched != &w->rt->sched || f->flags & FIBER_INTERNAL || load_relaxed64(&f->handle) & HANDLE_ENDED)
        return TABLE_NEXT;
    if (w->named++ < 20)
        fprintf(stderr, "weft: still there at the stop: fiber %lld%s%s%s\n", (long long)fiber_id(f), f->name[0] ? " \"" : "",
                f->name, f->name[0] ? "\"" : "");
    return TABLE_NEXT;
}

static enum table_verdict free_one(struct fiber *f, void *arg)
{
    struct walk *w = arg;
    if (f->sched != &w->rt->sched || !(load_relaxed64(&f->handle) & HANDLE_ENDED))
        return TABLE_NEXT;
    table_put(NULL, f);
    return TABLE_GONE;
}

static void tear_down(struct weft_rt *rt)
{
    struct walk w = { .rt = rt };
    timer_end_callbacks(rt);
    store_release32(&rt->state, RT_CLOSED);
    fence_full();                               /* Q3: pairs with rt_hold */
    while (load_seqcst64(&rt->inside)) {
        weft_event_reset(&rt->quiet);
        fence_full();
        if (load_seqcst64(&rt->inside))
            (void)weft_event_wait(&rt->quiet, WEFT_FOREVER);
    }
    sched_stop(&rt->sched, &rt->threads);
    pool_stop(&rt->pool);
    reactor_stop(&rt->reactor);
    sched_destroy(&rt->sched);
    monitor_stop(rt);
    trim_stop(rt);
    timer_end(rt);
    overflow_remove();
    timers_destroy(&rt->timers);
    table_each(free_one, &w);
    release(rt);
}

static int stop(struct weft_rt *rt, int64_t deadline)
{
    struct walk w = { .rt = rt };
    int r;
    w.chain.sched = &rt->sched;
    store_release32(&rt->state, RT_STOPPING);
    barrier_heavy();                            /* Q2: pairs with a spawn that is under way */
    table_each(cancel_one, &w);
    worker_queue_chain(&w.chain);
    r = rt_drain(rt, true, deadline);
    if (r == -ETIMEDOUT)
        table_each(name_one, &w);
    if (r == 0)
        tear_down(rt);
    return r;
}

int weft_stop(weft_rt *rt, int64_t deadline)
{
    struct fiber *self;
    int r = rt ? waiting_enter(&self) : -EINVAL;
    if (r < 0)
        return r;
    if (!park_is_thread(self) && rt_of(self) == rt)
        return -EDEADLK;
    if (waiting_stale())
        return -ESTALE;
    if (load_acquire32(&rt->state) == RT_FREE)
        return -ESHUTDOWN;
    if (xchg_acqrel32(&rt->stopper, 1))         /* Q5: pairs with the release below */
        return -EALREADY;
    r = stop(rt, deadline);
    if (r < 0)
        store_release32(&rt->stopper, 0);       /* Q5: somebody may try again */
    return r;
}

/* ---- run and call -------------------------------------------------------------------------------------------------------- */

int weft_call(weft_rt *rt, weft_fn fn, void *arg, int64_t *result, int64_t deadline)
{
    struct spawn s = { .rt = rt, .fn = fn, .arg = arg };
    struct fiber *self;
    weft_t id;
    int r = rt ? waiting_enter(&self) : -EINVAL;
    if (r < 0)
        return r;
    id = spawn(&s);
    if (id < 0)
        return (int)id;
    r = weft_join(id, result, deadline);
    if (r < 0) {
        weft_cancel(id);
        weft_detach(id);
    }
    return r;
}

int64_t weft_run(weft_fn fn, void *arg, const struct weft_opts *opts)
{
    struct weft_rt *rt;
    struct spawn s = { .fn = fn, .arg = arg, .name = "main" };
    struct fiber *self = park_self();
    int64_t result = 0, ambient;
    uint32_t shield;
    weft_t id;
    int r = !self ? -ENOMEM : !fn ? -EINVAL : start(&rt, opts);
    if (r < 0)
        return r;
    ambient = self->deadline;
    shield = self->shield;
    self->deadline = WEFT_FOREVER;
    self->shield = 1;
    s.rt = rt;
    id = spawn(&s);
    if (id < 0)
        result = id;
    else if ((r = weft_join(id, &result, WEFT_FOREVER)) < 0)
        result = r;
    (void)rt_drain(rt, false, WEFT_FOREVER);
    (void)stop(rt, WEFT_FOREVER);
    self->deadline = ambient;
    self->shield = shield;
    return result;
}
