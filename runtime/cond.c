/* SPDX-License-Identifier: MIT */
/*
 * cond - wait for somebody to say that something has changed
 *
 * Owns       the word and the queue; never the mutex.
 * Threads    any.
 * Atomic     The waiter is queued before it gives up the mutex, so whoever changes the condition under the mutex, later than the
 *            waiter looked at it, finds the waiter.
 * Promises   A signal goes to the first waiter that can be claimed: one that has timed out or was cancelled is passed over, so
 *            the signal is not lost with it. Nothing is stored for later, and nobody wakes without a signal.
 *            The mutex is held again whatever the answer: retaken shielded, without any deadline.
 * Ordering   the queue under the word's lock (L1). A signal that reads the word as 0 saw no waiter that it owes anything: who
 *            was queued before the mutex was last given up is seen by way of the mutex (M1).
 * Freed at   the waiter that was signalled does not touch the condition again; a signaller's last touch is word_unlock.
 * once
 * Rejected   moving waiters of a broadcast straight into the mutex's queue: a node would change its object during the wait,
 *            and a timeout would not know whose lock to take.
 */
#include <errno.h>

#include "runtime/mutex.h"
#include "timers/waiting.h"

/* The lines that tests/model/sync_model.c must see broken. */
#ifdef MUTANT_SYNC_COND_NOT_ATOMIC
#define queue_first(a, b) ((b), (a))
#else
#define queue_first(a, b) ((a), (b))
#endif

static void queue_up(struct weft_cond *c, struct wait_node *node)
{
    (void)word_lock(waiting_word(&c->word_));
    wait_open(node->fiber);
    wait_push(waiting_queue(&c->waiters_), node);
    word_unlock(waiting_word(&c->word_), WORD_WAITERS);
}

/* Queue up, give the mutex away, wait. */
static int await(struct weft_cond *c, struct weft_mutex *m, struct fiber *self, int64_t deadline)
{
    atom32 *word = waiting_word(&c->word_);
    struct wait_queue *q = waiting_queue(&c->waiters_);
    struct wait_node node = { .fiber = self };
    uint32_t state;
    int r;
    queue_first(queue_up(c, &node), mutex_give(m));
    r = waiting_park(self, deadline);
    if (r == 0)
        return 0;
    state = word_lock(word);
    wait_remove(q, &node);
    word_unlock(word, q->head ? state : 0);
    return r;
}

int weft_cond_wait(struct weft_cond *c, struct weft_mutex *m, int64_t deadline)
{
    struct fiber *self;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (!mutex_held_by(m, self))
        return -EPERM;
    r = waiting_admit(self, &deadline);
    if (r < 0)
        return r;
    r = await(c, m, self, deadline);
    mutex_retake(m, self);
    return r;
}

int weft_cond_signal(struct weft_cond *c)
{
    atom32 *word = waiting_word(&c->word_);
    struct wait_queue *q = waiting_queue(&c->waiters_);
    struct wait_node *n;
    if (load_acquire32(word) == 0)
        return 0;
    (void)word_lock(word);
    n = wait_pop(q);
    word_unlock(word, q->head ? WORD_WAITERS : 0);
    if (n)
        ready(n->fiber);
    return 0;
}

int weft_cond_broadcast(struct weft_cond *c)
{
    atom32 *word = waiting_word(&c->word_);
    struct wait_node *n;
    if (load_acquire32(word) == 0)
        return 0;
    (void)word_lock(word);
    n = waiting_pop_all(waiting_queue(&c->waiters_), 0);
    word_unlock(word, 0);
    waiting_ready_all(n);
    return 0;
}
