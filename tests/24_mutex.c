/* SPDX-License-Identifier: MIT */
/* The mutex: who owns it, in which order it is served, how often a waiter is overtaken, and that no wake-up is lost. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"

TestSuite(mutex, .timeout = 60);

static struct weft_mutex m;
static atomic_int waiting, got;
static int order[64];                           /* under m */

/* ---- who owns it --------------------------------------------------------------------------------------------------------- */

static int64_t unlocks(void *arg) { return weft_mutex_unlock(arg); }
static void *unlocks_in_thread(void *arg) { EQ(weft_mutex_unlock(arg), -EPERM); return NULL; }

static void *thread_owns(void *arg)
{
    EQ(weft_mutex_lock(arg, WEFT_NOW), 0);
    EQ(weft_mutex_lock(arg, WEFT_NOW), -EDEADLK);
    OK(weft_mutex_unlock(arg));
    EQ(weft_mutex_unlock(arg), -EPERM);
    return NULL;
}

static int64_t owner(void *arg)
{
    struct weft_mutex own = { 0 };
    pthread_t t;
    (void)arg;
    EQ(weft_mutex_unlock(&own), -EPERM);
    OK(weft_mutex_lock(&own, WEFT_FOREVER));
    EQ(weft_mutex_lock(&own, WEFT_FOREVER), -EDEADLK);
    EQ(weft_mutex_lock(&own, WEFT_NOW), -EDEADLK);
    EQ(joined(spawned(unlocks, &own)), -EPERM);
    thread_start(&t, unlocks_in_thread, &own);
    thread_join(t);
    OK(weft_mutex_unlock(&own));
    EQ(weft_mutex_unlock(&own), -EPERM);
    thread_start(&t, thread_owns, &own);
    thread_join(t);
    EQ(own.word_, 0);
    return 0;
}

Test(mutex, owner) { run_each(owner); }
Test(mutex, owner_outside) { thread_owns(&m); }
Test(mutex, unlock_without_descriptor) { EQ(weft_mutex_unlock(&m), -EPERM); }

static int64_t no_switch(void *arg)
{
    uint64_t before = switches();
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        OK(weft_mutex_lock(&m, i % 2 ? WEFT_FOREVER : WEFT_NOW));
        OK(weft_mutex_unlock(&m));
    }
    EQ(switches(), before);
    return 0;
}

Test(mutex, free_one_needs_no_switch) { run_with(1, no_switch); }

/* ---- order --------------------------------------------------------------------------------------------------------------- */

static int64_t queues_up(void *arg)
{
    int ticket = atomic_fetch_add(&waiting, 1);
    (void)arg;
    OK(weft_mutex_lock(&m, WEFT_FOREVER));
    order[atomic_fetch_add(&got, 1)] = ticket;
    OK(weft_mutex_unlock(&m));
    return 0;
}

static int64_t arrival(void *arg)
{
    weft_t id[64];
    (void)arg;
    atomic_store(&got, 0);
    OK(weft_mutex_lock(&m, WEFT_NOW));
    atomic_store(&waiting, 0);
    for (int i = 0; i < 64; i++)
        id[i] = spawned(queues_up, NULL);
    UNTIL(atomic_load(&waiting) == 64);
    OK(weft_mutex_unlock(&m));
    for (int i = 0; i < 64; i++)
        joined(id[i]);
    for (int i = 0; i < 64; i++)
        EQ(order[i], i);
    EQ(m.word_, 0);
    return 0;
}

/* One worker: the order of the tickets is that of the queue. */
Test(mutex, first_come_first_served) { run_with(1, arrival); }

