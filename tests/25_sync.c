/* SPDX-License-Identifier: MIT */
/* Condition, semaphore, wait group, event: what wakes whom, in which order, and that nothing is lost or given twice. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"

TestSuite(cond, .timeout = 60);
TestSuite(sem, .timeout = 60);
TestSuite(wg, .timeout = 60);
TestSuite(event, .timeout = 60);

static struct weft_mutex m;
static struct weft_cond c;
static struct weft_sem s;
static struct weft_event e;
static struct weft_wg wg;
static atomic_int arrived, passed;
static int order[64];

static void begin(void)
{
    memset(&m, 0, sizeof m);
    memset(&c, 0, sizeof c);
    memset(&s, 0, sizeof s);
    memset(&e, 0, sizeof e);
    memset(&wg, 0, sizeof wg);
    atomic_store(&arrived, 0);
    atomic_store(&passed, 0);
}

/* ---- condition ----------------------------------------------------------------------------------------------------------- */

static int64_t cond_waits(void *arg)
{
    int ticket, r;
    OK(weft_mutex_lock(&m, WEFT_FOREVER));
    ticket = atomic_fetch_add(&arrived, 1);
    r = weft_cond_wait(&c, &m, arg ? *(int64_t *)arg : WEFT_FOREVER);
    if (r == 0)
        order[atomic_fetch_add(&passed, 1)] = ticket;
    OK(weft_mutex_unlock(&m));                  /* held again, whatever the answer */
    return r;
}

static int64_t cond_rules(void *arg)
{
    (void)arg;
    begin();
    EQ(weft_cond_wait(&c, &m, WEFT_FOREVER), -EPERM);
    OK(weft_cond_signal(&c));                   /* nobody waits: not stored */
    OK(weft_cond_broadcast(&c));
    OK(weft_mutex_lock(&m, WEFT_NOW));
    EQ(weft_cond_wait(&c, &m, WEFT_NOW), -ETIMEDOUT);
    EQ(weft_cond_wait(&c, &m, in_ms(2)), -ETIMEDOUT);
    EQ(c.word_, 0);
    OK(weft_mutex_unlock(&m));
    return 0;
}

Test(cond, rules) { run_each(cond_rules); }

static int64_t cond_order(void *arg)
{
    weft_t id[64];
    (void)arg;
    begin();
    for (int i = 0; i < 64; i++)
        id[i] = spawned(cond_waits, NULL);
    UNTIL(atomic_load(&arrived) == 64);
    for (int i = 0; i < 60; i++) {
        OK(weft_mutex_lock(&m, WEFT_FOREVER));  /* the last one to arrive has let go of it: it waits */
        OK(weft_cond_signal(&c));
        OK(weft_mutex_unlock(&m));
        UNTIL(atomic_load(&passed) >= i + 1);
        EQ(atomic_load(&passed), i + 1);
    }
    OK(weft_cond_broadcast(&c));
    for (int i = 0; i < 64; i++)
        OK(joined(id[i]));
    for (int i = 0; i < 60; i++)
        EQ(order[i], i);
    EQ(c.word_, 0);
    return 0;
}

Test(cond, signals_in_order) { run_each(cond_order); }

/* As many signals as waiters that will stay, the others are cancelled or time out at the same time: none is lost with them. */
static int64_t cond_conserves(void *arg)
{
    uint64_t random = random_stream(2);
    (void)arg;
    for (int round = 0; round < 300; round++) {
        weft_t id[12];
        int64_t soon = weft_after((int64_t)random_below(&random, 300) * WEFT_USEC);
        int good, signals = 1 + (int)random_below(&random, 4);
        begin();
        for (int i = 0; i < 12; i++)
            id[i] = spawned(cond_waits, i % 3 == 1 ? &soon : NULL);
        UNTIL(atomic_load(&arrived) == 12);
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        OK(weft_mutex_unlock(&m));
        for (int i = 0; i < signals; i++) {
            if (random_below(&random, 2))
                OK(weft_cancel(id[3 * random_below(&random, 4)]));
            OK(weft_cond_signal(&c));
        }
        if (random_below(&random, 2))
            OK(weft_sleep(soon));
        for (int i = 0; i < 12; i++)            /* four of them wait without a deadline and are never cancelled: */
            if (i % 3 != 2)                     /* enough for the signals that the others did not take */
                weft_cancel(id[i]);
        for (int i = 0; i < 12; i++)
            if (i % 3 != 2)
                joined(id[i]);
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        good = atomic_load(&passed);
        OK(weft_mutex_unlock(&m));
        UNTIL(atomic_load(&passed) == signals); /* a lost one would hang here */
        TRUE(good <= signals);
        for (int i = 2; i < 12; i += 3)
            weft_cancel(id[i]);
        for (int i = 2; i < 12; i += 3)
            joined(id[i]);
        EQ(atomic_load(&passed), signals);
        EQ(c.word_, 0);
        EQ(m.word_, 0);
    }
    return 0;
}

