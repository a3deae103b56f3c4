/* SPDX-License-Identifier: MIT */
/*
 * io_stress [rounds] - descriptors under pressure, as a plain program, for TSAN. WEFT_SEED repeats a run.
 *
 * churn      clients come, talk, half-close, reset or are cancelled in the middle; each byte that arrives is the right one
 * records    fibers of two runtimes and plain threads at both ends of one small pipe; each record arrives whole and once
 * reuse      a number gets life after life under readers, writers and lookers with deadlines and cancellations; nobody sees the
 *            bytes of another life
 * jobs       the blocking pool, with deadlines and cancellations; each job ran once if its answer was 0, else not at all
 */
#define _GNU_SOURCE
#define FAIL(...) do { fprintf(stderr, __VA_ARGS__); fprintf(stderr, "\n0 passed, 1 failed\n"); _exit(1); } while (0)
#include "tests/fibers.h"
#include "tests/wires.h"

static int rounds = 30;

/* ---- churn --------------------------------------------------------------------------------------------------------------- */

enum { CLIENTS = 40 };
static int lfd;
static struct sockaddr_in at;
static atomic_int talks_done;

static int64_t serves(void *arg)
{
    int fd = (int)(intptr_t)arg;
    unsigned char b[700];
    ssize_t n;
    while ((n = weft_read(fd, b, sizeof b, WEFT_FOREVER)) > 0)
        if (weft_write_full(fd, b, (size_t)n, NULL, WEFT_FOREVER) < 0)
            break;
    OK(weft_close(fd));
    return 0;
}

static int64_t accepts(void *arg)
{
    int fd;
    (void)arg;
    while ((fd = weft_accept(lfd, NULL, NULL, WEFT_FOREVER)) >= 0)
        OK(weft_detach(spawned(serves, (void *)(intptr_t)fd)));
    EQ(fd, -EBADF);
    return 0;
}

static int64_t talks(void *arg)
{
    uint64_t id = (uint64_t)(intptr_t)arg, state = random_stream(id), at_byte = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned char b[700];
    int64_t r = weft_connect(fd, (struct sockaddr *)&at, sizeof at, WEFT_FOREVER);
    for (int i = 0; i < 8 && r == 0; i++) {
        size_t n = 1 + random_below(&state, sizeof b), done = 0;
        fill(b, id, at_byte, n);
        if ((r = weft_write_full(fd, b, n, NULL, WEFT_FOREVER)) < 0)
            break;
        memset(b, 0, n);
        while (done < n && r >= 0) {            /* odd deadlines: nothing is lost around them */
            size_t more = 0;
            r = weft_read_full(fd, b + done, n - done, &more, weft_after((int64_t)random_below(&state, 300) * WEFT_USEC));
            done += more;
            if (r == -ETIMEDOUT)
                r = 0;
        }
        TRUE(r < 0 || same(b, id, at_byte, n));
        at_byte += n;
    }
    TRUE(r == 0 || r == -ECANCELED);
    if (random_below(&state, 3) == 0)
        reset(fd);
    else
        OK(weft_close(fd));
    if (r == 0)
        atomic_fetch_add(&talks_done, 1);
    return r;
}

static int64_t churn(void *arg)
{
    uint64_t state = random_stream(100);
    weft_t a[3];
    (void)arg;
    lfd = weft_listen("tcp:127.0.0.1:0", 0, 0);
    TRUE(lfd >= 0);
    socklen_t len = sizeof at;
    OK(getsockname(lfd, (struct sockaddr *)&at, &len));
    for (int i = 0; i < 3; i++)
        a[i] = spawned(accepts, NULL);
    for (int round = 0; round < rounds / 3 + 1; round++) {
        weft_t t[CLIENTS];
        int cancelled = 0, ended = 0;
        atomic_store(&talks_done, 0);
        for (int i = 0; i < CLIENTS; i++)
            t[i] = spawned(talks, (void *)(intptr_t)(round * CLIENTS + i));
        for (int i = 0; i < CLIENTS; i += 1 + (int)random_below(&state, 8)) {
            (void)weft_sleep(weft_after((int64_t)random_below(&state, 500) * WEFT_USEC));
            OK(weft_cancel(t[i]));
        }
        for (int i = 0; i < CLIENTS; i++) {
            int64_t r = joined(t[i]);
            cancelled += r == -ECANCELED;
            ended += r == 0;
        }
        EQ(cancelled + ended, CLIENTS);
        EQ(atomic_load(&talks_done), ended);
    }
    OK(weft_close(lfd));
    for (int i = 0; i < 3; i++)
        EQ(joined(a[i]), 0);
    return 0;
}

