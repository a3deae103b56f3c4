/* SPDX-License-Identifier: MIT */
/*
 * deque_stress - the deque with real threads: every item comes out exactly once
 *
 * One owner, three thieves, several shapes of load. An item is a struct that the owner fills with plain stores before
 * the push and that whoever gets it reads and overwrites, so that TSAN asks for a happens-before. Each thread marks
 * what it got in a bitmap of its own; at the end the bitmaps must be disjoint and full. Each thread's stolen or taken
 * items must come in the order of the pushes.
 *
 * WEFT_SEED   repeats the owner's operations
 * WEFT_SCALE  percent of the usual number of items
 *
 * Build      cc -std=gnu11 -O2 -g [-DWEFT_TINY] [-fsanitize=thread] -I. tests/stress/deque_stress.c sched/deque.c
 *            sched/mem.c -pthread -o deque_stress
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sched/deque.h"

#define THIEVES 3

struct item { uint64_t number, check; };

struct hand {               /* one thread's; its own line */
    _Alignas(CACHE_LINE) uint8_t *bitmap;
    uint64_t got, lost, last;
    int errors;
};

struct shape {
    const char *name;
    unsigned burst;         /* most pushes in a row */
    unsigned pop, take;     /* out of 16: what follows a burst, up to once more than it pushed */
    uint64_t start;
};

static const struct shape shapes[] = {
    { "near empty", 1, 12, 4, 0 },
    { "lifo", 8, 16, 0, ((uint64_t)1 << 32) - 1000 },
    { "fifo", 8, 0, 16, ((uint64_t)1 << 63) - 1000 },
    { "mixed", 40, 6, 6, (uint64_t)-1000 },
    { "bursts", 3000, 5, 5, ((uint64_t)1 << 31) - 1000 },
};

static struct deque d;
static struct item *items;
static uint64_t total;
static atom32 closed;
static struct hand hands[THIEVES + 1];

static uint64_t check_of(uint64_t number) { return number * 0x9e3779b97f4a7c15u + 1; }

static void keep(struct hand *h, struct item *it, bool in_order)
{
    uint64_t i = it->number;
    if (i >= total || it->check != check_of(i) || (h->bitmap[i / 8] >> i % 8 & 1)) {
        h->errors++;
        return;
    }
    it->check = 0;
    h->bitmap[i / 8] |= (uint8_t)(1u << i % 8);
    h->got++;
    if (in_order) {
        h->errors += i + 1 <= h->last;
        h->last = i + 1;
    }
}

static void *thief(void *arg)
{
    struct hand *h = arg;
    for (;;) {
        void *it;
        uint32_t last_look = load_acquire32(&closed);
        switch (deque_steal(&d, &it)) {
        case DEQUE_OK:
            keep(h, it, true);
            break;
        case DEQUE_LOST:
            h->lost++;
            break;
        case DEQUE_EMPTY:
            if (last_look)
                return NULL;
            sched_yield();
            break;
        }
    }
}

static void own(const struct shape *s, struct hand *h, unsigned *seed)
{
    for (uint64_t next = 0; next < total; ) {
        unsigned n = 1 + (unsigned)rand_r(seed) % s->burst;
        for (unsigned i = 0; i < n && next < total; i++, next++) {
            items[next].number = next;
            items[next].check = check_of(next);
            if (!deque_push(&d, &items[next]))
                h->errors++;
        }
        unsigned back = (unsigned)rand_r(seed) % (n + 2);
        for (unsigned i = 0; i < back; i++) {
            unsigned roll = (unsigned)rand_r(seed) % 16;
            bool pop = roll < s->pop, take = !pop && roll < s->pop + s->take;
            struct item *it = pop ? deque_pop(&d) : take ? deque_take(&d) : NULL;
            if (it)
                keep(h, it, take);
        }
        if (rand_r(seed) % 64 == 0)
            sched_yield();
    }
    store_release32(&closed, 1);
    for (struct item *it; (it = rand_r(seed) % 2 ? deque_pop(&d) : deque_take(&d)); )
        keep(h, it, false);
}

static bool run(const struct shape *s, unsigned *seed)
{
    pthread_t thread[THIEVES];
    uint64_t got = 0, lost = 0, missing = 0, twice = 0;
    int errors = 0;

    memset(items, 0, total * sizeof *items);
    store_relaxed32(&closed, 0);
    for (int i = 0; i <= THIEVES; i++) {
        uint8_t *bitmap = hands[i].bitmap;
        memset(bitmap, 0, total / 8 + 1);
        hands[i] = (struct hand){ .bitmap = bitmap };
    }
    if (deque_init(&d, s->start) < 0)
        return false;
    for (int i = 0; i < THIEVES; i++)
        if (pthread_create(&thread[i], NULL, thief, &hands[i + 1])) {
            perror("pthread_create");
            exit(1);
        }
    own(s, &hands[0], seed);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(thread[i], NULL);

    for (int i = 0; i <= THIEVES; i++) {
        got += hands[i].got;
        lost += hands[i].lost;
        errors += hands[i].errors;
    }
    for (uint64_t i = 0; i < total; i++) {
        int n = 0;
        for (int j = 0; j <= THIEVES; j++)
            n += hands[j].bitmap[i / 8] >> i % 8 & 1;
        missing += n == 0;
        twice += n > 1;
    }
    bool good = got == total && !missing && !twice && !errors && deque_empty(&d);
    printf("%-10s %s: %llu items, %llu stolen, %llu steals lost, %llu missing, %llu twice, %d errors\n", s->name,
           good ? "passed" : "FAILED", (unsigned long long)got, (unsigned long long)(got - hands[0].got),
           (unsigned long long)lost, (unsigned long long)missing, (unsigned long long)twice, errors);
    deque_destroy(&d);
    return good;
}

int main(void)
{
    const char *env = getenv("WEFT_SEED"), *scale = getenv("WEFT_SCALE");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);
    int passed = 0, failed = 0;

    printf("seed %u\n", seed);
    total = 1000000 * (scale ? strtoull(scale, NULL, 0) : 100) / 100;
    if (total < 1000)
        total = 1000;
    items = calloc(total, sizeof *items);
    for (int i = 0; i <= THIEVES; i++)
        hands[i].bitmap = calloc(1, total / 8 + 1);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (run(&shapes[i], &seed))
            passed++;
        else
            failed++;
    for (int i = 0; i <= THIEVES; i++)
        free(hands[i].bitmap);
    free(items);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
