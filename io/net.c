/* SPDX-License-Identifier: MIT */
/*
 * net - connections: taking them in, asking for them
 *
 * accept(2) and connect(2) have no flag like MSG_DONTWAIT: whether they block is a question of O_NONBLOCK, which is the caller's.
 *
 * accept     A listener with O_NONBLOCK (weft_listen makes such) is simply asked. Of another one poll(2) is asked first, and then
 *            accept(2) is called only if there is a client; our own calls on it do this one at a time (the cell's serial lock),
 *            so none of them takes another's client away. A TCP client that resets stays in the queue on Linux. There remains
 *            another process, or a plain accept(2), on the same blocking listener: if it takes the only client between the two
 *            calls, this worker blocks until the next one. Who shares a listener among processes must set O_NONBLOCK, as
 *            accept(2) says.
 * connect    A blocking socket gets O_NONBLOCK for the time of the system call, under the serial lock: the handshake goes on
 *            without it. After it connect(2) is called once more, which answers how it ended and brings the socket in the state
 *            after a blocking connect (SO_ERROR would leave a trace: the next connect(2) would answer 0).
 *            A Unix listener with a full queue answers EAGAIN and tells nobody when it has room: asked again, up to CONNECT_MOST.
 *            After -ETIMEDOUT or -ECANCELED a handshake may still be going on: such a socket is good for weft_close only.
 * Out of     descriptors: the kernel says EMFILE even if there is no client. With one, accept waits for a weft_close (spare.h), and
 *            tries again by itself after 10 to 100 ms, since numbers are freed by close(2), too, and by other processes.
 * Rejected   accept on the blocking pool (a hop for each client, and a thread there that nobody can call back),
 *            SO_RCVTIMEO (seen by
 *            all others), io_uring's accept (not to be had everywhere).
 */
#include <errno.h>
#include <fcntl.h>

#include "io/attempt.h"
#include "io/spare.h"
#include "io/sys.h"
#include "sched/clock.h"
#include "weft/io.h"

#define SPARE_FIRST (10 * WEFT_MSEC)
#define SPARE_MOST (100 * WEFT_MSEC)
#define CONNECT_FIRST (1 * WEFT_MSEC)
#define CONNECT_MOST (20 * WEFT_MSEC)

static void serial_lock(struct attempt *a)
{
    if (a->cell)
        (void)word_lock(&a->cell->serial);
}

static void serial_unlock(struct attempt *a)
{
    if (a->cell)
        word_unlock(&a->cell->serial, 0);
}

/* ---- accept -------------------------------------------------------------------------------------------------------------- */

struct accepting { struct sockaddr *addr; socklen_t *len; };

/* Errors of one client, not of the listener. */
static int take(int fd, struct accepting *c)
{
    int r;
    do
        r = sys_accept(fd, c->addr, c->len);
    while (r == -ECONNABORTED || r == -EPROTO);
    return r;
}

static int take_if_any(struct attempt *a, struct accepting *c)
{
    int r;
    serial_lock(a);
    if (sys_ready(a->fd, POLLIN))
        r = sys_accept(a->fd, c->addr, c->len);
    else if ((r = sys_listens(a->fd)) >= 0)
        r = r ? -EAGAIN : -EINVAL;
    serial_unlock(a);
    return r == -ECONNABORTED || r == -EPROTO ? -EAGAIN : r;
}

static int64_t accept_once(struct attempt *a, void *arg)
{
    int flags = sys_flags(a->fd), r;
    if (flags < 0)
        return flags;
    r = flags & O_NONBLOCK ? take(a->fd, arg) : take_if_any(a, arg);
    if ((r == -EMFILE || r == -ENFILE) && !sys_ready(a->fd, POLLIN))
        return -EAGAIN;
    return r;
}

static int64_t after(int64_t ns, int64_t deadline)
{
    int64_t at = clock_now() + ns;
    return at < deadline ? at : deadline;
}

int weft_accept(int fd, struct sockaddr *addr, socklen_t *len, int64_t deadline)
{
    struct accepting c = { addr, len };
    int64_t pause = SPARE_FIRST, r;
    struct attempt a;
    r = attempt_begin(&a, fd, POLLIN, deadline);
    if (r < 0)
        return (int)r;
    if (a.self->deadline < deadline)
        deadline = a.self->deadline;
    while ((r = attempt_run(&a, accept_once, &c)) == -EMFILE || r == -ENFILE) {
        int waited;
        if (deadline <= 0 || deadline <= clock_now())
            break;
        waited = spare_wait(a.self, after(pause, deadline));
        if (waited < 0 && waited != -ETIMEDOUT) {
            r = waited;
            break;
        }
        pause = 2 * pause < SPARE_MOST ? 2 * pause : SPARE_MOST;
    }
    attempt_end(&a);
    return (int)r;
}

/* ---- connect ------------------------------------------------------------------------------------------------------------- */

struct connecting {
    const struct sockaddr *addr;
    socklen_t len;
    bool begun;
    int64_t pause;
};

static int connect_now(struct attempt *a, const struct connecting *c)
{
    int flags, r;
    serial_lock(a);
    flags = sys_flags(a->fd);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)sys_set_flags(a->fd, flags | O_NONBLOCK);
    r = flags < 0 ? flags : sys_connect(a->fd, c->addr, c->len);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)sys_set_flags(a->fd, flags);
    serial_unlock(a);
    return r;
}

static int64_t connect_once(struct attempt *a, void *arg)
{
    struct connecting *c = arg;
    int r = connect_now(a, c);
    switch (r) {
    case -EINPROGRESS:
        c->begun = true;
        return -EAGAIN;
    case -EALREADY:
        return c->begun ? -EAGAIN : -EALREADY;
    case -EISCONN:
        return c->begun ? 0 : -EISCONN;
    case -EAGAIN:
        if (c->addr->sa_family != AF_UNIX)
            return -EADDRNOTAVAIL;              /* out of local ports or routes: nothing to wait for */
        a->again = clock_now() + c->pause;
        c->pause = 2 * c->pause < CONNECT_MOST ? 2 * c->pause : CONNECT_MOST;
        return -EAGAIN;
    default:
        return r;
    }
}

int weft_connect(int fd, const struct sockaddr *addr, socklen_t len, int64_t deadline)
{
    struct connecting c = { addr, len, false, CONNECT_FIRST };
    struct attempt a;
    int64_t r = attempt_begin(&a, fd, POLLOUT, deadline);
    if (r < 0)
        return (int)r;
    r = attempt_run(&a, connect_once, &c);
    attempt_end(&a);
    return (int)r;
}
