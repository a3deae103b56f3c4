/* SPDX-License-Identifier: MIT */
/*
 * wheel_model - the wheel beside a sorted list, for 30_wheel.c and the plain program of other machines
 *
 * model_run plays random operations on both and compares the very nodes, one by one, in order: due, then order of
 * adding. model_audit walks the wheel's insides and checks W2 and W3 of wheel.h. Both stop the program through FAIL
 * at the first difference; FAIL is the includer's.
 */
#ifndef TESTS_WHEEL_MODEL_H
#define TESTS_WHEEL_MODEL_H

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "timers/wheel.h"

#define MODEL_TICK (INT64_C(1) << WHEEL_TICK_BITS)
#define MODEL_DAY (INT64_C(86400) * 1000000000)
#define MODEL_SHIFT(level) (WHEEL_TICK_BITS + WHEEL_STEP_BITS * (level))
#define MUST(x) do { if (!(x)) FAIL("%s:%d: %s", __FILE__, __LINE__, #x); } while (0)

struct model {
    struct wheel wheel;
    int64_t now;
    uint64_t random;
    unsigned live, most;            /* nodes in the list; its room */
    struct wheel_node **list;       /* sorted */
    struct wheel_node *nodes, **spare;
    uint64_t fired, breaks;         /* nodes; times that the work ran out */
    uint64_t early, exact;          /* answers of wheel_next that were before, and at, the true next due */
};

static inline uint64_t model_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);         /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline int64_t model_plus(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}

static inline struct model *model_new(uint64_t seed, int64_t now, unsigned most)
{
    struct model *m = calloc(1, sizeof(*m));

    m->list = calloc(most, sizeof(*m->list));
    m->spare = calloc(most, sizeof(*m->spare));
    m->nodes = calloc(most, sizeof(*m->nodes));
    m->most = most;
    m->random = seed;
    m->now = now;
    for (unsigned i = 0; i < most; i++)
        m->spare[i] = &m->nodes[i];
    memset(&m->wheel, 0xa5, sizeof(m->wheel));                   /* init owes nothing to zeroed memory */
    wheel_init(&m->wheel, now);
    return m;
}

static inline void model_free(struct model *m)
{
    free(m->list);
    free(m->spare);
    free(m->nodes);
    free(m);
}

static inline struct wheel_node *model_add(struct model *m, int64_t due)
{
    struct wheel_node *n = m->spare[m->most - 1 - m->live];
    unsigned lo = 0, hi = m->live;

    MUST(m->live < m->most && !wheel_queued(n));
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (m->list[mid]->due <= due)
            lo = mid + 1;
        else
            hi = mid;
    }
    memmove(&m->list[lo + 1], &m->list[lo], (m->live - lo) * sizeof(*m->list));
    m->list[lo] = n;
    m->live++;
    wheel_add(&m->wheel, n, due);
    MUST(wheel_queued(n) && n->due == due);
    return n;
}

static inline void model_drop(struct model *m, unsigned i)
{
    struct wheel_node *n = m->list[i];

    m->live--;
    memmove(&m->list[i], &m->list[i + 1], (m->live - i) * sizeof(*m->list));
    m->spare[m->most - 1 - m->live] = n;
    n->due = INT64_C(0x5a5a5a5a5a5a5a5a);                        /* the wheel must not look at it again */
    n->slot = UINT32_MAX;
}

static inline void model_remove(struct model *m, unsigned i)
{
    wheel_remove(&m->wheel, m->list[i]);
    MUST(!wheel_queued(m->list[i]));
    model_drop(m, i);
}