/* ---- records ------------------------------------------------------------------------------------------------------------- */

enum { RECORD = 64, ENDS = 6 };                 /* two of each kind: fibers here, fibers there, threads */
static int rd, wr, records;
static atomic_uchar *seen;

static int64_t writes_records(void *arg)
{
    uint32_t r[RECORD / 4];
    for (uint32_t i = 0; i < (uint32_t)records; i++) {
        for (uint32_t k = 0; k < RECORD / 4; k++)
            r[k] = (uint32_t)(intptr_t)arg * 1000003 + i * 17 + k;
        r[0] = (uint32_t)(intptr_t)arg;
        r[1] = i;
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
        TRUE(r[0] < ENDS && r[1] < (uint32_t)records);
        for (uint32_t k = 2; k < RECORD / 4; k++)
            EQ(r[k], r[0] * 1000003 + r[1] * 17 + k);
        EQ(atomic_fetch_add(&seen[r[0] * (uint32_t)records + r[1]], 1), 0);
    }
    EQ(n, 0);
    return 0;
}

static void *writes_thread(void *arg) { EQ(writes_records(arg), 0); return NULL; }
static void *reads_thread(void *arg) { EQ(reads_records(arg), 0); return NULL; }

static int64_t both(void *arg)                  /* two writers, then two readers: ids from arg on */
{
    weft_t t[4];
    for (int i = 0; i < 2; i++)
        t[i] = spawned(writes_records, (void *)((intptr_t)arg + i));
    for (int i = 2; i < 4; i++)
        t[i] = spawned(reads_records, NULL);
    EQ(joined(t[0]) + joined(t[1]), 0);
    if (arg) {                                  /* the other runtime's; here we wait until all have written */
        EQ(joined(t[2]) + joined(t[3]), 0);
        return 0;
    }
    while (fcntl(wr, F_GETFD) >= 0)
        settle(1);
    EQ(joined(t[2]) + joined(t[3]), 0);
    return 0;
}

static void *other_runtime(void *arg)
{
    struct weft_opts o = { .workers = 2 };
    EQ(weft_run(both, arg, &o), 0);
    return NULL;
}

static void *closes_when_written(void *arg)
{
    pthread_t *writers = arg;
    for (int i = 0; i < 2; i++)
        OK(pthread_join(writers[i], NULL));
    return NULL;
}

static void run_records(void)
{
    pthread_t writers[2], readers[2], here, there, last;
    int fd[2], missing;
    records = rounds * 10;
    seen = calloc((size_t)(ENDS * records), sizeof *seen);
    wire_pair(PIPE, fd);
    narrow(PIPE, fd);
    rd = fd[0];
    wr = fd[1];
    for (int i = 0; i < 2; i++) {
        thread_start(&writers[i], writes_thread, (void *)(intptr_t)(4 + i));
        thread_start(&readers[i], reads_thread, NULL);
    }
    thread_start(&here, other_runtime, NULL);
    thread_start(&there, other_runtime, (void *)2);
    thread_start(&last, closes_when_written, writers);
    do {                                        /* until every record is there, so that the end is seen by all */
        missing = 0;
        for (int i = 0; i < ENDS * records; i++)
            missing += !atomic_load(&seen[i]);
        poll(NULL, 0, 1);
    } while (missing);
    OK(pthread_join(last, NULL));
    OK(weft_close(wr));
    OK(pthread_join(here, NULL));
    OK(pthread_join(there, NULL));
    for (int i = 0; i < 2; i++)
        OK(pthread_join(readers[i], NULL));
    for (int i = 0; i < ENDS * records; i++)
        EQ(atomic_load(&seen[i]), 1);
    OK(weft_close(rd));
    free(seen);
}

/* ---- reuse --------------------------------------------------------------------------------------------------------------- */

enum { VISITORS = 8 };
static int number;
static atomic_int entered;

struct visitor { int kind; unsigned char own; uint64_t salt; };

