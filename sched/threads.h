/* SPDX-License-Identifier: MIT */
/*
 * threads - the workers as a whole: threads come and go, workers stay
 *
 * Owns       the threads. N workers need N threads; a fiber that blocks its thread on purpose (sched_block_begin) takes that
 *            thread with it, and a spare one drives the worker meanwhile. When the fiber comes back it queues up as a ready
 *            fiber, and its thread becomes the next spare.
 * Threads    sched_start, sched_stop: one foreign thread. block_begin, block_end: a running fiber.
 * Stop       1 the floor above makes sure that no fiber is left, 2 stopping is set, all workers are woken, 3 each ends when it
 *            finds nothing, 4 spares are told, 5 all threads are joined; then, when the I/O thread
 *            has ended too, 6 memory and descriptors are freed (sched_destroy).
 * Lock       a mutex around the spares; never held with another lock, never on the way of a fiber that does not block.
 */
#ifndef SCHED_THREADS_H
#define SCHED_THREADS_H

#include <pthread.h>

#include "sched/worker.h"

struct os_thread;

struct threads {
    pthread_mutex_t mutex;
    struct os_thread *all;                      /* every thread made, until the stop joins them */
    struct os_thread *spare;                    /* asleep, without a worker */
    bool stopping;
    char name[12];
    void (*begin)(void);                        /* run in each new thread before its first fiber, and at its end; may be NULL */
    void (*end)(void);
};

/* 0, -ENOMEM, -EAGAIN (no thread), -EMFILE, -ENFILE. On failure nothing is left. */
int sched_start(struct sched *s, struct threads *t, unsigned workers, const struct sched_hooks *hooks, const char *name);
void sched_stop(struct sched *s, struct threads *t);            /* ends the threads */
void sched_destroy(struct sched *s);            /* nobody looks at the workers any more */

/* The calling fiber keeps its thread, its worker goes to another: 0, or -EAGAIN: there is none, nothing happened. */
int sched_block_begin(struct threads *t);

/* Back under a worker; returns on any thread. */
void sched_block_end(void);

#endif
