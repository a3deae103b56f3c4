/* SPDX-License-Identifier: MIT */
/*
 * worker_model - the loop itself with its queues and switches, and the monitor that looks after it, in all orders
 *
 * Two workers run the real sched/worker.c (over sched/deque.c sched/injector.c sched/idle.c sched/park.c) with the real
 * runtime/monitor.c, driven by a model thread that is the I/O thread. Fibers are real ones, with stacks of their own; only the
 * switch is by longjmp, so that a run can be left in the middle.
 *
 * Whatever happens: every fiber ends, though some compute until another has ended (so work that nobody but a busy worker could
 * find is a deadlock); none is resumed before its registers were saved, or on two workers; a pinned one only on its own; at the
 * end nobody is counted and the queues are empty. A tripwire is never lost: a fiber that computes is told to yield.
 *
 * Locks      -DMODEL_LOCK_STEP=1: word_lock is one step; lock_model.c has its loop.
 * Mutants    the same with -DMUTANT_x, run with --mutant: those of MUTANT_WORKER_ MUTANT_MONITOR_
 */
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#include "model/explorer.h"
#include "model/run.h"
#include "runtime/monitor.h"
#include "runtime/rt.h"
#include "sched/park.h"
#include "timers/due.h"

#define WORKERS 2
#define FIBERS 3

static struct weft_rt rt;
static struct sched *const s = &rt.sched;
static struct worker workers[WORKERS];
static struct thread threads[MODEL_THREADS + 1];
static struct model_sem token[WORKERS];
static struct fiber fiber[FIBERS];
static struct { char unused[8]; } saved[FIBERS];                /* stands for what a switch saves */
static unsigned fibers;
static unsigned ended;                          /* a bitmap */
static struct { struct spin lock; struct timer_node *node; } timer;
static unsigned free_looks;                     /* of the monitor, before time passes only when everybody waits */
static unsigned others;                         /* threads, beside the I/O thread, which comes last */

/* What a thread waits for: a timer of the monitor is long, so when its free looks are used up it comes when nobody else can run. */
static struct { enum { NOTHING, TOKEN, FIBER, TRIPWIRE, THE_END } what; unsigned which; } waits[MODEL_THREADS + 1];

/* ---- in the place of the rooms around ------------------------------------------------------------------------------------ */

struct thread *thread_self(void) { return &threads[model_self()]; }

void token_give(struct idle *i, unsigned worker);
void token_take(struct idle *i, unsigned worker);

void token_give(struct idle *i, unsigned worker)
{
    MODEL_ASSERT(i == &s->idle && token[worker].count.v == 0);
    model_sem_post(&token[worker]);
}

void token_take(struct idle *i, unsigned worker)
{
    MODEL_ASSERT(i == &s->idle && thread_self()->worker == &workers[worker]);
    waits[worker].what = TOKEN;
    model_sem_wait(&token[worker]);
    waits[worker].what = NOTHING;
}

/* ---- switches ------------------------------------------------------------------------------------------------------------ */

struct coroutine { jmp_buf at; bool begun; void (*entry)(void *); void *arg; char stack[65536]; };

static struct coroutine coroutine[FIBERS], base[MODEL_THREADS];
static struct coroutine *begins;

static void trampoline(void)
{
    begins->entry(begins->arg);
    model_fail("a fiber goes on after its end");
}

static int fiber_of(const struct context *c)
{
    for (unsigned i = 0; i < fibers; i++)
        if (c == &fiber[i].context)
            return (int)i;
    return -1;
}

static struct coroutine *coroutine_of(const struct context *c)
{
    int i = fiber_of(c);
    MODEL_ASSERT(i >= 0 || c == &thread_self()->base);
    return i >= 0 ? &coroutine[i] : &base[model_self()];
}

void context_init(struct context *c, void *top, void (*entry)(void *), void *arg)
{
    struct coroutine *co = coroutine_of(c);
    (void)top;
    co->begun = false;
    co->entry = entry;
    co->arg = arg;
}

static void start(struct coroutine *co)
{
    static ucontext_t at;
    getcontext(&at);
    at.uc_stack.ss_sp = co->stack;
    at.uc_stack.ss_size = sizeof co->stack;
    makecontext(&at, trampoline, 0);
    co->begun = true;
    begins = co;
    setcontext(&at);
}

