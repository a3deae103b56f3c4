/* SPDX-License-Identifier: MIT */
/* wheel - see wheel.h */
#include "timers/wheel.h"

#define SHIFT(level) (WHEEL_TICK_BITS + WHEEL_STEP_BITS * (level))

_Static_assert(WHEEL_SLOT_BITS <= 6 && WHEEL_LEVELS <= 64, "sets of slots and of levels are one word");
_Static_assert(SHIFT(WHEEL_LEVELS - 1) < 64 && SHIFT(WHEEL_LEVELS - 1) + WHEEL_SLOT_BITS >= 64, "the last level reaches all");
_Static_assert(sizeof(struct wheel_node) == 32, "a node is half a cache line");

static inline struct wheel_node *node_of(struct wheel_link *l) { return (struct wheel_node *)l; }

static inline uint64_t bit(unsigned i) { return UINT64_C(1) << i; }

void wheel_init(struct wheel *w, int64_t now)
{
    w->base = now;
    w->live = 0;
    for (unsigned l = 0; l < WHEEL_LEVELS; l++)
        w->level[l].busy = 0;
}

/* The finest level that reaches key from base: of the levels whose ring is longer than the distance the finest, or, when base
 * stands so late in its slot that key is a full turn ahead, the next one. */
static inline unsigned level_for(int64_t base, int64_t key, unsigned *index)
{
    uint64_t distance = (uint64_t)key - (uint64_t)base;
    unsigned top = 63u - (unsigned)__builtin_clzll(distance | 1);
    unsigned reach = WHEEL_TICK_BITS + WHEEL_SLOT_BITS - 1;
    unsigned level = top <= reach ? 0 : (top - reach + WHEEL_STEP_BITS - 1) / WHEEL_STEP_BITS;
    uint64_t slot = (uint64_t)(key >> SHIFT(level));

    if (slot - (uint64_t)(base >> SHIFT(level)) >= WHEEL_SLOTS)
        slot = (uint64_t)(key >> SHIFT(++level));
    *index = slot & (WHEEL_SLOTS - 1);
    return level;
}

void wheel_add(struct wheel *w, struct wheel_node *n, int64_t due)
{
    unsigned index, level = level_for(w->base, due > w->base ? due : w->base, &index);
    struct wheel_slot *s = &w->slot[level * WHEEL_SLOTS + index];
    uint64_t b = bit(index);

    n->due = due;
    n->slot = level * WHEEL_SLOTS + index;
    if (!(w->level[level].busy & b)) {
        if (!w->level[level].busy || due < w->bound[level])
            w->bound[level] = due;
        w->live |= bit(level);
        w->level[level].busy |= b;
        w->level[level].mixed &= ~b;
        n->link.next = n->link.prev = &s->list;
        s->list.next = s->list.prev = &n->link;
        return;
    }
    struct wheel_link *tail = s->list.prev;     /* what n comes after */
    if (w->level[level].mixed & b) {
        if (due <= s->min) {
            s->min = due;
            w->level[level].stale &= ~b;
        }
    } else if (due < node_of(tail)->due) {
        int64_t first = node_of(s->list.next)->due;
        if (due < first) {          /* at the head it is still in order */
            tail = &s->list;
        } else {
            s->min = first;
            w->level[level].mixed |= b;
            w->level[level].stale &= ~b;
        }
    }
    if (due < w->bound[level])
        w->bound[level] = due;
    n->link.next = tail->next;
    n->link.prev = tail;
    tail->next->prev = &n->link;
    tail->next = &n->link;
}

void wheel_remove(struct wheel *w, struct wheel_node *n)
{
    struct wheel_link *next = n->link.next, *prev = n->link.prev;
    unsigned level = n->slot / WHEEL_SLOTS;
    uint64_t b = bit(n->slot % WHEEL_SLOTS);

    next->prev = prev;
    prev->next = next;
    n->link.next = NULL;
    if (next == prev) {             /* both are the slot: it was alone */
        if (!(w->level[level].busy &= ~b))
            w->live &= ~bit(level);
    } else if ((w->level[level].mixed & b) && n->due <= w->slot[n->slot].min) {
        w->level[level].stale |= b;
    }
}

/* A stable merge of two chains that end in NULL and are not empty; a's nodes were added first. prev is left wrong. */
static struct wheel_link *merge(struct wheel_link *a, struct wheel_link *b)
{
    struct wheel_link *chain, **end = &chain;

