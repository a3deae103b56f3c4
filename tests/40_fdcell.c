/* SPDX-License-Identifier: MIT */
/* The cell of a descriptor number: who is woken by what, and that a call never meets the file that came after its own. */
#include <criterion/criterion.h>
#include <limits.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "io/fdcell.h"
#include "sched/mem.h"
#include "tests/fibers.h"

#define N 8

static struct fiber fiber[N];                   /* only their wait words are used */
static struct wait_node node[N][2];

static struct fdcell *cell(void)
{
    static int number = 1000;                   /* a fresh one for each test */
    struct fdcell *c = fdcell_get(number++);
    TRUE(c);
    return c;
}

/* Fiber i waits. */
static int queue(struct fdcell *c, int i, unsigned ways, void *value, bool first)
{
    struct fdcell_visit v = { 0 };
    OK(fdcell_enter(c, &v));
    fdcell_leave(c);
    return fdcell_queue(c, &v, &fiber[i], node[i], ways, value, first);
}

/* The list is exactly of these fibers, which end their waits with this result. */
static void are(struct wait_node *n, int result, int count, const int *which)
{
    for (int i = 0; i < count; i++, n = n->next) {
        TRUE(n);
        EQ(n->fiber - fiber, which[i]);
        EQ(n->result, result);
        EQ(wait_close(n->fiber), WAIT_EVENT);
    }
    TRUE(!n);
}
#define ARE(list, result, ...) are(list, result, sizeof((int[]){ __VA_ARGS__ }) / sizeof(int), (int[]){ __VA_ARGS__ })

/* ---- the table ----------------------------------------------------------------------------------------------------------- */

Test(fdcell, numbers)
{
    TRUE(!fdcell_get(-1));
    TRUE(!fdcell_get(1 << 24));
    TRUE(!fdcell_get(INT_MAX));
    TRUE(!fdcell_find(123456));
    TRUE(fdcell_get((1 << 24) - 1));
    TRUE(fdcell_get(0) == fdcell_get(0));
    TRUE(fdcell_get(0) != fdcell_get(1));
    TRUE(fdcell_find(0) == fdcell_get(0));
    EQ((uintptr_t)fdcell_get(3) % 128, 0);
}

Test(fdcell, no_memory)
{
    store_relaxed32(&mem_fail_after, 1);
    TRUE(!fdcell_get(200000));
    TRUE(fdcell_get(200000));
}

static void *gets(void *arg)
{
    struct fdcell **mine = arg;
    for (int i = 0; i < 2000; i++)
        mine[i] = fdcell_get(300000 + 37 * i);
    return NULL;
}

Test(fdcell, found_by_all_at_once)
{
    static struct fdcell *got[4][2000];
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        thread_start(&t[i], gets, got[i]);
    for (int i = 0; i < 4; i++)
        thread_join(t[i]);
    for (int i = 0; i < 2000; i++)
        TRUE(got[0][i] && got[0][i] == got[1][i] && got[0][i] == got[2][i] && got[0][i] == got[3][i]);
}

/* ---- edges --------------------------------------------------------------------------------------------------------------- */

Test(fdcell, an_edge_wakes_the_first)
{
    struct fdcell *c = cell();
    TRUE(!fdcell_edge(c, FDCELL_READ, false));
    for (int i = 0; i < 3; i++)
        OK(queue(c, i, FDCELL_READ, NULL, false));
    OK(queue(c, 3, FDCELL_WRITE, NULL, false));
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 0);
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 1);
    ARE(fdcell_edge(c, FDCELL_READ | FDCELL_WRITE, false), 0, 2, 3);
    TRUE(!fdcell_edge(c, FDCELL_READ | FDCELL_WRITE, true));
}

Test(fdcell, an_edge_before_the_queue)
{
    struct fdcell *c = cell();
    struct fdcell_visit v = { 0 };
    OK(fdcell_enter(c, &v));
    fdcell_leave(c);
    TRUE(!fdcell_edge(c, FDCELL_READ, false));                  /* between EAGAIN and the park */
    EQ(fdcell_queue(c, &v, &fiber[0], node[0], FDCELL_READ, NULL, false), -EAGAIN);
    EQ(load_relaxed32(&fiber[0].wait), WAIT_NONE);              /* no wait was opened */
    OK(fdcell_queue(c, &v, &fiber[1], node[1], FDCELL_WRITE, NULL, false));     /* the other direction is another matter */
    OK(fdcell_enter(c, &v));
    fdcell_leave(c);
    OK(fdcell_queue(c, &v, &fiber[0], node[0], FDCELL_READ, NULL, false));
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 0);
    ARE(fdcell_edge(c, FDCELL_WRITE, false), 0, 1);
}

