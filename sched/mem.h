/* SPDX-License-Identifier: MIT */
/*
 * mem - memory from the system, aligned and zeroed
 *
 * Owns       nothing but the choice of the allocator: jemalloc (-DWEFT_JEMALLOC) or libc. The size comes back at the
 *            free, so that jemalloc need not look it up.
 * Threads    any. Never called by push, pop or steal of a warm queue: the rooms above keep what they free.
 * Promises   mem_alloc answers NULL when there is no memory and never ends the process; mem_free of NULL does nothing.
 * Test hook  mem_fail_after = n makes the n-th mem_alloc from now answer NULL, once; then it is 0 (off) again. It costs
 *            each allocation one relaxed load of a word that nobody writes outside tests. Any number of threads may
 *            allocate meanwhile: exactly one of them fails.
 * Rejected   wrapping malloc at link time: jemalloc's mallocx would slip through, and so would the libc of a sanitizer.
 */
#ifndef SCHED_MEM_H
#define SCHED_MEM_H

#include <stddef.h>

#include "sched/atomic.h"

extern atom32 mem_fail_after;

void *mem_alloc(size_t size, size_t align);     /* size > 0; align a power of two; zeroed */
void mem_free(void *p, size_t size, size_t align);

#endif
