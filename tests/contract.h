/* SPDX-License-Identifier: MIT */
/*
 * contract - what every waiting call answers to everything that can happen to it
 *
 * A call is a row: how to bring about that it would wait, how to make what it waits for happen, the call itself. An event is a
 * column: a function that puts a call through it. A cell is a Criterion test, suite the call, name the event, run with 1, 2, 4
 * and 8 workers. After each event the object must work on as if the call had never been made (works_on).
 */
#ifndef TESTS_CONTRACT_H
#define TESTS_CONTRACT_H

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"

#define CONSUMES 1u                             /* a second wait after one that was served waits again */
#define LATE 2u                                 /* what it waits for happens some time after allow() */
#define NEVER_AT_ONCE 4u                        /* only one who waits can be served */

struct box {
    const struct call *call;
    weft_t waiter;                              /* who waits, if it is not the caller of allow() */
    weft_t other;                               /* a fiber that belongs to the object */
    atomic_bool begun, ended;                   /* the call */
    atomic_bool ready, released;                /* the other */
    int64_t result, deadline;

    struct weft_event go;
    struct weft_mutex mutex;
    struct weft_cond cond;
    struct weft_sem sem;
    struct weft_wg wg;
    struct weft_event event;
    struct weft_group group;
    struct weft_timer timer;
    weft_chan *chan;
    weft_rt *rt;
    int64_t until, value;
    int fd[4];
    struct box *next;
};

struct call {
    void (*open)(struct box *b);                /* now it would wait */
    int64_t (*wait)(struct box *b, int64_t deadline);   /* negative, or good */
    void (*allow)(struct box *b);               /* let it happen */
    void (*close)(struct box *b);               /* the object ends while it waits */
    int64_t closed;                             /* the answer to that */
    void (*end)(struct box *b);                 /* free it; the last call was served, or it is closed */
    unsigned traits;
};

static struct box *boxes;                       /* freed after the runtime: a fiber may outlive its call */

static struct box *fresh(const struct call *call)
{
    struct box *b = calloc(1, sizeof *b);
    b->call = call;
    b->deadline = WEFT_FOREVER;
    b->next = boxes;
    boxes = b;
    if (call->open)
        call->open(b);
    return b;
}

static void finish(struct box *b)
{
    if (b->call->end)
        b->call->end(b);
}

static int64_t waits(void *arg)
{
    struct box *b = arg;
    int64_t r;
    atomic_store(&b->begun, true);
    r = b->call->wait(b, b->deadline);
    atomic_store(&b->ended, true);
    return r;
}

/* A fiber that is in the call, as far as one can tell. */
static weft_t waiter(struct box *b)
{
    atomic_store(&b->begun, false);
    atomic_store(&b->ended, false);
    b->waiter = spawned(waits, b);
    UNTIL(atomic_load(&b->begun));
    OK(weft_sleep(in_ms(2)));
    TRUE(!atomic_load(&b->ended));
    return b->waiter;
}

static void serve(struct box *b)
{
    b->call->allow(b);
    while ((b->call->traits & NEVER_AT_ONCE) && !atomic_load(&b->ended)) {
        OK(weft_sleep(in_ms(1)));
        b->call->allow(b);
    }
}

/* Nothing has happened to the object: it makes one wait, and serves it. */
static void works_on(struct box *b)
{
    const struct call *call = b->call;
    b->deadline = WEFT_FOREVER;
    if (call->traits & NEVER_AT_ONCE) {
        waiter(b);
        serve(b);
        TRUE(joined(b->waiter) >= 0);
    } else {
        b->waiter = 0;
        call->allow(b);
        TRUE(call->wait(b, WEFT_FOREVER) >= 0);
        if (call->traits & CONSUMES)
            EQ(call->wait(b, WEFT_NOW), -ETIMEDOUT);
    }
    finish(b);
}

/* ---- the columns --------------------------------------------------------------------------------------------------------- */

