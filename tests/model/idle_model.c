/* SPDX-License-Identifier: MIT */
/*
 * idle_model - who sleeps and who is woken, sched/idle.c itself, in all orders
 *
 * Workers run a loop with the steps of the scheduler's own (pick, search, park with a last look, pass the search on) over a few
 * shared places and an inbox each; producers fill the places. The eventfds are semaphores. In most tests a worker that has got
 * an item is gone, as if the item ran for ever: so a worker that comes back later makes good for no missed wake-up.
 *
 * Whatever happens: all items are taken (a lost wake-up leaves somebody waiting: a deadlock); every token is taken, and
 * never two lie at one worker; a call that says it woke somebody gave one token, every other call none; the counts are at no time
 * out of range, and at the end nobody is counted and no bit is set.
 * "At most half of the workers search" is advice, not a promise: idle_search reads before it adds, and the woken are searchers.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -DMODEL_LOCK_STEP=1 -I. -Itests tests/model/idle_model.c
 *            tests/model/{explorer,search,memo,views,lock,memory}.c sched/idle.c sched/injector.c -o idle_model
 * Mutants    the same with -DMUTANT_IDLE_x, run with --mutant; x = PRODUCER_FENCE PARKER_FENCE FOUND_FENCE RECHECK
 *            LAST_SEARCHER
 */
#include <string.h>

#include "model/explorer.h"
#include "sched/idle.h"
#include "sched/injector.h"

#define WORKERS 3
#define ITEMS 3
#define INBOX ITEMS             /* place[INBOX + w] is worker w's own */

static struct idle idle;
static atom32 place[ITEMS + WORKERS];           /* 1: an item lies there; its number is the place's */
static struct injector injector;                /* used instead of the places by some tests */
static struct fiber fibers[ITEMS];              /* that lie in it; index is the item */
static atom32 stopping;
static struct model_sem token[WORKERS];
static unsigned given, taken, told;             /* tokens; calls that said that they woke somebody */
static unsigned workers, items, done;           /* done: a bitmap */
static unsigned quota;                          /* items after which a worker is gone */
static bool by_injector;

void token_give(struct idle *i, unsigned worker);
void token_take(struct idle *i, unsigned worker);

void token_give(struct idle *i, unsigned worker)
{
    MODEL_ASSERT(i == &idle && worker < workers);
    MODEL_ASSERT(token[worker].count.v == 0);
    given++;
    model_sem_post(&token[worker]);
}

void token_take(struct idle *i, unsigned worker)
{
    MODEL_ASSERT(i == &idle && worker == model_self());
    model_sem_wait(&token[worker]);
    taken++;
}

static void counts_good(void)
{
    MODEL_ASSERT((uint32_t)idle.counts.v <= workers && idle.counts.v >> 32 <= workers);
}

/* ---- the loop, after sched's worker -------------------------------------------------------------------------------------- */

static void wake_one(void) { told += idle_wake_one(&idle); }

/* An item out of this place, or 0. */
static unsigned take(unsigned p)
{
    uint32_t one = 1;
    return load_relaxed32(&place[p]) && cas_acquire32(&place[p], &one, 0) ? p + 1 : 0;
}

static unsigned from_injector(void)
{
    struct chain c = { NULL, NULL, 0, NULL };
    if (!by_injector || !injector_length(&injector))
        return 0;
    injector_take(&injector, 1, &c);
    return c.head ? c.head->index + 1 : 0;
}

static unsigned search(void)
{
    unsigned item = from_injector();
    for (unsigned p = 0; p < items && !by_injector && !item; p++)
        item = take(p);
    return item;
}

static unsigned pick(unsigned w)
{
    unsigned item = take(INBOX + w);
    return item ? item : search();
}

static bool any_work(void)
{
    if (by_injector)
        return injector_length(&injector);
    for (unsigned p = 0; p < items; p++)
        if (load_relaxed32(&place[p]))
            return true;
    return false;
}

static bool look(void *arg)
{
    unsigned w = *(unsigned *)arg;
    return load_relaxed32(&place[INBOX + w]) || any_work() || load_acquire32(&stopping);
}

static unsigned found(unsigned item)
{
    if (idle_found(&idle) && any_work())
        wake_one();
    counts_good();
    return item;
}

static unsigned find_on(unsigned w, bool searching)
{
    unsigned item;
    while (!(searching && (item = search()) != 0)) {
        if (load_acquire32(&stopping) && !any_work() && !load_relaxed32(&place[INBOX + w])) {
            if (searching)
                (void)idle_found(&idle);
            return 0;
        }
        (void)idle_park(&idle, w, searching, look, &w);
        counts_good();
        searching = true;
        if ((item = pick(w)) != 0)
            break;
    }
    return found(item);
}

static unsigned find(unsigned w)
{
    bool searching = idle_search(&idle);
    counts_good();
    return find_on(w, searching);
}

