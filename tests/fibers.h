/* SPDX-License-Identifier: MIT */
/*
 * fibers - what tests of the public calls share: a runtime around a function, fibers and threads that must come, seeds
 *
 * FAIL(format, ...) is the includer's: Criterion's, or a plain program's. A test runs with WEFT_WORKERS workers if that is set,
 * else once with each of 1, 2, 4 and 8.
 */
#ifndef TESTS_FIBERS_H
#define TESTS_FIBERS_H

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/weft.h"

#define UNUSED __attribute__((unused))

#define EQ(a, b) do { \
        long long eq_a_ = (long long)(a), eq_b_ = (long long)(b); \
        if (eq_a_ != eq_b_) \
            FAIL("%s:%d: %s is %lld, not %s = %lld", __FILE__, __LINE__, #a, eq_a_, #b, eq_b_); \
    } while (0)
#define TRUE(a) do { \
        if (!(a)) \
            FAIL("%s:%d: not %s", __FILE__, __LINE__, #a); \
    } while (0)
#define OK(a) EQ(a, 0)
#define UNTIL(a) do { \
        while (!(a)) \
            (void)weft_sleep(weft_after(200 * WEFT_USEC)); \
    } while (0)

/* ---- random -------------------------------------------------------------------------------------------------------------- */

UNUSED static uint64_t seed;

UNUSED static uint64_t random_next(uint64_t *state)     /* splitmix64 */
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

UNUSED static uint64_t random_below(uint64_t *state, uint64_t n) { return random_next(state) % n; }

/* A stream for each salt. */
UNUSED static uint64_t random_stream(uint64_t salt) { return seed ^ (salt + 1) * UINT64_C(0xd1342543de82ef95); }

UNUSED static void seed_print(void)
{
    const char *given = getenv("WEFT_SEED");
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)weft_now() % 1000000007;
    fprintf(stderr, "WEFT_SEED=%" PRIu64 "\n", seed);
}

/* ---- running ------------------------------------------------------------------------------------------------------------- */

UNUSED static void run_with(unsigned workers, weft_fn fn)
{
    struct weft_opts o = { .workers = workers };
    EQ(weft_run(fn, NULL, &o), 0);
}

UNUSED static void run_each(weft_fn fn)
{
    for (unsigned w = 1; w <= 8; w *= 2) {
        run_with(w, fn);
        if (getenv("WEFT_WORKERS"))
            return;
    }
}

UNUSED static weft_t spawned(weft_fn fn, void *arg)
{
    weft_t id = weft_spawn(fn, arg);
    TRUE(id > 0);
    return id;
}

UNUSED static int64_t joined(weft_t id)
{
    int64_t result = 0;
    OK(weft_join(id, &result, WEFT_FOREVER));
    return result;
}

UNUSED static void thread_start(pthread_t *t, void *(*fn)(void *), void *arg) { EQ(pthread_create(t, NULL, fn, arg), 0); }

/* From a fiber, without keeping its worker. */
UNUSED static void thread_join(pthread_t t)
{
    int r;
    while ((r = pthread_tryjoin_np(t, NULL)) == EBUSY)
        (void)weft_sleep(weft_after(200 * WEFT_USEC));
    EQ(r, 0);
}

UNUSED static int64_t in_ms(int64_t ms) { return weft_after(ms * WEFT_MSEC); }

/* How often the runtime of the calling fiber has switched to a fiber. */
UNUSED static uint64_t switches(void)
{
    struct weft_stats s;
    OK(weft_stats(weft_current(), &s, sizeof s));
    return s.all.dispatched;
}

#endif
