/* SPDX-License-Identifier: MIT */
#include "sched/shake.h"

#ifndef WEFT_SHAKE

typedef int shake_is_off;                       /* ISO C forbids an empty translation unit */

#else

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t seed;                           /* under lock */
static uint64_t threads;                        /* under lock: how many have a stream */
static __thread uint64_t stream;                /* xorshift64*; 0: not begun */

/* splitmix64's finaliser: neighbouring seeds give streams that have nothing in common. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void choose_seed(void)
{
    const char *given = getenv("WEFT_SHAKE_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    seed = given ? strtoull(given, NULL, 0) : mix((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >> 32;
    if (!getenv("WEFT_SHAKE_QUIET"))
        fprintf(stderr, "WEFT_SHAKE_SEED=%llu\n", (unsigned long long)seed);
}

static void begin(void)
{
    pthread_mutex_lock(&lock);
    if (threads == 0)
        choose_seed();
    stream = mix(seed ^ mix(threads++)) | 1;
    pthread_mutex_unlock(&lock);
}

uint64_t shake_random(void)
{
    if (stream == 0)
        begin();
    uint64_t x = stream;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    stream = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

bool shake_refuse(unsigned one_in)
{
    return one_in != 0 && (shake_random() >> 32) % one_in == 0;
}

void shake_point(void)
{
    uint64_t luck = shake_random() >> 32;
    if (luck % 64 != 0)
        return;
    int saved = errno;
    if (luck % 1024 == 0)
        nanosleep(&(struct timespec){ .tv_nsec = 1000 + (long)(luck / 1024 % 49001) }, NULL);
    else
        sched_yield();
    errno = saved;
}

#endif