/* It can finish at once, and does, whatever the deadline; without a switch where nobody else can run. */
static void at_once(const struct call *call)
{
    static const int64_t deadlines[] = { WEFT_FOREVER, WEFT_NOW, -1 };
    for (int i = 0; i < (call->traits & LATE ? 1 : 3); i++) {
        struct box *b = fresh(call);
        uint64_t before;
        call->allow(b);
        before = switches();
        TRUE(call->wait(b, deadlines[i]) >= 0);
        if (!(call->traits & LATE) && weft_workers(weft_current()) == 1)
            EQ(switches(), before);
        finish(b);
    }
}

static void event_while_waiting(const struct call *call)
{
    struct box *b = fresh(call);
    waiter(b);
    serve(b);
    b->result = joined(b->waiter);
    TRUE(b->result >= 0);
    b->waiter = 0;
    if (call->traits & CONSUMES)
        EQ(call->wait(b, WEFT_NOW), -ETIMEDOUT);
    finish(b);
}

static int64_t cancels_itself(void *arg)
{
    OK(weft_cancel(weft_self()));
    for (int i = 0; i < 3; i++)                 /* it is a level, not an edge */
        EQ(waits(arg), -ECANCELED);
    return 0;
}

/* Even if it could finish at once: nothing is done. */
static void cancelled_before(const struct call *call)
{
    struct box *b = fresh(call);
    joined(spawned(cancels_itself, b));
    works_on(b);
    b = fresh(call);
    if (call->traits & NEVER_AT_ONCE) {
        works_on(b);
        return;
    }
    call->allow(b);
    joined(spawned(cancels_itself, b));
    TRUE(call->wait(b, WEFT_FOREVER) >= 0);
    if (call->traits & CONSUMES)
        EQ(call->wait(b, WEFT_NOW), -ETIMEDOUT);
    finish(b);
}

static void cancelled_while_waiting(const struct call *call)
{
    struct box *b = fresh(call);
    OK(weft_cancel(waiter(b)));
    EQ(joined(b->waiter), -ECANCELED);
    works_on(b);
}

static void deadline_before(const struct call *call)
{
    struct box *b = fresh(call);
    EQ(call->wait(b, WEFT_NOW), -ETIMEDOUT);
    EQ(call->wait(b, -5), -ETIMEDOUT);
    EQ(call->wait(b, weft_now() - WEFT_MSEC), -ETIMEDOUT);
    works_on(b);
}

static void deadline_while_waiting(const struct call *call)
{
    struct box *b = fresh(call);
    int64_t deadline = in_ms(3);
    EQ(call->wait(b, deadline), -ETIMEDOUT);
    TRUE(weft_now() >= deadline);
    works_on(b);
}

static int64_t under_ambient(void *arg)
{
    struct box *b = arg;
    int64_t deadline = in_ms(3), before = weft_deadline(deadline);
    EQ(before, WEFT_FOREVER);
    EQ(b->call->wait(b, WEFT_FOREVER), -ETIMEDOUT);
    TRUE(weft_now() >= deadline);
    EQ(b->call->wait(b, in_ms(10000)), -ETIMEDOUT);     /* it has passed */
    weft_deadline_restore(before);
    return 0;
}

static void ambient_deadline(const struct call *call)
{
    struct box *b = fresh(call);
    joined(spawned(under_ambient, b));
    works_on(b);
}

static int64_t under_shield(void *arg)
{
    struct box *b = arg;
    int64_t deadline = in_ms(3), r;
    EQ(weft_shield(1), 0);
    OK(weft_cancel(weft_self()));
    EQ(b->call->wait(b, deadline), -ETIMEDOUT);
    TRUE(weft_now() >= deadline);
    r = waits(b);
    EQ(weft_shield(0), 1);
    EQ(b->call->wait(b, WEFT_FOREVER), -ECANCELED);
    return r;
}

