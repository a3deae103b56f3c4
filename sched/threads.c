/* SPDX-License-Identifier: MIT */
/* threads - see threads.h */
#include "sched/threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "sched/mem.h"
#include "sched/park.h"

struct os_thread {
    pthread_t id;
    struct threads *home;
    struct os_thread *next, *next_spare;        /* under home's mutex */
    struct worker *given;                       /* under home's mutex: the worker to drive next */
    pthread_cond_t wake;
    unsigned number;
};

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

/* The next worker to drive, or NULL: the end. */
static struct worker *await(struct os_thread *o)
{
    struct threads *home = o->home;
    struct worker *w;
    pthread_mutex_lock(&home->mutex);
    if (!o->given && !home->stopping) {
        o->next_spare = home->spare;
        home->spare = o;
        while (!o->given && !home->stopping)
            pthread_cond_wait(&o->wake, &home->mutex);
    }
    w = o->given;
    o->given = NULL;
    pthread_mutex_unlock(&home->mutex);
    return w;
}

static void *thread_main(void *arg)
{
    struct os_thread *o = arg;
    struct thread *self = thread_self();
    san_thread_begin(&self->san);
    if (o->home->begin)
        o->home->begin();
    while ((self->worker = await(o)) != NULL)
        worker_run(self);
    if (o->home->end)
        o->home->end();
    return NULL;
}

/* All signals are the program's: a worker sees none but those that its own instructions raise. */
static int create(struct os_thread *o)
{
    sigset_t all, before;
    char name[16];
    int error;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGTRAP);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&o->id, NULL, thread_main, o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return -EAGAIN;
    snprintf(name, sizeof name, "%.10s/%u", o->home->name, o->number % 1000);
    pthread_setname_np(o->id, name);
    return 0;
}

/* A new thread that drives w. */
static int add_thread(struct threads *t, struct worker *w)
{
    struct os_thread *o = mem_alloc(sizeof *o, _Alignof(struct os_thread));
    int error;
    if (!o)
        return -ENOMEM;
    o->home = t;
    o->given = w;
    pthread_cond_init(&o->wake, NULL);
    pthread_mutex_lock(&t->mutex);
    o->number = t->all ? t->all->number + 1 : 0;
    error = create(o);
    if (!error) {
        o->next = t->all;
        t->all = o;
    }
    pthread_mutex_unlock(&t->mutex);
    if (error) {
        pthread_cond_destroy(&o->wake);
        mem_free(o, sizeof *o, _Alignof(struct os_thread));
    }
    return error;
}

static void join_all(struct threads *t)
{
    struct os_thread *o;
    pthread_mutex_lock(&t->mutex);
    t->stopping = true;
    for (o = t->all; o; o = o->next)
        pthread_cond_signal(&o->wake);
    pthread_mutex_unlock(&t->mutex);
    while ((o = t->all) != NULL) {
        t->all = o->next;
        pthread_join(o->id, NULL);
        pthread_cond_destroy(&o->wake);
        mem_free(o, sizeof *o, _Alignof(struct os_thread));
    }
    pthread_mutex_destroy(&t->mutex);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------ */

static void destroy(struct sched *s, unsigned made)
{
    for (unsigned i = 0; i < made; i++)
        worker_destroy(&s->workers[i]);
    mem_free(s->workers, s->count * sizeof *s->workers, _Alignof(struct worker));
    s->workers = NULL;
    idle_destroy(&s->idle);
}

void sched_stop(struct sched *s, struct threads *t)
{
    store_release32(&s->stopping, 1);           /* pairs with find, last_look in worker.c */
    for (unsigned i = 0; i < s->count; i++)
        idle_wake(&s->idle, i);
    join_all(t);
}

void sched_destroy(struct sched *s)
{
    while (worker_visited(s))                   /* V1: they have queued what they had, and are on their way out */
        sched_yield();
    destroy(s, s->count);
}

int sched_start(struct sched *s, struct threads *t, unsigned workers, const struct sched_hooks *hooks, const char *name)
{
    int error = idle_init(&s->idle, workers);
    unsigned made = 0;
    if (error)
        return error;
    s->hooks = hooks;
    s->count = workers;
    s->injector.head = s->injector.tail = NULL;
    store_relaxed32(&s->stopping, 0);
    store_relaxed32(&s->watched, 0);
    s->workers = mem_alloc(workers * sizeof *s->workers, _Alignof(struct worker));
    if (!s->workers) {
        idle_destroy(&s->idle);
        return -ENOMEM;
    }
    while (made < workers && worker_init(&s->workers[made], s, made))
        made++;
    if (made < workers) {
        destroy(s, made);
        return -ENOMEM;
    }
    pthread_mutex_init(&t->mutex, NULL);
    t->all = t->spare = NULL;
    t->stopping = false;
    snprintf(t->name, sizeof t->name, "%s", name);
    for (unsigned i = 0; i < workers && !error; i++)
        error = add_thread(t, &s->workers[i]);
    if (error) {
        sched_stop(s, t);
        sched_destroy(s);
    }
    return error;
}

/* ---- blocking ------------------------------------------------------------------------------------------------------------ */

int sched_block_begin(struct threads *t)
{
    struct thread *self = thread_self();
    struct worker *w = self->worker;
    struct os_thread *o;
    self->worker = NULL;                        /* from here on the worker is the other's */
    pthread_mutex_lock(&t->mutex);
    o = t->spare;
    if (o) {
        t->spare = o->next_spare;
        o->given = w;
        pthread_cond_signal(&o->wake);
    }
    pthread_mutex_unlock(&t->mutex);
    if (!o && add_thread(t, w)) {
        self->worker = w;
        return -EAGAIN;
    }
    return 0;
}

void sched_block_end(void)
{
    worker_leave(AFTER_REJOIN);
}