Test(cond, signals_are_not_lost) { seed_print(); run_each(cond_conserves); }

/* ---- a bounded buffer under condition variables, fibers and threads ------------------------------------------------------ */

enum { MAKERS = 6, EACH = 2000, ROOM = 4 };
static struct weft_cond not_empty, not_full;
static int stored, made, taken;

static int64_t maker(void *arg)
{
    (void)arg;
    for (int i = 0; i < EACH; i++) {
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        while (stored == ROOM)
            OK(weft_cond_wait(&not_full, &m, WEFT_FOREVER));
        stored++;
        made++;
        OK(weft_cond_signal(&not_empty));
        OK(weft_mutex_unlock(&m));
    }
    return 0;
}

static int64_t taker(void *arg)
{
    (void)arg;
    for (int i = 0; i < EACH; i++) {
        OK(weft_mutex_lock(&m, WEFT_FOREVER));
        while (stored == 0)
            OK(weft_cond_wait(&not_empty, &m, WEFT_FOREVER));
        stored--;
        taken++;
        OK(weft_mutex_unlock(&m));
        OK(weft_cond_signal(&not_full));        /* without the mutex */
    }
    return 0;
}

static void *taker_thread(void *arg) { taker(arg); return NULL; }

static int64_t bounded_buffer(void *arg)
{
    weft_t id[2 * MAKERS];
    pthread_t t;
    (void)arg;
    begin();
    stored = made = taken = 0;
    thread_start(&t, taker_thread, NULL);
    for (int i = 0; i < MAKERS; i++)
        id[i] = spawned(maker, NULL);
    for (int i = 1; i < MAKERS; i++)
        id[MAKERS + i] = spawned(taker, NULL);
    for (int i = 0; i < MAKERS; i++)
        joined(id[i]);
    for (int i = 1; i < MAKERS; i++)
        joined(id[MAKERS + i]);
    thread_join(t);
    EQ(made, MAKERS * EACH);
    EQ(taken, made);
    EQ(stored, 0);
    return 0;
}

Test(cond, bounded_buffer) { run_each(bounded_buffer); }

/* ---- semaphore ----------------------------------------------------------------------------------------------------------- */

static int64_t sem_waits(void *arg)
{
    int ticket = atomic_fetch_add(&arrived, 1);
    int r = weft_sem_wait(&s, arg ? *(int64_t *)arg : WEFT_FOREVER);
    if (r == 0)
        order[atomic_fetch_add(&passed, 1)] = ticket;
    return r;
}

static int64_t sem_order(void *arg)
{
    weft_t id[64];
    (void)arg;
    begin();
    for (int i = 0; i < 64; i++)
        id[i] = spawned(sem_waits, NULL);
    UNTIL(atomic_load(&arrived) == 64);
    for (int i = 0; i < 64; i++) {
        OK(weft_sem_post(&s));
        EQ(weft_sem_wait(&s, WEFT_NOW), -ETIMEDOUT);    /* the permit is given away: a newcomer cannot overtake */
        UNTIL(atomic_load(&passed) == i + 1);
    }
    for (int i = 0; i < 64; i++)
        OK(joined(id[i]));
    for (int i = 0; i < 64; i++)
        EQ(order[i], i);
    EQ(s.word_, 0);
    EQ(s.count_, 0);
    return 0;
}

Test(sem, first_come_first_served) { run_with(1, sem_order); }

static int64_t sem_rules(void *arg)
{
    uint64_t before;
    (void)arg;
    begin();
    OK(weft_sem_init(&s, UINT32_MAX));
    EQ(weft_sem_post(&s), -EOVERFLOW);
    OK(weft_sem_wait(&s, WEFT_NOW));
    OK(weft_sem_post(&s));
    OK(weft_sem_init(&s, 1));
    before = switches();
    for (int i = 0; i < 1000; i++) {
        OK(weft_sem_wait(&s, WEFT_FOREVER));
        OK(weft_sem_post(&s));
    }
    EQ(switches(), before);
    EQ(s.count_, 1);
    return 0;
}

