/* SPDX-License-Identifier: MIT */
/* The set of wheels: virtual time where one thread is enough, threads where they are the point; see timers_race.h. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "sched/mem.h"
#include "tests/timers_race.h"

#define MSEC INT64_C(1000000)

static unsigned interrupts;

static void interrupt(void *arg)
{
    ++*(unsigned *)arg;
}

static struct timers *start(unsigned shards)
{
    static struct timers t;

    cr_assert_eq(timers_init(&t, shards, 0, (struct waker) { interrupt, &interrupts }), 0);
    return &t;
}

struct probe {
    struct timer_node node;
    unsigned order, fired;
};

static void fire(struct timer_node *n, void *out)
{
    struct probe *p = (struct probe *)n;

    p->order = ++*(unsigned *)out;
    p->fired++;
}

static struct probe probe(void) { return (struct probe) { .node.fire = fire }; }

Test(timers, one_winner_in_each_order)
{
    struct timers *t = start(2);
    struct probe a = probe(), b = probe(), never = probe();
    unsigned order = 0;

    cr_assert_not(timers_disarm(t, &a.node), "never armed");
    timers_arm(t, &a.node, 10 * MSEC, 0);
    cr_assert(timers_disarm(t, &a.node));
    cr_assert_not(timers_disarm(t, &a.node));
    cr_assert_eq(timers_expire(t, 20 * MSEC, &order), 0);
    timers_arm(t, &a.node, 30 * MSEC, 0);
    timers_arm(t, &b.node, 30 * MSEC, 77);                      /* beyond the last shard */
    cr_assert_eq(timers_expire(t, 30 * MSEC - 1, &order), 0);
    cr_assert_eq(timers_expire(t, 30 * MSEC, &order), 2);
    cr_assert_not(timers_disarm(t, &a.node));
    cr_assert_not(timers_disarm(t, &b.node));
    cr_assert_eq(a.fired + b.fired, 2);
    timers_arm(t, &never.node, INT64_MAX, 0);
    cr_assert_eq(timers_next(t), INT64_MAX);
    cr_assert_eq(timers_expire(t, INT64_MAX, &order), 0);
    cr_assert(timers_disarm(t, &never.node), "one that never fires was armed");
    cr_assert_not(timers_disarm(t, &never.node));
    timers_destroy(t);
}

Test(timers, in_order_and_past)
{
    struct timers *t = start(1);
    struct probe p[5] = { probe(), probe(), probe(), probe(), probe() };
    unsigned order = 0;

    cr_assert_eq(timers_expire(t, 50 * MSEC, &order), 0);
    timers_arm(t, &p[0].node, 100 * MSEC, 0);
    timers_arm(t, &p[1].node, 60 * MSEC, 0);
    timers_arm(t, &p[2].node, 60 * MSEC, 0);
    timers_arm(t, &p[3].node, 1, 0);                            /* long past */
    timers_arm(t, &p[4].node, INT64_MIN, 0);
    cr_assert_eq(timers_next(t), INT64_MIN);
    cr_assert_eq(timers_expire(t, 200 * MSEC, &order), 5);
    cr_assert(p[4].order == 1 && p[3].order == 2 && p[1].order == 3 && p[2].order == 4 && p[0].order == 5);
    timers_destroy(t);
}