/* A loop of lock and unlock that never waits must be stopped after a bounded number of rounds, for each waiter anew. */
static int64_t overtaking(void *arg)
{
    enum { WAITERS = 5 };
    weft_t id[WAITERS];
    (void)arg;
    atomic_store(&waiting, 0);
    atomic_store(&got, 0);
    OK(weft_mutex_lock(&m, WEFT_NOW));
    for (int i = 0; i < WAITERS; i++)
        id[i] = spawned(queues_up, NULL);
    UNTIL(atomic_load(&waiting) == WAITERS);
    OK(weft_sleep(in_ms(2)));
    OK(weft_mutex_unlock(&m));
    for (int served = 0, rounds = 0; served < WAITERS; served = atomic_load(&got), rounds = 0) {
        while (weft_mutex_lock(&m, WEFT_NOW) == 0) {
            OK(weft_mutex_unlock(&m));
            TRUE(++rounds <= 64);               /* only I run here, so no waiter has got it meanwhile */
        }
        OK(weft_yield());
        TRUE(atomic_load(&got) > served);       /* now at least one has */
    }
    for (int i = 0; i < WAITERS; i++)
        joined(id[i]);
    for (int i = 0; i < WAITERS; i++)
        EQ(order[i], i);
    EQ(m.word_, 0);
    return 0;
}

Test(mutex, overtaking_is_bounded) { run_with(1, overtaking); }

/* ---- nothing is lost ----------------------------------------------------------------------------------------------------- */

static int64_t until(void *arg) { return weft_mutex_lock(&m, *(int64_t *)arg); }

/* The first waiter is woken, finds the mutex taken again, queues up in front and times out there: the second must be served. */
static int64_t woken_then_late(void *arg)
{
    int64_t soon = in_ms(20);
    weft_t first, second;
    (void)arg;
    atomic_store(&waiting, 0);
    atomic_store(&got, 0);
    OK(weft_mutex_lock(&m, WEFT_NOW));
    first = spawned(until, &soon);
    OK(weft_sleep(in_ms(2)));
    second = spawned(queues_up, NULL);
    UNTIL(atomic_load(&waiting));
    OK(weft_sleep(in_ms(2)));
    OK(weft_mutex_unlock(&m));
    OK(weft_mutex_lock(&m, WEFT_NOW));          /* past the one that was woken: it has not run yet */
    EQ(joined(first), -ETIMEDOUT);
    TRUE(weft_now() >= soon);
    EQ(atomic_load(&got), 0);
    OK(weft_mutex_unlock(&m));
    joined(second);
    EQ(m.word_, 0);
    return 0;
}

Test(mutex, woken_then_late) { run_with(1, woken_then_late); }

static int64_t queues_up_or_not(void *arg)
{
    int r = weft_mutex_lock(&m, WEFT_FOREVER);
    (void)arg;
    if (r == 0)
        OK(weft_mutex_unlock(&m));
    return r;
}

static int64_t cancel_storm(void *arg)
{
    uint64_t random = random_stream(1);
    weft_t id[16];
    (void)arg;
    for (int i = 0; i < 16; i++)
        id[i] = spawned(queues_up_or_not, NULL);
    for (int i = 0; i < 3000; i++) {
        int k = (int)random_below(&random, 16);
        int64_t r;
        int held = random_below(&random, 2) && weft_mutex_lock(&m, weft_after((int64_t)random_below(&random, 3) * 1000)) == 0;
        for (uint64_t n = random_below(&random, 3); n; n--)
            OK(weft_yield());
        OK(weft_cancel(id[k]));
        if (held)
            OK(weft_mutex_unlock(&m));
        r = joined(id[k]);
        TRUE(r == 0 || r == -ECANCELED);
        id[k] = spawned(queues_up_or_not, NULL);
    }
    for (int i = 0; i < 16; i++)
        EQ(joined(id[i]), 0);
    EQ(m.word_ & ~2u, 0);
    TRUE(!m.waiters_.head);
    return 0;
}

Test(mutex, cancelled_waiters_leave_no_trace) { seed_print(); run_each(cancel_storm); }

/* ---- exclusion, everybody at once ---------------------------------------------------------------------------------------- */

static int64_t counter, inside;                 /* under m, not atomic on purpose */
static weft_rt *other;

static void adds(int rounds, uint64_t salt)
{
    uint64_t random = random_stream(salt);
    for (int done = 0; done < rounds;) {
        int64_t deadline = random_below(&random, 4) ? WEFT_FOREVER : weft_after((int64_t)random_below(&random, 20000));
        int r = weft_mutex_lock(&m, deadline);
        if (r == -ETIMEDOUT)
            continue;
        OK(r);
        EQ(inside, 0);
        inside = 1;
        counter++;
        done++;
        if (random_below(&random, 50) == 0)
            OK(weft_yield());                   /* it may go on elsewhere, and is the owner there too */
        EQ(inside, 1);
        inside = 0;
        OK(weft_mutex_unlock(&m));
    }
}