static void shielded(const struct call *call)
{
    struct box *b = fresh(call);
    b->waiter = spawned(under_shield, b);
    UNTIL(atomic_load(&b->begun));
    OK(weft_sleep(in_ms(2)));
    OK(weft_cancel(b->waiter));                 /* while it waits, too */
    serve(b);
    TRUE(joined(b->waiter) >= 0);
    finish(b);
}

/* The same for one that nothing but time ends. */
UNUSED static int64_t under_shield_alone(void *arg)
{
    struct box *b = arg;
    int64_t deadline = in_ms(3);
    EQ(weft_shield(1), 0);
    OK(weft_cancel(weft_self()));
    EQ(b->call->wait(b, deadline), -ETIMEDOUT);
    TRUE(weft_now() >= deadline);
    EQ(weft_shield(0), 1);
    EQ(b->call->wait(b, WEFT_FOREVER), -ECANCELED);
    return 0;
}

UNUSED static void shielded_alone(const struct call *call)
{
    struct box *b = fresh(call);
    joined(spawned(under_shield_alone, b));
    works_on(b);
}

static void closed_while_waiting(const struct call *call)
{
    struct box *b = fresh(call);
    waiter(b);
    call->close(b);
    EQ(joined(b->waiter), call->closed);
    finish(b);
}

static int64_t without_suspending(void *arg)
{
    struct box *b = arg;
    EQ(weft_nosuspend(1), 0);
    EQ(b->call->wait(b, WEFT_FOREVER), -EDEADLK);
    EQ(weft_nosuspend(0), 1);
    return 0;
}

static void nosuspend(const struct call *call)
{
    struct box *b = fresh(call);
    joined(spawned(without_suspending, b));
    works_on(b);
}

static void in_callback(void *arg)
{
    struct box *b = arg;
    b->result = b->call->wait(b, WEFT_FOREVER);
    atomic_store(&b->ended, true);
}

static void timer_callback(const struct call *call)
{
    struct box *b = fresh(call);
    struct weft_timer t = { 0 };
    OK(weft_timer_start(&t, weft_now(), 0, in_callback, b));
    UNTIL(atomic_load(&b->ended));
    EQ(weft_timer_stop(&t), 0);
    EQ(b->result, -EDEADLK);
    works_on(b);
}

static void forked_child(const struct call *call)
{
    struct box *b = fresh(call);
    int status = -1;
    pid_t child = fork(), r;
    TRUE(child >= 0);
    if (child == 0) {
        alarm(10);
        b->result = call->wait(b, WEFT_FOREVER);
        if (b->result != -ESTALE)
            dprintf(2, "in the child: %lld\n", (long long)b->result);
        _exit(b->result != -ESTALE);
    }
    while ((r = waitpid(child, &status, WNOHANG)) == 0)
        OK(weft_sleep(in_ms(1)));
    EQ(r, child);
    EQ(status, 0);
    works_on(b);
}

/* ---- in a thread --------------------------------------------------------------------------------------------------------- */

static void nothing(int sig) { (void)sig; }

/* This thread gets a signal each millisecond; every system call that waits is interrupted. */
static timer_t storm(void)
{
    struct sigaction a = { .sa_handler = nothing };
    struct sigevent e = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
    struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
    sigset_t set;
    timer_t t;
    e._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    EQ(sigaction(SIGALRM, &a, NULL), 0);
    EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    EQ(timer_create(CLOCK_MONOTONIC, &e, &t), 0);
    EQ(timer_settime(t, 0, &every, NULL), 0);
    return t;
}