void context_switch(struct context *from, const struct context *to)
{
    struct coroutine *a = coroutine_of(from), *b = coroutine_of(to);
    int left = fiber_of(from), next = fiber_of(to);
    if (left >= 0)
        model_exclusive(&saved[left]);
    if (next >= 0) {
        MODEL_ASSERT(fiber[next].pin < 0 || (uint32_t)fiber[next].pin == thread_self()->worker->index);
        model_exclusive(&saved[next]);
    }
    if (_setjmp(a->at))
        return;
    if (b->begun || next < 0)
        _longjmp(b->at, 1);
    start(b);
}

/* ---- in the place of other rooms ----------------------------------------------------------------------------------------- */

void stack_guard(struct stack *st) { (void)st; }
void stack_warm(struct stack_cache *c, struct stack *st) { (void)c; (void)st; }
void stack_redeem(struct stack_cache *c, struct stack *st) { (void)c; (void)st; }
void stack_put_away(struct stack_cache *c, struct stack *st) { (void)c; (void)st; }
void stack_cache_flush(struct stack_cache *c) { (void)c; }
void table_cache_flush(struct table_cache *c) { (void)c; }
struct fiber *table_get(struct table_cache *c) { (void)c; return NULL; }
void table_put(struct table_cache *c, struct fiber *f) { (void)c; (void)f; }
void table_publish(struct fiber *f, uint64_t flags) { (void)f; (void)flags; }
uint64_t handle_lock(struct fiber *f) { (void)f; return 0; }

bool futex_wait(atom32 *word, uint32_t value, int64_t deadline);
void futex_wake(atom32 *word);
bool futex_wait(atom32 *word, uint32_t value, int64_t deadline) { (void)word; (void)value; (void)deadline; return false; }
void futex_wake(atom32 *word) { (void)word; }

void timers_arm(struct timers *t, struct timer_node *n, int64_t due, unsigned shard)
{
    MODEL_ASSERT(t == &rt.timers && due > model_clock && shard == 0);
    spin_lock(&timer.lock);
    MODEL_ASSERT(!timer.node);
    timer.node = n;
    spin_unlock(&timer.lock);
}

static void stop(void)
{
    store_release32(&s->stopping, 1);
    for (unsigned i = 0; i < s->count; i++)
        (void)idle_wake(&s->idle, i);
}

static void on_end(struct fiber *f)
{
    unsigned i = (unsigned)(f - fiber);
    MODEL_ASSERT(!(ended & 1u << i));
    ended |= 1u << i;
    if (ended == (1u << fibers) - 1)
        stop();
}

static void on_parking(struct sched *sched) { MODEL_ASSERT(sched == s); }

static const struct sched_hooks hooks = { on_end, monitor_call, on_parking };

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

static void worker(void)
{
    unsigned i = model_self();
    struct thread *t = thread_self();
    t->worker = &workers[i];
    worker_run(t);
    waits[i].what = THE_END;
}

static bool all_ended(void) { return ended == (1u << fibers) - 1; }

static bool must_wait(unsigned i)
{
    switch (waits[i].what) {
    case NOTHING: return false;
    case TOKEN: return token[i].count.v == 0;
    case FIBER: return !(ended & 1u << waits[i].which);
    case TRIPWIRE: return workers[i].tripwire.v == 0;
    case THE_END: break;
    }
    return true;
}

static bool calm_or_over(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < others && !all_ended(); i++)
        if (!must_wait(i))
            return false;
    return true;
}

static bool armed_or_over(void *arg)
{
    (void)arg;
    return timer.node || all_ended();
}

static void io(void)
{
    for (;;) {
        struct due due = { { NULL, NULL, 0, s }, NULL };
        struct timer_node *n;
        model_wait_until(armed_or_over, NULL);
        if (free_looks)
            free_looks--;
        else
            model_wait_until(calm_or_over, NULL);
        if (all_ended())
            return;
        spin_lock(&timer.lock);
        n = timer.node;
        timer.node = NULL;
        spin_unlock(&timer.lock);
        model_clock += 5 * WEFT_MSEC;
        n->fire(n, &due);
        due_run_calls(&due);
    }
}

static void queue(unsigned i) { worker_queue(&fiber[i]); }
static void queue_0_1(void) { queue(0); queue(1); waits[model_self()].what = THE_END; }
static void queue_1(void) { queue(1); waits[model_self()].what = THE_END; }

/* ---- fibers -------------------------------------------------------------------------------------------------------------- */

static bool has_ended(void *arg) { return ended & 1u << *(unsigned *)arg; }

