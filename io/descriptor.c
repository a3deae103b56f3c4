/* SPDX-License-Identifier: MIT */
/*
 * descriptor - what is the same for every descriptor: waiting until poll(2) would return, and closing
 *
 * Close      1 nobody gets in any more, all waiters are claimed with -EBADF, who is inside leaves (fdcell.h), 2 out of the epoll
 *            sets, in which a dup'ed file would stay, 3 close(2), 4 the number may be used again, 5 the waiters are made ready.
 *            A waiting thread's eventfd is written before its token is given: afterwards the descriptor may be another's.
 *            It can take as long as close(2) does, with SO_LINGER on a blocking socket for instance.
 * Child      of a fork: it has the parent's epoll sets, and locks that nobody will unlock: plain close(2).
 */
#include "weft/io.h"

#include <errno.h>

#include "io/attempt.h"
#include "io/reactor.h"
#include "io/spare.h"
#include "io/sys.h"
#include "timers/waiting.h"

static int64_t look(struct attempt *a, void *arg)
{
    int r = sys_ready(a->fd, a->events);
    (void)arg;
    return r == 0 ? -EAGAIN : r > 0 && r & POLLNVAL ? -EBADF : r;
}

int weft_fd_wait(int fd, unsigned events, int64_t deadline)
{
    struct attempt a;
    int64_t r = attempt_begin(&a, fd, (short)events, deadline);
    if (r < 0)
        return (int)r;
    a.looks = true;
    r = attempt_run(&a, look, NULL);
    attempt_end(&a);
    return (int)r;
}

static void wake_all(struct wait_node *n)
{
    for (struct wait_node *next; n; n = next) {
        next = n->next;                         /* the node is gone once its waiter is ready */
        if (park_is_thread(n->fiber) && (intptr_t)n->value >= 0)
            sys_eventfd_add((int)(intptr_t)n->value);
        ready(n->fiber);
    }
}

int weft_close(int fd)
{
    struct fdcell *c = fd < 0 || waiting_stale() ? NULL : fdcell_get(fd);
    struct wait_node *waiters;
    bool watched;
    int r;
    if (!c)
        return sys_close(fd);
    fdcell_close(c, &waiters, &watched);
    if (watched)
        reactor_forget(fd);
    r = sys_close(fd);
    fdcell_closed(c);
    wake_all(waiters);
    spare_freed();
    return r;
}
