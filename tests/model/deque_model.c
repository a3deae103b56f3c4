/* SPDX-License-Identifier: MIT */
/*
 * deque_model - the work-stealing deque, sched/deque.c itself, in all orders
 *
 * One owner and up to three others at a capacity of two, so that every test wraps and most grow. Whatever happens: each
 * item pushed comes out exactly once; whoever gets it comes after its push (model_exclusive); one thief's items come in
 * the order of the pushes; so do the owner's takes, also against its thieves' items as far as they are ordered.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -DDEQUE_CAPACITY=2 -I. -Itests tests/model/deque_model.c
 *            tests/model/{explorer,search,memo,views}.c tests/model/memory.c sched/deque.c -o deque_model
 * Mutants    the same with -DMUTANT_DEQUE_x, run with --mutant; x = POP_FENCE STEAL_FENCE PUSH_RELAXED POP_RELAXED
 *            GROW_RELAXED GROW_NO_COPY TAKE_NO_CAS POP_NO_CAS. D3 has none: see "Left out" in views.h.
 */
#include <string.h>

#include "model/explorer.h"
#include "sched/deque.h"
#include "sched/mem.h"

#define ITEMS 8

static struct deque d;
static struct { uint64_t unused; } item[ITEMS + 1];     /* 1..ITEMS */
static int pushed;                                      /* owner */
static int taken[ITEMS + 1];
static int last[MODEL_THREADS];                         /* the newest that a thief has got */
static atom32 idle;
static uint32_t saw_idle, saw_empty;

static void begin(uint64_t at)
{
    memset(taken, 0, sizeof taken);
    memset(last, 0, sizeof last);
    pushed = 0;
    idle.v = saw_idle = saw_empty = 0;
    mem_fail_after.v = 0;
    model_name(&d.top, "top");
    model_name(&d.bottom, "bottom");
    model_name(&d.ring, "ring");
    model_name(&idle, "idle");
    for (int i = 1; i <= ITEMS; i++)
        model_name(&item[i], "item %d", i);
    MODEL_ASSERT(deque_init(&d, at) == 0);
}

static void at_zero(void) { begin(0); }
static void at_31(void) { begin(((uint64_t)1 << 31) - 2); }
static void at_32(void) { begin(((uint64_t)1 << 32) - 2); }
static void at_63(void) { begin(((uint64_t)1 << 63) - 2); }
static void at_64(void) { begin((uint64_t)-2); }
static void no_memory(void) { begin(0); mem_fail_after.v = 1; }

static void push(void)
{
    int i = pushed + 1;
    model_exclusive(&item[i]);
    if (deque_push(&d, &item[i]))
        pushed = i;
}

static int got(void *p)
{
    int i = p ? (int)((uint64_t *)p - &item[0].unused) : 0;
    if (i) {
        MODEL_ASSERT(i >= 1 && i <= ITEMS);
        model_exclusive(p);
        MODEL_ASSERT(++taken[i] == 1);
    }
    return i;
}

static void pop(void) { got(deque_pop(&d)); }

static void take(void)
{
    int i = got(deque_take(&d));
    MODEL_ASSERT(i == 0 || i > last[model_self()]);
    if (i)
        last[model_self()] = i;
}

static void steal(void)
{
    void *p = NULL;
    enum deque_verdict verdict = deque_steal(&d, &p);
    MODEL_ASSERT((verdict == DEQUE_OK) == (p != NULL));
    int i = got(p);
    MODEL_ASSERT(i == 0 || i > last[model_self()]);
    if (i)
        last[model_self()] = i;
}

static void all_out(void)
{
    while (got(deque_pop(&d)))
        ;
    MODEL_ASSERT(deque_empty(&d) && deque_count(&d) == 0);
    for (int i = 1; i <= pushed; i++)
        MODEL_ASSERT(taken[i] == 1);
    deque_destroy(&d);
}

static void steal_1(void) { steal(); }
static void steal_2(void) { steal(); steal(); }

static void owner_last(void) { push(); pop(); push(); pop(); }
static void owner_two(void) { push(); push(); pop(); pop(); }
static void owner_again(void) { push(); push(); pop(); push(); pop(); }
static void owner_reuse(void) { push(); push(); take(); push(); push(); }
static void owner_grow(void) { push(); push(); push(); pop(); push(); push(); }
static void owner_grow_twice(void) { push(); push(); push(); push(); push(); }
static void owner_take(void) { push(); push(); take(); pop(); take(); }
static void owner_mixed(void) { push(); push(); pop(); push(); take(); push(); pop(); }

/* A push that finds no memory changes nothing. */
static void owner_refused(void)
{
    push();
    push();
    MODEL_ASSERT(pushed == 2);
    push();
    MODEL_ASSERT(pushed == 3 || mem_fail_after.v == 0);
    push();
    pop();
}

/* The idle protocol's use of deque_empty: owner and observer cannot miss each other, item 1 is nobody else's. */
static void owner_seen(void)
{
    push();
    push();
    pop();
    fence_full();
    saw_idle = load_relaxed32(&idle);
}

static void observer(void)
{
    store_relaxed32(&idle, 1);
    fence_full();
    saw_empty = deque_empty(&d);
}

static void seen_check(void)
{
    MODEL_ASSERT(saw_idle || !saw_empty || taken[1]);
    all_out();
}

static const struct model_test tests[] = {
    { "mixed", at_zero, { owner_mixed, steal_2 }, all_out, NULL, 4, 0 },
    { "grow-twice", at_zero, { owner_grow_twice, steal_2 }, all_out, NULL, 4, 0 },
    { "grow-refused", no_memory, { owner_refused, steal_2 }, all_out, NULL, 4, 0 },
    { "wrap-2^31", at_31, { owner_mixed, steal_2 }, all_out, NULL, 0, 0 },
    { "wrap-2^32", at_32, { owner_mixed, steal_2 }, all_out, NULL, 0, 0 },
    { "wrap-2^63", at_63, { owner_mixed, steal_2 }, all_out, NULL, 0, 0 },
    { "wrap-2^64", at_64, { owner_grow, steal_2 }, all_out, NULL, 0, 0 },
    { "two-items", at_zero, { owner_two, steal_2, steal_1 }, all_out, NULL, 0, 0 },
    { "take", at_zero, { owner_take, steal_1, steal_1 }, all_out, NULL, 0, 0 },
    { "push-again", at_zero, { owner_again, steal_1, steal_1 }, all_out, NULL, 0, 0 },
    { "reuse-slot", at_zero, { owner_reuse, steal_1, steal_1 }, all_out, NULL, 0, 0 },
    { "last-item", at_zero, { owner_last, steal_1, steal_1 }, all_out, NULL, 0, 0 },
    { "grow", at_zero, { owner_grow, steal_1, steal_1 }, all_out, NULL, 0, 0 },
    { "grow-stolen", at_zero, { owner_grow, steal_2, steal_1 }, all_out, NULL, 2, 0 },
    { "three-thieves", at_zero, { owner_two, steal_1, steal_1, steal_1 }, all_out, NULL, 2, 0 },
    { "empty-exact", at_zero, { owner_seen, observer }, seen_check, NULL, 4, 0 },
    { "empty-exact-stolen", at_zero, { owner_seen, observer, steal_2 }, seen_check, NULL, 0, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
