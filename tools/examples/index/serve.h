/* SPDX-License-Identifier: MIT */
/* serve - an index over HTTP/1.1; see serve.c */
#ifndef INDEX_SERVE_H
#define INDEX_SERVE_H

#include "crawl.h"

struct server {                                 /* zeroed but for the index and the listener */
    const struct index *index;
    int listener;
    struct weft_group connections;
    weft_t acceptor;
    int64_t since;
    struct weft_mutex lock;
    uint64_t requests;                          /* L: answered */
};

int server_start(struct server *s);             /* in a fiber; 0 or a negative errno */
void server_stop(struct server *s);             /* finish the answers under way, close everything */

#endif
