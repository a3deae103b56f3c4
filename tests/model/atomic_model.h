/* SPDX-License-Identifier: MIT */
/*
 * atomic_model - the names of sched/atomic.h as steps of model threads
 *
 * Included by sched/atomic.h in the model flavour, after the types. Each call is one indivisible step: the explorer may
 * run another thread before it, and a load may answer any store that the memory model (views.h) leaves readable.
 * cpu_relax promises that the caller only waits for somebody else; see explorer.h.
 */
#ifndef MODEL_ATOMIC_MODEL_H
#define MODEL_ATOMIC_MODEL_H

enum model_order { MODEL_RELAXED = 0, MODEL_ACQUIRE = 1, MODEL_RELEASE = 2, MODEL_ACQREL = 3, MODEL_SEQCST = 7 };
enum model_rmw { MODEL_XCHG, MODEL_ADD, MODEL_OR, MODEL_AND };

uint64_t model_load(const void *addr, unsigned size, enum model_order order);
void model_store(void *addr, unsigned size, enum model_order order, uint64_t x);
uint64_t model_rmw(void *addr, unsigned size, enum model_order order, enum model_rmw op, uint64_t x);
bool model_cas(void *addr, unsigned size, enum model_order order, uint64_t *expected, uint64_t x);
void fence_full(void);
void cpu_relax(void);

#define MODEL_LOAD_(name, type, raw, word, order, tag) \
    static inline raw load_##order##name(const type *a) { return (raw)(word)model_load(a, sizeof *a, tag); }
#define MODEL_STORE_(name, type, raw, word, order, tag) \
    static inline void store_##order##name(type *a, raw x) { model_store(a, sizeof *a, tag, (word)x); }
#define MODEL_RMW_(name, type, raw, word, verb, order, op, tag) \
    static inline raw verb##_##order##name(type *a, raw x) \
    { return (raw)(word)model_rmw(a, sizeof *a, tag, op, (word)x); }
#define MODEL_CAS_(name, type, raw, word, order, tag) \
    static inline bool cas_##order##name(type *a, raw *expected, raw x) \
    { \
        uint64_t seen = (word)*expected; \
        bool done = model_cas(a, sizeof *a, tag, &seen, (word)x); \
        *expected = (raw)(word)seen; \
        return done; \
    }

#define MODEL_OPS_(name, type, raw, word) \
    MODEL_LOAD_(name, type, raw, word, relaxed, MODEL_RELAXED) \
    MODEL_LOAD_(name, type, raw, word, acquire, MODEL_ACQUIRE) \
    MODEL_LOAD_(name, type, raw, word, seqcst, MODEL_SEQCST) \
    MODEL_STORE_(name, type, raw, word, relaxed, MODEL_RELAXED) \
    MODEL_STORE_(name, type, raw, word, release, MODEL_RELEASE) \
    MODEL_RMW_(name, type, raw, word, xchg, acqrel, MODEL_XCHG, MODEL_ACQREL) \
    MODEL_RMW_(name, type, raw, word, xchg, seqcst, MODEL_XCHG, MODEL_SEQCST) \
    MODEL_CAS_(name, type, raw, word, acquire, MODEL_ACQUIRE) \
    MODEL_CAS_(name, type, raw, word, acqrel, MODEL_ACQREL) \
    MODEL_CAS_(name, type, raw, word, seqcst, MODEL_SEQCST)

#define MODEL_ARITH_(name, type, raw, word) \
    MODEL_RMW_(name, type, raw, word, add, relaxed, MODEL_ADD, MODEL_RELAXED) \
    MODEL_RMW_(name, type, raw, word, add, acqrel, MODEL_ADD, MODEL_ACQREL) \
    MODEL_RMW_(name, type, raw, word, add, seqcst, MODEL_ADD, MODEL_SEQCST) \
    MODEL_RMW_(name, type, raw, word, or, acqrel, MODEL_OR, MODEL_ACQREL) \
    MODEL_RMW_(name, type, raw, word, or, seqcst, MODEL_OR, MODEL_SEQCST) \
    MODEL_RMW_(name, type, raw, word, and, acqrel, MODEL_AND, MODEL_ACQREL) \
    MODEL_RMW_(name, type, raw, word, and, seqcst, MODEL_AND, MODEL_SEQCST)

MODEL_OPS_(32, atom32, uint32_t, uint32_t)
MODEL_ARITH_(32, atom32, uint32_t, uint32_t)
MODEL_OPS_(64, atom64, uint64_t, uint64_t)
MODEL_ARITH_(64, atom64, uint64_t, uint64_t)
MODEL_OPS_(ptr, atomptr, void *, uintptr_t)

#endif
