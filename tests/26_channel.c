/* SPDX-License-Identifier: MIT */
/* Channels: values of every size arrive once and in order, waiters are served in order, close, memory, and what a select needs. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "runtime/channel.h"
#include "sched/mem.h"
#include "tests/fibers.h"

TestSuite(channel, .timeout = 60);

static weft_chan *c;
static atomic_int arrived, passed;

static void opened(size_t elem, size_t capacity)
{
    OK(weft_chan_open(&c, elem, capacity));
    atomic_store(&arrived, 0);
    atomic_store(&passed, 0);
}

static const size_t capacities[] = { 0, 1, 2, 7, 64, WEFT_UNBOUNDED };
enum { CAPACITIES = sizeof capacities / sizeof capacities[0] };

/* ---- rules --------------------------------------------------------------------------------------------------------------- */

static int64_t rules(void *arg)
{
    int64_t v = 5;
    (void)arg;
    EQ(weft_chan_open(&c, SIZE_MAX, 1), -EINVAL);
    EQ(weft_chan_open(&c, SIZE_MAX / 2, 4), -EINVAL);
    EQ(weft_chan_open(&c, 8, SIZE_MAX - 1), -EINVAL);
    EQ(weft_chan_open(&c, SIZE_MAX / 2, WEFT_UNBOUNDED), -EINVAL);
    EQ(weft_chan_open(NULL, 8, 1), -EINVAL);
    store_relaxed32(&mem_fail_after, 1);
    EQ(weft_chan_open(&c, 8, 1), -ENOMEM);
    EQ(weft_chan_send(NULL, &v, WEFT_NOW), -EINVAL);
    EQ(weft_chan_recv(NULL, &v, WEFT_NOW), -EINVAL);
    EQ(weft_chan_close(NULL), -EINVAL);
    EQ(weft_chan_len(NULL), 0);
    weft_chan_unref(NULL);
    OK(weft_chan_open(&c, 0, SIZE_MAX - 1));    /* nothing to store: any capacity will do */
    OK(weft_chan_send(c, NULL, WEFT_NOW));
    OK(weft_chan_recv(c, NULL, WEFT_NOW));
    weft_chan_unref(c);
    opened(8, 2);
    EQ(weft_chan_send(c, NULL, WEFT_NOW), -EINVAL);
    OK(weft_chan_send(c, &v, WEFT_NOW));
    v = 6;
    OK(weft_chan_send(c, &v, WEFT_NOW));
    EQ(weft_chan_send(c, &v, WEFT_NOW), -ETIMEDOUT);
    OK(weft_chan_recv(c, NULL, WEFT_NOW));      /* 5 is dropped */
    OK(weft_chan_close(c));
    EQ(weft_chan_close(c), -EALREADY);
    EQ(weft_chan_send(c, &v, WEFT_FOREVER), -EPIPE);
    v = 0;
    OK(weft_chan_recv(c, &v, WEFT_FOREVER));
    EQ(v, 6);
    EQ(weft_chan_recv(c, &v, WEFT_FOREVER), -EPIPE);
    EQ(v, 6);
    TRUE(weft_chan_ref(c) == c);
    weft_chan_unref(c);
    EQ(weft_chan_close(c), -EALREADY);          /* still there */
    weft_chan_unref(c);
    return 0;
}

Test(channel, rules) { run_each(rules); }
Test(channel, rules_outside) { OK(rules(NULL)); }

static int64_t no_switch(void *arg)
{
    uint64_t before;
    int64_t v = 0;
    (void)arg;
    for (int k = 1; k < CAPACITIES; k++) {
        opened(8, capacities[k]);
        before = switches();
        for (int i = 0; i < 1000; i++) {
            OK(weft_chan_send(c, &v, WEFT_FOREVER));
            OK(weft_chan_recv(c, &v, WEFT_FOREVER));
        }
        EQ(switches(), before);
        weft_chan_unref(c);
    }
    return 0;
}

Test(channel, buffered_needs_no_switch) { run_with(1, no_switch); }

/* ---- values of every size ------------------------------------------------------------------------------------------------ */

static size_t elem;
enum { VALUES = 40 };

static void fill(unsigned char *p, size_t n, uint64_t salt)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(salt * 31 + i * 7 + (i >> 8));
}

