/* SPDX-License-Identifier: MIT */
#include "sched/mem.h"

#ifdef WEFT_JEMALLOC

#include <jemalloc/jemalloc.h>

static void *raw_alloc(size_t size, size_t align) { return mallocx(size, MALLOCX_ALIGN(align) | MALLOCX_ZERO); }
static void raw_free(void *p, size_t size, size_t align) { sdallocx(p, size, MALLOCX_ALIGN(align)); }

#else

#include <stdlib.h>
#include <string.h>

static void *raw_alloc(size_t size, size_t align)
{
    if (align < sizeof(void *))
        align = sizeof(void *);
    if (size > SIZE_MAX - align)
        return NULL;
    void *p = aligned_alloc(align, (size + align - 1) & ~(align - 1));     /* C11 wants a multiple of align */
    return p ? memset(p, 0, size) : NULL;
}

static void raw_free(void *p, size_t size, size_t align)
{
    (void)size;
    (void)align;
    free(p);
}

#endif

atom32 mem_fail_after;

/* Is this the allocation that the test wants to fail? */
static bool fail_now(void)
{
    uint32_t left = load_relaxed32(&mem_fail_after);
    while (left != 0)
        if (cas_acquire32(&mem_fail_after, &left, left - 1))
            return left == 1;
    return false;
}

void *mem_alloc(size_t size, size_t align)
{
    if (__builtin_expect(load_relaxed32(&mem_fail_after) != 0, 0) && fail_now())
        return NULL;
    return raw_alloc(size, align);
}

void mem_free(void *p, size_t size, size_t align)
{
    if (p)
        raw_free(p, size, align);
}
