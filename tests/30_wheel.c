/* SPDX-License-Identifier: MIT */
/* The wheel against a sorted list; see wheel_model.h. WEFT_SEED repeats a run, WEFT_ROUNDS multiplies its length. */
#include <criterion/criterion.h>
#include <stdio.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/wheel_model.h"

#define SEC INT64_C(1000000000)
#define MSEC INT64_C(1000000)

static uint64_t seed(void)
{
    const char *s = getenv("WEFT_SEED");
    uint64_t x = s ? strtoull(s, NULL, 0) : (uint64_t)(uintptr_t)&s ^ UINT64_C(0x6a09e667f3bcc908);

    fprintf(stderr, "WEFT_SEED=%" PRIu64 "\n", x);
    return x;
}

static uint64_t rounds(void)
{
    const char *s = getenv("WEFT_ROUNDS");

    return s ? strtoull(s, NULL, 0) : 1;
}

static void compare(int64_t base, unsigned most, uint64_t operations, unsigned jumps)
{
    struct model *m = model_new(seed(), base, most);

    model_run(m, operations * rounds(), jumps);
    fprintf(stderr, "from %" PRId64 ": %" PRIu64 " fired, next exact %" PRIu64 ", early %" PRIu64 "\n",
            base, m->fired, m->exact, m->early);
    if (most <= WHEEL_SCAN)
        cr_assert_eq(m->early, 0, "wheel_next is exact while the slots are short");
    cr_assert_gt(m->fired, operations / 50);
    model_free(m);
}

Test(wheel, random_few) { compare(0, 6, 1000000, 8); }
Test(wheel, random_short) { compare(SEC, 64, 1000000, 8); }
Test(wheel, random_many) { compare(0, 2000, 1000000, 2); }
Test(wheel, random_jumps) { compare(12345, 200, 500000, 300); }
Test(wheel, base_2_31_ms) { compare((INT64_C(1) << 31) * MSEC - 5 * SEC, 100, 500000, 0); }
Test(wheel, base_2_32_ms) { compare((INT64_C(1) << 32) * MSEC - 5 * SEC, 100, 500000, 0); }
Test(wheel, base_2_30_ms) { compare((INT64_C(1) << 30) * MSEC - 5 * SEC, 100, 500000, 0); }
Test(wheel, base_12_years) { compare(INT64_C(12) * 365 * MODEL_DAY, 100, 500000, 4); }
Test(wheel, base_negative) { compare(INT64_MIN, 100, 200000, 4); }

/* The clock nears its end: 292 years of uptime. Dues saturate, nothing wraps. */
Test(wheel, base_end_of_time)
{
    uint64_t first = seed();

    for (unsigned i = 0; i < 400; i++) {
        struct model *m = model_new(first + i, INT64_MAX - (SEC >> i % 40), 50);
        model_run(m, 1000, 0);
        model_free(m);
    }
}

/* 2^30 ms less 5 s with one timer that never fires: a 10 ms timer still comes, again and again, through the border. */
Test(wheel, infinite_beside_short)
{
    struct model *m = model_new(seed(), (INT64_C(1) << 30) * MSEC - 5 * SEC, 8);

    model_add(m, INT64_MAX);
    model_add(m, INT64_MAX - 1);
    for (int i = 0; i < 1000; i++) {
        int64_t due = m->now + 10 * MSEC;
        model_add(m, due);
        cr_assert_eq(model_next(m), due);
        model_advance(m, due - 1);
        cr_assert_eq(m->live, 3);
        model_advance(m, due);
        cr_assert_eq(m->live, 2);
    }
    cr_assert_eq(model_next(m), INT64_MAX - 1);
    model_free(m);
}

/* Every border of every level, from both sides, from three phases of base. */
Test(wheel, borders)
{
    int64_t phases[] = { 0, MODEL_TICK - 1, (INT64_C(1) << 40) - 3 };

    for (unsigned p = 0; p < 3; p++)
        for (unsigned border = WHEEL_TICK_BITS; border < 63; border++)
            for (int64_t off = -2 * MODEL_TICK; off <= 2 * MODEL_TICK; off += MODEL_TICK / 2) {
                struct model *m = model_new(border, phases[p], 4);
                int64_t due = model_plus(model_plus(phases[p], INT64_C(1) << border), off);
                model_add(m, due);
                model_add(m, due + 1);
                model_add(m, due - 1);
                model_audit(m);
                cr_assert_eq(model_next(m), due - 1);
                if (due - 2 >= phases[p]) {
                    model_advance(m, due - 2);
                    cr_assert_eq(m->live, 3);
                }
                if (due <= phases[p]) {
                    model_advance(m, phases[p]);
                    cr_assert_eq(m->live, due == phases[p]);
                    model_free(m);
                    continue;
                }
                model_advance(m, due);
                cr_assert_eq(model_next(m), due + 1);
                model_advance(m, due + 1);
                cr_assert_eq(m->live, 0);
                model_free(m);
            }
}

