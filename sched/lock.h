/* SPDX-License-Identifier: MIT */
/*
 * lock - two small locks for sections of a few dozen instructions
 *
 * word       Bit 0 of an object's own state word. A section begins by word_lock(), which answers the other 31 bits, and ends by
 *            word_unlock(), which publishes new ones: one store makes the change visible, and it is the last touch. So whoever
 *            sees the new state in an unlocked word may free the object at once, and every fast path must compare the whole
 *            word, lock bit included. (A separate lock cannot promise that: its release comes after the change is seen.)
 * spin       Concurrency Kit's fetch-and-store lock, for queues and shards that outlive their users. Where ck cannot be seen by
 *            the tool at hand (TSAN, the explorer), the same on the atomics layer.
 * Threads    any. A holder never parks, switches or waits; it allocates in one place, when the table needs a chunk.
 * Waiting    bounded spinning, then sched_yield(): the holder may have lost its CPU, and we may be the reason.
 * Ordering   L1 word_unlock/spin_unlock release -> word_lock/spin_lock acquire: everything done in the section.
 * Rejected   pthread_mutex: 40 bytes and a futex for sections that are shorter than the system call;
 *            ticket and MCS locks: a waiter that lost its CPU blocks all behind it, and here threads outnumber CPUs.
 */
#ifndef SCHED_LOCK_H
#define SCHED_LOCK_H

#include "sched/atomic.h"

#define WORD_LOCKED 1u

void lock_wait(unsigned *tries);                /* one step of waiting for a lock that was found taken */

#ifdef MODEL_LOCK_STEP
uint32_t word_lock(atom32 *word);               /* tests/model/lock.c */
#else
static inline uint32_t word_lock(atom32 *word)
{
    unsigned tries = 0;
    for (;;) {
        uint32_t seen = load_relaxed32(word);
        if (!(seen & WORD_LOCKED) && cas_acquire32(word, &seen, seen | WORD_LOCKED))    /* L1: pairs with word_unlock */
            return seen;
        lock_wait(&tries);
    }
}
#endif

static inline void word_unlock(atom32 *word, uint32_t state)
{
    store_release32(word, state);               /* L1: pairs with word_lock; the last touch */
}

#if defined(WEFT_MODEL) || defined(__SANITIZE_THREAD__) || defined(WEFT_TSAN) || defined(WEFT_SHAKE)

struct spin { atom32 word; };

static inline void spin_lock(struct spin *s) { (void)word_lock(&s->word); }
static inline void spin_unlock(struct spin *s) { word_unlock(&s->word, 0); }

#else

#include <ck_spinlock.h>

struct spin { ck_spinlock_fas_t fas; };

static inline void spin_lock(struct spin *s)
{
    unsigned tries = 0;
    while (!ck_spinlock_fas_trylock(&s->fas))
        lock_wait(&tries);
}

static inline void spin_unlock(struct spin *s) { ck_spinlock_fas_unlock(&s->fas); }

#endif

#endif
