/* SPDX-License-Identifier: MIT */
/* spawn - see spawn.h */
#include "runtime/spawn.h"

#include <errno.h>
#include <string.h>

#include "runtime/members.h"
#include "sched/barrier.h"
#include "timers/waiting.h"

/* ---- making -------------------------------------------------------------------------------------------------------------- */

static void fill(struct fiber *f, const struct spawn *s, struct weft_rt *rt, const struct fiber *parent)
{
    f->sched = &rt->sched;
    f->flags = s->flags;
    f->pin = -1;
    f->fn = s->fn;
    f->arg = s->arg;
    f->result = 0;
    f->deadline = parent && !(s->flags & FIBER_INTERNAL) ? parent->deadline : WEFT_FOREVER;
    f->shield = f->nosuspend = 0;
    f->joiners.head = f->joiners.tail = NULL;
    f->group = s->group;
    f->name[0] = '\0';
    if (s->name) {
        strncpy(f->name, s->name, sizeof f->name - 1);
        f->name[sizeof f->name - 1] = '\0';
    }
    store_relaxed32(&f->cancel, 0);
    store_relaxed32(&f->wait, WAIT_NONE);
    store_relaxed32(&f->state, FIBER_NEW);
    table_publish(f, s->detached ? HANDLE_DETACHED : 0);
}

static void count(struct weft_rt *rt, struct worker *w, uint32_t flags)
{
    if (flags & FIBER_INTERNAL)
        return;
    if (w)
        count_up64(flags & FIBER_DAEMON ? &w->daemons_spawned : &w->spawned, 1);
    else
        (void)add_seqcst64(flags & FIBER_DAEMON ? &rt->foreign_daemons : &rt->foreign_spawned, 1);
}

static weft_t make(const struct spawn *s, struct weft_rt *rt, struct worker *w, const struct fiber *parent)
{
    struct fiber *f = table_get(w ? &w->fibers : NULL);
    weft_t id;
    int error;
    if (!f)
        return -ENOMEM;
    error = stack_promise(w ? &w->stacks : NULL, s->stack_size ? s->stack_size : rt->stack_size, &f->stack);
    if (error) {
        table_put(w ? &w->fibers : NULL, f);
        return error;
    }
    fill(f, s, rt, parent);
    id = fiber_id(f);
    count(rt, w, s->flags);
    if (s->group)
        members_add(s->group, f);
    if (w)
        worker_queue_fresh(w, f);
    else
        worker_queue(f);
    barrier_light();                            /* Q2: pairs with the walk of weft_stop */
    if (load_relaxed32(&rt->state) != RT_RUNNING && !(s->flags & FIBER_INTERNAL))
        weft_cancel(id);
    return id;
}

weft_t spawn(const struct spawn *s)
{
    struct thread *t = thread_self();
    struct fiber *parent = t->fiber;
    struct weft_rt *home = parent ? rt_of(parent) : NULL, *rt = s->rt ? s->rt : home;
    weft_t id;
    int error;
    if (!rt)
        return -EAGAIN;
    if (waiting_stale())
        return -ESTALE;
    if (!s->fn)
        return -EINVAL;
    if (rt == home)
        return load_relaxed32(&rt->state) == RT_RUNNING ? make(s, rt, t->worker, parent) : -ESHUTDOWN;
    if ((error = rt_enter(rt)) < 0)
        return error;
    id = make(s, rt, NULL, parent);
    rt_leave(rt);
    return id;
}

weft_t weft_spawn(weft_fn fn, void *arg)
{
    struct spawn s = { .fn = fn, .arg = arg };
    return spawn(&s);
}

weft_t weft_spawn_attr(weft_fn fn, void *arg, const struct weft_attr *attr)
{
    struct spawn s = { .fn = fn, .arg = arg };
    if (!attr)
        return spawn(&s);
    if (attr->flags & ~(WEFT_PINNED | WEFT_DETACHED | WEFT_DAEMON) || attr->priority)
        return -EINVAL;
    s.rt = attr->runtime;
    s.stack_size = attr->stack_size;
    s.name = attr->name;
    s.flags = (attr->flags & WEFT_PINNED ? FIBER_PINNED : 0) | (attr->flags & WEFT_DAEMON ? FIBER_DAEMON : 0);
    s.detached = attr->flags & WEFT_DETACHED;
    return spawn(&s);
}

