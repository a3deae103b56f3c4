/* SPDX-License-Identifier: MIT */
/*
 * timers - see timers.h; here is why no timer is missed
 *
 *     armer                                     driver
 *     lock; wheel_add                           until = least first of all shards
 *     if due >= first: unlock, done (c)         sleeping_until = until
 *     first = due; unlock                       fence_full (T3)            <--paired--.
 *     fence_full (T3)            <--paired-->   again = least first of all shards      |
 *     if due < sleeping_until:                  if again < until: lower sleeping_until to it
 *         CAS it down to due, interrupt         sleep until the lower of the two
 *
 * T2 while the driver sleeps until u, every armed node has due >= u, or an armer interrupts: it has lowered
 *    sleeping_until, or is about to.
 * (a) An armer that lowers first. Of two store-then-load pairs with full fences between them at least one load sees the
 *     other's store. Either `again` sees this first, so u <= due; or the armer sees sleeping_until at least as new as
 *     `until`, so it lowers it and interrupts, or finds it at or below due, since another lowered it: that one does.
 * (b) INT64_MIN (the driver is awake) makes the armer silent, rightly: what it read is older than `until`, therefore
 *     the driver's second look sees its first.
 * (c) An armer that leaves first as it is, at f <= due. If the driver's last look at this shard found f or something
 *     lower, u <= f. Else another armer lowered it to f after that look, and (a) holds for that one: u <= f, or it
 *     interrupts for f <= due. Either way the driver is up by then, and looks. So arms that are not the earliest of
 *     their shard need no fence and do not read the driver's line.
 * The driver's own refining of first (raise it under the lock to what the wheel says) never passes a node: T1.
 * No wake-up is sent without need: an interrupt follows only a CAS that lowers sleeping_until, so at most one per value,
 * and only for a timer that is due before the driver would look. Later and equal ones are silent. A timer disarmed
 * before its time has the driver up once at its due, if it was the earliest: it sleeps in the kernel until then and is
 * not told.
 * TSAN sees no edge in the fences and needs none: nodes pass through the locks, the two words are atomic.
 */
#include "timers/timers.h"

#include <errno.h>

#include "sched/config.h"
#include "sched/lock.h"
#include "sched/mem.h"

#define FOREVER UINT32_MAX          /* as owner: armed, but in no wheel */

struct timers_shard {
    struct spin lock;
    atom64 first;                   /* T1 */
    int64_t turned;                 /* driver's own: when it last went through the wheel */

    struct wheel wheel __attribute__((aligned(CACHE_LINE)));     /* under lock */
} __attribute__((aligned(CACHE_LINE)));

/* The lines that tests/model/timers_model.c must see broken. */
#ifdef MUTANT_TIMERS_ARM_FENCE
#define arm_fence() ((void)0)
#else
#define arm_fence() fence_full()
#endif
#ifdef MUTANT_TIMERS_SLEEP_FENCE
#define sleep_fence() ((void)0)
#else
#define sleep_fence() fence_full()
#endif
#ifdef MUTANT_TIMERS_LOOK
static inline int64_t look_again(struct timers *t) { (void)t; return INT64_MAX; }
#else
static inline int64_t look_again(struct timers *t) { return timers_next(t); }
#endif

/* Leave the lock free for a moment: a waiter needs some 100 ns to see it. */
#ifdef WEFT_MODEL                   /* where cpu_relax says that only somebody else's store will help */
static inline void gap(void) { }
#else
static inline void gap(void)
{
    for (int i = 0; i < 8; i++)
        cpu_relax();
}
#endif

static inline int64_t first_of(struct timers_shard *s) { return (int64_t)load_relaxed64(&s->first); }

static inline void set_first(struct timers_shard *s, int64_t due) { store_relaxed64(&s->first, (uint64_t)due); }

/* Lower sleeping_until to due, unless it is there already; whether it was this call that did. */
static bool lower(struct timers *t, int64_t due)
{
    uint64_t seen = load_relaxed64(&t->sleeping_until);

    while (due < (int64_t)seen)
        if (cas_acqrel64(&t->sleeping_until, &seen, (uint64_t)due))
            return true;
    return false;
}

