/* SPDX-License-Identifier: MIT */
/*
 * sync_stress - the synchronisation rooms under threads, fibers, cancellations and deadlines, as the sanitizers see them
 *
 * Freed at once: a waiter frees the object the moment its wait has returned; the other side may not touch it any more.
 * Conservation:
 * senders and receivers are cancelled and time out at random; what was sent is what was received and what is left. Exclusion: a
 * plain counter under the mutex, by fibers of two runtimes and by threads, with deadlines.
 * Sizes shrink under TSan, where a fiber is dear. A failure prints a seed; WEFT_SEED takes it back.
 */
#define FAIL(...) do { \
        fprintf(stderr, __VA_ARGS__); \
        printf("\n%d passed, 1 failed\n", passed); \
        fflush(stdout); \
        _exit(1); \
    } while (0)

static int passed;

#include "tests/fibers.h"

#if defined(__SANITIZE_THREAD__) || defined(WEFT_TSAN)
#define SLOW 20
#elif defined(__SANITIZE_ADDRESS__) || defined(WEFT_SHAKE) || defined(WEFT_TINY)
#define SLOW 4
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLOW 20
#endif
#endif
#ifndef SLOW
#define SLOW 1
#endif

static weft_rt *other;                          /* a second runtime */

static void pause_a_while(uint64_t *random)
{
    switch (random_below(random, 8)) {
    case 0: (void)weft_yield(); break;
    case 1: for (uint64_t n = random_below(random, 300); n; n--) __asm__ volatile("" ::: "memory"); break;
    case 2: (void)weft_yield(); (void)weft_yield(); break;
    default: break;
    }
}

/* ---- freed at once ------------------------------------------------------------------------------------------------------- */

enum kind { MUTEX, EVENT, SEM, WG, COND, RECV, SEND, RECV_BIG, KINDS };
enum { PAIRS = 6, BIG = 3000 };

struct object {
    enum kind kind;
    struct weft_mutex m;
    struct weft_cond c;
    struct weft_event e;
    struct weft_sem s;
    struct weft_wg w;
    weft_chan *chan;
    bool shared;                                /* the waker has a reference to chan */
    bool told;                                  /* under m */
    atomic_bool held;
};

struct pair {
    _Atomic(struct object *) slot;
    uint64_t random, random_other;
    int rounds;
    weft_t waiter, waker;
    pthread_t thread;
    bool as_thread;
    unsigned char big[BIG], got[BIG];
};

static struct object *take(struct pair *p)
{
    struct object *o;
    while (!(o = atomic_exchange(&p->slot, NULL)))
        (void)(p->as_thread ? sched_yield() : weft_yield());
    return o;
}

static void wake(struct pair *p, uint64_t *random)
{
    struct object *o = take(p);
    weft_chan *mine = o->shared ? o->chan : NULL;
    int64_t v = 5;
    switch (o->kind) {
    case MUTEX:
        OK(weft_mutex_lock(&o->m, WEFT_FOREVER));
        atomic_store(&o->held, true);
        pause_a_while(random);
        OK(weft_mutex_unlock(&o->m));
        return;
    case COND:
        OK(weft_mutex_lock(&o->m, WEFT_FOREVER));
        o->told = true;
        OK(weft_cond_signal(&o->c));
        OK(weft_mutex_unlock(&o->m));
        return;
    default: pause_a_while(random);
    }
    switch (o->kind) {
    case EVENT: OK(weft_event_set(&o->e)); break;
    case SEM: OK(weft_sem_post(&o->s)); break;
    case WG: OK(weft_wg_done(&o->w)); break;
    case RECV: OK(weft_chan_send(o->chan, &v, WEFT_FOREVER)); break;
    case RECV_BIG: OK(weft_chan_send(o->chan, p->big, WEFT_FOREVER)); break;
    case SEND:
        OK(weft_chan_recv(o->chan, &v, WEFT_FOREVER));
        EQ(v, 6);
        break;
    default: break;
    }
    weft_chan_unref(mine);                      /* either may be the last */
}