/* Compute until fiber i has ended; the worker does not come round. */
static void until_ended(unsigned i)
{
    unsigned me = model_self();
    waits[me].which = i;
    waits[me].what = FIBER;
    model_wait_until(has_ended, &i);
    waits[me].what = NOTHING;
}

static int64_t ends(void *arg) { (void)arg; return 0; }
static int64_t yields(void *arg) { worker_leave(AFTER_YIELD); return arg != NULL; }
static int64_t computes(void *arg) { until_ended(1); return arg != NULL; }

/* Into the next slot, and then it computes. */
static int64_t wakes_1(void *arg)
{
    queue(1);
    until_ended(1);
    return arg != NULL;
}

static int64_t wakes_1_2(void *arg)
{
    queue(1);
    queue(2);
    until_ended(1);
    return arg != NULL;
}

static int64_t wakes_1_ends(void *arg) { queue(1); return arg != NULL; }

static int64_t spawns_1(void *arg)
{
    worker_queue_fresh(thread_self()->worker, &fiber[1]);
    until_ended(1);
    return arg != NULL;
}

/* Parks; the token of fiber 1 may come before or after, from another worker. */
static int64_t parks(void *arg)
{
    wait_open(&fiber[0]);
    park(&fiber[0]);
    MODEL_ASSERT(wait_close(&fiber[0]) == WAIT_EVENT);
    return arg != NULL;
}

static bool is_open(void *arg)
{
    (void)arg;
    return fiber[0].wait.v == WAIT_OPEN;
}

static int64_t readies_0(void *arg)
{
    model_wait_until(is_open, NULL);
    while (!wait_claim(&fiber[0], WAIT_EVENT))
        cpu_relax();
    ready(&fiber[0]);
    return arg != NULL;
}

/* Spawns the one that wakes it, then parks: one worker switches straight to it. */
static int64_t spawns_parks(void *arg)
{
    worker_queue_fresh(thread_self()->worker, &fiber[1]);
    return parks(arg);
}

/* Computes with checkpoints until one of them tells it to yield. */
static int64_t hogs(void *arg)
{
    unsigned me = model_self();
    struct worker *w = thread_self()->worker;
    while (!(load_relaxed32(&w->tripwire) && worker_trip(w))) {
        waits[me].what = TRIPWIRE;
        cpu_relax();
        waits[me].what = NOTHING;
    }
    return arg != NULL;
}

/* ---- tests --------------------------------------------------------------------------------------------------------------- */

static void begin(unsigned w, unsigned n)
{
    memset(&rt, 0, sizeof rt);
    memset(workers, 0, sizeof workers);
    memset(threads, 0, sizeof threads);
    memset(token, 0, sizeof token);
    memset(fiber, 0, sizeof fiber);
    memset(&timer, 0, sizeof timer);
    memset(waits, 0, sizeof waits);
    free_looks = 2;
    for (others = 0; others < MODEL_THREADS && run.test->thread[others] != io;)
        others++;
    model_clock = 1;
    ended = 0;
    fibers = n;
    s->workers = workers;
    s->count = s->idle.workers = w;
    s->hooks = &hooks;
    s->timers = &rt.timers;
    model_name(&s->idle.counts, "counts");
    model_name(&s->idle.lock, "idle");
    model_name(&s->injector.lock, "injector");
    model_name(&s->injector.length, "length");
    model_name(&s->watched, "watched");
    model_name(&s->stopping, "stopping");
    for (unsigned i = 0; i < w; i++) {
        MODEL_ASSERT(worker_init(&workers[i], s, i));
        model_name(&workers[i].next, "next %u", i);
        model_name(&workers[i].stale, "stale %u", i);
        model_name(&workers[i].tripwire, "tripwire %u", i);
        model_name(&workers[i].phase, "phase %u", i);
        model_name(&workers[i].inbox.length, "inbox %u", i);
        model_name(&workers[i].dispatched, "dispatched %u", i);
        model_name(&token[i], "token %u", i);
    }
    for (unsigned i = 0; i < fibers; i++) {
        fiber[i].sched = s;
        fiber[i].pin = -1;
        fiber[i].fn = ends;
        fiber[i].stack.at = (struct stack_slot){ .segment = 1, .flags = STACK_GUARDED | STACK_TOUCHED };
        model_name(&fiber[i].state, "state %u", i);
        model_name(&fiber[i].wait, "wait %u", i);
        model_name(&saved[i], "registers %u", i);
    }
    MODEL_ASSERT(monitor_start(&rt) == 0);
}

