/* SPDX-License-Identifier: MIT */
/* timer - see timer.h */
#include "runtime/timer.h"

#include <errno.h>

#include "runtime/rt.h"
#include "runtime/spawn.h"
#include "sched/clock.h"
#include "sched/mem.h"
#include "timers/due.h"
#include "timers/waiting.h"

enum { TIMER_IDLE, TIMER_ARMED, TIMER_PENDING, TIMER_RAN };     /* state_, under callbacks.lock */

struct callbacks {
    struct spin lock;
    struct weft_timer *head, *tail;             /* pending, by next_ */
    struct weft_timer *running;                 /* compared only */
    bool changed;                               /* the running one was stopped or started again */
    bool idle;                                  /* the fiber waits for work */
    bool ending;
    struct fiber *fiber;                        /* NULL until the first timer is started */
    weft_t id;
    struct wait_queue stoppers;                 /* who wait for the running callback */
};

static struct timer_node *node_of(struct weft_timer *t) { return (struct timer_node *)t->node_; }

_Static_assert(sizeof(struct timer_node) == sizeof ((struct weft_timer *)0)->node_, "node_ holds a timer_node");

static struct callbacks *callbacks_of(const struct weft_timer *t) { return ((weft_rt *)t->owner_)->callbacks; }

/* ---- the callbacks' fiber ------------------------------------------------------------------------------------------------ */

/* Under the lock: wake the fiber if it waits. */
static void rouse(struct callbacks *cb, struct chain *c)
{
    if (cb->idle && wait_claim(cb->fiber, WAIT_EVENT)) {
        cb->idle = false;
        ready_later(cb->fiber, c);
    }
}

/* On the I/O thread, under the shard's lock. */
static void fire(struct timer_node *node, void *out)
{
    struct weft_timer *t = (struct weft_timer *)node;
    struct callbacks *cb = callbacks_of(t);
    spin_lock(&cb->lock);
    t->state_ = TIMER_PENDING;
    t->next_ = NULL;
    *(cb->tail ? &cb->tail->next_ : &cb->head) = t;
    cb->tail = t;
    rouse(cb, &((struct due *)out)->ready);
    spin_unlock(&cb->lock);
}

static void arm(struct weft_timer *t)
{
    struct worker *w = thread_self()->worker;
    node_of(t)->fire = fire;
    timers_arm(&((weft_rt *)t->owner_)->timers, node_of(t), t->due_, w ? w->index : UINT32_MAX);
}

/* The first time of the grid due + n * period after now. */
static int64_t after(int64_t due, int64_t period, int64_t now)
{
    int64_t n, at;
    if (now < due)
        return due;
    n = (now - due) / period + 1;
    return __builtin_mul_overflow(n, period, &at) || __builtin_add_overflow(at, due, &at) ? WEFT_FOREVER : at;
}

/* Under the lock: take t out of the queue of pending ones. */
static void unqueue(struct callbacks *cb, struct weft_timer *t)
{
    struct weft_timer **p = &cb->head, *last = NULL;
    for (; *p != t; p = &(*p)->next_)
        last = *p;
    *p = t->next_;
    if (cb->tail == t)
        cb->tail = last;
}

/* The callback of the running timer is over: arm it again if it is periodic and was left alone. Called and left with the lock. */
static void repeat(struct callbacks *cb, struct weft_timer *t, int64_t period)
{
    if (!period || cb->changed)
        return;
    t->due_ = after(t->due_, period, clock_now());
    t->state_ = TIMER_ARMED;
    spin_unlock(&cb->lock);
    arm(t);                                     /* whoever stops it now waits for us, since it is still the running one */
    spin_lock(&cb->lock);
    if (!cb->changed)
        return;
    spin_unlock(&cb->lock);
    (void)timers_disarm(&((weft_rt *)t->owner_)->timers, node_of(t));
    spin_lock(&cb->lock);
    if (t->state_ == TIMER_PENDING)             /* it fired in between */
        unqueue(cb, t);
    t->state_ = TIMER_IDLE;
}

