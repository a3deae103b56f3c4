/* SPDX-License-Identifier: MIT */
/* Each cell of the table of what a waiting call answers, for each call on a descriptor; the same outside a fiber; numbers that are
 * closed and used again under waiters; a forked child; errno. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "io/fdcell.h"
#include "tests/fibers.h"
#include "tests/wires.h"

#include <sys/wait.h>

/* ---- the calls, each on a descriptor on which it must wait --------------------------------------------------------------- */

enum call { READ, READ_FULL, WRITE, WRITE_FULL, LOOK_IN, LOOK_OUT, LOOK_NONE, ACCEPT, CONNECT, CALLS };

static struct sockaddr_in full_at;
static int full_listener, held[8];
static atomic_int in;
static char bytes[200000];

NOT_INLINED void full_queue(void)
{
    full_listener = listener(&full_at, 0);
    for (int i = 0; i < 8; i++) {
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(held[i], (struct sockaddr *)&full_at, sizeof full_at);
    }
    poll(NULL, 0, 20);
}

NOT_INLINED void full_queue_gone(void)
{
    for (int i = 0; i < 8; i++)
        close(held[i]);
    close(full_listener);
}

/* What is used and what else must be closed. */
static void prepare(enum call call, int fd[2])
{
    struct sockaddr_in at;
    fd[1] = -1;
    if (call == ACCEPT) {
        fd[0] = listener(&at, 4);
    } else if (call == CONNECT) {
        fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    } else {
        int pair[2];
        bool writer = call == WRITE || call == WRITE_FULL || call == LOOK_OUT;
        wire_pair(call % 2 ? PIPE : UNIX, pair);
        fd[0] = pair[writer];
        fd[1] = pair[!writer];
        if (writer)
            (void)stuff(fd[0], 1);
    }
}

static int64_t make(enum call call, int fd, int64_t deadline)
{
    size_t done = 99;
    int64_t r;
    switch (call) {
    case READ: return weft_read(fd, bytes, 10, deadline);
    case WRITE: return weft_write(fd, bytes, sizeof bytes, deadline);
    case LOOK_IN: return weft_fd_wait(fd, POLLIN, deadline);
    case LOOK_OUT: return weft_fd_wait(fd, POLLOUT | POLLPRI, deadline);
    case LOOK_NONE: return weft_fd_wait(fd, 0, deadline);
    case ACCEPT: return weft_accept(fd, NULL, NULL, deadline);
    case CONNECT: return weft_connect(fd, (struct sockaddr *)&full_at, sizeof full_at, deadline);
    case READ_FULL:
        r = weft_read_full(fd, bytes, 10, &done, deadline);
        EQ(done, 0);
        return r;
    default:
        r = weft_write_full(fd, bytes, sizeof bytes, &done, deadline);
        EQ(done, 0);
        return r;
    }
}

struct cell { enum call call; int fd; int64_t deadline; };

static int64_t makes(void *arg)
{
    struct cell c = *(struct cell *)arg;
    int64_t r;
    atomic_fetch_add(&in, 1);
    r = make(c.call, c.fd, c.deadline);
    if (r == -ECANCELED)                        /* every later wait, too */
        EQ(weft_sleep(in_ms(5000)), -ECANCELED);
    return r;
}

static int64_t makes_cancelled(void *arg)
{
    struct cell *c = arg;
    while (!weft_cancelled())
        (void)weft_yield();
    EQ(make(c->call, c->fd, c->deadline), -ECANCELED);
    (void)weft_shield(1);
    EQ(make(c->call, c->fd, in_ms(10)), -ETIMEDOUT);
    (void)weft_shield(0);
    EQ(make(c->call, c->fd, WEFT_NOW), -ECANCELED);
    return 0;
}

static void *makes_thread(void *arg) { return (void *)(intptr_t)makes(arg); }

static void finish(int fd[2])
{
    if (fd[0] >= 0)
        OK(weft_close(fd[0]));
    if (fd[1] >= 0)
        OK(weft_close(fd[1]));
}

