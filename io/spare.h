/* SPDX-License-Identifier: MIT */
/*
 * spare - waiting for a free descriptor number
 *
 * Owns       the queue of those whose call failed with EMFILE or ENFILE. One for the process.
 * Threads    any.
 * Promises   weft_close wakes all that wait here: the number is for one of them, but a listener that was closed must let go of its
 *            acceptors, too, and there are few. A number that came free in another way is not seen: so callers bound their wait.
 */
#ifndef IO_SPARE_H
#define IO_SPARE_H

#include "sched/fiber.h"

/* 0: one was closed; -ETIMEDOUT, -ECANCELED, -EDEADLK, -ESTALE. */
int spare_wait(struct fiber *self, int64_t deadline);

void spare_freed(void);

#endif
