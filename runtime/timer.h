/* SPDX-License-Identifier: MIT */
/*
 * timer - the user's timers: a callback at a time, once or every period; and tickers
 *
 * Owns       struct weft_timer, which lies in the user's memory, and per runtime the queue of callbacks that are due with the
 *            fiber that makes them.
 * Why a      a callback on the I/O thread would hold up all I/O and all other timers; a fiber may spawn, unlock, set, send
 * what does
 * fiber      not wait. It is internal: not counted, not cancelled, and a wait in it answers -EDEADLK.
 * Tickers    are never armed: the periods passed are a division, and a waiter sleeps until the next one. So a ticker that
 *            nobody waits for costs nothing, and missed periods are counted by themselves.
 * Lock       the timer's word (around arm and disarm), then a timer shard, then callbacks.lock (state, queue, running).
 *            A callback runs under none of them. While it runs its timer is only compared, never touched, unless it is
 *            periodic and nobody stopped or started it meanwhile (changed): so a one-shot timer may be freed by its callback.
 * After the  a timer knows the epoch of its runtime; past that, it counts as never started.
 * end
 */
#ifndef RUNTIME_TIMER_H
#define RUNTIME_TIMER_H

#include "runtime/weft.h"

int timer_begin(weft_rt *rt);                   /* 0, -ENOMEM */
void timer_end_callbacks(weft_rt *rt);          /* no more callbacks: its fiber ends; the workers still run */
void timer_end(weft_rt *rt);

#endif
