/* SPDX-License-Identifier: MIT */
/* Connections: accept and connect on blocking sockets and others, full queues, no descriptors left, addresses to listen at. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"
#include "tests/wires.h"

#include <sys/stat.h>

static struct sockaddr_in at;
static int lfd;
static atomic_int in, ended, ticks, stop;

NOT_INLINED void nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    OK(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

static int tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TRUE(fd >= 0);
    return fd;
}

static int dial(int fd, int64_t deadline) { return weft_connect(fd, (struct sockaddr *)&at, sizeof at, deadline); }

/* ---- many ---------------------------------------------------------------------------------------------------------------- */

enum { CLIENTS = 200, ACCEPTORS = 4 };

static int64_t serves(void *arg)
{
    int fd = (int)(intptr_t)arg;
    uint32_t n;
    OK(weft_read_full(fd, &n, sizeof n, NULL, WEFT_FOREVER));
    n++;
    OK(weft_write_full(fd, &n, sizeof n, NULL, WEFT_FOREVER));
    EQ(weft_read(fd, &n, 1, WEFT_FOREVER), 0);
    OK(weft_close(fd));
    atomic_fetch_add(&ended, 1);
    return 0;
}

static int64_t accepts(void *arg)
{
    int fd;
    (void)arg;
    while ((fd = weft_accept(lfd, NULL, NULL, WEFT_FOREVER)) >= 0) {
        EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        OK(weft_detach(spawned(serves, (void *)(intptr_t)fd)));
    }
    EQ(fd, -EBADF);
    return 0;
}

static int64_t asks(void *arg)
{
    uint32_t n = (uint32_t)(intptr_t)arg;
    int fd = tcp(), flags;
    nonblocking(fd, n % 2);
    flags = fcntl(fd, F_GETFL);
    OK(dial(fd, WEFT_FOREVER));
    EQ(fcntl(fd, F_GETFL), flags);              /* as it was */
    OK(weft_write_full(fd, &n, sizeof n, NULL, WEFT_FOREVER));
    OK(weft_read_full(fd, &n, sizeof n, NULL, WEFT_FOREVER));
    EQ(n, (uint32_t)(intptr_t)arg + 1);
    OK(weft_close(fd));
    return 0;
}

static int64_t many(void *arg)
{
    (void)arg;
    for (int blocking = 0; blocking < 2; blocking++) {
        weft_t a[ACCEPTORS], c[CLIENTS];
        atomic_store(&ended, 0);
        lfd = listener(&at, 1024);
        nonblocking(lfd, !blocking);
        for (int i = 0; i < ACCEPTORS; i++)
            a[i] = spawned(accepts, NULL);
        for (int i = 0; i < CLIENTS; i++)
            c[i] = spawned(asks, (void *)(intptr_t)i);
        for (int i = 0; i < CLIENTS; i++)
            EQ(joined(c[i]), 0);
        UNTIL(atomic_load(&ended) == CLIENTS);
        EQ(fcntl(lfd, F_GETFL) & O_NONBLOCK, blocking ? 0 : O_NONBLOCK);
        OK(weft_close(lfd));
        for (int i = 0; i < ACCEPTORS; i++)
            EQ(joined(a[i]), 0);
        EQ(weft_accept(lfd, NULL, NULL, WEFT_FOREVER), -EBADF);
    }
    return 0;
}

Test(net, clients) { run_each(many); }

/* ---- accept -------------------------------------------------------------------------------------------------------------- */

