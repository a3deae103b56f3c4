/* SPDX-License-Identifier: MIT */
/*
 * barrier - a full fence of which one side is nearly free
 *
 * Two threads that each store and then load need a full fence each, if they must not miss one another. Where one side is hot and
 * the other rare, the rare one can pay for both: barrier_heavy() makes every other running thread of the process execute a full
 * fence (membarrier, private expedited: about 1 us), so barrier_light() need only keep the compiler from reordering.
 *
 * Where the kernel has no membarrier, or the tool at hand cannot see it (TSAN, the explorer, a shaken build), both are fence_full.
 * Threads    any. barrier_init before the first pair is used.
 * Source     membarrier(2); Dice, Huang, Yang, Asymmetric Dekker Synchronization, 2001.
 */
#ifndef SCHED_BARRIER_H
#define SCHED_BARRIER_H

#include "sched/atomic.h"

void barrier_init(void);

#if defined(WEFT_MODEL) || defined(WEFT_SHAKE) || defined(WEFT_TSAN) || defined(__SANITIZE_THREAD__)

static inline void barrier_light(void) { fence_full(); }
static inline void barrier_heavy(void) { fence_full(); }

#else

extern bool barrier_symmetric;                  /* no membarrier; written by barrier_init only */

static inline void barrier_light(void)
{
    if (__builtin_expect(barrier_symmetric, 0))
        fence_full();
    __asm__ volatile("" ::: "memory");
}

void barrier_heavy(void);

#endif

#endif
