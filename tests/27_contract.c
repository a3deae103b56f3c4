/* SPDX-License-Identifier: MIT */
/* The waiting calls that need no descriptor, each through every event of tests/contract.h. */
#include "tests/contract.h"

/* ---- sleep: only time ends it -------------------------------------------------------------------------------------------- */

static void sleep_open(struct box *b) { b->until = WEFT_FOREVER; }
static void sleep_allow(struct box *b) { b->until = INT64_MIN; }

static int64_t sleep_wait(struct box *b, int64_t deadline)      /* its own deadline is what it waits for */
{
    int64_t before = weft_deadline(deadline);
    int r = weft_sleep(b->until);
    weft_deadline_restore(before);
    return r;
}

static const struct call a_sleep = { .open = sleep_open, .wait = sleep_wait, .allow = sleep_allow };
COLUMNS(a_sleep) COLUMN_AT_ONCE(a_sleep) COLUMN_TIME(a_sleep) COLUMN_OUTSIDE_AT_ONCE(a_sleep)

/* ---- park ---------------------------------------------------------------------------------------------------------------- */

static void park_allow(struct box *b) { OK(weft_unpark(b->waiter ? b->waiter : weft_self())); }
static int64_t park_wait(struct box *b, int64_t deadline) { (void)b; return weft_park(deadline); }

static const struct call park_ = { .wait = park_wait, .allow = park_allow };
COLUMNS_EVENT(park_) COLUMN_TIME(park_) CELL(park_, cancelled_while_waiting) CELL(park_, deadline_before)
CELL(park_, deadline_while_waiting) CELL(park_, ambient_deadline) CELL(park_, nosuspend) CELL(park_, timer_callback)
CELL(park_, forked_child) CELL(park_, signal_storm) COLUMN_AT_ONCE(park_)

/* ---- join ---------------------------------------------------------------------------------------------------------------- */

static int64_t until_go(void *arg)
{
    weft_deadline_restore(WEFT_FOREVER);        /* the ambient one is for the caller alone */
    return weft_event_wait(&((struct box *)arg)->go, WEFT_FOREVER);
}

static void go(struct box *b) { OK(weft_event_set(&b->go)); }

static void join_open(struct box *b) { b->other = spawned(until_go, b); }

static int64_t join_wait(struct box *b, int64_t deadline)
{
    int64_t result = -1;
    int r = weft_join(b->other, &result, deadline);
    EQ(result, r == 0 ? 0 : -1);
    return r;
}

static const struct call join_ = { .open = join_open, .wait = join_wait, .allow = go, .traits = LATE };
COLUMNS(join_) COLUMN_AT_ONCE(join_) CELL(join_, event_while_waiting) COLUMN_TIME(join_) COLUMN_OUTSIDE(join_)
COLUMN_OUTSIDE_AT_ONCE(join_)

/* ---- call ---------------------------------------------------------------------------------------------------------------- */

static void call_open(struct box *b) { b->rt = weft_current(); }

static int64_t call_wait(struct box *b, int64_t deadline)
{
    int64_t result = -1;
    int r = weft_call(b->rt, until_go, b, &result, deadline);
    EQ(result, r == 0 ? 0 : -1);
    return r;
}

static const struct call call_ = { .open = call_open, .wait = call_wait, .allow = go, .traits = LATE };
COLUMNS(call_) COLUMN_AT_ONCE(call_) COLUMNS_EVENT(call_) COLUMN_OUTSIDE(call_) COLUMN_OUTSIDE_AT_ONCE(call_)

/* ---- stop: of another runtime, with a fiber in it that does not see the cancellation ------------------------------------- */

static int64_t until_go_shielded(void *arg)
{
    EQ(weft_shield(1), 0);
    atomic_store(&((struct box *)arg)->ready, true);
    return until_go(arg);
}

static void stop_open(struct box *b)
{
    struct weft_opts o = { .workers = 1 };
    struct weft_attr a = { .name = "shielded" };
    OK(weft_start(&b->rt, &o));
    a.runtime = b->rt;
    TRUE(weft_spawn_attr(until_go_shielded, b, &a) > 0);
    UNTIL(atomic_load(&b->ready));
}

static int64_t stop_wait(struct box *b, int64_t deadline) { return weft_stop(b->rt, deadline); }

