/* SPDX-License-Identifier: MIT */
/*
 * worker - the loop: pick a fiber, run it until it lets go, see what it wants, pick the next
 *
 * Owns       a worker's queues and counters, and the thread's place in the house (struct thread): which worker it drives, which
 *            fiber runs on it, where its own stack continues.
 * Threads    a worker is driven by one thread at a time, but not always by the same one (block.c). The loop runs on that thread's
 *            own stack, fibers on theirs. A fiber that leaves picks the next one and switches to it, or to the loop if there is
 *            none, which then looks further. It leaves a wish (enum after) behind: whoever goes on acts on it, on its own
 *            stack, when the registers of the one that left are saved (settle, dispatch).
 * Order      of a pick, and so the bounds on waiting:
 *              1 the next slot: the fiber that was woken last, at most NEXT_STREAK times in a row, then it queues up in ready
 *              2 in turn first: mine (pinned here), ready (woken or yielded; oldest first), fresh (spawned; newest first, since
 *                that keeps a tree of tasks small, but every FRESH_OLDEST_INTERVAL-th time the oldest), the injector (a batch)
 *              3 other workers' queues, oldest first
 *            So a fiber at position p of ready runs after at most 4p turns of its worker, one at the head of the injector after
 *            at most 4, each a streak and a dispatch: nothing that is ready starves. A turn counts, not a time: a look at the
 *            injector every 61 dispatches, as Go and tokio have it, is 12 s when each of them computes for 200 ms.
 * Hidden     the next slot of a worker is not offered to thieves, or two fibers that wake each other would be torn apart at
 * work       every turn. If its worker does not come round, the monitor (hooks->watch) marks it stale and it is stolen.
 * Ordering   W1 xchg on next: the fiber put there -> whoever takes it. Deques D*, injector J*, idle I*.
 *            W2 worker_queue: next = fiber (SC); read the parked (SC)  <-- Dekker -->  parker: join them; fence; read next.
 * Rejected   switching through the loop every time, so that wishes are acted on only there: 22.9 ns for a yield instead of
 *            16.6, since
 *            each switch is two;
 *            one deque for fresh and woken fibers: newest first starves, oldest first makes fork-join breadth-first.
 */
#ifndef SCHED_WORKER_H
#define SCHED_WORKER_H

#include "sched/deque.h"
#include "sched/idle.h"
#include "sched/injector.h"
#include "sched/table.h"

struct worker;
struct timers;
struct reactor;
struct pool;

/* The floors above post themselves here. */
struct sched_hooks {
    void (*ended)(struct fiber *f);             /* after it has left its stack; publishes the result, frees the descriptor */
    void (*watch)(struct sched *s);             /* somebody must look at the workers in a while (runtime/monitor.h) */
    void (*parking)(struct sched *s);           /* a worker is going to park (runtime/trim.h) */
};

struct sched {
    struct worker *workers;                     /* I */
    unsigned count;                             /* I */
    const struct sched_hooks *hooks;            /* I */
    struct timers *timers;                      /* I the floors above find their own here */
    struct reactor *reactor;
    struct pool *pool;
    atom32 stopping;                            /* A 1: workers end when they find nothing */
    atom32 visits;                              /* A threads that queue something from outside just now: V1 */
    atom32 watched;                             /* A 1: the monitor is awake, no need to call it */
    struct injector injector;
    struct idle idle;
};

/* Bits of a tripwire. */
#define TRIP_CALL 1u                            /* the monitor sleeps: call it */
#define TRIP_EXPIRED 2u                         /* the slice is over */

enum phase { PHASE_RUN, PHASE_SEARCH, PHASE_PARK, PHASES };

struct worker {
    /* written by the thread that drives it */
    struct sched *sched;                        /* I */
    uint32_t index;                             /* I */
    bool alone;                                 /* I no other worker: nobody steals, nobody else to wake */
    uint32_t streak;                            /* O dispatches in a row through next */
    uint32_t fresh_taken, turn;                 /* O */
    uint32_t patience;                          /* O pauses before the next theft */
    uint64_t random;                            /* O */
    struct chain mine;                          /* O pinned fibers, ready */
    struct table_cache fibers;                  /* O */
    struct stack_cache stacks;                  /* O */
    atom32 phase;                               /* O enum phase; others read */
    atom64 since;                               /* O when it began */
    atom64 time[PHASES];                        /* O ns, without the present one */
    atom64 dispatched, spawned, ended, stolen, attempts, injected, parks, wakes;        /* O counters, others read */
    atom64 daemons_spawned, daemons_ended;      /* O counted here and not in spawned, ended */

    /* written by others too */
    _Alignas(CACHE_LINE) atomptr next;          /* W1 */
    atom32 stale;                               /* A 1: the monitor offers next to thieves */
    atom32 tripwire;                            /* A not 0: weft_checkpoint must take its slow path */
    struct injector inbox;                      /* pinned fibers woken by others */

    struct deque ready, fresh;
};

enum after { AFTER_PARK, AFTER_YIELD, AFTER_END, AFTER_REJOIN };

/* What an OS thread is to us; thread-local. */
struct thread {
    struct worker *worker;                      /* the one it drives; NULL: a foreign thread, or its worker was handed over */
    struct fiber *fiber;                        /* the one that runs on it; NULL on the loop's stack and in foreign threads */
    struct fiber *outside;                      /* the descriptor that it waits with when it is no fiber */
    struct context base;                        /* where the loop continues */
    struct san_context san;
    enum after after;                           /* the wish of the fiber that was left last */
    struct fiber *left;                         /* by a switch from fiber to fiber, until the wish is acted on; else NULL */
};

/* Never keep the answer over anything that may switch: the fiber may go on in another thread. The compiler cannot either: it
 * does not know what the asm computes, nor that it would compute the same again. */
#if defined(__x86_64__) && !defined(WEFT_MODEL)
extern __thread struct thread thread_self_ __attribute__((visibility("hidden"), tls_model("initial-exec")));

static inline struct thread *thread_self(void)
{
    struct thread *t;
    __asm__ volatile("movq thread_self_@gottpoff(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(t) : : "cc");
    return t;
}
#else
struct thread *thread_self(void);
#endif

/* The running fiber: let the next one run. Returns when it is dispatched again; not at all after AFTER_END. */
void worker_leave(enum after wish);

/* Drive t's worker until the scheduler stops or the worker is handed to another thread. */
void worker_run(struct thread *t);

/* Is there anything that could run instead of the running fiber? By the thread that drives w. */
static inline bool worker_has_other(const struct worker *w)
{
    return !deque_empty(&w->ready) || w->mine.head || !deque_empty(&w->fresh) || load_relaxedptr(&w->next) ||
           injector_length(&w->inbox) || injector_length(&w->sched->injector);
}

/* The tripwire was found set: the monitor is told that somebody is there. True: the running fiber's slice is over. By the thread
 * that drives w. */
bool worker_trip(struct worker *w);

/* A READY fiber that the caller owns goes to where it will run: the caller's worker, its pinned one, or the injector. */
void worker_queue(struct fiber *f);

/* Several of one scheduler, from a thread that is none of its workers'. */
void worker_queue_chain(struct chain *c);

/* Is somebody just queueing something from outside? */
bool worker_visited(const struct sched *s);

/* A fiber just spawned, by the thread that drives w. */
void worker_queue_fresh(struct worker *w, struct fiber *f);

bool worker_init(struct worker *w, struct sched *s, uint32_t index);    /* false: no memory */
void worker_destroy(struct worker *w);

#endif