/* Take the next pending timer; the lock is held. */
static void run_one(struct callbacks *cb)
{
    struct weft_timer *t = cb->head;
    void (*fn)(void *) = t->fn_;
    void *arg = t->arg_;
    int64_t period = t->period_;
    struct wait_node *stoppers;
    if (!(cb->head = t->next_))
        cb->tail = NULL;
    t->state_ = TIMER_RAN;
    cb->running = t;
    cb->changed = false;
    spin_unlock(&cb->lock);
    fn(arg);
    spin_lock(&cb->lock);
    repeat(cb, t, period);
    cb->running = NULL;
    stoppers = waiting_pop_all(&cb->stoppers, 0);
    spin_unlock(&cb->lock);
    waiting_ready_all(stoppers);
    spin_lock(&cb->lock);
}

static int64_t make_callbacks(void *arg)
{
    struct callbacks *cb = arg;
    struct fiber *self = park_self();
    spin_lock(&cb->lock);
    cb->fiber = self;
    while (!cb->ending) {
        if (cb->head) {
            run_one(cb);
            continue;
        }
        wait_open(self);
        cb->idle = true;
        spin_unlock(&cb->lock);
        park(self);
        (void)wait_close(self);
        spin_lock(&cb->lock);
    }
    spin_unlock(&cb->lock);
    return 0;
}

int timer_begin(weft_rt *rt)
{
    rt->callbacks = mem_alloc(sizeof *rt->callbacks, _Alignof(struct callbacks));
    return rt->callbacks ? 0 : -ENOMEM;
}

/* Two may come here at once; the second finds id set, or lets its fiber end at once. */
static int begin_fiber(weft_rt *rt)
{
    struct callbacks *cb = rt->callbacks;
    struct spawn s = { .rt = rt, .fn = make_callbacks, .arg = cb, .name = "timer callbacks",
                       .flags = FIBER_INTERNAL | FIBER_NOWAIT };
    weft_t id;
    spin_lock(&cb->lock);
    id = cb->id;
    if (!id)
        cb->id = -1;                            /* ours to make */
    spin_unlock(&cb->lock);
    if (id)
        return 0;
    id = spawn(&s);
    spin_lock(&cb->lock);
    cb->id = id > 0 ? id : 0;
    spin_unlock(&cb->lock);
    return id > 0 ? 0 : (int)id;
}

void timer_end_callbacks(weft_rt *rt)
{
    struct callbacks *cb = rt->callbacks;
    struct chain c = { NULL, NULL, 0, &rt->sched };
    weft_t id;
    spin_lock(&cb->lock);
    cb->ending = true;
    id = cb->id;
    rouse(cb, &c);
    spin_unlock(&cb->lock);
    worker_queue_chain(&c);
    if (id > 0) {
        struct fiber *self = park_self();
        uint32_t shield = self->shield;
        int64_t ambient = self->deadline;
        self->shield = 1;
        self->deadline = WEFT_FOREVER;
        (void)weft_join(id, NULL, WEFT_FOREVER);
        self->shield = shield;
        self->deadline = ambient;
    }
}

void timer_end(weft_rt *rt)
{
    mem_free(rt->callbacks, sizeof *rt->callbacks, _Alignof(struct callbacks));
    rt->callbacks = NULL;
}

/* ---- stop ---------------------------------------------------------------------------------------------------------------- */

static bool started(const struct weft_timer *t) { return t->owner_ && ((weft_rt *)t->owner_)->epoch == t->epoch_; }

/* Wait until t's callback is over; the lock is held, and is left. */
static void wait_for_callback(struct callbacks *cb, struct weft_timer *t, struct fiber *self)
{
    while (self && cb->running == t && self != cb->fiber) {
        struct wait_node node = { .fiber = self };
        uint32_t shield = self->shield;
        self->shield = 1;                       /* stop is no [W] call: it waits for a callback, and those are short */
        wait_open(self);
        wait_push(&cb->stoppers, &node);
        spin_unlock(&cb->lock);
        park(self);
        (void)wait_close(self);
        self->shield = shield;
        spin_lock(&cb->lock);
    }
    spin_unlock(&cb->lock);
}

