/* SPDX-License-Identifier: MIT */
/*
 * waiters - fibers for model programs of the synchronisation rooms
 *
 * Each model thread is one fiber. The claim (sched/wait.h) and timers/waiting.c are the real ones; what is below is here, and
 * explored by park_model.c: a park takes a token from a semaphore, ready() gives one, and a deadline is a chance to claim one's
 * own wait just before the park. Since any other thread may run in front of that step, it can pass at any moment of the others'
 * doings.
 */
#ifndef MODEL_WAITERS_H
#define MODEL_WAITERS_H

#include <errno.h>
#include <string.h>

#include "model/explorer.h"
#include "runtime/weft.h"
#include "timers/deadline.h"
#include "timers/waiting.h"

#define WAITERS (MODEL_THREADS + 1)             /* and the one that checks in the end */
#define SOON (WEFT_FOREVER - 1)                 /* a deadline that may pass */

static struct sched model_sched;
static struct worker model_worker;
static struct thread model_thread[WAITERS];
static struct fiber model_fiber[WAITERS];
static struct model_sem model_token[WAITERS];
static atom32 model_somewhere;

static void waiters_begin(void)
{
    memset(model_fiber, 0, sizeof model_fiber);
    memset(model_token, 0, sizeof model_token);
    memset(&model_somewhere, 0, sizeof model_somewhere);
    model_sched.count = 1;
    for (uint32_t i = 0; i < WAITERS; i++) {
        struct fiber *f = &model_fiber[i];
        f->handle.v = (UINT64_C(1) << FIBER_INDEX_BITS) | HANDLE_USED;
        f->index = i;
        f->sched = &model_sched;
        f->deadline = WEFT_FOREVER;
        model_thread[i] = (struct thread){ .worker = &model_worker, .fiber = f };
        model_name(&f->wait, "wait %u", i);
        model_name(&f->cancel, "cancel %u", i);
        model_name(&model_token[i], "token %u", i);
    }
}

struct thread *thread_self(void) { return &model_thread[model_self()]; }
struct fiber *park_self(void) { return thread_self()->fiber; }

void ready(struct fiber *f)
{
    model_sem_post(&model_token[f->index]);
    (void)load_relaxed32(&model_somewhere);     /* a step: f may run before this returns */
}

void ready_later(struct fiber *f, struct chain *c)
{
    (void)c;
    ready(f);
}

void worker_queue_chain(struct chain *c) { (void)c; }

enum wait_state deadline_wait(struct fiber *self, int64_t deadline)
{
    if (!self->shield && load_relaxed32(&self->cancel) && wait_claim(self, WAIT_CANCEL))
        return wait_close(self);
    if (deadline == SOON && wait_claim(self, WAIT_TIMEOUT))
        return wait_close(self);
    model_sem_wait(&model_token[self->index]);
    return wait_close(self);
}

/* What weft_cancel does to a fiber. */
static void waiters_cancel(struct fiber *f)
{
    if (wait_cancel(f))
        ready(f);
}

#endif
