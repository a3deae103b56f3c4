/* SPDX-License-Identifier: MIT */
/*
 * table_model - ids against the reuse of descriptors, sched/table.c itself, in all orders
 *
 * One thread ends a fiber and makes the next one in the same descriptor, as spawn.c does it: under the handle's lock, by
 * table_put and table_get. Others look the fibers up by their ids, the old one and, once it is published, the new one.
 *
 * Whatever happens: whoever locks by an id finds the fiber of that id, never the one after it; its section overlaps with nobody's;
 * an id that was given out before is found as long as its fiber lives, and never afterwards.
 *
 * Locks      -DMODEL_LOCK_STEP=1: word_lock is one step; lock_model.c has its loop.
 * Mutants    the same with -DMUTANT_TABLE_x, run with --mutant.
 */
#include <string.h>

#include "model/explorer.h"
#include "sched/table.h"

void table_forget(void);

static struct fiber *f;
static int64_t old_id;
static atom64 published;                        /* the new one's id */
static atom32 gone;                             /* the old fiber has ended */
static struct { int64_t id; char unused[8]; } owner;            /* under the handle's lock */
static unsigned hits;

static void begin(void)
{
    table_forget();
    f = table_get(NULL);
    table_publish(f, 0);
    old_id = owner.id = fiber_id(f);
    published.v = gone.v = hits = 0;
    model_name(&f->handle, "handle");
    model_name(&published, "published");
    model_name(&owner, "owner");
}

/* Ends it and makes the next. */
static void reuse(void)
{
    struct fiber *next;
    (void)handle_lock(f);
    model_exclusive(&owner);
    table_put(NULL, f);
    store_release32(&gone, 1);
    next = table_get(NULL);
    MODEL_ASSERT(next == f);
    model_exclusive(&owner);
    owner.id = fiber_id(f);
    MODEL_ASSERT(owner.id != old_id);
    table_publish(f, HANDLE_DETACHED);
    store_release64(&published, (uint64_t)owner.id);
}

static void look_up(int64_t id)
{
    bool was_gone = load_acquire32(&gone);
    struct fiber *found = table_lock_id(id);
    if (!found) {
        MODEL_ASSERT(id == old_id);             /* the other one lives */
        return;
    }
    MODEL_ASSERT(found == f && !(was_gone && id == old_id));
    model_exclusive(&owner);
    MODEL_ASSERT(owner.id == id);
    hits++;
    handle_unlock(f, load_relaxed64(&f->handle) & ~HANDLE_LOCKED);
}

static void look_old(void) { look_up(old_id); }
static void look_old_twice(void) { look_up(old_id); look_up(old_id); }

static void look_new(void)
{
    uint64_t id = load_acquire64(&published);
    if (id)
        look_up((int64_t)id);
    look_up(old_id);
}

static void never(void) { MODEL_ASSERT(!table_lock_id(0) && !table_lock_id(-5) && !table_lock_id(old_id + 1)); }

static enum table_verdict see(struct fiber *one, void *arg)
{
    MODEL_ASSERT(one == f && arg == &hits);
    model_exclusive(&owner);
    MODEL_ASSERT(owner.id == fiber_id(f));
    hits++;
    return TABLE_NEXT;
}

static void each(void) { table_each(see, &hits); }

static void end(void)
{
    MODEL_ASSERT(fiber_id(f) == owner.id && (f->handle.v & HANDLE_FLAGS) == (HANDLE_USED | HANDLE_DETACHED));
    MODEL_ASSERT(!table_lock_id(old_id));
}

static const struct model_test tests[] = {
    { "stale", begin, { reuse, look_old }, end, NULL, 5, 0 },
    { "stale-twice", begin, { reuse, look_old_twice, look_old }, end, NULL, 2, 0 },
    { "new", begin, { reuse, look_new, look_new }, end, NULL, 2, 0 },
    { "each", begin, { reuse, each }, end, NULL, 6, 0 },
    { "never", begin, { reuse, never }, end, NULL, 6, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
