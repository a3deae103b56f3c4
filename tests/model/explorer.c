/* SPDX-License-Identifier: MIT */
#include "model/explorer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "model/run.h"
#include "model/views.h"

#define STACK 65536
#define PRINTED 300             /* steps of a failure that are shown */

enum state { READY, RELAXING, SEM, FUTEX, FUTEX_TIMED, PREDICATE, ENDED };
static const char *const state_names[] = {
    "ready", "in cpu_relax", "in sem_wait", "in futex_wait", "in futex_wait", "in wait_until", "ended"
};

/* A coroutine. `base` is its trampoline's frame: jumping there starts it over, whatever it was doing. */
struct task {
    jmp_buf at, base;
    enum state state;
    uint64_t relax_mark;        /* stores of others when it last relaxed */
    int idle_laps;
    const void *wait;           /* semaphore or futex word */
    bool (*ready)(void *);
    void *ready_arg;
    uint64_t ticket;            /* futex waiters leave in order of arrival */
    bool woken;
    int priority;               /* PCT */
};

struct run run;

static struct task tasks[MODEL_THREADS + 1];    /* the last one is the main context: setup and check */
static struct task *const driver = &tasks[MODEL_THREADS];
static struct task *now = &tasks[MODEL_THREADS];
static char stacks[MODEL_THREADS][STACK] __attribute__((aligned(64)));
static uint64_t tickets;
static char arena[1 << 20] __attribute__((aligned(4096)));
static size_t arena_used;

uint64_t run_draw(void)
{
    run.rng ^= run.rng << 13;
    run.rng ^= run.rng >> 7;
    run.rng ^= run.rng << 17;
    return run.rng * 0x2545f4914f6cdd1du;
}

/* == coroutines =================================================================================== */

static void go(struct task *to)
{
    struct task *from = now;
    now = to;
    if (_setjmp(from->at) == 0)
        _longjmp(to->at, 1);
}

static __attribute__((noreturn)) void stop(enum run_end end)
{
    now = driver;
    _longjmp(driver->base, (int)end + 1);
}

static void reschedule(bool free_switch);

static void trampoline(void)
{
    if (_setjmp(now->base) == 0)
        _longjmp(driver->at, 1);
    run.test->thread[now - tasks]();
    now->state = ENDED;
    model_trace("ends");
    reschedule(true);
    abort();
}

void run_boot(void)
{
    static ucontext_t at;
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        getcontext(&at);
        at.uc_stack.ss_sp = stacks[i];
        at.uc_stack.ss_size = STACK;
        makecontext(&at, trampoline, 0);
        now = &tasks[i];
        if (_setjmp(driver->at) == 0)
            setcontext(&at);
    }
    now = driver;
}

unsigned model_self(void) { return (unsigned)(now - tasks); }

/* == failures ===================================================================================== */

void model_trace(const char *format, ...)
{
    if (!run.verbose || run.steps > PRINTED)
        return;
    va_list args;
    va_start(args, format);
    if (now == driver)
        printf("      setup  ");
    else
        printf("%9u  t%u ", run.steps, model_self());
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void model_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(run.failure, sizeof run.failure, format, args);
    va_end(args);
    stop(RUN_FAILED);
}

void model_outcome(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(run.outcome, sizeof run.outcome, format, args);
    va_end(args);
}

/* == choices ====================================================================================== */

static unsigned pick_anew(unsigned n, enum model_pick what)
{
    if (run.mode == RUN_SEARCH || run.mode == RUN_REPLAY)
        return 0;
    if ((what == MODEL_PICK_READ || what == MODEL_PICK_PLACE) && run_draw() % 2)
        return 0;
    return (unsigned)(run_draw() % n);
}

static unsigned pick_or(unsigned n, enum model_pick what, int forced)
{
    if (n == 1)
        return 0;
    if (n > 255 || run.depth == MODEL_TRAIL)
        model_fail("too many choices");
    if (run.depth == run.trail_len) {
        run.trail[run.trail_len].n = (uint8_t)n;
        run.trail[run.trail_len++].taken = (uint8_t)(forced >= 0 ? (unsigned)forced : pick_anew(n, what));
    }
    struct choice *c = &run.trail[run.depth++];
    if (run.mode == RUN_REPLAY && c->taken >= n)
        model_fail("this replay string is of another program");
    c->n = (uint8_t)n;
    return c->taken;
}