static int64_t visits(void *arg)
{
    struct visitor *v = arg;
    uint64_t state = random_stream(v->salt);
    int64_t deadline = random_below(&state, 2) ? WEFT_FOREVER : weft_after((int64_t)random_below(&state, 800) * WEFT_USEC), r;
    unsigned char c = 0, much[5000];
    memset(much, v->own, sizeof much);
    atomic_fetch_add(&entered, 1);
    switch (v->kind) {
    case 0: r = weft_fd_wait(number, POLLIN | POLLOUT, deadline); break;
    case 1: r = weft_write(number, much, sizeof much, deadline); break;
    default: r = weft_read(number, &c, 1, deadline); break;
    }
    TRUE(r > 0 || r == -EBADF || r == -ETIMEDOUT || r == -ECANCELED);
    TRUE(v->kind < 2 || r <= 0 || c == v->own);
    return r;
}

static int64_t reuse(void *arg)
{
    uint64_t state = random_stream(200), salt = 1000;
    int pair[2];
    (void)arg;
    wire_pair(UNIX, pair);
    number = pair[0];
    for (int round = 0; round < rounds * 20; round++) {
        int n = 1 + (int)random_below(&state, VISITORS), next[2];
        unsigned char own = (unsigned char)(round % 251), c[64];
        struct visitor v[VISITORS];
        weft_t t[VISITORS];
        ssize_t k;
        atomic_store(&entered, 0);
        for (int i = 0; i < n; i++) {
            v[i] = (struct visitor){ (int)random_below(&state, 5), own, salt++ };
            t[i] = spawned(visits, &v[i]);
        }
        UNTIL(atomic_load(&entered) == n);
        memset(c, own, sizeof c);
        if (random_below(&state, 2))
            EQ(weft_write(pair[1], c, 3, WEFT_FOREVER), 3);
        if (random_below(&state, 3) == 0)
            OK(weft_cancel(t[random_below(&state, (uint64_t)n)]));
        wire_pair(UNIX, next);
        OK(weft_close(number));
        for (int i = 0; i < n; i++)
            (void)joined(t[i]);
        while ((k = weft_read(pair[1], c, sizeof c, in_ms(20000))) > 0)
            for (ssize_t i = 0; i < k; i++)
                EQ(c[i], own);
        EQ(k == -ECONNRESET ? 0 : k, 0);        /* unread bytes make a reset of the end */
        EQ(dup3(next[0], number, O_CLOEXEC), number);
        close(next[0]);
        close(pair[1]);
        pair[1] = next[1];
    }
    OK(weft_close(number));
    close(pair[1]);
    return 0;
}

/* ---- jobs ---------------------------------------------------------------------------------------------------------------- */

static int64_t job(void *arg)
{
    (*(int *)arg)++;                            /* ordered by the pool alone */
    return *(int *)arg;
}

static int64_t asks(void *arg)
{
    uint64_t state = random_stream((uint64_t)(intptr_t)arg);
    int wanted = 0, ran = 0;
    for (int i = 0; i < 20; i++) {
        int64_t r = 0, late = (int64_t)random_below(&state, 60) * WEFT_USEC;
        int answer = weft_blocking(job, &ran, &r, late ? weft_after(late) : WEFT_FOREVER);
        if (answer == 0)
            EQ(++wanted, r);
        else
            TRUE(answer == -ETIMEDOUT || answer == -ECANCELED);
        EQ(ran, wanted);
    }
    return 0;
}

static int64_t jobs(void *arg)
{
    uint64_t state = random_stream(300);
    (void)arg;
    for (int round = 0; round < rounds / 3 + 1; round++) {
        weft_t t[16];
        for (int i = 0; i < 16; i++)
            t[i] = spawned(asks, (void *)(intptr_t)(5000 + 16 * round + i));
        OK(weft_cancel(t[random_below(&state, 16)]));
        for (int i = 0; i < 16; i++)
            EQ(joined(t[i]), 0);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int before;
    if (argc > 1)
        rounds = atoi(argv[1]);
    seed_print();
    before = count_fds();
    run_with(4, churn);
    run_records();
    run_with(4, reuse);
    run_with(4, jobs);
    EQ(count_fds(), before);
    printf("4 passed, 0 failed\n");
    return 0;
}
