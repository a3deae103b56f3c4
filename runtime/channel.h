/* SPDX-License-Identifier: MIT */
/*
 * channel - what a select needs of a channel: its lock, one try under it, its queues, and the work that is left for after it
 *
 * A call is written like this:
 *
 *    state = word_lock(chan_word(c));
 *    r = chan_try_send(c, state, value, &rest);      or chan_try_recv
 *    CHAN_WAIT: queue a node up in chan_senders(c) or chan_receivers(c), unlock, park; or go on to the next channel of a select
 *    CHAN_GROW: unlock, chan_grow(c), and from the start; only an unbounded channel answers it
 *    word_unlock(chan_word(c), state);
 *    chan_settle(&rest);
 *
 * Nodes      node->value is where the value is (a sender's) or shall go (a receiver's, NULL drops it). A node is served by one
 *            that was running when it found the node in the queue and won its fiber's claim (wait_pop): node->result becomes 0,
 *            or -EPIPE by a close. One fiber may have nodes in many channels, and two in one channel: the claim is on the fiber,
 *            so one of them is served, and it is the one whose result has changed from CHAN_WAIT. The others are still linked,
 *            or were unlinked by somebody who lost the claim: wait_remove under each channel's lock settles both.
 * Settle     The value of a peer that was served is copied after the unlock and before the peer is made ready: the claim keeps
 *            its frame where it is. So a large value that is handed over holds up nobody else.
 *            rest belongs to the caller and is settled exactly once, also when it is empty; it does not need the channel to
 *            exist any more. A select tries all its channels under all their locks and settles after the last unlock.
 */
#ifndef RUNTIME_CHANNEL_H
#define RUNTIME_CHANNEL_H

#include "runtime/weft.h"
#include "timers/waiting.h"

enum { CHAN_WAIT = 1, CHAN_GROW };              /* besides 0 and negative errno values */

struct chan_segment;

/* What is left to do after the unlock; zeroed is nothing. */
struct chan_rest {
    struct wait_node *peer;                     /* claimed and served: to be made ready */
    void *to;                                   /* copy size bytes before that, unless to is NULL */
    const void *from;
    size_t size;
    struct chan_segment *dead;                  /* to be freed */
    size_t dead_size;
};

atom32 *chan_word(struct weft_chan *c);
struct wait_queue *chan_senders(struct weft_chan *c);
struct wait_queue *chan_receivers(struct weft_chan *c);

/* Under the lock, whose word showed state. 0: done, -EPIPE, CHAN_WAIT, CHAN_GROW. */
int chan_try_send(struct weft_chan *c, uint32_t state, const void *value, struct chan_rest *rest);
int chan_try_recv(struct weft_chan *c, uint32_t state, void *value, struct chan_rest *rest);

int chan_grow(struct weft_chan *c);             /* without the lock. 0, -ENOMEM */
void chan_settle(struct chan_rest *rest);

#endif
