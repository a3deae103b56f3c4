/* SPDX-License-Identifier: MIT */
/*
 * stack - segments, the depot, and two kinds of guards
 *
 * A segment is one mapping:
 *
 *      | links, a record per slot | guard | stack 0 | guard | stack 1 | ...      a slot is a guard and the stack above it
 *
 * Segments of a class double, from about SEGMENT_FIRST bytes, so that a million stacks are some fifteen mappings and a small
 * program under `ulimit -v` reserves little. Slots are handed out in order; free ones go to the depot, two lists per class,
 * linked through the records so that a stack is freed without allocating and without touching its own memory.
 *
 *      touched     holds memory; taken first, at the head, where the last one was put; trimmed at the tail
 *      clean       holds none
 *
 * Locks      pool.lock guards all below except what is marked. A pthread mutex, since a section may map a segment; it is taken
 *            once for STACK_CACHE / 2 stacks.
 * Fields     L under pool.lock; I fixed once the segment is published; A atomic.
 * Ordering   S1 publishing a segment's start, release -> stack_owner, acquire: its stride and end. All others learn of a slot
 *            under the lock or through the queues that carried its fiber.
 * Colour     slot i's top is lowered by i % 8 * 128 bytes. An odd number of pages per slot spreads the hot top lines over the
 *            sets of the caches (1000 fibers in turn: 34 -> 23 ns each), the colour also within a page (16 fibers: 21 -> 18).
 * Failure    MADV_GUARD_INSTALL is tried once per segment (VM_LOCKED memory refuses it even on new kernels); a segment without
 *            it has eager guards by mprotect, two maps each. When their budget is used up, a free stack's guard is opened again.
 */
#include "sched/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sched/atomic.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#ifdef WEFT_TINY
#define SEGMENT_FIRST (1u << 15)
#else
#define SEGMENT_FIRST (1u << 22)
#endif
#define SEGMENT_MOST (UINT64_C(1) << 38)        /* bytes; keeps clear of the end of a 47-bit address space */
#define SEGMENTS 256
#define CACHE_BYTES (1u << 23)                  /* a worker keeps no more than this of a class, or one stack */
#define TRIM_BATCH 32
#define COLOURS 8
#define COLOUR_STEP 128
#define MAPS_USUAL 65530                        /* if vm.max_map_count cannot be read */

struct link {
    struct stack_slot next, prev;               /* L */
};

struct segment {
    atom64 start;                               /* A: slot 0's guard; 0: not there */
    uint64_t end;                               /* I */
    uint64_t stride;                            /* I */
    struct link *links;                         /* I: the mapping begins here */
    uint32_t slots;                             /* I */
    uint32_t fresh;                             /* L: slots from here on were never handed out */
    uint8_t class_;                             /* I */
    bool lazy;                                  /* I: MADV_GUARD_INSTALL works here */
};

struct list {
    struct stack_slot head, tail;
    size_t n;
};

