/* SPDX-License-Identifier: MIT */
/*
 * shake - bad luck, by a seed (the shake flavour; in the others it costs nothing)
 *
 * Owns       a random stream for each thread. The seed is WEFT_SHAKE_SEED, or the clock's; it is printed once, unless
 *            WEFT_SHAKE_QUIET is set. A thread's stream is the seed's and its number in the order in which threads first came
 *            here, so that a seed brings back each thread's luck, though not the kernel's.
 * Threads    any; shake_point runs inside each call of atomic.h, and therefore touches no shared word but its own.
 * Promises   shake_point leaves errno alone. Every refusal is one that the caller must bear anyway.
 * Source     the Go scheduler under -race randomises order and wakes, so that no test leans on them.
 */
#ifndef SCHED_SHAKE_H
#define SCHED_SHAKE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef WEFT_SHAKE

void shake_point(void);                         /* here the thread may lose the CPU: 1 in 64 a yield, 1 in 1024 up to 50 us */
bool shake_refuse(unsigned one_in);             /* true with the probability 1/one_in: refuse the park, skip the victim */
uint64_t shake_random(void);                    /* the next number of this thread's stream */

#else

static inline bool shake_refuse(unsigned one_in) { (void)one_in; return false; }

#endif

#endif
