/* SPDX-License-Identifier: MIT */
/* words - a table of words, with counts and places, in parts by hash; see words.c */
#ifndef INDEX_WORDS_H
#define INDEX_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum { PARTS = 64 };

struct place { uint32_t file, count; };
struct run { struct run *next; uint32_t used, room; struct place at[]; };

struct word {
    uint64_t count;
    struct run *runs;                           /* its places, but for the last, which is still being counted */
    struct place last;
    size_t len;
    char text[];
};

struct slot { uint64_t hash; struct word *word; };
struct part { struct slot *slots; size_t mask, used; };         /* slots is NULL as long as it is empty */
struct arena { struct chunk *chunks; char *free, *end; };

struct words {                                  /* zeroed is ready */
    struct part parts[PARTS];
    struct arena arena;
};

struct token { const char *s; size_t len; uint64_t hash; };     /* len > 0; the hash is words_count's */

/* Count n tokens of this file. A few dozen at a time: their places in memory are fetched ahead, all together. */
void words_count(struct words *w, uint32_t file, struct token *tokens, size_t n);

/* Move what `from` holds into `into`; memory it takes comes from the arena, and the words stay where they were. */
void part_absorb(struct part *into, struct part *from, struct arena *arena);

const struct word *words_find(const struct part parts[PARTS], const char *s, size_t n);         /* or NULL */
void arena_free(struct arena *a);
uint64_t mix(uint64_t a, uint64_t b);

#endif
