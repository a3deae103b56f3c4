/* SPDX-License-Identifier: MIT */
/* worker - see worker.h; read worker_run first, then pick, then find */
#include "sched/worker.h"

#include "sched/clock.h"

/* The lines that tests/model/worker_model.c must see broken. */
#ifdef MUTANT_WORKER_QUEUE_RELAXED
#define queue_xchg xchg_acqrelptr
#else
#define queue_xchg xchg_seqcstptr
#endif
#ifdef MUTANT_WORKER_STEAL_NO_CAS
#define steal_swap(next, f) (store_relaxedptr(next, NULL), *(f) != NULL)
#else
#define steal_swap(next, f) cas_acqrelptr(next, f, NULL)
#endif
#ifdef MUTANT_WORKER_PASS_ON
#define pass_on(s, w) ((void)(s))
#else
#define pass_on(s, w) wake_one(s, w)
#endif
#ifdef MUTANT_WORKER_WATCH
#define hidden(w, s) (load_relaxedptr(&(w)->next), (void)(s), false)
#else
#define hidden(w, s) (load_relaxedptr(&(w)->next) && !load_relaxed32(&(s)->watched))
#endif
#ifdef MUTANT_WORKER_TRIP_STORE
#define take_wires(wire) take_wires_by_store(wire)
static uint32_t take_wires_by_store(atom32 *wire)
{
    uint32_t wires = load_acquire32(wire);
    store_release32(wire, 0);
    return wires;
}
#else
#define take_wires(wire) xchg_acqrel32(wire, 0)
#endif
#ifdef MUTANT_WORKER_SETTLE_EARLY
#define settle_before(t) settle()
#else
#define settle_before(t) ((void)(t))
#endif

#ifdef WEFT_MODEL                               /* all threads are one: thread_self is the test's; a pause is no wait */
#define pause_search() ((void)0)
#else
#define pause_search() cpu_relax()
#if defined(__x86_64__)
__attribute__((used)) __thread struct thread thread_self_;         /* named in asm only */
#else
static __thread struct thread self;

__attribute__((noinline)) struct thread *thread_self(void)
{
    struct thread *t = &self;
    __asm__ volatile("" : "+r"(t) : : "memory");
    return t;
}
#endif
#endif

/* ---- queues -------------------------------------------------------------------------------------------------------------- */

/* By w itself, or by a thread that drives none of s's workers. */
static inline void wake_one(struct sched *s, struct worker *w)
{
    if (w && w->alone)
        return;                                 /* it is awake, and there is no other */
    if (idle_wake_one(&s->idle) && w)
        count_up64(&w->wakes, 1);
}

static void inject(struct sched *s, struct fiber *f)
{
    struct chain c = { NULL, NULL, 0, s };
    chain_add(&c, f);
    injector_push(&s->injector, &c);
}

static inline void push(struct worker *w, struct deque *d, struct fiber *f)
{
    if (!deque_push(d, f))
        inject(w->sched, f);                    /* no memory to grow: the injector needs none */
}

/* A ready fiber that may run on any worker. Of one that is alone nobody steals: a list does, without atomics. */
static inline void push_ready(struct worker *w, struct fiber *f)
{
    if (w->alone)
        chain_add(&w->mine, f);
    else
        push(w, &w->ready, f);
}

static inline struct fiber *swap_next(struct worker *w, struct fiber *f)
{
    struct fiber *before;
    if (!w->alone)
        return queue_xchg(&w->next, f);         /* W1: pairs with itself, steal_next; W2; M2 */
    before = load_relaxedptr(&w->next);
    store_relaxedptr(&w->next, f);
    return before;
}

/* Whoever queues a fiber from outside must be out before the scheduler is destroyed, which may be as soon as that fiber has run:
 * V1 visit_end release -> worker_visits acquire. */
static void visit_begin(struct sched *s) { (void)add_relaxed32(&s->visits, 1); }
static void visit_end(struct sched *s) { (void)add_acqrel32(&s->visits, -1u); }

