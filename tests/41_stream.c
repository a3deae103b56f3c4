/* SPDX-License-Identifier: MIT */
/* Reading and writing: bytes arrive once and in order through sockets, pipes, ttys and files; two waiters are both served; a dead
 * peer is told and costs nothing. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"
#include "tests/wires.h"

#include <pty.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>

static atomic_int in;

/* ---- bytes --------------------------------------------------------------------------------------------------------------- */

struct side { int fd; uint64_t stream; size_t total; };

static int64_t writes(void *arg)
{
    struct side *s = arg;
    unsigned char *bytes = malloc(s->total);
    size_t done = 4711;
    fill(bytes, s->stream, 0, s->total);
    OK(weft_write_full(s->fd, bytes, s->total, &done, WEFT_FOREVER));
    EQ(done, s->total);
    free(bytes);
    OK(weft_close(s->fd));
    return 0;
}

/* Pieces of up to `most` bytes; a slow reader sleeps now and then. */
static void reads(int fd, uint64_t stream, size_t total, size_t most, bool slow)
{
    uint64_t state = random_stream(stream), at = 0;
    unsigned char *bytes = malloc(most);
    ssize_t n;
    while ((n = weft_read(fd, bytes, 1 + random_below(&state, most), WEFT_FOREVER)) > 0) {
        TRUE(same(bytes, stream, at, (size_t)n));
        at += (uint64_t)n;
        if (slow && random_below(&state, 64) == 0)
            (void)weft_sleep(weft_after(200 * WEFT_USEC));
    }
    EQ(n, 0);
    EQ(at, total);
    free(bytes);
    OK(weft_close(fd));
}

static int64_t narrow_wires(void *arg)
{
    (void)arg;
    for (int kind = 0; kind < WIRES; kind++)
        for (int slow = 0; slow < 2; slow++) {
            struct side s = { .stream = (uint64_t)(10 * kind + slow), .total = kind == UNIX ? 10 << 20 : 2 << 20 };
            int fd[2];
            weft_t t;
            wire_pair(kind, fd);
            narrow(kind, fd);
            s.fd = fd[1];
            t = spawned(writes, &s);
            reads(fd[0], s.stream, s.total, slow ? 60000 : 4096, slow);
            EQ(joined(t), 0);
        }
    return 0;
}

Test(stream, ten_megabytes_through_four_kilobytes) { seed_print(); run_each(narrow_wires); }

static int64_t echoes(void *arg)
{
    int fd = (int)(intptr_t)arg;
    unsigned char b[3000];
    ssize_t n;
    while ((n = weft_read(fd, b, sizeof b, WEFT_FOREVER)) > 0)
        OK(weft_write_full(fd, b, (size_t)n, NULL, WEFT_FOREVER));
    EQ(n, 0);
    OK(weft_close(fd));
    return 0;
}

static int64_t echo(void *arg)
{
    uint64_t state = random_stream(1);
    (void)arg;
    for (int kind = UNIX; kind <= TCP; kind++) {
        weft_t server[16];
        int fd[16][2];
        uint64_t at[16] = { 0 };
        for (int i = 0; i < 16; i++) {
            wire_pair(kind, fd[i]);
            server[i] = spawned(echoes, (void *)(intptr_t)fd[i][1]);
        }
        for (int round = 0; round < 400; round++) {
            uint64_t i = random_below(&state, 16);
            size_t n = 1 + random_below(&state, 1500), done = 0;
            unsigned char b[1500];
            fill(b, i, at[i], n);
            EQ(weft_write(fd[i][0], b, n, WEFT_FOREVER), n);
            memset(b, 0, n);
            OK(weft_read_full(fd[i][0], b, n, &done, in_ms(20000)));
            EQ(done, n);
            TRUE(same(b, i, at[i], n));
            at[i] += n;
        }
        for (int i = 0; i < 16; i++) {          /* half-closed: the rest still comes back, then the end */
            unsigned char b[2000];
            fill(b, 99, 0, sizeof b);
            EQ(weft_write(fd[i][0], b, sizeof b, WEFT_FOREVER), sizeof b);
            OK(shutdown(fd[i][0], SHUT_WR));
            memset(b, 0, sizeof b);
            OK(weft_read_full(fd[i][0], b, sizeof b, NULL, in_ms(20000)));
            TRUE(same(b, 99, 0, sizeof b));
            EQ(weft_read(fd[i][0], b, 1, in_ms(20000)), 0);
            EQ(weft_read_full(fd[i][0], b, 1, NULL, in_ms(20000)), -ENODATA);
            EQ(joined(server[i]), 0);
            OK(weft_close(fd[i][0]));
        }
    }
    return 0;
}