static int64_t accept_once(void *arg)
{
    struct sockaddr_in peer, name;
    int fd[2], c, s;
    socklen_t len = sizeof peer;
    int64_t due;
    (void)arg;
    for (int blocking = 0; blocking < 2; blocking++) {
        lfd = listener(&at, 16);
        nonblocking(lfd, !blocking);
        EQ(weft_accept(lfd, NULL, NULL, WEFT_NOW), -ETIMEDOUT);
        due = in_ms(15);
        EQ(weft_accept(lfd, NULL, NULL, due), -ETIMEDOUT);
        TRUE(weft_now() >= due);
        c = client(&at);
        kernel_ready(lfd, POLLIN);
        s = weft_accept(lfd, (struct sockaddr *)&peer, &len, WEFT_NOW);
        TRUE(s >= 0);
        EQ(len, sizeof peer);
        OK(getsockname(c, (struct sockaddr *)&name, &len));
        EQ(peer.sin_port, name.sin_port);
        EQ(fcntl(s, F_GETFL) & O_NONBLOCK, 0);
        OK(weft_close(s));
        OK(weft_close(c));
        c = client(&at);                        /* one that resets at once */
        reset(c);
        kernel_ready(lfd, POLLIN);
        s = weft_accept(lfd, NULL, NULL, in_ms(50));
        TRUE(s >= 0 || s == -ETIMEDOUT);
        if (s >= 0)
            OK(weft_close(s));
        OK(weft_close(lfd));
    }
    for (int i = 0; i < 2; i++) {               /* what does not listen */
        OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (i ? SOCK_NONBLOCK : 0), 0, fd));
        EQ(weft_accept(fd[0], NULL, NULL, WEFT_FOREVER), -EINVAL);
        OK(weft_close(fd[0]));
        OK(weft_close(fd[1]));
    }
    wire_pair(PIPE, fd);
    EQ(weft_accept(fd[0], NULL, NULL, WEFT_FOREVER), -ENOTSOCK);
    OK(weft_close(fd[0]));
    OK(weft_close(fd[1]));
    EQ(weft_accept(-1, NULL, NULL, WEFT_FOREVER), -EBADF);
    return 0;
}

Test(net, accept) { run_each(accept_once); }
Test(net, accept_outside) { OK(accept_once(NULL)); }

static int64_t ticker(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        settle(5);
        atomic_fetch_add(&ticks, 1);
    }
    return 0;
}

static int64_t accepts_three(void *arg)
{
    int got[3];
    (void)arg;
    for (int i = 0; i < 3; i++) {
        got[i] = weft_accept(lfd, NULL, NULL, in_ms(20000));
        TRUE(got[i] >= 0);
        atomic_fetch_add(&in, 1);
    }
    for (int i = 0; i < 3; i++)
        OK(weft_close(got[i]));
    return 0;
}

static int64_t waits_for_numbers(void *arg)
{
    struct rlimit old, now;
    int c[3], spare[3], low;
    uint64_t before;
    int64_t due;
    weft_t a, t;
    (void)arg;
    lfd = listener(&at, 16);
    for (int i = 0; i < 3; i++)
        c[i] = client(&at);
    for (int i = 0; i < 3; i++)
        spare[i] = fcntl(lfd, F_DUPFD_CLOEXEC, 0);
    atomic_store(&in, 0);
    atomic_store(&stop, 0);
    t = spawned(ticker, NULL);
    settle(20);
    OK(getrlimit(RLIMIT_NOFILE, &old));
    low = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(low);
    now = old;
    now.rlim_cur = (rlim_t)low;
    OK(setrlimit(RLIMIT_NOFILE, &now));
    EQ(weft_accept(lfd, NULL, NULL, WEFT_NOW), -EMFILE);
    due = in_ms(30);
    EQ(weft_accept(lfd, NULL, NULL, due), -EMFILE);
    TRUE(weft_now() >= due);
    a = spawned(accepts_three, NULL);
    before = switches();
    settle(500);
    EQ(atomic_load(&in), 0);
    TRUE(switches() - before < 150);            /* the ticker, and some retries */
    TRUE(atomic_load(&ticks) > 5);              /* others go on */
    for (int i = 0; i < 3; i++) {               /* one number each: one client each, soon */
        if (i == 1)
            close(spare[i]);                    /* nobody is told: found by a retry */
        else
            OK(weft_close(spare[i]));
        UNTIL(atomic_load(&in) == i + 1);
        settle(20);
        EQ(atomic_load(&in), i + 1);
    }
    EQ(joined(a), 0);
    EQ(weft_accept(lfd, NULL, NULL, WEFT_NOW), -ETIMEDOUT);     /* room, but nobody is there */
    OK(setrlimit(RLIMIT_NOFILE, &old));
    atomic_store(&stop, 1);
    EQ(joined(t), 0);
    for (int i = 0; i < 3; i++)
        OK(weft_close(c[i]));
    OK(weft_close(lfd));
    return 0;
}

Test(net, no_descriptors) { run_each(waits_for_numbers); }

static int64_t accepts_one(void *arg)
{
    (void)arg;
    atomic_fetch_add(&in, 1);
    return weft_accept(lfd, NULL, NULL, WEFT_FOREVER);
}