bool worker_visited(const struct sched *s) { return load_acquire32(&s->visits); }

/* A pinned fiber, from somewhere else than its worker. */
static void send(struct fiber *f)
{
    struct sched *s = f->sched;
    struct worker *w = &s->workers[f->pin];
    struct chain c = { NULL, NULL, 0, s };
    visit_begin(s);
    chain_add(&c, f);
    injector_push(&w->inbox, &c);
    idle_wake(&s->idle, w->index);
    visit_end(s);
}

void worker_queue(struct fiber *f)
{
    struct sched *s = f->sched;
    struct worker *w = thread_self()->worker;
    if (w && w->sched != s)
        w = NULL;
    if (f->pin >= 0) {
        if (w && w->index == (uint32_t)f->pin)
            chain_add(&w->mine, f);
        else
            send(f);
    } else if (!w) {
        visit_begin(s);
        inject(s, f);
        wake_one(s, NULL);
        visit_end(s);
    } else {
        struct fiber *before = swap_next(w, f);
        if (before) {
            push_ready(w, before);
            wake_one(s, w);
        } else if (!w->alone && (uint32_t)load_seqcst64(&s->idle.counts) && !load_seqcst32(&s->watched)) {
            s->hooks->watch(s);                 /* W2: pairs with last_look; M2: with the monitor */
        }
    }
}

void worker_queue_chain(struct chain *c)
{
    struct chain free = { NULL, NULL, 0, c->sched };
    for (struct fiber *f; (f = chain_pop(c)) != NULL;)
        if (f->pin >= 0)
            send(f);
        else
            chain_add(&free, f);
    if (!free.head)
        return;
    visit_begin(c->sched);
    injector_push(&c->sched->injector, &free);
    wake_one(c->sched, NULL);
    visit_end(c->sched);
}

void worker_queue_fresh(struct worker *w, struct fiber *f)
{
    push(w, &w->fresh, f);
    wake_one(w->sched, w);
}

bool worker_trip(struct worker *w)
{
    uint32_t wires = take_wires(&w->tripwire);                  /* M1: pairs with the monitor */
    w->sched->hooks->watch(w->sched);
    return wires & TRIP_EXPIRED;
}

/* ---- picking ------------------------------------------------------------------------------------------------------------- */

static uint32_t draw(struct worker *w, uint32_t n)
{
    w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)((w->random >> 32) * n >> 32);
}

static __attribute__((noinline)) struct fiber *take_injected(struct worker *w, uint32_t length)
{
    struct injector *q = &w->sched->injector;
    uint32_t most = length / w->sched->count + 1;
    struct chain c = { NULL, NULL, 0, w->sched };
    struct fiber *first;
    injector_take(q, most < INJECTOR_BATCH ? most : INJECTOR_BATCH, &c);
    first = chain_pop(&c);
    if (!first)
        return NULL;
    count_up64(&w->injected, c.count + 1);
    if (c.head) {
        for (struct fiber *f; (f = chain_pop(&c)) != NULL;)
            push_ready(w, f);
        wake_one(w->sched, w);
    }
    return first;
}

static inline struct fiber *from_injector(struct worker *w)
{
    uint32_t length = injector_length(&w->sched->injector);
    return length ? take_injected(w, length) : NULL;
}

static inline struct fiber *from_next(struct worker *w)
{
    struct fiber *f;
    if (!load_relaxedptr(&w->next))
        return NULL;
    f = swap_next(w, NULL);
    if (!f)                                     /* a thief was faster */
        return NULL;
    if (load_relaxed32(&w->stale))
        store_relaxed32(&w->stale, 0);
    if (w->streak++ < NEXT_STREAK)
        return f;
    push_ready(w, f);
    return NULL;
}

/* Fetch what the next switch but one touches: the lines of f's stack, and the descriptor behind f. Of a thousand fibers that
 * take turns none has them in the cache any more. (always_inline: gcc takes a function that only prefetches for a pure one.) */
