/* SPDX-License-Identifier: MIT */
/*
 * channel - a queue of values between any number of senders and receivers
 *
 * Owns       the values that are buffered, the queues of both sides, the count of references.
 * Threads    any. Everything but the references and the reading of the length is under the word's lock.
 * Invariants of nodes that can still be claimed:
 *            a receiver waits only while nothing is buffered; a sender waits only while the buffer is full (capacity 0: always is);
 *            never both; none of either once CLOSED is set.
 *            So whoever frees a slot moves the first waiting sender's value into it in the same section, newcomers cannot
 *            overtake, and values leave in the order in which their senders came.
 * Values     A value is in one place: the sender's, the buffer, the receiver's. It moves once the move is decided by the claim of
 *            the waiting side, under the lock; a waiter that timed out or was cancelled had won its own claim before, so its
 *            value stays where it was. Sent = received + buffered, whatever else happens.
 * Copies     Handed from a sender to a receiver: outside the lock (channel.h). Into and out of the buffer: under it.
 *            That is 0.1-0.3 us for 4 KiB and 0.1 ms for a megabyte, in which the others give up their CPU (lock.c). Who
 *            cannot bear that sends pointers, or uses a rendezvous.
 * Buffer     capacity values in the channel's own memory; unbounded: segments of about a page in a list, allocated outside the
 *            lock, one kept in reserve, so that a queue that moves on without growing allocates nothing.
 * Freed at   the last touch of a call is word_unlock; a served waiter does not touch the channel again.
 * once
 * Ordering   the word's lock (L1); R1 unref (acquire and release) of all but the last -> the last: their use of the channel.
 * Source     Go's chan.go (the invariants, hand-over into the waiter's frame).
 *            We differ: the copy is made after the unlock; a claim on the fiber instead of a flag in the select.
 * Rejected   a lock-free ring with waiters beside it (LMAX, Vyukov): faster at four senders and four receivers, but the order
 *            of waiters, close, and a select over several channels all need a lock at the end of the day;
 *            blocks that are filled outside the lock: a value sent later would have to wait for one sent before.
 */
#include "runtime/channel.h"

#include <errno.h>
#include <string.h>

#include "sched/config.h"
#include "sched/mem.h"

#define CLOSED 4u

/* The lines that tests/model/channel_model.c must see broken. */
#ifdef MUTANT_CHAN_COPY_AFTER_READY
#define in_order(a, b) ((b), (a))
#else
#define in_order(a, b) ((a), (b))
#endif
#ifdef MUTANT_CHAN_READY_BEFORE_UNLOCK
#define unlock_first(a, b) ((b), (a))
#else
#define unlock_first(a, b) ((a), (b))
#endif
#ifdef MUTANT_CHAN_NO_REFILL
#define next_sender(c) NULL
#else
#define next_sender(c) wait_pop(&(c)->senders)
#endif
#ifdef MUTANT_CHAN_CLOSE_HALF
#define all_receivers(c) NULL
#else
#define all_receivers(c) waiting_pop_all(&(c)->receivers, -EPIPE)
#endif

#ifdef WEFT_TINY
#define SEGMENT_BYTES 64
#else
#define SEGMENT_BYTES 4096
#endif

struct chan_segment {
    struct chan_segment *next;
    char data[];
};

struct weft_chan {
    atom32 word;                                /* A WORD_LOCKED, CLOSED */
    atom32 refs;                                /* A R1 */
    size_t elem, capacity;                      /* I */
    atom64 count;                               /* L values buffered; others read */
    size_t head, tail;                          /* L places in the ring; unbounded: in the first and in the last segment */
    struct wait_queue senders, receivers;       /* L */

    struct chan_segment *first, *last, *spare;  /* L unbounded only */
    size_t slots;                               /* I values in a segment */
    size_t size;                                /* I of this allocation */
    char ring[];                                /* L */
};

atom32 *chan_word(struct weft_chan *c) { return &c->word; }
struct wait_queue *chan_senders(struct weft_chan *c) { return &c->senders; }
struct wait_queue *chan_receivers(struct weft_chan *c) { return &c->receivers; }

static inline void copy(void *to, const void *from, size_t n)
{
    if (n == 8)
        memcpy(to, from, 8);
    else if (n != 0)
        memcpy(to, from, n);
}

/* ---- the buffer; all under the lock -------------------------------------------------------------------------------------- */

static inline size_t length(const struct weft_chan *c) { return load_relaxed64(&c->count); }
static inline void set_length(struct weft_chan *c, size_t n) { store_relaxed64(&c->count, n); }

static size_t segment_size(const struct weft_chan *c) { return sizeof(struct chan_segment) + c->slots * c->elem; }

