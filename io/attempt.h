/* SPDX-License-Identifier: MIT */
/*
 * attempt - how every call on a descriptor waits: try, wait until trying again is worth while, try
 *
 * Owns       the loop around a system call that does not block. A call on a descriptor is written like this, in a fiber as in
 *            a thread, and the same for all:
 *
 *                struct attempt a;
 *                int64_t r = attempt_begin(&a, fd, POLLIN, deadline);      cancelled, no descriptor? then nothing is done
 *                if (r < 0) return r;
 *                r = attempt_run(&a, once, &arguments);                    once(): the system call, -EAGAIN: not now
 *                attempt_end(&a);                                          passes the edge on (R2)
 *                return r;
 *
 * Threads    the caller itself. A fiber waits in the cell, woken by its runtime's I/O thread. A thread outside calls poll(2) on the
 *            descriptor, which needs no runtime, and on an eventfd made for this wait, so that weft_close can wake it. (One per
 *            thread would be cheaper, and would stay open after the call for all to see.)
 * Promises   the system call is made first and again after each wake-up, before deadline or cancellation are looked at: what
 *            is there is taken, and no wake-up is swallowed. Nothing of it touches the caller's O_NONBLOCK or errno.
 * Slice      a call that did not wait yields if the fiber's time slice is used up, so that a fiber for which there is always
 *            something to do leaves the others their turn.
 */
#ifndef IO_ATTEMPT_H
#define IO_ATTEMPT_H

#include "io/fdcell.h"

struct attempt {
    int fd;
    short events;                               /* of poll(2) */
    bool looks;                                 /* takes nothing away (fdcell.h) */
    bool woken;                                 /* it owes an edge to the next one */
    bool waited;
    int64_t deadline;
    int64_t again;                              /* once() may set: try again at this moment at the latest */
    struct fiber *self;
    struct fdcell *cell;                        /* NULL: in a forked child, where no visit can be waited for */
    struct fdcell_visit visit;
};

/* From once() and so from attempt_run(): only a call that blocks can do it. */
#define ATTEMPT_BLOCKS INT64_MIN

int attempt_begin(struct attempt *a, int fd, short events, int64_t deadline);

/* Call once() until it answers something else than -EAGAIN: that, or why it may not be waited for. ATTEMPT_BLOCKS also if the
 * file cannot be waited for because it is always ready, as regular files are. */
int64_t attempt_run(struct attempt *a, int64_t (*once)(struct attempt *a, void *arg), void *arg);

void attempt_end(struct attempt *a);

bool attempt_in_thread(const struct attempt *a);

#endif