static int stop(struct weft_timer *t)
{
    weft_rt *rt = t->owner_;
    struct callbacks *cb = rt->callbacks;
    struct fiber *self = park_self();
    struct wait_node *waiters;
    uint32_t before;
    word_lock(waiting_word(&t->word_));
    (void)timers_disarm(&rt->timers, node_of(t));
    spin_lock(&cb->lock);
    before = t->state_;
    if (before == TIMER_PENDING)
        unqueue(cb, t);
    if (before != TIMER_RAN)
        t->state_ = TIMER_IDLE;
    if (cb->running == t)
        cb->changed = true;
    waiters = waiting_pop_all(waiting_queue(&t->waiters_), -EPIPE);
    spin_unlock(&cb->lock);
    word_unlock(waiting_word(&t->word_), 0);
    waiting_ready_all(waiters);
    spin_lock(&cb->lock);
    wait_for_callback(cb, t, self);
    return before == TIMER_ARMED || before == TIMER_PENDING;
}

int weft_timer_stop(struct weft_timer *t)
{
    weft_rt *rt = t->owner_;
    int r;
    if (!rt || !rt_hold(rt, t->epoch_))
        return 0;
    r = stop(t);
    rt_leave(rt);
    return r;
}

/* ---- start --------------------------------------------------------------------------------------------------------------- */

static int start(struct weft_timer *t)
{
    struct callbacks *cb = callbacks_of(t);
    int error = t->fn_ ? begin_fiber(t->owner_) : 0;
    if (error)
        return error;
    t->taken_ = 0;
    word_lock(waiting_word(&t->word_));
    spin_lock(&cb->lock);
    t->state_ = TIMER_ARMED;
    spin_unlock(&cb->lock);
    if (t->fn_)
        arm(t);
    word_unlock(waiting_word(&t->word_), 0);
    return 0;
}

int weft_timer_start(struct weft_timer *t, int64_t deadline, int64_t period, void (*fn)(void *), void *arg)
{
    weft_rt *rt;
    int r;
    if (period < 0 || (!fn && !period))
        return -EINVAL;
    (void)weft_timer_stop(t);
    rt = rt_hold_any();
    if (!rt)
        return -EAGAIN;
    *t = (struct weft_timer){ .owner_ = rt, .epoch_ = rt->epoch,
                                .due_ = deadline > 0 ? deadline : 0, .period_ = period, .fn_ = fn, .arg_ = arg };
    r = start(t);
    rt_leave(rt);
    return r;
}

int weft_timer_reset(struct weft_timer *t, int64_t deadline)
{
    weft_rt *rt = t->owner_;
    int was, error;
    if (!rt || !rt_hold(rt, t->epoch_))
        return -EINVAL;
    was = stop(t);
    t->due_ = deadline > 0 ? deadline : 0;
    error = start(t);
    rt_leave(rt);
    return error ? error : was;
}

/* ---- tickers ------------------------------------------------------------------------------------------------------------- */

/* The word is locked: how many periods have passed that nobody took? Takes them. */
static int64_t take(struct weft_timer *t, int64_t now)
{
    int64_t all = now < t->due_ ? 0 : (now - t->due_) / t->period_ + 1, n = all - t->taken_;
    t->taken_ = all;
    return n;
}

int64_t weft_ticker_wait(struct weft_timer *t, int64_t deadline)
{
    struct wait_node node = { .fiber = NULL };
    struct fiber *self;
    int64_t r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (!started(t) || t->period_ <= 0)
        return -EINVAL;
    for (;;) {
        uint32_t state = word_lock(waiting_word(&t->word_));
        int64_t now = clock_now(), next = after(t->due_, t->period_, now), until = deadline < next ? deadline : next;
        if ((r = take(t, now)) > 0 || t->state_ == TIMER_IDLE) {
            word_unlock(waiting_word(&t->word_), state);
            return r > 0 ? r : -EPIPE;
        }
        r = waiting_object(self, waiting_word(&t->word_), state, waiting_queue(&t->waiters_), &node, until, false);
        if (r != -ETIMEDOUT || until == deadline)
            return r;
        if (self->deadline <= until && self->deadline <= clock_now())
            return -ETIMEDOUT;
    }
}
