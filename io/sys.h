/* SPDX-License-Identifier: MIT */
/*
 * sys - system calls that answer a value or a negative errno, and leave errno as it was
 *
 * Why        errno belongs to a thread, and the compiler may keep its address over a switch, after which the fiber is in another
 *            thread. So nobody in the house reads errno in a function that can switch: it is read here, in functions of their own
 *            which are not inlined, right after the call. The caller's errno stays, since the public calls promise that.
 * EINTR      never comes out: the call is made again. sys_poll then waits for what is left.
 * Libc       and not bare syscall instructions, so that sanitizers see the buffers and that faults can be injected.
 */
#ifndef IO_SYS_H
#define IO_SYS_H

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

#define SYS_CALL __attribute__((noinline))

/* These may block, as long as the file does. */
SYS_CALL int64_t sys_read(int fd, void *buf, size_t n);
SYS_CALL int64_t sys_write(int fd, const void *buf, size_t n);
SYS_CALL int sys_open(const char *path, int flags, mode_t mode);

/* These do not: -EAGAIN; of files -EOPNOTSUPP, too: this one cannot promise that. MSG_DONTWAIT is added. */
SYS_CALL int64_t sys_read_now(int fd, void *buf, size_t n);
SYS_CALL int64_t sys_write_now(int fd, const void *buf, size_t n);
SYS_CALL int64_t sys_recv(int fd, void *buf, size_t n, int flags);
SYS_CALL int64_t sys_send(int fd, const void *buf, size_t n, int flags);

/* As O_NONBLOCK of the socket says. The new descriptor is close-on-exec. */
SYS_CALL int sys_accept(int fd, struct sockaddr *addr, socklen_t *len);
SYS_CALL int sys_connect(int fd, const struct sockaddr *addr, socklen_t len);

SYS_CALL int sys_flags(int fd);                                 /* F_GETFL */
SYS_CALL int sys_set_flags(int fd, int flags);
SYS_CALL int sys_listens(int fd);                               /* 1: a listening socket, 0: another; -ENOTSOCK, -EBADF */
SYS_CALL int sys_regular(int fd);                               /* 1: a regular file or a disk, which poll(2) calls ready always */
SYS_CALL int sys_close(int fd);                                 /* EINTR is no error: the number is free */

/* Until something is ready or the deadline (CLOCK_MONOTONIC ns, 0: do not wait, INT64_MAX: none) has passed: how many. */
SYS_CALL int sys_poll(struct pollfd *fds, unsigned n, int64_t deadline);

/* What fd is ready for of events, or has gone wrong; 0: nothing. */
static inline int sys_ready(int fd, short events)
{
    struct pollfd p = { fd, events, 0 };
    int n = sys_poll(&p, 1, 0);
    return n > 0 ? p.revents : n;
}

SYS_CALL int sys_epoll_open(void);
SYS_CALL int sys_epoll(int epfd, int op, int fd, uint32_t events, uint64_t data);
SYS_CALL int sys_epoll_wait(int epfd, struct epoll_event *events, int most, int64_t deadline);

SYS_CALL int sys_eventfd(void);                                 /* close-on-exec */
SYS_CALL void sys_eventfd_add(int fd);

/* A thread that sees no signal but those that its own instructions raise, named name plus suffix. 0, -EAGAIN. */
SYS_CALL int sys_thread(pthread_t *id, void *(*run)(void *), void *arg, const char *name, const char *suffix);

#endif
