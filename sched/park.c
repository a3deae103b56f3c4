/* SPDX-License-Identifier: MIT */
/* park - see park.h; the state word's protocol is in fiber.h */
#include "sched/park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

static pthread_key_t outside_key;
static pthread_once_t outside_once = PTHREAD_ONCE_INIT;
static bool outside_good;

static void outside_free(void *f)
{
    thread_self()->outside = NULL;
    (void)handle_lock(f);                       /* table_each may be looking at it */
    table_put(NULL, f);
}

static void outside_init(void) { outside_good = pthread_key_create(&outside_key, outside_free) == 0; }

static struct fiber *outside_make(struct thread *t)
{
    struct fiber *f;
    pthread_once(&outside_once, outside_init);
    if (!outside_good || !(f = table_get(NULL)))
        return NULL;
    f->sched = NULL;
    f->flags = FIBER_INTERNAL;
    f->pin = -1;
    f->deadline = INT64_MAX;
    f->shield = f->nosuspend = 0;
    f->group = NULL;
    store_relaxed32(&f->cancel, 0);
    store_relaxed32(&f->wait, WAIT_NONE);
    store_relaxed32(&f->state, FIBER_RUNNING);
    if (pthread_setspecific(outside_key, f)) {
        table_put(NULL, f);
        return NULL;
    }
    table_publish(f, 0);
    return t->outside = f;
}

struct fiber *park_self(void)
{
    struct thread *t = thread_self();
    return t->fiber ? t->fiber : t->outside ? t->outside : outside_make(t);
}

#ifndef WEFT_MODEL

/* Wait while the word has this value, or for no reason; true: the deadline has passed. */
static bool futex_wait(atom32 *word, uint32_t value, int64_t deadline)
{
    struct timespec until = { deadline / 1000000000, deadline % 1000000000 };
    return syscall(SYS_futex, &word->v, FUTEX_WAIT_BITSET_PRIVATE, value, deadline == INT64_MAX ? NULL : &until, NULL,
                   FUTEX_BITSET_MATCH_ANY) < 0 && errno == ETIMEDOUT;
}

static void futex_wake(atom32 *word) { syscall(SYS_futex, &word->v, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

#else
bool futex_wait(atom32 *word, uint32_t value, int64_t deadline);        /* the explorer's */
void futex_wake(atom32 *word);
#endif

bool park_thread(struct fiber *self, int64_t deadline)
{
    uint32_t seen = FIBER_RUNNING;
    int kept = errno;                           /* the caller's: a thread stays itself, so it may be given back */
    bool late = false;
    if (!cas_acqrel32(&self->state, &seen, FIBER_PARKED) && seen == FIBER_NOTIFIED)     /* F2: pairs with fiber_notify */
        goto taken;
    while (!late) {
        late = futex_wait(&self->state, FIBER_PARKED, deadline);
        if (load_acquire32(&self->state) != FIBER_PARKED)       /* F2 */
            goto taken;
    }
    errno = kept;
    return false;                               /* still PARKED: the caller claims its wait, or parks again for the token */
taken:
    errno = kept;
    store_relaxed32(&self->state, FIBER_RUNNING);
    return true;
}

static void ready_thread(struct fiber *f)
{
    /* not fiber_notify: the thread may be in its next wait as soon as it sees the token, so no store may follow */
    if (xchg_acqrel32(&f->state, FIBER_NOTIFIED) == FIBER_PARKED)               /* F2: pairs with park_thread */
        futex_wake(&f->state);
}

/* ---- both ---------------------------------------------------------------------------------------------------------------- */

void park(struct fiber *self)
{
    if (park_is_thread(self))
        (void)park_thread(self, INT64_MAX);
    else if (!fiber_take_token(self))
        worker_leave(AFTER_PARK);
}

void ready(struct fiber *f)
{
    if (park_is_thread(f))
        ready_thread(f);
    else if (fiber_notify(f))
        worker_queue(f);
}

void ready_later(struct fiber *f, struct chain *c)
{
    if (f->sched != c->sched || park_is_thread(f))
        ready(f);
    else if (fiber_notify(f))
        chain_add(c, f);
}