int timers_init(struct timers *t, unsigned shards, int64_t now, struct waker waker)
{
    if (!shards)
        return -EINVAL;
    t->shards = mem_alloc(shards * sizeof(struct timers_shard), CACHE_LINE);
    if (!t->shards)
        return -ENOMEM;
    t->count = shards;
    t->waker = waker;
    store_relaxed64(&t->sleeping_until, (uint64_t)INT64_MIN);
    for (unsigned i = 0; i < shards; i++) {
        set_first(&t->shards[i], INT64_MAX);
        t->shards[i].turned = now;
        wheel_init(&t->shards[i].wheel, now);
    }
    return 0;
}

void timers_destroy(struct timers *t)
{
    mem_free(t->shards, t->count * sizeof(struct timers_shard), CACHE_LINE);
    t->shards = NULL;
    t->count = 0;
}

void timers_arm(struct timers *t, struct timer_node *n, int64_t due, unsigned shard)
{
    if (due == INT64_MAX) {
        n->wheel.due = due;
        n->wheel.owner = FOREVER;
        return;
    }
    if (shard >= t->count)
        shard = t->count - 1;
    struct timers_shard *s = &t->shards[shard];
    n->wheel.owner = shard;
    spin_lock(&s->lock);
    wheel_add(&s->wheel, &n->wheel, due);
    bool earliest = due < first_of(s);
    if (earliest)
        set_first(s, due);
    spin_unlock(&s->lock);          /* from here on n may have fired and be gone */
    if (!earliest)
        return;                     /* (c) */
    arm_fence();                    /* T3: pairs with timers_sleep */
    if (lower(t, due))
        t->waker.interrupt(t->waker.arg);
}

bool timers_disarm(struct timers *t, struct timer_node *n)
{
    if (n->wheel.owner == FOREVER) {
        n->wheel.owner = 0;
        return true;
    }
    struct timers_shard *s = &t->shards[n->wheel.owner];
    spin_lock(&s->lock);
    bool armed = wheel_queued(&n->wheel);
    if (armed)
        wheel_remove(&s->wheel, &n->wheel);
    spin_unlock(&s->lock);
    return armed;
}

static unsigned expire(struct timers_shard *s, int64_t now, void *out)
{
    unsigned fired = 0;

    for (;;) {
        struct timer_node *n;
        unsigned work = TIMERS_BATCH;
        spin_lock(&s->lock);
        while ((n = (struct timer_node *)wheel_expire(&s->wheel, now, &work))) {
            n->fire(n, out);
            fired++;
        }
        if (work)
            set_first(s, wheel_next(&s->wheel));
        spin_unlock(&s->lock);
        if (work)
            return fired;
        gap();
    }
}

unsigned timers_expire(struct timers *t, int64_t now, void *out)
{
    unsigned fired = 0;

    for (unsigned i = 0; i < t->count; i++) {
        struct timers_shard *s = &t->shards[i];
        /* A wheel whose base lags puts near timers into coarse slots: right, but then they need sorting. */
        if (first_of(s) > now && now - s->turned < TIMERS_TURN)
            continue;
        fired += expire(s, now, out);
        s->turned = now;
    }
    return fired;
}

int64_t timers_next(struct timers *t)
{
    for (;;) {
        struct timers_shard *s = &t->shards[0];
        int64_t least = first_of(s);
        for (unsigned i = 1; i < t->count; i++)
            if (first_of(&t->shards[i]) < least) {
                s = &t->shards[i];
                least = first_of(s);
            }
        if (least == INT64_MAX)
            return least;
        spin_lock(&s->lock);        /* first may be that of a timer disarmed since: ask the wheel */
        int64_t next = wheel_next(&s->wheel);
        set_first(s, next);
        spin_unlock(&s->lock);
        if (next <= least)
            return next;
    }
}

int64_t timers_sleep(struct timers *t)
{
    int64_t until = timers_next(t);

    store_relaxed64(&t->sleeping_until, (uint64_t)until);
    sleep_fence();                  /* T3: pairs with timers_arm */
    int64_t again = look_again(t);
    if (again < until) {
        lower(t, again);
        until = again;
    }
    return until;
}

void timers_wake(struct timers *t)
{
    store_relaxed64(&t->sleeping_until, (uint64_t)INT64_MIN);
}
