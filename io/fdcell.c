/* SPDX-License-Identifier: MIT */
/* fdcell - the protocols and why they hold are in fdcell.h */
#include "io/fdcell.h"

#include <errno.h>

#include "sched/mem.h"

#define CLOSING (UINT64_C(1) << 31)
#define VISITS (CLOSING - 1)

/* word, beside its lock bit: what a look without the lock must know */
#define HAS_READER 2u
#define HAS_WRITER 4u
#define WATCHED 8u                              /* registered with epoll since the last close */

#ifdef WEFT_TINY
#define CHUNK_BITS 1
#else
#define CHUNK_BITS 8
#endif
#define CHUNK (1 << CHUNK_BITS)
#define NUMBERS (1 << 24)

/* Each mutant leaves one look out; the tests must notice. */
#ifdef MUTANT_FDCELL_GENERATION
#define same(use, v) true
#else
#define same(use, v) ((use) >> 32 == (v)->generation)
#endif
#ifdef MUTANT_FDCELL_CLOSING
#define closing(use) false
#else
#define closing(use) ((use) & CLOSING)
#endif
#ifdef MUTANT_FDCELL_VISITS
#define visited(use) false
#else
#define visited(use) ((use) & VISITS)
#endif
#ifdef MUTANT_FDCELL_EDGES
#define edge_since(c, v, i) false
#else
#define edge_since(c, v, i) (load_relaxed32(&(c)->edges[i]) != (v)->edges[i])
#endif

_Static_assert(sizeof(struct fdcell) == 128, "two cache lines, which are fetched together");

/* ---- the table ----------------------------------------------------------------------------------------------------------- */

static atomptr chunks[NUMBERS >> CHUNK_BITS];   /* R4 */

struct fdcell *fdcell_find(int fd)
{
    struct fdcell *chunk;
    if ((unsigned)fd >= NUMBERS)
        return NULL;
    chunk = load_acquireptr(&chunks[fd >> CHUNK_BITS]);         /* R4: pairs with fdcell_get */
    return chunk ? &chunk[fd & (CHUNK - 1)] : NULL;
}

struct fdcell *fdcell_get(int fd)
{
    struct fdcell *c = fdcell_find(fd), *chunk;
    void *before = NULL;
    if (c || (unsigned)fd >= NUMBERS)
        return c;
    chunk = mem_alloc(CHUNK * sizeof *chunk, sizeof *chunk);
    if (!chunk)
        return fdcell_find(fd);
    if (!cas_acqrelptr(&chunks[fd >> CHUNK_BITS], &before, chunk))      /* R4: pairs with fdcell_find */
        mem_free(chunk, CHUNK * sizeof *chunk, sizeof *chunk);
    return fdcell_find(fd);
}

/* ---- visits -------------------------------------------------------------------------------------------------------------- */

int fdcell_enter(struct fdcell *c, struct fdcell_visit *v)
{
    uint64_t use = load_relaxed64(&c->use);
    unsigned tries = 0;
    for (;;) {
        if (v->begun && (!same(use, v) || use & CLOSING))
            return -EBADF;
        if (use & CLOSING) {
            lock_wait(&tries);                  /* for close(2), by another thread */
            use = load_relaxed64(&c->use);
        } else if (cas_acquire64(&c->use, &use, use + 1)) {     /* R5: pairs with fdcell_closed */
            break;
        }
    }
    v->begun = true;
    v->generation = (uint32_t)(use >> 32);
    v->edges[0] = load_acquire32(&c->edges[0]);                 /* R1: pairs with fdcell_edge */
    v->edges[1] = load_acquire32(&c->edges[1]);
    return 0;
}

void fdcell_leave(struct fdcell *c)
{
    (void)add_acqrel64(&c->use, -UINT64_C(1));                  /* R5: pairs with fdcell_close */
}

