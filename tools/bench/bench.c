/* SPDX-License-Identifier: MIT */
/*
 * bench - what weft's verbs cost; tools/bench/run sets it beside its peers
 *
 * Usage      bench NAME [--workers N] [--n N], bench --list. One line of result: name=.. workers=.. n=.. value=.. unit=..
 * Measures   wall time inside the main fiber divided by the operations done, on all workers together: starting the runtime is
 *            not in it, first use of memory is. mem_*: growth of the resident set divided by the fibers.
 * Fairness   peers/ does the same work with the same n; the programs know nothing of each other's tricks.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/weft.h"

#define BATCH 1000

static void WEFT_NORETURN fail(int64_t error, const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror((int)-error));
    _exit(1);
}

static int64_t must(int64_t result, const char *what)
{
    if (result < 0)
        fail(result, what);
    return result;
}

static void *must_alloc(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        fail(-ENOMEM, "calloc");
    return p;
}

/* ---- spawn and join ------------------------------------------------------------------------------------------------------ */

static int64_t noop(void *arg)
{
    (void)arg;
    return 0;
}

static void spawn_join(weft_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        ids[i] = must(weft_spawn(noop, NULL), "weft_spawn");
    for (int64_t i = 0; i < n; i++)
        must(weft_join(ids[i], NULL, WEFT_FOREVER), "weft_join");
}

static double spawn_batch(int64_t n)
{
    weft_t ids[BATCH];
    for (int64_t i = 0; i < n / BATCH; i++)
        spawn_join(ids, BATCH);
    return (double)(n / BATCH * BATCH);
}

static double spawn_all(int64_t n)
{
    weft_t *ids = must_alloc((size_t)n, sizeof *ids);
    spawn_join(ids, n);
    free(ids);
    return (double)n;
}

static void group_join(int64_t n)
{
    struct weft_group g = { 0 };
    for (int64_t i = 0; i < n; i++)
        must(weft_group_spawn(&g, noop, NULL), "weft_group_spawn");
    must(weft_group_wait(&g, WEFT_FOREVER), "weft_group_wait");
}

static double group_batch(int64_t n)
{
    for (int64_t i = 0; i < n / BATCH; i++)
        group_join(BATCH);
    return (double)(n / BATCH * BATCH);
}

static double group_all(int64_t n)
{
    group_join(n);
    return (double)n;
}

static int64_t fib_spawn(void *arg)
{
    int64_t n = (int64_t)(intptr_t)arg;
    if (n < 2)
        return n;
    int64_t a;
    weft_t f = must(weft_spawn(fib_spawn, (void *)(intptr_t)(n - 1)), "weft_spawn");
    int64_t b = fib_spawn((void *)(intptr_t)(n - 2));
    must(weft_join(f, &a, WEFT_FOREVER), "weft_join");
    return a + b;
}

/* fib(20), n times over. An operation is one call: 21,891 a tree, half of them fibers. */
static double fib(int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (fib_spawn((void *)(intptr_t)20) != 6765)
            fail(-EILSEQ, "fib");
    return (double)n * 21891;
}

/* ---- yield --------------------------------------------------------------------------------------------------------------- */

static int64_t yielder(void *arg)
{
    for (int64_t i = (int64_t)(intptr_t)arg; i > 0; i--)
        must(weft_yield(), "weft_yield");
    return 0;
}

static double yield(int64_t n, int64_t fibers)
{
    struct weft_group g = { 0 };
    for (int64_t i = 0; i < fibers; i++)
        must(weft_group_spawn(&g, yielder, (void *)(intptr_t)(n / fibers)), "weft_group_spawn");
    must(weft_group_wait(&g, WEFT_FOREVER), "weft_group_wait");
    return (double)(n / fibers * fibers);
}

static double yield_2(int64_t n) { return yield(n, 2); }
static double yield_100(int64_t n) { return yield(n, 100); }
static double yield_1000(int64_t n) { return yield(n, 1000); }
static double yield_10000(int64_t n) { return yield(n, 10000); }

/* ---- rendezvous ---------------------------------------------------------------------------------------------------------- */

static weft_chan *ping, *pong;

static int64_t echo(void *arg)
{
    (void)arg;
    for (int64_t v; weft_chan_recv(ping, &v, WEFT_FOREVER) == 0;)
        must(weft_chan_send(pong, &v, WEFT_FOREVER), "weft_chan_send");
    return weft_chan_close(pong);
}