static void await(struct pair *p, enum kind kind)
{
    struct object *o = calloc(1, sizeof *o);
    int64_t v = 6;
    o->kind = kind;
    if (kind == WG)
        OK(weft_wg_add(&o->w, 1));
    if (kind == RECV || kind == SEND)
        OK(weft_chan_open(&o->chan, sizeof v, kind == RECV ? random_below(&p->random, 3) : 0));
    if (kind == RECV_BIG)
        OK(weft_chan_open(&o->chan, BIG, 0));
    o->shared = o->chan && weft_chan_ref(random_below(&p->random, 2) ? o->chan : NULL);
    if (kind == COND)
        OK(weft_mutex_lock(&o->m, WEFT_FOREVER));
    atomic_store(&p->slot, o);
    pause_a_while(&p->random);
    switch (kind) {
    case MUTEX:
        while (!atomic_load(&o->held))
            (void)weft_yield();
        OK(weft_mutex_lock(&o->m, WEFT_FOREVER));
        OK(weft_mutex_unlock(&o->m));
        break;
    case EVENT: OK(weft_event_wait(&o->e, WEFT_FOREVER)); break;
    case SEM: OK(weft_sem_wait(&o->s, WEFT_FOREVER)); break;
    case WG: OK(weft_wg_wait(&o->w, WEFT_FOREVER)); break;
    case COND:
        while (!o->told)
            OK(weft_cond_wait(&o->c, &o->m, WEFT_FOREVER));
        OK(weft_mutex_unlock(&o->m));
        OK(weft_mutex_lock(&o->m, WEFT_FOREVER));       /* until the signaller has let go of it */
        OK(weft_mutex_unlock(&o->m));
        break;
    case RECV:
        OK(weft_chan_recv(o->chan, &v, WEFT_FOREVER));
        EQ(v, 5);
        break;
    case RECV_BIG:
        memset(p->got, 0, BIG);
        OK(weft_chan_recv(o->chan, p->got, WEFT_FOREVER));
        OK(memcmp(p->got, p->big, BIG));
        break;
    case SEND: OK(weft_chan_send(o->chan, &v, WEFT_FOREVER)); break;
    default: break;
    }
    weft_chan_unref(o->chan);
    memset(o, 0xa5, sizeof *o);
    free(o);
}

static int64_t waiter(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < p->rounds; i++)
        await(p, (enum kind)random_below(&p->random, KINDS));
    return 0;
}

static int64_t waker(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < p->rounds; i++)
        wake(p, &p->random_other);
    return 0;
}

static void *waker_thread(void *arg) { waker(arg); return NULL; }

static int64_t freed_at_once(void *arg)
{
    static struct pair pairs[PAIRS];
    (void)arg;
    for (int i = 0; i < PAIRS; i++) {
        struct pair *p = &pairs[i];
        struct weft_attr elsewhere = { .runtime = other };
        p->random = random_stream(2 * (uint64_t)i);
        p->random_other = random_stream(2 * (uint64_t)i + 1);
        p->rounds = (i < 2 ? 2000 : 30000) / SLOW;
        p->as_thread = i == 0;                  /* this and the next hop between threads: each a system call */
        for (int k = 0; k < BIG; k++)
            p->big[k] = (unsigned char)(k * 7 + i);
        p->waiter = spawned(waiter, p);
        if (p->as_thread)
            thread_start(&p->thread, waker_thread, p);
        else
            TRUE((p->waker = i == 1 ? weft_spawn_attr(waker, p, &elsewhere) : weft_spawn(waker, p)) > 0);
    }
    for (int i = 0; i < PAIRS; i++) {
        joined(pairs[i].waiter);
        if (pairs[i].as_thread)
            thread_join(pairs[i].thread);
        else
            joined(pairs[i].waker);
    }
    return 0;
}

/* ---- conservation -------------------------------------------------------------------------------------------------------- */

enum { PEOPLE = 6, NUMBERS = 20000 / SLOW };
static weft_chan *c;
static _Atomic unsigned char sent[NUMBERS], received[NUMBERS];
static atomic_int next_number;

static int64_t draw_deadline(uint64_t *random)
{
    return random_below(random, 3) ? WEFT_FOREVER : weft_after((int64_t)random_below(random, 30000));
}

static int64_t sends(void *arg)
{
    uint64_t random = random_stream((uintptr_t)arg);
    for (;;) {
        int v = atomic_fetch_add(&next_number, 1), r;
        if (v >= NUMBERS)
            return 0;
        r = weft_chan_send(c, &v, draw_deadline(&random));
        TRUE(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EPIPE);
        if (r == 0)
            atomic_fetch_add(&sent[v], 1);
        else if (r != -ETIMEDOUT)
            return r;
    }
}

static int64_t receives(void *arg)
{
    uint64_t random = random_stream((uintptr_t)arg + 100000);
    for (;;) {
        int v = -1, r = weft_chan_recv(c, &v, draw_deadline(&random));
        TRUE(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EPIPE);
        EQ(v >= 0, r == 0);
        if (r == 0)
            atomic_fetch_add(&received[v], 1);
        else if (r != -ETIMEDOUT)
            return r;
    }
}

static void *receives_thread(void *arg) { receives(arg); return NULL; }

