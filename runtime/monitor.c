/* SPDX-License-Identifier: MIT */
/* monitor - see monitor.h */
#include "runtime/monitor.h"

#include <errno.h>

#include "runtime/rt.h"
#include "sched/clock.h"
#include "sched/mem.h"
#include "timers/due.h"

#define MONITOR_PERIOD (2 * WEFT_MSEC)
#define MONITOR_SLICE (10 * WEFT_MSEC)
#ifdef WEFT_TINY
#define MONITOR_QUIET 1
#else
#define MONITOR_QUIET 10
#endif

/* The lines that tests/model/worker_model.c must see broken. */
#ifdef MUTANT_MONITOR_SLEEP_FENCE
#define sleep_fence() ((void)0)
#else
#define sleep_fence() fence_full()
#endif
struct seen { uint64_t dispatched; int64_t since; };            /* the I/O thread only; since: the look that saw it first */

struct monitor {
    struct timer_node node;                     /* first */
    struct due_call call;
    struct weft_rt *rt;
    unsigned quiet;                             /* the I/O thread only: looks without a call */
    atom32 called;                              /* 1: somebody called since the last look */
    struct seen seen[];
};

static size_t size_of(const struct weft_rt *rt)
{
    return sizeof(struct monitor) + rt->sched.count * sizeof(struct seen);
}

static void look_at(struct monitor *m, struct worker *w, int64_t now)
{
    struct seen *seen = &m->seen[w->index];
    uint64_t dispatched = load_relaxed64(&w->dispatched);
    if (dispatched != seen->dispatched || load_relaxed32(&w->phase) != PHASE_RUN) {
        seen->dispatched = dispatched;
        seen->since = now;
        return;
    }
    if (now - seen->since >= MONITOR_SLICE)
        (void)or_acqrel32(&w->tripwire, TRIP_EXPIRED);          /* pairs with worker_trip */
    if (load_relaxedptr(&w->next)) {
        store_release32(&w->stale, 1);          /* pairs with steal_next */
        (void)idle_wake_one(&m->rt->sched.idle);
    }
}

/* Nobody called for a while. False: somebody came in just now, or a next slot is taken, so somebody must go on looking. */
static bool sleep_on(struct monitor *m)
{
    struct sched *s = &m->rt->sched;
    bool taken = false;
    m->quiet = 0;
    store_release32(&s->watched, 0);            /* M3: the node, to the worker that arms it next */
    sleep_fence();                              /* M2: pairs with worker_queue */
    for (unsigned i = 0; i < s->count; i++) {
        struct worker *w = &s->workers[i];
        (void)or_acqrel32(&w->tripwire, TRIP_CALL);             /* M1: pairs with worker_trip */
        taken |= load_relaxed32(&w->phase) == PHASE_RUN && load_relaxedptr(&w->next);
    }
    return !taken || xchg_acqrel32(&s->watched, 1);
}

static void look(struct due_call *call)
{
    struct monitor *m = (struct monitor *)((char *)call - offsetof(struct monitor, call));
    struct sched *s = &m->rt->sched;
    int64_t now = clock_now();
    for (unsigned i = 0; i < s->count; i++)
        look_at(m, &s->workers[i], now);
    m->quiet = xchg_acqrel32(&m->called, 0) ? 0 : m->quiet + 1;
    if (m->quiet < MONITOR_QUIET || !sleep_on(m))
        timers_arm(&m->rt->timers, &m->node, now + MONITOR_PERIOD, 0);
}

static void fire(struct timer_node *node, void *out)
{
    due_add_call(out, &((struct monitor *)node)->call);
}

void monitor_call(struct sched *s)
{
    struct weft_rt *rt = (struct weft_rt *)s;
    struct monitor *m = rt->monitor;
    store_relaxed32(&m->called, 1);
    if (!load_relaxed32(&s->watched) && !xchg_acqrel32(&s->watched, 1))         /* M3: pairs with sleep_on */
        timers_arm(&rt->timers, &m->node, clock_now() + MONITOR_PERIOD, 0);
}

int monitor_start(struct weft_rt *rt)
{
    rt->monitor = mem_alloc(size_of(rt), _Alignof(struct monitor));
    if (!rt->monitor)
        return -ENOMEM;
    rt->monitor->rt = rt;
    rt->monitor->node.fire = fire;
    rt->monitor->call.run = look;
    return 0;
}

void monitor_stop(struct weft_rt *rt)
{
    mem_free(rt->monitor, size_of(rt), _Alignof(struct monitor));
    rt->monitor = NULL;
}