Test(stream, echo_and_half_close) { seed_print(); run_each(echo); }

static int64_t nothing(void *arg)
{
    char c = 'x';
    int fd[2];
    (void)arg;
    for (int kind = 0; kind < WIRES; kind++) {
        wire_pair(kind, fd);
        EQ(weft_read(fd[0], &c, 0, in_ms(9000)), 0);
        EQ(weft_read(fd[0], NULL, 0, in_ms(9000)), 0);
        EQ(weft_write(fd[1], &c, 0, in_ms(9000)), 0);
        EQ(weft_read(fd[0], &c, 1, WEFT_NOW), -ETIMEDOUT);
        OK(weft_read_full(fd[0], &c, 0, NULL, WEFT_NOW));
        OK(weft_write_full(fd[1], &c, 0, NULL, WEFT_NOW));
        EQ(weft_write(fd[1], &c, 1, WEFT_NOW), 1);
        kernel_ready(fd[0], POLLIN);
        EQ(weft_read(fd[0], &c, 0, WEFT_NOW), 0);
        EQ(weft_read(fd[0], &c, 1, WEFT_NOW), 1);
        if (kind == PIPE) {
            EQ(weft_read(fd[1], &c, 1, WEFT_FOREVER), -EBADF);          /* the wrong end */
            EQ(weft_read(fd[1], &c, 0, WEFT_FOREVER), -EBADF);
            EQ(weft_write(fd[0], &c, 1, WEFT_FOREVER), -EBADF);
        }
        OK(weft_close(fd[0]));
        OK(weft_close(fd[1]));
        for (int i = 0; i < 3; i++) {
            int bad = i == 0 ? fd[0] : i == 1 ? -1 : 1 << 25;
            EQ(weft_read(bad, &c, 1, WEFT_FOREVER), -EBADF);
            EQ(weft_write(bad, &c, 1, WEFT_FOREVER), -EBADF);
            EQ(weft_read(bad, &c, 0, WEFT_FOREVER), -EBADF);
            EQ(weft_fd_wait(bad, POLLIN, WEFT_FOREVER), -EBADF);
            EQ(weft_close(bad), -EBADF);
        }
    }
    return 0;
}

Test(stream, nothing_asked_and_bad_numbers) { run_with(2, nothing); }

/* ---- several on one descriptor ------------------------------------------------------------------------------------------- */

static int64_t reads_one(void *arg)
{
    char c = 0;
    atomic_fetch_add(&in, 1);
    EQ(weft_read((int)(intptr_t)arg, &c, 1, in_ms(20000)), 1);
    return c;
}

static int64_t looks(void *arg)
{
    atomic_fetch_add(&in, 1);
    return weft_fd_wait((int)(intptr_t)arg, POLLIN, in_ms(20000));
}

static int64_t dies(void *arg)                  /* among the waiters, cancelled or timed out when the bytes come */
{
    char c;
    int64_t r;
    atomic_fetch_add(&in, 1);
    r = weft_read((int)(intptr_t)arg, &c, 1, WEFT_FOREVER);
    TRUE(r == -ECANCELED || r == 1);
    return r == 1 ? c : 0;
}

