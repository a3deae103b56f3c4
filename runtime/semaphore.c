/* SPDX-License-Identifier: MIT */
/*
 * semaphore - permits to take and to give
 *
 * Owns       the count and the queue, both under the word's lock: one CAS and one store for each call, which is the price of a CAS.
 * Threads    any.
 * Invariant  count > 0 and a waiter that can be claimed do not occur together: a post gives its permit straight to the first
 *            waiter, who therefore cannot be overtaken, and whose timeout or cancellation either wins the claim before (the
 *            permit goes to the next) or comes too late.
 * Freed at   the last touch of a post is word_unlock; a waiter that was given a permit does not touch the semaphore again.
 * once
 */
#include <errno.h>

#include "runtime/weft.h"
#include "timers/waiting.h"

/* The line that tests/model/sync_model.c must see broken. */
#ifdef MUTANT_SYNC_SEM_FIRST_ONLY
static struct wait_node *waiter(struct wait_queue *q)
{
    struct wait_node *n = q->head;
    if (n)
        wait_remove(q, n);
    return n && wait_claim(n->fiber, WAIT_EVENT) ? n : NULL;
}
#else
#define waiter(q) wait_pop(q)
#endif

int weft_sem_init(struct weft_sem *s, unsigned permits)
{
    *s = (struct weft_sem){ .count_ = permits };
    return 0;
}

int weft_sem_wait(struct weft_sem *s, int64_t deadline)
{
    atom32 *word = waiting_word(&s->word_);
    struct wait_node node = { 0 };
    struct fiber *self;
    uint32_t state;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    state = word_lock(word);
    if (s->count_ == 0)
        return waiting_object(self, word, state, waiting_queue(&s->waiters_), &node, deadline, false);
    s->count_--;
    word_unlock(word, state);
    return 0;
}

int weft_sem_post(struct weft_sem *s)
{
    atom32 *word = waiting_word(&s->word_);
    struct wait_queue *q = waiting_queue(&s->waiters_);
    struct wait_node *n = NULL;
    uint32_t state = word_lock(word);
    int r = 0;
    if (state & WORD_WAITERS)
        n = waiter(q);
    if (!n && s->count_ == UINT32_MAX)
        r = -EOVERFLOW;
    else if (!n)
        s->count_++;
    word_unlock(word, q->head ? WORD_WAITERS : 0);
    if (n)
        ready(n->fiber);
    return r;
}
