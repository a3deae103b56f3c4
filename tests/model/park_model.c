/* SPDX-License-Identifier: MIT */
/*
 * park_model - one wait and all that may end it, over the real sched/park.c sched/fiber.h sched/wait.h timers/deadline.c and
 * timers/waiting.c
 *
 * A fiber, or a thread outside, waits on one object and then on another, like any call of the runtime does; against it an event
 * side that hands a value over under the object's lock, a timer, and a canceller, all at the same time.
 *
 * Whatever happens: each wait ends, once, by one of them; the value is there if and only if the event ended it, or it came
 * before the wait; a shielded wait is not cancelled; an object may be freed when an event has ended the wait on it; and what
 * fibers.h checks.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -DMODEL_LOCK_STEP=1 -I. -Itests tests/model/park_model.c
 *            tests/model/{explorer,search,memo,views,lock,memory}.c and those above -o park_model
 * Mutants    the same with -DMUTANT_x, run with --mutant: those of MUTANT_WAIT_ MUTANT_FIBER_ MUTANT_PARK_
 */
#include "model/fibers.h"
#include "model/views.h"

#define VALUE 42
#define ANSWER 7                    /* node->result */

static struct object {
    atom32 word;
    struct wait_queue waiters;
    int stored;                     /* an event that came before its wait; under the lock */
} object[2];
static int value[2];                /* where the waiter wants it */
static bool freed[2];
static bool cancels, times;         /* may the waits of this test end so? */

#ifdef MUTANT_PARK_VALUE_LATE
#define give(n) (ready((n)->fiber), hand((n)->value))
#else
#define give(n) (hand((n)->value), ready((n)->fiber))
#endif
#ifdef MUTANT_PARK_UNLOCK_LATE
#define unlock_give(o, n) (give(n), word_unlock(&(o)->word, 0))
#else
#define unlock_give(o, n) (word_unlock(&(o)->word, 0), give(n))
#endif

/* ---- the waiter ---------------------------------------------------------------------------------------------------------- */

static int wait_for(unsigned i, int64_t deadline)
{
    struct object *o = &object[i];
    struct wait_node node = { .value = &value[i] };
    struct fiber *self;
    int r = waiting_enter(&self);
    uint32_t state;
    if (r < 0)
        return r;
    state = word_lock(&o->word);
    if (o->stored) {
        value[i] = o->stored;
        word_unlock(&o->word, state);
        return ANSWER;
    }
    r = waiting_object(self, &o->word, state, &o->waiters, &node, deadline, false);
    MODEL_ASSERT(!node.queued);
    return r;
}

static void judge(unsigned i, int r)
{
    model_exclusive(&value[i]);
    MODEL_ASSERT(r == ANSWER ? value[i] == VALUE : value[i] == 0);
    MODEL_ASSERT(r == ANSWER || (r == -ETIMEDOUT && times) || (r == -ECANCELED && cancels && !fiber[0].shield));
    if (r == ANSWER) {
        freed[i] = true;
        views_forget(&object[i].word, sizeof object[i].word);
    }
}

static void wait_once(void)
{
    judge(0, wait_for(0, INT64_MAX));
    fibers_over[0] = true;
}

static void wait_until(void)
{
    judge(0, wait_for(0, SOON));
    fibers_over[0] = true;
}

static void wait_twice(void)
{
    judge(0, wait_for(0, SOON));
    judge(1, wait_for(1, INT64_MAX));
    fibers_over[0] = true;
}

/* The first wait may end by anything, its timer or its canceller may be late for it and find the second. */
static void wait_until_twice(void)
{
    judge(0, wait_for(0, SOON));
    judge(1, wait_for(1, SOON));
    fibers_over[0] = true;
}

/* Nothing but the canceller ends this. */
static void wait_for_cancel(void)
{
    MODEL_ASSERT(wait_for(0, INT64_MAX) == -ECANCELED);
    fibers_over[0] = true;
}

/* ---- those who end it ---------------------------------------------------------------------------------------------------- */

static void hand(void *to)
{
    model_exclusive(to);
    *(int *)to = VALUE;
}

static void happen(unsigned i)
{
    struct object *o = &object[i];
    struct wait_node *n;
    (void)word_lock(&o->word);
    n = wait_pop(&o->waiters);
    if (!n) {
        o->stored = VALUE;
        word_unlock(&o->word, 0);
        return;
    }
    n->result = ANSWER;
    unlock_give(o, n);
}

static void event(void) { happen(0); }
static void event_2(void) { happen(1); }
static void events(void) { happen(0); happen(1); }
static void timer(void) { fibers_time(0); }
static void timer_twice(void) { fibers_time(0); fibers_time(0); }

/* After spawn_cancel_locked in the runtime. */
static void cancel(void)
{
    struct chain c = { NULL, NULL, 0, &fibers_sched };
    if (wait_cancel(&fiber[0]))
        ready_later(&fiber[0], &c);
    worker_queue_chain(&c);
}

/* ---- tests --------------------------------------------------------------------------------------------------------------- */

static void begin(bool outside, bool may_time_out, bool may_be_cancelled, bool shielded)
{
    fibers_begin(1, outside);
    memset(object, 0, sizeof object);
    memset(value, 0, sizeof value);
    memset(freed, 0, sizeof freed);
    times = may_time_out;
    cancels = may_be_cancelled;
    fiber[0].shield = shielded;
    for (unsigned i = 0; i < 2; i++) {
        model_name(&object[i].word, "object %u", i);
        model_name(&value[i], "value %u", i);
    }
}

static void plain(void) { begin(false, false, false, false); }
static void timed(void) { begin(false, true, false, false); }
static void cancelled(void) { begin(false, true, true, false); }
static void shielded(void) { begin(false, true, true, true); }
static void outside(void) { begin(true, false, false, false); }
static void outside_timed(void) { begin(true, true, false, false); }

static void end(void)
{
    fibers_end();
    for (unsigned i = 0; i < 2; i++)
        MODEL_ASSERT(freed[i] || (!object[i].waiters.head && !(object[i].word.v & WORD_LOCKED)));
}

static const struct model_test tests[] = {
    { "event", plain, { wait_once, event }, end, NULL, 6, 0 },
    { "cancel", cancelled, { wait_for_cancel, cancel }, end, NULL, 6, 0 },
    { "event-timer", timed, { wait_until, event, timer }, end, NULL, 5, 0 },
    { "event-cancel", cancelled, { wait_once, event, cancel }, end, NULL, 5, 0 },
    { "event-cancel-shielded", shielded, { wait_once, event, cancel }, end, NULL, 5, 0 },
    { "all", cancelled, { wait_until, event, timer, cancel }, end, NULL, 4, 0 },
    { "all-shielded", shielded, { wait_until, event, timer, cancel }, end, NULL, 4, 0 },
    { "twice", timed, { wait_twice, events, timer }, end, NULL, 4, 0 },
    { "twice-events", timed, { wait_twice, event, event_2, timer }, end, NULL, 4, 0 },
    { "twice-cancel", cancelled, { wait_twice, events, cancel }, end, NULL, 4, 0 },
    { "twice-timed", timed, { wait_until_twice, events, timer_twice }, end, NULL, 4, 0 },
    { "twice-all", cancelled, { wait_twice, events, timer, cancel }, end, NULL, 3, 0 },
    { "thread", outside, { wait_once, event }, end, NULL, 6, 0 },
    { "thread-timed", outside_timed, { wait_until, event }, end, NULL, 6, 0 },
    { "thread-twice", outside_timed, { wait_until_twice, events }, end, NULL, 5, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