/* Out of numbers: cancelled, and its listener closed. */
static int64_t ends_without_numbers(void *arg)
{
    struct rlimit old, now;
    int c, low;
    weft_t a[4];
    (void)arg;
    lfd = listener(&at, 16);
    c = client(&at);
    settle(20);
    OK(getrlimit(RLIMIT_NOFILE, &old));
    low = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(low);
    now = old;
    now.rlim_cur = (rlim_t)low;
    OK(setrlimit(RLIMIT_NOFILE, &now));
    atomic_store(&in, 0);
    for (int i = 0; i < 4; i++)
        a[i] = spawned(accepts_one, NULL);
    UNTIL(atomic_load(&in) == 4);
    settle(20);
    OK(weft_cancel(a[0]));
    EQ(joined(a[0]), -ECANCELED);
    OK(weft_close(lfd));
    for (int i = 1; i < 4; i++)
        EQ(joined(a[i]), -EBADF);
    OK(setrlimit(RLIMIT_NOFILE, &old));
    OK(weft_close(c));
    return 0;
}

Test(net, no_descriptors_and_an_end) { run_each(ends_without_numbers); }

/* ---- connect ------------------------------------------------------------------------------------------------------------- */

static int64_t connects(void *arg)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd, c;
    (void)arg;
    for (int i = 0; i < 20; i++) {
        lfd = listener(&at, 4);
        close(lfd);
        c = tcp();
        nonblocking(c, i % 2);
        EQ(dial(c, in_ms(20000)), -ECONNREFUSED);
        EQ(fcntl(c, F_GETFL) & O_NONBLOCK, i % 2 ? O_NONBLOCK : 0);
        lfd = listener(&at, 4);                 /* refused is as new */
        OK(dial(c, in_ms(20000)));
        EQ(dial(c, in_ms(20000)), -EISCONN);
        OK(weft_close(c));
        OK(weft_close(lfd));
    }
    snprintf(un.sun_path, sizeof un.sun_path, "/tmp/weft-net-%d", (int)getpid());
    unlink(un.sun_path);
    c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EQ(weft_connect(c, (struct sockaddr *)&un, sizeof un, WEFT_FOREVER), -ENOENT);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    OK(bind(fd, (struct sockaddr *)&un, sizeof un));
    EQ(weft_connect(c, (struct sockaddr *)&un, sizeof un, WEFT_FOREVER), -ECONNREFUSED);
    OK(listen(fd, 4));
    OK(weft_connect(c, (struct sockaddr *)&un, sizeof un, WEFT_FOREVER));
    OK(weft_close(c));
    OK(weft_close(fd));
    OK(unlink(un.sun_path));
    c = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    OK(dial(c, WEFT_NOW));
    OK(weft_close(c));
    EQ(dial(-1, WEFT_FOREVER), -EBADF);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    EQ(dial(fd, WEFT_FOREVER), -ENOTSOCK);
    OK(weft_close(fd));
    return 0;
}

Test(net, connect) { run_each(connects); }
Test(net, connect_outside) { OK(connects(NULL)); }

/* A Unix listener with a full queue: it tells nobody when it has room again. */
static struct sockaddr_un full_at = { .sun_family = AF_UNIX };

static int64_t connects_unix(void *arg)
{
    int c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
    nonblocking(c, (intptr_t)arg % 2);
    atomic_fetch_add(&in, 1);
    r = weft_connect(c, (struct sockaddr *)&full_at, sizeof full_at, WEFT_FOREVER);
    if (r == 0)
        atomic_fetch_add(&ended, 1);
    if (r != -EBADF)
        OK(weft_close(c));
    return r;
}

static int64_t full_unix_queue(void *arg)
{
    int fd, s;
    int64_t due;
    weft_t t[12];
    (void)arg;
    snprintf(full_at.sun_path, sizeof full_at.sun_path, "/tmp/weft-full-%d", (int)getpid());
    unlink(full_at.sun_path);
    atomic_store(&in, 0);
    atomic_store(&ended, 0);
    lfd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    OK(bind(lfd, (struct sockaddr *)&full_at, sizeof full_at));
    OK(listen(lfd, 2));
    for (int i = 0; i < 12; i++)
        t[i] = spawned(connects_unix, (void *)(intptr_t)i);
    UNTIL(atomic_load(&in) == 12 && atomic_load(&ended) == 3);  /* the kernel takes one more than the backlog */
    settle(30);
    EQ(atomic_load(&ended), 3);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EQ(weft_connect(fd, (struct sockaddr *)&full_at, sizeof full_at, WEFT_NOW), -ETIMEDOUT);
    due = in_ms(30);
    EQ(weft_connect(fd, (struct sockaddr *)&full_at, sizeof full_at, due), -ETIMEDOUT);
    TRUE(weft_now() >= due);
    OK(weft_close(fd));
    for (int i = 0; i < 12; i++) {
        s = weft_accept(lfd, NULL, NULL, in_ms(20000));
        TRUE(s >= 0);
        OK(weft_close(s));
    }
    for (int i = 0; i < 12; i++)
        EQ(joined(t[i]), 0);
    OK(weft_close(lfd));
    OK(unlink(full_at.sun_path));
    return 0;
}

