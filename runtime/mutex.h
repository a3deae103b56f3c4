/* SPDX-License-Identifier: MIT */
/*
 * mutex - what the other rooms of this floor need of it: a condition gives it away and takes it back
 *
 * Threads    any; self is the calling fiber or thread.
 */
#ifndef RUNTIME_MUTEX_H
#define RUNTIME_MUTEX_H

#include <stdbool.h>

#include "runtime/weft.h"
#include "sched/fiber.h"

bool mutex_held_by(const struct weft_mutex *m, const struct fiber *self);

/* By its holder. Never waits, needs no memory. */
void mutex_give(struct weft_mutex *m);

/* Take it, whatever it costs: no deadline, no cancellation. */
void mutex_retake(struct weft_mutex *m, struct fiber *self);

#endif
