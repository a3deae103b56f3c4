/* SPDX-License-Identifier: MIT */
/*
 * stats - the counters, read from outside while they move
 *
 * Each has one writer and is read relaxed: exact by itself, of about the same moment as the others. The present phase of a worker
 * is added to its time, so that idle workers do not seem to stand still.
 */
#include <errno.h>
#include <string.h>

#include "runtime/rt.h"
#include "sched/clock.h"

static uint64_t phase_ns(const struct worker *w, enum phase phase, uint64_t now)
{
    uint64_t ns = load_relaxed64(&w->time[phase]), since = load_relaxed64(&w->since);
    return load_relaxed32(&w->phase) == phase && now > since ? ns + (now - since) : ns;
}

static void read_worker(const struct worker *w, struct weft_worker_stats *to)
{
    uint64_t now = (uint64_t)clock_now();
    to->dispatched = load_relaxed64(&w->dispatched);
    to->spawned = load_relaxed64(&w->spawned) + load_relaxed64(&w->daemons_spawned);
    to->ended = load_relaxed64(&w->ended) + load_relaxed64(&w->daemons_ended);
    to->stolen = load_relaxed64(&w->stolen);
    to->steal_attempts = load_relaxed64(&w->attempts);
    to->injected = load_relaxed64(&w->injected);
    to->parked = load_relaxed64(&w->parks);
    to->woken = load_relaxed64(&w->wakes);
    to->run_ns = phase_ns(w, PHASE_RUN, now);
    to->search_ns = phase_ns(w, PHASE_SEARCH, now);
    to->park_ns = phase_ns(w, PHASE_PARK, now);
}

static void add(struct weft_worker_stats *sum, const struct weft_worker_stats *one)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)one;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

int weft_stats(weft_rt *rt, struct weft_stats *stats, size_t size)
{
    struct weft_stats all = { .workers = 0 };
    if (!rt || !stats)
        return -EINVAL;
    all.workers = rt->sched.count;
    all.io_wakeups = load_relaxed64(&rt->reactor.wakeups);
    all.io_events = load_relaxed64(&rt->reactor.events);
    all.timers_fired = load_relaxed64(&rt->reactor.fired);
    all.fibers = (uint64_t)rt_alive(rt, true);
    for (unsigned i = 0; i < rt->sched.count; i++) {
        struct weft_worker_stats one = { .dispatched = 0 };
        read_worker(&rt->sched.workers[i], &one);
        add(&all.all, &one);
        if (i < WEFT_STATS_WORKERS)
            all.worker[i] = one;
    }
    memcpy(stats, &all, size < sizeof all ? size : sizeof all);
    return 0;
}