static struct {
    pthread_mutex_t lock;
    bool probed;                                /* L: the next four are known */
    bool split;                                 /* I */
    bool eager;                                 /* L: some segment's guards may fail */
    size_t page;                                /* I */
    size_t guards_most;                         /* I */
    size_t guards;                              /* L: how many of the kind that costs maps */
    size_t out;                                 /* L: stacks held by fibers, caches and stack_trim */
    unsigned segments;                          /* L: segment[1 .. segments] are there */
    atom64 touched;                             /* written under L: sum of of[].touched.n */
    struct {
        struct list touched, clean;
        uint64_t slots;                         /* in all segments of the class */
        uint64_t free;                          /* of them, in the depot or fresh */
        uint64_t promised;                      /* never more than free */
        uint16_t growing;                       /* the segment with fresh slots, or 0 */
    } of[STACK_CLASSES];                        /* L */
    struct segment segment[SEGMENTS + 1];       /* [0] is nobody's */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void lock(void) { pthread_mutex_lock(&pool.lock); }
static void unlock(void) { pthread_mutex_unlock(&pool.lock); }

static void broken(const char *why)
{
    (void)!write(2, why, strlen(why));
    abort();
}

/* ---- lists (L) ---------------------------------------------------------------------------------------------------------- */

static struct link *link_of(struct stack_slot at) { return &pool.segment[at.segment].links[at.index]; }

/* prev of the head and next of the tail are stale: n tells the ends. */
static void push(struct list *l, struct stack_slot at)
{
    link_of(at)->next = l->head;
    if (l->n++)
        link_of(l->head)->prev = at;
    else
        l->tail = at;
    l->head = at;
}

static struct stack_slot pop_head(struct list *l)
{
    struct stack_slot at = l->head;
    l->head = link_of(at)->next;
    l->n--;
    return at;
}

static struct stack_slot pop_tail(struct list *l)
{
    struct stack_slot at = l->tail;
    l->tail = link_of(at)->prev;
    l->n--;
    return at;
}

static void depot_put(struct stack_slot at)
{
    bool touched = at.flags & STACK_TOUCHED;
    push(touched ? &pool.of[at.class_].touched : &pool.of[at.class_].clean, at);
    pool.out--;
    pool.of[at.class_].free++;
    if (touched)
        count_up64(&pool.touched, 1);
}

/* ---- segments (L) ------------------------------------------------------------------------------------------------------- */

static size_t maps_most(void)
{
    char text[32];
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return MAPS_USUAL;
    text[n] = 0;
    return strtoul(text, NULL, 10);
}

static void probe(void)
{
    const char *guard = getenv("WEFT_STACK_GUARD");
    size_t maps = maps_most();
    pool.split = guard && strcmp(guard, "mprotect") == 0;
    pool.page = (size_t)sysconf(_SC_PAGESIZE);
    pool.guards_most = (maps - maps / STACK_MAPS_KEPT) / 2;
    pool.probed = true;
}

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Map a segment of n slots. */
static bool map_segment(unsigned class_, uint64_t n)
{
    struct segment *g = &pool.segment[pool.segments + 1];
    size_t stride = round_up((size_t)1 << (class_ + STACK_SHIFT_LEAST), pool.page) + pool.page;
    size_t links = round_up(n * sizeof(struct link), pool.page), size = links + n * stride;
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED)
        return false;
    madvise(map, size, MADV_NOHUGEPAGE);        /* before Linux 6.7 MAP_STACK does not mean it; without huge pages it fails */
    g->links = (struct link *)map;
    g->end = (uintptr_t)map + size;
    g->stride = stride;
    g->slots = (uint32_t)n;
    g->fresh = 0;
    g->class_ = (uint8_t)class_;
    g->lazy = !pool.split && madvise(map + links, pool.page, MADV_GUARD_INSTALL) == 0;
    store_release64(&g->start, (uintptr_t)map + links);     /* S1: pairs with stack_owner */
    pool.segments++;
    pool.of[class_].slots += n;
    pool.of[class_].free += n;
    pool.eager |= !g->lazy;
    pool.of[class_].growing = (uint16_t)pool.segments;
    return true;
}

/* As many slots as the class has already; if they cannot be had, half of that, and so on down to the first size. */
static bool grow(unsigned class_)
{
    size_t size = (size_t)1 << (class_ + STACK_SHIFT_LEAST);
    uint64_t first = size < SEGMENT_FIRST ? SEGMENT_FIRST / size : 1, n = pool.of[class_].slots;
    if (!pool.probed)
        probe();
    if (pool.segments == SEGMENTS)
        return false;
    if (n > SEGMENT_MOST / size)
        n = SEGMENT_MOST / size;
    for (; n > first; n /= 2)
        if (map_segment(class_, n))
            return true;
    return map_segment(class_, first);
}

/* The segment that the next fresh slot comes from: 0 if there is none. */
static uint16_t fresh(unsigned class_)
{
    uint16_t k = pool.of[class_].growing;
    if (k && pool.segment[k].fresh < pool.segment[k].slots)
        return k;
    for (k = (uint16_t)pool.segments; k; k--)
        if (pool.segment[k].class_ == class_ && pool.segment[k].fresh < pool.segment[k].slots)
            break;
    return pool.of[class_].growing = k;
}

