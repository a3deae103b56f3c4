/* SPDX-License-Identifier: MIT */
/*
 * weft - fibers on all cores, with a deadline and a cancellation on every wait
 *
 * This is the whole face of the library; compile with `cc prog.c $(pkg-config --cflags --libs weft)`.
 *
 * Results    >= 0 is good, a negative errno value is an error. No call reads or sets errno: errno belongs to a thread, and a
 *            fiber that moved to another thread would read the old one's.
 * Deadlines  the last argument of every call that can wait: absolute CLOCK_MONOTONIC nanoseconds. WEFT_FOREVER waits without
 *            end, WEFT_NOW (and any time in the past) tries once and answers -ETIMEDOUT; weft_after(5 * WEFT_SEC) makes one.
 *            Nothing ever times out early.
 * Colour     there is none: every call works inside a fiber (the fiber parks) and outside one (the thread parks), with the
 *            same results. All calls may be made from any thread at any time unless the call says otherwise.
 * [W]        marks a call that can wait. Each of them also answers
 *              -ECANCELED  the calling fiber is cancelled and unshielded; looked at on entry; nothing was done
 *              -ETIMEDOUT  the deadline, or the fiber's ambient one, has passed; nothing was done
 *              -EDEADLK    waiting is impossible here: in a timer callback or under weft_nosuspend
 *              -ESTALE     in a child of fork(): the runtime lives in the parent
 * Waiters    of one object are served in order of arrival. An object (mutex, event, ...) may be freed or reused the moment the
 *            wait on it has returned. All structs are valid when zeroed; names that end in _ are private.
 */
#ifndef WEFT_H
#define WEFT_H

#include <sys/types.h>

#if !defined(_POSIX_C_SOURCE) && !defined(__USE_POSIX)
#error "weft.h needs POSIX.1-2008: compile with -std=gnu11 (or a later gnu dialect), or define _POSIX_C_SOURCE=200809L first"
#endif

#include "weft/base.h"
#include "weft/time.h"
#include "weft/io.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_VERSION "0.1.0"

/* ---- runtime ------------------------------------------------------------------------------------------------------------ */

struct weft_opts {
    size_t size;                                /* sizeof(struct weft_opts), or 0 */
    unsigned workers;                           /* 0: the CPUs that this process may use, by affinity and cgroup quota;
                                                   at most 256 */
    size_t stack_size;                          /* bytes of every fiber's stack; 0: 64 KiB; rounded up to a power of two from 16 KiB
                                                   to 64 MiB, of which up to 896 go to colouring */
    unsigned blocking_threads;                  /* most blocking jobs at one time; 0: 16 */
    unsigned flags;                             /* none yet: 0 */
    const char *name;                           /* of the threads; NULL: "weft" */
};

/* Start a runtime, run fn(arg) as its main fiber, wait for every fiber that is not a daemon, cancel the daemons, stop.
 * opts may be NULL. The environment's WEFT_WORKERS overrides opts->workers.
 * Returns fn's result, or if the runtime could not start -EINVAL (bad options or WEFT_WORKERS), -ENOMEM, -EAGAIN (no thread),
 * -EMFILE or -ENFILE (no descriptor), -ESTALE. */
WEFT_API int64_t weft_run(weft_fn fn, void *arg, const struct weft_opts *opts);

/* Start a runtime without a main fiber; several may live in one process. Results as weft_run: 0 or a negative errno. */
WEFT_API int weft_start(weft_rt **rt, const struct weft_opts *opts);

/* [W] Cancel every fiber of rt, wait for all of them, end its threads, free it. From then on rt is invalid.
 * Returns 0; -ETIMEDOUT names on stderr who is left (and rt lives on: stop it again); -EDEADLK from one of its own fibers;
 * -EINVAL for NULL; -ESHUTDOWN if it is stopped already; -EALREADY while somebody else stops it. */
WEFT_API int weft_stop(weft_rt *rt, int64_t deadline);

/* [W] Run fn(arg) as a fiber of rt and wait for its result (result may be NULL). From any thread, and from any fiber.
 * Past the deadline the fiber is cancelled and detached. -ENOMEM, -ESHUTDOWN, -EINVAL. */