static int64_t waiters_are_served(void *arg)
{
    enum { MOST = 8 };
    uint64_t state = random_stream(2);
    (void)arg;
    for (int round = 0; round < 300; round++) {
        int n = 2 + (int)random_below(&state, MOST - 1), ill = (int)random_below(&state, 3), fd[2], sum = 0, want = 0;
        char bytes[MOST + 3];
        weft_t t[MOST], d[3], l;
        wire_pair(round % WIRES, fd);
        atomic_store(&in, 0);
        for (int i = 0; i < n; i++) {
            t[i] = spawned(reads_one, (void *)(intptr_t)fd[0]);
            if (i < ill)
                d[i] = spawned(dies, (void *)(intptr_t)fd[0]);
        }
        l = spawned(looks, (void *)(intptr_t)fd[0]);
        UNTIL(atomic_load(&in) == n + ill + 1 || ill > n);
        if (round % 2)
            settle(1);
        for (int i = 0; i < n + ill; i++)
            want += bytes[i] = (char)(i + 1);
        for (int i = 0; i < ill; i++)
            OK(weft_cancel(d[i]));
        EQ(weft_write(fd[1], bytes, (size_t)(n + ill), WEFT_FOREVER), n + ill);     /* all by one write, one edge */
        for (int i = 0; i < n; i++)
            sum += (int)joined(t[i]);
        for (int i = 0; i < ill; i++)
            sum += (int)joined(d[i]);
        EQ(weft_write(fd[1], "", 1, WEFT_FOREVER), 1);          /* for the one that looks, if it came late */
        EQ(joined(l) & POLLIN, POLLIN);
        for (char c = 1; sum < want; sum += c)                  /* what the cancelled ones left */
            EQ(weft_read(fd[0], &c, 1, in_ms(20000)), 1);
        EQ(sum, want);
        OK(weft_close(fd[0]));
        OK(weft_close(fd[1]));
    }
    return 0;
}

Test(stream, one_write_serves_all_readers) { seed_print(); run_each(waiters_are_served); }

enum { RECORD = 64, RECORDS = 1000, ENDS = 6 };
static atomic_int record_seen[ENDS][RECORDS];
static int rd, wr;

static int64_t writes_records(void *arg)
{
    uint32_t r[RECORD / 4];
    r[0] = (uint32_t)(intptr_t)arg;
    for (uint32_t i = 0; i < RECORDS; i++) {
        r[1] = i;
        for (uint32_t k = 2; k < RECORD / 4; k++)
            r[k] = r[0] * 1000003 + i * 17 + k;
        EQ(weft_write(wr, r, RECORD, WEFT_FOREVER), RECORD);
    }
    return 0;
}

static int64_t reads_records(void *arg)
{
    uint32_t r[RECORD / 4];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(rd, r, RECORD, WEFT_FOREVER)) == RECORD) {
        TRUE(r[0] < ENDS && r[1] < RECORDS);
        for (uint32_t k = 2; k < RECORD / 4; k++)
            EQ(r[k], r[0] * 1000003 + r[1] * 17 + k);
        EQ(atomic_fetch_add(&record_seen[r[0]][r[1]], 1), 0);
    }
    EQ(n, 0);
    return 0;
}

static int64_t one_small_pipe(void *arg)
{
    weft_t t[2 * ENDS];
    int fd[2];
    (void)arg;
    memset(record_seen, 0, sizeof record_seen);
    wire_pair(PIPE, fd);
    narrow(PIPE, fd);
    rd = fd[0];
    wr = fd[1];
    for (int i = 0; i < ENDS; i++) {
        t[i] = spawned(writes_records, (void *)(intptr_t)i);
        t[ENDS + i] = spawned(reads_records, NULL);
    }
    for (int i = 0; i < ENDS; i++)
        EQ(joined(t[i]), 0);
    OK(weft_close(wr));
    for (int i = 0; i < ENDS; i++)
        EQ(joined(t[ENDS + i]), 0);
    OK(weft_close(rd));
    for (int i = 0; i < ENDS; i++)
        for (int k = 0; k < RECORDS; k++)
            EQ(atomic_load(&record_seen[i][k]), 1);
    return 0;
}

Test(stream, records_of_many_arrive_whole_and_once) { run_each(one_small_pipe); }

/* ---- dead peers ---------------------------------------------------------------------------------------------------------- */

static int64_t writes_until_told(void *arg)
{
    static const char much[100000];
    ssize_t n;
    while ((n = weft_write((int)(intptr_t)arg, much, sizeof much, WEFT_FOREVER)) > 0)
        continue;
    return n;
}

static int64_t reads_until_told(void *arg)
{
    char b[100];
    ssize_t n;
    while ((n = weft_read((int)(intptr_t)arg, b, sizeof b, WEFT_FOREVER)) > 0)
        continue;
    return n;
}

