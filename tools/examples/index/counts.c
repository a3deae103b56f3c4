/* SPDX-License-Identifier: MIT */
/*
 * counts - `count word` lines in the bytewise order of the words
 *
 * Samples of all words, sorted, cut the words into ranges of about the same size. One fiber per range picks, sorts and
 * formats; the ranges are joined and written in order, while later ones are still being sorted. Words compare by their
 * first eight bytes as one big-endian number, then by the rest: they hold no NUL, so padding with NULs keeps the order.
 */
#include "counts.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

struct key { uint64_t head; const struct word *word; };
struct keys { const struct part *part; struct key *at; size_t n; };
struct range { const struct keys *parts; struct key from, to; weft_t fiber; struct text out; };

static struct key key_of(const struct word *w)
{
    uint64_t head = 0;
    memcpy(&head, w->text, w->len < 8 ? w->len : 8);
    return (struct key){__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(head) : head, w};
}

static int order(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    size_t m = a->word->len, n = b->word->len;
    if (a->head != b->head)
        return a->head < b->head ? -1 : 1;
    int rest = m > 8 && n > 8 ? memcmp(a->word->text + 8, b->word->text + 8, (m < n ? m : n) - 8) : 0;
    return rest ? rest : (m > n) - (m < n);
}

static void print(struct text *t, const struct word *w)
{
    char digits[24], *d = digits + sizeof(digits);
    *--d = ' ';
    for (uint64_t n = w->count; n; n /= 10)
        *--d = (char)('0' + n % 10);
    text_add(t, d, (size_t)(digits + sizeof(digits) - d));
    text_add(t, w->text, w->len);
    text_add(t, "\n", 1);
}

static int64_t make_keys(void *arg)
{
    struct keys *k = arg;
    const struct part *p = k->part;
    k->at = need(malloc((p->used + 1) * sizeof(*k->at)));
    for (const struct slot *s = p->slots; s && s <= p->slots + p->mask; s++)
        if (s->word)
            k->at[k->n++] = key_of(s->word);
    return 0;
}

static int64_t sort_range(void *arg)            /* from <= word < to; an open end has no word */
{
    struct range *r = arg;
    struct key *keys = NULL;
    size_t n = 0, room = 0;
    for (const struct keys *k = r->parts; k < r->parts + PARTS; k++)
        for (const struct key *key = k->at; key < k->at + k->n; key++) {
            if ((r->from.word && order(key, &r->from) < 0) || (r->to.word && order(key, &r->to) >= 0))
                continue;
            if (n == room)
                keys = need(realloc(keys, (room = room ? room * 2 : 1024) * sizeof(*keys)));
            keys[n++] = *key;
        }
    if (n)
        qsort(keys, n, sizeof(*keys), order);
    for (size_t i = 0; i < n; i++)
        print(&r->out, keys[i].word);
    free(keys);
    return 0;
}

static void key_all(const struct index *x, struct keys parts[PARTS])
{
    struct weft_group group = {0};
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = (struct keys){.part = &x->parts[i]};
        if (weft_group_spawn(&group, make_keys, &parts[i]) < 0)
            need(NULL);
    }
    weft_group_wait(&group, WEFT_FOREVER);
}

static size_t take_samples(const struct keys parts[PARTS], struct key *sample, size_t each)
{
    size_t n = 0;
    for (const struct keys *k = parts; k < parts + PARTS; k++)
        for (size_t i = 0; i < each && i < k->n; i++)
            sample[n++] = k->at[i];
    qsort(sample, n, sizeof(*sample), order);
    return n;
}

static void start(struct range *r, const struct keys *parts, struct key from, struct key to)
{
    *r = (struct range){.parts = parts, .from = from, .to = to};
    if ((r->fiber = weft_spawn(sort_range, r)) < 0)
        need(NULL);
}

void counts_print(const struct index *x)
{
    size_t ranges = 4 * x->workers, each = ranges;
    struct keys parts[PARTS];
    struct key *sample = need(calloc(PARTS * each, sizeof(*sample))), none = {0};
    struct range *range = need(calloc(ranges, sizeof(*range)));
    key_all(x, parts);
    size_t n = take_samples(parts, sample, each);
    ranges = n ? ranges : 1;
    for (size_t i = 0; i < ranges; i++)
        start(&range[i], parts, i ? sample[i * n / ranges] : none,
              i + 1 < ranges ? sample[(i + 1) * n / ranges] : none);
    for (size_t i = 0; i < ranges; i++) {
        weft_join(range[i].fiber, NULL, WEFT_FOREVER);
        int error = weft_write_full(1, range[i].out.at, range[i].out.len, NULL, WEFT_FOREVER);
        if (error < 0)
            die("cannot write to standard output", error);
        free(range[i].out.at);
    }
    for (size_t i = 0; i < PARTS; i++)
        free(parts[i].at);
    free(sample);
    free(range);
}