Test(fdcell, lookers_are_woken_with_the_first_taker)
{
    struct fdcell *c = cell();
    OK(queue(c, 0, FDCELL_READ, FDCELL_LOOKS, false));
    OK(queue(c, 1, FDCELL_READ, FDCELL_LOOKS, false));
    OK(queue(c, 2, FDCELL_READ, NULL, false));
    OK(queue(c, 3, FDCELL_READ, FDCELL_LOOKS, false));
    OK(queue(c, 4, FDCELL_READ, NULL, false));
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 0, 1, 2);
    ARE(fdcell_pass(c, FDCELL_READ), 0, 3, 4);
    TRUE(!fdcell_pass(c, FDCELL_READ));
}

Test(fdcell, a_broken_file_wakes_all)
{
    struct fdcell *c = cell();
    for (int i = 0; i < 6; i++)
        OK(queue(c, i, i % 2 ? FDCELL_WRITE : FDCELL_READ, NULL, false));
    ARE(fdcell_edge(c, FDCELL_READ | FDCELL_WRITE, true), 0, 0, 2, 4, 1, 3, 5);
}

Test(fdcell, both_ways_are_one_wait)
{
    struct fdcell *c = cell();
    OK(queue(c, 0, FDCELL_READ | FDCELL_WRITE, FDCELL_LOOKS, false));
    OK(queue(c, 1, FDCELL_WRITE, NULL, false));
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 0);
    ARE(fdcell_edge(c, FDCELL_WRITE, false), 0, 1);             /* the second node of 0 serves nobody */
    OK(fdcell_unqueue(c, node[0], FDCELL_READ | FDCELL_WRITE));
    OK(queue(c, 0, FDCELL_READ | FDCELL_WRITE, FDCELL_LOOKS, false));
    ARE(fdcell_edge(c, FDCELL_WRITE | FDCELL_READ, true), 0, 0);
    OK(fdcell_unqueue(c, node[0], FDCELL_READ | FDCELL_WRITE));
}

Test(fdcell, a_lost_claim_swallows_nothing)
{
    struct fdcell *c = cell();
    for (int i = 0; i < 3; i++)
        OK(queue(c, i, FDCELL_READ, NULL, false));
    TRUE(wait_claim(&fiber[0], WAIT_TIMEOUT));
    TRUE(wait_claim(&fiber[1], WAIT_CANCEL));
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 2);
    EQ(wait_close(&fiber[0]), WAIT_TIMEOUT);
    OK(fdcell_unqueue(c, node[0], FDCELL_READ));
    OK(fdcell_unqueue(c, node[1], FDCELL_READ));
    TRUE(!fdcell_pass(c, FDCELL_READ));
}

Test(fdcell, who_was_woken_before_goes_first)
{
    struct fdcell *c = cell();
    OK(queue(c, 0, FDCELL_WRITE, NULL, false));
    OK(queue(c, 1, FDCELL_WRITE, NULL, false));
    ARE(fdcell_edge(c, FDCELL_WRITE, false), 0, 0);
    OK(queue(c, 0, FDCELL_WRITE, NULL, true));                  /* it found nothing and waits again */
    ARE(fdcell_edge(c, FDCELL_WRITE, false), 0, 0);
    ARE(fdcell_pass(c, FDCELL_WRITE), 0, 1);
}

/* ---- close --------------------------------------------------------------------------------------------------------------- */

Test(fdcell, close_tells_all)
{
    struct fdcell *c = cell();
    struct fdcell_visit v = { 0 };
    struct wait_node thread = { .value = (void *)(intptr_t)5 }, *waiters;
    bool watched;
    fdcell_close(c, &waiters, &watched);
    TRUE(!waiters && !watched);
    fdcell_closed(c);
    OK(queue(c, 0, FDCELL_READ, NULL, false));
    OK(queue(c, 1, FDCELL_WRITE, NULL, false));
    OK(queue(c, 2, FDCELL_READ | FDCELL_WRITE, FDCELL_LOOKS, false));
    OK(fdcell_enter(c, &v));
    fdcell_leave(c);
    OK(fdcell_queue_thread(c, &v, &fiber[3], &thread));
    ARE(fdcell_edge(c, FDCELL_READ | FDCELL_WRITE, false), 0, 0, 1);     /* a thread is not woken by edges */
    OK(queue(c, 0, FDCELL_READ, NULL, false));
    OK(queue(c, 1, FDCELL_WRITE, NULL, false));
    fdcell_close(c, &waiters, &watched);
    TRUE(watched);
    ARE(waiters, -EBADF, 2, 0, 1, 3);
    fdcell_closed(c);
    fdcell_close(c, &waiters, &watched);
    TRUE(!waiters && !watched);
    fdcell_closed(c);
}

