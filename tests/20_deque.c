/* SPDX-License-Identifier: MIT */
/*
 * 20_deque - the deque without contention, and the memory under it
 *
 * All orders of contention are in model/deque_model.c, real threads in stress/deque_stress.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sched/deque.h"
#include "sched/mem.h"

#define ROOM 4096

static const uint64_t starts[] = {
    0, ((uint64_t)1 << 31) - 2, ((uint64_t)1 << 32) - 2, ((uint64_t)1 << 63) - 2, (uint64_t)-2
};
#define STARTS (sizeof starts / sizeof *starts)

static char item[ROOM];     /* an item is an address in here */

static int number(const void *p) { return p ? (int)((const char *)p - item) : -1; }
static int popped(struct deque *d) { return number(deque_pop(d)); }
static int taken(struct deque *d) { return number(deque_take(d)); }

static int stolen(struct deque *d)
{
    void *p = NULL;
    enum deque_verdict verdict = deque_steal(d, &p);
    cr_assert_neq(verdict, DEQUE_LOST, "there is nobody to lose to");
    cr_assert_eq(verdict == DEQUE_OK, p != NULL);
    return number(p);
}

Test(deque, empty_at_every_start)
{
    for (size_t s = 0; s < STARTS; s++) {
        struct deque d;
        cr_assert_eq(deque_init(&d, starts[s]), 0);
        for (int lap = 0; lap < 4; lap++) {
            cr_assert(deque_empty(&d));
            cr_assert_eq(deque_count(&d), 0);
            cr_assert_eq(popped(&d), -1);
            cr_assert_eq(taken(&d), -1);
            cr_assert_eq(stolen(&d), -1);
            cr_assert(deque_push(&d, &item[lap]));
            cr_assert(!deque_empty(&d));
            cr_assert_eq(lap % 3 == 0 ? popped(&d) : lap % 3 == 1 ? taken(&d) : stolen(&d), lap);
        }
        deque_destroy(&d);
    }
}

Test(deque, newest_and_oldest)
{
    struct deque d;
    cr_assert_eq(deque_init(&d, starts[1]), 0);
    for (int i = 0; i < 10; i++)
        cr_assert(deque_push(&d, &item[i]));
    cr_assert_eq(deque_count(&d), 10);
    cr_assert_eq(popped(&d), 9);
    cr_assert_eq(taken(&d), 0);
    cr_assert_eq(stolen(&d), 1);
    cr_assert_eq(popped(&d), 8);
    cr_assert_eq(taken(&d), 2);
    cr_assert_eq(deque_count(&d), 5);
    deque_destroy(&d);
}

/* Many growths, each begun at another offset in the ring, keep what is there and its order. */
Test(deque, growth_keeps_the_order)
{
    for (size_t s = 0; s < STARTS; s++)
        for (int offset = 0; offset < 9; offset++) {
            struct deque d;
            cr_assert_eq(deque_init(&d, starts[s] - 7), 0);
            for (int i = 0; i < offset; i++) {
                cr_assert(deque_push(&d, &item[i]));
                cr_assert_eq(taken(&d), i);
            }
            for (int i = 0; i < ROOM; i++)
                cr_assert(deque_push(&d, &item[i]));
            cr_assert_eq(deque_count(&d), ROOM);
            for (int i = 0; i < ROOM / 2; i++)
                cr_assert_eq(i % 2 ? taken(&d) : stolen(&d), i);
            for (int i = ROOM - 1; i >= ROOM / 2; i--)
                cr_assert_eq(popped(&d), i);
            cr_assert(deque_empty(&d));
            deque_destroy(&d);
        }
}

/* A ring is used again and again without growing: what was read out of it makes room. */
Test(deque, steady_state_does_not_grow)
{
    struct deque d;
    cr_assert_eq(deque_init(&d, starts[2]), 0);
    for (int i = 0; i < DEQUE_CAPACITY; i++)
        cr_assert(deque_push(&d, &item[i % ROOM]));
    store_relaxed32(&mem_fail_after, 1);        /* the next allocation would fail */
    for (int lap = 0; lap < 10 * DEQUE_CAPACITY; lap++) {
        cr_assert_neq(lap % 3 == 0 ? popped(&d) : lap % 3 == 1 ? taken(&d) : stolen(&d), -1);
        cr_assert(deque_push(&d, &item[lap % ROOM]));
    }
    cr_assert_eq(load_relaxed32(&mem_fail_after), 1, "nobody allocated");
    store_relaxed32(&mem_fail_after, 0);
    deque_destroy(&d);
}

