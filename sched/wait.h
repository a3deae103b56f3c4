/* SPDX-License-Identifier: MIT */
/*
 * wait - one wait, many that could end it, one that does
 *
 * Owns       the claim on a waiting fiber (fiber.wait) and the queues of wait nodes in objects.
 * Protocol   The fiber opens its wait, puts nodes into the objects it waits for (one, or many for a select), and parks. An event,
 *            a deadline, a cancellation or a close each try wait_claim(): a CAS from open. The winner, and only the winner, hands
 *            over its value and calls ready() exactly once. Losers leave the fiber alone. The fiber takes the token before it
 *            looks who won, also when it won itself against everybody (then there is no token to take).
 * Threads    wait_open, wait_close: the fiber. wait_claim: any thread that knows the fiber to be in this wait or in a later one:
 *            by a node found under its object's lock, by a timer under its shard's lock, by an id under the handle's lock.
 *            Nodes are linked and unlinked under the object's lock only; they lie on the waiter's stack, and a waiter that was
 *            not served unlinks its nodes itself before it returns.
 * Ordering   C1 wait_open: open; light; then load cancel  <-- Dekker -->  wait_cancel: store cancel; heavy; load wait: either
 *            the fiber sees that it is cancelled or the canceller finds the wait open.
 *            C2 wait_claim release -> wait_close acquire: the reason.
 *            C3 wait_open release -> wait_claim acquire: the state word is RUNNING. Who comes through an object's lock is ordered
 *            by that; a canceller is not, and its token must not be overwritten by the RUNNING of the last dispatch.
 * Rejected   a claim record per wait on the waiter's stack: the canceller, who has only an id, could not touch it safely;
 *            a sequence number in the word: a claim that hits a later wait of the same fiber is no error, it is cancelled
 *            there too.
 */
#ifndef SCHED_WAIT_H
#define SCHED_WAIT_H

#include <stddef.h>

#include "sched/barrier.h"
#include "sched/fiber.h"

/* The lines that tests/model/park_model.c must see broken. */
#ifdef MUTANT_WAIT_OPEN_FENCE
#define wait_open_fence() ((void)0)
#else
#define wait_open_fence() barrier_light()
#endif
#ifdef MUTANT_WAIT_OPEN_RELAXED
#define wait_open_store store_relaxed32
#else
#define wait_open_store store_release32
#endif
#ifdef MUTANT_WAIT_CANCEL_FENCE
#define wait_cancel_fence() ((void)0)
#else
#define wait_cancel_fence() barrier_heavy()
#endif
#ifdef MUTANT_WAIT_NO_CAS
#define wait_swap(word, seen, reason) (store_release32(word, reason), true)
#else
#define wait_swap(word, seen, reason) cas_acqrel32(word, seen, reason)
#endif

/* Values of fiber.wait. */
enum wait_state {
    WAIT_NONE,
    WAIT_OPEN,                                  /* anybody may claim */
    WAIT_OPEN_SHIELDED,                         /* anybody but a canceller */
    WAIT_EVENT,                                 /* claimed: from here on, by whom */
    WAIT_TIMEOUT,
    WAIT_CANCEL,
};

struct wait_node {
    struct wait_node *next, *prev;              /* under the object's lock */
    struct fiber *fiber;
    void *value;                                /* where the waiter's value is, or shall go */
    int64_t result;                             /* from the winner: what the wait answers */
    bool queued;                                /* under the object's lock */
};

/* Begin a wait: NONE -> open. */
static inline void wait_open(struct fiber *self)
{
    wait_open_store(&self->wait, self->shield ? WAIT_OPEN_SHIELDED : WAIT_OPEN);        /* C3: pairs with wait_claim */
    wait_open_fence();                          /* C1: pairs with wait_cancel */
}

/* Try to be the one that ends this wait. True: the caller must now call ready(f), once. */
static inline bool wait_claim(struct fiber *f, enum wait_state reason)
{
    uint32_t seen = load_relaxed32(&f->wait);
    while (seen == WAIT_OPEN || (seen == WAIT_OPEN_SHIELDED && reason != WAIT_CANCEL))
        if (wait_swap(&f->wait, &seen, reason))                 /* C2, C3: pairs with wait_close, wait_open */
            return true;
    return false;
}

/* From now on every unshielded wait of f ends as cancelled. True: one that was open did, the caller must call ready(f), once. */
static inline bool wait_cancel(struct fiber *f)
{
    store_relaxed32(&f->cancel, 1);
    wait_cancel_fence();                        /* C1: pairs with wait_open */
    return wait_claim(f, WAIT_CANCEL);
}

/* The wait is over (its token is taken, or the fiber claimed it itself): who won? */
static inline enum wait_state wait_close(struct fiber *self)
{
    enum wait_state reason = (enum wait_state)load_acquire32(&self->wait);      /* C2: pairs with wait_claim */
    store_relaxed32(&self->wait, WAIT_NONE);
    return reason;
}

/* ---- queues of nodes, first come first served; all under the object's lock ---- */

struct wait_queue { struct wait_node *head, *tail; };

static inline void wait_push(struct wait_queue *q, struct wait_node *n)
{
    n->next = NULL;
    n->prev = q->tail;
    *(q->tail ? &q->tail->next : &q->head) = n;
    q->tail = n;
    n->queued = true;
}

static inline void wait_push_front(struct wait_queue *q, struct wait_node *n)
{
    n->prev = NULL;
    n->next = q->head;
    *(q->head ? &q->head->prev : &q->tail) = n;
    q->head = n;
    n->queued = true;
}

static inline void wait_remove(struct wait_queue *q, struct wait_node *n)
{
    if (!n->queued)
        return;
    *(n->prev ? &n->prev->next : &q->head) = n->next;
    *(n->next ? &n->next->prev : &q->tail) = n->prev;
    n->queued = false;
}

/* Unlink waiters from the front until one of them is claimed for an event; NULL if there is none. The caller fills in its
 * value and result, leaves the lock, and calls ready(node->fiber). */
static inline struct wait_node *wait_pop(struct wait_queue *q)
{
    for (struct wait_node *n; (n = q->head) != NULL;) {
        wait_remove(q, n);
        if (wait_claim(n->fiber, WAIT_EVENT))
            return n;
    }
    return NULL;
}

#endif
