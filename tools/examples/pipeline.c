/* SPDX-License-Identifier: MIT */
/*
 * pipeline - the primes below a limit, counted by three stages that channels connect, with one deadline for all
 *
 *   cut --ranges--> test test test ... --counts--> sum
 *
 * The stages are members of a group that inherits the deadline: past it every wait in them answers -ETIMEDOUT, the first
 * such answer cancels the others (WEFT_FAILFAST), and the group's wait returns it. Nobody is left behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

enum { RANGE = 2000 };

struct range { int64_t from, to; };
struct line { int64_t limit, ms, primes, tested; weft_chan *ranges, *counts; };

static int64_t cut(void *arg)
{
    struct line *l = arg;
    int error = 0;
    for (int64_t from = 0; from < l->limit && !error; from += RANGE) {
        struct range r = {from, from + RANGE < l->limit ? from + RANGE : l->limit};
        error = weft_chan_send(l->ranges, &r, WEFT_FOREVER);
    }
    weft_chan_close(l->ranges);                 /* those that test see the end once it is drained */
    return error;
}

static int is_prime(int64_t n)
{
    for (int64_t d = 2; d * d <= n; d++)
        if (n % d == 0)
            return 0;
    return n > 1;
}

static int64_t test(void *arg)
{
    struct line *l = arg;
    struct range r;
    int error;
    while ((error = weft_chan_recv(l->ranges, &r, WEFT_FOREVER)) == 0) {
        int64_t primes = 0;
        for (int64_t n = r.from; n < r.to; n++)
            primes += is_prime(n);
        if ((error = weft_chan_send(l->counts, &primes, WEFT_FOREVER)) < 0)
            break;
    }
    return error == -EPIPE ? 0 : error;
}

static int64_t sum(void *arg)
{
    struct line *l = arg;
    for (int64_t left = (l->limit + RANGE - 1) / RANGE, primes; left; left--, l->tested++) {
        int error = weft_chan_recv(l->counts, &primes, WEFT_FOREVER);
        if (error < 0)
            return error;
        l->primes += primes;
    }
    return 0;
}

static int64_t run(void *arg)
{
    struct line *l = arg;
    struct weft_group group;
    int64_t member = weft_chan_open(&l->ranges, sizeof(struct range), 16);
    if (member < 0 || (member = weft_chan_open(&l->counts, sizeof(int64_t), 0)) < 0)
        return member;
    weft_group_init(&group, 0, WEFT_FAILFAST);
    int64_t before = weft_deadline(weft_after(l->ms * WEFT_MSEC));
    member = weft_group_spawn(&group, cut, l);
    for (int i = weft_workers(weft_current()); i > 0 && member > 0; i--)
        member = weft_group_spawn(&group, test, l);
    if (member > 0)
        member = weft_group_spawn(&group, sum, l);
    weft_deadline_restore(before);
    int error = member < 0 ? weft_group_close(&group) : weft_group_wait(&group, WEFT_FOREVER);
    weft_chan_unref(l->ranges);
    weft_chan_unref(l->counts);
    return member < 0 ? member : error;
}

static int number(const char *s, int64_t *n)
{
    char *end;
    *n = strtol(s, &end, 10);
    return *s && !*end && *n >= 0 && *n <= 1000000000;
}

int main(int argc, char **argv)
{
    struct line line = {.limit = 2000000, .ms = 60000};
    if (argc > 3 || (argc > 1 && !number(argv[1], &line.limit)) || (argc > 2 && !number(argv[2], &line.ms)))
        return fprintf(stderr, "usage: pipeline [LIMIT [MILLISECONDS]], the primes below LIMIT in that time\n"), 2;
    int64_t error = weft_run(run, &line, NULL);
    if (error == -ETIMEDOUT)
        fprintf(stderr, "pipeline: the deadline came, %" PRId64 " numbers tested\n", line.tested * RANGE);
    else if (error < 0)
        fprintf(stderr, "pipeline: %s\n", strerror((int)-error));
    else
        printf("%" PRId64 " primes below %" PRId64 "\n", line.primes, line.limit);
    return error < 0 || fflush(stdout);
}
