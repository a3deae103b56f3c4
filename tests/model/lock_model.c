/* SPDX-License-Identifier: MIT */
/*
 * lock_model - the loops of sched/lock.h, and the injector's list under one
 *
 * Two sections of one word never overlap, each sees what the one before it did and the bits that it left; a thread that sees the
 * final bits in an unlocked word may free the word at once. What is pushed into an injector comes out once, in order, and whoever
 * was told of a push finds the length above 0.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -I. -Itests tests/model/lock_model.c
 *            tests/model/{explorer,search,memo,views,lock,memory}.c sched/injector.c -o lock_model
 * Mutants    the same with -DMUTANT_LOCK_x, run with --mutant; x = ACQUIRE RELEASE TOUCH
 */
#include <string.h>

#include "model/explorer.h"
#include "model/views.h"
#include "sched/atomic.h"

#ifdef MUTANT_LOCK_ACQUIRE
static bool cas_relaxed(atom32 *word, uint32_t *seen, uint32_t x)
{
    uint64_t wanted = *seen;
    bool done = model_cas(word, sizeof *word, MODEL_RELAXED, &wanted, x);
    *seen = (uint32_t)wanted;
    return done;
}
#define cas_acquire32 cas_relaxed
#endif
#ifdef MUTANT_LOCK_RELEASE
#define store_release32 store_relaxed32
#endif
#include "sched/lock.h"
#ifdef MUTANT_LOCK_TOUCH
#define leave(w, state) (word_unlock(w, state), (void)load_relaxed32(w))
#else
#define leave(w, state) word_unlock(w, state)
#endif

#include "sched/injector.h"

#define STEP 4u                     /* a bit of the word's own */

static atom32 word, told;
static unsigned sections;
static struct injector injector;
static struct fiber fibers[3];
static unsigned got;                /* fibers, in order */
static bool freed;

static void begin(void)
{
    memset(&injector, 0, sizeof injector);
    word.v = told.v = sections = got = 0;
    freed = false;
    model_name(&word, "word");
    model_name(&told, "told");
    model_name(&injector.lock, "injector");
    model_name(&injector.length, "length");
    for (unsigned i = 0; i < 3; i++)
        fibers[i].index = i;
}

static void section(void)
{
    uint32_t state = word_lock(&word);
    model_exclusive(&sections);
    MODEL_ASSERT(state == sections * STEP);
    sections++;
    leave(&word, state + STEP);
}

static void twice(void) { section(); section(); }
static void check_3(void) { MODEL_ASSERT(sections == 3 && word.v == 3 * STEP); }

/* Waits for the change as a fast path does, and frees. */
static void watcher(void)
{
    while (load_acquire32(&word) != STEP)
        cpu_relax();
    model_exclusive(&sections);
    views_forget(&word, sizeof word);
    freed = true;
}

static void check_freed(void) { MODEL_ASSERT(freed && sections == 1); }

static void push_2(void)
{
    struct chain c = { NULL, NULL, 0, NULL };
    chain_add(&c, &fibers[0]);
    chain_add(&c, &fibers[1]);
    injector_push(&injector, &c);
    MODEL_ASSERT(!c.head && !c.count);
    store_release32(&told, 1);
}

static void push_1(void)
{
    struct chain c = { NULL, NULL, 0, NULL };
    chain_add(&c, &fibers[2]);
    injector_push(&injector, &c);
}

/* Up to two, not touching the lock when there is nothing. */
static void take_2(void)
{
    struct chain c = { NULL, NULL, 0, NULL };
    bool promised = load_acquire32(&told) && !got;
    uint32_t length = injector_length(&injector);
    MODEL_ASSERT(!promised || length || got);
    if (!length)
        return;
    injector_take(&injector, 2, &c);
    for (struct fiber *f; (f = chain_pop(&c)) != NULL;) {
        MODEL_ASSERT(!(got & 1u << f->index));
        MODEL_ASSERT(f->index != 1 || got & 1);         /* 0 before 1 */
        got |= 1u << f->index;
    }
}

static void check_injector(void)
{
    take_2();
    take_2();
    MODEL_ASSERT(got == 7 && injector.length.v == 0 && !injector.head && !injector.tail);
}

static const struct model_test tests[] = {
    { "sections", begin, { twice, section }, check_3, NULL, 0, 0 },
    { "three", begin, { section, section, section }, check_3, NULL, 2, 0 },
    { "free-at-once", begin, { section, watcher }, check_freed, NULL, 4, 0 },
    { "injector", begin, { push_2, push_1, take_2 }, check_injector, NULL, 0, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
