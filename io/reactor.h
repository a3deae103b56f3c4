/* SPDX-License-Identifier: MIT */
/*
 * reactor - the I/O thread of a runtime: it waits for descriptors and timers, and does nothing else
 *
 * Owns       an epoll set, an eventfd that ends its wait, the thread. It drives the runtime's timers.
 * Threads    start, stop: one foreign thread. interrupt, watch, forget: any.
 * Loop       expire timers; queue all that became ready as one chain (one wake-up, the chain does the rest); sleep until the next
 *            timer or event; look up the cell of each event and take out who waits. The thread blocks in epoll_pwait2 only.
 *            With nothing due it sleeps without end: an idle runtime has no wake-ups.
 * Events     edge-triggered: so a hang-up that nobody waits for is told once and cannot spin. Reading from the first wait
 *            on, writing
 *            from the first wait to write on: a Unix socket tells its writer of each byte that is read, and most never wait for
 *            that. The data is the number alone: see Rejected in fdcell.h. The eventfd is edge-triggered, too: each write is
 *            an edge, nobody reads it.
 * Verify     reactor_watch is called before each wait: EEXIST (or a MOD that succeeds) says that this very file is in the set under
 *            this number. If another took the number, closed by plain close(2), it is new to the set and added now. What the file
 *            is ready for at an ADD or a MOD is told as an edge, so none is lost before it.
 * Forget     a file that was dup'ed stays in the set when its number is closed, so weft_close takes it out by hand, in the sets of
 *            all runtimes. Never in the child of a fork: it has the same sets.
 * Lock       a rwlock over the list of reactors, innermost; readers are those who close.
 * Rejected   workers that poll when idle, the thread only when they are busy: 2 to 8 us less for an event, but then whether an
 *            event is seen in time depends on what workers do; one epoll set and one thread per worker.
 */
#ifndef IO_REACTOR_H
#define IO_REACTOR_H

#include <pthread.h>

#include "sched/worker.h"

#ifdef WEFT_TINY
#define REACTOR_BATCH 2             /* most events of one wait */
#else
#define REACTOR_BATCH 256
#endif

struct reactor {
    int epfd, wake;                             /* I */
    struct sched *sched;                        /* I */
    struct timers *timers;                      /* I */
    pthread_t thread;
    struct reactor *next;                       /* under the lock */
    atom32 stopping;                            /* A 1: end */
    atom64 wakeups, events, fired;              /* written by the thread, others read */
};

/* 0, -ENOMEM, -EAGAIN (no thread), -EMFILE, -ENFILE; on failure nothing is left. s->reactor is set. */
int reactor_start(struct reactor *r, struct sched *s, struct timers *timers, const char *name);

/* No fiber of s is left. */
void reactor_stop(struct reactor *r);

/* End its sleep, or the next one. arg is the reactor: this is what is posted in the timers. */
void reactor_interrupt(void *arg);

/* Make sure that edges of the file behind fd are told. 1: it is new; 0: it was there; -EPERM: a file without readiness;
 * -EBADF, -ENOMEM, -ENOSPC. */
int reactor_watch(struct reactor *r, int fd, bool write);

void reactor_forget(int fd);                    /* fd is going to be closed */

#endif
