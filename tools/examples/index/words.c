/* SPDX-License-Identifier: MIT */
/*
 * words - a table of words, with counts and places, in parts by hash
 *
 * Owns       the slots of the parts (malloc) and the words and runs of places (an arena each: all freed at once).
 * Threads    one at a time, for each table: it belongs to a worker while words are counted, and its parts to the fibers
 *            that merge them, one fiber for the like part of all tables.
 * Invariants a part is at most half full, so a search ends; the part follows from the top bits of the hash, the slot
 *            from the low ones; a word is in one part of a table, once.
 * Places     (file, count), gathered in runs of doubling size. The place that is being counted is in the word itself,
 *            so that a word found in one file only needs no run. The blocks of a long file may be counted in several
 *            tables: then the merged word has several places for that file, which the reader adds up.
 */
#include "words.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

enum { CHUNK = 256 * 1024 };

struct chunk { struct chunk *next; };

static void *take(struct arena *a, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if ((size_t)(a->end - a->free) < n) {
        size_t room = n > CHUNK / 4 ? n : CHUNK;
        struct chunk *chunk = need(malloc(sizeof(*chunk) + room));
        chunk->next = a->chunks;
        a->chunks = chunk;
        if (room == n)
            return chunk + 1;
        a->free = (char *)(chunk + 1);
        a->end = a->free + room;
    }
    a->free += n;
    return a->free - n;
}

void arena_free(struct arena *a)
{
    for (struct chunk *next; a->chunks; a->chunks = next) {
        next = a->chunks->next;
        free(a->chunks);
    }
}

uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t hash(const char *s, size_t n)   /* n > 0; after wyhash */
{
    uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15), eight;
    uint32_t first, last;
    for (; n > 8; s += 8, n -= 8) {
        memcpy(&eight, s, 8);
        h = mix(h ^ eight, UINT64_C(0xe7037ed1a0b428db));
    }
    if (n >= 4) {
        memcpy(&first, s, 4);
        memcpy(&last, s + n - 4, 4);
        eight = (uint64_t)first << 32 | last;
    } else {
        eight = (uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[n / 2] << 8 | (uint8_t)s[n - 1];
    }
    return mix(h ^ eight, UINT64_C(0xa0761d6478bd642f));
}

static inline size_t part_of(uint64_t h) { return h / (UINT64_MAX / PARTS + 1); }

/* The slot of the word, or the free one where it belongs. */
static inline struct slot *find(const struct part *p, uint64_t h, const char *s, size_t n)
{
    for (size_t at = h & p->mask;; at = (at + 1) & p->mask) {
        struct slot *slot = &p->slots[at];
        if (!slot->word || (slot->hash == h && slot->word->len == n && !memcmp(slot->word->text, s, n)))
            return slot;
    }
}

static void grow(struct part *p)
{
    struct part old = *p;
    p->mask = old.slots ? old.mask * 2 + 1 : 63;
    p->slots = need(malloc((p->mask + 1) * sizeof(*p->slots)));
    memset(p->slots, 0, (p->mask + 1) * sizeof(*p->slots));     /* calloc's pages would be read first: 2 faults each */
    for (size_t i = 0; old.slots && i <= old.mask; i++) {
        size_t at = old.slots[i].hash & p->mask;
        if (!old.slots[i].word)
            continue;
        while (p->slots[at].word)
            at = (at + 1) & p->mask;
        p->slots[at] = old.slots[i];
    }
    free(old.slots);
}

static void fill(struct part *p, struct slot *slot, uint64_t h, struct word *w)
{
    *slot = (struct slot){h, w};
    if (++p->used * 2 > p->mask)
        grow(p);
}

static void keep(struct word *w, struct place place, struct arena *arena)
{
    struct run *r = w->runs;
    if (!r || r->used == r->room) {
        uint32_t room = !r ? 2 : r->room < 512 ? r->room * 2 : 512;
        r = take(arena, sizeof(*r) + room * sizeof(r->at[0]));
        *r = (struct run){.next = w->runs, .room = room};
        w->runs = r;
    }
    r->at[r->used++] = place;
}

static inline void count(struct words *words, uint32_t file, const struct token *t)
{
    struct part *p = &words->parts[part_of(t->hash)];
    if (!p->slots)
        grow(p);
    struct slot *slot = find(p, t->hash, t->s, t->len);
    struct word *w = slot->word;
    if (!w) {
        w = take(&words->arena, sizeof(*w) + t->len);
        *w = (struct word){.count = 1, .last = {file, 1}, .len = t->len};
        memcpy(w->text, t->s, t->len);
        fill(p, slot, t->hash, w);
        return;
    }
    w->count++;
    if (w->last.file == file && w->last.count < UINT32_MAX) {
        w->last.count++;
        return;
    }
    keep(w, w->last, &words->arena);
    w->last = (struct place){file, 1};
}

static inline const struct slot *first_slot(const struct words *words, uint64_t h)
{
    const struct part *p = &words->parts[part_of(h)];
    return p->slots ? &p->slots[h & p->mask] : NULL;
}

void words_count(struct words *words, uint32_t file, struct token *tokens, size_t n)
{
    const struct slot *slot;
    for (struct token *t = tokens; t < tokens + n; t++) {
        t->hash = hash(t->s, t->len);
        __builtin_prefetch(first_slot(words, t->hash));
    }
    for (struct token *t = tokens; t < tokens + n; t++)
        if ((slot = first_slot(words, t->hash)))
            __builtin_prefetch(slot->word, 1);
    for (struct token *t = tokens; t < tokens + n; t++)
        count(words, file, t);
}

void part_absorb(struct part *into, struct part *from, struct arena *arena)
{
    if (from->used > into->used) {
        struct part more = *from;
        *from = *into;
        *into = more;
    }
    for (size_t i = 0; from->slots && i <= from->mask; i++) {
        struct word *more = from->slots[i].word;
        const struct slot *ahead = &from->slots[(i + 8) & from->mask];
        __builtin_prefetch(ahead->word);
        __builtin_prefetch(&into->slots[ahead->hash & into->mask]);
        if (!more)
            continue;
        struct slot *slot = find(into, from->slots[i].hash, more->text, more->len);
        if (!slot->word) {
            fill(into, slot, from->slots[i].hash, more);
            continue;
        }
        slot->word->count += more->count;
        keep(slot->word, more->last, arena);
        struct run **end = &slot->word->runs;
        while (*end)
            end = &(*end)->next;
        *end = more->runs;
    }
    free(from->slots);
    *from = (struct part){0};
}

const struct word *words_find(const struct part parts[PARTS], const char *s, size_t n)
{
    uint64_t h = n ? hash(s, n) : 0;
    const struct part *p = &parts[part_of(h)];
    return n && p->slots ? find(p, h, s, n)->word : NULL;
}
