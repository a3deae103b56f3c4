/* SPDX-License-Identifier: MIT */
/*
 * sync_model - event, semaphore, wait group and condition in all orders
 *
 * The rooms themselves: runtime/event.c, runtime/semaphore.c, runtime/waitgroup.c, runtime/cond.c with runtime/mutex.c, on
 * timers/waiting.c; the fibers are those of tests/model/waiters.h. In "freed" the waiter frees the object at once,
 * and whoever let it through may not touch it any more. In the others one waiter may time out or is cancelled: if it was served
 * all the same it passes that on, so the waiter behind it must come through in every case (else all wait: a deadlock).
 *
 * Locks      -DMODEL_LOCK_STEP=1: word_lock is one step; lock_model.c has its loop.
 * Mutants    the same with -DMUTANT_SYNC_x, run with --mutant.
 */
#include "model/waiters.h"
#include "sched/mem.h"

static struct objects { struct weft_event e; struct weft_sem s; struct weft_wg w; struct weft_cond c; struct weft_mutex m; } *o;
static int data, tokens;

static void begin(void)
{
    waiters_begin();
    o = mem_alloc(sizeof *o, 64);
    memset(o, 0, sizeof *o);
    data = tokens = 0;
    o->w.word_ = 4;                             /* one member, as weft_wg_add makes it */
    o->w.count_ = 1;
    model_name(&o->e.word_, "event");
    model_name(&o->s.word_, "sem");
    model_name(&o->w.word_, "wg");
    model_name(&o->c.word_, "cond");
    model_name(&o->m.word_, "mutex");
}

static void nothing(void) { }
static void write_data(void) { model_exclusive(&data); }
static void freed(void) { model_exclusive(&data); mem_free(o, sizeof *o, 64); }

/* ---- freed at once ------------------------------------------------------------------------------------------------------- */

static void event_sets(void) { write_data(); MODEL_ASSERT(weft_event_set(&o->e) == 0); }
static void event_frees(void) { MODEL_ASSERT(weft_event_wait(&o->e, WEFT_FOREVER) == 0); freed(); }
static void sem_posts(void) { write_data(); MODEL_ASSERT(weft_sem_post(&o->s) == 0); }
static void sem_frees(void) { MODEL_ASSERT(weft_sem_wait(&o->s, WEFT_FOREVER) == 0); freed(); }
static void wg_done(void) { write_data(); MODEL_ASSERT(weft_wg_done(&o->w) == 0); }
static void wg_frees(void) { MODEL_ASSERT(weft_wg_wait(&o->w, WEFT_FOREVER) == 0); freed(); }

/* ---- one that fails, one that must not ----------------------------------------------------------------------------------- */

static void cancel_0(void) { waiters_cancel(&model_fiber[0]); }

static bool failed(int r)
{
    MODEL_ASSERT(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
    return r != 0;
}

static void sem_soon(void) { if (!failed(weft_sem_wait(&o->s, SOON))) sem_posts(); }
static void sem_cancelled(void) { if (!failed(weft_sem_wait(&o->s, WEFT_FOREVER))) sem_posts(); }
static void sem_must(void) { MODEL_ASSERT(weft_sem_wait(&o->s, WEFT_FOREVER) == 0); }

static void sem_empty(void)
{
    MODEL_ASSERT(o->s.count_ == 0 && o->s.word_ == 0 && !o->s.waiters_.head);
}

static void event_soon(void) { (void)failed(weft_event_wait(&o->e, SOON)); }
static void event_must(void) { MODEL_ASSERT(weft_event_wait(&o->e, WEFT_FOREVER) == 0); model_exclusive(&data); }

/* ---- condition ----------------------------------------------------------------------------------------------------------- */

static void lock(void)
{
    model_fiber[model_self()].shield = 1;       /* the mutex is not what this is about */
    MODEL_ASSERT(weft_mutex_lock(&o->m, WEFT_FOREVER) == 0);
    model_fiber[model_self()].shield = 0;
    model_exclusive(&tokens);
}

static void unlock(void)
{
    model_exclusive(&tokens);
    MODEL_ASSERT(weft_mutex_unlock(&o->m) == 0);
}

static void cond_gives(void)
{
    lock();
    tokens++;
    unlock();
    MODEL_ASSERT(weft_cond_signal(&o->c) == 0);
}

static void cond_takes(void)
{
    lock();
    while (tokens == 0)
        MODEL_ASSERT(weft_cond_wait(&o->c, &o->m, WEFT_FOREVER) == 0);
    tokens--;
    unlock();
}

/* Waits once without need; if it was signalled, it passes the signal on. */
static void cond_once(int64_t deadline)
{
    int r;
    lock();
    r = weft_cond_wait(&o->c, &o->m, deadline);
    unlock();
    if (!failed(r))
        MODEL_ASSERT(weft_cond_signal(&o->c) == 0);
}

static void cond_soon(void) { cond_once(SOON); }
static void cond_cancelled(void) { cond_once(WEFT_FOREVER); }

static void cond_empty(void)
{
    MODEL_ASSERT(tokens == 0 && o->c.word_ == 0 && o->m.word_ == 0);
}

static const struct model_test tests[] = {
    { "event-freed", begin, { event_frees, event_sets }, nothing, NULL, 4, 0 },
    { "sem-freed", begin, { sem_frees, sem_posts }, nothing, NULL, 4, 0 },
    { "wg-freed", begin, { wg_frees, wg_done }, nothing, NULL, 4, 0 },
    { "sem-late", begin, { sem_soon, sem_must, sem_posts }, sem_empty, NULL, 4, 0 },
    { "sem-cancelled", begin, { sem_cancelled, sem_must, sem_posts, cancel_0 }, sem_empty, NULL, 3, 0 },
    { "event-late", begin, { event_soon, event_must, event_sets }, nothing, NULL, 3, 0 },
    { "cond", begin, { cond_takes, cond_gives }, cond_empty, NULL, 3, 0 },
    { "cond-late", begin, { cond_soon, cond_takes, cond_gives }, cond_empty, NULL, 1, 0 },
    { "cond-cancelled", begin, { cond_cancelled, cond_takes, cond_gives, cancel_0 }, cond_empty, NULL, 1, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