/* ---- ending -------------------------------------------------------------------------------------------------------------- */

/* Give the result to all that wait for it; they are linked by next and made ready by the caller. */
static struct wait_node *deliver(struct fiber *f)
{
    struct wait_node *all = waiting_pop_all((struct wait_queue *)&f->joiners, 0);
    for (struct wait_node *n = all; n; n = n->next)
        if (n->value)
            *(int64_t *)n->value = f->result;
    return all;
}

void spawn_ended(struct fiber *f)
{
    struct weft_rt *rt = rt_of(f);
    struct worker *w = thread_self()->worker;
    struct wait_node *joiners = NULL;
    uint32_t flags = f->flags;
    uint64_t handle;
    if (f->group)
        members_ended(f->group, f);
    handle = handle_lock(f);
    if (f->joiners.head)
        joiners = deliver(f);
    if (joiners || handle & HANDLE_DETACHED)
        table_put(&w->fibers, f);               /* unlocks it: the id is stale */
    else
        handle_unlock(f, handle | HANDLE_ENDED);
    if (joiners)
        waiting_ready_all(joiners);
    if (flags & FIBER_INTERNAL)
        return;
    count_up_release64(flags & FIBER_DAEMON ? &w->daemons_ended : &w->ended, 1);        /* Q4: pairs with rt_alive */
    rt_ended(rt);
}

void weft_exit(int64_t result)
{
    struct fiber *self = thread_self()->fiber;
    if (!self)
        pthread_exit((void *)(intptr_t)result);
    self->result = result;
    (void)weft_block_end();                     /* should it be inside */
    worker_leave(AFTER_END);
    __builtin_unreachable();
}

/* ---- by id --------------------------------------------------------------------------------------------------------------- */

/* Wait in the joiners' queue of f, whose handle is locked and showed `handle`. */
static int join_wait(struct fiber *self, struct fiber *f, uint64_t handle, weft_t id, int64_t *result, int64_t deadline)
{
    struct wait_node node = { .fiber = self, .value = result };
    int r = waiting_admit(self, &deadline);
    if (r < 0) {
        handle_unlock(f, handle);
        return r;
    }
    wait_open(self);
    wait_push((struct wait_queue *)&f->joiners, &node);
    handle_unlock(f, handle);
    r = waiting_park(self, deadline);
    if (r < 0 && (f = table_lock_id(id)) != NULL) {             /* else it ended, and spawn_ended has unlinked us */
        wait_remove((struct wait_queue *)&f->joiners, &node);
        handle_unlock(f, load_relaxed64(&f->handle) & ~HANDLE_LOCKED);
    }
    return r;
}

int weft_join(weft_t id, int64_t *result, int64_t deadline)
{
    struct fiber *self, *f;
    uint64_t handle;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (waiting_stale())
        return -ESTALE;
    if (fiber_id(self) == id)
        return -EDEADLK;
    if (!(f = table_lock_id(id)))
        return -ESRCH;
    handle = load_relaxed64(&f->handle) & ~HANDLE_LOCKED;
    if (!f->sched || handle & HANDLE_DETACHED) {
        handle_unlock(f, handle);
        return f->sched ? -EINVAL : -ESRCH;
    }
    if (handle & HANDLE_ENDED) {
        struct worker *w = thread_self()->worker;
        if (result)
            *result = f->result;
        table_put(w ? &w->fibers : NULL, f);
        return 0;
    }
    return join_wait(self, f, handle, id, result, deadline);
}

int weft_detach(weft_t id)
{
    struct fiber *f = table_lock_id(id);
    struct worker *w = thread_self()->worker;
    uint64_t handle;
    if (!f)
        return -ESRCH;
    handle = load_relaxed64(&f->handle) & ~HANDLE_LOCKED;
    if (!f->sched || handle & HANDLE_DETACHED) {
        bool fiber = f->sched;
        handle_unlock(f, handle);
        return fiber ? -EINVAL : -ESRCH;
    }
    if (handle & HANDLE_ENDED)
        table_put(w ? &w->fibers : NULL, f);
    else
        handle_unlock(f, handle | HANDLE_DETACHED);
    return 0;
}
