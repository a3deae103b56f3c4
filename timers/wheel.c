/* SPDX-License-Identifier: MIT */
/* wheel - see wheel.h */
#include "timers/wheel.h"

#define SHIFT(level) (WHEEL_TICK_BITS + WHEEL_STEP_BITS * (level))

_Static_assert(WHEEL_SLOT_BITS <= 6 && WHEEL_LEVELS <= 64, "sets of slots and of levels are one word");
_Static_assert(SHIFT(WHEEL_LEVELS - 1) < 64, "the last level is needed");
_Static_assert(SHIFT(WHEEL_LEVELS - 1) + WHEEL_SLOT_BITS >= 64, "the last level reaches all");
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

/* The finest level that reaches key from base: of the levels whose ring is longer than the distance the finest, or,
 * when base stands so late in its slot that key is a full turn ahead, the next one. */
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

/* Into a slot: at the end, or for a node that was added before all others there (it comes from a coarser level) in
 * front. */
static inline void link_in(struct wheel *w, struct wheel_node *n, unsigned level, unsigned index, bool front)
{
    struct wheel_slot *s = &w->slot[level * WHEEL_SLOTS + index];
    uint64_t b = bit(index);

    n->slot = level * WHEEL_SLOTS + index;
    if (!w->level[level].busy || n->due < w->bound[level])
        w->bound[level] = n->due;
    if (!(w->level[level].busy & b)) {
        w->live |= bit(level);
        w->level[level].busy |= b;
        w->level[level].mixed &= ~b;
        n->link.next = n->link.prev = &s->list;
        s->list.next = s->list.prev = &n->link;
        return;
    }
    struct wheel_link *after = front ? &s->list : s->list.prev;
    if (w->level[level].mixed & b) {
        if (n->due <= s->min) {
            s->min = n->due;
            w->level[level].stale &= ~b;
        }
    } else if (front ? n->due > node_of(s->list.next)->due : n->due < node_of(after)->due) {
        int64_t first = node_of(s->list.next)->due;
        if (n->due < first) {       /* at the head it is still in order */
            after = &s->list;
        } else {
            s->min = first;
            w->level[level].mixed |= b;
            w->level[level].stale &= ~b;
        }
    }
    n->link.next = after->next;
    n->link.prev = after;
    after->next->prev = &n->link;
    after->next = &n->link;
}

void wheel_add(struct wheel *w, struct wheel_node *n, int64_t due)
{
    unsigned index, level = level_for(w->base, due > w->base ? due : w->base, &index);

    n->due = due;
    link_in(w, n, level, index, false);
}

/* From level `from` down to the finest that reaches, but not past a slot that may hold a younger node of the same due
 * (W4). */
static inline void move_down(struct wheel *w, struct wheel_node *n, unsigned from)
{
    unsigned index, finest = level_for(w->base, n->due, &index), level = from - 1;

    for (; level > finest; level--)
        if (w->level[level].busy & bit((uint64_t)(n->due >> SHIFT(level)) & (WHEEL_SLOTS - 1)))
            break;
    if (level > finest)
        index = (uint64_t)(n->due >> SHIFT(level)) & (WHEEL_SLOTS - 1);
    link_in(w, n, level, index, true);
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

/* Natural merge sort: ascending runs as they are found, merged like the carries of a binary counter. How many nodes. */
static unsigned sort(struct wheel_slot *s)
{
    unsigned n = 0;
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
        n++;
    }
    prev->next = &s->list;
    s->list.prev = prev;
    return n;
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

/* Bring a mixed slot nearer to order: sort it if it is short or of level 0, else move WHEEL_PIECE of its nodes to
 * finer levels: the last ones, in front of what is there, for they are older (W4). All of the slot must be within
 * reach of the next finer level; so nothing can be added to it any more. How many nodes were touched. */
static unsigned part(struct wheel *w, unsigned level, unsigned index)
{
    struct wheel_slot *s = &w->slot[level * WHEEL_SLOTS + index];
    struct wheel_link *stay = s->list.prev, *move = stay, *next;
    unsigned n = 0;

    if (level > 0)
        for (; n < WHEEL_PIECE && stay != &s->list; n++)
            stay = stay->prev;
    if (level == 0 || stay == &s->list) {
        w->level[level].mixed &= ~bit(index);
        return sort(s);
    }
    stay->next = &s->list;
    s->list.prev = stay;
    w->level[level].stale |= bit(index);
    for (; move != stay; move = next) {
        next = move->prev;
        move_down(w, node_of(move), level);
    }
    return n;
}

/* Nothing is due: part a slot whose time comes within a slot's time of the finer level, so that it finds less to do
 * then. */
static void prepare(struct wheel *w)
{
    for (uint64_t m = w->live & ~UINT64_C(1); m; m &= m - 1) {
        unsigned level = (unsigned)__builtin_ctzll(m), index = first_slot(w, level);
        uint64_t at = (uint64_t)(w->base >> SHIFT(level));
        uint64_t left = ((at + 1) << SHIFT(level)) - (uint64_t)w->base;
        if ((w->level[level].mixed & bit(index)) && (((index - at) & (WHEEL_SLOTS - 1)) == 0 ||
            (((index - at) & (WHEEL_SLOTS - 1)) == 1 && left <= UINT64_C(1) << SHIFT(level - 1)))) {
            part(w, level, index);
            return;
        }
    }
}

struct wheel_node *wheel_expire(struct wheel *w, int64_t now, unsigned *work)
{
    while (*work) {
        unsigned level = 0;
        int64_t bound = pick(w, &level);
        int64_t to = bound < now ? bound : now;
        if (to > w->base)
            w->base = to;
        if (bound > now || bound == INT64_MAX) {
            prepare(w);
            return NULL;
        }
        unsigned index = tighten(w, level);
        if (w->bound[level] > bound)
            continue;
        if (w->level[level].mixed & bit(index)) {       /* base stands in this slot now */
            unsigned n = part(w, level, index);
            *work -= n < *work ? n : *work;
            continue;
        }
        struct wheel_link *head = w->slot[level * WHEEL_SLOTS + index].list.next, *next = head->next;
        wheel_remove(w, node_of(head));
        __builtin_prefetch(next->next); /* the one after the next, while the caller is busy with this one */
        --*work;
        return node_of(head);
    }
    return NULL;
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