WEFT_API int weft_call(weft_rt *rt, weft_fn fn, void *arg, int64_t *result, int64_t deadline);

WEFT_API weft_rt *weft_current(void);           /* the runtime of the calling fiber; NULL outside */
WEFT_API int weft_workers(weft_rt *rt);         /* how many workers it has; -EINVAL for NULL */
WEFT_API const char *weft_version(void);

/* ---- fibers ------------------------------------------------------------------------------------------------------------- */

#define WEFT_PINNED 1u                          /* never moves to another worker once it has run */
#define WEFT_DETACHED 2u                        /* nobody joins it */
#define WEFT_DAEMON 4u                          /* weft_run does not wait for it: it is cancelled at the end */

struct weft_attr {
    size_t size;                                /* sizeof(struct weft_attr), or 0 */
    size_t stack_size;                          /* 0: the runtime's */
    const char *name;                           /* copied, at most 23 bytes of it */
    int priority;                               /* 0 */
    unsigned flags;
    weft_rt *runtime;                           /* NULL: the caller's own */
};

/* Make fn(arg) ready to run on any worker. It inherits the caller's ambient deadline. Its id, > 0; or -ENOMEM,
 * -EAGAIN (the caller is no fiber and attr names no runtime), -ESHUTDOWN (that runtime is stopping), -EINVAL, -ESTALE.
 * attr may be NULL. Never waits. */
WEFT_API weft_t weft_spawn(weft_fn fn, void *arg);
WEFT_API weft_t weft_spawn_attr(weft_fn fn, void *arg, const struct weft_attr *attr);

/* [W] Wait until the fiber has ended; its result goes to *result unless NULL. All that wait at the end get it; then the id is
 * stale. -ESRCH: no such fiber (any more); -EDEADLK: the caller itself; -EINVAL: detached. After -ETIMEDOUT or -ECANCELED
 * it can still be joined. */
WEFT_API int weft_join(weft_t fiber, int64_t *result, int64_t deadline);

/* Its result interests nobody; it frees itself. -ESRCH; -EINVAL if it is detached already. */
WEFT_API int weft_detach(weft_t fiber);

/* From now on every wait of the fiber answers -ECANCELED, the present one included, unless it is shielded. A fiber cancelled
 * before it ran still starts. 0; 0 too for one that has ended and was not joined; -ESRCH. */
WEFT_API int weft_cancel(weft_t fiber);

WEFT_API weft_t weft_self(void);                /* the calling fiber's id; 0 outside */

/* Let others run. 0, or -ECANCELED. */
WEFT_API int weft_yield(void);

/* Two loads and a branch: yield if this fiber's time slice (10 ms) is used up. 0, or -ECANCELED. For long computations. */
WEFT_API int weft_checkpoint(void);

/* [W] Suspend until somebody calls weft_unpark on this fiber. One token each: an unpark that comes first is kept, many are
 * one; other waits do not take it. No spurious 0. Outside a fiber: -EDEADLK, since a thread has no id to unpark. */
WEFT_API int weft_park(int64_t deadline);
WEFT_API int weft_unpark(weft_t fiber);         /* 0, or -ESRCH */

WEFT_API int weft_cancelled(void);              /* 1 if the calling fiber was cancelled, shielded or not */
WEFT_API int weft_shield(int on);               /* while on, waits do not see the cancellation; returns the old value */
WEFT_API int weft_worker(void);                 /* index of the worker that runs the caller; -1 outside a fiber */
WEFT_API int weft_pin(int on);                  /* stay on this worker; returns the old value */
WEFT_API int weft_nosuspend(int on);            /* while on, a call that would have to wait answers -EDEADLK; returns the
                                                   old value */

/* Around a system call that blocks, or a long computation in foreign code: the worker and its queues go to another thread
 * meanwhile. Nothing that waits may be called in between. 0; -EAGAIN: no thread could be had, the call may still be made;
 * -EINVAL: not in pairs, in a pinned fiber, or outside a fiber. */
WEFT_API int weft_block_begin(void);
WEFT_API int weft_block_end(void);