static inline __attribute__((always_inline)) void prefetch(const struct fiber *f)
{
    uintptr_t sp = (uintptr_t)f->context.sp;
    __builtin_prefetch((void *)sp, 1);
    __builtin_prefetch((void *)(sp + 192), 1);
    __builtin_prefetch((void *)(sp + 256), 1);
    __builtin_prefetch(f->next, 1);
}

static inline struct fiber *from_mine(struct worker *w)
{
    struct fiber *f;
    if (injector_length(&w->inbox))
        injector_take(&w->inbox, UINT32_MAX, &w->mine);
    f = chain_pop(&w->mine);
    if (w->mine.head)
        prefetch(w->mine.head);
    return f;
}

static inline struct fiber *oldest(struct worker *w, struct deque *d) { return w->alone ? deque_take_alone(d) : deque_take(d); }
static inline struct fiber *newest(struct worker *w, struct deque *d) { return w->alone ? deque_pop_alone(d) : deque_pop(d); }

static inline struct fiber *from_fresh(struct worker *w)
{
    const char *ahead;
    if (deque_empty(&w->fresh))
        return NULL;
    ahead = deque_peek(&w->fresh, PREFETCH);
    __builtin_prefetch(ahead, 1);               /* a million of them do not fit into any cache */
    __builtin_prefetch(ahead + CACHE_LINE, 1);
    return ++w->fresh_taken % FRESH_OLDEST_INTERVAL ? newest(w, &w->fresh) : oldest(w, &w->fresh);
}

static struct fiber *pick(struct worker *w)
{
    struct fiber *f = from_next(w);
    if (f)
        return f;
    w->streak = 0;
    for (uint32_t turn = w->turn++ % 4;; turn = 0) {
        switch (turn) {                         /* each queue falls through to the one behind it */
        case 0:
            if ((f = from_mine(w)) != NULL)
                return f;
            /* fall through */
        case 1:
            if ((f = oldest(w, &w->ready)) != NULL)
                return f;
            /* fall through */
        case 2:
            if ((f = from_fresh(w)) != NULL)
                return f;
            /* fall through */
        default:
            if ((f = from_injector(w)) != NULL || turn == 0)
                return f;
        }
    }
}

/* ---- finding: the local queues are empty --------------------------------------------------------------------------------- */

static struct fiber *steal_next(struct worker *victim)
{
    void *f;
    if (!load_relaxed32(&victim->stale))
        return NULL;
    f = load_acquireptr(&victim->next);
    if (!f || !steal_swap(&victim->next, &f))                   /* W1: pairs with swap_next */
        return NULL;
    store_relaxed32(&victim->stale, 0);
    return f;
}

static struct fiber *steal(struct worker *w, struct worker *victim)
{
    struct deque *order[2] = { &victim->ready, &victim->fresh };
    void *f;
    count_up64(&w->attempts, 1);
    for (int i = 0; i < 2; i++)
        if (deque_steal(order[i ^ (w->turn & 1)], &f) == DEQUE_OK)
            goto got;
    f = steal_next(victim);
    if (!f)
        return NULL;
got:
    count_up64(&w->stolen, 1);
    return f;
}

/* What was stolen last took less time than the theft: let its owner have the next ones, for a while. */
static void hold_back(struct worker *w)
{
    for (uint32_t i = 0; i < w->patience && !injector_length(&w->sched->injector) && !injector_length(&w->inbox); i++)
        pause_search();
}

static struct fiber *search(struct worker *w)
{
    struct sched *s = w->sched;
    struct fiber *f;
    hold_back(w);
    for (int sweep = 0; sweep < SEARCH_SWEEPS; sweep++) {
        uint32_t start = draw(w, s->count);
        if ((f = from_injector(w)) != NULL)
            return f;
        for (uint32_t i = 0; i < s->count; i++) {
            struct worker *victim = &s->workers[(start + i) % s->count];
            if (victim != w && (f = steal(w, victim)) != NULL)
                return f;
        }
        pause_search();
    }
    return NULL;
}

