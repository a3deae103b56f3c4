/* SPDX-License-Identifier: MIT */
/*
 * stream - bytes in and out of whatever a descriptor stands for
 *
 * How        to read without blocking, whatever O_NONBLOCK says, is a question of the file:
 *              socket                     recv with MSG_DONTWAIT; send with MSG_NOSIGNAL
 *              pipe, eventfd, null, ...   preadv2 with RWF_NOWAIT at the file's own position
 *              regular file               the same, good for what is in the page cache; else on the blocking pool
 *              tty, old kernel, ...       EOPNOTSUPP to that: once poll(2) says ready, on the blocking pool
 *            A thread outside does itself what a fiber gives to the pool. The first try finds out; the cell keeps a hint that
 *            saves a failing system call next time, and is never believed where it matters.
 * Promises   A regular file gives all the bytes it has, as read(2) does: what is not in the cache is fetched before the return.
 *            Other files answer what there is, or what fits. write is partial only there; a record for a datagram socket and one
 *            of up to PIPE_BUF bytes for a pipe goes whole or not at all, as write(2) with O_NONBLOCK.
 * SIGPIPE    sockets are told; runtime threads block it; a thread outside blocks it around the call and takes it back.
 * Pool       a job that did not begin when its descriptor is closed answers -EBADF; one that began is not waited for by the close.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <time.h>

#include "io/attempt.h"
#include "io/pool.h"
#include "io/sys.h"
#include "timers/waiting.h"
#include "weft/io.h"

struct span {
    char *at;
    size_t left;
    bool write;
};

/* ---- SIGPIPE ------------------------------------------------------------------------------------------------------------- */

struct sigpipe { sigset_t before; bool pending; };

static void one_signal(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

static void block_sigpipe(struct sigpipe *s)
{
    sigset_t pending, pipe;
    one_signal(&pipe);
    sigpending(&pending);
    s->pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe, &s->before);
}

static void restore_sigpipe(struct sigpipe *s, bool raised)
{
    static const struct timespec now = { 0, 0 };
    sigset_t pipe;
    int before = errno;
    one_signal(&pipe);
    while (raised && !s->pending && sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
        continue;
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
    errno = before;
}

static int64_t write_guarded(struct attempt *a, int64_t (*call)(int fd, const void *buf, size_t n), const void *buf, size_t n)
{
    struct sigpipe s;
    int64_t r;
    if (!attempt_in_thread(a))
        return call(a->fd, buf, n);
    block_sigpipe(&s);
    r = call(a->fd, buf, n);
    restore_sigpipe(&s, r == -EPIPE);
    return r;
}

/* ---- without blocking ---------------------------------------------------------------------------------------------------- */

static enum fdcell_kind kind(const struct attempt *a)
{
    return a->cell ? (enum fdcell_kind)load_relaxed32(&a->cell->kind) : FDCELL_UNKNOWN;
}

static void learn(struct attempt *a)
{
    if (a->cell)
        store_relaxed32(&a->cell->kind, sys_regular(a->fd) > 0 ? FDCELL_REGULAR : FDCELL_FILE);
}

static int64_t once(struct attempt *a, void *arg)
{
    struct span *s = arg;
    int64_t r;
    if (kind(a) == FDCELL_UNKNOWN) {
        r = s->write ? sys_send(a->fd, s->at, s->left, 0) : sys_recv(a->fd, s->at, s->left, 0);
        if (r != -ENOTSOCK)
            return r;
        learn(a);
    }
    r = s->write ? write_guarded(a, sys_write_now, s->at, s->left) : sys_read_now(a->fd, s->at, s->left);
    if (r != -EOPNOTSUPP)
        return r;
    return sys_ready(a->fd, a->events) ? ATTEMPT_BLOCKS : -EAGAIN;
}

/* ---- by blocking --------------------------------------------------------------------------------------------------------- */

struct blocked { struct attempt *attempt; struct span *span; };

static int64_t block(void *arg)
{
    struct attempt *a = ((struct blocked *)arg)->attempt;
    struct span *s = ((struct blocked *)arg)->span;
    size_t n = s->left;
    if (a->cell && !fdcell_same(a->cell, &a->visit))
        return -EBADF;
    if (n > PIPE_BUF && !sys_regular(a->fd))
        n = PIPE_BUF;                           /* so much goes without blocking, where poll(2) said ready */
    return s->write ? write_guarded(a, sys_write, s->at, n) : sys_read(a->fd, s->at, n);
}

static int64_t run_blocking(struct attempt *a, struct span *s)
{
    struct blocked b = { a, s };
    int64_t value;
    int r;
    if (attempt_in_thread(a))
        return block(&b);
    a->waited = true;
    r = pool_run(a->self, block, &b, &value, a->deadline);
    return r < 0 ? r : value;
}

/* ---- a call -------------------------------------------------------------------------------------------------------------- */

/* One transfer; of a regular file, all that can be had. */
static int64_t transfer(struct attempt *a, struct span *s)
{
    int64_t r, done = 0;
    for (;;) {
        r = attempt_run(a, once, s);
        if (r == ATTEMPT_BLOCKS)
            r = run_blocking(a, s);
        if (r == -EAGAIN)
            continue;                           /* another one was faster at a file with O_NONBLOCK */
        if (r <= 0)
            return done ? done : r;
        done += r;
        s->at += r;
        s->left -= (size_t)r;
        if (!s->left || kind(a) != FDCELL_REGULAR || sys_regular(a->fd) <= 0)
            return done;
    }
}

static ssize_t call(int fd, struct span *s, short events, int64_t deadline)
{
    struct attempt a;
    int64_t r = attempt_begin(&a, fd, events, deadline);
    if (r < 0)
        return (ssize_t)r;
    /* recv would wait for a byte, although none is wanted */
    r = s->left || s->write ? transfer(&a, s) : sys_read_now(fd, s->at, 0);
    attempt_end(&a);
    return (ssize_t)r;
}

ssize_t weft_read(int fd, void *buf, size_t n, int64_t deadline)
{
    struct span s = { .at = buf, .left = n };
    return call(fd, &s, POLLIN, deadline);
}

ssize_t weft_write(int fd, const void *buf, size_t n, int64_t deadline)
{
    struct span s = { .at = (char *)buf, .left = n, .write = true };
    return call(fd, &s, POLLOUT, deadline);
}

static int full(int fd, struct span *s, short events, size_t *done, int64_t deadline)
{
    const char *from = s->at;
    struct attempt a;
    int64_t r = attempt_begin(&a, fd, events, deadline);
    struct fiber *self;
    if (done)
        *done = 0;
    if (r < 0)
        return (int)r;
    while (s->left && (r = waiting_enter(&self)) == 0) {
        r = transfer(&a, s);
        if (r == 0)
            r = s->write ? -EIO : -ENODATA;
        attempt_end(&a);
        if (r < 0)
            break;
    }
    if (done)
        *done = (size_t)(s->at - from);
    return r < 0 ? (int)r : 0;
}

int weft_read_full(int fd, void *buf, size_t n, size_t *done, int64_t deadline)
{
    struct span s = { .at = buf, .left = n };
    return full(fd, &s, POLLIN, done, deadline);
}

int weft_write_full(int fd, const void *buf, size_t n, size_t *done, int64_t deadline)
{
    struct span s = { .at = (char *)buf, .left = n, .write = true };
    return full(fd, &s, POLLOUT, done, deadline);
}
