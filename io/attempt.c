/* SPDX-License-Identifier: MIT */
/* attempt - see attempt.h */
#include "io/attempt.h"

#include <errno.h>

#include "io/reactor.h"
#include "io/sys.h"
#include "sched/clock.h"
#include "timers/waiting.h"

#define NO_EVENTFD_PERIOD (10 * WEFT_MSEC)      /* how soon a thread without an eventfd sees a close */

static unsigned ways(const struct attempt *a)
{
    unsigned w = a->events & (POLLOUT | POLLWRNORM | POLLWRBAND) ? FDCELL_WRITE : 0;
    return a->events & (POLLIN | POLLRDNORM | POLLRDBAND | POLLPRI | POLLRDHUP) || !w ? w | FDCELL_READ : w;
}

bool attempt_in_thread(const struct attempt *a) { return park_is_thread(a->self); }

int attempt_begin(struct attempt *a, int fd, short events, int64_t deadline)
{
    int r;
    *a = (struct attempt){ .fd = fd, .events = events, .deadline = deadline, .again = INT64_MAX };
    r = waiting_enter(&a->self);
    if (r < 0)
        return r;
    if (fd < 0)
        return -EBADF;
    if (waiting_stale())
        return 0;
    a->cell = fdcell_get(fd);
    if (a->cell)
        return 0;
    r = sys_flags(fd);
    return r < 0 ? r : -ENOMEM;
}

/* ---- in a thread --------------------------------------------------------------------------------------------------------- */

/* Until there is something, a close, or the deadline. */
static int poll_both(struct attempt *a, struct wait_node *node, int wake, int64_t deadline)
{
    struct pollfd p[2] = { { a->fd, a->events, 0 }, { wake, POLLIN, 0 } };
    int64_t until;
    int n;
    do {
        until = deadline;
        if (wake < 0 && until - clock_now() > NO_EVENTFD_PERIOD)
            until = clock_now() + NO_EVENTFD_PERIOD;
        n = sys_poll(p, 2, until);
    } while (n == 0 && until != deadline && load_relaxed32(&a->self->wait) != WAIT_EVENT);
    if (wait_claim(a->self, WAIT_EVENT)) {
        (void)wait_close(a->self);
        fdcell_unqueue_thread(a->cell, node);
        return n < 0 ? n : n == 0 && until == deadline ? -ETIMEDOUT : 0;
    }
    park(a->self);                              /* a close was faster; its token is on the way, and the last that comes */
    (void)wait_close(a->self);
    return (int)node->result;
}

static int64_t wait_in_thread(struct attempt *a, int64_t deadline)
{
    struct wait_node node;
    int wake = sys_eventfd(), r;
    node.value = (void *)(intptr_t)wake;
    r = fdcell_queue_thread(a->cell, &a->visit, a->self, &node);
    if (r == 0)
        r = poll_both(a, &node, wake, deadline);
    if (wake >= 0)
        (void)sys_close(wake);
    return r;
}

/* ---- in a fiber ---------------------------------------------------------------------------------------------------------- */

/* Let the I/O thread know of the file, and find out if it can be waited for. */
static int64_t watch(struct attempt *a)
{
    int r = reactor_watch(a->self->sched->reactor, a->fd, ways(a) & FDCELL_WRITE);
    if (r == 1)
        store_relaxed32(&a->cell->kind, FDCELL_UNKNOWN);        /* another file, perhaps */
    if (r != -EPERM)
        return r < 0 ? r : 0;
    return a->looks ? 0 : ATTEMPT_BLOCKS;
}

static int64_t wait_in_fiber(struct attempt *a, int64_t deadline)
{
    struct wait_node node[2];
    unsigned w = ways(a);
    int r = fdcell_queue(a->cell, &a->visit, a->self, node, w, a->looks ? FDCELL_LOOKS : NULL, a->woken), result;
    a->woken = false;
    if (r < 0)
        return r == -EAGAIN ? 0 : r;
    a->waited = true;
    r = waiting_park(a->self, deadline);
    if (r == 0 && w != (FDCELL_READ | FDCELL_WRITE))
        result = (int)node[w - 1].result;       /* whoever woke us took out the only node */
    else
        result = fdcell_unqueue(a->cell, node, w);
    if (r < 0)
        return r;
    a->woken = true;
    return result;
}

/* ---- both ---------------------------------------------------------------------------------------------------------------- */

/* Still inside the visit, so that the file is ours: may it be waited for, and until when? */
static int64_t admit(struct attempt *a, int64_t *deadline)
{
    int64_t r = waiting_admit(a->self, deadline);
    if (r < 0)
        return r;
    if (attempt_in_thread(a))
        return !a->looks && sys_regular(a->fd) > 0 ? ATTEMPT_BLOCKS : 0;
    return watch(a);
}

static int64_t wait(struct attempt *a, int64_t deadline)
{
    bool limited = a->again < deadline;
    int64_t r;
    if (limited)
        deadline = a->again;
    a->again = INT64_MAX;
    r = attempt_in_thread(a) ? wait_in_thread(a, deadline) : wait_in_fiber(a, deadline);
    return r == -ETIMEDOUT && limited ? 0 : r;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------ */

int64_t attempt_run(struct attempt *a, int64_t (*once)(struct attempt *a, void *arg), void *arg)
{
    int64_t r;
    do {
        int64_t deadline = a->deadline;
        bool again;
        if (a->cell && (r = fdcell_enter(a->cell, &a->visit)) < 0)
            return r;
        r = once(a, arg);
        again = r == -EAGAIN;
        if (again)
            r = admit(a, &deadline);
        if (a->cell)
            fdcell_leave(a->cell);
        if (!again)
            return r;
        if (r == 0)
            r = wait(a, deadline);
    } while (r == 0);
    return r;
}

static void yield_if_expired(struct fiber *self)
{
    struct worker *w = thread_self()->worker;
    if (w && load_relaxed32(&w->tripwire) && !self->nosuspend && worker_trip(w) && worker_has_other(w))
        worker_leave(AFTER_YIELD);
}

void attempt_end(struct attempt *a)
{
    struct wait_node *next;
    if (a->woken && !a->looks)
        for (struct wait_node *n = fdcell_pass(a->cell, ways(a)); n; n = next) {
            next = n->next;
            ready(n->fiber);
        }
    a->woken = false;
    if (!a->waited && !attempt_in_thread(a))
        yield_if_expired(a->self);
}