/* Is there room, or can it be made without memory? */
static bool room(struct weft_chan *c)
{
    struct chan_segment *s = c->spare;
    if (c->capacity != WEFT_UNBOUNDED)
        return length(c) < c->capacity;
    if (c->elem == 0 || (c->last && c->tail < c->slots))
        return true;
    if (!s)
        return false;
    c->spare = NULL;
    s->next = NULL;
    *(c->last ? &c->last->next : &c->first) = s;
    c->last = s;
    c->tail = 0;
    return true;
}

static void put(struct weft_chan *c, const void *value)
{
    char *base = c->capacity == WEFT_UNBOUNDED ? (c->elem ? c->last->data : NULL) : c->ring;
    if (c->elem) {
        copy(base + c->tail * c->elem, value, c->elem);
        c->tail++;
        if (c->tail == c->capacity)
            c->tail = 0;
    }
    set_length(c, length(c) + 1);
}

/* The first segment is read to its end, or all are. */
static void retire(struct weft_chan *c, struct chan_rest *rest)
{
    struct chan_segment *s = c->first;
    c->head = 0;
    if (s == c->last) {
        c->tail = 0;
        return;
    }
    c->first = s->next;
    if (c->spare) {
        rest->dead = s;
        rest->dead_size = segment_size(c);
    } else {
        c->spare = s;
    }
}

static void take(struct weft_chan *c, void *value, struct chan_rest *rest)
{
    bool unbounded = c->capacity == WEFT_UNBOUNDED;
    set_length(c, length(c) - 1);
    if (c->elem == 0)
        return;
    if (value)
        copy(value, (unbounded ? c->first->data : c->ring) + c->head * c->elem, c->elem);
    c->head++;
    if (!unbounded)
        c->head = c->head == c->capacity ? 0 : c->head;
    else if (c->head == c->slots || length(c) == 0)
        retire(c, rest);
}

int chan_grow(struct weft_chan *c)
{
    struct chan_segment *s = mem_alloc(segment_size(c), CACHE_LINE);
    uint32_t state;
    if (!s)
        return -ENOMEM;
    state = word_lock(&c->word);
    if (!c->spare) {
        c->spare = s;
        s = NULL;
    }
    word_unlock(&c->word, state);
    mem_free(s, segment_size(c), CACHE_LINE);
    return 0;
}

/* ---- one try, and what is left of it ------------------------------------------------------------------------------------- */

static inline int try_send(struct weft_chan *c, uint32_t state, const void *value, struct chan_rest *rest)
{
    struct wait_node *n;
    if (state & CLOSED)
        return -EPIPE;
    if ((n = wait_pop(&c->receivers)) != NULL) {
        n->result = 0;
        *rest = (struct chan_rest){ .peer = n, .to = n->value, .from = value, .size = c->elem };
        return 0;
    }
    if (!room(c))
        return c->capacity == WEFT_UNBOUNDED ? CHAN_GROW : CHAN_WAIT;
    put(c, value);
    return 0;
}

static inline int try_recv(struct weft_chan *c, uint32_t state, void *value, struct chan_rest *rest)
{
    struct wait_node *n;
    if (length(c) > 0) {
        take(c, value, rest);
        if ((n = next_sender(c)) != NULL) {
            put(c, n->value);
            n->result = 0;
            rest->peer = n;
        }
        return 0;
    }
    if ((n = wait_pop(&c->senders)) != NULL) {
        n->result = 0;
        *rest = (struct chan_rest){ .peer = n, .to = value, .from = n->value, .size = c->elem };
        return 0;
    }
    return state & CLOSED ? -EPIPE : CHAN_WAIT;
}

static void hand_over(const struct chan_rest *rest)
{
    if (rest->to)
        copy(rest->to, rest->from, rest->size);
}

static void wake(const struct chan_rest *rest)
{
    if (rest->peer)
        ready(rest->peer->fiber);               /* F2: after this its frame, and the node in it, are gone */
}

static inline void settle(struct chan_rest *rest)
{
    in_order(hand_over(rest), wake(rest));
    if (rest->dead)
        mem_free(rest->dead, rest->dead_size, CACHE_LINE);
}

static inline void leave(struct weft_chan *c, uint32_t state, struct chan_rest *rest)
{
    unlock_first(word_unlock(&c->word, state), settle(rest));
}

int chan_try_send(struct weft_chan *c, uint32_t state, const void *value, struct chan_rest *rest)
{
    return try_send(c, state, value, rest);
}

int chan_try_recv(struct weft_chan *c, uint32_t state, void *value, struct chan_rest *rest)
{
    return try_recv(c, state, value, rest);
}