static void deadlines(enum call call)
{
    int64_t before, due, past = weft_now() - 1;
    int fd[2];
    prepare(call, fd);
    for (int i = 0; i < 3; i++) {
        EQ(make(call, fd[0], i == 0 ? WEFT_NOW : i == 1 ? past : INT64_MIN), -ETIMEDOUT);
        due = weft_after(i * 7 * WEFT_MSEC);
        EQ(make(call, fd[0], due), call == CONNECT ? -EALREADY + 0 : -ETIMEDOUT);
        TRUE(call == CONNECT || weft_now() >= due);
        if (call == CONNECT) {                  /* a handshake is going on there: another socket */
            finish(fd);
            prepare(call, fd);
            due = weft_after(i * 7 * WEFT_MSEC);
            EQ(make(call, fd[0], due), -ETIMEDOUT);
            TRUE(weft_now() >= due);
            finish(fd);
            prepare(call, fd);
        }
    }
    due = in_ms(10);
    before = weft_deadline(due);                /* ambient: the smaller wins */
    EQ(make(call, fd[0], WEFT_FOREVER), -ETIMEDOUT);
    TRUE(weft_now() >= due);
    weft_deadline_restore(before);
    finish(fd);
    prepare(call, fd);
    (void)weft_nosuspend(1);
    EQ(make(call, fd[0], WEFT_FOREVER), -EDEADLK);
    (void)weft_nosuspend(0);
    finish(fd);
}

/* ---- in fibers ----------------------------------------------------------------------------------------------------------- */

static int64_t table(void *arg)
{
    (void)arg;
    full_queue();
    for (enum call call = 0; call < CALLS; call++) {
        deadlines(call);
        for (int round = 0; round < 8; round++) {
            struct cell c = { call, -1, round % 2 ? WEFT_FOREVER : in_ms(30000) };
            int fd[2], n = call == CONNECT ? 1 : 1 + round % 3;
            weft_t t[3];
            prepare(call, fd);
            c.fd = fd[0];
            atomic_store(&in, 0);
            for (int i = 0; i < n; i++)
                t[i] = spawned(makes, &c);
            if (round % 4) {
                UNTIL(atomic_load(&in) == n);
                settle(round / 2);
            }
            if (round < 4) {                    /* cancelled, while it waits or before */
                for (int i = 0; i < n; i++)
                    OK(weft_cancel(t[i]));
                for (int i = 0; i < n; i++)
                    EQ(joined(t[i]), -ECANCELED);
            } else {                            /* closed */
                UNTIL(atomic_load(&in) == n);
                OK(weft_close(fd[0]));
                for (int i = 0; i < n; i++)
                    EQ(joined(t[i]), -EBADF);
                EQ(make(call, fd[0], WEFT_FOREVER), -EBADF);
                fd[0] = -1;
            }
            finish(fd);
        }
        if (call != CONNECT) {
            struct cell c = { call, -1, WEFT_FOREVER };
            int fd[2];
            weft_t t;
            prepare(call, fd);
            c.fd = fd[0];
            t = spawned(makes_cancelled, &c);
            OK(weft_cancel(t));
            EQ(joined(t), 0);
            finish(fd);
        }
    }
    full_queue_gone();
    return 0;
}

static int64_t table_counted(void *arg)
{
    int before = count_fds();
    EQ(table(arg), 0);
    EQ(count_fds(), before);
    return 0;
}

Test(io_contract, in_fibers) { run_each(table_counted); }

/* ---- outside ------------------------------------------------------------------------------------------------------------- */

static void table_outside(void)
{
    int before = count_fds();
    full_queue();
    for (enum call call = 0; call < CALLS; call++) {
        deadlines(call);
        for (int round = 0; round < 6; round++) {
            struct cell c = { call, -1, round % 2 ? WEFT_FOREVER : in_ms(30000) };
            pthread_t t[2];
            int fd[2], n = call == CONNECT ? 1 : 1 + round % 2;
            prepare(call, fd);
            c.fd = fd[0];
            atomic_store(&in, 0);
            for (int i = 0; i < n; i++)
                thread_start(&t[i], makes_thread, &c);
            UNTIL(atomic_load(&in) == n);
            settle(round);
            OK(weft_close(fd[0]));
            for (int i = 0; i < n; i++) {
                void *r;
                OK(pthread_join(t[i], &r));
                EQ((intptr_t)r, -EBADF);
            }
            fd[0] = -1;
            finish(fd);
        }
    }
    full_queue_gone();
    EQ(count_fds(), before);
}

static int64_t forever(void *arg) { (void)arg; return weft_sleep(WEFT_FOREVER); }

static int64_t spawn_forever(void *arg)
{
    (void)arg;
    OK(weft_detach(spawned(forever, NULL)));
    return 0;
}

