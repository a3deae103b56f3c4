/* SPDX-License-Identifier: MIT */
/* injector - see injector.h */
#include "sched/injector.h"

void injector_push(struct injector *q, struct chain *c)
{
    if (!c->head)
        return;
    spin_lock(&q->lock);
    *(q->tail ? &q->tail->next : &q->head) = c->head;
    q->tail = c->tail;
    store_release32(&q->length, load_relaxed32(&q->length) + c->count);        /* J1: pairs with injector_length */
    spin_unlock(&q->lock);
    c->head = c->tail = NULL;
    c->count = 0;
}

void injector_take(struct injector *q, uint32_t most, struct chain *c)
{
    uint32_t n = 0;
    spin_lock(&q->lock);
    for (struct fiber *f; n < most && (f = q->head) != NULL; n++) {
        if (!(q->head = f->next))
            q->tail = NULL;
        chain_add(c, f);
    }
    store_release32(&q->length, load_relaxed32(&q->length) - n);               /* J1: pairs with injector_length */
    spin_unlock(&q->lock);
}
