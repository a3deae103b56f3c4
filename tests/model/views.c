/* SPDX-License-Identifier: MIT */
#include "model/views.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/explorer.h"

#define TABLE 512               /* address -> word, open addressing */
#define POOL 3000
#define GONE 64
#define NAMES 64

struct view { int16_t at[MODEL_WORDS]; };      /* signed: SSE2 has a maximum for it */

struct store {
    uint64_t value;
    uint64_t hash;              /* the writer's whole causal history */
    struct view seen;           /* what an acquire load of it takes over */
    bool rmw;                   /* read its predecessor */
};

struct word {
    const void *addr;
    uint64_t key;               /* hash of the address */
    uint64_t order_hash;
    unsigned n;
    uint16_t order[MODEL_STORES];
};

struct self {
    struct view cur, acq, rel;
    uint64_t history;
    uint64_t stores;
    bool read[MODEL_WORDS];     /* since the last cpu_relax */
};

static struct word words[MODEL_WORDS];
static unsigned nwords;
static struct store pool[POOL];
static unsigned npool;
static struct self selves[MODEL_THREADS + 1];   /* the last one is setup and check */
static struct view sc;
static uint64_t all_stores;
static uint16_t table[TABLE];
static unsigned table_epoch, table_epochs[TABLE];
static struct { const char *from, *to; } gone[GONE];
static unsigned ngone;
static struct { const void *addr; char text[24]; } names[NAMES];
static unsigned nnames;

static const char *const order_names[8] = { "relaxed", "acquire", "release", "acqrel", "", "", "", "seqcst" };
static const char *const rmw_names[] = { "xchg", "add", "or", "and" };

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 32);
}

static void join(struct view *into, const struct view *v)
{
    for (unsigned i = 0; i < MODEL_WORDS; i++)
        into->at[i] = into->at[i] > v->at[i] ? into->at[i] : v->at[i];
}

static void lift(struct view *v, unsigned wi, unsigned at)
{
    if ((unsigned)v->at[wi] < at)
        v->at[wi] = (int16_t)at;
}

static void shift(struct view *v, unsigned wi, unsigned at) { v->at[wi] += (unsigned)v->at[wi] >= at; }

static uint64_t view_hash(const struct view *v)
{
    uint64_t h = 0;
    for (unsigned i = 0; i < nwords; i++)
        h += words[i].key * (uint64_t)v->at[i];
    return h;
}

static struct store *store_at(const struct word *w, unsigned i) { return &pool[w->order[i]]; }

static void order_rehash(struct word *w)
{
    w->order_hash = w->key;
    for (unsigned i = 0; i < w->n; i++)
        w->order_hash = mix(w->order_hash, store_at(w, i)->hash);
}

static uint64_t raw_read(const void *addr, unsigned size)
{
    return size == 4 ? *(const uint32_t *)addr : *(const uint64_t *)addr;
}

static void raw_write(void *addr, unsigned size, uint64_t x)
{
    if (size == 4)
        *(uint32_t *)addr = (uint32_t)x;
    else
        *(uint64_t *)addr = x;
}

static void look_alive(const void *addr)
{
    for (unsigned i = 0; i < ngone; i++)
        if ((const char *)addr >= gone[i].from && (const char *)addr < gone[i].to)
            model_fail("a freed word is touched: %p", addr);
}

/* The first touch of a word makes its first store, of what memory holds, visible to all. */
static unsigned word_find(const void *addr, uint64_t initial)
{
    uint64_t key = mix(0x77, (uintptr_t)addr) | 1;
    unsigned h = (unsigned)(key >> 20) % TABLE;

    if (ngone)
        look_alive(addr);
    while (table_epochs[h] == table_epoch) {
        if (words[table[h]].addr == addr)
            return table[h];
        h = (h + 1) % TABLE;
    }
    if (nwords == MODEL_WORDS || npool == POOL)
        model_fail("more words than MODEL_WORDS, or stores than POOL");
    struct word *w = &words[nwords];
    struct store *s = &pool[npool];
    table_epochs[h] = table_epoch;
    table[h] = (uint16_t)nwords;
    w->addr = addr;
    w->key = key;
    w->n = 1;
    w->order[0] = (uint16_t)npool++;
    s->value = initial;
    s->hash = mix(key, initial);
    memset(&s->seen, 0, sizeof s->seen);
    s->rmw = false;
    order_rehash(w);
    return nwords++;
}

static const char *name_of(unsigned wi)
{
    static char plain[24];
    const void *exclusive = (const char *)words[wi].addr - 1;
    for (unsigned i = 0; i < nnames; i++)
        if (names[i].addr == words[wi].addr || names[i].addr == exclusive)
            return names[i].text;
    snprintf(plain, sizeof plain, "word%u", wi);
    return plain;
}

void model_name(const void *p, const char *format, ...)
{
    if (nnames == NAMES)
        return;
    va_list args;
    va_start(args, format);
    names[nnames].addr = p;
    vsnprintf(names[nnames++].text, sizeof names[0].text, format, args);
    va_end(args);
}

