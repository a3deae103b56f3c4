/* SPDX-License-Identifier: MIT */
/* The I/O thread: a start that fails leaves nothing behind; it sleeps while there is nothing to do, and is woken once for much. */
#include <criterion/criterion.h>

#define FAIL(...) cr_assert_fail(__VA_ARGS__)
#include "tests/fibers.h"
#include "tests/wires.h"

static int64_t nothing(void *arg) { return (intptr_t)arg; }

/* With 0, 1, 2, ... descriptors to spare, up to the first number that will do. */
Test(reactor, too_few_descriptors)
{
    struct weft_opts o = { .workers = 2 };
    struct rlimit old, now;
    int64_t r = -EMFILE;
    int before, low, spare = 0;
    OK(weft_run(nothing, NULL, &o));            /* whatever is opened once */
    before = count_fds();
    OK(getrlimit(RLIMIT_NOFILE, &old));
    low = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(low);
    while (r < 0) {
        now = old;
        now.rlim_cur = (rlim_t)(low + spare);
        OK(setrlimit(RLIMIT_NOFILE, &now));
        r = weft_run(nothing, (void *)7, &o);
        OK(setrlimit(RLIMIT_NOFILE, &old));
        TRUE(r == 7 || r == -EMFILE);
        EQ(count_fds(), before);
        spare++;
    }
    TRUE(spare > 2);                            /* an epoll set and an eventfd at least */
}

static int64_t reads(void *arg)
{
    char c;
    EQ(weft_read((int)(intptr_t)arg, &c, 1, WEFT_FOREVER), 1);
    return 0;
}

enum { PAIRS = 100 };

static int64_t asleep(void *arg)
{
    int fd[PAIRS][2];
    weft_t t[PAIRS];
    struct weft_stats before, after;
    (void)arg;
    for (int i = 0; i < PAIRS; i++) {
        wire_pair(i % WIRES, fd[i]);
        t[i] = spawned(reads, (void *)(intptr_t)fd[i][0]);
    }
    settle(60);                                 /* the monitor goes to sleep, too */
    OK(weft_stats(weft_current(), &before, sizeof before));
    settle(200);
    OK(weft_stats(weft_current(), &after, sizeof after));
    TRUE(after.io_wakeups - before.io_wakeups <= 2);            /* our own sleep */
    EQ(after.io_events, before.io_events);
    for (int i = 0; i < PAIRS; i++)
        EQ(write(fd[i][1], "x", 1), 1);
    for (int i = 0; i < PAIRS; i++)
        EQ(joined(t[i]), 0);
    OK(weft_stats(weft_current(), &before, sizeof before));
    TRUE(before.io_events - after.io_events >= PAIRS);
    TRUE(before.io_events - after.io_events < PAIRS + PAIRS / 4);       /* one for each byte, hardly more */
    for (int i = 0; i < PAIRS; i++) {
        OK(weft_close(fd[i][0]));
        OK(weft_close(fd[i][1]));
    }
    return 0;
}

Test(reactor, asleep_with_a_hundred_readers) { run_each(asleep); }
