/* SPDX-License-Identifier: MIT */
/*
 * sanitize - telling ASan, TSan and Valgrind on which stack a thread is
 *
 * Owns       one san_context per fiber and one per thread that switches to fibers; empty in ordinary builds, like all of this.
 * Threads    as the fiber's other fields: who holds the fiber.
 * Use        thread   san_thread_begin(&t)
 *            fiber    san_fiber_begin(&f, base, top) ... san_fiber_end(&f), when it has left its stack for good
 *            switch   san_switch_before(&from, &to, dying); context_switch(...); san_switch_after(&from);
 *            entry    san_switch_after(&self), first thing in a fiber's first function
 *            After the switch `from` is the caller's own context again, but the thread may be another.
 * TSan       each fiber is a thread to it (8128 at most), with a call stack of its own. san_switch_before changes to the other
 *            one, so the function that it is in must be the one that calls context_switch: all here is always_inline.
 *            A switch orders the two sides: what fibers on one worker do to each other is never reported; races between
 *            workers are. (The unordered switch reports the worker's own data as racing.)
 * ASan       frames that a fiber never returned from leave poison on its stack; the next fiber on it wipes that first.
 * Valgrind   in the debug flavour, or with WEFT_VALGRIND: a request is some nops, but on every spawn.
 */
#ifndef SCHED_SANITIZE_H
#define SCHED_SANITIZE_H

#include <stdbool.h>
#include <stddef.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#define SAN_INLINE static inline __attribute__((always_inline))

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)

#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr);     /* <pthread.h> shows it only with _GNU_SOURCE */

struct san_asan { void *fake; const void *base; size_t size; };

SAN_INLINE void san_asan_thread(struct san_asan *a)
{
    pthread_attr_t attr;
    void *base = NULL;
    a->fake = NULL;
    a->size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &base, &a->size);
        pthread_attr_destroy(&attr);
    }
    a->base = base;
}

SAN_INLINE void san_asan_begin(struct san_asan *a, char *base, char *top)
{
    *a = (struct san_asan){ .base = base, .size = (size_t)(top - base) };
    __asan_unpoison_memory_region(base, a->size);
}

SAN_INLINE void san_asan_before(struct san_asan *from, const struct san_asan *to, bool dying)
{
    __sanitizer_start_switch_fiber(dying ? NULL : &from->fake, to->base, to->size);
}

SAN_INLINE void san_asan_after(struct san_asan *self) { __sanitizer_finish_switch_fiber(self->fake, NULL, NULL); }

#else

struct san_asan { };

SAN_INLINE void san_asan_thread(struct san_asan *a) { (void)a; }
SAN_INLINE void san_asan_begin(struct san_asan *a, char *base, char *top) { (void)a; (void)base; (void)top; }
SAN_INLINE void san_asan_before(struct san_asan *f, const struct san_asan *t, bool d) { (void)f; (void)t; (void)d; }
SAN_INLINE void san_asan_after(struct san_asan *self) { (void)self; }

#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)

#include <sanitizer/tsan_interface.h>

struct san_tsan { void *fiber; };

SAN_INLINE void san_tsan_thread(struct san_tsan *t) { t->fiber = __tsan_get_current_fiber(); }
SAN_INLINE void san_tsan_begin(struct san_tsan *t) { t->fiber = __tsan_create_fiber(0); }
SAN_INLINE void san_tsan_end(struct san_tsan *t) { __tsan_destroy_fiber(t->fiber); }
SAN_INLINE void san_tsan_before(const struct san_tsan *to) { __tsan_switch_to_fiber(to->fiber, 0); }

#else

struct san_tsan { };

SAN_INLINE void san_tsan_thread(struct san_tsan *t) { (void)t; }
SAN_INLINE void san_tsan_begin(struct san_tsan *t) { (void)t; }
SAN_INLINE void san_tsan_end(struct san_tsan *t) { (void)t; }
SAN_INLINE void san_tsan_before(const struct san_tsan *to) { (void)to; }

#endif

#if (defined(WEFT_VALGRIND) || defined(WEFT_DEBUG)) && __has_include(<valgrind/valgrind.h>)

#include <valgrind/valgrind.h>

struct san_valgrind { unsigned id; };

SAN_INLINE void san_valgrind_begin(struct san_valgrind *v, char *base, char *top) { v->id = VALGRIND_STACK_REGISTER(base, top); }
SAN_INLINE void san_valgrind_end(struct san_valgrind *v) { VALGRIND_STACK_DEREGISTER(v->id); }

#else

struct san_valgrind { };

SAN_INLINE void san_valgrind_begin(struct san_valgrind *v, char *base, char *top) { (void)v; (void)base; (void)top; }
SAN_INLINE void san_valgrind_end(struct san_valgrind *v) { (void)v; }

#endif

struct san_context {
    struct san_asan asan;
    struct san_tsan tsan;
    struct san_valgrind valgrind;
};

/* The calling thread, on its own stack. */
SAN_INLINE void san_thread_begin(struct san_context *c)
{
    san_asan_thread(&c->asan);
    san_tsan_thread(&c->tsan);
}

SAN_INLINE void san_fiber_begin(struct san_context *c, char *base, char *top)
{
    san_asan_begin(&c->asan, base, top);
    san_tsan_begin(&c->tsan);
    san_valgrind_begin(&c->valgrind, base, top);
}

/* Not in the fiber itself: nobody may be on its stack. */
SAN_INLINE void san_fiber_end(struct san_context *c)
{
    san_tsan_end(&c->tsan);
    san_valgrind_end(&c->valgrind);
}

/* dying: from is never switched to again. */
SAN_INLINE void san_switch_before(struct san_context *from, const struct san_context *to, bool dying)
{
    san_asan_before(&from->asan, &to->asan, dying);
    san_tsan_before(&to->tsan);
}

SAN_INLINE void san_switch_after(struct san_context *self)
{
    san_asan_after(&self->asan);
}

#endif
