/* SPDX-License-Identifier: MIT */
/* sys - see sys.h */
#include "io/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sched/atomic.h"
#include "sched/clock.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

/* TSan follows the order that pipes and sockets make through read and write, but does not know preadv2 and pwritev2. */
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
static char piped;
static inline void order_read(void) { __tsan_acquire(&piped); }
static inline void order_write(void) { __tsan_release(&piped); }
#else
static inline void order_read(void) { }
static inline void order_write(void) { }
#endif

static inline int64_t answer(int64_t r, int before)
{
    if (r < 0)
        r = -errno;
    errno = before;
    return r;
}

#define AGAIN(r, call) do { (r) = (call); } while ((r) < 0 && errno == EINTR)

/* ---- bytes --------------------------------------------------------------------------------------------------------------- */

int64_t sys_read(int fd, void *buf, size_t n)
{
    int before = errno;
    ssize_t r;
    AGAIN(r, read(fd, buf, n));
    return answer(r, before);
}

int64_t sys_write(int fd, const void *buf, size_t n)
{
    int before = errno;
    ssize_t r;
    AGAIN(r, write(fd, buf, n));
    return answer(r, before);
}

static int64_t no_such_call(int64_t r) { return r == -ENOSYS ? -EOPNOTSUPP : r; }

int64_t sys_read_now(int fd, void *buf, size_t n)
{
    struct iovec v = { buf, n };
    int before = errno;
    ssize_t r;
    AGAIN(r, preadv2(fd, &v, 1, -1, RWF_NOWAIT));
    order_read();
    return no_such_call(answer(r, before));
}

int64_t sys_write_now(int fd, const void *buf, size_t n)
{
    struct iovec v = { (void *)buf, n };
    int before = errno;
    ssize_t r;
    order_write();
    AGAIN(r, pwritev2(fd, &v, 1, -1, RWF_NOWAIT));
    return no_such_call(answer(r, before));
}

int64_t sys_recv(int fd, void *buf, size_t n, int flags)
{
    int before = errno;
    ssize_t r;
    AGAIN(r, recv(fd, buf, n, flags | MSG_DONTWAIT));
    return answer(r, before);
}

int64_t sys_send(int fd, const void *buf, size_t n, int flags)
{
    int before = errno;
    ssize_t r;
    AGAIN(r, send(fd, buf, n, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    return answer(r, before);
}

/* ---- descriptors --------------------------------------------------------------------------------------------------------- */

int sys_open(const char *path, int flags, mode_t mode)
{
    int before = errno, r;
    AGAIN(r, open(path, flags, mode));
    return (int)answer(r, before);
}

int sys_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    int before = errno, r;
    AGAIN(r, accept4(fd, addr, len, SOCK_CLOEXEC));
    return (int)answer(r, before);
}

int sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int before = errno;
    return (int)answer(connect(fd, addr, len), before);
}

int sys_flags(int fd)
{
    int before = errno;
    return (int)answer(fcntl(fd, F_GETFL), before);
}

int sys_set_flags(int fd, int flags)
{
    int before = errno;
    return (int)answer(fcntl(fd, F_SETFL, flags), before);
}

int sys_listens(int fd)
{
    int before = errno, listens = 0, r;
    socklen_t len = sizeof listens;
    r = (int)answer(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), before);
    return r < 0 ? r : listens != 0;
}

int sys_regular(int fd)
{
    struct stat s;
    int before = errno, r = (int)answer(fstat(fd, &s), before);
    return r < 0 ? r : S_ISREG(s.st_mode) || S_ISBLK(s.st_mode) || S_ISDIR(s.st_mode);
}

int sys_close(int fd)
{
    int before = errno, r = (int)answer(close(fd), before);
    return r == -EINTR ? 0 : r;
}

/* ---- readiness ----------------------------------------------------------------------------------------------------------- */

/* How long from now; false: without end. */
static bool until(int64_t deadline, struct timespec *t)
{
    int64_t ns = 0;
    if (deadline == INT64_MAX)
        return false;
    if (deadline > 0 && (ns = deadline - clock_now()) < 0)
        ns = 0;
    *t = (struct timespec){ ns / 1000000000, ns % 1000000000 };
    return true;
}

int sys_poll(struct pollfd *fds, unsigned n, int64_t deadline)
{
    struct timespec t;
    int before = errno, r;
    AGAIN(r, ppoll(fds, n, until(deadline, &t) ? &t : NULL, NULL));
    return (int)answer(r, before);
}

int sys_epoll_open(void)
{
    int before = errno;
    return (int)answer(epoll_create1(EPOLL_CLOEXEC), before);
}

int sys_epoll(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event e = { .events = events, .data.u64 = data };
    int before = errno;
    return (int)answer(epoll_ctl(epfd, op, fd, &e), before);
}

static int wait_fine(int epfd, struct epoll_event *events, int most, const struct timespec *t)
{
    static atom32 missing;                      /* 1: this kernel has no epoll_pwait2 (before 5.11) */
    int64_t ms;
    if (!load_relaxed32(&missing)) {
        int r = epoll_pwait2(epfd, events, most, t, NULL);
        if (r >= 0 || errno != ENOSYS)
            return r;
        store_relaxed32(&missing, 1);
    }
    /* milliseconds: up, since nothing may be early */
    ms = t ? t->tv_sec * INT64_C(1000) + (t->tv_nsec + 999999) / 1000000 : -1;
    return epoll_wait(epfd, events, most, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

int sys_epoll_wait(int epfd, struct epoll_event *events, int most, int64_t deadline)
{
    struct timespec t;
    int before = errno, r;
    AGAIN(r, wait_fine(epfd, events, most, until(deadline, &t) ? &t : NULL));
    return (int)answer(r, before);
}

int sys_eventfd(void)
{
    int before = errno;
    return (int)answer(eventfd(0, EFD_CLOEXEC), before);
}

void sys_eventfd_add(int fd)
{
    uint64_t one = 1;
    int before = errno;
    ssize_t r;
    AGAIN(r, write(fd, &one, sizeof one));
    errno = before;
}

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

int sys_thread(pthread_t *id, void *(*run)(void *), void *arg, const char *name, const char *suffix)
{
    static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
    sigset_t all, before;
    char full[16];
    int error;
    sigfillset(&all);
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(id, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return -EAGAIN;
    snprintf(full, sizeof full, "%.10s%.5s", name, suffix);
    pthread_setname_np(*id, full);
    return 0;
}
