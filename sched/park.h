/* SPDX-License-Identifier: MIT */
/*
 * park - stop until somebody says ready: the two verbs that every floor above needs
 *
 * Threads    park: the fiber itself, or the thread itself with its own descriptor. ready: any thread, exactly once for each
 *            claim that it won (wait.h).
 * Promises   a ready that comes before the park is not lost, the park then does not switch. park has no spurious end.
 * Outside    a thread waits on its descriptor's state word as a futex; a deadline is then the futex's own, so no runtime is needed.
 *            Descriptors are type-stable, so the futex call after the token may come late without harm.
 */
#ifndef SCHED_PARK_H
#define SCHED_PARK_H

#include "sched/wait.h"
#include "sched/worker.h"

/* Who waits: the running fiber, or this thread's descriptor, made at its first wait. NULL: no memory for one. */
struct fiber *park_self(void);

static inline bool park_is_thread(const struct fiber *f) { return !f->sched; }

/* Until ready(self) has been called. */
void park(struct fiber *self);

/* A thread only: the same until the deadline (CLOCK_MONOTONIC ns, INT64_MAX: none). False: it passed without a token. */
bool park_thread(struct fiber *self, int64_t deadline);

/* End f's park, now or to come. The caller won the claim; it must not touch f afterwards. */
void ready(struct fiber *f);

/* The same, but fibers of c's scheduler are collected for worker_queue_chain. */
void ready_later(struct fiber *f, struct chain *c);

#endif