static bool any_work(struct sched *s)
{
    if (injector_length(&s->injector))
        return true;
    for (uint32_t i = 0; i < s->count; i++) {
        struct worker *v = &s->workers[i];
        if (!deque_empty(&v->ready) || !deque_empty(&v->fresh) || (load_relaxed32(&v->stale) && load_relaxedptr(&v->next)))
            return true;
    }
    return false;
}

/* A fiber in a next slot is not offered; but if its worker does not come round to it, somebody must notice. */
static void watch_next(struct sched *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (hidden(&s->workers[i], s)) {        /* W2: pairs with worker_queue */
            s->hooks->watch(s);
            return;
        }
}

static bool last_look(void *arg)
{
    struct worker *w = arg;
    watch_next(w->sched);
    return injector_length(&w->inbox) || any_work(w->sched) || load_acquire32(&w->sched->stopping);
}

static int64_t enter(struct worker *w, enum phase phase)
{
    int64_t now = clock_now();
    uint32_t was = load_relaxed32(&w->phase);
    count_up64(&w->time[was], (uint64_t)now - load_relaxed64(&w->since));
    store_relaxed64(&w->since, (uint64_t)now);
    store_relaxed32(&w->phase, phase);
    return now;
}

static struct fiber *find(struct worker *w)
{
    struct sched *s = w->sched;
    struct fiber *f;
    bool searching;
    int64_t began = (int64_t)load_relaxed64(&w->since);
    if (enter(w, PHASE_SEARCH) - began >= TINY_NS)
        w->patience = 0;
    else if (w->patience < PATIENCE)
        w->patience = 2 * w->patience + 1;
    searching = idle_search(&s->idle);
    while (!(searching && (f = search(w)) != NULL)) {
        if (load_acquire32(&s->stopping) && !any_work(s) && !injector_length(&w->inbox)) {
            if (searching)
                (void)idle_found(&s->idle);
            enter(w, PHASE_PARK);
            return NULL;
        }
        count_up64(&w->parks, 1);
        s->hooks->parking(s);
        enter(w, PHASE_PARK);
        (void)idle_park(&s->idle, w->index, searching, last_look, w);
        enter(w, PHASE_SEARCH);
        searching = true;
        if ((f = pick(w)) != NULL)
            break;
    }
    if (idle_found(&s->idle) && any_work(s))    /* I2: nobody searches now; pass the search on if there is more */
        pass_on(s, w);
    enter(w, PHASE_RUN);
    return f;
}

/* ---- running ------------------------------------------------------------------------------------------------------------- */

static void end(struct worker *w, struct fiber *f)
{
    san_fiber_end(&f->san);
    stack_put(&w->stacks, &f->stack);
    fiber_to_dead(f);
    w->sched->hooks->ended(f);
}

static inline void yield(struct worker *w, struct fiber *f)
{
    uint64_t counts;
    fiber_to_ready(f);
    push(w, &w->ready, f);
    /* No fence: this worker is awake and comes round to f itself, so nothing is lost if a parker and we miss each other, only that
     * one has no company until the next push. With the fence a yield costs half as much again. */
    counts = load_relaxed64(&w->sched->idle.counts);
    if ((uint32_t)counts && !(counts >> 32))
        wake_one(w->sched, w);
}

/* The next fiber is on the stack that was left for it, and the registers of the one that was left are saved: act on its wish.
 * From here on a parked one is not ours. */
static __attribute__((noinline)) void settle_left(struct thread *t, struct fiber *left)
{
    t->left = NULL;
    if (t->after == AFTER_YIELD) {
        yield(t->worker, left);
    } else if (t->after == AFTER_END) {
        end(t->worker, left);
    } else if (!fiber_to_parked(left)) {        /* the token came before */
        fiber_to_ready(left);
        worker_queue(left);
    }
}