bool fdcell_same(struct fdcell *c, const struct fdcell_visit *v)
{
    uint64_t use = load_acquire64(&c->use);
    (void)v;
    return !closing(use) && same(use, v);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------------- */

static void unlock(struct fdcell *c, uint32_t watched)
{
    word_unlock(&c->word, (watched & WATCHED) | (c->queue[0].head ? HAS_READER : 0) | (c->queue[1].head ? HAS_WRITER : 0));
}

static void add(struct wait_queue *q, struct wait_node *n, bool first)
{
    if (first)
        wait_push_front(q, n);
    else
        wait_push(q, n);
}

int fdcell_queue(struct fdcell *c, const struct fdcell_visit *v, struct fiber *self, struct wait_node node[2], unsigned ways,
                 void *value, bool first)
{
    uint32_t state = word_lock(&c->word);
    int error = fdcell_same(c, v) ? 0 : -EBADF;                 /* R3: pairs with fdcell_close */
    for (unsigned i = 0; i < 2; i++)
        if (!error && ways & 1u << i && edge_since(c, v, i))    /* R1 */
            error = -EAGAIN;
    if (!error) {
        wait_open(self);
        for (unsigned i = 0; i < 2; i++) {
            node[i] = (struct wait_node){ .fiber = self, .value = value };
            if (ways & 1u << i)
                add(&c->queue[i], &node[i], first);
        }
    }
    unlock(c, state | WATCHED);
    return error;
}

int fdcell_queue_thread(struct fdcell *c, const struct fdcell_visit *v, struct fiber *self, struct wait_node *node)
{
    uint32_t state = word_lock(&c->word);
    int error = fdcell_same(c, v) ? 0 : -EBADF;                 /* R3: pairs with fdcell_close */
    if (!error) {
        wait_open(self);
        node->fiber = self;
        node->result = 0;
        wait_push(&c->threads, node);
    }
    unlock(c, state);
    return error;
}

int fdcell_unqueue(struct fdcell *c, struct wait_node node[2], unsigned ways)
{
    uint32_t state = word_lock(&c->word);
    for (unsigned i = 0; i < 2; i++)
        if (ways & 1u << i)
            wait_remove(&c->queue[i], &node[i]);
    unlock(c, state);
    return (int)(node[0].result | node[1].result);
}

void fdcell_unqueue_thread(struct fdcell *c, struct wait_node *node)
{
    uint32_t state = word_lock(&c->word);
    wait_remove(&c->threads, node);
    unlock(c, state);
}

/* Move to *end the first that takes something away, and all before it; or all. The new end. */
static struct wait_node **take(struct wait_queue *q, bool all, int result, struct wait_node **end)
{
    struct wait_node *n;
    while ((n = wait_pop(q)) != NULL) {
        n->result = result;
        n->next = NULL;
        *end = n;
        end = &n->next;
        if (!all && n->value != FDCELL_LOOKS)
            break;
    }
    return end;
}

struct wait_node *fdcell_edge(struct fdcell *c, unsigned ways, bool all)
{
    struct wait_node *first = NULL, **end = &first;
    uint32_t state = word_lock(&c->word);
    for (unsigned i = 0; i < 2; i++)
        if (ways & 1u << i) {
            store_release32(&c->edges[i], load_relaxed32(&c->edges[i]) + 1);    /* R1: pairs with fdcell_enter */
            end = take(&c->queue[i], all, 0, end);
        }
    unlock(c, state);
    return first;
}

struct wait_node *fdcell_pass(struct fdcell *c, unsigned ways)
{
    struct wait_node *first = NULL, **end = &first;
    uint32_t state = load_relaxed32(&c->word);  /* who queued up before our wake-up is seen; who came later does not need us */
    if (!(state & (ways << 1)))
        return NULL;
    state = word_lock(&c->word);
    for (unsigned i = 0; i < 2; i++)
        if (ways & 1u << i)
            end = take(&c->queue[i], false, 0, end);
    unlock(c, state);
    return first;
}

/* ---- close --------------------------------------------------------------------------------------------------------------- */

void fdcell_close(struct fdcell *c, struct wait_node **waiters, bool *watched)
{
    uint64_t use = load_relaxed64(&c->use);
    struct wait_node **end = waiters;
    unsigned tries = 0;
    uint32_t state;
    for (;;) {
        if (use & CLOSING) {
            lock_wait(&tries);                  /* the number may be free again already, and ours */
            use = load_relaxed64(&c->use);
        } else if (cas_acqrel64(&c->use, &use, use | CLOSING)) {        /* R3: pairs with fdcell_same */
            break;
        }
    }
    state = word_lock(&c->word);
    *watched = state & WATCHED;
    *waiters = NULL;
    end = take(&c->queue[0], true, -EBADF, end);
    end = take(&c->queue[1], true, -EBADF, end);
    end = take(&c->threads, true, -EBADF, end);
    unlock(c, 0);
    while (visited(load_acquire64(&c->use)))                    /* R5: pairs with fdcell_leave */
        lock_wait(&tries);
    store_relaxed32(&c->kind, FDCELL_UNKNOWN);
}

void fdcell_closed(struct fdcell *c)
{
    uint64_t generation = (load_relaxed64(&c->use) >> 32) + 1;
    store_release64(&c->use, generation << 32);                 /* R5: pairs with fdcell_enter */
}
