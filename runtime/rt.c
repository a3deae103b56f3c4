/* SPDX-License-Identifier: MIT */
/* rt - who is inside a runtime, and who is alive in it; see rt.h */
#include "runtime/rt.h"

#include <errno.h>
#include <string.h>

#include "sched/barrier.h"
#include "sched/mem.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct weft_rt *all;                     /* every struct ever made, the newest first */
static unsigned in_use;                         /* of them */

/* ---- who is inside ------------------------------------------------------------------------------------------------------- */

void rt_leave(struct weft_rt *rt)
{
    (void)add_seqcst64(&rt->inside, -UINT64_C(1));
    if (load_seqcst32(&rt->draining))           /* Q1: pairs with rt_drain */
        weft_event_set(&rt->quiet);
}

bool rt_hold(struct weft_rt *rt, uint64_t epoch)
{
    (void)add_seqcst64(&rt->inside, 1);         /* Q3: pairs with tear_down: it sees us inside, or we see CLOSED */
    if (load_seqcst32(&rt->state) >= RT_STOPPING && rt->epoch == epoch)
        return true;
    rt_leave(rt);
    return false;
}

int rt_enter(struct weft_rt *rt)
{
    if (!rt)
        return -EINVAL;
    (void)add_seqcst64(&rt->inside, 1);
    if (load_seqcst32(&rt->state) == RT_RUNNING)
        return 0;
    rt_leave(rt);
    return -ESHUTDOWN;
}

struct weft_rt *rt_hold_any(void)
{
    struct fiber *self = thread_self()->fiber;
    struct weft_rt *rt = self ? rt_of(self) : NULL, *found = NULL;
    if (rt) {
        (void)add_seqcst64(&rt->inside, 1);
        return rt;
    }
    pthread_mutex_lock(&lock);
    for (rt = all; rt; rt = rt->next)
        if (load_relaxed32(&rt->state) == RT_RUNNING && (!found || rt->epoch < found->epoch))
            found = rt;
    if (found)
        (void)add_seqcst64(&found->inside, 1);
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- counting ------------------------------------------------------------------------------------------------------------ */

int64_t rt_alive(struct weft_rt *rt, bool daemons)
{
    uint64_t ended = 0, spawned;
    struct sched *s = &rt->sched;
    for (unsigned i = 0; i < s->count; i++) {
        ended += load_acquire64(&s->workers[i].ended);          /* Q4: pairs with spawn_ended */
        if (daemons)
            ended += load_acquire64(&s->workers[i].daemons_ended);
    }
    spawned = load_acquire64(&rt->foreign_spawned) + (daemons ? load_acquire64(&rt->foreign_daemons) : 0);
    for (unsigned i = 0; i < s->count; i++) {
        spawned += load_acquire64(&s->workers[i].spawned);
        if (daemons)
            spawned += load_acquire64(&s->workers[i].daemons_spawned);
    }
    return (int64_t)(spawned - ended);
}

void rt_ended(struct weft_rt *rt)
{
    barrier_light();                            /* Q1: pairs with rt_drain */
    if (load_relaxed32(&rt->draining))
        weft_event_set(&rt->quiet);
}

int rt_drain(struct weft_rt *rt, bool daemons, int64_t deadline)
{
    int r = 0;
    store_relaxed32(&rt->draining, 1);
    barrier_heavy();                            /* Q1: pairs with rt_ended, rt_leave */
    for (;;) {
        weft_event_reset(&rt->quiet);
        fence_full();
        if (rt_alive(rt, daemons) <= 0)
            break;
        if ((r = weft_event_wait(&rt->quiet, deadline)) < 0)
            break;
    }
    return r;
}

/* ---- structs -------------------------------------------------------------------------------------------------------------- */

struct weft_rt *rt_make(void)
{
    static uint64_t epochs;
    struct weft_rt *rt, *next;
    pthread_mutex_lock(&lock);
    for (rt = all; rt && load_acquire32(&rt->state) != RT_FREE; rt = rt->next)
        continue;
    if (!rt && (rt = mem_alloc(sizeof *rt, _Alignof(struct weft_rt))) != NULL) {
        rt->next = all;
        all = rt;
    }
    if (rt) {
        next = rt->next;
        memset((char *)rt + offsetof(struct weft_rt, stack_size), 0, offsetof(struct weft_rt, state) -
               offsetof(struct weft_rt, stack_size));
        rt->next = next;
        rt->epoch = ++epochs;
        store_relaxed64(&rt->foreign_spawned, 0);
        store_relaxed64(&rt->foreign_daemons, 0);
        store_relaxed32(&rt->draining, 0);
        store_relaxed32(&rt->stopper, 0);
        store_release32(&rt->state, RT_CLOSED);                 /* taken, not yet to be entered */
        in_use++;
    }
    pthread_mutex_unlock(&lock);
    return rt;
}

bool rt_free(struct weft_rt *rt)
{
    bool last;
    pthread_mutex_lock(&lock);
    store_release32(&rt->state, RT_FREE);
    last = --in_use == 0;
    pthread_mutex_unlock(&lock);
    return last;
}