/* Expire at most `most` nodes; true if all that was due is gone. */
static inline bool model_expire(struct model *m, uint64_t most)
{
    while (most--) {
        bool due = m->live && m->list[0]->due <= m->now && m->list[0]->due != INT64_MAX;
        unsigned work = 1 + (unsigned)(model_random(&m->random) % 8);
        struct wheel_node *n = wheel_expire(&m->wheel, m->now, &work);
        if (!n && !work) {
            m->breaks++;
            most += most != UINT64_MAX;
            continue;
        }
        if (n != (due ? m->list[0] : NULL))
            FAIL("now %" PRId64 ": got %" PRId64 ", not %" PRId64, m->now, n ? n->due : -1, due ? m->list[0]->due : -1);
        if (!n)
            return true;
        MUST(!wheel_queued(n));
        model_drop(m, 0);
        m->fired++;
    }
    return false;
}

static inline void model_advance(struct model *m, int64_t now)
{
    if (now > m->now)
        m->now = now;
    model_expire(m, UINT64_MAX);
}

static inline int64_t model_next(struct model *m)
{
    int64_t truth = m->live ? m->list[0]->due : INT64_MAX, t = wheel_next(&m->wheel);

    MUST(t <= truth);
    if (t == truth) {
        m->exact++;
        return t;
    }
    bool excused = false;           /* only by a slot that is stale and too long to look through */
    for (unsigned i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++) {
        unsigned level = i / WHEEL_SLOTS, size = 0;
        uint64_t b = UINT64_C(1) << i % WHEEL_SLOTS;
        struct wheel_slot *s = &m->wheel.slot[i];
        if (!(m->wheel.level[level].busy & m->wheel.level[level].mixed & m->wheel.level[level].stale & b))
            continue;
        if (s->min != t)
            continue;
        for (struct wheel_link *l = s->list.next; l != &s->list; l = l->next)
            size++;
        excused |= size > WHEEL_SCAN;
    }
    MUST(excused);
    m->early++;
    return t;
}

static inline void model_audit(struct model *m)
{
    struct wheel *w = &m->wheel;
    unsigned nodes = 0;

    MUST(w->base <= m->now);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t busy = w->level[level].busy, mixed = w->level[level].mixed, stale = w->level[level].stale;
        MUST(!busy == !(w->live >> level & 1));
        for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
            struct wheel_slot *s = &w->slot[level * WHEEL_SLOTS + i];
            int64_t min = INT64_MAX;
            if (!(busy >> i & 1))
                continue;
            MUST(s->list.next != &s->list);
            for (struct wheel_link *l = s->list.next; l != &s->list; l = l->next) {
                struct wheel_node *n = (struct wheel_node *)l;
                int64_t key = n->due > w->base ? n->due : w->base;
                MUST(l->next->prev == l && l->prev->next == l);
                MUST(n->slot == level * WHEEL_SLOTS + i);
                MUST(((uint64_t)(key >> MODEL_SHIFT(level)) & (WHEEL_SLOTS - 1)) == i);
                MUST((uint64_t)(key >> MODEL_SHIFT(level)) - (uint64_t)(w->base >> MODEL_SHIFT(level)) < WHEEL_SLOTS);
                MUST(w->bound[level] <= n->due);
                if (!(mixed >> i & 1))
                    MUST(l == s->list.next || ((struct wheel_node *)l->prev)->due <= n->due);
                if (n->due < min)
                    min = n->due;
                nodes++;
            }
            if (mixed >> i & 1)
                MUST(stale >> i & 1 ? s->min <= min : s->min == min);
        }
    }
    MUST(nodes == m->live);
}