Test(io_contract, outside)
{
    weft_rt *rt;
    table_outside();                            /* without any runtime, */
    OK(weft_start(&rt, NULL));
    OK(weft_call(rt, spawn_forever, NULL, NULL, WEFT_FOREVER));
    table_outside();                            /* beside one */
    OK(weft_stop(rt, WEFT_FOREVER));
    table_outside();                            /* and after it */
}

static void *echoes(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char b[1000];
    for (int i = 0; i < 200; i++) {
        OK(weft_read_full(fd, b, sizeof b, NULL, WEFT_FOREVER));
        TRUE(same(b, 7, (uint64_t)i, sizeof b));
        OK(weft_write_full(fd, b, sizeof b, NULL, WEFT_FOREVER));
    }
    return NULL;
}

static int64_t talks(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char b[1000];
    for (int i = 0; i < 200; i++) {
        fill(b, 7, (uint64_t)i, sizeof b);
        OK(weft_write_full(fd, b, sizeof b, NULL, WEFT_FOREVER));
        memset(b, 0, sizeof b);
        OK(weft_read_full(fd, b, sizeof b, NULL, WEFT_FOREVER));
        TRUE(same(b, 7, (uint64_t)i, sizeof b));
    }
    return 0;
}

static int64_t thread_and_fiber(void *arg)
{
    int fd[2];
    pthread_t t;
    weft_t f;
    (void)arg;
    wire_pair(UNIX, fd);
    thread_start(&t, echoes, (void *)(intptr_t)fd[0]);
    f = spawned(talks, (void *)(intptr_t)fd[1]);
    EQ(joined(f), 0);
    thread_join(t);
    OK(weft_close(fd[0]));
    OK(weft_close(fd[1]));
    return 0;
}

Test(io_contract, a_thread_talks_to_a_fiber) { run_each(thread_and_fiber); }

/* Two runtimes know one descriptor. */
static int64_t one_byte(void *arg)
{
    char c;
    atomic_fetch_add(&in, 1);
    EQ(weft_read((int)(intptr_t)arg, &c, 1, WEFT_FOREVER), 1);
    return 0;
}

static void *one_byte_elsewhere(void *arg)
{
    weft_rt *rt;
    struct weft_opts o = { .workers = 1 };
    OK(weft_start(&rt, &o));
    OK(weft_call(rt, one_byte, arg, NULL, WEFT_FOREVER));
    OK(weft_stop(rt, WEFT_FOREVER));
    return NULL;
}

static int64_t two_runtimes(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        pthread_t p;
        weft_t t;
        int fd[2];
        wire_pair(i % WIRES, fd);
        atomic_store(&in, 0);
        t = spawned(one_byte, (void *)(intptr_t)fd[0]);
        thread_start(&p, one_byte_elsewhere, (void *)(intptr_t)fd[0]);
        UNTIL(atomic_load(&in) == 2);
        settle(i % 3);
        EQ(weft_write(fd[1], "ab", 2, WEFT_FOREVER), 2);
        EQ(joined(t), 0);
        thread_join(p);
        OK(weft_close(fd[0]));
        OK(weft_close(fd[1]));
    }
    return 0;
}

Test(io_contract, two_runtimes_share_one) { run_with(2, two_runtimes); }

/* ---- stop ---------------------------------------------------------------------------------------------------------------- */

static int64_t waits_until_stopped(void *arg)
{
    struct cell *c = arg;
    atomic_fetch_add(&in, 1);
    EQ(make(c->call, c->fd, WEFT_FOREVER), -ECANCELED);
    return 0;
}

static struct cell cells[CALLS * 3];

static int64_t spawn_cells(void *arg)
{
    (void)arg;
    for (int i = 0; i < CALLS * 3; i++)
        if (cells[i].call != CONNECT)
            OK(weft_detach(spawned(waits_until_stopped, &cells[i])));
    return 0;
}

Test(io_contract, stop)
{
    int fd[CALLS][2], before = count_fds();
    for (enum call call = 0; call < CALLS; call++)
        prepare(call, fd[call]);
    for (int i = 0; i < CALLS * 3; i++)
        cells[i] = (struct cell){ i % CALLS, fd[i % CALLS][0], WEFT_FOREVER };
    for (int round = 0; round < 10; round++) {
        weft_rt *rt;
        atomic_store(&in, 0);
        OK(weft_start(&rt, NULL));
        OK(weft_call(rt, spawn_cells, NULL, NULL, WEFT_FOREVER));
        UNTIL(atomic_load(&in) == (CALLS - 1) * 3);
        settle(round % 3);
        OK(weft_stop(rt, in_ms(20000)));
    }
    for (enum call call = 0; call < CALLS; call++)
        finish(fd[call]);
    EQ(count_fds(), before);
}