Test(deque, no_memory_for_the_first_ring)
{
    struct deque d;
    store_relaxed32(&mem_fail_after, 1);
    cr_assert_eq(deque_init(&d, 0), -ENOMEM);
    cr_assert_eq(load_relaxed32(&mem_fail_after), 0);
    cr_assert_eq(deque_init(&d, 0), 0);
    deque_destroy(&d);
}

/* The n-th growth, n = 1..5, finds no memory: it refuses one push and does nothing else; the next gets through. */
Test(deque, no_memory_to_grow)
{
    for (uint32_t n = 1; n <= 5; n++) {
        struct deque d;
        int refused = 0, kept = 0;
        cr_assert_eq(deque_init(&d, starts[3]), 0);
        store_relaxed32(&mem_fail_after, n);
        for (int i = 0; i < DEQUE_CAPACITY << 5; i++) {
            int before = (int)deque_count(&d);
            if (deque_push(&d, &item[kept % ROOM])) {
                kept++;
            } else {
                refused++;
                cr_assert_eq(before, DEQUE_CAPACITY << (n - 1), "refused at %d", before);
            }
            cr_assert_eq((int)deque_count(&d), kept);
        }
        cr_assert_eq(refused, 1);
        cr_assert_eq(load_relaxed32(&mem_fail_after), 0);
        for (int i = 0; i < kept; i++)
            cr_assert_eq(taken(&d), i % ROOM);
        cr_assert_eq(taken(&d), -1);
        deque_destroy(&d);
    }
}

/* Against a plain array, with random operations. */
Test(deque, random_operations)
{
    const char *env = getenv("WEFT_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);
    fprintf(stderr, "seed %u\n", seed);
    srand(seed);
    for (size_t s = 0; s < STARTS; s++) {
        static int queue[200001];
        struct deque d;
        int from = 0, to = 0, bias = 0;
        cr_assert_eq(deque_init(&d, starts[s] - (uint64_t)(rand() % 50)), 0);
        for (int step = 0; step < 200000; step++) {
            if (step % 1000 == 0)
                bias = rand() % 5;              /* some stretches fill, some drain */
            int op = rand() % (4 + bias);
            int newest = from == to ? -1 : queue[to - 1], oldest = from == to ? -1 : queue[from];
            if (op == 0) {
                cr_assert_eq(popped(&d), newest);
                to -= newest != -1;
            } else if (op == 1) {
                cr_assert_eq(taken(&d), oldest);
                from += oldest != -1;
            } else if (op == 2) {
                cr_assert_eq(stolen(&d), oldest);
                from += oldest != -1;
            } else {
                queue[to++] = rand() % ROOM;
                cr_assert(deque_push(&d, &item[queue[to - 1]]));
            }
            cr_assert_eq((int)deque_count(&d), to - from);
            cr_assert_eq(deque_empty(&d), to == from);
        }
        deque_destroy(&d);
    }
}

Test(mem, zeroed_and_aligned)
{
    for (size_t align = 1; align <= 65536; align *= 2)
        for (size_t size = 1; size < 70000; size = size * 3 + 1) {
            unsigned char *p = mem_alloc(size, align);
            cr_assert_not_null(p);
            cr_assert_eq((uintptr_t)p % align, 0);
            for (size_t i = 0; i < size; i++)
                cr_assert_eq(p[i], 0);
            memset(p, 0xa5, size);
            mem_free(p, size, align);
        }
    mem_free(NULL, 8, 8);
}

Test(mem, the_nth_fails_once)
{
    for (uint32_t n = 1; n < 20; n++) {
        store_relaxed32(&mem_fail_after, n);
        for (uint32_t i = 1; i < 40; i++) {
            void *p = mem_alloc(24, 8);
            cr_assert_eq(p == NULL, i == n);
            mem_free(p, 24, 8);
        }
    }
}

static void *allocate_1000(void *failed)
{
    for (int i = 0; i < 1000; i++) {
        void *p = mem_alloc(16, 16);
        *(int *)failed += p == NULL;
        mem_free(p, 16, 16);
    }
    return NULL;
}

Test(mem, the_nth_fails_once_among_threads)
{
    pthread_t thread[4];
    int failed[4] = { 0 };
    store_relaxed32(&mem_fail_after, 2345);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, allocate_1000, &failed[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    cr_assert_eq(failed[0] + failed[1] + failed[2] + failed[3], 1);
}