static const struct call stop_ = { .open = stop_open, .wait = stop_wait, .allow = go, .traits = LATE };
COLUMNS(stop_) COLUMN_AT_ONCE(stop_) CELL(stop_, event_while_waiting) COLUMN_TIME(stop_) COLUMN_OUTSIDE(stop_)
COLUMN_OUTSIDE_AT_ONCE(stop_)

/* ---- groups -------------------------------------------------------------------------------------------------------------- */

static void group_open(struct box *b)
{
    OK(weft_group_init(&b->group, 1, 0));
    TRUE(weft_group_spawn(&b->group, until_go, b) > 0);
}

static int64_t group_wait(struct box *b, int64_t deadline) { return weft_group_wait(&b->group, deadline); }
static void group_end(struct box *b) { OK(weft_group_wait(&b->group, WEFT_FOREVER)); }

static int64_t group_spawn_wait(struct box *b, int64_t deadline)
{
    int64_t before = weft_deadline(deadline);
    weft_t id = weft_group_spawn(&b->group, until_go, b);
    weft_deadline_restore(before);
    return id;
}

static const struct call group_wait_ = { .open = group_open, .wait = group_wait, .allow = go, .end = group_end, .traits = LATE };
static const struct call group_spawn_ = { .open = group_open, .wait = group_spawn_wait, .allow = go, .end = group_end,
                                          .traits = LATE };
COLUMNS(group_wait_) COLUMN_AT_ONCE(group_wait_) COLUMNS_EVENT(group_wait_) COLUMN_OUTSIDE(group_wait_)
COLUMN_OUTSIDE_AT_ONCE(group_wait_)
COLUMNS(group_spawn_) COLUMN_AT_ONCE(group_spawn_) COLUMNS_EVENT(group_spawn_)

/* ---- ticker -------------------------------------------------------------------------------------------------------------- */

#define FAR (3600 * WEFT_SEC)

static void ticker_open(struct box *b) { OK(weft_timer_start(&b->timer, weft_after(FAR), FAR, NULL, NULL)); }
static void ticker_allow(struct box *b) { EQ(weft_timer_reset(&b->timer, weft_now()), 1); }
static void ticker_close(struct box *b) { EQ(weft_timer_stop(&b->timer), 1); }
static void ticker_end(struct box *b) { (void)weft_timer_stop(&b->timer); }

static int64_t ticker_wait(struct box *b, int64_t deadline)
{
    int64_t r = weft_ticker_wait(&b->timer, deadline);
    TRUE(r <= 1);
    return r;
}

static const struct call ticker_ = { .open = ticker_open, .wait = ticker_wait, .allow = ticker_allow, .close = ticker_close,
                                     .closed = -EPIPE, .end = ticker_end, .traits = CONSUMES };
COLUMNS(ticker_) COLUMN_AT_ONCE(ticker_) COLUMN_CLOSED(ticker_) COLUMN_OUTSIDE_AT_ONCE(ticker_)

/* Nothing but time ends it well. */
static void due_open(struct box *b) { OK(weft_timer_start(&b->timer, in_ms(100), FAR, NULL, NULL)); }
static void due_allow(struct box *b) { (void)b; }

static const struct call ticker_due = { .open = due_open, .wait = ticker_wait, .allow = due_allow, .end = ticker_end,
                                        .traits = CONSUMES };
COLUMNS_EVENT(ticker_due) COLUMN_OUTSIDE(ticker_due)

/* ---- mutex --------------------------------------------------------------------------------------------------------------- */

static int64_t holds(void *arg)
{
    struct box *b = arg;
    OK(weft_mutex_lock(&b->mutex, WEFT_FOREVER));
    atomic_store(&b->ready, true);
    OK(weft_event_wait(&b->go, WEFT_FOREVER));
    OK(weft_mutex_unlock(&b->mutex));
    return 0;
}

static void mutex_open(struct box *b)
{
    b->other = spawned(holds, b);
    UNTIL(atomic_load(&b->ready));
}

static void mutex_allow(struct box *b)
{
    go(b);
    OK(joined(b->other));
}

static int64_t mutex_wait(struct box *b, int64_t deadline)
{
    int r = weft_mutex_lock(&b->mutex, deadline);
    if (r == 0)
        OK(weft_mutex_unlock(&b->mutex));
    else
        EQ(weft_mutex_unlock(&b->mutex), -EPERM);
    return r;
}