unsigned model_pick(unsigned n, enum model_pick what)
{
    if (now == driver)
        return 0;
    if (what == MODEL_PICK_READ || what == MODEL_PICK_PLACE) {
        unsigned k = pick_or(run.stale_left ? n : 1, what, -1);
        run.stale_left -= k != 0 && run.stale_left != MODEL_NO_BOUND;
        return k;
    }
    return pick_or(n, what, -1);
}

unsigned model_choose(unsigned n)
{
    unsigned k = model_pick(n, MODEL_PICK_USER);
    views_note(model_self(), k);
    model_trace("chooses %u of %u", k, n);
    return k;
}

/* Has the search been here with as many preemptions left? */
static bool seen_before(bool free_switch)
{
    uint64_t key = views_hash(run.threads) + now->state + (uint64_t)(now - tasks) * 8 + (uint64_t)free_switch * 64;
    for (unsigned i = 0; i < run.threads; i++) {
        struct task *t = &tasks[i];
        bool stir = t->state == RELAXING && views_stores_of_others(i) != t->relax_mark;
        key = (key ^ (t->state + (uint64_t)stir * 8 + (uint64_t)t->woken * 16)) * 0x9e3779b97f4a7c15u;
        for (unsigned j = 0; j < run.threads && t->state >= FUTEX; j++)
            key += t->ticket > tasks[j].ticket;
        key ^= key >> 31;
    }
    return memo_seen(key + (uint64_t)run.stale_left, run.preemptions_left);
}

/* == the scheduler ================================================================================ */

static bool can_run(struct task *t)
{
    switch (t->state) {
    case READY:
    case FUTEX_TIMED:
        return true;
    case RELAXING:
        return views_stores_of_others((unsigned)(t - tasks)) != t->relax_mark;
    case SEM:
        return ((const struct model_sem *)t->wait)->count.v > 0;
    case PREDICATE:
        return t->ready(t->ready_arg);
    case FUTEX:
    case ENDED:
        break;
    }
    return false;
}

static void all_wait(void)
{
    size_t n = 0;
    for (unsigned i = 0; i < run.threads; i++)
        n += (size_t)snprintf(run.failure + n, sizeof run.failure - n, "%st%u %s", i ? ", " : "nobody can go on: ", i,
                              state_names[tasks[i].state]);
    stop(RUN_FAILED);
}

/* The highest priority runs; at the change points the running thread gets a new lowest one. */
static unsigned pct_pick(struct task **list, unsigned n)
{
    unsigned best = 0;
    if (run.steps == run.pct_changes[0] || run.steps == run.pct_changes[1])
        now->priority = --run.pct_lowest;
    for (unsigned i = 1; i < n; i++)
        if (list[i]->priority > list[best]->priority)
            best = i;
    return best;
}

static void reschedule(bool free_switch)
{
    struct task *list[MODEL_THREADS];
    unsigned n = 0, ended = 0;
    bool stay = now != driver && can_run(now);

    if (stay)
        list[n++] = now;
    for (unsigned i = 0; i < run.threads; i++) {
        ended += tasks[i].state == ENDED;
        if (&tasks[i] != now && (!stay || free_switch || run.preemptions_left > 0) && can_run(&tasks[i]))
            list[n++] = &tasks[i];
    }
    if (ended == run.threads)
        stop(RUN_ALL_ENDED);
    if (n == 0)
        all_wait();
    if (run.mode == RUN_SEARCH && run.memo && run.depth == run.trail_len && seen_before(free_switch))
        stop(RUN_PRUNED);

    unsigned k = pick_or(n, MODEL_PICK_RUN, run.mode == RUN_PCT ? (int)pct_pick(list, n) : -1);
    if (stay && !free_switch && k > 0 && run.preemptions_left != MODEL_NO_BOUND)
        run.preemptions_left--;
    if (list[k] != now)
        go(list[k]);
}

void model_step(void)
{
    if (now == driver)
        return;
    if (++run.steps > MODEL_STEPS)
        model_fail("more than %d steps: nobody gets anywhere", MODEL_STEPS);
    reschedule(false);
}

static void wait_in(enum state state)
{
    now->state = state;
    reschedule(true);
    now->state = READY;
}

