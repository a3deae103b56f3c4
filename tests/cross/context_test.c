/* SPDX-License-Identifier: MIT */
/*
 * context_test - the switch on a machine that Criterion does not run on
 *
 * aarch64-linux-gnu-gcc -static -I. tests/cross/context_test.c sched/context_aarch64.S sched/stack.c && qemu-aarch64 ./a.out
 * The same program runs natively; tests/10_context.c has the whole list.
 */
#include <execinfo.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/context.h"
#include "sched/stack.h"
#include "tests/cross/registers.h"

#define SWITCHES 1000000
#define FIBERS 100

static struct context home, side, ring[FIBERS];
static uint64_t lost, turns, order_errors;
static unsigned passed, failed;

#define CHECK(x) ((x) ? passed++ : (failed++, printf("%s:%d: %s\n", __FILE__, __LINE__, #x), 0))

static void other_registers(void *arg)
{
    (void)arg;
    for (uint64_t i = 1;; i++)
        lost += registers_held(&side, &home, i << 32 | 0x5a5a);
}

/* A vector store faults, or a variadic call prints nonsense, if the first frame is off. */
static void entry_frame(void *arg)
{
    typedef double pair __attribute__((vector_size(16)));
    volatile pair v = { 1.5, 2.5 };
    void **frame = __builtin_frame_address(0);
    char text[64];
    void *pcs[16];
    int frames;
    CHECK(arg == &turns);
    CHECK((uintptr_t)frame % 16 == 0);
    CHECK((uintptr_t)&v % 16 == 0);
    CHECK(frame[0] == NULL);                    /* the chain of frames ends with us */
    snprintf(text, sizeof text, "%.1f %.2f %d", v[0], v[1], 3);
    CHECK(strcmp(text, "1.5 2.50 3") == 0);
    turns = 1;
    context_switch(&side, &home);

    frames = backtrace(pcs, 16);                /* by the CFI: this frame and context_entry */
    CHECK(frames >= 2 && frames <= 3);
    CHECK(pcs[frames - 1] == __builtin_return_address(0));
    turns = 2;
    context_switch(&side, &home);
    abort();
}

static void runner(void *arg)
{
    uint64_t me = (uintptr_t)arg;
    for (;;) {
        order_errors += turns++ % FIBERS != me;
        context_switch(&ring[me], me + 1 < FIBERS ? &ring[me + 1] : &home);
    }
}

int main(void)
{
    struct stack s, many[FIBERS];
    CHECK(stack_get(NULL, 65536, &s) == 0);
    stack_prepare(NULL, &s);

    context_init(&side, s.top, entry_frame, &turns);
    context_switch(&home, &side);
    CHECK(turns == 1);
    context_switch(&home, &side);
    CHECK(turns == 2);

    context_init(&side, s.top - 8, other_registers, NULL);      /* rounds an odd top down */
    for (uint64_t i = 0; i < SWITCHES / 2; i++)
        lost += registers_held(&home, &side, i << 32 | 0xa5a5);
    CHECK(lost == 0);

    turns = 0;
    for (uintptr_t i = 0; i < FIBERS; i++) {
        CHECK(stack_get(NULL, 16384, &many[i]) == 0);
        stack_prepare(NULL, &many[i]);
        context_init(&ring[i], many[i].top, runner, (void *)i);
    }
    for (int i = 0; i < 1000; i++)
        context_switch(&home, &ring[0]);
    CHECK(turns == 1000 * FIBERS);
    CHECK(order_errors == 0);

    for (int i = 0; i < FIBERS; i++)
        stack_put(NULL, &many[i]);
    stack_put(NULL, &s);
    CHECK(stack_trim(SIZE_MAX) == FIBERS + 1);
    CHECK(stack_pool_release() == 0);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
