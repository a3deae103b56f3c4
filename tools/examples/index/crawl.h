/* SPDX-License-Identifier: MIT */
/* crawl - count the words of all files of a tree, on all cores; see crawl.c */
#ifndef INDEX_CRAWL_H
#define INDEX_CRAWL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weft.h>

#include "words.h"

struct core;                                    /* one worker's own */

struct index {
    const char *root;                           /* the caller's: a directory or a file */
    bool places;                                /* the caller's: keep them; without, all words are in file 0 */
    bool quiet;                                 /* the caller's: do not name what cannot be read */

    struct part parts[PARTS];                   /* the result */
    char **files;                               /* L: their names, by number */
    uint32_t named;                             /* L: how many */
    uint64_t read, bytes;                       /* L: files read to the end, and what was in them */
    uint64_t unreadable;                        /* L: files and directories that could not be read */
    uint64_t tokens;
    size_t words;
    int64_t ns;                                 /* from the start to the result */
    struct weft_stats stats;                    /* at the end */

    struct weft_mutex lock;                     /* L: while the crawl is under way */
    struct core *cores;
    unsigned workers;
    struct weft_group crawl;
    struct weft_sem fibers, descriptors;        /* how many more the crawl may have */
};

int64_t index_build(void *index);               /* the main fiber of a runtime, or a part of it; 0 */
void index_free(struct index *x);               /* the runtime may have ended */

/* How many descriptors this program may have, less its own and the runtime's few: 1 or more. */
unsigned descriptors_left(void);

#endif