static bool depot_take(unsigned class_, struct stack_slot *at)
{
    uint16_t k;
    if (pool.of[class_].touched.n) {
        *at = pop_head(&pool.of[class_].touched);
        count_up64(&pool.touched, UINT64_MAX);
    } else if (pool.of[class_].clean.n) {
        *at = pop_head(&pool.of[class_].clean);
    } else {
        if (!fresh(class_) && !grow(class_))
            return false;
        k = fresh(class_);
        *at = (struct stack_slot){ .index = pool.segment[k].fresh++, .segment = k, .class_ = (uint8_t)class_ };
    }
    pool.out++;
    pool.of[class_].free--;
    return true;
}

/* ---- guards ------------------------------------------------------------------------------------------------------------- */

static char *slot_guard(struct stack_slot at)
{
    const struct segment *g = &pool.segment[at.segment];
    return (char *)(uintptr_t)load_relaxed64(&g->start) + at.index * g->stride;
}

/* (L) Budget for one more split guard, if need be by opening that of a free stack. */
static bool guard_budget(void)
{
    if (pool.guards < pool.guards_most)
        return true;
    for (unsigned k = 0; k < STACK_CLASSES; k++) {
        struct list *both[2] = { &pool.of[k].clean, &pool.of[k].touched };
        for (int i = 0; i < 2; i++) {
            struct stack_slot at = both[i]->tail;
            if (!both[i]->n || !(at.flags & STACK_SPLIT))
                continue;
            if (mprotect(slot_guard(at), pool.page, PROT_READ | PROT_WRITE) != 0)
                return false;
            (void)pop_tail(both[i]);
            at.flags &= (uint8_t)~(STACK_GUARDED | STACK_SPLIT);
            push(both[i], at);
            pool.guards--;
            return true;
        }
    }
    return false;
}

static int guard_split(struct stack *s)
{
    bool good;
    lock();
    good = guard_budget();
    if (good)
        pool.guards++;
    unlock();
    if (!good)
        return -ENOMEM;
    if (mprotect(s->base - pool.page, pool.page, PROT_NONE) != 0) {
        lock();
        pool.guards--;
        unlock();
        return -ENOMEM;
    }
    s->at.flags |= STACK_GUARDED | STACK_SPLIT;
    return 0;
}

void stack_guard(struct stack *s)
{
    if (!(s->at.flags & STACK_GUARDED)) {
        if (madvise(s->base - pool.page, pool.page, MADV_GUARD_INSTALL) == 0)
            s->at.flags |= STACK_GUARDED;
        else if (guard_split(s) != 0)           /* the pages were locked since, and the maps are used up too */
            broken("weft: no guard page for a stack\n");
    }
    s->at.flags |= STACK_TOUCHED;
}

/* ---- get and put -------------------------------------------------------------------------------------------------------- */

static unsigned cache_most(unsigned class_)
{
    unsigned n = CACHE_BYTES >> (class_ + STACK_SHIFT_LEAST);
    return n == 0 ? 1 : n < STACK_CACHE ? n : STACK_CACHE;
}

static unsigned cache_batch(unsigned class_) { return (cache_most(class_) + 1) / 2; }

static struct stack_pile *pile_of(struct stack_cache *c, struct stack_slot at)
{
    return at.flags & STACK_TOUCHED ? &c->of[at.class_].warm : &c->of[at.class_].cold;
}

static void pile_push(struct stack_pile *p, struct stack_slot at) { p->slot[p->n++] = at; }
static struct stack_slot pile_pop(struct stack_pile *p) { return p->slot[--p->n]; }

/* (L) Is there a slot that nobody was promised, or can one be made? */
static bool spare(unsigned class_) { return pool.of[class_].free > pool.of[class_].promised || grow(class_); }

/* One stack for the caller (1: it was promised), and the rest of a batch for the cache, which is empty. The warmest comes first
 * and goes on top. */
static bool refill(struct stack_cache *c, unsigned class_, struct stack_slot *at, unsigned promised)
{
    unsigned more = c ? cache_batch(class_) - 1 : 0, n = 0;
    struct stack_slot got[STACK_CACHE];
    bool good;
    lock();
    pool.of[class_].promised -= promised;
    good = spare(class_) && depot_take(class_, at);
    while (good && n < more && spare(class_) && depot_take(class_, &got[n]))
        n++;
    unlock();
    for (; n; n--)
        pile_push(pile_of(c, got[n - 1]), got[n - 1]);
    return good;
}