/* A store goes into the middle of the order: what was there moves up by one in all views. */
static void make_room(unsigned wi, unsigned at)
{
    struct word *w = &words[wi];
    memmove(&w->order[at + 1], &w->order[at], (w->n - at) * sizeof w->order[0]);
    for (unsigned i = 0; i < npool; i++)
        shift(&pool[i].seen, wi, at);
    for (unsigned i = 0; i <= MODEL_THREADS; i++) {
        shift(&selves[i].cur, wi, at);
        shift(&selves[i].acq, wi, at);
        shift(&selves[i].rel, wi, at);
    }
    shift(&sc, wi, at);
}

static void put(unsigned wi, unsigned at, enum model_order order, uint64_t x, const struct view *handed_on)
{
    struct word *w = &words[wi];
    struct self *me = &selves[model_self()];

    if (npool == POOL || w->n == MODEL_STORES)
        model_fail("more stores than MODEL_STORES or POOL: an endless loop?");
    if (at < w->n)
        make_room(wi, at);
    me->history = mix(me->history, x);
    lift(&me->cur, wi, at);
    lift(&me->acq, wi, at);

    struct store *s = &pool[npool];
    s->value = x;
    s->hash = me->history;
    s->rmw = handed_on != NULL;
    s->seen = order & MODEL_RELEASE ? me->cur : me->rel;
    if (handed_on)
        join(&s->seen, handed_on);
    lift(&s->seen, wi, at);
    w->order[at] = (uint16_t)npool++;
    w->n++;
    if (order == MODEL_SEQCST)
        lift(&sc, wi, at);
    if (at == w->n - 1)
        w->order_hash = mix(w->order_hash, s->hash);
    else
        order_rehash(w);
    me->stores++;
    all_stores++;
}

static unsigned oldest(unsigned wi, enum model_order order)
{
    int16_t low = selves[model_self()].cur.at[wi];
    return (unsigned)(order == MODEL_SEQCST && sc.at[wi] > low ? sc.at[wi] : low);
}

static uint64_t get(unsigned wi, unsigned at, enum model_order order)
{
    struct self *me = &selves[model_self()];
    struct store *s = store_at(&words[wi], at);

    lift(&me->cur, wi, at);
    lift(&me->acq, wi, at);
    me->read[wi] = true;
    join(&me->acq, &s->seen);
    if (order & MODEL_ACQUIRE)
        join(&me->cur, &s->seen);
    if (order == MODEL_SEQCST)
        lift(&sc, wi, at);
    me->history = mix(mix(me->history, words[wi].key + order), s->hash);
    return s->value;
}

/* May a store go right after this one? */
static bool open_end(const struct word *w, unsigned at) { return at == w->n - 1 || !store_at(w, at + 1)->rmw; }

uint64_t model_load(const void *addr, unsigned size, enum model_order order)
{
    model_step();
    return views_load(addr, size, order);
}

uint64_t views_load(const void *addr, unsigned size, enum model_order order)
{
    unsigned wi = word_find(addr, raw_read(addr, size));
    unsigned old = words[wi].n - oldest(wi, order);
    unsigned back = model_pick(old, MODEL_PICK_READ);
    uint64_t x = get(wi, words[wi].n - 1 - back, order);
    model_trace("load  %-8s %s = %#llx%s", order_names[order], name_of(wi), (unsigned long long)x,
                back ? "  (old)" : "");
    return x;
}

void model_store(void *addr, unsigned size, enum model_order order, uint64_t x)
{
    model_step();
    unsigned wi = word_find(addr, raw_read(addr, size));
    struct word *w = &words[wi];
    unsigned at[MODEL_STORES], n = 0;

    for (unsigned low = oldest(wi, order), i = w->n; i-- > low; )
        if (open_end(w, i))
            at[n++] = i + 1;
    unsigned back = model_pick(n, MODEL_PICK_PLACE);
    selves[model_self()].history = mix(selves[model_self()].history, w->key + 16 + order);
    put(wi, at[back], order, x, NULL);
    raw_write(addr, size, store_at(w, w->n - 1)->value);
    model_trace("store %-8s %s = %#llx%s", order_names[order], name_of(wi), (unsigned long long)x,
                back ? "  (before others)" : "");
}

uint64_t model_rmw(void *addr, unsigned size, enum model_order order, enum model_rmw op, uint64_t x)
{
    model_step();
    return views_rmw(addr, size, order, op, x);
}

uint64_t views_rmw(void *addr, unsigned size, enum model_order order, enum model_rmw op, uint64_t x)
{
    unsigned wi = word_find(addr, raw_read(addr, size));
    struct word *w = &words[wi];
    unsigned at[MODEL_STORES], n = 0;

    for (unsigned low = oldest(wi, order), i = w->n; i-- > low; )
        if (open_end(w, i))
            at[n++] = i;
    unsigned from = at[model_pick(n, MODEL_PICK_READ)];
    uint64_t old = get(wi, from, order);
    uint64_t new = op == MODEL_XCHG ? x : op == MODEL_ADD ? old + x : op == MODEL_OR ? (old | x) : (old & x);
    if (size == 4)
        new = (uint32_t)new;
    put(wi, from + 1, order, new, &store_at(w, from)->seen);
    raw_write(addr, size, store_at(w, w->n - 1)->value);
    model_trace("%-5s %-8s %s: %#llx -> %#llx", rmw_names[op], order_names[order], name_of(wi), (unsigned long long)old,
                (unsigned long long)new);
    return old;
}

