/* SPDX-License-Identifier: MIT */
/*
 * injector - the queue that all workers share
 *
 * Owns       fibers that became ready where no deque is at hand: by the I/O thread, a foreign thread, another runtime, a full
 *            deque that could not grow. First in, first out. A worker's inbox for pinned fibers is one of these, too.
 * Threads    push: any, whole chains at once. take: any worker. length: any, without the lock.
 * Ordering   J1 length: written under the lock, release; read acquire. The idle protocol reads it after its fence (idle.h).
 *            The fibers themselves pass under the lock.
 * Rejected   ck_ring mpmc (a producer that lost its CPU blocks all consumers), ck_fifo_mpmc (nodes to recycle, and the 0.7.1
 *            of Debian can answer empty for a non-empty queue): an intrusive list under a spin lock measured faster than both.
 */
#ifndef SCHED_INJECTOR_H
#define SCHED_INJECTOR_H

#include "sched/fiber.h"
#include "sched/lock.h"

struct chain {                                  /* ready fibers of one scheduler, linked by next; owned by who fills it */
    struct fiber *head, *tail;
    uint32_t count;
    struct sched *sched;
};

static inline void chain_add(struct chain *c, struct fiber *f)
{
    f->next = NULL;
    *(c->tail ? &c->tail->next : &c->head) = f;
    c->tail = f;
    c->count++;
}

static inline struct fiber *chain_pop(struct chain *c)
{
    struct fiber *f = c->head;
    if (f && !(c->head = f->next))
        c->tail = NULL;
    c->count -= f != NULL;
    return f;
}

struct injector {
    struct spin lock;
    atom32 length;                              /* J1 */
    struct fiber *head, *tail;                  /* under the lock */
    char pad[CACHE_LINE - 24];
};

void injector_push(struct injector *q, struct chain *c);                /* empties c */
void injector_take(struct injector *q, uint32_t most, struct chain *c); /* moves up to most to c */

static inline uint32_t injector_length(const struct injector *q)
{
    return load_acquire32(&q->length);          /* J1: pairs with push, take */
}

#endif
