/* SPDX-License-Identifier: MIT */
/*
 * timers_race - armers, disarmers and a driver at the same nodes, for 31_timers.c and stress/timers_stress.c
 *
 * race_run   every thread arms nodes of its own for a moment close by and takes them back at about that moment.
 *            Either disarm answers true and fire() never ran, or false and it ran exactly once, not early. Right
 *            after the disarm the node is overwritten and freed, so a late touch is seen by ASan, by TSAN, or as a
 *            wrong pointer.
 * wake_run   one armer and a driver that goes to sleep without a timeout of its own: a timer armed in the wrong
 *            moment must still get it up. A wake-up that is lost is seen after WAKE_PATIENCE. (MUTANT_TIMERS_LOOK
 *            loses one soon, if it has two CPUs or under WEFT_SHAKE; the mutants of its fences are left to tests/model.)
 * FAIL is the includer's and may be called from any thread. The includer defines _GNU_SOURCE, for sem_clockwait.
 */
#ifndef TESTS_TIMERS_RACE_H
#define TESTS_TIMERS_RACE_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/clock.h"
#include "timers/timers.h"

#define RACE_MUST(x) do { if (!(x)) FAIL("%s:%d: %s", __FILE__, __LINE__, #x); } while (0)
#define RACE_MAX_THREADS 8
#define WAKE_PATIENCE INT64_C(3000000000)
#define WAKE_SHARDS 64              /* many, so that the driver's looks take long */

struct race {
    struct timers timers;
    sem_t posted;
    atom32 stop;
    atom64 interrupts, sleeps, fired, prevented;
    uint64_t seed, operations;
    unsigned threads;
};

struct race_timer {
    struct timer_node node;
    struct race *race;
    unsigned fired;                 /* under the shard's lock */
};

struct race_thread {
    struct race *race;
    pthread_t thread;
    unsigned index;
};

static inline uint64_t race_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t race_seed(void)
{
    const char *s = getenv("WEFT_SEED");
    uint64_t x = s ? strtoull(s, NULL, 0) : (uint64_t)clock_now();

    fprintf(stderr, "WEFT_SEED=%llu\n", (unsigned long long)x);
    return x;
}

static inline void race_interrupt(void *arg)
{
    struct race *r = arg;

    add_relaxed64(&r->interrupts, 1);
    sem_post(&r->posted);
}

static inline void race_wait(struct race *r, int64_t until)
{
    struct timespec t = { until / 1000000000, until % 1000000000 };

    while (until > 0 && sem_clockwait(&r->posted, CLOCK_MONOTONIC, &t) && errno == EINTR)
        ;
}

static inline void *race_driver(void *arg)
{
    struct race *r = arg;

    while (!load_acquire32(&r->stop)) {
        int64_t until = timers_sleep(&r->timers);
        count_up64(&r->sleeps, 1);
        race_wait(r, until);
        timers_wake(&r->timers);
        timers_expire(&r->timers, clock_now(), r);
    }
    return NULL;
}

static inline void race_fire(struct timer_node *n, void *out)
{
    struct race_timer *t = (struct race_timer *)n;

    RACE_MUST(t->race == out && !wheel_queued(&n->wheel));
    RACE_MUST(n->wheel.due <= clock_now());
    t->fired++;
}

static inline void *race_armer(void *arg)
{
    struct race_thread *self = arg;
    struct race *r = self->race;
    uint64_t random = r->seed * 31 + self->index, prevented = 0, fired = 0;
    enum { HELD = 16 };
    struct race_timer *held[HELD] = { NULL };

    for (uint64_t i = 0; i < r->operations; i++) {
        uint64_t x = race_random(&random);
        unsigned k = x % HELD;
        struct race_timer *t = held[k];
        if (!t) {
            int64_t now = clock_now(), ahead = (int64_t)(x >> 8) % ((x >> 6 & 3) == 0 ? 2000 : 60000) - 500;
            t = held[k] = malloc(sizeof(*t));
            memset(t, 0, sizeof(*t));
            t->node.fire = race_fire;
            t->race = r;
            timers_arm(&r->timers, &t->node, (x >> 40) % 64 ? now + ahead : INT64_MAX, self->index + (x >> 50 & 1));
            continue;
        }
        if ((x >> 20) % 4 == 0) {   /* meet the moment itself */
            int64_t close = t->node.wheel.due - (int64_t)(x >> 30) % 1000;
            if (t->node.wheel.due != INT64_MAX)
                while (clock_now() < close)
                    cpu_relax();
        }
        bool armed = timers_disarm(&r->timers, &t->node);
        RACE_MUST(t->fired == !armed);
        RACE_MUST(armed || t->node.wheel.due != INT64_MAX);
        RACE_MUST(!timers_disarm(&r->timers, &t->node));
        if (armed)
            prevented++;
        else
            fired++;
        memset(t, 0xdd, sizeof(*t));
        free(t);
        held[k] = NULL;
    }
    for (unsigned k = 0; k < HELD; k++)
        if (held[k]) {
            bool armed = timers_disarm(&r->timers, &held[k]->node);
            RACE_MUST(held[k]->fired == !armed);
            free(held[k]);
        }
    add_relaxed64(&r->prevented, prevented);
    add_relaxed64(&r->fired, fired);
    return NULL;
}

