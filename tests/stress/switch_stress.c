/* SPDX-License-Identifier: MIT */
/*
 * switch_stress - fibers that change threads at every wait, as the sanitizers see them
 *
 * Two threads, each with a queue under one mutex; a fiber that yields goes to either by lot, so that half of all switches change
 * the thread, however the machine is loaded. The fibers yield at random depths and work on data of their own and on data under
 * the mutex. Clean under ASan and TSan with both compilers. With -DSEEDED_RACE one counter is not under the mutex, and
 * TSan must say so; with -DSEEDED_OVERRUN a fiber writes past an array, and ASan must say so.
 *
 * cc -I. tests/stress/switch_stress.c sched/stack.c sched/context_x86_64.S -pthread
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sched/context.h"
#include "sched/sanitize.h"
#include "sched/stack.h"

#define THREADS 2
#define FIBERS 64
#define YIELDS 200
#define GENERATIONS 4

struct fiber {
    struct context context;
    struct san_context san;
    struct stack stack;
    struct fiber *next;
    struct worker *on, *last;
    uint64_t random;
    unsigned mine, moves;
    bool ended;
};

struct worker {
    struct context context;
    struct san_context san;
    struct stack_cache cache;
    struct fiber *head, *tail;                  /* under the mutex */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct worker workers[THREADS];
static unsigned alive, shared, racy, moves, passed, failed;

#define CHECK(x) ((x) ? passed++ : (failed++, printf("%s:%d: %s\n", __FILE__, __LINE__, #x), 0))

static unsigned next_random(struct fiber *f)
{
    f->random = f->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(f->random >> 40);
}

static void push(struct fiber *f)
{
    struct worker *w = &workers[next_random(f) % THREADS];
    pthread_mutex_lock(&mutex);
    f->next = NULL;
    if (w->head)
        w->tail->next = f;
    else
        w->head = f;
    w->tail = f;
    pthread_mutex_unlock(&mutex);
}

static struct fiber *pop(struct worker *w, bool *over)
{
    struct fiber *f;
    pthread_mutex_lock(&mutex);
    f = w->head;
    if (f)
        w->head = f->next;
    *over = alive == 0;
    pthread_mutex_unlock(&mutex);
    return f;
}

static void leave(struct fiber *f)
{
    san_switch_before(&f->san, &f->on->san, f->ended);
    context_switch(&f->context, &f->on->context);
    san_switch_after(&f->san);
    f->moves += f->on != f->last;               /* f->on was written by the worker that resumed us */
    f->last = f->on;
}

static unsigned deep(struct fiber *f, unsigned n)
{
    volatile unsigned char room[48];
    unsigned r = 0;
    for (unsigned i = 0; i < sizeof room; i++)
        room[i] = (unsigned char)(n + i);
    if (n == 0)
        leave(f);
    else
        r = deep(f, n - 1);
    for (unsigned i = 0; i < sizeof room; i++)
        r += room[i] != (unsigned char)(n + i);
    return r;
}

#ifdef SEEDED_RACE
static void seeded(struct fiber *f) { (void)f; racy++; sched_yield(); racy++; }
#elif defined(SEEDED_OVERRUN)
static void seeded(struct fiber *f)
{
    volatile char small[16];
    small[f->mine % 7 ? 3 : 20] = 1;
    f->mine += small[3] > 1;
}
#else
static void seeded(struct fiber *f) { (void)f; }
#endif

static void body(void *arg)
{
    struct fiber *f = arg;
    unsigned wrong = 0;
    san_switch_after(&f->san);
    f->last = f->on;
    for (int i = 0; i < YIELDS; i++) {
        f->mine++;
        seeded(f);
        pthread_mutex_lock(&mutex);
        shared++;
        pthread_mutex_unlock(&mutex);
        wrong += deep(f, next_random(f) % 8);
    }
    pthread_mutex_lock(&mutex);
    CHECK(wrong == 0);
    CHECK(f->mine == YIELDS);
    moves += f->moves;
    pthread_mutex_unlock(&mutex);
    f->ended = true;
    leave(f);
}

static void start(struct fiber *f, struct stack_cache *c)
{
    if (stack_get(c, 65536, &f->stack) != 0)
        abort();
    stack_prepare(c, &f->stack);
    f->mine = f->moves = 0;
    f->ended = false;
    san_fiber_begin(&f->san, f->stack.base, f->stack.top);
    context_init(&f->context, f->stack.top, body, f);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    bool over = false;
    san_thread_begin(&w->san);
    while (!over) {
        struct fiber *f = pop(w, &over);
        if (!f) {
            sched_yield();
            continue;
        }
        f->on = w;
        san_switch_before(&w->san, &f->san, false);
        context_switch(&w->context, &f->context);
        san_switch_after(&w->san);
        if (!f->ended) {
            push(f);
            continue;
        }
        san_fiber_end(&f->san);
        stack_put(&w->cache, &f->stack);
        pthread_mutex_lock(&mutex);
        alive--;
        over = alive == 0;
        pthread_mutex_unlock(&mutex);
    }
    stack_cache_flush(&w->cache);
    return NULL;
}

int main(void)
{
    static struct fiber fibers[FIBERS];
    const char *given = getenv("WEFT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("WEFT_SEED=%llu\n", (unsigned long long)seed);
    for (int g = 0; g < GENERATIONS; g++) {
        pthread_t threads[THREADS];
        alive = FIBERS;
        for (unsigned i = 0; i < FIBERS; i++) {
            fibers[i].random = seed + i + FIBERS * (unsigned)g;
            start(&fibers[i], NULL);
            push(&fibers[i]);
        }
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
                abort();
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        stack_trim(FIBERS / 2);
    }
    CHECK(shared == GENERATIONS * FIBERS * YIELDS);
    CHECK(moves > GENERATIONS * FIBERS * YIELDS / 3 && moves < GENERATIONS * FIBERS * YIELDS * 2 / 3);
    CHECK(stack_pool_release() == 0);
    printf("%u switches between threads\n%u passed, %u failed\n", moves, passed, failed);
    (void)racy;
    return failed != 0;
}
