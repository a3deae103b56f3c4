/* SPDX-License-Identifier: MIT */
/*
 * monitor - looks at the workers every now and then, while there is something to look at
 *
 * Owns       the time slice, and the offer of a stale next slot to thieves.
 * Threads    monitor_call: any worker, at the first checkpoint and when it fills its next slot while others sleep.
 *            The look itself runs on the I/O thread, called by an ordinary timer.
 * Asleep     the monitor is not armed as long as nobody calls it, and goes back to sleep when nobody called for
 *            MONITOR_QUIET looks: so an idle process has no wake-ups, and a fiber that yields often costs none either.
 *            Every tripwire is set while it sleeps, so that the next checkpoint of any worker calls it.
 * Slice      a worker whose dispatch count has stood still for MONITOR_SLICE of time (not of looks: they come late when the machine
 *            is busy) runs one fiber for too long: its tripwire is set and the fiber's next checkpoint yields.
 * Next slot  a fiber that lies in a next slot over two looks, while its worker dispatched nothing, is offered to thieves
 *            (worker.stale) and one is woken.
 * Ordering   M1 sleep_on: watched = 0, then a bit of the tripwire (RMW, release) -> worker_trip: takes the tripwire (RMW, acquire),
 *            reads watched. The later of two RMWs sees the former: the caller finds the monitor asleep and wakes it, or the bit
 *            is set after it took the wire, and the next checkpoint finds it.
 *            M2 worker_queue: next = fiber; fence; read watched  <-- Dekker -->  sleep_on: watched = 0; fence; read next.
 */
#ifndef RUNTIME_MONITOR_H
#define RUNTIME_MONITOR_H

#include "sched/worker.h"

struct weft_rt;

int monitor_start(struct weft_rt *rt);          /* 0, -ENOMEM */
void monitor_stop(struct weft_rt *rt);          /* neither workers nor the I/O thread run any more */
void monitor_call(struct sched *s);             /* the hook watch */

#endif
