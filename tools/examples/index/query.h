/* SPDX-License-Identifier: MIT */
/* query - clients that ask a served index for words and check the answers; see query.c */
#ifndef INDEX_QUERY_H
#define INDEX_QUERY_H

#include "serve.h"

enum { CLIENTS = 100, REQUESTS = 200 };         /* for each client */

struct bench {
    struct server server;                       /* its index is the caller's */
    int64_t latency[CLIENTS * REQUESTS];        /* ns, the first `done` */
    size_t done, failed;
    int64_t ns;
    struct weft_stats stats;
};

int64_t bench_run(void *bench);                 /* the main fiber of a runtime; 0 */

#endif
