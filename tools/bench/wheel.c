/* SPDX-License-Identifier: MIT */
/*
 * wheel [timers] - what the wheel costs, ns per operation, with so many timers armed (1,000,000)
 *
 * The nodes lie 64 bytes apart; "random" is an order that no cache likes. One thread, no lock. The best of ROUNDS.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sched/clock.h"
#include "timers/wheel.h"

#define SEC INT64_C(1000000000)
#define ROUNDS 5

struct timer {
    struct wheel_node node;
    char rest[64 - sizeof(struct wheel_node)];
};

static struct wheel wheel;
static uint64_t state = 1;

static uint64_t random64(void)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* This thread's own time: the longest piece is not to be one in which it had no CPU. */
static int64_t cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * SEC + t.tv_nsec;
}

static void keep(double *best, int64_t since, size_t n)
{
    double ns = (double)(clock_now() - since) / (double)n;

    if (*best == 0 || ns < *best)
        *best = ns;
}

/* Fire all: at the ticks of a clock that moves by step, or for 0 from one due to the next. With `longest` also the
 * time of the longest piece, that is of what the driver does under one lock; asking for it costs much, so it is not
 * timed otherwise. */
static void expire_all(size_t n, int64_t now, int64_t step, int64_t *longest)
{
    for (size_t fired = 0; fired < n;) {
        now = step ? now + step : wheel_next(&wheel);
        for (unsigned work = 0; !work;) {
            int64_t before = longest ? cpu_now() : 0;
            work = 64;
            while (wheel_expire(&wheel, now, &work))
                fired++;
            int64_t took = longest ? cpu_now() - before : 0;
            if (longest && took > *longest)
                *longest = took;
        }
    }
}

/* Dues in order (a constant timeout) or anywhere within 30 s. */
static void fill_and_expire(const char *name, struct timer *t, const uint32_t *order, size_t n, int in_order,
                            int64_t step)
{
    double add = 0, expire = 0;
    int64_t *due = malloc(n * sizeof(*due)), longest = 0;

    for (int round = 0; round <= ROUNDS; round++) {
        const int64_t start = 5 * SEC;
        for (size_t i = 0; i < n; i++)
            due[i] = start + (in_order ? (int64_t)i * (30 * SEC / (int64_t)n) : (int64_t)(random64() % (30 * SEC))) + 1;
        wheel_init(&wheel, start);
        int64_t since = clock_now();
        for (size_t i = 0; i < n; i++)
            wheel_add(&wheel, &t[order[i]].node, due[i]);
        keep(&add, since, n);
        since = clock_now();
        expire_all(n, start, step, round == ROUNDS ? &longest : NULL);
        if (round < ROUNDS)
            keep(&expire, since, n);
    }
    printf("%-34s add %6.1f  expire %6.1f  longest piece %4.0f us\n", name, add, expire, (double)longest / 1000);
    free(due);
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
    struct timer *t = aligned_alloc(64, n * sizeof(*t));
    uint32_t *straight = malloc(n * sizeof(*straight)), *shuffled = malloc(n * sizeof(*shuffled));
    double hot = 0, cold = 0, pair = 0, next = 0;

    for (size_t i = 0; i < n; i++) {
        t[i].node = (struct wheel_node) { .owner = 0 };
        straight[i] = shuffled[i] = (uint32_t)i;
    }
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = random64() % (i + 1);
        uint32_t x = shuffled[i];
        shuffled[i] = shuffled[k];
        shuffled[k] = x;
    }
    fill_and_expire("in order, ticks of 1 ms", t, straight, n, 1, 1000000);
    fill_and_expire("in order, random nodes, 1 ms", t, shuffled, n, 1, 1000000);
    fill_and_expire("anywhere in 30 s, ticks of 1 ms", t, straight, n, 0, 1000000);
    fill_and_expire("anywhere, random nodes, 1 ms", t, shuffled, n, 0, 1000000);
    fill_and_expire("anywhere, from next to next", t, straight, n, 0, 0);
    fill_and_expire("anywhere, in one jump", t, straight, n, 0, 40 * SEC);

    for (int round = 0; round < ROUNDS; round++) {
        struct wheel_node few[8] = { { .owner = 0 } };
        wheel_init(&wheel, 0);
        for (size_t i = 0; i < n; i++)
            wheel_add(&wheel, &t[i].node, (int64_t)(random64() % (30 * SEC)) + 1);
        int64_t since = clock_now();
        for (size_t i = 0; i < 8000000; i++) {      /* an I/O deadline: armed, and taken back at once */
            wheel_add(&wheel, &few[i % 8], 5 * SEC + (int64_t)i * 100);
            wheel_remove(&wheel, &few[i % 8]);
        }
        keep(&hot, since, 8000000);
        since = clock_now();
        for (size_t i = 0; i < 8000000; i++) {
            wheel_add(&wheel, &few[0], 5 * SEC + (int64_t)i * 100);
            next += (double)(wheel_next(&wheel) & 1);
            wheel_remove(&wheel, &few[0]);
        }
        keep(&pair, since, 8000000);
        since = clock_now();
        for (size_t i = 0; i < n; i++)
            wheel_remove(&wheel, &t[shuffled[i]].node);
        keep(&cold, since, n);
    }
    printf("add+remove, hot %5.1f  add+next+remove %5.1f  remove, random of all %6.1f\n", hot, pair, cold);
    free(t);
    free(straight);
    free(shuffled);
    return next < 0;
}