static void mutex_end(struct box *b) { EQ(b->mutex.word_, 0); }

static const struct call mutex_ = { .open = mutex_open, .wait = mutex_wait, .allow = mutex_allow, .end = mutex_end };
COLUMNS(mutex_) COLUMN_AT_ONCE(mutex_) COLUMNS_EVENT(mutex_) COLUMN_OUTSIDE(mutex_) COLUMN_OUTSIDE_AT_ONCE(mutex_)

/* ---- condition ----------------------------------------------------------------------------------------------------------- */

static int64_t cond_wait(struct box *b, int64_t deadline)
{
    int shield = weft_shield(1), r;
    OK(weft_mutex_lock(&b->mutex, WEFT_FOREVER));
    weft_shield(shield);
    r = weft_cond_wait(&b->cond, &b->mutex, deadline);
    OK(weft_mutex_unlock(&b->mutex));           /* held, whatever the answer */
    return r;
}

static void cond_allow(struct box *b) { OK(weft_cond_signal(&b->cond)); }
static void cond_end(struct box *b) { EQ(b->cond.word_ | b->mutex.word_, 0); }

static const struct call cond_ = { .wait = cond_wait, .allow = cond_allow, .end = cond_end, .traits = NEVER_AT_ONCE };
COLUMNS(cond_) COLUMNS_EVENT(cond_) COLUMN_OUTSIDE(cond_)

/* ---- semaphore, wait group, event ---------------------------------------------------------------------------------------- */

static int64_t sem_wait_(struct box *b, int64_t deadline) { return weft_sem_wait(&b->sem, deadline); }
static void sem_allow(struct box *b) { OK(weft_sem_post(&b->sem)); }
static void sem_end(struct box *b) { EQ(b->sem.word_ | b->sem.count_, 0); }

static const struct call sem_ = { .wait = sem_wait_, .allow = sem_allow, .end = sem_end, .traits = CONSUMES };
COLUMNS(sem_) COLUMN_AT_ONCE(sem_) COLUMNS_EVENT(sem_) COLUMN_OUTSIDE(sem_) COLUMN_OUTSIDE_AT_ONCE(sem_)

static void wg_open(struct box *b) { OK(weft_wg_add(&b->wg, 2)); }
static void wg_allow(struct box *b) { OK(weft_wg_add(&b->wg, -2)); }
static int64_t wg_wait(struct box *b, int64_t deadline) { return weft_wg_wait(&b->wg, deadline); }
static void wg_end(struct box *b) { EQ(b->wg.word_ | b->wg.count_, 0); }

static const struct call wg_ = { .open = wg_open, .wait = wg_wait, .allow = wg_allow, .end = wg_end };
COLUMNS(wg_) COLUMN_AT_ONCE(wg_) COLUMNS_EVENT(wg_) COLUMN_OUTSIDE(wg_) COLUMN_OUTSIDE_AT_ONCE(wg_)

static int64_t event_wait_(struct box *b, int64_t deadline) { return weft_event_wait(&b->event, deadline); }
static void event_allow(struct box *b) { OK(weft_event_set(&b->event)); }

static const struct call event_ = { .wait = event_wait_, .allow = event_allow };
COLUMNS(event_) COLUMN_AT_ONCE(event_) COLUMNS_EVENT(event_) COLUMN_OUTSIDE(event_) COLUMN_OUTSIDE_AT_ONCE(event_)

/* ---- channels ------------------------------------------------------------------------------------------------------------ */

enum { BEFORE = 41, MINE = 77 };

static void open_with(struct box *b, size_t capacity) { OK(weft_chan_open(&b->chan, sizeof(int64_t), capacity)); }
static void chan_close(struct box *b) { OK(weft_chan_close(b->chan)); }

static void chan_end(struct box *b)
{
    EQ(weft_chan_len(b->chan), 0);
    weft_chan_unref(b->chan);
}

static int64_t recv_wait(struct box *b, int64_t deadline)
{
    int64_t v = -1;
    int r = weft_chan_recv(b->chan, &v, deadline);
    EQ(v, r == 0 ? MINE : -1);
    return r;
}

static int64_t send_wait(struct box *b, int64_t deadline)
{
    int64_t v = MINE;
    return weft_chan_send(b->chan, &v, deadline);
}

static void empty_open(struct box *b) { open_with(b, 2); }
static void empty_allow(struct box *b) { OK(weft_chan_send(b->chan, &(int64_t){ MINE }, WEFT_NOW)); }

