/* SPDX-License-Identifier: MIT */
/* The waiting calls on descriptors and on the blocking pool, each through every event of tests/contract.h. */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/contract.h"

static char bytes[65536];

static void fds_none(struct box *b)
{
    for (int i = 0; i < 4; i++)
        b->fd[i] = -1;
}

static void fds_end(struct box *b)
{
    for (int i = 0; i < 4; i++)
        if (b->fd[i] >= 0)
            OK(weft_close(b->fd[i]));
}

static void fds_close(struct box *b)
{
    OK(weft_close(b->fd[0]));
    b->fd[0] = -1;
}

static void pair_open(struct box *b)
{
    fds_none(b);
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b->fd), 0);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

static void one_byte(struct box *b) { EQ(send(b->fd[1], "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), 1); }
static void three_bytes(struct box *b) { EQ(send(b->fd[1], "xyz", 3, MSG_DONTWAIT | MSG_NOSIGNAL), 3); }

static int64_t read_wait(struct box *b, int64_t deadline)
{
    char buf[8] = { 0 };
    ssize_t r = weft_read(b->fd[0], buf, sizeof buf, deadline);
    EQ(buf[0], r > 0 ? 'x' : 0);
    return r;
}

static int64_t read_full_wait(struct box *b, int64_t deadline)
{
    char buf[3] = { 0 };
    size_t done = 99;
    int r = weft_read_full(b->fd[0], buf, sizeof buf, &done, deadline);
    EQ(done, r == 0 ? 3 : 0);
    EQ(buf[2], r == 0 ? 'z' : 0);
    return r;
}

static int64_t fd_wait_wait(struct box *b, int64_t deadline)
{
    int r = weft_fd_wait(b->fd[0], POLLIN, deadline);
    TRUE(r < 0 || r & POLLIN);
    return r;
}

static const struct call read_ = { .open = pair_open, .wait = read_wait, .allow = one_byte, .close = fds_close, .closed = -EBADF,
                                   .end = fds_end, .traits = CONSUMES };
COLUMNS(read_) COLUMN_AT_ONCE(read_) COLUMNS_EVENT(read_) COLUMN_CLOSED(read_) COLUMN_OUTSIDE(read_) COLUMN_OUTSIDE_AT_ONCE(read_)

static const struct call read_full_ = { .open = pair_open, .wait = read_full_wait, .allow = three_bytes, .close = fds_close,
                                        .closed = -EBADF, .end = fds_end, .traits = CONSUMES };
COLUMNS(read_full_) COLUMN_AT_ONCE(read_full_) COLUMNS_EVENT(read_full_) COLUMN_CLOSED(read_full_) COLUMN_OUTSIDE(read_full_)
COLUMN_OUTSIDE_AT_ONCE(read_full_)

static const struct call fd_wait_ = { .open = pair_open, .wait = fd_wait_wait, .allow = one_byte, .close = fds_close,
                                      .closed = -EBADF, .end = fds_end };
COLUMNS(fd_wait_) COLUMN_AT_ONCE(fd_wait_) COLUMNS_EVENT(fd_wait_) COLUMN_CLOSED(fd_wait_) COLUMN_OUTSIDE(fd_wait_)
COLUMN_OUTSIDE_AT_ONCE(fd_wait_)

/* A pipe is another road: it cannot be told per call not to wait. */
static void pipe_open(struct box *b)
{
    fds_none(b);
    EQ(pipe2(b->fd, O_CLOEXEC), 0);
}

static void pipe_byte(struct box *b) { EQ(write(b->fd[1], "x", 1), 1); }

static const struct call read_pipe = { .open = pipe_open, .wait = read_wait, .allow = pipe_byte, .close = fds_close,
                                       .closed = -EBADF, .end = fds_end, .traits = CONSUMES };
COLUMNS(read_pipe) COLUMN_AT_ONCE(read_pipe) COLUMNS_EVENT(read_pipe) COLUMN_CLOSED(read_pipe) COLUMN_OUTSIDE(read_pipe)
COLUMN_OUTSIDE_AT_ONCE(read_pipe)

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

static void full_open(struct box *b)
{
    int size = 4096;
    pair_open(b);
    EQ(setsockopt(b->fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    for (size_t n = sizeof bytes; n; n /= 2)    /* until not a byte more goes in */
        while (send(b->fd[0], bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            continue;
}

static void drain(struct box *b)
{
    while (recv(b->fd[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
}

static int64_t write_wait(struct box *b, int64_t deadline)
{
    ssize_t r = weft_write(b->fd[0], bytes, 1, deadline);
    TRUE(r < 0 || r == 1);
    return r;
}

static int64_t write_full_wait(struct box *b, int64_t deadline)
{
    size_t done = 99;
    int r = weft_write_full(b->fd[0], bytes, 16, &done, deadline);
    EQ(done, r == 0 ? 16 : 0);
    return r;
}

static const struct call write_ = { .open = full_open, .wait = write_wait, .allow = drain, .close = fds_close, .closed = -EBADF,
                                    .end = fds_end };
COLUMNS(write_) COLUMN_AT_ONCE(write_) COLUMNS_EVENT(write_) COLUMN_CLOSED(write_) COLUMN_OUTSIDE(write_)
COLUMN_OUTSIDE_AT_ONCE(write_)

static const struct call write_full_ = { .open = full_open, .wait = write_full_wait, .allow = drain, .close = fds_close,
                                         .closed = -EBADF, .end = fds_end };
COLUMNS(write_full_) COLUMN_AT_ONCE(write_full_) COLUMNS_EVENT(write_full_) COLUMN_CLOSED(write_full_) COLUMN_OUTSIDE(write_full_)
COLUMN_OUTSIDE_AT_ONCE(write_full_)

/* ---- connections --------------------------------------------------------------------------------------------------------- */

static struct sockaddr_un at(struct box *b)     /* the same in a forked child */
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    static pid_t parent;
    if (!parent)
        parent = getpid();
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/weft-contract-%d-%p", (int)parent, (void *)b);
    return a;
}

static void listener_open(struct box *b)
{
    struct sockaddr_un a = at(b);
    char name[sizeof a.sun_path + 8];
    fds_none(b);
    snprintf(name, sizeof name, "unix:%s", a.sun_path);
    b->fd[0] = weft_listen(name, 1, 0);
    TRUE(b->fd[0] >= 0);
}

static int client(struct box *b)
{
    struct sockaddr_un a = at(b);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;
    TRUE(fd >= 0);
    r = connect(fd, (struct sockaddr *)&a, sizeof a);
    if (r == 0)
        return fd;
    EQ(errno, EAGAIN);
    close(fd);
    return -1;
}

static void listener_end(struct box *b)
{
    struct sockaddr_un a = at(b);
    fds_end(b);
    unlink(a.sun_path);
}

static void accept_allow(struct box *b)
{
    if (b->fd[1] >= 0)
        close(b->fd[1]);
    b->fd[1] = client(b);
    TRUE(b->fd[1] >= 0);
}

static int64_t accept_wait(struct box *b, int64_t deadline)
{
    int r = weft_accept(b->fd[0], NULL, NULL, deadline);
    if (r >= 0) {
        TRUE(fcntl(r, F_GETFD) & FD_CLOEXEC);
        OK(weft_close(r));
    }
    return r;
}

static const struct call accept_ = { .open = listener_open, .wait = accept_wait, .allow = accept_allow, .close = fds_close,
                                     .closed = -EBADF, .end = listener_end, .traits = CONSUMES };
COLUMNS(accept_) COLUMN_AT_ONCE(accept_) COLUMNS_EVENT(accept_) COLUMN_CLOSED(accept_) COLUMN_OUTSIDE(accept_)
COLUMN_OUTSIDE_AT_ONCE(accept_)

/* A Unix listener whose queue is full. */
static void crowd_open(struct box *b)
{
    listener_open(b);
    for (int i = 1, fd; (fd = client(b)) >= 0; i++) {
        TRUE(i < 4);
        b->fd[i] = fd;
    }
    EQ(fcntl(b->fd[0], F_SETFL, O_NONBLOCK), 0);
}

static void crowd_allow(struct box *b)
{
    for (int fd; (fd = accept4(b->fd[0], NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        close(fd);
}

static int64_t connect_wait(struct box *b, int64_t deadline)
{
    struct sockaddr_un a = at(b);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
    TRUE(fd >= 0);
    r = weft_connect(fd, (struct sockaddr *)&a, sizeof a, deadline);
    OK(weft_close(fd));
    return r;
}

static const struct call connect_ = { .open = crowd_open, .wait = connect_wait, .allow = crowd_allow, .end = listener_end };
COLUMNS(connect_) COLUMN_AT_ONCE(connect_) COLUMNS_EVENT(connect_) COLUMN_OUTSIDE(connect_) COLUMN_OUTSIDE_AT_ONCE(connect_)

/* ---- the blocking pool: its one thread is taken -------------------------------------------------------------------------- */

static int64_t hogs(void *arg)
{
    struct box *b = arg;
    atomic_store(&b->ready, true);
    while (!atomic_load(&b->released))
        usleep(200);
    return 0;
}

static int64_t hog(void *arg) { return weft_blocking(hogs, arg, NULL, WEFT_FOREVER); }

static void pool_open(struct box *b)
{
    b->other = spawned(hog, b);
    UNTIL(atomic_load(&b->ready));
}

static void pool_allow(struct box *b) { atomic_store(&b->released, true); }
static void pool_end(struct box *b) { OK(joined(b->other)); }
static int64_t five(void *arg) { ((struct box *)arg)->value++; return 5; }

static int64_t blocking_wait(struct box *b, int64_t deadline)
{
    int64_t result = -1, before = b->value;
    int r = weft_blocking(five, b, &result, deadline);
    EQ(result, r == 0 ? 5 : -1);
    EQ(b->value, before + (r == 0));            /* withdrawn: it did not run, and will not */
    return r;
}

static int64_t open_wait(struct box *b, int64_t deadline)
{
    int r = weft_open("/dev/null", O_RDONLY, 0, deadline);
    (void)b;
    if (r >= 0) {
        TRUE(fcntl(r, F_GETFD) & FD_CLOEXEC);
        OK(weft_close(r));
    }
    return r;
}

static const struct call blocking_ = { .open = pool_open, .wait = blocking_wait, .allow = pool_allow, .end = pool_end,
                                       .traits = LATE };
COLUMNS(blocking_) COLUMN_AT_ONCE(blocking_) COLUMNS_EVENT(blocking_) COLUMN_OUTSIDE_AT_ONCE(blocking_)

static const struct call open_ = { .open = pool_open, .wait = open_wait, .allow = pool_allow, .end = pool_end, .traits = LATE };
COLUMNS(open_) COLUMN_AT_ONCE(open_) COLUMNS_EVENT(open_) COLUMN_OUTSIDE_AT_ONCE(open_)