static int64_t resets(void *arg)
{
    char c = 0;
    (void)arg;
    for (int i = 0; i < 30; i++) {
        int fd[2];
        int64_t r, w;
        weft_t reader, writer;
        tcp_pair(fd);
        narrow(TCP, fd);
        reader = spawned(reads_until_told, (void *)(intptr_t)fd[0]);
        writer = spawned(writes_until_told, (void *)(intptr_t)fd[0]);
        settle(i % 4);
        reset(fd[1]);
        r = joined(reader);
        w = joined(writer);
        TRUE(r == -ECONNRESET || r == 0 || r == -EPIPE);
        TRUE(w == -ECONNRESET || w == -EPIPE);
        EQ(weft_write(fd[0], &c, 1, WEFT_FOREVER), -EPIPE);
        OK(weft_close(fd[0]));
    }
    return 0;
}

Test(stream, a_reset_is_told_to_all) { run_each(resets); }

/* Everything that a descriptor can be in without anybody waiting for it: the I/O thread sleeps. */
static int64_t quiet(void *arg)
{
    uint64_t before;
    int fd[12][2], copy[12];
    char c;
    (void)arg;
    for (int i = 0; i < 12; i++) {
        wire_pair(i % WIRES, fd[i]);
        EQ(weft_read(fd[i][0], &c, 1, in_ms(1)), -ETIMEDOUT);   /* known to the I/O thread */
        copy[i] = fcntl(fd[i][0], F_DUPFD_CLOEXEC, 0);
        if (i < 3)
            OK(weft_close(fd[i][1]));                           /* hang-up */
        else if (i < 6)
            EQ(weft_write(fd[i][1], "abc", 3, WEFT_FOREVER), 3);        /* readable, and nobody reads */
        else if (i < 9)
            OK(weft_close(fd[i][0]));                           /* closed, but alive by its copy */
        if (i == 4)
            reset(fd[i][1]);
    }
    settle(300);                                                /* the monitor falls asleep, too */
    before = wakeups();
    for (int i = 6; i < 9; i++) {                               /* edges of a file under a closed number: not told any more */
        EQ(write(fd[i][1], "abc", 3), 3);
        EQ(write(fd[i][1], "abc", 3), 3);
    }
    settle(300);
    TRUE(wakeups() - before <= 3);                              /* our own sleep, and its neighbours */
    for (int i = 0; i < 12; i++) {
        close(copy[i]);
        close(fd[i][0]);
        close(fd[i][1]);
    }
    return 0;
}

Test(stream, the_dead_cost_nothing) { run_with(2, quiet); }

static void same_signals(void (*writer)(void))
{
    struct sigaction before, after;
    sigset_t mask, mask_after, pending;
    OK(sigaction(SIGPIPE, NULL, &before));
    OK(pthread_sigmask(SIG_SETMASK, NULL, &mask));
    writer();
    OK(sigaction(SIGPIPE, NULL, &after));
    OK(pthread_sigmask(SIG_SETMASK, NULL, &mask_after));
    OK(sigpending(&pending));
    TRUE(before.sa_handler == after.sa_handler);
    for (int s = 1; s < 65; s++)
        EQ(sigismember(&mask, s), sigismember(&mask_after, s));
    EQ(sigismember(&pending, SIGPIPE), 0);
}

static void writes_to_nobody(void)
{
    char c = 'x';
    size_t done = 9;
    for (int kind = 0; kind < WIRES; kind++) {
        int fd[2];
        wire_pair(kind, fd);
        if (kind == TCP)
            OK(shutdown(fd[1], SHUT_WR));
        close(fd[0]);
        EQ(weft_write(fd[1], &c, 1, WEFT_FOREVER), -EPIPE);
        EQ(weft_write_full(fd[1], &c, 1, &done, WEFT_FOREVER), -EPIPE);
        EQ(done, 0);
        OK(weft_close(fd[1]));
    }
}

static int64_t writes_to_nobody_fiber(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++)
        writes_to_nobody();
    return 0;
}

static void run_writes_to_nobody(void) { run_with(2, writes_to_nobody_fiber); }

Test(stream, no_sigpipe)
{
    signal(SIGPIPE, SIG_DFL);
    same_signals(writes_to_nobody);
    same_signals(run_writes_to_nobody);
}

/* ---- what is no socket and no pipe --------------------------------------------------------------------------------------- */