/* The n that were put first. */
static void spill(struct stack_pile *p, unsigned n)
{
    lock();
    for (unsigned i = 0; i < n; i++)
        depot_put(p->slot[i]);
    unlock();
    p->n -= n;
    memmove(p->slot, p->slot + n, p->n * sizeof *p->slot);
}

static void place(struct stack *s, struct stack_slot at)
{
    s->base = slot_guard(at) + pool.page;
    s->top = s->base + pool.segment[at.segment].stride - pool.page - at.index % COLOURS * COLOUR_STEP;
    s->at = at;
}

/* A cold one if there is one: who gets it need not run soon, and stack_warm mends it. */
int stack_get(struct stack_cache *c, size_t usable, struct stack *out)
{
    unsigned class_ = stack_class(usable);
    struct stack_slot at;
    if (class_ >= STACK_CLASSES)
        return -EINVAL;
    if (c && c->hot.at.segment)
        stack_put_away(c, &c->hot);
    if (c && c->of[class_].cold.n)
        at = pile_pop(&c->of[class_].cold);
    else if (c && c->of[class_].warm.n)
        at = pile_pop(&c->of[class_].warm);
    else if (!refill(c, class_, &at, 0))
        return -ENOMEM;
    place(out, at);
    if (!(at.flags & STACK_GUARDED) && !pool.segment[at.segment].lazy && guard_split(out) != 0) {
        stack_put(c, out);
        return -ENOMEM;
    }
    return 0;
}

void stack_put_away(struct stack_cache *c, struct stack *s)
{
    struct stack_slot at = s->at;
    struct stack_pile *p;
    if (at.segment == 0)
        broken("weft: a stack was put twice\n");
    *s = (struct stack){ 0 };
    if (!c) {
        lock();
        depot_put(at);
        unlock();
        return;
    }
    p = pile_of(c, at);
    if (p->n == cache_most(at.class_))
        spill(p, cache_batch(at.class_));
    pile_push(p, at);
}

/* Up to n promises; 0: no memory, or guards that may fail. */
static unsigned promises(unsigned class_, unsigned n)
{
    unsigned got = 0;
    lock();
    if (spare(class_) && !pool.eager) {         /* more is mapped for the first one only */
        uint64_t most = pool.of[class_].free - pool.of[class_].promised;
        got = most < n ? (unsigned)most : n;
        pool.of[class_].promised += got;
    }
    unlock();
    return got;
}

static void take_back(struct stack_cache *c, unsigned class_, unsigned n)
{
    c->of[class_].credit -= n;
    lock();
    pool.of[class_].promised -= n;
    unlock();
}

int stack_promise_more(struct stack_cache *c, size_t usable, struct stack *out)
{
    unsigned class_ = stack_class(usable), got;
    if (class_ >= STACK_CLASSES)
        return -EINVAL;
    if ((got = promises(class_, c ? STACK_CREDIT / 2 : 1)) == 0)
        return stack_get(c, usable, out);
    if (c)
        c->of[class_].credit = got - 1;
    *out = (struct stack){ .at.class_ = (uint8_t)class_ };
    return 0;
}

void stack_redeem(struct stack_cache *c, struct stack *s)
{
    unsigned class_ = s->at.class_;
    struct stack_pile *p;
    struct stack_slot at;
    if (c->hot.at.segment)                      /* of another class, or too much credit */
        stack_put_away(c, &c->hot);
    p = c->of[class_].warm.n ? &c->of[class_].warm : &c->of[class_].cold;
    if (p->n) {
        at = pile_pop(p);
        if (++c->of[class_].credit > STACK_CREDIT)      /* the depot keeps a slot less for us */
            take_back(c, class_, STACK_CREDIT / 2);
    } else if (!refill(c, class_, &at, 1)) {
        broken("weft: a promised stack is not there\n");
    }
    place(s, at);
}

void stack_warm(struct stack_cache *c, struct stack *s)
{
    struct stack cold = *s;
    if (c->hot.at.segment)
        stack_put_away(c, &c->hot);
    if (c->of[s->at.class_].warm.n == 0)
        return;
    place(s, pile_pop(&c->of[s->at.class_].warm));
    stack_put_away(c, &cold);
}

