/* SPDX-License-Identifier: MIT */
/*
 * overflow - a fiber that runs out of stack says its name before the process dies
 *
 * Owns       the process's actions for SIGSEGV and SIGBUS while a runtime lives, and an alternate signal stack per worker thread
 *            (a handler cannot run on the stack that has just ended).
 * Threads    install and remove: any. begin and end: the worker itself. The handler runs wherever the fault is.
 * Promises   a hit in the guard page of the stack that the thread is on is one line on stderr. Then, as for every other fault,
 *            things go as without us: the default action is put back and the instruction runs again, so that the core shows the
 *            fault itself; a handler that was there before us (a program's, ASan's) is called, and sees each fault once.
 *            Whoever installs a handler after us wins, and keeps it when we leave.
 * Limits     a frame larger than the guard page can step over it; -fstack-clash-protection probes such frames.
 */
#ifndef SCHED_OVERFLOW_H
#define SCHED_OVERFLOW_H

#include <stddef.h>
#include <stdint.h>

/* The name ("" for none) and id of the fiber whose stack has this top; NULL if there is none. Called in a signal handler: no
 * locks, no allocation. */
typedef const char *(*overflow_describe_fn)(void *top, int64_t *id);

int overflow_install(overflow_describe_fn describe);    /* 0, or a negative errno; every success needs a remove */
void overflow_remove(void);                             /* the last one gives the signals back */

struct overflow_stack {
    void *map;                      /* NULL: the thread has one of its own */
    size_t size;
};

int overflow_thread_begin(struct overflow_stack *s);    /* 0, or -ENOMEM */
void overflow_thread_end(struct overflow_stack *s);

#endif
