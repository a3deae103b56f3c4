/* SPDX-License-Identifier: MIT */
/*
 * mutex - one owner, one CAS to lock it and one to unlock it, and a bound on how often a waiter is overtaken
 *
 * Owns       the word, the owner's id, the queue of those that wait.
 * Threads    any. The fast paths and the barging are CASes on the whole word; whatever touches the queue holds the word's lock.
 *
 *    word       bit 0  WORD_LOCKED    the queue is being worked on: no CAS may succeed meanwhile
 *               bit 1  WORD_WAITERS   the queue is not empty
 *               bit 2  HELD
 *               bit 3  WOKEN          a waiter was taken out of the queue and told to try: it is on its way, do not wake another
 *               bits 4..              barges: how often newcomers took the mutex past those that wait
 *
 * Barging    An unlock does not hand the mutex over: it wakes the first waiter and leaves the mutex free, so that whoever runs can
 *            take it meanwhile. Handing over at once would cost a switch for every section (a convoy). But each newcomer that
 *            passes a waiter counts, and after MUTEX_BARGES of them newcomers queue up and the mutex goes to the waiter: it is
 *            either on its way (WOKEN; then the free mutex is kept for it) or still queued (then unlock hands it over, HELD stays).
 * Order      Waiters are first come first served. One that was woken and finds the mutex taken queues up before all others.
 * No lost    The mutex is free and somebody is queued only while WOKEN is set. WOKEN is set by an unlock that took a waiter out
 * wake-up    and claimed it, so that waiter does come to lock the word, and there it clears WOKEN and either takes the mutex or
 *            finds it HELD; then the unlock of that holder sees the queue and wakes again. It comes even if its deadline has
 *            passed or it is cancelled: it won the claim, so it looks at the mutex before it gives up. Whoever times out in the
 *            queue was not claimed and owes nothing.
 * Freed at   The last touch of an unlock is its CAS, or word_unlock, or comes before the token of the waiter that needs
 * the mutex to
 * once       be there. Every CAS compares the lock bit, so nobody takes the mutex while the queue is being worked on.
 * Ordering   M1 unlock (CAS, word_unlock release) -> lock (CAS, word_lock acquire): the section.
 *            owner_ is only compared with the caller's own id, which nobody else stores before a hand-over (F2): relaxed.
 * Source     the WTF lock of WebKit (bits, queue lock in the word) and Go's sync.Mutex (woken flag, starvation mode).
 *            We differ: overtaking is counted, not timed, so the bound holds for every length of section.
 * Rejected   hand-over always: 64 contenders run at the speed of the switch. No bound: a loop of lock and unlock in one fiber
 *            keeps a waiter out until its time slice ends.
 */
#include "runtime/mutex.h"

#include <errno.h>

#include "sched/worker.h"
#include "timers/waiting.h"

#define HELD 4u
#define WOKEN 8u
#define BARGE 16u
#define BARGES(state) ((state) / BARGE)

#ifdef WEFT_TINY
#define MUTEX_BARGES 1                          /* most newcomers that pass a waiter */
#define MUTEX_SPINS 2                           /* looks at a held mutex before the caller parks */
#else
#define MUTEX_BARGES 32
#define MUTEX_SPINS 40
#endif

enum { TRY = 1, HANDED };                       /* node->result: go and try; it is yours */

/* The lines that tests/model/mutex_model.c must see broken. */
#ifdef MUTANT_MUTEX_WOKEN_KEPT
#define arrived(state) (state)
#else
#define arrived(state) ((state) & ~WOKEN)
#endif
#ifdef MUTANT_MUTEX_NO_LOCK_BIT
#define busy(state) false
#else
#define busy(state) ((state) & WORD_LOCKED)
#endif
#ifdef MUTANT_MUTEX_UNLOCK_RELAXED
#define cas_unlock cas_acquire32
#else
#define cas_unlock cas_acqrel32
#endif
#ifdef MUTANT_MUTEX_WAKE_FORGOTTEN
#define on_its_way(state) ((state) & HELD)
#else
#define on_its_way(state) (((state) & (WORD_WAITERS | WOKEN)) != WORD_WAITERS)
#endif

static inline atom64 *owner(const struct weft_mutex *m) { return (atom64 *)(uintptr_t)&m->owner_; }
static inline void own(struct weft_mutex *m, const struct fiber *f) { store_relaxed64(owner(m), (uint64_t)fiber_id(f)); }

bool mutex_held_by(const struct weft_mutex *m, const struct fiber *self)
{
    return load_relaxed64(owner(m)) == (uint64_t)fiber_id(self);
}

/* ---- lock ---------------------------------------------------------------------------------------------------------------- */

