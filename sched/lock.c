/* SPDX-License-Identifier: MIT */
/*
 * lock - the slow side of waiting
 *
 * LOCK_SPINS pauses are about a microsecond, longer than any section that is not interrupted. Past that the holder has lost
 * its CPU, and spinning on would only keep it away longer.
 */
#include "sched/lock.h"

#include <sched.h>

#define LOCK_SPINS 64

void lock_wait(unsigned *tries)
{
    if (++*tries % LOCK_SPINS)
        cpu_relax();
    else
        sched_yield();
}
