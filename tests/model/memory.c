/* SPDX-License-Identifier: MIT */
/*
 * memory - sched/mem.h for model programs
 *
 * Takes the place of sched/mem.c: an arena that starts anew with each run, so that addresses repeat and a run that is
 * left in the middle leaks nothing. Freed memory is not used again; touching a word of it is a failure.
 */
#include "sched/mem.h"

#include "model/explorer.h"
#include "model/views.h"

atom32 mem_fail_after;          /* set .v in setup: no step */

void *mem_alloc(size_t size, size_t align)
{
    if (mem_fail_after.v != 0 && --mem_fail_after.v == 0)
        return NULL;
    return model_arena_alloc(size, align);
}

void mem_free(void *p, size_t size, size_t align)
{
    (void)align;
    if (p)
        views_forget(p, size);
}
