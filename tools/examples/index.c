/* SPDX-License-Identifier: MIT */
/*
 * index - an inverted index of a directory tree, built on all cores and served over HTTP
 *
 *   index.c    options, the report, what is measured and how
 *   index/     crawl: fibers that walk, read and count    words: the hash table    counts: sorted output
 *              serve: HTTP/1.1 server    query: its clients    text: complaints and strings
 *
 * Each phase is a runtime of its own (weft_run), so that its counters are the phase's.
 * The speed-up: one run fills the page cache; then runs with one worker and with all take turns, and the fastest of
 * each, which other programs disturbed least, are compared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <weft.h>

#include "index/counts.h"
#include "index/crawl.h"
#include "index/query.h"
#include "index/serve.h"
#include "index/text.h"

static const char *const usage =
    "usage: index [DIR]                   index DIR (/usr/include), measure, ask it over HTTP, report\n"
    "       index --counts [DIR]          print `count word` lines, sorted bytewise by word\n"
    "       index --serve ADDRESS [DIR]   serve /, /word/NAME and /stats over HTTP until Ctrl-C\n"
    "       index --help | --version\n"
    "\n"
    "ADDRESS is tcp:127.0.0.1:8080, tcp:[::1]:0 (any free port) or unix:/path. DIR may be a file.\n"
    "Words are C identifiers. WEFT_WORKERS=N in the environment sets the number of workers.\n"
    "Exit: 0 all went well; 1 something failed, or some files could not be read (each is named, the\n"
    "others are done); 2 the command line is wrong.\n";

/* ---- report ---- */