Test(sem, rules) { run_with(1, sem_rules); }

static void *sem_thread(void *arg)
{
    int64_t soon = weft_after((int64_t)(intptr_t)arg * WEFT_USEC);
    int r = weft_sem_wait(&s, soon);
    TRUE(r == 0 || (r == -ETIMEDOUT && weft_now() >= soon));
    return (void *)(intptr_t)(r == 0);
}

/* Permits out = waits that answered 0, with cancellations, deadlines and a thread among them. */
static int64_t sem_conserves(void *arg)
{
    uint64_t random = random_stream(3);
    (void)arg;
    for (int round = 0; round < 300; round++) {
        int64_t soon = weft_after((int64_t)random_below(&random, 300) * WEFT_USEC);
        int good = 0, posts = (int)random_below(&random, 12), threads = round % 16 == 0, left = 0;
        weft_t id[12];
        pthread_t t;
        begin();
        for (int i = 0; i < 12; i++)
            id[i] = spawned(sem_waits, i % 3 ? &soon : NULL);
        if (threads)
            thread_start(&t, sem_thread, (void *)(intptr_t)random_below(&random, 300));
        for (int i = 0; i < posts; i++) {
            if (random_below(&random, 3) == 0)
                OK(weft_cancel(id[random_below(&random, 12)]));
            OK(weft_sem_post(&s));
            if (random_below(&random, 4) == 0)
                OK(weft_yield());
        }
        for (int i = 0; i < 12; i++)
            if (random_below(&random, 2))
                OK(weft_cancel(id[i]));
        if (round % 2)
            OK(weft_sleep(soon));
        for (int i = 0; i < 12; i++)
            weft_cancel(id[i]);
        for (int i = 0; i < 12; i++) {
            int64_t r = joined(id[i]);
            TRUE(r == 0 || r == -ECANCELED || r == -ETIMEDOUT);
            good += r == 0;
        }
        if (threads) {
            void *got;
            while (pthread_tryjoin_np(t, &got) == EBUSY)
                (void)weft_sleep(weft_after(200 * WEFT_USEC));
            good += (int)(intptr_t)got;
        }
        while (weft_sem_wait(&s, WEFT_NOW) == 0)
            left++;
        EQ(good + left, posts);
        EQ(s.word_, 0);
    }
    return 0;
}

Test(sem, permits_are_conserved) { seed_print(); run_each(sem_conserves); }

/* ---- wait group ---------------------------------------------------------------------------------------------------------- */

static int64_t wg_waits(void *arg)
{
    int r;
    atomic_fetch_add(&arrived, 1);
    r = weft_wg_wait(&wg, arg ? *(int64_t *)arg : WEFT_FOREVER);
    atomic_fetch_add(&passed, r == 0);
    return r;
}

static int64_t wg_rules(void *arg)
{
    int64_t soon = in_ms(5);
    weft_t id[10];
    (void)arg;
    begin();
    EQ(weft_wg_done(&wg), -EINVAL);
    OK(weft_wg_wait(&wg, WEFT_NOW));
    OK(weft_wg_add(&wg, 3));
    EQ(weft_wg_add(&wg, -4), -EINVAL);
    EQ(weft_wg_add(&wg, INT32_MIN), -EINVAL);
    OK(weft_wg_add(&wg, 0));
    EQ(weft_wg_wait(&wg, WEFT_NOW), -ETIMEDOUT);
    for (int i = 0; i < 10; i++)
        id[i] = spawned(wg_waits, i % 2 ? &soon : NULL);
    for (int i = 1; i < 10; i += 2)
        EQ(joined(id[i]), -ETIMEDOUT);
    OK(weft_wg_add(&wg, -2));
    EQ(atomic_load(&passed), 0);
    OK(weft_wg_done(&wg));
    for (int i = 0; i < 10; i += 2)
        OK(joined(id[i]));
    EQ(wg.word_, 0);
    for (int i = 0; i < 1000; i++)
        OK(weft_wg_add(&wg, INT32_MAX));
    for (int i = 0; i < 1000; i++)
        OK(weft_wg_add(&wg, -INT32_MAX));
    OK(weft_wg_wait(&wg, WEFT_NOW));
    return 0;
}