/* A moment to arm or to advance to: near, at and round the borders of every level, past, far, and the ends of time. */
static inline int64_t model_moment(struct model *m)
{
    uint64_t r = model_random(&m->random), q = model_random(&m->random);
    unsigned level = (unsigned)(q % WHEEL_LEVELS), shift = MODEL_SHIFT(level);
    int64_t about = (int64_t)(q >> 32) % (4 * MODEL_TICK + 1) - 2 * MODEL_TICK;  /* +-2 ticks */

    switch (r >> 8 & 15) {
    case 0: return m->now;
    case 1: return model_plus(m->now, -(int64_t)(q % (uint64_t)(3 * MODEL_TICK)));
    case 2: case 3: return model_plus(m->now, (int64_t)(q % (uint64_t)(8 * MODEL_TICK)));
    case 4: case 5: return model_plus(m->now, (int64_t)(q % UINT64_C(5000000000)));
    case 6: return model_plus(m->now, (int64_t)(q % (uint64_t)(90 * MODEL_DAY)));
    case 7: return model_plus(m->now, (int64_t)(q >> (1 + (r >> 16) % 63)));
    case 8: case 9: {               /* round the next border of a slot of some level, or of its whole ring */
        unsigned border = r & 1 ? shift : shift + WHEEL_SLOT_BITS;
        if (border > 62)
            return model_plus(INT64_MAX, about);
        int64_t slot = INT64_C(1) << border, at = (m->now >> border) * slot;
        return model_plus(model_plus(at, slot), about);
    }
    case 10: case 11: {             /* round the reach of some level from here */
        unsigned border = shift + WHEEL_SLOT_BITS;
        return model_plus(model_plus(m->now, border > 62 ? INT64_MAX : INT64_C(1) << border), about);
    }
    case 12: return m->live ? m->list[r % m->live]->due : m->now;                     /* equal dues */
    case 13: return model_plus(m->live ? m->list[r % m->live]->due : m->now, (int64_t)(q % 3) - 1);
    case 14: return model_plus(m->now, INT64_C(10000000000) + (int64_t)(q % 1000));       /* a constant timeout */
    default:
        switch (q % 8) {
        case 0: return INT64_MAX;
        case 1: return INT64_MAX - 1;
        case 2: return INT64_MIN;
        case 3: return 0;
        case 4: return model_plus(m->now, 2147483647 * INT64_C(1000000) + about);    /* 2^31 - 1 ms */
        case 5: return model_plus(m->now, 4294967296 * INT64_C(1000000) + about);    /* 2^32 ms */
        case 6: return model_plus(m->now, INT64_C(1));
        default: return model_plus(m->now, MODEL_TICK);
        }
    }
}

/* jumps: how often, in 1024 moves of time, it goes 30 days and more. */
static inline void model_run(struct model *m, uint64_t operations, unsigned jumps)
{
    uint64_t audit_every = 16 + m->most;

    for (uint64_t i = 0; i < operations; i++) {
        uint64_t r = model_random(&m->random);
        unsigned op = r & 15;
        if (op < 7) {
            if (m->live < m->most)
                model_add(m, model_moment(m));
            else
                model_remove(m, (unsigned)((r >> 8) % m->live));
        } else if (op < 10) {
            if (m->live)
                model_remove(m, r & 16 ? 0 : (unsigned)((r >> 8) % m->live));
        } else if (op < 12) {
            int64_t t = model_next(m);
            if (r & 16 && t < model_plus(m->now, 120 * MODEL_DAY))
                model_advance(m, model_plus(t, (int64_t)(r >> 8) % 3 - 1));
        } else if (op < 13) {       /* leave some of what is due for later */
            m->now = model_plus(m->now, (int64_t)((r >> 8) % (uint64_t)(2 * MODEL_TICK)));
            model_expire(m, (r >> 40) % 4);
        } else if ((r >> 8) % 1024 < jumps) {
            model_advance(m, model_plus(m->now, 30 * MODEL_DAY + (int64_t)((r >> 20) % (uint64_t)(400 * MODEL_DAY))));
        } else {
            int64_t t = model_moment(m);
            if (t < model_plus(m->now, (r >> 30) % 64 ? 100000000 : 2 * MODEL_DAY))
                model_advance(m, t);
        }
        if (i % audit_every == 0)
            model_audit(m);
    }
    /* to the end of time: all come out, but those that never fire */
    model_audit(m);
    model_next(m);
    model_advance(m, INT64_MAX - 1);
    MUST(!m->live || m->list[0]->due == INT64_MAX);
    model_advance(m, INT64_MAX);
    model_audit(m);
    while (m->live)
        model_remove(m, m->live - 1);
    MUST(wheel_next(&m->wheel) == INT64_MAX && !m->wheel.live);
}

#endif
