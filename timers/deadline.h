/* SPDX-License-Identifier: MIT */
/*
 * deadline - the last step of every wait: park until something ends it, or the time has come
 *
 * Owns       nothing: the timer node lies on the waiter's stack, which is why it is always disarmed before the return.
 * Threads    the waiter itself; a thread outside any runtime uses its futex's own timeout.
 * Ordering   C1 (wait.h): the wait was opened before, the cancellation is looked at here.
 */
#ifndef TIMERS_DEADLINE_H
#define TIMERS_DEADLINE_H

#include <stdint.h>

#include "sched/wait.h"

/* self's wait is open, its nodes are published. Who ended it: WAIT_EVENT, WAIT_TIMEOUT or WAIT_CANCEL; it is closed again. */
enum wait_state deadline_wait(struct fiber *self, int64_t deadline);

#endif