static int64_t sends_sizes(void *arg)
{
    unsigned char *p = malloc(elem + 1);
    (void)arg;
    for (uint64_t i = 0; i < VALUES; i++) {
        fill(p, elem, i);
        OK(weft_chan_send(c, p, WEFT_FOREVER));
        memset(p, 0xdd, elem);                  /* it is the sender's own again */
    }
    free(p);
    return 0;
}

static int64_t sizes(void *arg)
{
    static const size_t of[] = { 0, 1, 3, 4, 7, 8, 9, 16, 63, 64, 65, 100, 1000, 4095, 4096, 4097, 70001 };
    (void)arg;
    for (size_t k = 0; k < sizeof of / sizeof of[0]; k++)
        for (int j = 0; j < CAPACITIES; j++) {
            unsigned char *p, *want;
            weft_t id;
            elem = of[k];
            p = malloc(elem + 16);
            want = malloc(elem + 1);
            opened(elem, capacities[j]);
            id = spawned(sends_sizes, NULL);
            for (uint64_t i = 0; i < VALUES; i++) {
                memset(p, 0xee, elem + 16);
                OK(weft_chan_recv(c, p + 8, WEFT_FOREVER));
                fill(want, elem, i);
                OK(memcmp(p + 8, want, elem));
                for (int b = 0; b < 8; b++)     /* not a byte more */
                    TRUE(p[b] == 0xee && p[8 + elem + b] == 0xee);
            }
            joined(id);
            EQ(weft_chan_len(c), 0);
            weft_chan_unref(c);
            free(p);
            free(want);
        }
    return 0;
}

Test(channel, sizes) { run_each(sizes); }

/* ---- order --------------------------------------------------------------------------------------------------------------- */

static int64_t sends_ticket(void *arg)
{
    int64_t v = atomic_fetch_add(&arrived, 1);
    (void)arg;
    OK(weft_chan_send(c, &v, WEFT_FOREVER));
    return 0;
}

static int64_t recvs_ticket(void *arg)
{
    int64_t ticket = atomic_fetch_add(&arrived, 1), v = -1;
    (void)arg;
    OK(weft_chan_recv(c, &v, WEFT_FOREVER));
    EQ(v, ticket);
    return 0;
}

static int64_t waiters_in_order(void *arg)
{
    weft_t id[64];
    (void)arg;
    for (int k = 0; k < 4; k++) {
        int64_t v;
        opened(8, capacities[k]);
        for (int i = 0; i < 64; i++)
            id[i] = spawned(sends_ticket, NULL);
        UNTIL(atomic_load(&arrived) == 64);
        EQ(weft_chan_len(c), capacities[k]);
        for (int i = 0; i < 64; i++) {
            EQ(weft_chan_len(c), capacities[k] < (size_t)(64 - i) ? capacities[k] : (size_t)(64 - i));
            OK(weft_chan_recv(c, &v, WEFT_NOW));
            EQ(v, i);
        }
        for (int i = 0; i < 64; i++)
            joined(id[i]);
        atomic_store(&arrived, 0);
        for (int i = 0; i < 64; i++)
            id[i] = spawned(recvs_ticket, NULL);
        UNTIL(atomic_load(&arrived) == 64);
        for (v = 0; v < 64; v++)
            OK(weft_chan_send(c, &v, WEFT_NOW));        /* straight to the receivers: all fit */
        EQ(weft_chan_len(c), 0);
        for (int i = 0; i < 64; i++)
            joined(id[i]);
        weft_chan_unref(c);
    }
    return 0;
}

Test(channel, waiters_in_order) { run_with(1, waiters_in_order); }

/* A waiter in the middle goes: the others keep their order. */
static int64_t sends_ticket_or_not(void *arg)
{
    int64_t v = atomic_fetch_add(&arrived, 1);
    (void)arg;
    return weft_chan_send(c, &v, WEFT_FOREVER);
}

