/* SPDX-License-Identifier: MIT */
/* fib - fork-join: a fiber for one half of every Fibonacci number, down to a cutoff; against the serial recursion */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

struct job { int64_t n, cutoff, serial, parallel, serial_ns, parallel_ns; int workers; };
struct fork { int64_t n, cutoff; };

static int64_t fib(int64_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static int64_t fork_fib(void *arg)
{
    struct fork me = *(struct fork *)arg, left = {me.n - 1, me.cutoff}, right = {me.n - 2, me.cutoff};
    int64_t sum = 0;
    if (me.n < 2 || me.n <= me.cutoff)
        return fib(me.n);
    weft_t child = weft_spawn(fork_fib, &left);
    int64_t here = fork_fib(&right);
    if (child < 0)                              /* no memory for a fiber: then do it here */
        return here + fork_fib(&left);
    weft_join(child, &sum, WEFT_FOREVER);
    return here + sum;
}

static int64_t compare(void *arg)
{
    struct job *job = arg;
    int64_t start = weft_now();
    job->serial = fib(job->n);
    job->serial_ns = weft_now() - start;
    start = weft_now();
    job->parallel = fork_fib(&(struct fork){job->n, job->cutoff});
    job->parallel_ns = weft_now() - start;
    job->workers = weft_workers(weft_current());
    return 0;
}

static int number(const char *s, int64_t *n)    /* 0..50 */
{
    char *end;
    *n = strtol(s, &end, 10);
    return *s && !*end && *n >= 0 && *n <= 50;
}

int main(int argc, char **argv)
{
    struct job job = {.n = 40, .cutoff = 20};
    if (argc > 3 || (argc > 1 && !number(argv[1], &job.n)) || (argc > 2 && !number(argv[2], &job.cutoff)))
        return fprintf(stderr, "usage: fib [N [CUTOFF]], both 0 to 50; no fibers for numbers up to CUTOFF\n"), 2;
    int64_t error = weft_run(compare, &job, NULL);
    if (error < 0)
        return fprintf(stderr, "fib: %s\n", strerror((int)-error)), 1;
    printf("fib(%" PRId64 ") = %" PRId64 "\n", job.n, job.parallel);
    printf("serial    %9.3f ms\n", (double)job.serial_ns / 1e6);
    printf("parallel  %9.3f ms on %d workers, %.2f times as fast\n", (double)job.parallel_ns / 1e6, job.workers,
           (double)job.serial_ns / (double)job.parallel_ns);
    return fflush(stdout) || job.serial != job.parallel;
}
