/* SPDX-License-Identifier: MIT */
/* text - complaints, memory that is there or the end, and strings that grow */
#ifndef INDEX_TEXT_H
#define INDEX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text { char *at; size_t len, room; };

/* One line on stderr: "index: what: why". Control characters in it become question marks. why may be NULL. */
void complain(const char *what, const char *why);
_Noreturn void die(const char *what, int64_t error);    /* complain, exit 1; error is 0 or negative */
void *need(void *memory);                       /* it, or die for NULL */
void progress(const char *line);                /* draw it on stderr over the one before; NULL: wipe it */

char *text_room(struct text *t, size_t n);      /* the end of t, where n more bytes can be written */
void text_add(struct text *t, const char *s, size_t n);
__attribute__((format(printf, 2, 3))) void text_print(struct text *t, const char *format, ...);

#endif