Test(wg, rules) { run_each(wg_rules); }

static int64_t plain;                           /* written by the members, read after the wait, without a lock */
static int64_t wg_member(void *arg)
{
    __atomic_fetch_add(&plain, (int64_t)(intptr_t)arg, __ATOMIC_RELAXED);
    OK(weft_wg_done(&wg));
    return 0;
}

static int64_t wg_rounds(void *arg)
{
    (void)arg;
    begin();
    for (int round = 0; round < 500; round++) {
        weft_t id[8];
        plain = 0;
        OK(weft_wg_add(&wg, 8));
        for (int i = 0; i < 8; i++)
            id[i] = spawned(wg_member, (void *)(intptr_t)(i + 1));
        OK(weft_wg_wait(&wg, WEFT_FOREVER));
        EQ(plain, 36);
        for (int i = 0; i < 8; i++)
            joined(id[i]);
    }
    return 0;
}

Test(wg, rounds) { run_each(wg_rounds); }

/* ---- event --------------------------------------------------------------------------------------------------------------- */

static int64_t event_waits(void *arg)
{
    int r;
    atomic_fetch_add(&arrived, 1);
    r = weft_event_wait(&e, arg ? *(int64_t *)arg : WEFT_FOREVER);
    atomic_fetch_add(&passed, r == 0);
    return r;
}

static int64_t event_rules(void *arg)
{
    int64_t soon = in_ms(4);
    weft_t id[20];
    uint64_t before;
    (void)arg;
    begin();
    EQ(weft_event_wait(&e, WEFT_NOW), -ETIMEDOUT);
    for (int i = 0; i < 20; i++)
        id[i] = spawned(event_waits, i % 4 == 3 ? &soon : NULL);
    for (int i = 3; i < 20; i += 4)
        EQ(joined(id[i]), -ETIMEDOUT);
    TRUE(weft_now() >= soon);
    OK(weft_cancel(id[0]));
    EQ(joined(id[0]), -ECANCELED);
    EQ(atomic_load(&passed), 0);
    OK(weft_event_set(&e));
    OK(weft_event_reset(&e));                   /* those that waited at the set have been let through all the same */
    for (int i = 1; i < 20; i++)
        if (i % 4 != 3)
            OK(joined(id[i]));
    EQ(atomic_load(&passed), 14);
    EQ(e.word_, 0);
    OK(weft_event_set(&e));
    OK(weft_event_set(&e));
    before = switches();
    for (int i = 0; i < 100; i++)
        OK(weft_event_wait(&e, i % 2 ? WEFT_NOW : WEFT_FOREVER));
    if (weft_workers(weft_current()) == 1)
        EQ(switches(), before);
    return 0;
}

Test(event, rules) { run_each(event_rules); }

/* ---- freed at once ------------------------------------------------------------------------------------------------------- */

struct all { struct weft_event e; struct weft_sem s; struct weft_wg w; };

static int64_t frees(void *arg)
{
    struct all **a = arg;
    OK(weft_event_wait(&a[0]->e, WEFT_FOREVER));
    memset(a[0], 0xa5, sizeof **a);
    free(a[0]);
    OK(weft_sem_wait(&a[1]->s, WEFT_FOREVER));
    memset(a[1], 0xa5, sizeof **a);
    free(a[1]);
    OK(weft_wg_wait(&a[2]->w, WEFT_FOREVER));
    memset(a[2], 0xa5, sizeof **a);
    free(a[2]);
    return 0;
}

static int64_t freed_at_once(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3000; i++) {
        struct all *a[3];
        weft_t id;
        for (int k = 0; k < 3; k++)
            a[k] = calloc(1, sizeof *a[k]);
        OK(weft_wg_add(&a[2]->w, 1));
        id = spawned(frees, a);
        for (int k = i % 3; k; k--)
            OK(weft_yield());
        OK(weft_event_set(&a[0]->e));
        for (int k = i / 3 % 3; k; k--)
            OK(weft_yield());
        OK(weft_sem_post(&a[1]->s));
        OK(weft_wg_done(&a[2]->w));
        joined(id);
    }
    return 0;
}

Test(event, freed_at_once) { run_each(freed_at_once); }
