/* SPDX-License-Identifier: MIT */
/*
 * atomic - the one door to shared memory
 *
 * Owns       the words that two threads touch without a lock, and the orders in which they do.
 * Why        every protocol of the house goes through these functions and no other, so that it can be explored (WEFT_MODEL:
 *            each call is a step of a model thread, see tests/model/) and shaken (WEFT_SHAKE: each call may lose the CPU,
 *            by a seed). The order is in the name; nothing is sequentially consistent by silence.
 * Types      one-member structs, so that a bare `=` on a shared word does not compile.
 * Fences     fence_full() is a full barrier for store-then-load pairs. It is a locked add on x86 (gcc emits that for
 *            atomic_thread_fence, clang an mfence that costs eight times as much) and a dmb on aarch64. TSAN does not model
 *            fences; no happens-before edge here rests on one: they only forbid the outcome where both sides of a pair miss
 *            each other.
 */
#ifndef SCHED_ATOMIC_H
#define SCHED_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct { uint32_t v; } atom32;
typedef struct { uint64_t v; } atom64;
typedef struct { void *v; } atomptr;

#ifdef WEFT_MODEL
#include "model/atomic_model.h"     /* the same names, each a step of the explorer */
#else

#ifdef WEFT_SHAKE
void shake_point(void);             /* sched/shake.c: sometimes yields the CPU, by the seed in WEFT_SHAKE_SEED */
#else
static inline void shake_point(void) { }
#endif

#define ATOMIC_OPS_(name, type, raw) \
    static inline raw load_relaxed##name(const type *a) { shake_point(); return __atomic_load_n(&a->v, __ATOMIC_RELAXED); } \
    static inline raw load_acquire##name(const type *a) { shake_point(); return __atomic_load_n(&a->v, __ATOMIC_ACQUIRE); } \
    static inline raw load_seqcst##name(const type *a) { shake_point(); return __atomic_load_n(&a->v, __ATOMIC_SEQ_CST); } \
    static inline void store_relaxed##name(type *a, raw x) { shake_point(); __atomic_store_n(&a->v, x, __ATOMIC_RELAXED); } \
    static inline void store_release##name(type *a, raw x) { shake_point(); __atomic_store_n(&a->v, x, __ATOMIC_RELEASE); } \
    static inline raw xchg_acqrel##name(type *a, raw x) { shake_point(); return __atomic_exchange_n(&a->v, x, __ATOMIC_ACQ_REL); } \
    static inline raw xchg_seqcst##name(type *a, raw x) { shake_point(); return __atomic_exchange_n(&a->v, x, __ATOMIC_SEQ_CST); } \
    /* on failure *expected is what was found, read with acquire */ \
    static inline bool cas_acquire##name(type *a, raw *expected, raw x) \
    { shake_point(); return __atomic_compare_exchange_n(&a->v, expected, x, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE); } \
    static inline bool cas_acqrel##name(type *a, raw *expected, raw x) \
    { shake_point(); return __atomic_compare_exchange_n(&a->v, expected, x, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); } \
    static inline bool cas_seqcst##name(type *a, raw *expected, raw x) \
    { shake_point(); return __atomic_compare_exchange_n(&a->v, expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE); }

#define ATOMIC_ARITH_(name, type, raw) \
    static inline raw add_relaxed##name(type *a, raw x) { shake_point(); return __atomic_fetch_add(&a->v, x, __ATOMIC_RELAXED); } \
    static inline raw add_acqrel##name(type *a, raw x) { shake_point(); return __atomic_fetch_add(&a->v, x, __ATOMIC_ACQ_REL); } \
    static inline raw add_seqcst##name(type *a, raw x) { shake_point(); return __atomic_fetch_add(&a->v, x, __ATOMIC_SEQ_CST); } \
    static inline raw or_acqrel##name(type *a, raw x) { shake_point(); return __atomic_fetch_or(&a->v, x, __ATOMIC_ACQ_REL); } \
    static inline raw or_seqcst##name(type *a, raw x) { shake_point(); return __atomic_fetch_or(&a->v, x, __ATOMIC_SEQ_CST); } \
    static inline raw and_acqrel##name(type *a, raw x) { shake_point(); return __atomic_fetch_and(&a->v, x, __ATOMIC_ACQ_REL); } \
    static inline raw and_seqcst##name(type *a, raw x) { shake_point(); return __atomic_fetch_and(&a->v, x, __ATOMIC_SEQ_CST); }

ATOMIC_OPS_(32, atom32, uint32_t)
ATOMIC_ARITH_(32, atom32, uint32_t)
ATOMIC_OPS_(64, atom64, uint64_t)
ATOMIC_ARITH_(64, atom64, uint64_t)
ATOMIC_OPS_(ptr, atomptr, void *)

static inline void fence_full(void)
{
    shake_point();
#if defined(__x86_64__)
    __asm__ volatile("lock; addl $0, -8(%%rsp)" ::: "memory", "cc");
#elif defined(__aarch64__)
    __asm__ volatile("dmb ish" ::: "memory");
#else
#error "weft runs on x86-64 and aarch64"
#endif
}

static inline void cpu_relax(void)
{
    shake_point();
#if defined(__x86_64__)
    __asm__ volatile("pause" ::: "memory");
#else
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif /* !WEFT_MODEL */

/* A counter with one writer: others may read it at any time. */
static inline void count_up64(atom64 *a, uint64_t n) { store_relaxed64(a, load_relaxed64(a) + n); }

/* The same, and whoever reads it by acquire sees what came before. */
static inline void count_up_release64(atom64 *a, uint64_t n) { store_release64(a, load_relaxed64(a) + n); }

#endif