void chan_settle(struct chan_rest *rest) { settle(rest); }

/* The same for a peer that waits for just this: nothing of rest needs memory. */
static inline int serve(struct weft_chan *c, uint32_t state, struct wait_node *n, void *to, const void *from)
{
    struct chan_rest rest = { .peer = n, .to = to, .from = from, .size = c->elem };
    n->result = 0;
    leave(c, state, &rest);
    return 0;
}

/* ---- the calls ----------------------------------------------------------------------------------------------------------- */

int weft_chan_send(weft_chan *c, const void *value, int64_t deadline)
{
    struct chan_rest rest;
    struct wait_node node, *n;
    struct fiber *self;
    uint32_t state;
    int r;
    if (!c || (!value && c->elem))
        return -EINVAL;
    r = waiting_enter(&self);
    if (r < 0)
        return r;
    state = word_lock(&c->word);
    if (!(state & CLOSED) && (n = wait_pop(&c->receivers)) != NULL)
        return serve(c, state, n, n->value, value);
    rest = (struct chan_rest){ 0 };
    while ((r = try_send(c, state, value, &rest)) == CHAN_GROW) {
        word_unlock(&c->word, state);
        r = chan_grow(c);
        if (r < 0)
            return r;
        state = word_lock(&c->word);
    }
    if (r == CHAN_WAIT) {
        node.value = (void *)(uintptr_t)value;  /* only read */
        return waiting_object(self, &c->word, state, &c->senders, &node, deadline, false);
    }
    leave(c, state, &rest);
    return r;
}

int weft_chan_recv(weft_chan *c, void *value, int64_t deadline)
{
    struct chan_rest rest;
    struct wait_node node, *n;
    struct fiber *self;
    uint32_t state;
    int r;
    if (!c)
        return -EINVAL;
    r = waiting_enter(&self);
    if (r < 0)
        return r;
    state = word_lock(&c->word);
    if (length(c) == 0 && (n = wait_pop(&c->senders)) != NULL)
        return serve(c, state, n, value, n->value);
    rest = (struct chan_rest){ 0 };
    r = try_recv(c, state, value, &rest);
    if (r == CHAN_WAIT) {
        node.value = value;
        return waiting_object(self, &c->word, state, &c->receivers, &node, deadline, false);
    }
    leave(c, state, &rest);
    return r;
}

int weft_chan_close(weft_chan *c)
{
    struct wait_node *senders, *receivers;
    uint32_t state;
    if (!c)
        return -EINVAL;
    state = word_lock(&c->word);
    if (state & CLOSED) {
        word_unlock(&c->word, state);
        return -EALREADY;
    }
    senders = waiting_pop_all(&c->senders, -EPIPE);
    receivers = all_receivers(c);
    word_unlock(&c->word, CLOSED);
    waiting_ready_all(senders);
    waiting_ready_all(receivers);
    return 0;
}

size_t weft_chan_len(weft_chan *c) { return c ? length(c) : 0; }

/* ---- making and freeing -------------------------------------------------------------------------------------------------- */

int weft_chan_open(weft_chan **out, size_t elem, size_t capacity)
{
    struct weft_chan *c;
    size_t bytes = 0;
    if (!out || elem > PTRDIFF_MAX - 2 * SEGMENT_BYTES)
        return -EINVAL;
    if (capacity != WEFT_UNBOUNDED && __builtin_mul_overflow(elem, capacity, &bytes))
        return -EINVAL;
    if (bytes > PTRDIFF_MAX - sizeof *c - CACHE_LINE)
        return -EINVAL;
    c = mem_alloc(sizeof *c + bytes, CACHE_LINE);
    if (!c)
        return -ENOMEM;
    store_relaxed32(&c->refs, 1);
    c->elem = elem;
    c->capacity = capacity;
    c->slots = elem && elem < SEGMENT_BYTES ? SEGMENT_BYTES / elem : 1;
    c->size = sizeof *c + bytes;
    *out = c;
    return 0;
}

weft_chan *weft_chan_ref(weft_chan *c)
{
    if (c)
        (void)add_relaxed32(&c->refs, 1);
    return c;
}

void weft_chan_unref(weft_chan *c)
{
    struct chan_segment *s;
    if (!c || add_acqrel32(&c->refs, (uint32_t)-1) != 1)        /* R1 */
        return;
    while ((s = c->first) != NULL) {
        c->first = s->next;
        mem_free(s, segment_size(c), CACHE_LINE);
    }
    mem_free(c->spare, segment_size(c), CACHE_LINE);
    mem_free(c, c->size, CACHE_LINE);
}
