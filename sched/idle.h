/* SPDX-License-Identifier: MIT */
/*
 * idle - who sleeps, who looks for work, and why no wake-up is lost
 *
 * Owns       the counts of searching and parked workers, the set of the parked, one eventfd per worker.
 * Threads    any may call idle_wake_one and idle_wake; a worker parks only itself.
 * Invariant  if there is work in a shared place, then a worker is awake that will still look at that place, or a wake-up is
 *            on its way.
 *
 *    producer                                      worker that found nothing
 *    P1 put the work there (release)               W1 join the parked set, stop searching (SC)
 *    P2 fence_full                (I1) <--paired-->  W2 fence_full
 *    P3 read {searching, parked}                   W3 look again at every shared place
 *    P4 parked and nobody searching: wake one      W4 still nothing: read the eventfd
 *
 * Proof      Of the fences one is first. If P2 is, W3 sees the work. If W2 is, P3 sees the worker parked; then either P4 wakes
 *            somebody, who looks at all places after being woken, or P3 saw a searcher. A searcher seen at P3 was counted after
 *            P1, and leaves the count only by parking itself (its own W1-W3 come after P2) or by idle_found(), which looks
 *            again when the count falls to 0 (I2, the same argument). So somebody looks after P1 in every case. []
 *
 * Wake one   and let it wake the next: a producer wakes nobody while somebody searches; the searcher that finds work and was
 * then chain the last one wakes another if there is more. So N pushes cost one system call, not N, and idle workers still come up
 *            as fast as work appears. At most half of the workers search.
 * Tokens     a worker whose bit was cleared by somebody else will get exactly one eventfd write, and reads exactly one.
 * Source     Go's "worker thread parking/unparking" essay (proc.go); tokio's idle.rs.
 * Rejected   waking on every push (an eventfd write is 300 ns, a woken worker that finds nothing 10 us); timed parks (they hide
 *            lost wake-ups); a lock-free parked set (parking is a system call anyway, and the lock makes the rights countable).
 */
#ifndef SCHED_IDLE_H
#define SCHED_IDLE_H

#include "sched/atomic.h"
#include "sched/config.h"
#include "sched/lock.h"

#ifdef MUTANT_IDLE_PRODUCER_FENCE
#define idle_producer_fence()
#else
#define idle_producer_fence() fence_full()
#endif

struct idle {
    atom64 counts;                              /* searching << 32 | parked; I1, I2 */
    struct spin lock;
    uint64_t parked[MAX_WORKERS / 64];          /* under the lock */
    int *eventfd;                               /* I one per worker */
    unsigned workers, slots;                    /* I descriptors open; room for */
};

int idle_init(struct idle *i, unsigned workers);        /* 0, -ENOMEM, -EMFILE, -ENFILE */
void idle_destroy(struct idle *i);

bool idle_wake_sleeper(struct idle *i);         /* the rest of idle_wake_one */

/* Producer, after it put work into a shared place: wake one worker if somebody sleeps and nobody searches. True: woke one. */
static inline bool idle_wake_one(struct idle *i)
{
    uint64_t counts;
    idle_producer_fence();                      /* I1: pairs with idle_park; I2: with idle_found */
    counts = load_relaxed64(&i->counts);
    return !(counts >> 32) && (uint32_t)counts && idle_wake_sleeper(i);
}

/* Wake this worker if it is parked, for work that only it can do. */
bool idle_wake(struct idle *i, unsigned worker);

/* Become a searcher: false if enough are. */
bool idle_search(struct idle *i);

/* Stop searching, with work in hand. True: nobody searches any more, the caller must look for more work and wake one. */
bool idle_found(struct idle *i);

/* Sleep until woken; look() is the last look at all shared places. True: now a searcher; false: look() found something and the
 * worker did not sleep, also a searcher. */
bool idle_park(struct idle *i, unsigned worker, bool searching, bool (*look)(void *arg), void *arg);

#endif