/* 60 days and 10 ms together; then 30 days in one step, twice. */
Test(wheel, sixty_days)
{
    struct model *m = model_new(1, 777, 4);

    model_add(m, 777 + 60 * MODEL_DAY);
    model_add(m, 777 + 10 * MSEC);
    cr_assert_eq(model_next(m), 777 + 10 * MSEC);
    model_advance(m, 777 + 10 * MSEC);
    cr_assert_eq(model_next(m), 777 + 60 * MODEL_DAY);
    model_advance(m, 777 + 30 * MODEL_DAY);
    cr_assert_eq(m->live, 1);
    cr_assert_eq(model_next(m), 777 + 60 * MODEL_DAY);
    model_advance(m, 777 + 60 * MODEL_DAY - 1);
    cr_assert_eq(m->live, 1);
    model_advance(m, 777 + 60 * MODEL_DAY);
    cr_assert_eq(m->live, 0);
    cr_assert_eq(model_next(m), INT64_MAX);
    model_free(m);
}

/* Constant timeouts, of which most are taken back before their time, never make wheel_next early. */
Test(wheel, constant_timeouts_are_exact)
{
    struct model *m = model_new(seed(), 5 * SEC, 10000);

    for (int i = 0; i < 200000; i++) {
        model_add(m, m->now + 10 * SEC);
        m->now += 10000 + (int64_t)(model_random(&m->random) % 100000);
        if (m->live > 5000)
            model_remove(m, i & 1 ? 0 : (unsigned)(model_random(&m->random) % m->live));
        model_expire(m, UINT64_MAX);
        model_next(m);
    }
    cr_assert_eq(m->early, 0);
    model_free(m);
}

/* A far slot with many nodes in disorder whose earliest is removed: one early answer, and exact after it. */
Test(wheel, one_early_answer)
{
    struct model *m = model_new(seed(), 0, WHEEL_SCAN + 10);
    int64_t far = INT64_C(1) << 44;

    for (unsigned i = 0; i < WHEEL_SCAN + 3; i++)
        model_add(m, far + 1000 - (i % 2 ? i : 500 + i));
    model_remove(m, 0);
    int64_t t = model_next(m);
    cr_assert_eq(m->early, 1);
    model_advance(m, t);
    cr_assert_eq(model_next(m), m->list[0]->due);
    while (m->live)
        model_advance(m, model_next(m));
    cr_assert_eq(m->early, 1);
    model_free(m);
}

/* Many in disorder in far slots, and time that comes in one jump: no call takes more than a piece beyond its work. */
Test(wheel, comes_in_pieces)
{
    enum { N = 20000 };
    struct model *m = model_new(seed(), 0, N);
    int64_t last = 0;
    unsigned fired = 0, calls = 0;

    for (unsigned i = 0; i < N; i++)        /* not through the model: its list is slow for so many */
        wheel_add(&m->wheel, &m->nodes[i], 30 * SEC + (int64_t)(model_random(&m->random) % (uint64_t)(2 * SEC)));
    for (unsigned work = 0; !work; calls++) {
        struct wheel_node *n;
        work = 16;
        for (; (n = wheel_expire(&m->wheel, 40 * SEC, &work)); fired++) {
            cr_assert_leq(last, n->due);
            last = n->due;
        }
    }
    cr_assert_eq(fired, N);
    cr_assert_gt(calls, (N + N) / (16 + WHEEL_PIECE), "each fires, and has moved at least once");
    model_free(m);
}

/* Equal dues leave in the order they came, also when base moved between them and put them into different levels. */
Test(wheel, equal_dues_in_order)
{
    struct model *m = model_new(seed(), 0, 400);
    int64_t due = 3 * SEC;

    for (int i = 0; i < 300; i++) {
        model_add(m, due);
        model_advance(m, m->now + 9999999);
    }
    cr_assert_eq(m->live, 300);
    model_advance(m, due);
    cr_assert_eq(m->fired, 300);
    model_free(m);
}
