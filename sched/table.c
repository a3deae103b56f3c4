/* SPDX-License-Identifier: MIT */
/*
 * table - chunks of descriptors
 *
 * Free descriptors are listed per chunk, and a refill takes from the first chunk that has some: so a burst drains towards the
 * front, and the chunks at the back become empty and can be given back. A chunk's descriptors from `carved` on have not been
 * touched since its memory was fresh; their handles are zero, which no id matches.
 *
 * Lock       one spin lock over all chunk lists; a worker comes here once in FIBER_CACHE / 2 spawns.
 */
#include "sched/table.h"

#include <string.h>
#include <sys/mman.h>

#include "sched/lock.h"
#include "sched/mem.h"

/* The lines that tests/model/table_model.c must see broken. */
#ifdef MUTANT_TABLE_GENERATION
#define next_generation(handle) ((handle) >> FIBER_INDEX_BITS)
#else
#define next_generation(handle) (((handle) >> FIBER_INDEX_BITS) + 1)
#endif
#ifdef MUTANT_TABLE_LOCK_ANY
#define lock_cas(handle, seen, x) ((void)(x), !((*(seen) = or_acqrel64(handle, HANDLE_LOCKED)) & HANDLE_LOCKED))
#else
#define lock_cas(handle, seen, x) cas_acquire64(handle, seen, x)
#endif
#ifdef MUTANT_TABLE_PUBLISH_RELAXED
#define publish_store store_relaxed64
#else
#define publish_store store_release64
#endif
#ifdef MUTANT_TABLE_UNLOCK_RELAXED
#define unlock_store store_relaxed64
#else
#define unlock_store store_release64
#endif

#ifdef WEFT_TINY
#define CHUNK_FIBERS 64u
#else
#define CHUNK_FIBERS 1024u
#endif
#define CHUNKS ((1u << FIBER_INDEX_BITS) / CHUNK_FIBERS)
#define CHUNK_BYTES ((CHUNK_FIBERS * sizeof(struct fiber) + 4095) / 4096 * 4096)

struct chunk {
    struct fiber *fibers;                       /* I */
    struct fiber *free;                         /* under the lock */
    uint32_t carved, idle;                      /* ever used since fresh; of them, free ones */
    uint64_t generation;                        /* that a fresh descriptor starts with */
};

static struct spin lock;
static atomptr directory[CHUNKS];               /* struct chunk *: T1 */
static struct chunk chunks[CHUNKS];
static uint32_t chunk_count, first_free;        /* under the lock: all chunks before first_free have nothing to give */

#ifdef WEFT_MODEL
void table_forget(void);                        /* the explorer's memory starts anew with each run */
void table_forget(void)
{
    memset(directory, 0, chunk_count * sizeof *directory);
    memset(chunks, 0, chunk_count * sizeof *chunks);
    memset(&lock, 0, sizeof lock);
    chunk_count = first_free = 0;
}
#endif

/* ---- the handle ---------------------------------------------------------------------------------------------------------- */

uint64_t handle_lock(struct fiber *f)
{
    unsigned tries = 0;
    for (;;) {
        uint64_t seen = load_relaxed64(&f->handle);
        if (!(seen & HANDLE_LOCKED) && cas_acquire64(&f->handle, &seen, seen | HANDLE_LOCKED))     /* T2 */
            return seen;
        lock_wait(&tries);
    }
}

void handle_unlock(struct fiber *f, uint64_t handle)
{
    unlock_store(&f->handle, handle);           /* T2 */
}

static struct fiber *at(uint32_t index)
{
    struct chunk *c = load_acquireptr(&directory[index / CHUNK_FIBERS]);        /* T1 */
    return c ? &c->fibers[index % CHUNK_FIBERS] : NULL;
}

struct fiber *table_lock_id(int64_t id)
{
    struct fiber *f = id > 0 ? at((uint32_t)((uint64_t)id & HANDLE_FLAGS)) : NULL;
    unsigned tries = 0;
    while (f) {
        uint64_t seen = load_acquire64(&f->handle);             /* T2: pairs with table_put */
        if ((seen ^ (uint64_t)id) & ~HANDLE_FLAGS || !(seen & HANDLE_USED))
            return NULL;
        if (!(seen & HANDLE_LOCKED) && lock_cas(&f->handle, &seen, seen | HANDLE_LOCKED))          /* T2 */
            return f;
        lock_wait(&tries);
    }
    return NULL;
}

/* ---- chunks: all under the lock ------------------------------------------------------------------------------------------ */

static bool add_chunk(void)
{
    struct chunk *c = &chunks[chunk_count];
    if (chunk_count == CHUNKS || !(c->fibers = mem_alloc(CHUNK_BYTES, 4096)))
        return false;
    c->generation = 1;
    first_free = chunk_count;
    store_releaseptr(&directory[chunk_count++], c);             /* T1: pairs with at() */
    return true;
}