static inline void race_run(struct race *r, uint64_t seed, unsigned threads, uint64_t operations)
{
    struct race_thread armers[RACE_MAX_THREADS];
    pthread_t driver;

    memset(r, 0, sizeof(*r));
    r->seed = seed;
    r->threads = threads;
    r->operations = operations;
    sem_init(&r->posted, 0, 0);
    RACE_MUST(!timers_init(&r->timers, threads, clock_now(), (struct waker) { race_interrupt, r }));
    RACE_MUST(!pthread_create(&driver, NULL, race_driver, r));
    for (unsigned i = 0; i < threads; i++) {
        armers[i] = (struct race_thread) { .race = r, .index = i };
        RACE_MUST(!pthread_create(&armers[i].thread, NULL, race_armer, &armers[i]));
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(armers[i].thread, NULL);
    store_release32(&r->stop, 1);
    sem_post(&r->posted);
    pthread_join(driver, NULL);
    RACE_MUST(timers_next(&r->timers) == INT64_MAX);
    timers_destroy(&r->timers);
    sem_destroy(&r->posted);
    fprintf(stderr, "fired %llu, prevented %llu, sleeps %llu, interrupts %llu\n",
            (unsigned long long)load_relaxed64(&r->fired), (unsigned long long)load_relaxed64(&r->prevented),
            (unsigned long long)load_relaxed64(&r->sleeps), (unsigned long long)load_relaxed64(&r->interrupts));
}

struct wake {
    struct timers timers;
    atom32 posted, stop;
    atom64 fired, interrupts;
    uint64_t random;                /* driver's */
};

static inline void wake_interrupt(void *arg)
{
    struct wake *w = arg;

    add_relaxed64(&w->interrupts, 1);
    store_release32(&w->posted, 1);
}

static inline void wake_fire(struct timer_node *n, void *out)
{
    struct wake *w = out;

    (void)n;
    add_relaxed64(&w->fired, 1);
}

/* As often short as long, up to some microseconds: the moments to meet differ from machine to machine. */
static inline void wake_pause(uint64_t x)
{
    for (unsigned k = (unsigned)(x >> 8) & ((1u << x % 9) - 1); k; k--)
        cpu_relax();
}

/* Time does not matter here: now is 1000, and the driver sleeps until it is posted if nothing is due by then. */
static inline void *wake_driver(void *arg)
{
    struct wake *w = arg;

    while (!load_acquire32(&w->stop)) {
        int64_t until = timers_sleep(&w->timers);
        for (unsigned i = 1; until > 1000 && !xchg_acqrel32(&w->posted, 0) && !load_acquire32(&w->stop); i++) {
            cpu_relax();
            if (i % 256 == 0)
                sched_yield();
        }
        timers_wake(&w->timers);
        timers_expire(&w->timers, 1000, w);
        wake_pause(race_random(&w->random));
    }
    return NULL;
}

/* The rounds that came through; fewer than asked for if a wake-up was lost. */
static inline uint64_t wake_run(uint64_t seed, uint64_t wanted)
{
    struct wake *w = aligned_alloc(64, (sizeof(*w) + 63) / 64 * 64);
    struct timer_node nodes[2], later[WAKE_SHARDS];
    uint64_t random = seed, armed = 0, rounds = 0;
    pthread_t driver;

    memset(w, 0, sizeof(*w));
    memset(nodes, 0, sizeof(nodes));
    memset(later, 0, sizeof(later));
    w->random = seed ^ 1;
    RACE_MUST(!timers_init(&w->timers, WAKE_SHARDS, 0, (struct waker) { wake_interrupt, w }));
    for (unsigned i = 2; i < WAKE_SHARDS; i++) {
        later[i].fire = wake_fire;
        timers_arm(&w->timers, &later[i], INT64_MAX - 5, i);
    }
    RACE_MUST(!pthread_create(&driver, NULL, wake_driver, w));
    for (; rounds < wanted; rounds++) {
        uint64_t x = race_random(&random);
        unsigned n = 1 + (x >> 20 & 1);
        for (unsigned i = 0; i < n; i++) {
            wake_pause(race_random(&random));
            nodes[i].fire = wake_fire;
            timers_arm(&w->timers, &nodes[i], 10 + (int64_t)(x >> (30 + 4 * i) & 7), (unsigned)(x >> (40 + i) & 1));
            armed++;
        }
        int64_t start = 0;
        for (unsigned i = 1; load_acquire64(&w->fired) != armed; i++) {
            cpu_relax();
            if (i % 256)
                continue;
            sched_yield();
            if (!start)
                start = clock_now();
            if (clock_now() - start > WAKE_PATIENCE)
                goto out;
        }
        for (unsigned i = 0; i < n; i++)
            RACE_MUST(!timers_disarm(&w->timers, &nodes[i]));
    }
out:
    store_release32(&w->stop, 1);
    pthread_join(driver, NULL);
    for (unsigned i = 0; i < 2; i++)
        timers_disarm(&w->timers, &nodes[i]);
    RACE_MUST(load_relaxed64(&w->interrupts) <= armed);
    fprintf(stderr, "%llu rounds, %llu timers, %llu interrupts\n", (unsigned long long)rounds,
            (unsigned long long)armed, (unsigned long long)load_relaxed64(&w->interrupts));
    timers_destroy(&w->timers);
    free(w);
    return rounds;
}

#endif
