/* SPDX-License-Identifier: MIT */
/*
 * explorer - runs a protocol in every order that the memory model allows
 *
 * A stateless model checker for code that touches shared words only through sched/atomic.h. Threads are coroutines on
 * one OS thread; before each atomic operation any thread may be put in front, and each load may read any store that
 * views.h leaves readable. A test is run again and again, each time with another string of choices.
 *
 * Search     First depth-first over all choices, at most `preemptions` switches away from a thread that could go on
 *            (switches at the end of a thread, at a wait and at cpu_relax are free) and, if `--stale` is given, at most
 *            so many reads of other than the newest store. Then random schedules and PCT ones (Burckhardt et al.,
 *            ASPLOS 2010), both without bounds.
 *            The depth-first search keeps a hash of each state (all threads' causal histories and views, all stores and
 *            their order) and leaves a state that it has been in with as many preemptions left. 64-bit hashes;
 *            --no-memo turns it off. This asks of a test that its plain variables belong to one thread each, or are
 *            ordered by the atomics, or do not care about the order (a bitmap, a count).
 * Failures   a MODEL_ASSERT, a race in model_exclusive, a freed word touched, an unlisted outcome, all threads waiting,
 *            a crash, or more than MODEL_STEPS steps. The steps and a string for --replay are printed.
 * Waiting    cpu_relax says "I only wait for somebody else". The words that the thread has read since its last
 *            cpu_relax now show it their newest stores (a store becomes visible in finite time), and if that was
 *            nothing new and nobody has stored anything since its last cpu_relax, it waits until somebody does. A loop
 *            that looks at k places in turn, one each lap, needs `spins` = k idle laps. So a spin ends in finitely many
 *            steps, and one that nobody would ever end is reported as a deadlock.
 * Limits     no load buffering (a load never sees a store that comes later in the run): see views.h.
 * Threads    one OS thread; not a library for anything but tests/model.
 */
#ifndef MODEL_EXPLORER_H
#define MODEL_EXPLORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sched/atomic.h"

#define MODEL_THREADS 6
#define MODEL_STEPS 4000

struct model_test {
    const char *name;
    void (*setup)(void);                        /* before the threads; its operations are no steps */
    void (*thread[MODEL_THREADS + 1])(void);    /* NULL ends the list */
    void (*check)(void);                        /* after all threads have ended; sees the newest store of each word */
    const char *outcomes;                       /* blank-separated: exactly these model_outcome()s must come up */
    int preemptions;                            /* 0: the default, 3 */
    int spins;                                  /* idle laps that a cpu_relax loop may make; 0: none */
};

#define MODEL_ASSERT(x) ((x) ? (void)0 : model_fail("%s:%d: %s", __FILE__, __LINE__, #x))

void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void model_outcome(const char *format, ...) __attribute__((format(printf, 1, 2)));      /* once, in check */
unsigned model_choose(unsigned n);              /* any of 0..n-1: a time-out, a victim, an arrival */
unsigned model_self(void);                      /* index of the running thread */
extern int64_t model_clock;                     /* what clock_now answers; the test sets it */

/* The caller must be the only one who can touch *p: every earlier model_exclusive(p) happens before this one. */
void model_exclusive(const void *p);
void model_name(const void *p, const char *format, ...) __attribute__((format(printf, 2, 3)));  /* for the steps */

/* Waits that cost nothing and end up in the deadlock report. */
void model_wait_until(bool (*ready)(void *), void *arg);        /* plain state of the test; orders nothing */

struct model_sem { atom32 count; };
void model_sem_post(struct model_sem *s);                       /* release */
void model_sem_wait(struct model_sem *s);                       /* acquire */

/* As the kernel's: both make a full fence first, woken threads are the oldest. 0, -EAGAIN or, if it may, -ETIMEDOUT. */
int model_futex_wait(const atom32 *word, uint32_t expected, bool may_time_out);
unsigned model_futex_wake(const atom32 *word, unsigned n);      /* how many were woken */

/* main() of a model program: runs all tests or what the arguments say, prints "N passed, N failed", answers 0 or 1. */
int model_main(int argc, char **argv, const struct model_test *tests, size_t n);

/* For the explorer's own rooms. */
enum model_pick { MODEL_PICK_RUN, MODEL_PICK_READ, MODEL_PICK_PLACE, MODEL_PICK_USER };
unsigned model_pick(unsigned n, enum model_pick what);
void model_step(void);
void model_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *model_arena_alloc(size_t size, size_t align);

#endif