void cpu_relax(void)
{
    if (now == driver)
        return;
    if (++run.steps > MODEL_STEPS)
        model_fail("more than %d steps: nobody gets anywhere", MODEL_STEPS);
    uint64_t others = views_stores_of_others(model_self());
    bool news = views_relax(model_self()) || others != now->relax_mark;
    now->idle_laps = news ? 0 : now->idle_laps + 1;
    model_trace("cpu_relax%s", news || now->idle_laps <= run.test->spins ? "" : ": waits for a store");
    if (news || now->idle_laps <= run.test->spins) {
        now->relax_mark = others;
        reschedule(true);
        return;
    }
    wait_in(RELAXING);
    now->relax_mark = others;           /* what came meanwhile has not been looked at */
    now->idle_laps = 0;
}

void model_wait_until(bool (*ready)(void *), void *arg)
{
    now->ready = ready;
    now->ready_arg = arg;
    wait_in(PREDICATE);
}

void model_sem_post(struct model_sem *s) { model_rmw(&s->count, sizeof s->count, MODEL_RELEASE, MODEL_ADD, 1); }

void model_sem_wait(struct model_sem *s)
{
    model_step();
    while (s->count.v == 0) {
        now->wait = s;
        model_trace("waits for the semaphore");
        wait_in(SEM);
    }
    views_rmw(&s->count, sizeof s->count, MODEL_ACQUIRE, MODEL_ADD, UINT32_MAX);
}

int model_futex_wait(const atom32 *word, uint32_t expected, bool may_time_out)
{
    model_step();
    views_fence();
    if (views_load(word, sizeof *word, MODEL_RELAXED) != expected)
        return -EAGAIN;
    now->wait = word;
    now->ticket = ++tickets;
    now->woken = false;
    model_trace("waits in the futex");
    wait_in(may_time_out ? FUTEX_TIMED : FUTEX);
    bool woken = now->woken;
    now->ticket = 0;
    now->woken = false;
    views_note(model_self(), woken);
    model_trace(woken ? "is woken" : "times out");
    return woken ? 0 : -ETIMEDOUT;
}

unsigned model_futex_wake(const atom32 *word, unsigned n)
{
    unsigned done = 0;
    model_step();
    views_fence();
    while (done < n) {
        struct task *oldest = NULL;
        for (unsigned i = 0; i < run.threads; i++) {
            struct task *t = &tasks[i];
            bool waits = (t->state == FUTEX || t->state == FUTEX_TIMED) && t->wait == word && !t->woken;
            if (waits && (!oldest || t->ticket < oldest->ticket))
                oldest = t;
        }
        if (!oldest)
            break;
        oldest->woken = true;
        oldest->state = READY;
        done++;
    }
    views_note(model_self(), done);
    model_trace("wakes %u", done);
    return done;
}

void *model_arena_alloc(size_t size, size_t align)
{
    size_t at = (arena_used + align - 1) & ~(align - 1);
    if (size > sizeof arena - at)
        return NULL;
    arena_used = at + size;
    return memset(arena + at, 0, size);
}

/* == runs ========================================================================================= */

static void tasks_reset(void)
{
    for (unsigned i = 0; i < run.threads; i++) {
        struct task *t = &tasks[i];
        memcpy(t->at, t->base, sizeof t->at);
        t->state = READY;
        t->relax_mark = views_stores_of_others(i);
        t->idle_laps = 0;
        t->ticket = 0;
        t->woken = false;
        t->priority = (int)(run_draw() % 1000) + 1;
    }
}

static void threads_run(void)
{
    if (run.test->setup)
        run.test->setup();
    views_fork(run.threads);
    tasks_reset();
    reschedule(true);
}

static void threads_check(void)
{
    views_join(run.threads);
    if (run.test->check)
        run.test->check();
    stop(RUN_ALL_ENDED);
}

/* Each part leaves through stop(). */
static enum run_end run_part(void (*part)(void))
{
    int end = _setjmp(driver->base);
    if (end == 0)
        part();
    return (enum run_end)(end - 1);
}

enum run_end run_once(int preemptions, int stale)
{
    views_reset();
    arena_used = 0;
    run.depth = run.steps = 0;
    tickets = 0;
    run.outcome[0] = run.failure[0] = 0;
    run.preemptions_left = preemptions;
    run.stale_left = stale;
    enum run_end end = run_part(threads_run);
    return end == RUN_ALL_ENDED ? run_part(threads_check) : end;
}
