/* SPDX-License-Identifier: MIT */
/*
 * event - something that has happened, until it is reset
 *
 * Owns       the word and the queue.
 * Threads    any.
 * Fast paths a wait that reads exactly SET, a set and a reset that find nothing to do or no waiter: the whole word in one load or
 *            one CAS. A word with the lock bit is never SET in this sense, so whoever passes may free the event at once.
 * Ordering   E1 set (CAS, word_unlock release) -> wait (load_acquire, word_lock): what happened.
 */
#include "runtime/weft.h"
#include "timers/waiting.h"

#define SET 4u

/* The line that tests/model/sync_model.c must see broken. */
#ifdef MUTANT_SYNC_EVENT_READY_FIRST
#define unlock_first(a, b) ((b), (a))
#else
#define unlock_first(a, b) ((a), (b))
#endif

int weft_event_set(struct weft_event *e)
{
    atom32 *word = waiting_word(&e->word_);
    struct wait_node *all;
    uint32_t seen = 0;
    if (cas_acqrel32(word, &seen, SET))         /* E1: pairs with weft_event_wait; the last touch */
        return 0;
    (void)word_lock(word);                      /* also if it is set already: this call's writes go to later waits too */
    all = waiting_pop_all(waiting_queue(&e->waiters_), 0);
    unlock_first(word_unlock(word, SET), waiting_ready_all(all));       /* E1: the last touch, then the tokens */
    return 0;
}

int weft_event_reset(struct weft_event *e)
{
    atom32 *word = waiting_word(&e->word_);
    uint32_t state = word_lock(word);
    word_unlock(word, state & ~SET);
    return 0;
}

int weft_event_wait(struct weft_event *e, int64_t deadline)
{
    atom32 *word = waiting_word(&e->word_);
    struct wait_node node = { 0 };
    struct fiber *self;
    uint32_t state;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (load_acquire32(word) == SET)            /* E1: pairs with weft_event_set */
        return 0;
    state = word_lock(word);
    if (!(state & SET))
        return waiting_object(self, word, state, waiting_queue(&e->waiters_), &node, deadline, false);
    word_unlock(word, state);
    return 0;
}
