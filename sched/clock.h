/* SPDX-License-Identifier: MIT */
/*
 * clock - the one clock: CLOCK_MONOTONIC in nanoseconds
 *
 * Absolute, so that times compose by taking the smaller; it does not count suspension and is never set back.
 */
#ifndef SCHED_CLOCK_H
#define SCHED_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef WEFT_MODEL
int64_t clock_now(void);            /* tests/model/clock.c */
#else

static inline int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif

#endif
