/* SPDX-License-Identifier: MIT */
/*
 * stack_stress - stacks got by one thread and put by another
 *
 * Four threads get, mark, prepare, put, trim and flush at random; half of the stacks change hands through a table of boxes
 * before they are put. A stack that had two holders, or lost its mark, is seen; under TSan so is a missing lock.
 *
 * cc -I. tests/stress/stack_stress.c sched/stack.c -pthread
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sched/stack.h"

#define THREADS 4
#define HELD 150
#define BOXES 64
#define STEPS 60000

struct box {
    pthread_mutex_t lock;
    struct stack stack;
    uint64_t mark;
};

struct thread {
    pthread_t id;
    uint64_t random, me;
    unsigned long gets, handed, trimmed, errors;
    struct stack_cache cache;
    struct stack held[HELD];
};

static struct box boxes[BOXES];
static struct thread threads[THREADS];
static unsigned passed, failed;

#define CHECK(x) ((x) ? passed++ : (failed++, printf("%s:%d: %s\n", __FILE__, __LINE__, #x), 0))

static uint64_t next_random(uint64_t *r)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return *r >> 33;
}

static void take(struct thread *t, size_t i)
{
    struct stack_cache *c = next_random(&t->random) % 4 ? &t->cache : NULL;
    t->errors += stack_get(c, (size_t)STACK_MIN << next_random(&t->random) % 3, &t->held[i]) != 0;
    if (next_random(&t->random) % 8)
        stack_prepare(NULL, &t->held[i]);
    else
        return;                                 /* an unstarted fiber: nothing may be written */
    t->errors += *(uint64_t *)t->held[i].base != 0;
    *(uint64_t *)t->held[i].base = t->me << 32 | i;
    t->gets++;
}

static void give(struct thread *t, struct stack *s, uint64_t mark)
{
    if (s->at.flags & STACK_TOUCHED) {
        t->errors += *(uint64_t *)s->base != mark && *(uint64_t *)s->base != 0;
        *(uint64_t *)s->base = 0;
    }
    stack_put(next_random(&t->random) % 4 ? &t->cache : NULL, s);
}

/* Put ours into a box, and put away what was in it. */
static void hand_over(struct thread *t, size_t i)
{
    struct box *b = &boxes[next_random(&t->random) % BOXES];
    struct stack s;
    uint64_t mark;
    pthread_mutex_lock(&b->lock);
    s = b->stack;
    mark = b->mark;
    b->stack = t->held[i];
    b->mark = t->me << 32 | i;
    pthread_mutex_unlock(&b->lock);
    t->held[i] = (struct stack){ 0 };
    t->handed++;
    if (s.base)
        give(t, &s, mark);
}

static void *run(void *arg)
{
    struct thread *t = arg;
    for (int step = 0; step < STEPS; step++) {
        size_t i = next_random(&t->random) % HELD;
        if (!t->held[i].base)
            take(t, i);
        else if (next_random(&t->random) % 2)
            hand_over(t, i);
        else
            give(t, &t->held[i], t->me << 32 | i);
        if (next_random(&t->random) % 500 == 0)
            t->trimmed += stack_trim(1 + next_random(&t->random) % 40);
        if (next_random(&t->random) % 2000 == 0)
            stack_cache_flush(&t->cache);
    }
    for (size_t i = 0; i < HELD; i++)
        if (t->held[i].base)
            give(t, &t->held[i], t->me << 32 | i);
    stack_cache_flush(&t->cache);
    return NULL;
}

int main(void)
{
    const char *given = getenv("WEFT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    unsigned long gets = 0, handed = 0, trimmed = 0, errors = 0;
    struct thread *last = &threads[THREADS - 1];
    printf("WEFT_SEED=%llu\n", (unsigned long long)seed);
    for (int i = 0; i < BOXES; i++)
        pthread_mutex_init(&boxes[i].lock, NULL);
    for (uint64_t i = 0; i < THREADS; i++) {
        threads[i].random = seed * THREADS + i;
        threads[i].me = i + 1;
        if (pthread_create(&threads[i].id, NULL, run, &threads[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        gets += threads[i].gets;
        handed += threads[i].handed;
        trimmed += threads[i].trimmed;
    }
    for (int i = 0; i < BOXES; i++)
        if (boxes[i].stack.base)
            give(last, &boxes[i].stack, boxes[i].mark);
    stack_cache_flush(&last->cache);
    for (int i = 0; i < THREADS; i++)
        errors += threads[i].errors;
    CHECK(errors == 0);
    CHECK(handed > 1000 && trimmed > 100);
    CHECK(stack_trim(SIZE_MAX) > 0);
    CHECK(stack_trim_due() == 0);
    CHECK(stack_pool_release() == 0);
    printf("%lu stacks, %lu handed over, %lu trimmed\n%u passed, %u failed\n", gets, handed, trimmed, passed, failed);
    return failed != 0;
}
