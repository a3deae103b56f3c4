/* SPDX-License-Identifier: MIT */
/*
 * waitgroup - wait until a count that others keep has fallen to 0
 *
 * Owns       the count and the queue, both under the word's lock.
 * Threads    any.
 * Invariant  COUNTING is set exactly while the count is not 0; so a word of 0 is the fast path of a wait, and being the whole
 *            word, lock bit included, it also says that the call that made it 0 does not touch the group any more.
 * Ordering   G1 word_unlock release -> load_acquire of 0: what the members did before they were done.
 */
#include <errno.h>

#include "runtime/weft.h"
#include "timers/waiting.h"

#define COUNTING 4u

int weft_wg_add(struct weft_wg *w, int n)
{
    atom32 *word = waiting_word(&w->word_);
    struct wait_node *all = NULL;
    uint32_t state = word_lock(word);
    int64_t count = w->count_ + n;
    if (count < 0) {
        word_unlock(word, state);
        return -EINVAL;
    }
    w->count_ = count;
    if (count == 0) {
        all = waiting_pop_all(waiting_queue(&w->waiters_), 0);
        state = 0;
    } else {
        state |= COUNTING;
    }
    word_unlock(word, state);                   /* G1: pairs with weft_wg_wait; the last touch */
    waiting_ready_all(all);
    return 0;
}

int weft_wg_done(struct weft_wg *w) { return weft_wg_add(w, -1); }

int weft_wg_wait(struct weft_wg *w, int64_t deadline)
{
    atom32 *word = waiting_word(&w->word_);
    struct wait_node node = { 0 };
    struct fiber *self;
    uint32_t state;
    int r = waiting_enter(&self);
    if (r < 0)
        return r;
    if (load_acquire32(word) == 0)              /* G1: pairs with weft_wg_add */
        return 0;
    state = word_lock(word);
    if (state & COUNTING)
        return waiting_object(self, word, state, waiting_queue(&w->waiters_), &node, deadline, false);
    word_unlock(word, state);
    return 0;
}