void stack_cache_flush(struct stack_cache *c)
{
    if (c->hot.at.segment)
        stack_put_away(c, &c->hot);
    for (unsigned k = 0; k < STACK_CLASSES; k++) {
        if (c->of[k].cold.n)
            spill(&c->of[k].cold, c->of[k].cold.n);
        if (c->of[k].warm.n)
            spill(&c->of[k].warm, c->of[k].warm.n);
        if (c->of[k].credit)
            take_back(c, k, c->of[k].credit);
    }
}

/* ---- giving memory back ------------------------------------------------------------------------------------------------- */

size_t stack_trim_due(void) { return load_relaxed64(&pool.touched); }

/* (L) */
static size_t take_cold(struct stack_slot *at, size_t most)
{
    size_t n = 0;
    for (unsigned k = 0; k < STACK_CLASSES; k++)
        while (n < most && pool.of[k].touched.n && pool.of[k].free > pool.of[k].promised) {
            at[n++] = pop_tail(&pool.of[k].touched);
            pool.of[k].free--;
        }
    count_up64(&pool.touched, (uint64_t)0 - n);
    pool.out += n;
    return n;
}

size_t stack_trim(size_t most)
{
    struct stack_slot at[TRIM_BATCH];
    size_t done = 0, n;
    do {
        lock();
        n = take_cold(at, most - done < TRIM_BATCH ? most - done : TRIM_BATCH);
        unlock();
        for (size_t i = 0; i < n; i++) {
            madvise(slot_guard(at[i]) + pool.page, pool.segment[at[i].segment].stride - pool.page, MADV_DONTNEED);
            at[i].flags &= (uint8_t)~STACK_TOUCHED;
        }
        lock();
        for (size_t i = 0; i < n; i++)
            depot_put(at[i]);
        unlock();
        done += n;
    } while (n && done < most);
    return done;
}

size_t stack_pool_release(void)
{
    size_t out;
    lock();
    out = pool.out;
    for (unsigned k = 0; k < STACK_CLASSES; k++)
        out += pool.of[k].promised;
    for (unsigned i = out ? 0 : pool.segments; i > 0; i--) {
        struct segment *g = &pool.segment[i];
        store_release64(&g->start, 0);
        munmap(g->links, g->end - (uintptr_t)g->links);
    }
    if (!out) {
        memset(pool.of, 0, sizeof pool.of);
        pool.segments = 0;
        pool.guards = 0;
        pool.probed = pool.eager = false;
        store_relaxed64(&pool.touched, 0);
    }
    unlock();
    return out;
}

/* ---- looking at stacks -------------------------------------------------------------------------------------------------- */

bool stack_owner(const void *addr, char **base, char **top, bool *in_guard)
{
    for (unsigned i = 1; i <= SEGMENTS; i++) {
        const struct segment *g = &pool.segment[i];
        uint64_t start = load_acquire64(&g->start), index;      /* S1: pairs with map_segment */
        if (start == 0)
            break;
        if ((uintptr_t)addr < start || (uintptr_t)addr >= g->end)
            continue;
        index = ((uintptr_t)addr - start) / g->stride;
        *base = (char *)(uintptr_t)(start + index * g->stride) + pool.page;
        *top = *base + g->stride - pool.page - index % COLOURS * COLOUR_STEP;
        *in_guard = (char *)(uintptr_t)addr < *base;
        return true;
    }
    return false;
}

/* The first word of the lowest resident page that is not zero. The stack may be running: a look, not a promise. */
__attribute__((no_sanitize("address", "thread")))
static const char *mark(const char *page, const char *end)
{
    const volatile uint64_t *p = (const volatile uint64_t *)page;
    while ((const char *)p < end && *p == 0)
        p++;
    return (const char *)p;
}

size_t stack_used(const struct stack *s)
{
    unsigned char resident[256];
    size_t pages = round_up((size_t)(s->top - s->base), pool.page) / pool.page;
    for (size_t p = 0; p < pages; p++) {
        const char *page = s->base + p * pool.page, *end = page + pool.page;
        size_t n = pages - p < sizeof resident ? pages - p : sizeof resident;
        if (p % sizeof resident == 0 && mincore((void *)(uintptr_t)page, n * pool.page, resident) != 0)
            break;
        if (resident[p % sizeof resident] & 1)
            return (size_t)(s->top - mark(page, end < s->top ? end : s->top));
    }
    return 0;
}
