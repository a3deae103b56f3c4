/* SPDX-License-Identifier: MIT */
/*
 * scale - what many fibers cost, and that idle ones cost nothing
 *
 * Counts and ratios of the process itself: resident bytes, maps, wake-ups, context switches. No wall times.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/weft.h"

#if defined(__SANITIZE_ADDRESS__)
#define MANY 5000                               /* shadow memory and fake stacks: the bounds below are not for it */
#define JUDGE_MEMORY 0
#else
#define MANY 100000
#define JUDGE_MEMORY 1
#endif

static _Atomic long arrived;

static long resident(void)
{
    long size, rss = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%ld %ld", &size, &rss) != 2)
        rss = 0;
    if (f)
        fclose(f);
    return rss * sysconf(_SC_PAGESIZE);
}

static long maps(void)
{
    long n = 0;
    int c;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && (c = getc(f)) != EOF)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

/* Context switches of all threads, asked for and forced. */
static long switches(void)
{
    long sum = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char path[300], line[200];
        long n;
        FILE *f;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
                sum += n;
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return sum;
}

static int64_t sleeper(void *arg)
{
    (void)arg;
    atomic_fetch_add(&arrived, 1);
    return weft_sleep(weft_after(3600 * WEFT_SEC));
}

static void await(long n)
{
    while (atomic_load(&arrived) < n)
        cr_assert_eq(weft_sleep(weft_after(WEFT_MSEC)), 0);
}

static void end_all(weft_t *id, long n)
{
    for (long i = 0; i < n; i++)
        cr_assert_eq(weft_cancel(id[i]), 0);
    for (long i = 0; i < n; i++) {
        int64_t result = 0;
        cr_assert_eq(weft_join(id[i], &result, WEFT_FOREVER), 0);
        cr_assert_eq(result, -ECANCELED);
    }
}

static int64_t many_sleepers(void *arg)
{
    weft_t *id = malloc(MANY * sizeof *id);
    long before, mapped, each;
    (void)arg;
    for (long i = 0; i < MANY; i++)
        id[i] = -1;
    before = resident();
    mapped = maps();
    for (long i = 0; i < MANY; i++) {
        id[i] = weft_spawn(sleeper, NULL);
        cr_assert_gt(id[i], 0);
    }
    await(MANY);
    each = (resident() - before) / MANY;
    if (JUDGE_MEMORY) {
        cr_expect_leq(each, 4505, "%ld bytes a sleeping fiber", each);
        mapped = maps() - mapped;               /* the program's own and Criterion's are not counted */
        cr_expect_lt(mapped, 100, "%ld maps more", mapped);
    }
    end_all(id, MANY);
    if (JUDGE_MEMORY) {                         /* and the memory goes back: after a second, in some seconds */
        for (int i = 0; i < 100 && resident() > before + MANY * 400L; i++)
            cr_assert_eq(weft_sleep(weft_after(100 * WEFT_MSEC)), 0);
        cr_expect_leq(resident(), before + MANY * 400L, "%ld bytes are still there of a burst", resident() - before);
    }
    free(id);
    return 0;
}

Test(scale, a_sleeping_fiber_is_a_page_and_a_bit_and_no_map)
{
    cr_assert_eq(weft_run(many_sleepers, NULL, NULL), 0);
}

enum { SOCKETS = 1000, SLEEPERS = MANY / 10 };

static int64_t reader(void *arg)
{
    char c;
    atomic_fetch_add(&arrived, 1);
    return weft_read((int)(intptr_t)arg, &c, 1, WEFT_FOREVER);
}

static int64_t setting_up(void *arg)
{
    weft_t *id = arg;
    int pair[2];
    for (int i = 0; i < SOCKETS; i++) {
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        id[i] = weft_spawn(reader, (void *)(intptr_t)pair[0]);
        cr_assert_gt(id[i], 0);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        id[SOCKETS + i] = weft_spawn(sleeper, NULL);
        cr_assert_gt(id[SOCKETS + i], 0);
    }
    await(SOCKETS + SLEEPERS);
    return 0;
}

/* Observed from a plain thread, since a sleeping fiber would be a wake-up itself. */
Test(scale, idle_with_sockets_and_sleepers_wakes_nobody)
{
    static weft_t id[SOCKETS + SLEEPERS];
    struct weft_stats before, after;
    struct rlimit files = { 4096, 4096 };
    struct rusage used[2];
    weft_rt *rt;
    int64_t result;
    long parked, ns;
    setrlimit(RLIMIT_NOFILE, &files);
    cr_assert_eq(weft_start(&rt, NULL), 0);
    cr_assert_eq(weft_call(rt, setting_up, id, &result, WEFT_FOREVER), 0);
    poll(NULL, 0, 1500);                        /* the monitor falls asleep, the trimming is done */
    cr_assert_eq(weft_stats(rt, &before, sizeof before), 0);
    parked = switches();
    getrusage(RUSAGE_SELF, &used[0]);
    poll(NULL, 0, 2000);
    getrusage(RUSAGE_SELF, &used[1]);
    parked = switches() - parked;
    cr_assert_eq(weft_stats(rt, &after, sizeof after), 0);
    cr_expect_eq(after.io_wakeups - before.io_wakeups, 0, "the I/O thread woke up %lu times",
                 (unsigned long)(after.io_wakeups - before.io_wakeups));
    cr_expect_eq(after.all.dispatched, before.all.dispatched);
    cr_expect_leq(parked, 2, "%ld context switches, one or two of them by this thread", parked);
    ns = (used[1].ru_utime.tv_sec - used[0].ru_utime.tv_sec + used[1].ru_stime.tv_sec - used[0].ru_stime.tv_sec) * 1000000000L +
         (used[1].ru_utime.tv_usec - used[0].ru_utime.tv_usec + used[1].ru_stime.tv_usec - used[0].ru_stime.tv_usec) * 1000L;
    cr_expect_lt(ns, 2000000, "%ld ns of CPU in 2 s", ns);      /* 0.1 % */
    cr_assert_eq(weft_stop(rt, WEFT_FOREVER), 0);
}