static void *thread_waits(void *arg)
{
    struct box *b = arg;
    int64_t deadline;
    timer_t t = storm();
    EQ(b->call->wait(b, WEFT_NOW), -ETIMEDOUT);
    deadline = in_ms(5);
    EQ(b->call->wait(b, deadline), -ETIMEDOUT);
    TRUE(weft_now() >= deadline);
    EQ(weft_nosuspend(1), 0);
    EQ(b->call->wait(b, WEFT_FOREVER), -EDEADLK);
    EQ(weft_nosuspend(0), 1);
    deadline = weft_deadline(in_ms(3));
    EQ(b->call->wait(b, WEFT_FOREVER), -ETIMEDOUT);
    weft_deadline_restore(deadline);
    b->result = waits(b);
    EQ(timer_delete(t), 0);
    return NULL;
}

/* The same answers as in a fiber, and never -EINTR. */
static void outside(const struct call *call)
{
    struct box *b = fresh(call);
    pthread_t t;
    thread_start(&t, thread_waits, b);
    UNTIL(atomic_load(&b->begun));
    OK(weft_sleep(in_ms(5)));
    TRUE(!atomic_load(&b->ended));
    serve(b);
    thread_join(t);
    TRUE(b->result >= 0);
    if (call->traits & CONSUMES)
        EQ(call->wait(b, WEFT_NOW), -ETIMEDOUT);
    finish(b);
}

static void *thread_at_once(void *arg)
{
    struct box *b = arg;
    timer_t t = storm();
    b->result = b->call->wait(b, WEFT_FOREVER);
    EQ(timer_delete(t), 0);
    return NULL;
}

static void outside_at_once(const struct call *call)
{
    struct box *b = fresh(call);
    pthread_t t;
    call->allow(b);
    thread_start(&t, thread_at_once, b);
    thread_join(t);
    TRUE(b->result >= 0);
    finish(b);
}

/* In fibers, while signals hit the process. */
static void signal_storm(const struct call *call)
{
    struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
    struct sigaction a = { .sa_handler = nothing };
    struct box *b = fresh(call);
    int64_t deadline;
    EQ(sigaction(SIGALRM, &a, NULL), 0);
    EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
    deadline = in_ms(10);
    EQ(call->wait(b, deadline), -ETIMEDOUT);
    TRUE(weft_now() >= deadline);
    if (call->traits & NEVER_AT_ONCE) {
        works_on(b);
    } else {
        call->allow(b);
        TRUE(call->wait(b, WEFT_FOREVER) >= 0);
        finish(b);
    }
    EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
}

/* ---- cells --------------------------------------------------------------------------------------------------------------- */

static const struct call *cell_call;
static void (*cell_event)(const struct call *call);

static int64_t cell_main(void *arg)
{
    (void)arg;
    cell_event(cell_call);
    return 0;
}

static void cell(const struct call *call, void (*event)(const struct call *call))
{
    cell_call = call;
    cell_event = event;
    for (unsigned w = 1; w <= 8; w *= 2) {
        struct weft_opts o = { .workers = w, .blocking_threads = 1 };
        EQ(weft_run(cell_main, NULL, &o), 0);
        for (struct box *b; (b = boxes) != NULL; free(b))
            boxes = b->next;
        if (getenv("WEFT_WORKERS"))
            return;
    }
}

#define CELL(call, event) Test(call, event, .timeout = 30) { cell(&call, event); }

#define COLUMNS(call) \
    TestSuite(call); \
    CELL(call, cancelled_before) CELL(call, cancelled_while_waiting) CELL(call, deadline_before) \
    CELL(call, deadline_while_waiting) CELL(call, ambient_deadline) CELL(call, nosuspend) CELL(call, timer_callback) \
    CELL(call, forked_child) CELL(call, signal_storm)
#define COLUMN_AT_ONCE(call) CELL(call, at_once)
#define COLUMNS_EVENT(call) CELL(call, event_while_waiting) CELL(call, shielded)
#define COLUMN_TIME(call) CELL(call, shielded_alone)
#define COLUMN_CLOSED(call) CELL(call, closed_while_waiting)
#define COLUMN_OUTSIDE(call) CELL(call, outside)
#define COLUMN_OUTSIDE_AT_ONCE(call) CELL(call, outside_at_once)

#endif
