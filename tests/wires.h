/* SPDX-License-Identifier: MIT */
/*
 * wires - what tests of I/O share: pairs of connected descriptors, byte patterns, counts
 *
 * After fibers.h. A pattern tells its stream and its position at each byte, so that a byte that is lost, doubled or read by
 * somebody else is seen.
 */
#ifndef TESTS_WIRES_H
#define TESTS_WIRES_H

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NOT_INLINED __attribute__((noinline, unused)) static        /* these read errno */

enum wire { UNIX, TCP, PIPE, WIRES };

UNUSED static unsigned char byte_of(uint64_t stream, uint64_t at)
{
    return (unsigned char)(((at / 7 + 1) * UINT64_C(0x9e3779b97f4a7c15) + stream * UINT64_C(0xbf58476d1ce4e5b9) + at) >> 29);
}

UNUSED static void fill(void *to, uint64_t stream, uint64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)to)[i] = byte_of(stream, at + i);
}

UNUSED static bool same(const void *bytes, uint64_t stream, uint64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const unsigned char *)bytes)[i] != byte_of(stream, at + i))
            return false;
    return true;
}

/* ---- descriptors --------------------------------------------------------------------------------------------------------- */

NOT_INLINED int listener(struct sockaddr_in *at, int backlog)
{
    socklen_t len = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(at, 0, sizeof *at);
    at->sin_family = AF_INET;
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    TRUE(fd >= 0);
    OK(bind(fd, (struct sockaddr *)at, sizeof *at));
    OK(listen(fd, backlog));
    OK(getsockname(fd, (struct sockaddr *)at, &len));
    return fd;
}

/* The queue has room, so these do not wait. */
NOT_INLINED int client(const struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TRUE(fd >= 0);
    OK(connect(fd, (const struct sockaddr *)at, sizeof *at));
    return fd;
}

NOT_INLINED void tcp_pair(int fd[2])
{
    struct sockaddr_in at;
    int one = 1, l = listener(&at, 4);
    fd[0] = client(&at);
    fd[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    TRUE(fd[1] >= 0);
    OK(setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    OK(setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    OK(close(l));
}

/* fd[0] reads what fd[1] writes. */
NOT_INLINED void wire_pair(enum wire kind, int fd[2])
{
    if (kind == UNIX)
        OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
    else if (kind == TCP)
        tcp_pair(fd);
    else
        OK(pipe2(fd, O_CLOEXEC));
}

UNUSED static void narrow(enum wire kind, int fd[2])
{
    int n = kind == TCP ? 65536 : 4096;         /* TCP with less stalls on the kernel's timers */
    if (kind == PIPE) {
        TRUE(fcntl(fd[1], F_SETPIPE_SZ, n) >= n);
        return;
    }
    for (int i = 0; i < 2; i++) {
        setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &n, sizeof n);
        setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &n, sizeof n);
    }
}

/* Write without the library until no more fits: how many bytes of stream s. */
NOT_INLINED uint64_t stuff(int fd, uint64_t s)
{
    int flags = fcntl(fd, F_GETFL), quiet = 0;
    unsigned char some[512];
    uint64_t n = 0;
    OK(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
    while (quiet < 3) {
        ssize_t k;
        fill(some, s, n, sizeof some);
        k = write(fd, some, sizeof some);
        n += k > 0 ? (uint64_t)k : 0;
        quiet = k > 0 ? 0 : quiet + 1;
        if (k <= 0)
            poll(NULL, 0, 5);                   /* TCP moves it over to the other side */
    }
    OK(fcntl(fd, F_SETFL, flags));
    return n;
}

NOT_INLINED void reset(int fd)
{
    struct linger l = { 1, 0 };
    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    OK(weft_close(fd));
}

NOT_INLINED void kernel_ready(int fd, short events)
{
    struct pollfd p = { fd, events, 0 };
    TRUE(poll(&p, 1, 10000) == 1);
}

NOT_INLINED int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = -3;                                 /* ".", "..", its own */
    TRUE(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* How often the I/O thread of the calling fiber's runtime woke up. */
UNUSED static uint64_t wakeups(void)
{
    struct weft_stats s;
    OK(weft_stats(weft_current(), &s, sizeof s));
    return s.io_wakeups;
}

/* Long enough for others to get where they wait. Nothing that is judged depends on it. */
UNUSED static void settle(int ms) { (void)weft_sleep(in_ms(ms)); }

#endif