Test(net, a_full_unix_queue) { run_each(full_unix_queue); }

/* ---- listen -------------------------------------------------------------------------------------------------------------- */

static void refused(const char *address)
{
    int before = count_fds();
    EQ(weft_listen(address, 8, 0), -EINVAL);
    EQ(count_fds(), before);
}

Test(net, addresses)
{
    struct sockaddr_in6 six;
    socklen_t len = sizeof at;
    char text[300], name[100];
    struct stat st;
    int fd = weft_listen("tcp:127.0.0.1:0", 0, 0), other, v;
    TRUE(fd >= 0);
    EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    OK(getsockname(fd, (struct sockaddr *)&at, &len));
    EQ(at.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    snprintf(text, sizeof text, "tcp:127.0.0.1:%d", ntohs(at.sin_port));
    EQ(weft_listen(text, 8, 0), -EADDRINUSE);
    OK(weft_close(client(&at)));
    OK(weft_close(fd));
    fd = weft_listen(text, 8, WEFT_REUSEPORT);
    TRUE(fd >= 0);
    other = weft_listen(text, 8, WEFT_REUSEPORT);
    TRUE(other >= 0);
    OK(weft_close(other));
    OK(weft_close(fd));
    fd = weft_listen("tcp:[::1]:0", 8, 0);
    if (fd >= 0) {
        len = sizeof six;
        OK(getsockname(fd, (struct sockaddr *)&six, &len));
        EQ(six.sin6_family, AF_INET6);
        OK(weft_close(fd));
        fd = weft_listen("tcp:[::1%lo]:0", 8, 0);
        TRUE(fd >= 0);
        OK(weft_close(fd));
    } else {
        TRUE(fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT);
    }

    snprintf(name, sizeof name, "/tmp/weft-listen-%d", (int)getpid());
    snprintf(text, sizeof text, "unix:%s", name);
    unlink(name);
    fd = weft_listen(text, 8, 0);
    TRUE(fd >= 0);
    EQ(weft_listen(text, 8, 0), -EADDRINUSE);   /* somebody listens there */
    OK(weft_close(fd));
    OK(lstat(name, &st));                       /* left over */
    fd = weft_listen(text, 8, 0);
    TRUE(fd >= 0);
    EQ(weft_listen(text, 8, WEFT_REUSEPORT), -EINVAL);
    OK(weft_close(fd));
    OK(unlink(name));
    v = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);       /* not a socket: not ours to remove */
    TRUE(v >= 0);
    close(v);
    EQ(weft_listen(text, 8, 0), -EADDRINUSE);
    OK(lstat(name, &st));
    OK(unlink(name));

    refused("");
    refused("tcp");
    refused("tcp:");
    refused("tcp::80");
    refused("tcp:127.0.0.1");
    refused("tcp:127.0.0.1:");
    refused("tcp:127.0.0.1:65536");
    refused("tcp:127.0.0.1:4294967376");
    refused("tcp:127.0.0.1:-1");
    refused("tcp:127.0.0.1:+1");
    refused("tcp:127.0.0.1: 1");
    refused("tcp:127.0.0.1:80x");
    refused("tcp:127.1:80");
    refused("tcp:localhost:80");
    refused("tcp:[::1:80");
    refused("tcp:[]:80");
    refused("tcp:::1:80");
    refused("tcp:[::1]80");
    refused("tcp:[::1%no-such-thing]:80");
    refused("udp:127.0.0.1:80");
    refused("unix:");
    refused(NULL);
    EQ(weft_listen("tcp:127.0.0.1:0", 8, 2), -EINVAL);
    EQ(weft_listen("unix:/nonexistent/s", 8, 0), -ENOENT);
    EQ(weft_listen("tcp:1.2.3.4:0", 8, 0), -EADDRNOTAVAIL);
    memset(text, 'p', sizeof text);
    memcpy(text, "unix:/tmp/", 10);
    text[sizeof text - 1] = 0;
    refused(text);
    text[5 + 108] = 0;
    refused(text);
    text[5 + 107] = 0;                          /* just fits */
    fd = weft_listen(text, 8, 0);
    TRUE(fd >= 0);
    OK(weft_close(fd));
    OK(unlink(text + 5));
}