/* Fiber 0 lies in the injector from the start. */
static void begin_with_0(unsigned n, int64_t (*fn)(void *))
{
    begin(WORKERS, n);
    fiber[0].fn = fn;
    queue(0);
}

static void pass_it_on(void) { begin(WORKERS, 2); fiber[0].fn = computes; }
static void one_computes(void) { begin_with_0(2, computes); }
static void yielding(void) { begin_with_0(2, yields); fiber[1].fn = yields; queue(1); }
static void displaced(void) { begin_with_0(3, wakes_1_2); }
static void next_ends(void) { begin_with_0(2, wakes_1_ends); }
static void offered(void) { next_ends(); workers[0].stale.v = workers[1].stale.v = 1; }
static void fresh(void) { begin_with_0(2, spawns_1); }
static void parked(void) { begin_with_0(2, parks); fiber[1].fn = readies_0; queue(1); }
static void parked_spawn(void) { begin_with_0(2, spawns_parks); fiber[1].fn = readies_0; }
static void hidden_work(void) { begin_with_0(2, wakes_1); }

static void pinned(void)
{
    begin(WORKERS, 2);
    fiber[0].fn = wakes_1;
    fiber[0].pin = 0;
    fiber[1].pin = 1;
    queue(0);
}

/* The monitor is awake, and may go to sleep at any moment. */
static void hidden_awake(void)
{
    hidden_work();
    monitor_call(s);
    free_looks = 2;
}

static void one_worker(unsigned n, int64_t (*fn)(void *))
{
    begin(1, n);
    fiber[0].fn = fn;
    queue(0);
}

static void alone(void) { one_worker(2, yields); fiber[1].fn = yields; }
static void alone_parks(void) { one_worker(2, parks); fiber[1].fn = readies_0; }
static void hog(void) { one_worker(1, hogs); }

static void hog_awake(void)
{
    hog();
    monitor_call(s);
    free_looks = 2;
}

static void end(void)
{
    MODEL_ASSERT(ended == (1u << fibers) - 1);
    MODEL_ASSERT(s->idle.counts.v == 0 && s->injector.length.v == 0);
    for (unsigned i = 0; i < s->count; i++) {
        MODEL_ASSERT(token[i].count.v == 0 && !workers[i].next.v && !workers[i].mine.head && workers[i].inbox.length.v == 0);
        MODEL_ASSERT(deque_empty(&workers[i].ready) && deque_empty(&workers[i].fresh));
        worker_destroy(&workers[i]);
    }
    monitor_stop(&rt);
}

static const struct model_test tests[] = {
    { "one-computes", one_computes, { worker, worker, queue_1 }, end, NULL, 1, 0 },
    { "pass-on", pass_it_on, { worker, worker, queue_0_1 }, end, NULL, 1, 0 },
    { "yield", yielding, { worker, worker }, end, NULL, 1, 0 },
    { "displaced", displaced, { worker, worker }, end, NULL, 1, 0 },
    { "next", next_ends, { worker, worker, io }, end, NULL, 1, 0 },
    { "next-offered", offered, { worker, worker }, end, NULL, 2, 0 },
    { "fresh", fresh, { worker, worker }, end, NULL, 1, 0 },
    { "parked", parked, { worker, worker }, end, NULL, 1, 0 },
    { "parked-spawn", parked_spawn, { worker, worker }, end, NULL, 1, 0 },
    { "pinned", pinned, { worker, worker }, end, NULL, 1, 0 },
    { "hidden", hidden_work, { worker, worker, io }, end, NULL, 1, 0 },
    { "hidden-awake", hidden_awake, { worker, worker, io }, end, NULL, 1, 0 },
    { "alone", alone, { worker, queue_1 }, end, NULL, 3, 0 },
    { "alone-parks", alone_parks, { worker, queue_1 }, end, NULL, 3, 0 },
    { "hog", hog, { worker, io }, end, NULL, 3, 0 },
    { "hog-awake", hog_awake, { worker, io }, end, NULL, 3, 0 },
};

/* 3 seconds each: what does not get through all of one preemption by then is left to the random runs. */
int main(int argc, char **argv)
{
    char *more[32] = { argv[0], (char *)"--seconds", (char *)"3" };
    for (int i = 1; i < argc && i < 29; i++)
        more[i + 2] = argv[i];
    return model_main(argc + 2, more, tests, sizeof tests / sizeof *tests);
}
