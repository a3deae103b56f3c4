/* SPDX-License-Identifier: MIT */
/*
 * cancel - tell a fiber that its waits are over
 *
 * Owns       fiber.cancel, which is set once and never cleared.
 * Threads    any, by id or with the handle locked; the fiber itself looks at it in waiting_enter and deadline_wait.
 * Ordering   C1 (sched/wait.h).
 */
#ifndef RUNTIME_CANCEL_H
#define RUNTIME_CANCEL_H

#include "sched/injector.h"

/* The handle of f is locked: cancel it. Whoever has to be made ready for that is collected in c. */
void cancel_locked(struct fiber *f, struct chain *c);

#endif