WEFT_API WEFT_NORETURN void weft_exit(int64_t result);      /* end the calling fiber, or outside one the thread */

/* ---- groups, cancellation, deadlines ------------------------------------------------------------------------------------- */

#define WEFT_FAILFAST 1u                        /* the first negative result cancels the other members */

struct weft_group {
    uint32_t word_, limit_, flags_, cancelled_;
    int64_t count_, first_;
    struct weft_list_ members_, waiters_, spawners_;
};

/* Fibers that are waited for together; zeroed is ready. limit: most members at one time, 0 for any. -EINVAL. */
WEFT_API int weft_group_init(struct weft_group *g, unsigned limit, unsigned flags);

/* [W] only while the group is at its limit (the ambient deadline holds). The member's id, it needs no join; -ECANCELED also if
 * the group is cancelled; else as weft_spawn. */
WEFT_API weft_t weft_group_spawn(struct weft_group *g, weft_fn fn, void *arg);

/* [W] Wait for all members. 0, or the negative result that came first in time; the -ECANCELED of others never replaces it.
 * After a clean wait the group is as new. */
WEFT_API int weft_group_wait(struct weft_group *g, int64_t deadline);
WEFT_API int weft_group_cancel(struct weft_group *g);       /* cancel the members of now and of later; 0 */
WEFT_API int weft_group_close(struct weft_group *g);        /* cancel, and wait shielded: nothing outlives it; as wait */

/* The ambient deadline of this fiber and of those that it spawns from now on: the smaller wins over the one in force and over
 * each call's own. Returns the previous one, to be given back to weft_deadline_restore. */
WEFT_API int64_t weft_deadline(int64_t deadline);
WEFT_API void weft_deadline_restore(int64_t previous);

/* ---- time ---------------------------------------------------------------------------------------------------------------- */

/* weft_now, weft_after, weft_sleep: weft/time.h */

struct weft_timer {
    uint64_t node_[5];
    void *owner_;
    uint64_t epoch_;
    int64_t due_, period_, taken_;
    void (*fn_)(void *);
    void *arg_;
    struct weft_timer *next_;
    uint32_t word_, state_;
    struct weft_list_ waiters_;
};

/* Call fn(arg) at the deadline (never early), and then every period ns if period > 0: one call when late, not one for each
 * missed period. Callbacks of a runtime run one after the other in a fiber of their own; they must not wait (-EDEADLK) nor
 * compute for long. fn may be NULL for a ticker. A running timer is restarted. A timer that fired or was stopped needs no
 * zeroing. Called outside a fiber it belongs to the oldest runtime: -EAGAIN if there is none. 0, -EINVAL, -ENOMEM. */
WEFT_API int weft_timer_start(struct weft_timer *t, int64_t deadline, int64_t period, void (*fn)(void *), void *arg);
WEFT_API int weft_timer_reset(struct weft_timer *t, int64_t deadline);   /* move it; 1 it was armed, 0 it is armed again */

/* 1: it will not run (any more); 0: it already ran. Waits for a running callback (unless called from a callback), so that the
 * memory is the caller's again. Those in weft_ticker_wait get -EPIPE. */
WEFT_API int weft_timer_stop(struct weft_timer *t);

/* [W] Periods that passed since the last wait, > 0: missed ones are counted, not queued. -EINVAL without a period. */
WEFT_API int64_t weft_ticker_wait(struct weft_timer *t, int64_t deadline);

/* ---- synchronisation ----------------------------------------------------------------------------------------------------- */

struct weft_mutex { uint32_t word_, reserved_; int64_t owner_; struct weft_list_ waiters_; };
struct weft_cond { uint32_t word_, reserved_; struct weft_list_ waiters_; };
struct weft_sem { uint32_t word_; uint32_t count_; struct weft_list_ waiters_; };
struct weft_wg { uint32_t word_, reserved_; int64_t count_; struct weft_list_ waiters_; };
struct weft_event { uint32_t word_, reserved_; struct weft_list_ waiters_; };

/* [W] The owner is the fiber (or thread) that locked it. -EDEADLK: the caller holds it already. A waiter may be overtaken by
 * newcomers a bounded number of times, then the mutex is handed to it. */
