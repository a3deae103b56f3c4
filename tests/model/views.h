/* SPDX-License-Identifier: MIT */
/*
 * views - what a load may read
 *
 * An operational, view-based form of the C11 memory model (after Kang et al., POPL 2017, without promises). Each word
 * has its stores in modification order. A view says for each word how far in that order somebody has seen. A thread has
 * three: cur, what it must respect; acq, what a fence would add (the views of the stores it read relaxed); rel, cur at
 * its last fence, which its relaxed stores publish. A store carries the view that an acquire load of it takes over.
 *
 * load       any store at or after cur; acquire takes over its view
 * store      goes anywhere after cur, but not between a read-modify-write and the store that this one read
 * RMW        reads a store that no other RMW has read and goes right after it; it hands on the view of what it read
 *            (release sequence; a plain store of the same thread does not, as in C++20)
 * CAS        fails on any readable store of another value, as a load of its failure order
 * fence_full joins cur with acq and with the one global view sc, and sc with cur
 * seq_cst    acquire/release, and sc restricted to the word itself: the order of the run is the order S. Two seq_cst
 *            store-then-load sides cannot both miss, but a seq_cst access orders no weaker one around it (C11, and
 *            aarch64 means it)
 *
 * Left out   load buffering: a load reads a store of the past, so r = x; y = 1 || r = y; x = 1 never ends in 1, 1. That
 *            would need dependency tracking to keep values from thin air. What it costs: an order that only keeps a
 *            load above a later store (a release for the sake of the reads before it) cannot be seen missing.
 *            Also mixed sizes, and consume.
 * Rejected   a total store order with buffers: it finds dropped fences but never a relaxed store in place of a release.
 */
#ifndef MODEL_VIEWS_H
#define MODEL_VIEWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sched/atomic.h"

#define MODEL_WORDS 112         /* different words in one run */
#define MODEL_STORES 160        /* stores to one word in one run */

/* The operations of atomic_model.h without the step before them. */
uint64_t views_load(const void *addr, unsigned size, enum model_order order);
uint64_t views_rmw(void *addr, unsigned size, enum model_order order, enum model_rmw op, uint64_t x);
void views_fence(void);
uint32_t views_lock(atom32 *word, uint32_t bit);        /* the bit is clear in the newest store: set it, acquire */

void views_reset(void);
void views_fork(unsigned threads);      /* the threads see all that setup did */
void views_join(unsigned threads);      /* check sees all that the threads did */
bool views_relax(unsigned self);        /* show the words read since the last time; did that raise anything? */
uint64_t views_stores_of_others(unsigned self);
void views_forget(const void *p, size_t size);      /* freed: no word in it may be touched again */
uint64_t views_hash(unsigned threads);
void views_note(unsigned self, uint64_t x);         /* something else that the thread's future hangs on */

#endif