/* Only a timer that is due before the driver would wake interrupts it; each of those once. */
Test(timers, interrupts_counted)
{
    struct timers *t = start(3);
    struct probe p[8] = { probe(), probe(), probe(), probe(), probe(), probe(), probe(), probe() };
    unsigned order = 0;

    timers_arm(t, &p[0].node, 100 * MSEC, 0);
    cr_assert_eq(interrupts, 0, "the driver is awake");
    cr_assert_eq(timers_sleep(t), 100 * MSEC);
    timers_arm(t, &p[1].node, 200 * MSEC, 0);
    timers_arm(t, &p[2].node, 100 * MSEC, 1);
    timers_arm(t, &p[3].node, 100 * MSEC + 1, 2);
    cr_assert_eq(interrupts, 0, "later and equal ones are silent");
    timers_arm(t, &p[4].node, 100 * MSEC - 1, 1);
    cr_assert_eq(interrupts, 1);
    timers_arm(t, &p[5].node, 100 * MSEC - 1, 2);
    cr_assert_eq(interrupts, 1, "one that is at work already is enough");
    timers_arm(t, &p[6].node, 50 * MSEC, 0);
    cr_assert_eq(interrupts, 2);
    timers_wake(t);
    timers_arm(t, &p[7].node, 10 * MSEC, 2);
    cr_assert_eq(interrupts, 2, "awake again");
    cr_assert_eq(timers_sleep(t), 10 * MSEC);
    timers_wake(t);
    cr_assert_eq(timers_expire(t, 10 * MSEC, &order), 1);
    cr_assert_eq(timers_sleep(t), 50 * MSEC);
    timers_wake(t);
    cr_assert_eq(timers_expire(t, 100 * MSEC, &order), 5);
    cr_assert_eq(timers_sleep(t), 100 * MSEC + 1);
    cr_assert_eq(interrupts, 2);
    timers_destroy(t);
}

/* What was disarmed before the driver looks costs no wake-up; what was disarmed after, one at most. */
Test(timers, disarmed_is_not_waited_for)
{
    struct timers *t = start(4);
    struct probe p[4] = { probe(), probe(), probe(), probe() };
    unsigned order = 0;

    for (unsigned i = 0; i < 4; i++)
        timers_arm(t, &p[i].node, (10 + i) * MSEC, i);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(timers_disarm(t, &p[i].node));
    cr_assert_eq(timers_sleep(t), 13 * MSEC);
    cr_assert(timers_disarm(t, &p[3].node));
    timers_wake(t);
    cr_assert_eq(timers_expire(t, 13 * MSEC, &order), 0);
    cr_assert_eq(timers_sleep(t), INT64_MAX);
    timers_destroy(t);
}

/* 60 days in the wheel, 10 ms armed again and again, at the uptimes that have broken others. */
Test(timers, long_beside_short)
{
    const int64_t uptimes[] = { 0, (INT64_C(1) << 30) * MSEC, (INT64_C(1) << 31) * MSEC, (INT64_C(1) << 32) * MSEC,
                                INT64_C(12) * 365 * 86400 * 1000 * MSEC };

    for (unsigned i = 0; i < 5; i++) {
        struct timers *t = start(2);
        struct probe sixty = probe(), ten = probe();
        unsigned order = 0;
        int64_t now = uptimes[i] > 5000 * MSEC ? uptimes[i] - 5000 * MSEC : 0;
        int64_t far = now + INT64_C(60) * 86400 * 1000 * MSEC;
        timers_expire(t, now, &order);
        timers_arm(t, &sixty.node, far, 0);
        for (unsigned k = 1; k <= 1000; k++) {
            timers_arm(t, &ten.node, now + 10 * MSEC, k);
            cr_assert_eq(timers_sleep(t), now + 10 * MSEC);
            timers_wake(t);
            now += 10 * MSEC;
            cr_assert_eq(timers_expire(t, now - 1, &order), 0);
            cr_assert_eq(timers_expire(t, now, &order), 1);
            cr_assert_eq(ten.fired, k);
        }
        cr_assert_eq(timers_sleep(t), far);
        cr_assert_eq(timers_expire(t, far, &order), 1);
        timers_destroy(t);
    }
}

Test(timers, no_memory)
{
    struct timers t;

    store_relaxed32(&mem_fail_after, 1);
    cr_assert_eq(timers_init(&t, 2, 0, (struct waker) { interrupt, NULL }), -ENOMEM);
    cr_assert_eq(timers_init(&t, 0, 0, (struct waker) { interrupt, NULL }), -EINVAL);
}

Test(timers, race, .timeout = 120)
{
    struct race *r = aligned_alloc(64, (sizeof(*r) + 63) / 64 * 64);

    race_run(r, race_seed(), 3, 80000);
    cr_assert_gt(load_relaxed64(&r->fired), 1000);
    cr_assert_gt(load_relaxed64(&r->prevented), 1000);
    free(r);
}

Test(timers, no_wake_is_lost, .timeout = 120)
{
    cr_assert_eq(wake_run(race_seed(), 100000), 100000);
}