static inline void settle(void)
{
    struct thread *t = thread_self();
    if (t->left)                                /* else we come from the loop, or from one that queued itself */
        settle_left(t, t->left);
}

static void first(void *arg)
{
    struct fiber *f = arg;
    san_switch_after(&f->san);
    settle();
    f->result = f->fn(f->arg);
    if (!thread_self()->worker)                 /* it returned between weft_block_begin and _end */
        worker_leave(AFTER_REJOIN);
    worker_leave(AFTER_END);
}

static void prepare(struct worker *w, struct fiber *f)
{
    stack_prepare(&w->stacks, &f->stack);
    san_fiber_begin(&f->san, f->stack.base, f->stack.top);
    context_init(&f->context, f->stack.top, first, f);
    if (f->flags & FIBER_PINNED)
        f->pin = (int32_t)w->index;
}

/* f is going to run on t. */
static inline void begin(struct thread *t, struct fiber *f)
{
    if (load_relaxed32(&f->state) == FIBER_NEW)
        prepare(t->worker, f);
    count_up64(&t->worker->dispatched, 1);
    fiber_to_running(f);
    t->fiber = f;
}

void worker_leave(enum after wish)
{
    struct thread *t = thread_self();
    struct worker *w = t->worker;
    struct fiber *f = t->fiber, *next = wish == AFTER_REJOIN ? NULL : pick(w);
    if (!next && wish == AFTER_YIELD)
        return;                                 /* there is nobody to yield to */
    t->after = wish;
    if (next) {
        if (wish == AFTER_YIELD && (w->alone || f->pin >= 0)) {
            fiber_to_ready(f);                  /* mine is the worker's own list: nobody takes f before it is left */
            chain_add(&w->mine, f);
        } else {
            t->left = f;
        }
        settle_before(t);
        begin(t, next);
        san_switch_before(&f->san, &next->san, wish == AFTER_END);
        context_switch(&f->context, &next->context);
    } else {
        san_switch_before(&f->san, &t->san, wish == AFTER_END);
        context_switch(&f->context, &t->base);
    }
    san_switch_after(&f->san);
    settle();
}

/* Run f, and those that fibers switch to by themselves, until one of them finds nobody to switch to; false: the thread has no
 * worker any more. */
static bool dispatch(struct thread *t, struct fiber *f)
{
    begin(t, f);
    for (;;) {
        san_switch_before(&t->san, &f->san, false);
        context_switch(&t->base, &f->context);
        san_switch_after(&t->san);
        f = t->fiber;                           /* the one that came back */
        if (t->after != AFTER_PARK || fiber_to_parked(f))
            break;                              /* a parked f is not ours any more */
    }
    t->fiber = NULL;
    if (t->after == AFTER_END)
        end(t->worker, f);
    else if (t->after == AFTER_REJOIN) {
        fiber_to_ready(f);
        worker_queue(f);
        return false;
    }
    return true;
}

void worker_run(struct thread *t)
{
    struct fiber *f;
    enter(t->worker, PHASE_RUN);
    do {
        struct worker *w = t->worker;
        f = pick(w);
        if (!f && !(f = find(w)))
            return;
    } while (dispatch(t, f));
}

bool worker_init(struct worker *w, struct sched *s, uint32_t index)
{
    w->sched = s;
    w->index = index;
    w->alone = s->count == 1;
    w->random = index * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)clock_now();
    w->mine.sched = s;
    store_relaxed64(&w->since, (uint64_t)clock_now());
    store_relaxed32(&w->phase, PHASE_PARK);
    store_relaxed32(&w->tripwire, TRIP_CALL);
    if (deque_init(&w->ready, 0))
        return false;
    if (deque_init(&w->fresh, 0)) {
        deque_destroy(&w->ready);
        return false;
    }
    return true;
}

void worker_destroy(struct worker *w)
{
    deque_destroy(&w->ready);
    deque_destroy(&w->fresh);
    table_cache_flush(&w->fibers);
    stack_cache_flush(&w->stacks);
}
