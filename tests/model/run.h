/* SPDX-License-Identifier: MIT */
/*
 * run - one execution of a model test, between the search and the threads
 *
 * Owns       the string of choices. search.c says where it starts, explorer.c takes from it and adds to it. A choice
 *            among one is none. MODEL_SEARCH adds zeros, the random modes draw, MODEL_REPLAY adds zeros and prints.
 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include "model/explorer.h"

#define MODEL_TRAIL 20000
#define MODEL_NO_BOUND 99

enum run_mode { RUN_SEARCH, RUN_RANDOM, RUN_PCT, RUN_REPLAY };
enum run_end { RUN_ALL_ENDED, RUN_PRUNED, RUN_FAILED };

struct choice { uint8_t taken, n; };

struct run {
    const struct model_test *test;
    unsigned threads;
    enum run_mode mode;
    bool memo, verbose;
    struct choice trail[MODEL_TRAIL];
    unsigned trail_len, depth;              /* depth: how many are taken */
    int preemptions_left, stale_left;
    unsigned steps;
    uint64_t rng;
    unsigned pct_changes[2];                /* steps at which PCT lowers the running thread */
    int pct_lowest;
    char failure[512], outcome[64];
};

extern struct run run;

void run_boot(void);                        /* once: the coroutines */
enum run_end run_once(int preemptions, int stale);
uint64_t run_draw(void);

/* States that the search has been in. */
bool memo_init(void);
void memo_reset(void);
bool memo_seen(uint64_t key, int left);     /* before, with at least as many preemptions left? */

#endif
