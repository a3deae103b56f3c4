/* SPDX-License-Identifier: MIT */
/*
 * table - ids to descriptors, for the whole process
 *
 * Owns       the memory of every descriptor, in chunks that are never unmapped while the process lives: so a stale id is
 *            answered by looking, not by guessing. Free descriptors hang in their chunk; each worker keeps a few.
 * Threads    table_find, table_lock_id, table_each: any. A cache belongs to one thread; NULL goes to the chunks directly.
 * Promises   an id is never used twice: the generation grows at each release, and a chunk whose memory went back to the kernel
 *            starts above the largest generation that it had.
 * Ordering   T1 a chunk is published by release, found by acquire. T2 the handle's lock bit: acquire, release. Publishing
 *            is a release, too.
 * Rejected   pointers as ids (a stale one is a crash), a table per runtime (a joiner from outside has only the id, and would
 *            need to know which), freeing chunks (then a look-up needs hazard pointers or epochs on every join).
 */
#ifndef SCHED_TABLE_H
#define SCHED_TABLE_H

#include <stddef.h>

#include "sched/fiber.h"

struct table_cache { struct fiber *head; unsigned count; };

/* A free descriptor, all as it was left, that nobody can find yet; NULL: no memory, or 2^24 are in use. */
struct fiber *table_get(struct table_cache *c);

/* It is filled in: from now on it is found by its id and by table_each. flags: HANDLE_DETACHED or 0. */
void table_publish(struct fiber *f, uint64_t flags);

/* Give it back; its id is stale from here on. The caller owns f alone; its handle is unlocked, or locked by the caller. */
void table_put(struct table_cache *c, struct fiber *f);

void table_cache_flush(struct table_cache *c);

/* Hand the memory of chunks with nobody in them back to the kernel; how many bytes. */
size_t table_trim(void);

/* The descriptor with this id and its handle's lock held, or NULL: no such fiber. */
struct fiber *table_lock_id(int64_t id);

/* Lock and unlock the handle of a fiber that surely exists; the flags are those of HANDLE_*. */
uint64_t handle_lock(struct fiber *f);
void handle_unlock(struct fiber *f, uint64_t handle);

/* Call fn for every descriptor in use, its handle locked. TABLE_GONE: fn gave the descriptor back by table_put. */
enum table_verdict { TABLE_NEXT, TABLE_GONE, TABLE_STOP };
void table_each(enum table_verdict (*fn)(struct fiber *f, void *arg), void *arg);

#endif
