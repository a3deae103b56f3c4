/* SPDX-License-Identifier: MIT */
#include "sched/deque.h"

#include <errno.h>

#include "sched/mem.h"

/* The lines that tests/model/deque_model.c must see broken. */
#ifdef MUTANT_DEQUE_POP_FENCE
#define pop_fence() ((void)0)
#else
#define pop_fence() fence_full()
#endif
#ifdef MUTANT_DEQUE_STEAL_FENCE
#define steal_fence() ((void)0)
#else
#define steal_fence() fence_full()
#endif
#ifdef MUTANT_DEQUE_PUSH_RELAXED
#define raise_bottom store_relaxed64
#else
#define raise_bottom store_release64
#endif
#ifdef MUTANT_DEQUE_POP_RELAXED
#define lower_bottom store_relaxed64
#else
#define lower_bottom store_release64
#endif
#ifdef MUTANT_DEQUE_GROW_RELAXED
#define publish_ring store_relaxedptr
#else
#define publish_ring store_releaseptr
#endif
#ifdef MUTANT_DEQUE_GROW_NO_COPY
#define first_to_copy(t, b) ((void)(t), (b))
#else
#define first_to_copy(t, b) (t)
#endif
#ifdef MUTANT_DEQUE_TAKE_NO_CAS
#define take_claim(top, t) (store_release64(top, *(t) + 1), true)
#else
#define take_claim(top, t) cas_acqrel64(top, t, *(t) + 1)
#endif
#ifdef MUTANT_DEQUE_POP_NO_CAS
#define pop_claim(top, t) (store_release64(top, *(t) + 1), true)
#else
#define pop_claim(top, t) cas_acqrel64(top, t, *(t) + 1)
#endif

struct ring {
    struct ring *older;     /* the one that this one replaced; read by destroy only */
    uint64_t capacity;      /* a power of two; fixed */
    atomptr slot[];
};

_Static_assert(DEQUE_CAPACITY > 1 && (DEQUE_CAPACITY & (DEQUE_CAPACITY - 1)) == 0, "a power of two");
_Static_assert(sizeof(struct deque) == 2 * CACHE_LINE, "the owner's line and the thieves' line");

static size_t ring_size(uint64_t capacity) { return sizeof(struct ring) + capacity * sizeof(atomptr); }
static atomptr *slot_of(struct ring *r, uint64_t index) { return &r->slot[index & (r->capacity - 1)]; }
static int64_t span(uint64_t from, uint64_t to) { return (int64_t)(to - from); }

static struct ring *ring_new(uint64_t capacity, struct ring *older)
{
    struct ring *r = mem_alloc(ring_size(capacity), CACHE_LINE);
    if (!r)
        return NULL;
    r->older = older;
    r->capacity = capacity;
    return r;
}

int deque_init(struct deque *d, uint64_t start)
{
    struct ring *r = ring_new(DEQUE_CAPACITY, NULL);
    if (!r)
        return -ENOMEM;
    store_relaxedptr(&d->ring, r);
    store_relaxed64(&d->bottom, start);
    store_relaxed64(&d->top, start);
    d->top_seen = start;
    return 0;
}

void deque_destroy(struct deque *d)
{
    struct ring *r = load_relaxedptr(&d->ring);
    while (r) {
        struct ring *older = r->older;
        mem_free(r, ring_size(r->capacity), CACHE_LINE);
        r = older;
    }
    store_relaxedptr(&d->ring, NULL);
}

/* The old ring stays as it is: thieves that hold it find [t, b) in both. */
static struct ring *grow(struct deque *d, struct ring *old, uint64_t t, uint64_t b)
{
    struct ring *r = ring_new(old->capacity * 2, old);
    if (!r)
        return NULL;
    for (uint64_t i = first_to_copy(t, b); i != b; i++)
        store_relaxedptr(slot_of(r, i), load_relaxedptr(slot_of(old, i)));
    publish_ring(&d->ring, r);                      /* D4: pairs with deque_steal */
    return r;
}

bool deque_push(struct deque *d, void *item)
{
    uint64_t b = load_relaxed64(&d->bottom);
    struct ring *r = load_relaxedptr(&d->ring);

    if (b - d->top_seen >= r->capacity) {
        d->top_seen = load_acquire64(&d->top);      /* D3: pairs with the CAS of steal, take and pop */
        if (b - d->top_seen >= r->capacity) {
            r = grow(d, r, d->top_seen, b);
            if (!r)
                return false;
        }
    }
    store_relaxedptr(slot_of(r, b), item);
    raise_bottom(&d->bottom, b + 1);                /* D1: pairs with deque_steal */
    return true;
}

/*
 *     D2      pop (owner)                         steal (thief)
 *             bottom = b                          t = top
 *             fence_full     <--- paired --->     fence_full
 *             t = top                             b = bottom
 *
 * The fences have an order. Owner's first: the thief sees the lowered bottom (or a later one) and leaves slot b alone
 * unless b was pushed again. Thief's first: the owner sees a top at least as new as the thief's. So an owner that sees
 * t < b has slot b for itself, and when t == b the CAS on top alone decides.
 */
void *deque_pop(struct deque *d)
{
    uint64_t b = load_relaxed64(&d->bottom) - 1;
    if (span(load_relaxed64(&d->top), b) < 0)       /* top may be old, but it never comes down */
        return NULL;

    struct ring *r = load_relaxedptr(&d->ring);
    lower_bottom(&d->bottom, b);                    /* D1: pairs with deque_steal */
    pop_fence();                                    /* D2: pairs with deque_steal */
    uint64_t t = load_relaxed64(&d->top);
    void *item = span(t, b) < 0 ? NULL : load_relaxedptr(slot_of(r, b));

    if (span(t, b) > 0)
        return item;
    if (item && !pop_claim(&d->top, &t))            /* D3: pairs with deque_push */
        item = NULL;
    store_release64(&d->bottom, b + 1);             /* D1: empty again, bottom == top */
    return item;
}

/* The owner's bottom is exact, and slot t is its own store: the CAS alone settles it with the thieves, no fence. */
void *deque_take(struct deque *d)
{
    uint64_t b = load_relaxed64(&d->bottom);
    uint64_t t = load_relaxed64(&d->top);
    struct ring *r = load_relaxedptr(&d->ring);

    while (span(t, b) > 0) {
        void *item = load_relaxedptr(slot_of(r, t));
        if (take_claim(&d->top, &t)) {              /* D3: pairs with deque_push */
            d->top_seen = t + 1;
            return item;
        }
    }
    return NULL;
}

enum deque_verdict deque_steal(struct deque *d, void **item)
{
    uint64_t t = load_relaxed64(&d->top);
    steal_fence();                                  /* D2: pairs with deque_pop */
    uint64_t b = load_acquire64(&d->bottom);        /* D1: pairs with deque_push and deque_pop */
    if (span(t, b) <= 0)
        return DEQUE_EMPTY;

    struct ring *r = load_acquireptr(&d->ring);     /* D4: pairs with grow */
    void *found = load_relaxedptr(slot_of(r, t));
    if (!cas_acqrel64(&d->top, &t, t + 1))          /* D3: pairs with deque_push */
        return DEQUE_LOST;
    *item = found;
    return DEQUE_OK;
}

bool deque_empty(const struct deque *d)
{
    return span(load_relaxed64(&d->top), load_relaxed64(&d->bottom)) <= 0;
}

uint64_t deque_count(const struct deque *d)
{
    int64_t n = span(load_relaxed64(&d->top), load_relaxed64(&d->bottom));
    return n > 0 ? (uint64_t)n : 0;
}