static void make_raw(int fd)
{
    struct termios t;
    OK(tcgetattr(fd, &t));
    cfmakeraw(&t);
    OK(tcsetattr(fd, TCSANOW, &t));
}

static int64_t tty(void *arg)
{
    unsigned char b[600];
    int fd[2];
    int64_t due;
    weft_t t;
    (void)arg;
    OK(openpty(&fd[0], &fd[1], NULL, NULL, NULL));
    make_raw(fd[1]);
    EQ(weft_read(fd[1], b, 1, WEFT_NOW), -ETIMEDOUT);
    due = in_ms(20);
    EQ(weft_read(fd[1], b, 1, due), -ETIMEDOUT);
    TRUE(weft_now() >= due);
    for (int i = 0; i < 20; i++) {
        int from = i % 2, n = 1 + 29 * i;
        size_t done = 0;
        fill(b, 5, 0, (size_t)n);
        OK(weft_write_full(fd[from], b, (size_t)n, &done, in_ms(20000)));
        EQ(done, n);
        memset(b, 0, sizeof b);
        OK(weft_read_full(fd[!from], b, (size_t)n, &done, in_ms(20000)));
        TRUE(same(b, 5, 0, (size_t)n));
    }
    if (weft_self()) {
        atomic_store(&in, 0);
        t = spawned(reads_one, (void *)(intptr_t)fd[1]);
        UNTIL(atomic_load(&in) == 1);
        settle(5);
        EQ(weft_write(fd[0], "\7", 1, WEFT_FOREVER), 1);
        EQ(joined(t), 7);
    }
    OK(weft_close(fd[1]));
    OK(weft_close(fd[0]));
    return 0;
}

Test(stream, tty) { run_each(tty); }
Test(stream, tty_outside) { OK(tty(NULL)); }

static void file_of(const char *dir)
{
    enum { SIZE = 200000 };
    unsigned char *bytes = malloc(SIZE);
    char name[200];
    size_t done = 0;
    int fd, extra;
    snprintf(name, sizeof name, "%s/weft-test-%d", dir, (int)getpid());
    fd = weft_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, WEFT_FOREVER);
    TRUE(fd >= 0);
    EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EQ(weft_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, WEFT_FOREVER), -EEXIST);
    fill(bytes, 8, 0, SIZE);
    EQ(weft_write(fd, bytes, 1000, WEFT_FOREVER), 1000);
    OK(weft_write_full(fd, bytes + 1000, SIZE - 1000, &done, WEFT_FOREVER));
    EQ(done, SIZE - 1000);
    EQ(weft_read(fd, bytes, 10, WEFT_FOREVER), 0);              /* at the end */
    for (int cold = 0; cold < 2; cold++) {
        memset(bytes, 0, SIZE);
        if (cold) {                                             /* not in memory, or only half of it */
            OK(fsync(fd));
            OK(posix_fadvise(fd, 8192, SIZE / 2, POSIX_FADV_DONTNEED));
        }
        EQ(lseek(fd, 0, SEEK_SET), 0);
        EQ(weft_read(fd, bytes, SIZE, WEFT_FOREVER), SIZE);     /* all of it, as read(2) gives it */
        TRUE(same(bytes, 8, 0, SIZE));
        EQ(lseek(fd, 100, SEEK_SET), 100);
        EQ(weft_read(fd, bytes, SIZE, WEFT_FOREVER), SIZE - 100);       /* up to the end */
        TRUE(same(bytes, 8, 100, SIZE - 100));
        EQ(weft_read_full(fd, bytes, 1, &done, WEFT_FOREVER), -ENODATA);
    }
    EQ(weft_fd_wait(fd, POLLIN | POLLOUT, WEFT_FOREVER), POLLIN | POLLOUT);
    EQ(weft_fd_wait(fd, POLLIN, WEFT_NOW), POLLIN);
    EQ(weft_fd_wait(fd, POLLPRI, in_ms(5)), -ETIMEDOUT);
    OK(weft_close(fd));
    fd = weft_open(name, O_WRONLY | O_APPEND, 0, WEFT_FOREVER);
    TRUE(fd >= 0);
    EQ(weft_read(fd, bytes, 1, WEFT_FOREVER), -EBADF);
    EQ(weft_write(fd, "tail", 4, WEFT_FOREVER), 4);
    OK(weft_close(fd));
    extra = weft_open(dir, O_RDONLY | O_DIRECTORY, 0, WEFT_FOREVER);
    TRUE(extra >= 0);
    EQ(weft_read(extra, bytes, 1, WEFT_FOREVER), -EISDIR);
    OK(weft_close(extra));
    OK(unlink(name));
    EQ(weft_open(name, O_RDONLY, 0, WEFT_FOREVER), -ENOENT);
    free(bytes);
}