WEFT_API int weft_mutex_lock(struct weft_mutex *m, int64_t deadline);
WEFT_API int weft_mutex_unlock(struct weft_mutex *m);       /* -EPERM: the caller does not hold it */

/* [W] Unlock m, wait for a signal, lock m again: it is held whatever the answer. No spurious 0. -EPERM. */
WEFT_API int weft_cond_wait(struct weft_cond *c, struct weft_mutex *m, int64_t deadline);
WEFT_API int weft_cond_signal(struct weft_cond *c);
WEFT_API int weft_cond_broadcast(struct weft_cond *c);

WEFT_API int weft_sem_init(struct weft_sem *s, unsigned permits);
WEFT_API int weft_sem_wait(struct weft_sem *s, int64_t deadline);        /* [W] take one permit */
WEFT_API int weft_sem_post(struct weft_sem *s);             /* give one; -EOVERFLOW past UINT32_MAX */

WEFT_API int weft_wg_add(struct weft_wg *w, int n);         /* n may be negative; -EINVAL below 0, nothing done */
WEFT_API int weft_wg_done(struct weft_wg *w);
WEFT_API int weft_wg_wait(struct weft_wg *w, int64_t deadline);          /* [W] until the count is 0 */

WEFT_API int weft_event_set(struct weft_event *e);          /* stays set until reset; wakes all */
WEFT_API int weft_event_reset(struct weft_event *e);
WEFT_API int weft_event_wait(struct weft_event *e, int64_t deadline);    /* [W] until it is set */

/* ---- channels ------------------------------------------------------------------------------------------------------------ */

#define WEFT_UNBOUNDED SIZE_MAX

/* A queue of values of elem bytes for any number of senders and receivers. capacity 0: a rendezvous, WEFT_UNBOUNDED: send
 * never waits. 0 with one reference, -ENOMEM, -EINVAL (elem or capacity beyond any memory). */
WEFT_API int weft_chan_open(weft_chan **c, size_t elem, size_t capacity);

/* [W] Copy *value in; NULL only with elem 0. -EPIPE: closed, nothing was sent. -ENOMEM: unbounded and no memory. -EINVAL. */
WEFT_API int weft_chan_send(weft_chan *c, const void *value, int64_t deadline);

/* [W] Copy the oldest value out (NULL drops it). -EPIPE: closed and drained. */
WEFT_API int weft_chan_recv(weft_chan *c, void *value, int64_t deadline);

WEFT_API int weft_chan_close(weft_chan *c);     /* senders get -EPIPE, receivers what is buffered, then -EPIPE. -EALREADY */
WEFT_API weft_chan *weft_chan_ref(weft_chan *c);
WEFT_API void weft_chan_unref(weft_chan *c);    /* the last one frees it; NULL is allowed */
WEFT_API size_t weft_chan_len(weft_chan *c);    /* values buffered at this moment */

/* ---- seeing inside ------------------------------------------------------------------------------------------------------- */

struct weft_worker_stats {
    uint64_t dispatched;                        /* times a fiber was switched to */
    uint64_t spawned, ended;                    /* fibers */
    uint64_t stolen;                            /* fibers taken from other workers */
    uint64_t steal_attempts;                    /* looks at another worker's queues */
    uint64_t injected;                          /* fibers taken from the injector */
    uint64_t parked, woken;                     /* times the thread went to sleep; wake-ups it sent to others */
    uint64_t run_ns, search_ns, park_ns;        /* where its time went */
    uint64_t reserved[5];
};

#define WEFT_STATS_WORKERS 64

struct weft_stats {
    unsigned workers, reserved;
    uint64_t io_wakeups;                        /* times the I/O thread returned from its wait */
    uint64_t io_events, timers_fired;
    uint64_t fibers;                            /* alive */
    struct weft_worker_stats all;               /* sums over the workers */
    struct weft_worker_stats worker[WEFT_STATS_WORKERS];    /* the first of them */
};

/* Copy the counters, at most size bytes. They are read while they move: each is exact, their sums are of about now. 0, -EINVAL. */
WEFT_API int weft_stats(weft_rt *rt, struct weft_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif
