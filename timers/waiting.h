/* SPDX-License-Identifier: MIT */
/*
 * waiting - how every public call waits: the entry, the admission, the wait on an object, the answer
 *
 * A [W] call is written like this, in a fiber as in a thread:
 *
 *    struct fiber *self;
 *    int r = waiting_enter(&self);                       cancelled? then nothing is done
 *    if (r < 0) return r;
 *    state = word_lock(&object->word_);
 *    if (it can finish at once) { ...; word_unlock(...); return 0; }
 *    return waiting_object(self, word, state, &object->waiters_, &node, deadline);
 *
 * and the other side, under the same lock: wait_pop(&object->waiters_), hand over *node->value and node->result, clear
 * WORD_WAITERS if the queue is empty, word_unlock(), ready(node->fiber).
 *
 * Promise    an object may be freed the moment the wait on it has returned: the last touch of both sides is word_unlock, or
 *            comes before the token.
 */
#ifndef TIMERS_WAITING_H
#define TIMERS_WAITING_H

#include <errno.h>

#include "sched/lock.h"
#include "sched/park.h"
#include "weft/base.h"

/* Bit 1 of the word of an object with a queue: somebody waits. The bits above are the object's own. */
#define WORD_WAITERS 2u

/* 1 in the child of a fork() that happened after the first runtime started. */
extern atom32 waiting_forked;
static inline bool waiting_stale(void) { return load_relaxed32(&waiting_forked); }

/* Who calls? -ECANCELED, -ENOMEM (a thread's first wait). */
static inline int waiting_enter(struct fiber **self)
{
    struct fiber *f = thread_self()->fiber;
    if (!f && !(f = park_self()))
        return -ENOMEM;
    *self = f;
    return load_relaxed32(&f->cancel) && !f->shield ? -ECANCELED : 0;
}

/* May self wait now? 0, with *deadline made the smaller of itself and the ambient one; or -ESTALE, -ETIMEDOUT, -EDEADLK. */
int waiting_admit(struct fiber *self, int64_t *deadline);

/* Its wait is open and published: park until it ends. 0: by the event; -ETIMEDOUT, -ECANCELED. */
int waiting_park(struct fiber *self, int64_t deadline);

/* The word is locked and showed state: queue node up, unlock, wait, and if nobody served it take it out again. Answers
 * node->result (which the server sets), or why the wait failed; if it may not wait at all, the word is unlocked too.
 * front: before all others (one that was woken and found the object taken again). */
int waiting_object(struct fiber *self, atom32 *word, uint32_t state, struct wait_queue *q, struct wait_node *node,
                   int64_t deadline, bool front);

/* Public lists are wait queues. */
static inline struct wait_queue *waiting_queue(struct weft_list_ *list) { return (struct wait_queue *)list; }
static inline atom32 *waiting_word(uint32_t *word) { return (atom32 *)word; }

/* Under the word's lock: take out everybody who can be claimed; they are linked by next, and have to be made ready after the
 * unlock by waiting_ready_all. */
struct wait_node *waiting_pop_all(struct wait_queue *q, int64_t result);
void waiting_ready_all(struct wait_node *n);

int waiting_watch_fork(void);                   /* called by the first start; 0, -ENOMEM */

#endif