/* The word after the caller took the mutex in this state, or 0: it may not. */
static uint32_t taken(uint32_t state, bool woken)
{
    if (state & HELD)
        return 0;
    if (woken)
        return HELD | (state & WORD_WAITERS);
    if (!(state & (WORD_WAITERS | WOKEN)))
        return HELD;
    return BARGES(state) < MUTEX_BARGES ? (state | HELD) + BARGE : 0;
}

/* Take it without the queue, looking a few times if its holder may be running elsewhere at this moment. */
static bool grab(atom32 *word, bool woken, int looks)
{
    uint32_t seen = load_relaxed32(word);
    for (;;) {
        uint32_t next = busy(seen) ? 0 : taken(seen, woken);
        if (next) {
            if (cas_acquire32(word, &seen, next))       /* M1: pairs with mutex_give */
                return true;
            continue;
        }
        if (!(seen & (HELD | WORD_LOCKED)) || looks-- <= 0)
            return false;
        cpu_relax();
        seen = load_relaxed32(word);
    }
}

static int lock_slow(struct weft_mutex *m, struct fiber *self, int64_t deadline)
{
    atom32 *word = waiting_word(&m->word_);
    struct wait_queue *q = waiting_queue(&m->waiters_);
    struct wait_node node = { 0 };
    bool woken = false;
    if (mutex_held_by(m, self))
        return -EDEADLK;
    for (;;) {
        int looks = !self->sched || self->sched->count > 1 ? MUTEX_SPINS : 0;
        uint32_t state, next;
        int r;
        if (grab(word, woken, looks))
            break;
        state = word_lock(word);                /* M1 */
        next = taken(state, woken);
        if (next) {
            word_unlock(word, next);
            break;
        }
        if (woken)
            state = arrived(state);
        r = waiting_object(self, word, state, q, &node, deadline, woken);
        if (r < 0)
            return r;
        if (r == HANDED)
            break;
        woken = true;
    }
    own(m, self);
    return 0;
}

static inline bool lock_fast(struct weft_mutex *m, struct fiber *self)
{
    uint32_t seen = 0;
    if (!cas_acquire32(waiting_word(&m->word_), &seen, HELD))   /* M1: pairs with mutex_give */
        return false;
    own(m, self);
    return true;
}

int weft_mutex_lock(struct weft_mutex *m, int64_t deadline)
{
    struct fiber *self;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    return lock_fast(m, self) ? 0 : lock_slow(m, self, deadline);
}

void mutex_retake(struct weft_mutex *m, struct fiber *self)
{
    int64_t deadline = self->deadline;
    uint32_t shield = self->shield;
    if (lock_fast(m, self))
        return;
    self->deadline = WEFT_FOREVER;
    self->shield = 1;
    (void)lock_slow(m, self, WEFT_FOREVER);
    self->deadline = deadline;
    self->shield = shield;
}

/* ---- unlock -------------------------------------------------------------------------------------------------------------- */

static void give_slow(struct weft_mutex *m, uint32_t seen)
{
    atom32 *word = waiting_word(&m->word_);
    struct wait_queue *q = waiting_queue(&m->waiters_);
    struct wait_node *n = NULL;
    uint32_t state;
    /* nobody to wake, or somebody is on his way: as it was */
    while (!busy(seen) && on_its_way(seen))
        if (cas_unlock(word, &seen, seen & WOKEN ? seen & ~HELD : 0))         /* M1: pairs with lock */
            return;
    state = word_lock(word);
    if (!on_its_way(state))
        n = wait_pop(q);
    if (!n) {
        state = state & WOKEN ? state & ~HELD : 0;
    } else if (BARGES(state) >= MUTEX_BARGES) {
        n->result = HANDED;
        own(m, n->fiber);
        state = HELD;
    } else {
        n->result = TRY;
        state = (state & ~HELD) | WOKEN;
    }
    word_unlock(word, q->head ? state | WORD_WAITERS : state & ~WORD_WAITERS);  /* M1: the last touch */
    if (n)
        ready(n->fiber);
}

void mutex_give(struct weft_mutex *m)
{
    uint32_t seen = HELD;
    store_relaxed64(owner(m), 0);
    if (!cas_unlock(waiting_word(&m->word_), &seen, 0))       /* M1: pairs with lock */
        give_slow(m, seen);
}

int weft_mutex_unlock(struct weft_mutex *m)
{
    struct thread *t = thread_self();
    struct fiber *self = t->fiber ? t->fiber : t->outside;      /* a holder has a descriptor: no memory is needed here */
    if (!self || !mutex_held_by(m, self))
        return -EPERM;
    mutex_give(m);
    return 0;
}
