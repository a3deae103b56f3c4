/* SPDX-License-Identifier: MIT */
/* waiting - see waiting.h */
#include "timers/waiting.h"

#include <errno.h>
#include <pthread.h>

#include "sched/clock.h"
#include "timers/deadline.h"

atom32 waiting_forked;

static void in_child(void) { store_relaxed32(&waiting_forked, 1); }

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_error;

static void watch_fork(void) { fork_error = pthread_atfork(NULL, NULL, in_child); }

int waiting_watch_fork(void)
{
    pthread_once(&fork_once, watch_fork);
    return fork_error ? -ENOMEM : 0;
}

static inline int admit(struct fiber *self, int64_t *deadline)
{
    if (waiting_stale())
        return -ESTALE;
    if (self->deadline < *deadline)
        *deadline = self->deadline;
    if (*deadline <= 0)
        return -ETIMEDOUT;
    if (self->nosuspend || self->flags & FIBER_NOWAIT || (!park_is_thread(self) && !thread_self()->worker))
        return -EDEADLK;
    if (*deadline != WEFT_FOREVER && *deadline <= clock_now())
        return -ETIMEDOUT;
    return 0;
}

int waiting_admit(struct fiber *self, int64_t *deadline) { return admit(self, deadline); }

int waiting_park(struct fiber *self, int64_t deadline)
{
    switch (deadline_wait(self, deadline)) {
    case WAIT_TIMEOUT: return -ETIMEDOUT;
    case WAIT_CANCEL: return -ECANCELED;
    default: return 0;
    }
}

int waiting_object(struct fiber *self, atom32 *word, uint32_t state, struct wait_queue *q, struct wait_node *node,
                   int64_t deadline, bool front)
{
    int r = admit(self, &deadline);
    if (r < 0) {
        word_unlock(word, state);
        return r;
    }
    node->fiber = self;
    node->result = 0;
    wait_open(self);
    if (front)
        wait_push_front(q, node);
    else
        wait_push(q, node);
    word_unlock(word, state | WORD_WAITERS);
    r = waiting_park(self, deadline);
    if (r == 0)
        return (int)node->result;
    state = word_lock(word);
    wait_remove(q, node);
    word_unlock(word, q->head ? state : state & ~WORD_WAITERS);
    return r;
}

struct wait_node *waiting_pop_all(struct wait_queue *q, int64_t result)
{
    struct wait_node *first = NULL, **end = &first;
    for (struct wait_node *n; (n = wait_pop(q)) != NULL; end = &n->next) {
        n->result = result;
        n->next = NULL;
        *end = n;
    }
    return first;
}

void waiting_ready_all(struct wait_node *n)
{
    struct fiber *self = thread_self()->fiber;
    struct chain c = { NULL, NULL, 0, self ? self->sched : NULL };
    if (n && !n->next) {
        ready(n->fiber);
        return;
    }
    while (n) {
        struct wait_node *next = n->next;       /* the node is gone once its fiber is ready */
        ready_later(n->fiber, &c);
        n = next;
    }
    if (c.head)
        worker_queue_chain(&c);
}
