/* SPDX-License-Identifier: MIT */
/* wheel_test [operations] - the model comparison of 30_wheel.c without Criterion, for machines that have none. */
#include <stdio.h>
#include <stdlib.h>

#define FAIL(...) do { fprintf(stderr, __VA_ARGS__); fprintf(stderr, "\n0 passed, 1 failed\n"); exit(1); } while (0)
#include "tests/wheel_model.h"

int main(int argc, char **argv)
{
    const int64_t bases[] = { 0, (INT64_C(1) << 30) * 1000000 - INT64_C(5000000000), (INT64_C(1) << 31) * 1000000,
                              (INT64_C(1) << 32) * 1000000, INT64_C(12) * 365 * MODEL_DAY,
                              INT64_MAX - INT64_C(3600000000000), INT64_MIN };
    const char *s = getenv("WEFT_SEED");
    uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 0) : 40000, seed = s ? strtoull(s, NULL, 0) : 20240229;
    unsigned passed = 0;

    printf("WEFT_SEED=%" PRIu64 "\n", seed);
    for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
        for (unsigned most = 8; most <= 512; most *= 8) {
            struct model *m = model_new(seed + i, bases[i], most);
            model_run(m, operations, most == 64 ? 300 : 0);
            model_free(m);
            passed++;
        }
    printf("%u passed, 0 failed\n", passed);
    return 0;
}
