/* SPDX-License-Identifier: MIT */
/* counts - `count word` lines in the bytewise order of the words; see counts.c */
#ifndef INDEX_COUNTS_H
#define INDEX_COUNTS_H

#include "crawl.h"

void counts_print(const struct index *x);       /* in a fiber, to standard output; a failed write ends the program */

#endif
