/* SPDX-License-Identifier: MIT */
/*
 * timers_model - the driver's sleep and the race of disarm with expiry, timers/timers.c itself, in all orders
 *
 * The clock stands at NOW. A driver that has nothing due by then waits for an interrupt without end, so a timer that is
 * missed is a deadlock. One far timer keeps the wheels from being empty.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -DMODEL_LOCK_STEP=1 -I. -Itests tests/model/timers_model.c
 *            tests/model/{explorer,search,memo,views,lock,memory}.c timers/timers.c timers/wheel.c -o timers_model
 * Mutants    the same with -DMUTANT_TIMERS_x, run with --mutant; x = ARM_FENCE SLEEP_FENCE LOOK
 */
#include <string.h>

#include "model/explorer.h"
#include "sched/mem.h"
#include "timers/timers.h"

#define NOW 1000
#define FAR 2000
#define TIMERS 2

static struct timers t;
static struct timer_node node[TIMERS], far;
static struct model_sem posted;
static int fired[TIMERS], interrupts[MODEL_THREADS];
static int wanted;                              /* fixed in setup: the driver ends when so many have fired */

static void interrupt(void *arg)
{
    (void)arg;
    interrupts[model_self()]++;
    model_sem_post(&posted);
}

static void fire(struct timer_node *n, void *out)
{
    (void)out;
    model_exclusive(n);
    fired[n - node]++;
}

static void begin(int n, unsigned shards)
{
    memset(node, 0, sizeof node);
    memset(&far, 0, sizeof far);
    memset(fired, 0, sizeof fired);
    memset(interrupts, 0, sizeof interrupts);
    mem_fail_after.v = 0;
    posted.count.v = 0;
    wanted = n;
    model_name(&posted.count, "posted");
    MODEL_ASSERT(timers_init(&t, shards, 0, (struct waker) { interrupt, NULL }) == 0);
    model_name(&t.sleeping_until, "sleeping_until");
    for (int i = 0; i < TIMERS; i++)
        node[i].fire = fire;
    timers_arm(&t, &far, FAR, 1);
}

static void one(void) { begin(1, 2); }
static void two(void) { begin(2, 2); }
static void two_here(void) { begin(2, 1); }

static int all_fired(void)
{
    int n = 0;
    for (int i = 0; i < TIMERS; i++)
        n += fired[i];
    return n;
}

static void driver(void)
{
    while (all_fired() < wanted) {
        int64_t until = timers_sleep(&t);
        if (until > NOW)
            model_sem_wait(&posted);
        timers_wake(&t);
        timers_expire(&t, NOW, NULL);
    }
}

/* The first sleep alone: with timers on their way it must end. */
static void driver_once(void)
{
    if (timers_sleep(&t) > NOW)
        model_sem_wait(&posted);
}

static void arm(int i, int64_t due, unsigned shard)
{
    model_exclusive(&node[i]);
    timers_arm(&t, &node[i], due, shard);
}

static void arm_10(void) { arm(0, 10, 0); }
static void arm_20(void) { arm(1, 20, 0); }
static void arm_20_there(void) { arm(1, 20, 1); }
static void arm_20_10(void) { arm(1, 20, 0); arm(0, 10, 0); }
static void arm_later(void) { arm(0, FAR, 0); arm(1, FAR + 1, 1); }

static void arm_disarm_arm(void)
{
    arm(0, 10, 0);
    if (timers_disarm(&t, &node[0]))
        arm(0, 20, 0);
}

static int all_interrupts(void)
{
    int n = 0;
    for (int i = 0; i < MODEL_THREADS; i++)
        n += interrupts[i];
    return n;
}

static void each_once(void)
{
    for (int i = 0; i < wanted; i++)
        MODEL_ASSERT(fired[i] == 1 || wanted == 1);
    MODEL_ASSERT(all_fired() == wanted);
    MODEL_ASSERT(timers_next(&t) == FAR);
    model_outcome("%d", all_interrupts());
    timers_destroy(&t);
}

/* After driver_once: what was armed is there, and one interrupt for each value below FAR at the most. */
static void all_there(void)
{
    MODEL_ASSERT(all_interrupts() <= wanted);
    timers_wake(&t);
    timers_expire(&t, NOW, NULL);
    MODEL_ASSERT(all_fired() == wanted);
    timers_destroy(&t);
}

/* Later than what the driver sleeps until anyway: silent, whatever the order. */
static void sleep_once(void) { MODEL_ASSERT(timers_sleep(&t) == FAR); }

static void no_interrupt(void)
{
    MODEL_ASSERT(all_interrupts() == 0);
    timers_destroy(&t);
}

static int prevented;

static void race(void)
{
    begin(1, 1);
    prevented = 0;
    timers_arm(&t, &node[0], 10, 0);
}

static void disarm(void)
{
    prevented = timers_disarm(&t, &node[0]);
    model_exclusive(&node[0]);                  /* its memory is ours: fire() is over */
    memset(&node[0], 0xdd, sizeof node[0]);
}

static void expire_once(void) { timers_expire(&t, NOW, NULL); }

static void one_winner(void)
{
    MODEL_ASSERT(fired[0] + prevented == 1);
    model_outcome(prevented ? "prevented" : "fired");
    timers_destroy(&t);
}

static const struct model_test tests[] = {
    { "sleep", one, { driver, arm_10 }, each_once, "0 1", 4, 0 },
    { "sleep-descending", two_here, { driver, arm_20_10 }, each_once, NULL, 3, 0 },
    { "sleep-same-shard", two_here, { driver_once, arm_10, arm_20 }, all_there, NULL, 2, 0 },
    { "sleep-two-shards", two, { driver_once, arm_10, arm_20_there }, all_there, NULL, 3, 0 },
    { "sleep-disarm", one, { driver, arm_disarm_arm }, each_once, "0 1 2", 3, 0 },
    { "later-is-silent", one, { sleep_once, arm_later }, no_interrupt, NULL, 4, 0 },
    { "one-winner", race, { expire_once, disarm }, one_winner, "prevented fired", 4, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