enum { FIBERS = 32, THREADS = 3, OTHERS = 8, ROUNDS = 2000 };

static int64_t fiber_adds(void *arg) { adds(ROUNDS, (uint64_t)(uintptr_t)arg); return 0; }
static void *thread_adds(void *arg) { adds(ROUNDS, (uint64_t)(uintptr_t)arg); return NULL; }

static int64_t exclusion(void *arg)
{
    weft_t id[FIBERS + OTHERS];
    pthread_t t[THREADS];
    struct weft_attr elsewhere = { .runtime = other };
    (void)arg;
    counter = 0;
    for (int i = 0; i < FIBERS; i++)
        id[i] = spawned(fiber_adds, (void *)(intptr_t)i);
    for (int i = FIBERS; i < FIBERS + OTHERS; i++)
        TRUE((id[i] = weft_spawn_attr(fiber_adds, (void *)(intptr_t)i, &elsewhere)) > 0);
    for (int i = 0; i < THREADS; i++)
        thread_start(&t[i], thread_adds, (void *)(intptr_t)(1000 + i));
    for (int i = 0; i < FIBERS + OTHERS; i++)
        joined(id[i]);
    for (int i = 0; i < THREADS; i++)
        thread_join(t[i]);
    EQ(counter, (FIBERS + OTHERS + THREADS) * ROUNDS);
    EQ(m.word_, 0);
    return 0;
}

Test(mutex, exclusion_in_two_runtimes_and_threads)
{
    seed_print();
    OK(weft_start(&other, NULL));
    run_each(exclusion);
    OK(weft_stop(other, WEFT_FOREVER));
}

/* ---- starvation ---------------------------------------------------------------------------------------------------------- */

static atomic_bool enough;
static int64_t hogged;

static int64_t hog(void *arg)
{
    (void)arg;
    while (!atomic_load(&enough)) {
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        hogged++;
        for (int64_t end = weft_after(20 * WEFT_USEC); weft_now() < end;)
            continue;
        OK(weft_mutex_unlock(&m));
        OK(weft_yield());                       /* nobody takes a worker from a fiber that does not let go of it */
    }
    return 0;
}

/* Counted in the hog's sections, not in time: while one lock waits the hog gets the mutex a bounded number of times. */
static int64_t against_hog(void *arg)
{
    int64_t most = 0;
    weft_t id;
    (void)arg;
    atomic_store(&enough, false);
    hogged = 0;
    id = spawned(hog, NULL);
    for (int i = 0; i < 200; i++) {
        int64_t before, after;
        OK(weft_sleep(weft_after(50 * WEFT_USEC)));
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        before = hogged;
        OK(weft_mutex_unlock(&m));
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        after = hogged;
        OK(weft_mutex_unlock(&m));
        if (after - before > most)
            most = after - before;
    }
    TRUE(most <= 2 * 64);
    atomic_store(&enough, true);
    joined(id);
    return 0;
}

Test(mutex, hog_does_not_starve) { run_each(against_hog); }

/* ---- freed at once ------------------------------------------------------------------------------------------------------- */

static int64_t locks_and_frees(void *arg)
{
    struct weft_mutex *heap = arg;
    OK(weft_mutex_lock(heap, WEFT_FOREVER));
    OK(weft_mutex_unlock(heap));
    memset(heap, 0xa5, sizeof *heap);
    free(heap);
    return 0;
}

static int64_t freed_at_once(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        struct weft_mutex *heap = calloc(1, sizeof *heap);
        weft_t id;
        OK(weft_mutex_lock(heap, WEFT_FOREVER));
        id = spawned(locks_and_frees, heap);
        for (int k = i % 3; k; k--)
            OK(weft_yield());
        OK(weft_mutex_unlock(heap));
        joined(id);
    }
    return 0;
}

Test(mutex, freed_at_once) { run_each(freed_at_once); }