static int64_t gap(void *arg)
{
    weft_t id[5];
    int64_t v = -1;
    (void)arg;
    opened(8, 0);
    for (int i = 0; i < 5; i++) {
        id[i] = spawned(sends_ticket_or_not, NULL);
        UNTIL(atomic_load(&arrived) == i + 1);
    }
    for (int i = 1; i < 5; i += 2) {
        OK(weft_cancel(id[i]));
        EQ(joined(id[i]), -ECANCELED);
    }
    for (int i = 0; i < 5; i += 2) {
        OK(weft_chan_recv(c, &v, WEFT_NOW));
        EQ(v, i);
        OK(joined(id[i]));
    }
    EQ(weft_chan_recv(c, &v, WEFT_NOW), -ETIMEDOUT);
    weft_chan_unref(c);
    return 0;
}

Test(channel, waiters_leave_the_middle) { run_with(1, gap); }

enum { SENDERS = 5, RECEIVERS = 4, EACH = 3000 };

static int64_t sends_counted(void *arg)
{
    for (int64_t i = 0; i < EACH; i++) {
        int64_t v = (int64_t)(intptr_t)arg * EACH + i;
        OK(weft_chan_send(c, &v, WEFT_FOREVER));
    }
    return 0;
}

static int64_t recvs_rising(void *arg)          /* each receiver sees each sender's values rise */
{
    int64_t last[SENDERS + 1], v, n = 0;
    int r;
    (void)arg;
    for (int i = 0; i <= SENDERS; i++)
        last[i] = -1;
    while ((r = weft_chan_recv(c, &v, WEFT_FOREVER)) == 0) {
        TRUE(v % EACH > last[v / EACH]);
        last[v / EACH] = v % EACH;
        n++;
    }
    EQ(r, -EPIPE);
    return n;
}

static void *sends_in_thread(void *arg) { sends_counted(arg); return NULL; }

static int64_t many(void *arg)
{
    (void)arg;
    for (int k = 0; k < CAPACITIES; k++) {
        weft_t s[SENDERS], r[RECEIVERS];
        pthread_t t;
        int64_t got = 0;
        opened(8, capacities[k]);
        for (int i = 0; i < RECEIVERS; i++)
            r[i] = spawned(recvs_rising, NULL);
        for (int i = 0; i < SENDERS; i++)
            s[i] = spawned(sends_counted, (void *)(intptr_t)i);
        thread_start(&t, sends_in_thread, (void *)(intptr_t)SENDERS);
        for (int i = 0; i < SENDERS; i++)
            joined(s[i]);
        thread_join(t);
        OK(weft_chan_close(c));
        for (int i = 0; i < RECEIVERS; i++)
            got += joined(r[i]);
        EQ(got, (SENDERS + 1) * EACH);
        weft_chan_unref(c);
    }
    return 0;
}

Test(channel, many_to_many) { run_each(many); }

/* ---- unbounded: memory --------------------------------------------------------------------------------------------------- */

static int64_t unbounded(void *arg)
{
    enum { MANY = 5000 };
    struct { int64_t v; char more[92]; } x = { 0 };
    (void)arg;
    opened(sizeof x, WEFT_UNBOUNDED);
    for (int round = 0; round < 3; round++) {
        for (x.v = 0; x.v < MANY; x.v++)
            OK(weft_chan_send(c, &x, WEFT_NOW));
        EQ(weft_chan_len(c), MANY);
        for (int64_t i = 0; i < MANY; i++) {
            OK(weft_chan_recv(c, &x, WEFT_NOW));
            EQ(x.v, i);
        }
        EQ(weft_chan_recv(c, &x, WEFT_NOW), -ETIMEDOUT);
    }
    /* a queue that moves on without growing needs no memory */
    x.v = 1;
    OK(weft_chan_send(c, &x, WEFT_NOW));
    store_relaxed32(&mem_fail_after, 1);
    for (int i = 0; i < MANY; i++) {
        OK(weft_chan_send(c, &x, WEFT_NOW));
        OK(weft_chan_recv(c, &x, WEFT_NOW));
    }
    EQ(load_relaxed32(&mem_fail_after), 1);
    /* one that grows does, says so, and nothing was sent */
    for (int i = 0; ; i++) {
        int r = weft_chan_send(c, &x, WEFT_NOW);
        if (r == -ENOMEM) {
            EQ(weft_chan_len(c), i + 1);
            break;
        }
        OK(r);
        TRUE(i < MANY);
    }
    OK(weft_chan_send(c, &x, WEFT_NOW));
    weft_chan_unref(c);                         /* with values in it */
    return 0;
}

Test(channel, unbounded) { run_each(unbounded); }

