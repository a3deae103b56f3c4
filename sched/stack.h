/* SPDX-License-Identifier: MIT */
/*
 * stack - guarded stacks for a million fibers
 *
 * Owns       the address space of all stacks of the process, in segments of equal slots, one guard page below each stack; the
 *            depot of those that are free. Runtimes share it, so that one that stops leaves its warm stacks to the next, and
 *            so that an address can be told to be a stack's by arithmetic alone.
 * Threads    stack_cache: its owner. stack_prepare, stack_put: who holds the stack. stack_owner: any, in signal handlers too.
 *            The rest: any.
 * Promises   stack_get touches no memory of the stack, and where the kernel has MADV_GUARD_INSTALL (6.13) makes no system call
 *            while slots last: a million fibers that have not run yet cost their descriptors. Their guards are installed by
 *            stack_prepare. stack_put never fails.
 *            Without that call a guard is a mapping of its own and can fail: then stack_get makes it, or answers -ENOMEM when
 *            only one in STACK_MAPS_KEPT of the process's maps is left, so that malloc and dlopen go on working.
 *            A guard once made stays until stack_pool_release, through reuse and trimming.
 * Memory     a free stack that was used keeps its pages until stack_trim or stack_pool_release.
 * Rejected   one mmap per stack: 4 us more each and two maps, the kernel's 65530 are gone at 32,754 stacks. PROT_NONE
 *            reserves opened by mprotect in chunks: a system call more, and the maps of the two kinds do not merge.
 *            A depot per runtime: nothing would be shared, and stack_owner would have to walk runtimes.
 */
#ifndef SCHED_STACK_H
#define SCHED_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sched/config.h"

#define STACK_SHIFT_LEAST 14        /* class k holds stacks of 2^(14+k) usable bytes: 16 KiB to 64 MiB */
#define STACK_CLASSES 13
#ifdef MUTANT_STACK
#define STACK_MAPS_KEPT UINT32_MAX  /* takes all maps there are: malloc fails next */
#else
#define STACK_MAPS_KEPT 8           /* one in so many of vm.max_map_count is left to others */
#endif

#define STACK_CREDIT (8 * STACK_CACHE)  /* most promises that a worker has in hand, of a class: address space only */

#define STACK_GUARDED 1u            /* the page below base is a guard */
#define STACK_TOUCHED 2u            /* it may have memory */
#define STACK_SPLIT 4u              /* the guard is a mapping of its own */

struct stack_slot {
    uint32_t index;
    uint16_t segment;               /* 0: none */
    uint8_t class_;
    uint8_t flags;
};

struct stack {
    char *base;                     /* the lowest usable byte; the guard lies below */
    char *top;                      /* one past the highest; a multiple of 128 */
    struct stack_slot at;
};

/* Free stacks, the one that was put last at the end. */
struct stack_pile {
    uint32_t n;
    struct stack_slot slot[STACK_CACHE];
};

/* What one worker keeps, by class: those that hold no memory, and those that do. Valid when zeroed. */
struct stack_cache {
    struct stack hot;               /* warm, the last one put, as it was; segment 0: none */
    struct {
        struct stack_pile cold, warm;
        uint32_t credit;            /* promises that may be made without asking the depot */
    } of[STACK_CLASSES];
};

static inline unsigned stack_class(size_t usable)
{
    return usable <= STACK_MIN ? 0 : 64 - STACK_SHIFT_LEAST - (unsigned)__builtin_clzl(usable - 1);
}

/* A stack of at least usable bytes (less up to 896 of colour, see stack.c). c may be NULL. 0; -ENOMEM; -EINVAL: more than the
 * largest class. */
int stack_get(struct stack_cache *c, size_t usable, struct stack *out);
void stack_put_away(struct stack_cache *c, struct stack *s);
void stack_cache_flush(struct stack_cache *c);  /* all to the depot: the worker ends, or sleeps for long */

int stack_promise_more(struct stack_cache *c, size_t usable, struct stack *out);
void stack_redeem(struct stack_cache *c, struct stack *s);
void stack_guard(struct stack *s);
void stack_warm(struct stack_cache *c, struct stack *s);

/* The promise of a stack: stack_prepare takes the warmest that there is then, and cannot fail. So a fiber that has not run
 * costs none, and a million that run to their end one after the other use one. Where a guard may fail (see above) it is
 * stack_get. c may be NULL. Results as there. */
static inline int stack_promise(struct stack_cache *c, size_t usable, struct stack *out)
{
    unsigned class_ = stack_class(usable);
    if (!c || class_ >= STACK_CLASSES || !c->of[class_].credit)
        return stack_promise_more(c, usable, out);
    c->of[class_].credit--;
    out->at = (struct stack_slot){ .class_ = (uint8_t)class_ };
    return 0;
}

/* Before a fiber runs on it for the first time. One without memory changes places with a warm one of the cache. c may be NULL,
 * but not for a promise. */
static inline void stack_prepare(struct stack_cache *c, struct stack *s)
{
    if (!s->at.segment) {
        unsigned class_ = s->at.class_;
        if (c->hot.at.segment && c->hot.at.class_ == class_ && c->of[class_].credit < STACK_CREDIT) {
            *s = c->hot;
            c->hot.at.segment = 0;
            c->of[class_].credit++;             /* the depot keeps a slot less for us */
            return;
        }
        stack_redeem(c, s);
    } else if (c && !(s->at.flags & STACK_TOUCHED)) {
        stack_warm(c, s);
    }
    if ((s->at.flags & (STACK_GUARDED | STACK_TOUCHED)) != (STACK_GUARDED | STACK_TOUCHED))
        stack_guard(s);
}

/* Give it back; c may be NULL. */
static inline void stack_put(struct stack_cache *c, struct stack *s)
{
    if (c && s->at.segment && s->at.flags & STACK_TOUCHED) {
        if (c->hot.at.segment)
            stack_put_away(c, &c->hot);
        c->hot = *s;
        *s = (struct stack){ 0 };
    } else {
        stack_put_away(c, s);
    }
}

size_t stack_trim_due(void);        /* free stacks of the depot that hold memory; a hint, read without a lock */
size_t stack_trim(size_t most);     /* give the memory of up to so many back, the longest unused first; how many were */
size_t stack_pool_release(void);    /* unmap everything if no stack and no cache is out; how many are */

/* Is addr in some stack or its guard? Async-signal-safe. */
bool stack_owner(const void *addr, char **base, char **top, bool *in_guard);

/* The deepest use of this memory so far, in bytes from top, by this fiber or one before it. Pages that were swapped out do not
 * count. Touches no page that is not resident. */
size_t stack_used(const struct stack *s);

#endif