static int64_t files(void *arg)
{
    int before = count_fds();
    (void)arg;
    file_of("/tmp");
    file_of("/dev/shm");                        /* no RWF_NOWAIT: the pool does all */
    file_of(".");
    EQ(count_fds(), before);
    return 0;
}

Test(stream, files) { run_with(1, files); run_with(4, files); }
Test(stream, files_outside) { OK(files(NULL)); }

static int64_t odd_ones(void *arg)
{
    struct itimerspec soon = { .it_value = { 0, 20000000 } };
    uint64_t n = 5;
    int64_t due;
    int fd = eventfd(0, EFD_CLOEXEC);           /* blocking, all of them */
    (void)arg;
    EQ(weft_read(fd, &n, sizeof n, WEFT_NOW), -ETIMEDOUT);
    EQ(weft_read(fd, &n, sizeof n, in_ms(5)), -ETIMEDOUT);
    EQ(weft_write(fd, &n, sizeof n, WEFT_FOREVER), sizeof n);
    n = 0;
    EQ(weft_read(fd, &n, sizeof n, WEFT_FOREVER), sizeof n);
    EQ(n, 5);
    OK(weft_close(fd));
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    due = in_ms(20);
    OK(timerfd_settime(fd, 0, &soon, NULL));
    EQ(weft_read(fd, &n, sizeof n, WEFT_FOREVER), sizeof n);
    EQ(n, 1);
    TRUE(weft_now() >= due);
    OK(weft_close(fd));
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    EQ(weft_read(fd, &n, sizeof n, WEFT_FOREVER), 0);
    EQ(weft_write(fd, &n, sizeof n, WEFT_FOREVER), sizeof n);
    OK(weft_close(fd));
    fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    TRUE(weft_read(fd, &n, sizeof n, WEFT_FOREVER) > 0);
    OK(weft_close(fd));
    return 0;
}

Test(stream, odd_ones) { run_each(odd_ones); }
Test(stream, odd_ones_outside) { OK(odd_ones(NULL)); }

/* The same number as a socket, a pipe, a file, a tty: what was learnt of one must not be believed of the next. */
static int64_t many_lives(void *arg)
{
    uint64_t state = random_stream(3);
    int number = fcntl(0, F_DUPFD_CLOEXEC, 100);
    (void)arg;
    for (int i = 0; i < 200; i++) {
        int fd[2], what = (int)random_below(&state, 5);
        char b[10], name[] = "/tmp/weft-lives-XXXXXX";
        size_t done = 0;
        if (what < WIRES) {
            wire_pair(what, fd);
        } else if (what == 3) {
            OK(openpty(&fd[0], &fd[1], NULL, NULL, NULL));
            make_raw(fd[0]);
            make_raw(fd[1]);
        } else {
            fd[0] = mkostemp(name, O_CLOEXEC);
            fd[1] = open(name, O_WRONLY | O_CLOEXEC);
            OK(unlink(name));
        }
        EQ(dup3(fd[0], number, O_CLOEXEC), number);             /* closes the last one behind our back */
        close(fd[0]);
        if (what != 4 && random_below(&state, 2))
            EQ(weft_read(number, b, 1, in_ms(1)), -ETIMEDOUT);
        OK(weft_write_full(fd[1], "0123456789", 10, &done, WEFT_FOREVER));
        OK(weft_read_full(number, b, 10, &done, in_ms(20000)));
        OK(memcmp(b, "0123456789", 10));
        if (random_below(&state, 2)) {
            OK(weft_close(number));
            number = fcntl(0, F_DUPFD_CLOEXEC, 100);
        }
        close(fd[1]);
    }
    OK(weft_close(number));
    return 0;
}

Test(stream, one_number_many_lives) { seed_print(); run_each(many_lives); }
Test(stream, one_number_many_lives_outside) { seed_print(); OK(many_lives(NULL)); }
