/* SPDX-License-Identifier: MIT */
/* context: the first frame, what a switch keeps and what it leaves to the thread, and where unwinding ends. */
#include <criterion/criterion.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/context.h"
#include "sched/sanitize.h"
#include "sched/stack.h"
#include "tests/cross/registers.h"

#define SWITCHES 1000000
#define FIBERS 1000

static struct context home, side, ring[FIBERS];
static struct san_context home_san, side_san, ring_san[FIBERS];
static struct stack stack;
static uint64_t lost, turns, order_errors;
static void *seen_arg;

static void to_home(void)
{
    san_switch_before(&side_san, &home_san, false);
    context_switch(&side, &home);
    san_switch_after(&side_san);
}

static void to_side(void)
{
    san_switch_before(&home_san, &side_san, false);
    context_switch(&home, &side);
    san_switch_after(&home_san);
}

static void begin(void (*entry)(void *), void *arg)
{
    cr_assert_eq(stack_get(NULL, 65536, &stack), 0);
    stack_prepare(NULL, &stack);
    san_thread_begin(&home_san);
    san_fiber_begin(&side_san, stack.base, stack.top);
    context_init(&side, stack.top, entry, arg);
}

static void first_frame(void *arg)
{
    typedef double pair __attribute__((vector_size(16)));
    volatile pair v = { 1.5, 2.5 };
    void **frame = __builtin_frame_address(0);
    char text[64];
    san_switch_after(&side_san);
    seen_arg = arg;
    cr_assert_eq((uintptr_t)&v % 16, 0);
    snprintf(text, sizeof text, "%.1f %.2f %d", v[0], v[1], 3);        /* spills vector registers with aligned stores */
    cr_assert_str_eq(text, "1.5 2.50 3");
    cr_assert_eq((uintptr_t)frame % 16, 0);
    cr_assert_null(frame[0], "the chain of frame pointers must end here");
    turns++;
    for (;;)
        to_home();
}

Test(context, first_frame_is_aligned_and_gets_its_argument)
{
    begin(first_frame, &turns);
    to_side();
    cr_assert_eq(seen_arg, &turns);
    to_side();
    cr_assert_eq(turns, 1, "entry is called once");
}

Test(context, an_odd_top_is_rounded_down)
{
    for (int off = 1; off < 16; off++) {
        begin(first_frame, &turns);
        context_init(&side, stack.top - off, first_frame, &order_errors);
        to_side();
        cr_assert_eq(seen_arg, &order_errors);
    }
}

static void other_registers(void *arg)
{
    (void)arg;
    for (uint64_t i = 1;; i++)
        lost += registers_held(&side, &home, i << 32 | 0x5a5a);
}

Test(context, callee_saved_registers_survive_a_million_switches)
{
    begin(other_registers, NULL);
    for (uint64_t i = 0; i < SWITCHES / 2; i++)
        lost += registers_held(&home, &side, i << 32 | 0xa5a5);
    cr_assert_eq(lost, 0);
}

static void runner(void *arg)
{
    uint64_t me = (uintptr_t)arg;
    bool last = me + 1 == FIBERS;
    san_switch_after(&ring_san[me]);
    for (;;) {
        order_errors += turns++ % FIBERS != me;
        san_switch_before(&ring_san[me], last ? &home_san : &ring_san[me + 1], false);
        context_switch(&ring[me], last ? &home : &ring[me + 1]);
        san_switch_after(&ring_san[me]);
    }
}

Test(context, a_ring_of_fibers_runs_in_order)
{
    static struct stack many[FIBERS];
    san_thread_begin(&home_san);
    for (uintptr_t i = 0; i < FIBERS; i++) {
        cr_assert_eq(stack_get(NULL, STACK_MIN, &many[i]), 0);
        stack_prepare(NULL, &many[i]);
        san_fiber_begin(&ring_san[i], many[i].base, many[i].top);
        context_init(&ring[i], many[i].top, runner, (void *)i);
    }
    for (int i = 0; i < 1000; i++) {
        san_switch_before(&home_san, &ring_san[0], false);
        context_switch(&home, &ring[0]);
        san_switch_after(&home_san);
    }
    cr_assert_eq(turns, 1000 * FIBERS);
    cr_assert_eq(order_errors, 0);
}

static void rounder(void *arg)
{
    (void)arg;
    san_switch_after(&side_san);
    for (;;) {
        turns += rounding_get() == ROUND_UP;
        rounding_set(ROUND_DOWN);
        to_home();
    }
}

Test(context, the_rounding_mode_is_the_threads)
{
    unsigned usual = rounding_get();
    begin(rounder, NULL);
    rounding_set(ROUND_UP);
    to_side();
    cr_assert_eq(turns, 1);
    cr_assert_eq(rounding_get(), ROUND_DOWN);
    rounding_set(usual);
}

static void *pcs[64], *entry_pc, *chain_pc;
static int frames, chain;

__attribute__((noinline)) static int look_back(volatile int *depth)
{
    if (--*depth > 0)
        return look_back(depth) + *depth;
    frames = backtrace(pcs, 64);
    for (void **f = __builtin_frame_address(0); f && chain < 64; f = f[0], chain++)
        chain_pc = f[1];
    return 1;
}

static void backtracer(void *arg)
{
    volatile int depth = 5;
    (void)arg;
    san_switch_after(&side_san);
    entry_pc = __builtin_return_address(0);     /* in context_entry, behind its call */
    (void)look_back(&depth);
    for (;;)
        to_home();
}

/* By the CFI, and by the frame pointers. */
Test(context, unwinding_ends_at_the_entry)
{
    (void)backtrace(pcs, 4);                    /* loads the unwinder, on a stack that is large enough */
    begin(backtracer, NULL);
    to_side();
    cr_assert(frames >= 3 && frames < 16, "%d frames", frames);
    cr_assert_eq(pcs[frames - 1], entry_pc);
    cr_assert(chain >= 2 && chain < 16, "%d frames", chain);
    cr_assert_eq(chain_pc, entry_pc);
}

static void returns(void *arg) { (void)arg; san_switch_after(&side_san); }

Test(context, an_entry_that_returns_dies_at_once)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGILL, SIG_DFL);
        signal(SIGTRAP, SIG_DFL);
        begin(returns, NULL);
        to_side();
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status));
    cr_assert(WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP, "signal %d", WTERMSIG(status));
}

static void *resume(void *arg)
{
    (void)arg;
    san_thread_begin(&home_san);
    to_side();
    return NULL;
}

static pthread_t ran_on[16];

static void traveller(void *arg)
{
    (void)arg;
    san_switch_after(&side_san);
    for (int i = 0;; i++) {
        ran_on[i % 16] = pthread_self();
        turns++;
        to_home();
    }
}

Test(context, goes_on_on_another_thread)
{
    begin(traveller, NULL);
    for (int i = 0; i < 16; i++) {
        pthread_t t;
        cr_assert_eq(pthread_create(&t, NULL, resume, NULL), 0);
        cr_assert_eq(pthread_join(t, NULL), 0);
    }
    cr_assert_eq(turns, 16);
}
