/* SPDX-License-Identifier: MIT */
/* The blocking pool: how many at one time, in which order, what withdraws a job and what does not, and that its threads go. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"
#include "tests/wires.h"

enum { THREADS = 3, JOBS = 40 };

static atomic_int now_running, most, ran, gate, order_at, ticks, stop;
static int order[JOBS];

static void run_pool(weft_fn fn)
{
    for (unsigned w = 1; w <= 8; w *= 2) {
        struct weft_opts o = { .workers = w, .blocking_threads = THREADS };
        atomic_store(&now_running, 0);
        atomic_store(&most, 0);
        atomic_store(&ran, 0);
        atomic_store(&gate, 0);
        atomic_store(&order_at, 0);
        atomic_store(&ticks, 0);
        atomic_store(&stop, 0);
        EQ(weft_run(fn, NULL, &o), 0);
        if (getenv("WEFT_WORKERS"))
            return;
    }
}

static int threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = -2;
    TRUE(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void nap(int ms)
{
    struct timespec t = { 0, ms * 1000000L };
    while (nanosleep(&t, &t))
        continue;
}

static int64_t job(void *arg)
{
    int n = atomic_fetch_add(&now_running, 1) + 1, m = atomic_load(&most);
    while (n > m && !atomic_compare_exchange_weak(&most, &m, n))
        continue;
    EQ(weft_self(), 0);                         /* not in a fiber */
    nap(5);
    atomic_fetch_sub(&now_running, 1);
    atomic_fetch_add(&ran, 1);
    return (int64_t)(intptr_t)arg * 3 - 50;
}

static int64_t asks(void *arg)
{
    int64_t r = 1;
    EQ(weft_blocking(job, arg, &r, WEFT_FOREVER), 0);
    EQ(r, (int64_t)(intptr_t)arg * 3 - 50);
    OK(weft_blocking(job, arg, NULL, WEFT_FOREVER));
    return 0;
}

static int64_t ticker(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        settle(1);
        atomic_fetch_add(&ticks, 1);
    }
    return 0;
}

static int64_t limited(void *arg)
{
    weft_t t[JOBS], k = spawned(ticker, NULL);
    (void)arg;
    for (int i = 0; i < JOBS; i++)
        t[i] = spawned(asks, (void *)(intptr_t)i);
    for (int i = 0; i < JOBS; i++)
        EQ(joined(t[i]), 0);
    EQ(atomic_load(&ran), 2 * JOBS);
    EQ(atomic_load(&most), THREADS);
    TRUE(atomic_load(&ticks) > 5);              /* 130 ms at least */
    atomic_store(&stop, 1);
    EQ(joined(k), 0);
    return 0;
}

Test(pool, limit_and_results) { run_pool(limited); }

/* ---- held up: every thread is at the gate -------------------------------------------------------------------------------- */

static int64_t at_gate(void *arg)
{
    (void)arg;
    atomic_fetch_add(&now_running, 1);
    while (!atomic_load(&gate))
        nap(1);
    atomic_fetch_sub(&now_running, 1);
    return 77;
}

static int64_t asks_gate(void *arg)
{
    int64_t r = 0;
    (void)arg;
    EQ(weft_blocking(at_gate, NULL, &r, WEFT_FOREVER), 0);
    return r;
}

static void hold(weft_t t[THREADS])
{
    atomic_store(&gate, 0);
    for (int i = 0; i < THREADS; i++)
        t[i] = spawned(asks_gate, NULL);
    UNTIL(atomic_load(&now_running) == THREADS);
}

static void let_go(weft_t t[THREADS])
{
    atomic_store(&gate, 1);
    for (int i = 0; i < THREADS; i++)
        EQ(joined(t[i]), 77);
}

static int64_t notes(void *arg)
{
    order[atomic_fetch_add(&order_at, 1)] = (int)(intptr_t)arg;
    return 0;
}

static int64_t asks_note(void *arg) { return weft_blocking(notes, arg, NULL, WEFT_FOREVER); }

