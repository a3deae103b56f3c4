/* SPDX-License-Identifier: MIT */
#include "sched/deque.h"

#include <errno.h>

#include "sched/mem.h"

/* The lines that tests/model/deque_model.c must see broken; more of them are in deque.h. */
#ifdef MUTANT_DEQUE_STEAL_FENCE
#define steal_fence() ((void)0)
#else
#define steal_fence() fence_full()
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

_Static_assert(DEQUE_CAPACITY > 1 && (DEQUE_CAPACITY & (DEQUE_CAPACITY - 1)) == 0, "a power of two");
_Static_assert(sizeof(struct deque) == 2 * CACHE_LINE, "the owner's line and the thieves' line");

static size_t ring_size(uint64_t capacity) { return sizeof(struct deque_ring) + capacity * sizeof(atomptr); }

static struct deque_ring *ring_new(uint64_t capacity, struct deque_ring *older)
{
    struct deque_ring *r = mem_alloc(ring_size(capacity), CACHE_LINE);
    if (!r)
        return NULL;
    r->older = older;
    r->capacity = capacity;
    return r;
}

int deque_init(struct deque *d, uint64_t start)
{
    struct deque_ring *r = ring_new(DEQUE_CAPACITY, NULL);
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
    struct deque_ring *r = load_relaxedptr(&d->ring);
    while (r) {
        struct deque_ring *older = r->older;
        mem_free(r, ring_size(r->capacity), CACHE_LINE);
        r = older;
    }
    store_relaxedptr(&d->ring, NULL);
}

/* The old ring stays as it is: thieves that hold it find [t, b) in both. */
struct deque_ring *deque_grow(struct deque *d, struct deque_ring *old, uint64_t t, uint64_t b)
{
    struct deque_ring *r = ring_new(old->capacity * 2, old);
    if (!r)
        return NULL;
    for (uint64_t i = first_to_copy(t, b); i != b; i++)
        store_relaxedptr(deque_slot(r, i), load_relaxedptr(deque_slot(old, i)));
    publish_ring(&d->ring, r);                      /* D4: pairs with deque_steal */
    return r;
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
enum deque_verdict deque_steal(struct deque *d, void **item)
{
    uint64_t t = load_relaxed64(&d->top);
    steal_fence();                                  /* D2: pairs with deque_pop */
    uint64_t b = load_acquire64(&d->bottom);        /* D1: pairs with deque_push and deque_pop */
    if (deque_span(t, b) <= 0)
        return DEQUE_EMPTY;

    struct deque_ring *r = load_acquireptr(&d->ring);     /* D4: pairs with grow */
    void *found = load_relaxedptr(deque_slot(r, t));
    if (!cas_acqrel64(&d->top, &t, t + 1))          /* D3: pairs with deque_push */
        return DEQUE_LOST;
    *item = found;
    return DEQUE_OK;
}

uint64_t deque_count(const struct deque *d)
{
    int64_t n = deque_span(load_relaxed64(&d->top), load_relaxed64(&d->bottom));
    return n > 0 ? (uint64_t)n : 0;
}