static int order(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static double quantile(int64_t *ns, size_t n, unsigned percent)         /* in seconds */
{
    qsort(ns, n, sizeof(*ns), order);
    return n ? (double)ns[(n - 1) * percent / 100] / 1e9 : 0;
}

static const char *thousands(uint64_t n)        /* 1,234,567; good until the fourth call after this one */
{
    static char texts[4][32];
    static unsigned turn;
    char *s = texts[turn++ % 4] + 31;
    for (unsigned digits = 0; n || !digits; n /= 10, digits++) {
        if (digits && digits % 3 == 0)
            *--s = ',';
        *--s = (char)('0' + n % 10);
    }
    return s;
}

static void report_workers(const char *phase, const struct weft_stats *s)
{
    printf("\n  %-10s    run  steal   park      steals    wake-ups\n", phase);
    for (unsigned i = 0; i < s->workers && i < WEFT_STATS_WORKERS; i++) {
        const struct weft_worker_stats *w = &s->worker[i];
        double percent = (double)(w->run_ns + w->search_ns + w->park_ns) / 100 + 1e-9;
        printf("  worker %-3u   %3.0f %%  %3.0f %%  %3.0f %%  %10s  %10s\n", i, (double)w->run_ns / percent,
               (double)w->search_ns / percent, (double)w->park_ns / percent, thousands(w->stolen), thousands(w->woken));
    }
}

static void report(const struct index *x, struct bench *b, double one, double all, unsigned rounds)
{
    double mb = (double)x->bytes / 1e6;
    bool bold = isatty(1) && !getenv("NO_COLOR");
    printf("%sweft index of %s%s\n\n", bold ? "\033[1m" : "", x->root, bold ? "\033[m" : "");
    printf("  files       %s", thousands(x->read));
    if (x->unreadable)
        printf(", %s could not be read", thousands(x->unreadable));
    printf("\n  bytes       %s\n", thousands(x->bytes));
    printf("  tokens      %s, %s different\n", thousands(x->tokens), thousands(x->words));
    printf("  counted     in %.3f s, %.0f MB/s, %u worker%s\n", all, mb / all, x->workers, x->workers > 1 ? "s" : "");
    if (x->workers > 1)
        printf("  speed-up    %.2f over one worker: %.3f s, %.0f MB/s (best of %u each)\n", one / all, one, mb / one,
               rounds);
    else
        printf("  speed-up    n/a with one worker\n");
    printf("  queries     %s by %d clients, %s/s", thousands(b->done), CLIENTS,
           thousands((uint64_t)((double)b->done * 1e9 / (double)b->ns)));
    if (b->failed)
        printf(", %s failed", thousands(b->failed));
    printf("\n  latency     p50 %.3f ms, p99 %.3f ms\n", quantile(b->latency, b->done, 50) * 1e3,
           quantile(b->latency, b->done, 99) * 1e3);
    report_workers("counting", &x->stats);
    report_workers("serving", &b->stats);
}

/* ---- runs ---- */

static void run(weft_fn fn, void *arg)
{
    int64_t error = weft_run(fn, arg, NULL);
    if (error == -EINVAL)                       /* of WEFT_WORKERS, and said so */
        exit(1);
    if (error < 0)
        die("the runtime cannot start", error);
}

/* With one worker. WEFT_WORKERS wins over the options, so one is asked for in the same way. */
static void run_one(weft_fn fn, void *arg)
{
    const char *set = getenv("WEFT_WORKERS");
    char *old = set ? need(strdup(set)) : NULL;
    setenv("WEFT_WORKERS", "1", 1);
    run(fn, arg);
    if (old)
        setenv("WEFT_WORKERS", old, 1);
    else
        unsetenv("WEFT_WORKERS");
    free(old);
}

static int measure(struct index *x)
{
    int64_t one = INT64_MAX, all = INT64_MAX, enough = weft_after(20 * WEFT_SEC);
    unsigned rounds = 0;
    run(index_build, x);
    if (!x->read && x->unreadable)
        return 1;
    do {
        struct index single = {.root = x->root, .places = true, .quiet = true}, again = single;
        if (x->workers > 1)
            run_one(index_build, &single);
        one = single.ns < one ? single.ns : one;
        index_free(&single);
        index_free(x);
        *x = again;
        run(index_build, x);
        all = x->ns < all ? x->ns : all;
    } while (++rounds < (all < WEFT_SEC / 4 ? 5 : 3) && weft_now() < enough);
    struct bench *b = need(calloc(1, sizeof(*b)));
    b->server.index = x;
    run(bench_run, b);
    report(x, b, (double)one / 1e9, (double)all / 1e9, rounds);
    int code = b->failed || x->unreadable;
    free(b);
    return code;
}

static int64_t count_words(void *arg)           /* the main fiber of --counts */
{
    index_build(arg);
    counts_print(arg);
    return 0;
}

struct service { struct index *index; struct server server; const char *address; sigset_t signals; };

static void announce(const struct service *s)
{
    struct sockaddr_in6 at = {0};               /* the port is where IPv4 has it */
    socklen_t len = sizeof(at);
    const char *colon = strrchr(s->address, ':');
    getsockname(s->server.listener, (struct sockaddr *)&at, &len);
    if (at.sin6_family == AF_UNIX)
        printf("index: serving %s words at %s\n", thousands(s->index->words), s->address);
    else
        printf("index: serving %s words at http://%.*s:%d/\n", thousands(s->index->words),
               (int)(colon - s->address - 4), s->address + 4, ntohs(at.sin6_port));
    if (fflush(stdout))
        die("cannot write to standard output", -errno);
}

static int64_t serve_until_signal(void *arg)    /* the main fiber of --serve */
{
    struct service *s = arg;
    struct signalfd_siginfo got;
    index_build(s->index);
    int fd = signalfd(-1, &s->signals, SFD_CLOEXEC);
    int error = fd < 0 ? -errno : server_start(&s->server);
    if (error < 0)
        die("cannot serve", error);
    announce(s);
    weft_read_full(fd, &got, sizeof(got), NULL, WEFT_FOREVER);
    pthread_sigmask(SIG_UNBLOCK, &s->signals, NULL);    /* a second one ends a stop that takes too long */
    server_stop(&s->server);
    weft_close(fd);
    return 0;
}

static int serve(struct index *x, const char *address)
{
    struct service s = {.index = x, .address = address, .server = {.index = x, .listener = weft_listen(address, 0, 0)}};
    if (s.server.listener == -EINVAL) {
        complain(address, "bad ADDRESS, not tcp:HOST:PORT (HOST in numbers) nor unix:/path");
        return 2;
    }
    if (s.server.listener < 0)
        die(address, s.server.listener);
    sigemptyset(&s.signals);
    sigaddset(&s.signals, SIGINT);
    sigaddset(&s.signals, SIGTERM);
    signal(SIGINT, SIG_DFL);                    /* shells start background jobs with SIGINT ignored */
    sigprocmask(SIG_BLOCK, &s.signals, NULL);   /* in all threads that will be: they are read from a descriptor */
    run(serve_until_signal, &s);
    if (!strncmp(address, "unix:", 5))
        unlink(address + 5);
    printf("index: stopped after %s requests\n", thousands(s.server.requests));
    return x->unreadable > 0;
}

/* ---- main ---- */

/* A standard descriptor that is closed would be taken by the next file opened, and our output go there. */
static void reserve_standard(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && (fd == 1 || open("/dev/null", O_RDWR) != fd))
            die("standard output is closed", 0);
}

static int finish(int code)
{
    if (fflush(stdout) || ferror(stdout))
        die("cannot write to standard output", -errno);
    return code;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"counts", no_argument, NULL, 'c'}, {"serve", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'v'}, {0},
    };
    const char *address = NULL;
    bool counts = false;
    reserve_standard();
    argv[0] = (char *)"index";
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'c': counts = true; break;
        case 's': address = optarg; break;
        case 'h': printf("%s", usage); return finish(0);
        case 'v': printf("index (weft %s)\n", weft_version()); return finish(0);
        default: return 2;                      /* getopt_long has said why */
        }
    }
    if (argc - optind > 1 || (counts && address)) {
        complain(counts && address ? "--counts or --serve, not both" : "more than one DIR", "see index --help");
        return 2;
    }
    struct index x = {.root = argc > optind ? argv[optind] : "/usr/include", .places = !counts};
    int code = 0;
    if (counts)
        run(count_words, &x);
    else
        code = address ? serve(&x, address) : measure(&x);
    code = finish(code || x.unreadable ? code ? code : 1 : 0);
    index_free(&x);
    return code;
}