static int64_t queue(void *arg)
{
    weft_t held[THREADS], t[JOBS];
    int64_t due, r = 5;
    (void)arg;
    hold(held);
    EQ(weft_blocking(notes, NULL, &r, WEFT_NOW), -ETIMEDOUT);
    due = in_ms(10);
    EQ(weft_blocking(notes, NULL, &r, due), -ETIMEDOUT);        /* not begun: withdrawn */
    TRUE(weft_now() >= due);
    EQ(r, 5);
    for (int i = 0; i < JOBS; i++) {
        t[i] = spawned(asks_note, (void *)(intptr_t)i);
        settle(1);
    }
    for (int i = 0; i < JOBS; i += 4) {
        OK(weft_cancel(t[i]));
        EQ(joined(t[i]), -ECANCELED);
    }
    EQ(atomic_load(&order_at), 0);
    let_go(held);
    for (int i = 0; i < JOBS; i++)
        if (i % 4)
            EQ(joined(t[i]), 0);
    EQ(atomic_load(&order_at), JOBS - JOBS / 4);                /* the withdrawn ones did not run */
    for (int i = 0; i < JOBS; i++)
        TRUE(!i || i >= atomic_load(&order_at) || order[i] % 4);
    return 0;
}

Test(pool, first_come_and_withdrawn) { run_pool(queue); }

static int64_t begun(void *arg)
{
    weft_t held[THREADS];
    int64_t r = 0;
    (void)arg;
    hold(held);
    for (int i = 0; i < THREADS; i++)
        OK(weft_cancel(held[i]));               /* begun: waited for, and its result counts */
    for (int i = 0; i < THREADS; i++)
        EQ(weft_join(held[i], &r, in_ms(5)), -ETIMEDOUT);
    let_go(held);
    return 0;
}

Test(pool, begun_is_waited_for) { run_pool(begun); }

static int64_t slow(void *arg)
{
    nap(30);
    return (intptr_t)arg;
}

static int64_t late(void *arg)
{
    int64_t r = 0, due = in_ms(5);
    (void)arg;
    EQ(weft_blocking(slow, (void *)(intptr_t)9, &r, due), 0);   /* its thread is there, so it begins at once */
    EQ(r, 9);
    TRUE(weft_now() > due);
    return 0;
}

Test(pool, late_is_good) { run_with(2, late); }

static int64_t waits_cancelled(void *arg)
{
    (void)arg;
    while (!weft_cancelled())
        (void)weft_yield();
    EQ(weft_blocking(notes, NULL, NULL, WEFT_FOREVER), -ECANCELED);
    EQ(weft_open("/dev/null", O_RDONLY, 0, WEFT_FOREVER), -ECANCELED);
    (void)weft_shield(1);
    OK(weft_blocking(notes, NULL, NULL, WEFT_FOREVER));
    (void)weft_shield(0);
    return 0;
}

static int64_t refused(void *arg)
{
    weft_t t = spawned(waits_cancelled, NULL);
    int64_t before;
    (void)arg;
    OK(weft_cancel(t));
    EQ(joined(t), 0);
    EQ(atomic_load(&order_at), 1);
    (void)weft_nosuspend(1);
    EQ(weft_blocking(notes, NULL, NULL, WEFT_FOREVER), -EDEADLK);
    (void)weft_nosuspend(0);
    before = weft_deadline(WEFT_NOW);
    EQ(weft_blocking(notes, NULL, NULL, WEFT_FOREVER), -ETIMEDOUT);
    weft_deadline_restore(before);
    EQ(atomic_load(&order_at), 1);
    return 0;
}

Test(pool, refused) { run_pool(refused); }

Test(pool, outside)
{
    int64_t r = 0;
    int before = threads();
    OK(weft_blocking(slow, (void *)(intptr_t)4, &r, WEFT_NOW));
    EQ(r, 4);
    EQ(threads(), before);
}

static int64_t no_threads_left(void *arg)
{
    weft_t t[THREADS];
    int before = threads();
    (void)arg;
    hold(t);
    EQ(threads(), before + THREADS);
    let_go(t);
    return 0;
}

Test(pool, on_demand_and_gone_after_the_stop)
{
    int before = threads();
    run_pool(no_threads_left);
    EQ(threads(), before);
}

static int64_t idle_ends(void *arg)
{
    int before = threads();
    weft_t t[THREADS];
    (void)arg;
    hold(t);
    let_go(t);
    for (int i = 0; i < 70; i++) {              /* one job now and then: one thread does them all */
        OK(weft_blocking(notes, NULL, NULL, WEFT_FOREVER));
        atomic_store(&order_at, 0);
        settle(100);
    }
    EQ(threads(), before + 1);
    return 0;
}

Test(pool, idle_ones_end)
{
    struct weft_opts o = { .workers = 2, .blocking_threads = THREADS };
    EQ(weft_run(idle_ends, NULL, &o), 0);
}