static void got(unsigned item)
{
    unsigned number = item > INBOX ? item - 1 - INBOX : item - 1;       /* item w may lie in inbox w */
    MODEL_ASSERT(!(done & 1u << number));
    done |= 1u << number;
}

static void worker(void)
{
    unsigned w = model_self();
    for (unsigned n = 0, item; n < quota && ((item = pick(w)) != 0 || (item = find(w)) != 0); n++)
        got(item);
}

/* One that was asleep from the start. */
static void sleeper(void)
{
    unsigned w = model_self(), item;
    token_take(&idle, w);
    item = pick(w);
    got(item ? found(item) : find_on(w, true));
}

/* ---- producers ----------------------------------------------------------------------------------------------------------- */

static void put(unsigned item)
{
    if (by_injector) {
        struct chain c = { NULL, NULL, 0, NULL };
        chain_add(&c, &fibers[item]);
        injector_push(&injector, &c);
    } else {
        store_release32(&place[item], 1);
    }
    wake_one();
    counts_good();
}

/* Item w, which only worker w may run. */
static void send(unsigned w)
{
    store_release32(&place[INBOX + w], 1);
    told += idle_wake(&idle, w);
    counts_good();
}

static void put_0(void) { put(0); }
static void put_1(void) { put(1); }
static void put_0_1(void) { put(0); put(1); }
static void put_all(void) { put(0); put(1); put(2); }
static void send_0(void) { send(0); }
static void send_1(void) { send(1); }
static void send_0_1(void) { send(0); send(1); }

static void stop(void)
{
    store_release32(&stopping, 1);
    for (unsigned w = 0; w < workers; w++)
        told += idle_wake(&idle, w);
}

/* ---- tests --------------------------------------------------------------------------------------------------------------- */

static void begin(unsigned w, unsigned n, unsigned most)
{
    memset(&idle, 0, sizeof idle);
    memset(place, 0, sizeof place);
    memset(&injector, 0, sizeof injector);
    memset(token, 0, sizeof token);
    stopping.v = given = taken = told = done = 0;
    idle.workers = workers = w;
    items = n;
    quota = most;
    by_injector = false;
    model_name(&idle.counts, "counts");
    model_name(&idle.lock, "lock");
    model_name(&injector.length, "length");
    model_name(&stopping, "stopping");
    for (unsigned i = 0; i < ITEMS; i++) {
        fibers[i].index = i;
        model_name(&place[i], "place %u", i);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        model_name(&place[INBOX + i], "inbox %u", i);
        model_name(&token[i], "token %u", i);
    }
}

static void one_one(void) { begin(1, 1, 1); }
static void one_two(void) { begin(1, 2, 2); }
static void two_two(void) { begin(2, 2, 1); }

static void asleep(unsigned w)
{
    begin(w, w, 1);
    by_injector = true;
    idle.counts.v = w;
    idle.parked[0] = (1u << w) - 1;
}

static void two_asleep(void) { asleep(2); }
static void three_asleep(void) { asleep(3); }

static void two_none(void) { begin(2, 0, 1); }
static void injected(void) { begin(2, 2, 1); by_injector = true; }

static void end(void)
{
    MODEL_ASSERT(done == (1u << items) - 1);
    MODEL_ASSERT(given == taken && given == told);
    MODEL_ASSERT(idle.counts.v == 0);
    for (unsigned w = 0; w < workers; w++)
        MODEL_ASSERT(token[w].count.v == 0);
    for (unsigned i = 0; i < MAX_WORKERS / 64; i++)
        MODEL_ASSERT(idle.parked[i] == 0);
}

static const struct model_test tests[] = {
    { "one", one_one, { worker, put_0 }, end, NULL, 6, 0 },
    { "one-two-items", one_two, { worker, put_0_1 }, end, NULL, 4, 0 },
    { "one-two-producers", one_two, { worker, put_0, put_1 }, end, NULL, 3, 0 },
    { "two", two_two, { worker, worker, put_0_1 }, end, NULL, 2, 0 },
    { "two-producers", two_two, { worker, worker, put_0, put_1 }, end, NULL, 1, 0 },
    { "injected", injected, { worker, worker, put_0_1 }, end, NULL, 2, 0 },
    { "injected-producers", injected, { worker, worker, put_0, put_1 }, end, NULL, 1, 0 },
    { "two-asleep", two_asleep, { sleeper, sleeper, put_0, put_1 }, end, NULL, 3, 0 },
    { "three-asleep", three_asleep, { sleeper, sleeper, sleeper, put_all }, end, NULL, 2, 0 },
    { "pinned", one_two, { worker, send_0, put_1 }, end, NULL, 3, 0 },
    { "pinned-two", two_two, { worker, worker, send_0_1 }, end, NULL, 2, 0 },
    { "pinned-producers", two_two, { worker, worker, send_0, send_1 }, end, NULL, 2, 0 },
    { "stop", two_none, { worker, worker, stop }, end, NULL, 2, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