static struct fiber *carve(struct chunk *c)
{
    struct fiber *f = &c->fibers[c->carved];
    f->index = (uint32_t)(c - chunks) * CHUNK_FIBERS + c->carved++;
    store_relaxed64(&f->handle, c->generation << FIBER_INDEX_BITS);
    return f;
}

static struct fiber *take(void)
{
    for (;; first_free++) {
        struct chunk *c;
        struct fiber *f;
        if (first_free == chunk_count && !add_chunk())
            return NULL;
        c = &chunks[first_free];
        if ((f = c->free) != NULL) {
            c->free = f->next;
            c->idle--;
            return f;
        }
        if (c->carved < CHUNK_FIBERS)
            return carve(c);
    }
}

static void give(struct fiber *f)
{
    uint32_t n = f->index / CHUNK_FIBERS;
    struct chunk *c = &chunks[n];
    f->next = c->free;
    c->free = f;
    c->idle++;
    if (n < first_free)
        first_free = n;
}

/* ---- the caches ---------------------------------------------------------------------------------------------------------- */

static struct fiber *refill(struct table_cache *c)
{
    struct fiber *first;
    spin_lock(&lock);
    first = take();
    for (unsigned n = 0; first && c && n < FIBER_CACHE / 2; n++) {
        struct fiber *f = take();
        if (!f)
            break;
        f->next = c->head;
        c->head = f;
        c->count++;
    }
    spin_unlock(&lock);
    return first;
}

struct fiber *table_get(struct table_cache *c)
{
    struct fiber *f = c ? c->head : NULL;
    if (f) {
        c->head = f->next;
        c->count--;
    } else if (!(f = refill(c))) {
        return NULL;
    }
    return f;
}

void table_publish(struct fiber *f, uint64_t flags)
{
    publish_store(&f->handle, load_relaxed64(&f->handle) | HANDLE_USED | flags);       /* T2: pairs with all who lock it */
}

static void drain(struct table_cache *c, unsigned keep)
{
    spin_lock(&lock);
    while (c->count > keep) {
        struct fiber *f = c->head;
        c->head = f->next;
        c->count--;
        give(f);
    }
    spin_unlock(&lock);
}

void table_put(struct table_cache *c, struct fiber *f)
{
    struct table_cache none = { NULL, 0 };
    uint64_t generation = next_generation(load_relaxed64(&f->handle));
    /* T2: a joiner that gave up and finds the id stale may reuse the node that the end has just unlinked */
    store_release64(&f->handle, generation << FIBER_INDEX_BITS);
    if (!c)
        c = &none;
    f->next = c->head;
    c->head = f;
    if (++c->count >= FIBER_CACHE || c == &none)
        drain(c, c == &none ? 0 : FIBER_CACHE / 2);
}

void table_cache_flush(struct table_cache *c) { drain(c, 0); }

/* ---- the rare ones ------------------------------------------------------------------------------------------------------- */

size_t table_trim(void)
{
    size_t bytes = 0;
    spin_lock(&lock);
    for (uint32_t n = 0; n < chunk_count; n++) {
        struct chunk *c = &chunks[n];
        if (!c->carved || c->idle != c->carved)
            continue;
        for (uint32_t i = 0; i < c->carved; i++) {
            uint64_t generation = load_relaxed64(&c->fibers[i].handle) >> FIBER_INDEX_BITS;
            if (generation > c->generation)
                c->generation = generation;
        }
        if (madvise(c->fibers, CHUNK_BYTES, MADV_DONTNEED) == 0) {
            c->free = NULL;
            c->carved = c->idle = 0;
            bytes += CHUNK_BYTES;
        }
    }
    spin_unlock(&lock);
    return bytes;
}

/* False: nobody is there. A free descriptor is never locked: its next owner publishes it by a plain store. */
static bool lock_used(struct fiber *f)
{
    unsigned tries = 0;
    for (;;) {
        uint64_t seen = load_relaxed64(&f->handle);
        if (!(seen & HANDLE_USED))
            return false;
        if (!(seen & HANDLE_LOCKED) && cas_acquire64(&f->handle, &seen, seen | HANDLE_LOCKED))     /* T2 */
            return true;
        lock_wait(&tries);
    }
}

/* False: stop. */
static bool visit(struct fiber *f, enum table_verdict (*fn)(struct fiber *f, void *arg), void *arg)
{
    enum table_verdict verdict;
    if (!lock_used(f))
        return true;
    verdict = fn(f, arg);
    if (verdict != TABLE_GONE)
        handle_unlock(f, load_relaxed64(&f->handle) & ~HANDLE_LOCKED);
    return verdict != TABLE_STOP;
}

void table_each(enum table_verdict (*fn)(struct fiber *f, void *arg), void *arg)
{
    for (uint32_t n = 0; n < CHUNKS; n++) {
        struct chunk *c = load_acquireptr(&directory[n]);       /* T1 */
        if (!c)
            return;
        for (uint32_t i = 0; i < CHUNK_FIBERS; i++)
            if (!visit(&c->fibers[i], fn, arg))
                return;
    }
}