/* ---- numbers used again -------------------------------------------------------------------------------------------------- */

/* Readers of a number that is closed under them and taken by another pair at once. Each file has a byte of its own, of which it
 * gets few: whoever reads another's byte, or misses its own, is found. */
enum { READERS = 6 };

static struct { int number; unsigned char own; atomic_int taken; } life;

static int64_t reads_own(void *arg)
{
    unsigned char own = (unsigned char)(intptr_t)arg, c = 0;
    int64_t r;
    atomic_fetch_add(&in, 1);
    for (;;) {
        r = weft_read(life.number, &c, 1, in_ms(30000));
        if (r != 1)
            break;
        EQ(c, own);
        atomic_fetch_add(&life.taken, 1);
        r = weft_fd_wait(life.number, POLLIN, in_ms(30000));
        if (r < 0)
            break;
    }
    EQ(r, -EBADF);
    return 0;
}

static int64_t storm(void *arg)
{
    uint64_t state = random_stream(4);
    int pair[2], next[2];
    (void)arg;
    OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    life.number = pair[0];
    for (int round = 0; round < 1500; round++) {
        int n = 1 + (int)random_below(&state, READERS), sent = (int)random_below(&state, 4);
        weft_t t[READERS];
        char b[4];
        life.own = (unsigned char)(round % 251);
        atomic_store(&life.taken, 0);
        atomic_store(&in, 0);
        for (int i = 0; i < n; i++)
            t[i] = spawned(reads_own, (void *)(intptr_t)life.own);
        if (random_below(&state, 2))
            UNTIL(atomic_load(&in) == n);
        memset(b, life.own, sizeof b);
        if (sent)
            EQ(weft_write(pair[1], b, (size_t)sent, WEFT_FOREVER), sent);
        UNTIL(atomic_load(&in) == n);           /* a call that begins later may well mean the next file */
        if (random_below(&state, 2))
            UNTIL(atomic_load(&life.taken) == sent);
        /* some are between two calls: nobody has the number until all have ended */
        OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, next));
        OK(weft_close(life.number));
        for (int i = 0; i < n; i++)
            EQ(joined(t[i]), 0);
        EQ(dup3(next[0], life.number, O_CLOEXEC), life.number);
        close(next[0]);
        close(pair[1]);
        pair[1] = next[1];
    }
    OK(weft_close(life.number));
    close(pair[1]);
    return 0;
}

Test(io_contract, close_storm) { seed_print(); run_each(storm); }

static int parked_readers(int fd)
{
    struct fdcell *c = fdcell_get(fd);
    uint32_t state = word_lock(&c->word);
    int n = 0;
    for (struct wait_node *w = c->queue[0].head; w; w = w->next)
        n++;
    word_unlock(&c->word, state);
    return n;
}

/* Readers that are woken while their number gets its next life, in which a byte lies ready for whoever takes it for his own. */
static int64_t reads_once(void *arg)
{
    unsigned char c = 0;
    int64_t r = weft_read(life.number, &c, 1, in_ms(30000));
    TRUE(r == -EBADF || (r == 1 && c == (unsigned char)(intptr_t)arg));
    return r;
}

