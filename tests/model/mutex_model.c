/* SPDX-License-Identifier: MIT */
/*
 * mutex_model - runtime/mutex.c itself, in all orders, on timers/waiting.c
 *
 * The fibers are those of tests/model/waiters.h. Whatever happens: the sections come one after the other (model_exclusive), whoever
 * has no deadline gets the mutex in the end (else all wait: a deadlock), a wait that failed leaves nothing, and after the last
 * unlock the word is 0. In "freed" the second owner frees the mutex at once; the first may not touch it any more.
 *
 * Locks      -DMODEL_LOCK_STEP=1: word_lock is one step; lock_model.c has its loop.
 * Mutants    the same with -DMUTANT_MUTEX_x, run with --mutant.
 */
#include "model/waiters.h"
#include "sched/mem.h"

static struct weft_mutex *m;
static int inside, sections, got[MODEL_THREADS];
static struct model_sem step;

static void begin(void)
{
    waiters_begin();
    m = mem_alloc(sizeof *m, 64);
    memset(m, 0, sizeof *m);
    memset(&step, 0, sizeof step);
    inside = sections = 0;
    memset(got, 0, sizeof got);
    model_name(&m->word_, "word");
    model_name(&m->owner_, "owner");
}

static int once(int64_t deadline)
{
    int r = weft_mutex_lock(m, deadline);
    if (r == 0) {
        model_exclusive(&sections);
        MODEL_ASSERT(inside++ == 0);
        sections++;
        got[model_self()]++;
        MODEL_ASSERT(--inside == 0);
        MODEL_ASSERT(weft_mutex_unlock(m) == 0);
    }
    return r;
}

static void lock_1(void) { MODEL_ASSERT(once(WEFT_FOREVER) == 0); }
static void lock_2(void) { lock_1(); lock_1(); }
static void lock_3(void) { lock_2(); lock_1(); }

static void lock_soon(void)
{
    int r = once(SOON);
    MODEL_ASSERT(r == 0 || r == -ETIMEDOUT);
}

static void lock_cancelled(void)                /* thread 0 */
{
    int r = once(WEFT_FOREVER);
    MODEL_ASSERT(r == 0 || r == -ECANCELED);
}

static void cancel_0(void) { waiters_cancel(&model_fiber[0]); }

static void free_again(void)
{
    MODEL_ASSERT(load_relaxed32((atom32 *)&m->word_) == 0);
    MODEL_ASSERT(!m->waiters_.head);
}

static void locks_first(void)                    /* locks before the other may, and lets it come */
{
    MODEL_ASSERT(weft_mutex_lock(m, WEFT_FOREVER) == 0);
    model_sem_post(&step);
    MODEL_ASSERT(weft_mutex_unlock(m) == 0);
}

static void last_frees(void)
{
    model_sem_wait(&step);
    lock_1();
    mem_free(m, sizeof *m, 64);
}

static void nothing(void) { }

static const struct model_test tests[] = {
    { "two", begin, { lock_2, lock_2 }, free_again, NULL, 4, 0 },
    { "three", begin, { lock_1, lock_1, lock_1 }, free_again, NULL, 2, 0 },
    { "barging", begin, { lock_3, lock_1 }, free_again, NULL, 4, 0 },
    { "barging-three", begin, { lock_2, lock_1, lock_1 }, free_again, NULL, 1, 0 },
    { "deadline", begin, { lock_2, lock_soon }, free_again, NULL, 4, 0 },
    { "deadline-three", begin, { lock_2, lock_soon, lock_1 }, free_again, NULL, 1, 0 },
    { "deadlines", begin, { lock_soon, lock_soon, lock_1 }, free_again, NULL, 1, 0 },
    { "cancelled", begin, { lock_cancelled, lock_1, cancel_0 }, free_again, NULL, 4, 0 },
    { "cancelled-three", begin, { lock_cancelled, lock_1, cancel_0, lock_1 }, free_again, NULL, 1, 0 },
    { "freed", begin, { locks_first, last_frees }, nothing, NULL, 4, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
