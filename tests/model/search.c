/* SPDX-License-Identifier: MIT */
#include "model/explorer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/run.h"

#define OUTCOMES 64

static struct {
    const char *only, *replay;
    int preemptions, stale;     /* 0 preemptions: what the test says */
    long random, pct;
    double seconds;
    uint64_t seed;
    bool mutant;
} option = { .stale = MODEL_NO_BOUND, .random = 20000, .pct = 20000, .seconds = 6 };

static struct { char text[64]; long count; } outcomes[OUTCOMES];
static unsigned noutcomes;
static int bound_running;       /* for a crash report */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* == outcomes ===================================================================================== */

static bool listed(const char *text)
{
    size_t n = strlen(text);
    for (const char *p = run.test->outcomes; (p = strstr(p, text)); p += n)
        if ((p == run.test->outcomes || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
            return true;
    return false;
}

static bool outcome_good(void)
{
    unsigned i = 0;
    while (i < noutcomes && strcmp(outcomes[i].text, run.outcome))
        i++;
    if (i == noutcomes && i < OUTCOMES)
        strcpy(outcomes[noutcomes++].text, run.outcome);
    if (i < OUTCOMES && listed(run.outcome)) {
        outcomes[i].count++;
        return true;
    }
    snprintf(run.failure, sizeof run.failure, "the outcome %s must not be", run.outcome);
    return false;
}

static bool outcomes_all_seen(void)
{
    bool good = true;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", run.test->outcomes);
    for (char *save, *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        unsigned i = 0;
        while (i < noutcomes && strcmp(outcomes[i].text, p))
            i++;
        if (i == noutcomes) {
            printf("%s FAILED: the outcome %s never came up\n", run.test->name, p);
            good = false;
        }
    }
    return good;
}

/* Is this run good? */
static bool run_good(int bound)
{
    bound_running = bound;
    switch (run_once(bound, option.stale)) {
    case RUN_ALL_ENDED:
        return !run.test->outcomes || outcome_good();
    case RUN_PRUNED:
        return true;
    case RUN_FAILED:
        break;
    }
    return false;
}

/* == replay ======================================================================================= */

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

static void replay_print(FILE *to, int bound)
{
    unsigned n = run.trail_len < run.depth ? run.trail_len : run.depth;
    while (n > 0 && run.trail[n - 1].taken == 0)
        n--;
    fprintf(to, "--test %s --replay %d.%d:", run.test->name, bound, option.stale);
    for (unsigned i = 0, same; i < n; i += same) {
        for (same = 1; i + same < n && run.trail[i + same].taken == run.trail[i].taken; same++)
            ;
        if (run.trail[i].taken < 36 && same < 8) {
            fputc(digits[run.trail[i].taken], to);
            same = 1;
        } else {
            fprintf(to, "(%u*%u)", run.trail[i].taken, same);
        }
    }
    fputc('\n', to);
}

static bool replay_parse(const char *s, int *bound)
{
    int used = 0;
    run.trail_len = 0;
    if (sscanf(s, "%d.%d:%n", bound, &option.stale, &used) != 2 || used == 0)
        return false;
    for (s += used; *s; ) {
        unsigned k = 0, same = 1;
        const char *d = strchr(digits, *s);
        if (d) {
            k = (unsigned)(d - digits);
            s++;
        } else if (sscanf(s, "(%u*%u)%n", &k, &same, &used) == 2) {
            s += used;
        } else {
            return false;
        }
        for (; same > 0 && run.trail_len < MODEL_TRAIL; same--, run.trail_len++)
            run.trail[run.trail_len] = (struct choice){ .taken = (uint8_t)k, .n = 255 };
    }
    return true;
}

static void on_crash(int sig)
{
    printf("%s: a crash, signal %d\n    ", run.test->name, sig);
    replay_print(stdout, bound_running);
    printf("%d passed, %d failed\n", option.mutant, !option.mutant);
    fflush(stdout);
    _exit(!option.mutant);
}

static void crashes_catch(void)
{
    static char stack[65536];
    stack_t alt = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction on = { .sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_RESETHAND };
    sigaltstack(&alt, NULL);
    sigaction(SIGSEGV, &on, NULL);
    sigaction(SIGBUS, &on, NULL);
    sigaction(SIGFPE, &on, NULL);
    sigaction(SIGILL, &on, NULL);
    sigaction(SIGABRT, &on, NULL);
}

/* The failed run once more, with its steps. */
static void report(int bound)
{
    char why[sizeof run.failure];
    memcpy(why, run.failure, sizeof why);
    printf("%s %s: %s\n    ", run.test->name, option.mutant ? "finds the fault" : "FAILED", why);
    replay_print(stdout, bound);
    fflush(stdout);
    if (option.mutant)
        return;
    run.mode = RUN_REPLAY;
    run.verbose = true;
    run_good(bound);
    run.verbose = false;
    if (strcmp(why, run.failure))
        printf("    but the replay says: %s\n", run.failure[0] ? run.failure : "nothing wrong");
}

/* == search ======================================================================================= */

/* Depth first: the next string of choices, or false when there is none. */
static bool trail_advance(void)
{
    while (run.trail_len > 0 && run.trail[run.trail_len - 1].taken + 1 >= run.trail[run.trail_len - 1].n)
        run.trail_len--;
    if (run.trail_len == 0)
        return false;
    run.trail[run.trail_len - 1].taken++;
    return true;
}

static bool search(int bound, double until, long *runs, bool *complete)
{
    run.mode = RUN_SEARCH;
    run.trail_len = 0;
    memo_reset();
    *complete = false;
    do {
        ++*runs;
        if (!run_good(bound))
            return false;
        if (*runs % 256 == 0 && cpu_seconds() > until)
            return true;
    } while (trail_advance());
    *complete = true;
    return true;
}

static bool wander(enum run_mode how, long runs, unsigned length, double until)
{
    for (long i = 0; i < runs; i++) {
        run.mode = how;
        run.trail_len = 0;
        run.pct_lowest = 0;
        run.pct_changes[0] = (unsigned)(run_draw() % length) + 1;
        run.pct_changes[1] = (unsigned)(run_draw() % length) + 1;
        if (!run_good(MODEL_NO_BOUND))
            return false;
        if (i % 256 == 255 && cpu_seconds() > until)
            break;
    }
    return true;
}

static bool test_run(void)
{
    int most = option.preemptions ? option.preemptions : run.test->preemptions ? run.test->preemptions : 3;
    double start = cpu_seconds(), until = start + option.seconds;
    long runs = 0;
    int done = -1;

    noutcomes = 0;
    run.rng = option.seed | 1;
    for (int bound = 1; bound <= most; bound++) {
        bool complete;
        if (!search(bound, until, &runs, &complete)) {
            report(bound);
            return false;
        }
        if (!complete)
            break;
        done = bound;
    }
    double searched = cpu_seconds();
    until = searched + option.seconds / 4;
    if (!wander(RUN_RANDOM, option.random, 1, until) || !wander(RUN_PCT, option.pct, 100, until)) {
        report(MODEL_NO_BOUND);
        return false;
    }
    printf("%-22s %8ld runs, %s", run.test->name, runs, done == most ? "complete" : "CUT SHORT");
    printf(" to %d preemptions, %.2f s; then random %.2f s", done, searched - start, cpu_seconds() - searched);
    if (run.test->outcomes)
        printf("; %u outcomes", noutcomes);
    printf("\n");
    return !run.test->outcomes || outcomes_all_seen();
}

static bool test_replay(void)
{
    int bound;
    if (!replay_parse(option.replay, &bound)) {
        printf("%s: not a replay string: %s\n", run.test->name, option.replay);
        return false;
    }
    run.mode = RUN_REPLAY;
    run.verbose = true;
    bool good = run_good(bound);
    printf("%s %s\n", run.test->name, good ? "passed" : run.failure);
    return good;
}

static void usage(const char *program)
{
    fprintf(stderr, "usage: %s [--test NAME] [--preempt N] [--stale N] [--seconds S] [--random N] [--pct N]\n"
            "       [--seed N] [--replay STRING] [--no-memo] [--mutant]\n"
            "--mutant: the program is built with a fault, good is when a test finds it\n", program);
    exit(2);
}

static void options_parse(int argc, char **argv)
{
    const char *env = getenv("WEFT_SEED");
    option.seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (!strcmp(name, "--no-memo")) {
            run.memo = false;
            continue;
        }
        if (!strcmp(name, "--mutant")) {
            option.mutant = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : NULL;
        if (!value)
            usage(argv[0]);
        else if (!strcmp(name, "--test"))
            option.only = value;
        else if (!strcmp(name, "--replay"))
            option.replay = value;
        else if (!strcmp(name, "--preempt"))
            option.preemptions = atoi(value);
        else if (!strcmp(name, "--stale"))
            option.stale = atoi(value);
        else if (!strcmp(name, "--seconds"))
            option.seconds = atof(value);
        else if (!strcmp(name, "--random"))
            option.random = atol(value);
        else if (!strcmp(name, "--pct"))
            option.pct = atol(value);
        else if (!strcmp(name, "--seed"))
            option.seed = strtoull(value, NULL, 0);
        else
            usage(argv[0]);
    }
}

int model_main(int argc, char **argv, const struct model_test *tests, size_t n)
{
    int passed = 0, failed = 0;

    run.memo = true;
    options_parse(argc, argv);
    if (!memo_init())
        return 1;
    run_boot();
    crashes_catch();
    printf("seed %llu\n", (unsigned long long)option.seed);
    for (size_t i = 0; i < n; i++) {
        run.test = &tests[i];
        if (option.only && strcmp(option.only, run.test->name))
            continue;
        for (run.threads = 0; run.test->thread[run.threads]; run.threads++)
            ;
        bool good = option.replay ? test_replay() : test_run();
        fflush(stdout);
        passed += good;
        failed += !good;
        if (failed && option.mutant)
            break;
    }
    if (option.mutant) {
        passed = failed;
        failed = !passed;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
