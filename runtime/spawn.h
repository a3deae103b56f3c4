/* SPDX-License-Identifier: MIT */
/*
 * spawn - a fiber's life: how it is made and joined, and what happens when it has ended
 *
 * Owns       the part of the descriptor that the handle's lock guards: flags, result, joiners.
 * Threads    any, by id; spawn_ended on the worker that ran the fiber last, when it has left its stack.
 * Ids        a look-up locks the handle only if the generation is right, so nobody ever acts on somebody else's fiber.
 * Lock       a group's word, then a handle, then a queue's lock. Never the other way.
 */
#ifndef RUNTIME_SPAWN_H
#define RUNTIME_SPAWN_H

#include "runtime/rt.h"

struct spawn {
    struct weft_rt *rt;                         /* NULL: the caller's own */
    weft_fn fn;
    void *arg;
    size_t stack_size;                          /* 0: the runtime's */
    const char *name;
    uint32_t flags;                             /* FIBER_* */
    bool detached;
    struct weft_group *group;
};

/* The new fiber's id; or what weft_spawn answers. With a group, the group has counted it already. */
weft_t spawn(const struct spawn *s);

/* The scheduler's hook. */
void spawn_ended(struct fiber *f);

#endif