/* ---- close --------------------------------------------------------------------------------------------------------------- */

static int64_t recvs_none(void *arg)
{
    int64_t v = 77;
    int r;
    (void)arg;
    atomic_fetch_add(&arrived, 1);
    r = weft_chan_recv(c, &v, WEFT_FOREVER);
    EQ(v, 77);
    return r;
}

static int64_t sends_one(void *arg)
{
    int64_t v = 1000;
    (void)arg;
    atomic_fetch_add(&arrived, 1);
    return weft_chan_send(c, &v, WEFT_FOREVER);
}

static int64_t closes(void *arg)
{
    (void)arg;
    for (int k = 0; k < 4; k++)
        for (int sending = 0; sending < 2; sending++) {
            weft_t id[30];
            int64_t v;
            opened(8, capacities[k]);
            for (v = 0; sending && v < (int64_t)capacities[k]; v++)
                OK(weft_chan_send(c, &v, WEFT_NOW));
            for (int i = 0; i < 30; i++)
                id[i] = spawned(sending ? sends_one : recvs_none, NULL);
            UNTIL(atomic_load(&arrived) == 30);
            OK(weft_chan_close(c));
            for (int i = 0; i < 30; i++)
                EQ(joined(id[i]), -EPIPE);
            for (int64_t i = 0; sending && i < (int64_t)capacities[k]; i++) {
                OK(weft_chan_recv(c, &v, WEFT_FOREVER));
                EQ(v, i);
            }
            EQ(weft_chan_recv(c, &v, WEFT_FOREVER), -EPIPE);
            weft_chan_unref(c);
        }
    return 0;
}

Test(channel, close_wakes_everybody) { run_each(closes); }

/* ---- conservation -------------------------------------------------------------------------------------------------------- */

enum { PEOPLE = 8, NUMBERS = 4000 };
static _Atomic unsigned char sent[NUMBERS], received[NUMBERS];
static atomic_int next_number;

static int64_t draw_deadline(uint64_t *random)
{
    return random_below(random, 3) ? WEFT_FOREVER : weft_after((int64_t)random_below(random, 30000));
}

static int64_t sends_numbers(void *arg)
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

static int64_t recvs_numbers(void *arg)
{
    uint64_t random = random_stream((uintptr_t)arg + 100000);
    for (;;) {
        int v = -1, r = weft_chan_recv(c, &v, draw_deadline(&random));
        TRUE(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EPIPE);
        if (r == 0)
            atomic_fetch_add(&received[v], 1);
        else
            EQ(v, -1);
        if (r < 0 && r != -ETIMEDOUT)
            return r;
    }
}