/* Of a lock's word every change reads the newest store, so an acquisition that succeeds does. */
uint32_t views_lock(atom32 *word, uint32_t bit)
{
    unsigned wi = word_find(word, raw_read(word, sizeof *word));
    uint32_t old = (uint32_t)get(wi, words[wi].n - 1, MODEL_ACQUIRE);
    put(wi, words[wi].n, MODEL_ACQUIRE, old | bit, &store_at(&words[wi], words[wi].n - 1)->seen);
    raw_write(word, sizeof *word, old | bit);
    model_trace("lock           %s: %#x", name_of(wi), old);
    return old;
}

bool model_cas(void *addr, unsigned size, enum model_order order, uint64_t *expected, uint64_t x)
{
    model_step();
    unsigned wi = word_find(addr, raw_read(addr, size));
    struct word *w = &words[wi];
    unsigned at[MODEL_STORES], n = 0;

    for (unsigned low = oldest(wi, order), i = w->n; i-- > low; )
        if (open_end(w, i) || store_at(w, i)->value != *expected)
            at[n++] = i;
    unsigned from = at[model_pick(n, MODEL_PICK_READ)];
    if (store_at(w, from)->value != *expected) {
        uint64_t wanted = *expected;
        *expected = get(wi, from, MODEL_ACQUIRE);
        model_trace("cas   %-8s %s: %#llx, wanted %#llx", order_names[order], name_of(wi),
                    (unsigned long long)*expected, (unsigned long long)wanted);
        return false;
    }
    get(wi, from, order);
    put(wi, from + 1, order, x, &store_at(w, from)->seen);
    raw_write(addr, size, store_at(w, w->n - 1)->value);
    model_trace("cas   %-8s %s: %#llx -> %#llx", order_names[order], name_of(wi), (unsigned long long)*expected,
                (unsigned long long)x);
    return true;
}

void fence_full(void)
{
    model_step();
    views_fence();
}

void views_fence(void)
{
    struct self *me = &selves[model_self()];
    join(&me->cur, &me->acq);
    join(&me->cur, &sc);
    me->acq = me->rel = sc = me->cur;
    me->history = mix(me->history, view_hash(&sc));
    model_trace("fence");
}

void model_exclusive(const void *p)
{
    unsigned wi = word_find((const char *)p + 1, 0);    /* *p itself may be an atomic word */
    if ((unsigned)selves[model_self()].cur.at[wi] != words[wi].n - 1)
        model_fail("a race on %s: an earlier access does not happen before this one", name_of(wi));
    put(wi, words[wi].n, MODEL_RELAXED, 0, NULL);
}

void views_reset(void)
{
    memset(selves, 0, sizeof selves);
    for (unsigned i = 0; i <= MODEL_THREADS; i++)
        selves[i].history = i + 1;
    memset(&sc, 0, sizeof sc);
    nwords = npool = ngone = nnames = 0;
    all_stores = 0;
    table_epoch++;
}

void views_fork(unsigned threads)
{
    for (unsigned i = 0; i < threads; i++)
        selves[i].cur = selves[i].acq = selves[i].rel = selves[MODEL_THREADS].cur;
}

void views_join(unsigned threads)
{
    for (unsigned i = 0; i < threads; i++)
        join(&selves[MODEL_THREADS].cur, &selves[i].cur);
}

bool views_relax(unsigned self)
{
    struct self *me = &selves[self];
    bool raised = false;
    for (unsigned i = 0; i < nwords; i++) {
        unsigned newest = words[i].n - 1;
        if (me->read[i] && (unsigned)me->cur.at[i] < newest) {
            lift(&me->cur, i, newest);
            lift(&me->acq, i, newest);
            raised = true;
        }
        me->read[i] = false;
    }
    me->history = mix(me->history, 3);
    return raised;
}

uint64_t views_stores_of_others(unsigned self) { return all_stores - selves[self].stores; }

void views_forget(const void *p, size_t size)
{
    if (ngone == GONE)
        model_fail("more than %d frees in one run", GONE);
    gone[ngone].from = p;
    gone[ngone++].to = (const char *)p + size;
}

void views_note(unsigned self, uint64_t x) { selves[self].history = mix(selves[self].history, x); }

uint64_t views_hash(unsigned threads)
{
    uint64_t h = view_hash(&sc);
    for (unsigned i = 0; i < threads; i++) {
        h = mix(h, selves[i].history);
        h = mix(h, view_hash(&selves[i].cur));
        h = mix(h, view_hash(&selves[i].acq));
        h = mix(h, view_hash(&selves[i].rel));
    }
    uint64_t orders = 0;
    for (unsigned i = 0; i < nwords; i++)
        orders += words[i].order_hash;
    return mix(h, orders);
}