static const struct call recv_buffered = { .open = empty_open, .wait = recv_wait, .allow = empty_allow, .close = chan_close,
                                           .closed = -EPIPE, .end = chan_end, .traits = CONSUMES };
COLUMNS(recv_buffered) COLUMN_AT_ONCE(recv_buffered) COLUMNS_EVENT(recv_buffered) COLUMN_CLOSED(recv_buffered)
COLUMN_OUTSIDE(recv_buffered) COLUMN_OUTSIDE_AT_ONCE(recv_buffered)

static void unbounded_open(struct box *b) { open_with(b, WEFT_UNBOUNDED); }

static const struct call recv_unbounded = { .open = unbounded_open, .wait = recv_wait, .allow = empty_allow, .close = chan_close,
                                            .closed = -EPIPE, .end = chan_end, .traits = CONSUMES };
COLUMNS(recv_unbounded) COLUMN_AT_ONCE(recv_unbounded) COLUMNS_EVENT(recv_unbounded) COLUMN_CLOSED(recv_unbounded)
COLUMN_OUTSIDE(recv_unbounded) COLUMN_OUTSIDE_AT_ONCE(recv_unbounded)

static void full_open(struct box *b)
{
    open_with(b, 1);
    OK(weft_chan_send(b->chan, &(int64_t){ BEFORE }, WEFT_NOW));
}

static void full_allow(struct box *b)
{
    int64_t v = -1;
    OK(weft_chan_recv(b->chan, &v, WEFT_NOW));
    EQ(v, BEFORE);                              /* the one that failed was not sent */
}

static void full_end(struct box *b)
{
    int64_t v = -1;
    while (weft_chan_recv(b->chan, &v, WEFT_NOW) == 0)
        TRUE(v == BEFORE || v == MINE);
    chan_end(b);
}

static const struct call send_buffered = { .open = full_open, .wait = send_wait, .allow = full_allow, .close = chan_close,
                                           .closed = -EPIPE, .end = full_end, .traits = CONSUMES };
COLUMNS(send_buffered) COLUMN_AT_ONCE(send_buffered) COLUMNS_EVENT(send_buffered) COLUMN_CLOSED(send_buffered)
COLUMN_OUTSIDE(send_buffered) COLUMN_OUTSIDE_AT_ONCE(send_buffered)

/* Rendezvous: the other side is a fiber that comes when it is allowed to, and stays until it is met. */

static int64_t sends_mine(void *arg) { return weft_chan_send(((struct box *)arg)->chan, &(int64_t){ MINE }, WEFT_FOREVER); }

static int64_t recvs_mine(void *arg)
{
    int64_t v = -1;
    OK(weft_chan_recv(((struct box *)arg)->chan, &v, WEFT_FOREVER));
    EQ(v, MINE);
    return 0;
}

static void meet_open(struct box *b) { open_with(b, 0); }
static void meet_sender(struct box *b) { b->other = spawned(sends_mine, b); }
static void meet_receiver(struct box *b) { b->other = spawned(recvs_mine, b); }

static void meet_end(struct box *b)
{
    if (b->other)
        OK(joined(b->other));
    chan_end(b);
}

static const struct call recv_rendezvous = { .open = meet_open, .wait = recv_wait, .allow = meet_sender, .close = chan_close,
                                             .closed = -EPIPE, .end = meet_end, .traits = CONSUMES | LATE };
static const struct call send_rendezvous = { .open = meet_open, .wait = send_wait, .allow = meet_receiver, .close = chan_close,
                                             .closed = -EPIPE, .end = meet_end, .traits = CONSUMES | LATE };
COLUMNS(recv_rendezvous) COLUMN_AT_ONCE(recv_rendezvous) COLUMNS_EVENT(recv_rendezvous) COLUMN_CLOSED(recv_rendezvous)
COLUMN_OUTSIDE(recv_rendezvous) COLUMN_OUTSIDE_AT_ONCE(recv_rendezvous)
COLUMNS(send_rendezvous) COLUMN_AT_ONCE(send_rendezvous) COLUMNS_EVENT(send_rendezvous) COLUMN_CLOSED(send_rendezvous)
COLUMN_OUTSIDE(send_rendezvous) COLUMN_OUTSIDE_AT_ONCE(send_rendezvous)