static int64_t reuse_storm(void *arg)
{
    uint64_t state = random_stream(5);
    int pair[2];
    (void)arg;
    OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    life.number = pair[0];
    for (int round = 0; round < 3000; round++) {
        int n = 1 + (int)random_below(&state, READERS), next[2];
        unsigned char own = (unsigned char)(round % 251), other = (unsigned char)(own + 1), c;
        weft_t t[READERS];
        for (int i = 0; i < n; i++)
            t[i] = spawned(reads_once, (void *)(intptr_t)own);
        UNTIL(parked_readers(life.number) == n);        /* all are in their calls, for certain */
        OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, next));
        EQ(send(next[1], &other, 1, 0), 1);
        for (uint64_t k = random_below(&state, 3); k > 0; k--)
            EQ(send(pair[1], &own, 1, 0), 1);
        for (uint64_t k = random_below(&state, 3) * random_below(&state, 3000); k > 0; k--)
            cpu_relax();
        OK(weft_close(life.number));
        EQ(dup3(next[0], life.number, O_CLOEXEC), life.number);
        close(next[0]);
        if (random_below(&state, 2)) {
            EQ(weft_read(life.number, &c, 1, in_ms(30000)), 1);
            EQ(c, other);
        }
        for (int i = 0; i < n; i++)
            TRUE(joined(t[i]) != 0);
        close(pair[1]);
        pair[1] = next[1];
        OK(weft_close(life.number));            /* a life in between, with nobody in it */
        close(pair[1]);
        OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, next));
        if (next[0] != life.number) {
            EQ(dup3(next[0], life.number, O_CLOEXEC), life.number);
            close(next[0]);
        }
        pair[1] = next[1];
    }
    OK(weft_close(life.number));
    close(pair[1]);
    return 0;
}

Test(io_contract, reuse_storm) { seed_print(); run_each(reuse_storm); }

/* ---- a forked child ------------------------------------------------------------------------------------------------------ */

static int child(int rd, int wr, int other)
{
    char c;
    if (weft_read(rd, &c, 1, WEFT_FOREVER) != -ESTALE || weft_fd_wait(rd, POLLIN, WEFT_FOREVER) != -ESTALE)
        return 1;
    if (weft_read(rd, &c, 1, WEFT_NOW) != -ESTALE && weft_read(rd, &c, 1, WEFT_NOW) != -ETIMEDOUT)
        return 2;
    if (weft_write(other, "c", 1, WEFT_FOREVER) != 1)           /* what needs no wait works */
        return 3;
    if (weft_close(rd) != 0 || weft_close(rd) != -EBADF)
        return 4;
    return weft_close(wr) != 0;
}

static int64_t forks(void *arg)
{
    int fd[2], other[2], status;
    weft_t t;
    char c;
    (void)arg;
    wire_pair(UNIX, fd);
    wire_pair(UNIX, other);
    atomic_store(&in, 0);
    t = spawned(one_byte, (void *)(intptr_t)fd[0]);
    UNTIL(atomic_load(&in) == 1);
    settle(5);
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(fd[0], fd[1], other[1]));
    TRUE(pid > 0);
    EQ(waitpid(pid, &status, 0), pid);
    TRUE(WIFEXITED(status));
    EQ(WEXITSTATUS(status), 0);
    EQ(weft_read(other[0], &c, 1, in_ms(20000)), 1);
    EQ(weft_write(fd[1], "x", 1, WEFT_FOREVER), 1);             /* the child's close took nothing out of our set */
    EQ(joined(t), 0);
    for (int i = 0; i < 2; i++) {
        OK(weft_close(fd[i]));
        OK(weft_close(other[i]));
    }
    return 0;
}

Test(io_contract, a_forked_child) { run_with(2, forks); }

/* ---- errno --------------------------------------------------------------------------------------------------------------- */

Test(io_contract, errno_is_left_alone)
{
    int fd[2];
    char c;
    wire_pair(PIPE, fd);
    errno = 4242;
    EQ(weft_read(fd[0], &c, 1, WEFT_NOW), -ETIMEDOUT);
    EQ(weft_read(fd[0], &c, 1, in_ms(3)), -ETIMEDOUT);
    EQ(weft_read(-1, &c, 1, WEFT_FOREVER), -EBADF);
    EQ(weft_read(fd[1], &c, 1, WEFT_FOREVER), -EBADF);
    EQ(weft_accept(fd[0], NULL, NULL, WEFT_FOREVER), -ENOTSOCK);
    EQ(weft_connect(fd[0], (struct sockaddr *)&full_at, sizeof full_at, WEFT_FOREVER), -ENOTSOCK);
    EQ(weft_open("/nonexistent/x", O_RDONLY, 0, WEFT_FOREVER), -ENOENT);
    EQ(weft_listen("foo:bar", 1, 0), -EINVAL);
    EQ(weft_listen("unix:/nonexistent/x", 1, 0), -ENOENT);
    EQ(weft_close(fd[0]), 0);
    EQ(weft_write(fd[1], &c, 1, WEFT_FOREVER), -errno == -4242 ? -EPIPE : 0);
    EQ(weft_close(fd[1]), 0);
    EQ(weft_close(-1), -EBADF);
    EQ(errno, 4242);
}