static int64_t conservation(void *arg)
{
    static const size_t capacities[] = { 0, 1, 5, WEFT_UNBOUNDED };
    uint64_t random = random_stream(77);
    (void)arg;
    for (int k = 0; k < 8; k++) {
        weft_t s[PEOPLE], r[PEOPLE];
        pthread_t t;
        int v, close_at = k % 2 ? NUMBERS / 2 : NUMBERS;
        uintptr_t salt = 0;
        OK(weft_chan_open(&c, sizeof v, capacities[k / 2]));
        memset((void *)sent, 0, sizeof sent);
        memset((void *)received, 0, sizeof received);
        atomic_store(&next_number, 0);
        thread_start(&t, receives_thread, (void *)(uintptr_t)12345);
        for (int i = 0; i < PEOPLE; i++) {
            s[i] = spawned(sends, (void *)salt++);
            r[i] = spawned(receives, (void *)salt++);
        }
        while (atomic_load(&next_number) < close_at) {
            int i = (int)random_below(&random, PEOPLE), sender = (int)random_below(&random, 2);
            weft_t *p = sender ? &s[i] : &r[i];
            OK(weft_cancel(*p));
            joined(*p);
            *p = spawned(sender ? sends : receives, (void *)salt++);
            OK(weft_sleep(weft_after((int64_t)random_below(&random, 200) * WEFT_USEC)));
        }
        if (k % 2 == 0)
            for (int i = 0; i < PEOPLE; i++)
                joined(s[i]);
        OK(weft_chan_close(c));
        if (k % 2)
            for (int i = 0; i < PEOPLE; i++)
                joined(s[i]);
        for (int i = 0; i < PEOPLE; i++)
            joined(r[i]);
        thread_join(t);
        while (weft_chan_recv(c, &v, WEFT_NOW) == 0)
            atomic_fetch_add(&received[v], 1);
        for (int i = 0; i < NUMBERS; i++) {
            TRUE(atomic_load(&sent[i]) <= 1);
            EQ(atomic_load(&received[i]), atomic_load(&sent[i]));
        }
        weft_chan_unref(c);
    }
    return 0;
}

/* ---- exclusion ----------------------------------------------------------------------------------------------------------- */

enum { FIBERS = 16, THREADS = 3, OTHERS = 4, ROUNDS = 6000 / SLOW };
static struct weft_mutex m;
static struct weft_cond even;
static int64_t counter, inside;                 /* under m */

static void adds(uint64_t salt)
{
    uint64_t random = random_stream(salt);
    for (int done = 0; done < ROUNDS;) {
        int r = weft_mutex_lock(&m, draw_deadline(&random));
        if (r == -ETIMEDOUT)
            continue;
        OK(r);
        EQ(inside, 0);
        inside = 1;
        counter++;
        done++;
        pause_a_while(&random);
        inside = 0;
        if (random_below(&random, 8) == 0) {
            r = weft_cond_wait(&even, &m, weft_after((int64_t)random_below(&random, 50000)));
            TRUE(r == 0 || r == -ETIMEDOUT);
            EQ(inside, 0);
        }
        if (random_below(&random, 4) == 0)
            OK(random_below(&random, 2) ? weft_cond_signal(&even) : weft_cond_broadcast(&even));
        OK(weft_mutex_unlock(&m));
    }
}

static int64_t adds_fiber(void *arg) { adds((uintptr_t)arg); return 0; }
static void *adds_thread(void *arg) { adds((uintptr_t)arg); return NULL; }

/* Waits for the mutex and is cancelled. */
static int64_t bystander(void *arg)
{
    int r = weft_mutex_lock(&m, WEFT_FOREVER);
    (void)arg;
    if (r == 0)
        OK(weft_mutex_unlock(&m));
    return r;
}

static int64_t exclusion(void *arg)
{
    struct weft_attr elsewhere = { .runtime = other };
    weft_t id[FIBERS + OTHERS];
    pthread_t t[THREADS];
    (void)arg;
    counter = 0;
    for (intptr_t i = 0; i < FIBERS + OTHERS; i++)
        TRUE((id[i] = i < FIBERS ? weft_spawn(adds_fiber, (void *)i) : weft_spawn_attr(adds_fiber, (void *)i, &elsewhere)) > 0);
    for (intptr_t i = 0; i < THREADS; i++)
        thread_start(&t[i], adds_thread, (void *)(1000 + i));
    for (int i = 0; i < 3000 / SLOW; i++) {
        weft_t b = spawned(bystander, NULL);
        int64_t r;
        OK(weft_yield());
        OK(weft_cancel(b));
        r = joined(b);
        TRUE(r == 0 || r == -ECANCELED);
    }
    for (int i = 0; i < FIBERS + OTHERS; i++)
        joined(id[i]);
    for (int i = 0; i < THREADS; i++)
        thread_join(t[i]);
    EQ(counter, (FIBERS + OTHERS + THREADS) * ROUNDS);
    TRUE(!m.waiters_.head && !even.waiters_.head);
    return 0;
}

/* -------------------------------------------------------------------------------------------------------------------------- */

int main(void)
{
    struct weft_opts two = { .workers = 2 };
    seed_print();
    OK(weft_start(&other, &two));
    two.workers = 4;
    OK(weft_run(freed_at_once, NULL, &two));
    passed++;
    OK(weft_run(conservation, NULL, &two));
    passed++;
    OK(weft_run(exclusion, NULL, &two));
    passed++;
    OK(weft_stop(other, WEFT_FOREVER));
    printf("%d passed, 0 failed\n", passed);
    return 0;
}
