/* SPDX-License-Identifier: MIT */
/* timers_stress [operations] - the races of timers_race.h as a plain program, for TSAN. WEFT_SEED repeats a run. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#define FAIL(...) do { fprintf(stderr, __VA_ARGS__); fprintf(stderr, "\n0 passed, 1 failed\n"); exit(1); } while (0)
#include "tests/timers_race.h"

int main(int argc, char **argv)
{
    uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 0) : 100000, seed = race_seed();
    struct race *r = aligned_alloc(64, (sizeof(*r) + 63) / 64 * 64);
    unsigned failed = 0;

    for (unsigned threads = 1; threads <= 4; threads++)
        race_run(r, seed + threads, threads, operations / threads);
    free(r);
    if (wake_run(seed, operations) != operations) {
        fprintf(stderr, "a wake-up was lost\n");
        failed++;
    }
    printf("%u passed, %u failed\n", 5 - failed, failed);
    return failed != 0;
}