    for (;;) {
        if (node_of(b)->due < node_of(a)->due) {
            *end = b;
            end = &b->next;
            if (!(b = *end)) {
                *end = a;
                return chain;
            }
        } else {
            *end = a;
            end = &a->next;
            if (!(a = *end)) {
                *end = b;
                return chain;
            }
        }
    }
}

/* Natural merge sort: ascending runs as they are found, merged like the carries of a binary counter. */
static void sort(struct wheel_slot *s)
{
    struct wheel_link *runs[32] = { NULL }, *rest = s->list.next, *all = NULL;
    const unsigned last = sizeof(runs) / sizeof(runs[0]) - 1;

    s->list.prev->next = NULL;
    while (rest) {
        struct wheel_link *run = rest, *end = rest;
        while (end->next && node_of(end->next)->due >= node_of(end)->due)
            end = end->next;
        rest = end->next;
        end->next = NULL;
        unsigned i = 0;
        for (; i < last && runs[i]; i++) {
            run = merge(runs[i], run);
            runs[i] = NULL;
        }
        runs[i] = runs[i] ? merge(runs[i], run) : run;
    }
    for (unsigned i = 0; i <= last; i++)
        if (runs[i])
            all = all ? merge(runs[i], all) : runs[i];
    struct wheel_link *prev = &s->list;
    for (struct wheel_link *l = all; l; l = l->next) {
        prev->next = l;
        l->prev = prev;
        prev = l;
    }
    prev->next = &s->list;
    s->list.prev = prev;
}

/* The level with the smallest bound, the coarsest of them (W4); the bound. */
static inline int64_t pick(const struct wheel *w, unsigned *level)
{
    int64_t best = INT64_MAX;

    for (uint64_t m = w->live; m;) {
        unsigned l = 63u - (unsigned)__builtin_clzll(m);
        m ^= bit(l);
        if (w->bound[l] < best) {
            best = w->bound[l];
            *level = l;
        }
    }
    return best;
}

/* The slot of a live level that comes first in time (W2). */
static inline unsigned first_slot(const struct wheel *w, unsigned level)
{
    unsigned at = (uint64_t)(w->base >> SHIFT(level)) & (WHEEL_SLOTS - 1);
    uint64_t ahead = w->level[level].busy >> at;

    return ahead ? at + (unsigned)__builtin_ctzll(ahead) : (unsigned)__builtin_ctzll(w->level[level].busy);
}

/* s->min, made exact again if that takes no more than WHEEL_SCAN steps. */
static int64_t slot_min(struct wheel *w, unsigned level, unsigned index)
{
    struct wheel_slot *s = &w->slot[level * WHEEL_SLOTS + index];
    int64_t min = INT64_MAX;
    unsigned steps = 0;

    if (!(w->level[level].stale & bit(index)))
        return s->min;
    for (struct wheel_link *l = s->list.next; l != &s->list; l = l->next) {
        if (++steps > WHEEL_SCAN)
            return s->min;
        if (node_of(l)->due < min)
            min = node_of(l)->due;
    }
    w->level[level].stale &= ~bit(index);
    return s->min = min;
}

/* Raise the level's bound as far as is known without sorting; its first slot. */
static inline unsigned tighten(struct wheel *w, unsigned level)
{
    unsigned index = first_slot(w, level);

    w->bound[level] = w->level[level].mixed & bit(index) ? slot_min(w, level, index)
                                                         : node_of(w->slot[level * WHEEL_SLOTS + index].list.next)->due;
    return index;
}

struct wheel_node *wheel_expire(struct wheel *w, int64_t now)
{
    for (;;) {
        unsigned level = 0;
        int64_t bound = pick(w, &level);
        int64_t to = bound < now ? bound : now;
        if (to > w->base)
            w->base = to;
        if (bound > now || bound == INT64_MAX)
            return NULL;
        unsigned index = tighten(w, level);
        if (w->bound[level] > bound)
            continue;
        struct wheel_slot *s = &w->slot[level * WHEEL_SLOTS + index];
        if (w->level[level].mixed & bit(index)) {
            sort(s);
            w->level[level].mixed &= ~bit(index);
        }
        struct wheel_link *head = s->list.next;
        if (node_of(head)->due > bound)         /* min was stale; the next turn sees it */
            continue;
        wheel_remove(w, node_of(head));
        __builtin_prefetch(s->list.next->next); /* the one after the next, while the caller is busy with this one */
        return node_of(head);
    }
}

int64_t wheel_next(struct wheel *w)
{
    for (;;) {
        unsigned level = 0;
        int64_t bound = pick(w, &level);
        if (bound == INT64_MAX)
            return bound;
        tighten(w, level);
        if (w->bound[level] == bound)
            return bound;
    }
}