Test(fdcell, a_late_call_does_not_meet_the_next_file)
{
    struct fdcell *c = cell();
    struct fdcell_visit before = { 0 }, after = { 0 };
    struct wait_node *waiters, thread;
    bool watched;
    OK(fdcell_enter(c, &before));
    fdcell_leave(c);
    TRUE(fdcell_same(c, &before));
    fdcell_close(c, &waiters, &watched);
    EQ(fdcell_enter(c, &before), -EBADF);
    EQ(fdcell_queue(c, &before, &fiber[0], node[0], FDCELL_READ, NULL, false), -EBADF);
    EQ(fdcell_queue_thread(c, &before, &fiber[0], &thread), -EBADF);
    fdcell_closed(c);
    OK(fdcell_enter(c, &after));
    fdcell_leave(c);
    TRUE(!fdcell_same(c, &before));
    EQ(fdcell_enter(c, &before), -EBADF);
    EQ(fdcell_queue(c, &before, &fiber[0], node[0], FDCELL_READ, NULL, false), -EBADF);
    EQ(fdcell_queue_thread(c, &before, &fiber[0], &thread), -EBADF);
    EQ(load_relaxed32(&fiber[0].wait), WAIT_NONE);
    OK(fdcell_queue(c, &after, &fiber[0], node[0], FDCELL_READ, NULL, false));
    ARE(fdcell_edge(c, FDCELL_READ, false), 0, 0);
}

/* A file behind a number that is closed and taken again all the time; visitors must find their own or -EBADF. */
static struct { struct fdcell *c; atomic_int file, stop; atomic_long met, late; } reuse;

static void *visits(void *arg)
{
    uint64_t state = random_stream((uint64_t)(intptr_t)arg);
    while (!atomic_load(&reuse.stop)) {
        struct fdcell_visit v = { 0 };
        int mine = -1;
        for (uint64_t n = random_below(&state, 5); n > 0 && fdcell_enter(reuse.c, &v) == 0; n--) {
            int file = atomic_load(&reuse.file);
            EQ(file % 2, 0);                    /* open */
            if (mine < 0)
                mine = file;
            EQ(file, mine);
            if (random_below(&state, 16) == 0)
                sched_yield();
            EQ(atomic_load(&reuse.file), mine);
            atomic_fetch_add(&reuse.met, 1);
            fdcell_leave(reuse.c);
        }
        if (mine >= 0 && mine != atomic_load(&reuse.file))
            atomic_fetch_add(&reuse.late, 1);
    }
    return NULL;
}

static struct { struct fdcell *c; atomic_int open; } twice;

static void *closes(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        struct wait_node *waiters;
        bool watched;
        fdcell_close(twice.c, &waiters, &watched);
        EQ(atomic_fetch_add(&twice.open, 1), 0);
        atomic_fetch_sub(&twice.open, 1);
        fdcell_closed(twice.c);
    }
    return NULL;
}

Test(fdcell, closes_wait_for_each_other)
{
    pthread_t t[3];
    twice.c = cell();
    for (int i = 0; i < 3; i++)
        thread_start(&t[i], closes, NULL);
    for (int i = 0; i < 3; i++)
        thread_join(t[i]);
    EQ(load_relaxed64(&twice.c->use) >> 32, 60000);
}

Test(fdcell, numbers_are_used_again)
{
    pthread_t t[3];
    seed_print();
    reuse.c = cell();
    for (int i = 0; i < 3; i++)
        thread_start(&t[i], visits, (void *)(intptr_t)i);
    for (int i = 0; i < 30000; i++) {
        struct wait_node *waiters;
        bool watched;
        fdcell_close(reuse.c, &waiters, &watched);
        atomic_fetch_add(&reuse.file, 1);
        if (i % 64 == 0)
            sched_yield();
        atomic_fetch_add(&reuse.file, 1);
        fdcell_closed(reuse.c);
        for (int k = i % 20; k > 0; k--)
            cpu_relax();
    }
    atomic_store(&reuse.stop, 1);
    for (int i = 0; i < 3; i++)
        thread_join(t[i]);
    TRUE(atomic_load(&reuse.met) > 0);
}