static int64_t conserves(void *arg)
{
    uint64_t random = random_stream(4);
    (void)arg;
    for (int k = 0; k < 2 * CAPACITIES; k++) {
        weft_t s[PEOPLE], r[PEOPLE];
        int close_at = k % 2 ? NUMBERS / 2 : NUMBERS, v;
        uintptr_t salt = 0;
        opened(sizeof v, capacities[k / 2]);
        memset(sent, 0, sizeof sent);
        memset(received, 0, sizeof received);
        atomic_store(&next_number, 0);
        for (int i = 0; i < PEOPLE; i++) {
            s[i] = spawned(sends_numbers, (void *)salt++);
            r[i] = spawned(recvs_numbers, (void *)salt++);
        }
        while (atomic_load(&next_number) < close_at) {
            int i = (int)random_below(&random, PEOPLE), sender = (int)random_below(&random, 2);
            weft_t *p = sender ? &s[i] : &r[i];
            OK(weft_cancel(*p));
            joined(*p);
            *p = spawned(sender ? sends_numbers : recvs_numbers, (void *)salt++);
            for (uint64_t n = random_below(&random, 4); n; n--)
                OK(weft_yield());
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

Test(channel, conservation) { seed_print(); run_each(conserves); }

/* ---- what a select will do: nodes of one fiber in two channels ----------------------------------------------------------- */

static weft_chan *two[2];
static _Atomic int64_t taken_sum, refused_sum;

/* Receive from whichever comes first; the index, the value in *value. They are locked in the order of their addresses. */
static int recv_either(int64_t *value)
{
    struct wait_node node[2];
    struct chan_rest rest = { 0 };
    struct fiber *self;
    uint32_t state[2];
    int r = waiting_enter(&self), done = -1;
    if (r < 0)
        return r;
    for (int i = 0; i < 2; i++)
        state[i] = word_lock(chan_word(two[i]));
    for (int i = 0; i < 2 && done < 0; i++)
        if (chan_try_recv(two[i], state[i], value, &rest) == 0)
            done = i;
    if (done < 0) {
        wait_open(self);
        for (int i = 0; i < 2; i++) {
            node[i] = (struct wait_node){ .fiber = self, .value = value, .result = CHAN_WAIT };
            wait_push(chan_receivers(two[i]), &node[i]);
        }
    }
    for (int i = 0; i < 2; i++)
        word_unlock(chan_word(two[i]), state[i]);
    chan_settle(&rest);
    if (done >= 0)
        return done;
    r = waiting_park(self, WEFT_FOREVER);
    for (int i = 0; i < 2; i++) {
        uint32_t now = word_lock(chan_word(two[i]));
        wait_remove(chan_receivers(two[i]), &node[i]);
        word_unlock(chan_word(two[i]), now);
    }
    if (r < 0)
        return r;
    TRUE((node[0].result == CHAN_WAIT) != (node[1].result == CHAN_WAIT));
    return node[1].result != CHAN_WAIT;
}

static int64_t sends_once(void *arg)
{
    weft_chan *to = two[(intptr_t)arg & 1];
    int64_t v = (intptr_t)arg;
    int r = weft_chan_send(to, &v, draw_deadline(&(uint64_t){ random_stream((uintptr_t)arg) }));
    TRUE(r == 0 || r == -ETIMEDOUT);
    if (r)
        atomic_fetch_add(&refused_sum, v);
    return r;
}

static int64_t selects(void *arg)
{
    (void)arg;
    for (;;) {
        int64_t v = -1;
        int r = recv_either(&v);
        if (r == -ECANCELED) {
            EQ(v, -1);
            return r;
        }
        EQ(v & 1, r);
        atomic_fetch_add(&taken_sum, v);
    }
}

static int64_t two_channels(void *arg)
{
    enum { ROUNDS = 3000 };
    static weft_t id[2 * ROUNDS];
    weft_t to[3];
    int64_t all = 0;
    (void)arg;
    OK(weft_chan_open(&two[0], 8, 0));
    OK(weft_chan_open(&two[1], 8, 0));
    if (two[1] < two[0]) {
        weft_chan *t = two[0];
        two[0] = two[1];
        two[1] = t;
    }
    atomic_store(&taken_sum, 0);
    atomic_store(&refused_sum, 0);
    for (int i = 0; i < 3; i++)
        to[i] = spawned(selects, NULL);
    for (intptr_t i = 0; i < 2 * ROUNDS; i++) {
        id[i] = spawned(sends_once, (void *)i);
        all += i;
        if (i % 50 == 49)
            OK(weft_yield());
    }
    for (int i = 0; i < 2 * ROUNDS; i++)
        joined(id[i]);
    for (int i = 0; i < 3; i++)
        OK(weft_cancel(to[i]));
    for (int i = 0; i < 3; i++)
        EQ(joined(to[i]), -ECANCELED);
    EQ(atomic_load(&taken_sum) + atomic_load(&refused_sum), all);
    weft_chan_unref(two[0]);
    weft_chan_unref(two[1]);
    return 0;
}

Test(channel, one_fiber_in_two) { seed_print(); run_each(two_channels); }

/* ---- freed at once ------------------------------------------------------------------------------------------------------- */

static int64_t recvs_and_frees(void *arg)
{
    int64_t v = 0;
    OK(weft_chan_recv(arg, &v, WEFT_FOREVER));
    EQ(v, 9);
    weft_chan_unref(arg);
    return 0;
}

static int64_t freed_at_once(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        int64_t v = 9;
        weft_t id;
        opened(8, capacities[i % CAPACITIES]);
        id = spawned(recvs_and_frees, c);
        for (int k = i / CAPACITIES % 3; k; k--)
            OK(weft_yield());
        OK(weft_chan_send(c, &v, WEFT_FOREVER));
        joined(id);
    }
    return 0;
}

Test(channel, freed_at_once) { run_each(freed_at_once); }