/* An operation is one value passed on: half a round trip. */
static double pingpong(int64_t n)
{
    must(weft_chan_open(&ping, sizeof n, 0), "weft_chan_open");
    must(weft_chan_open(&pong, sizeof n, 0), "weft_chan_open");
    weft_t f = must(weft_spawn(echo, NULL), "weft_spawn");
    for (int64_t i = 0, v; i < n / 2; i++) {
        must(weft_chan_send(ping, &i, WEFT_FOREVER), "weft_chan_send");
        must(weft_chan_recv(pong, &v, WEFT_FOREVER), "weft_chan_recv");
    }
    must(weft_chan_close(ping), "weft_chan_close");
    must(weft_join(f, NULL, WEFT_FOREVER), "weft_join");
    weft_chan_unref(ping);
    weft_chan_unref(pong);
    return (double)(n / 2 * 2);
}

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

static struct weft_event never;

static int64_t park(void *arg)
{
    weft_wg_done(arg);
    return weft_event_wait(&never, WEFT_FOREVER);
}

static int64_t sleeper(void *arg)
{
    weft_wg_done(arg);
    return weft_sleep(weft_after(3600 * WEFT_SEC));
}

static double rss(void)
{
    long pages, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &pages, &resident) != 2)
        fail(-EIO, "/proc/self/statm");
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double memory(int64_t n, weft_fn wait)
{
    double before = rss();
    struct weft_wg started = { 0 };
    must(weft_wg_add(&started, (int)n), "weft_wg_add");
    for (int64_t i = 0; i < n; i++)
        must(weft_spawn(wait, &started), "weft_spawn");
    must(weft_wg_wait(&started, WEFT_FOREVER), "weft_wg_wait");
    must(weft_sleep(weft_after(100 * WEFT_MSEC)), "weft_sleep");
    return (rss() - before) / (double)n;
}

static double mem_parked(int64_t n) { return memory(n, park); }
static double mem_sleep(int64_t n) { return memory(n, sleeper); }

/* ---- one of them --------------------------------------------------------------------------------------------------------- */

static const struct bench {
    const char *name, *unit;
    int64_t n;
    double (*run)(int64_t n);           /* operations done; the bytes of one for unit bytes */
} benches[] = {
    { "spawn_batch", "ns", 1000000, spawn_batch },
    { "spawn_all", "ns", 1000000, spawn_all },
    { "group_batch", "ns", 1000000, group_batch },
    { "group_all", "ns", 1000000, group_all },
    { "yield_2", "ns", 5000000, yield_2 },
    { "yield_100", "ns", 5000000, yield_100 },
    { "yield_1000", "ns", 5000000, yield_1000 },
    { "yield_10000", "ns", 3000000, yield_10000 },
    { "pingpong", "ns", 1000000, pingpong },
    { "fib", "ns", 20, fib },
    { "mem_parked", "bytes", 100000, mem_parked },
    { "mem_sleep", "bytes", 100000, mem_sleep },
};

struct task {
    const struct bench *bench;
    unsigned workers;
    int64_t n;
};

/* Fibers of the memory benchmarks wait for ever, so the process ends here, in the main fiber. */
static int64_t measure(void *arg)
{
    const struct task *t = arg;
    int64_t start = weft_now();
    double value = t->bench->run(t->n);
    int64_t ns = weft_now() - start;
    if (!strcmp(t->bench->unit, "ns"))
        value = (double)ns / value;
    printf("name=%s workers=%d n=%" PRId64 " value=%.1f unit=%s\n", t->bench->name, weft_workers(weft_current()), t->n, value,
           t->bench->unit);
    fflush(stdout);
    _exit(0);
}

static int usage(void)
{
    fprintf(stderr, "usage: bench NAME [--workers N] [--n N] | bench --list\n");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
            printf("%s %" PRId64 " %s\n", benches[i].name, benches[i].n, benches[i].unit);
        return 0;
    }
    struct task t = { .workers = 1 };
    for (size_t i = 0; argc > 1 && i < sizeof benches / sizeof *benches; i++)
        if (!strcmp(argv[1], benches[i].name))
            t.bench = &benches[i];
    if (!t.bench || argc % 2)
        return usage();
    t.n = t.bench->n;
    for (int i = 2; i < argc; i += 2) {
        if (!strcmp(argv[i], "--workers"))
            t.workers = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--n"))
            t.n = strtoll(argv[i + 1], NULL, 10);
        else
            return usage();
    }
    if (!t.workers || t.n < 1)
        return usage();
    unsetenv("WEFT_WORKERS");           /* it would override --workers */
    struct weft_opts opts = { .size = sizeof opts, .workers = t.workers };
    must(weft_run(measure, &t, &opts), "weft_run");
    return 0;
}
