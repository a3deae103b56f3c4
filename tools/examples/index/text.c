/* SPDX-License-Identifier: MIT */
/*
 * text - complaints, memory that is there or the end, and strings that grow
 *
 * There is nobody to give memory back when it has run out: the program says so in one line and ends. It ends by _exit,
 * since other threads run on. A complaint is one write, so that lines of several threads do not mix.
 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weft.h>

/* jemalloc 5.3 crashes in a thread for which it can make no arena (under ulimit -v): all share the one of the start. */
extern const char *malloc_conf;
const char *malloc_conf __attribute__((visibility("default"))) = "narenas:1";

static struct weft_mutex lock;                  /* of drawn, and of the order on stderr */
static bool drawn;

void complain(const char *what, const char *why)
{
    char line[600] = "\r\033[K";
    const size_t wipe = strlen(line), room = sizeof(line) - wipe - 1;
    size_t n = (size_t)snprintf(line + wipe, room, "index: %s%s%s", what, why ? ": " : "", why ? why : "");
    n = n < room ? n : room - 1;
    for (size_t i = wipe; i < wipe + n; i++)
        line[i] = (unsigned char)line[i] < ' ' || line[i] == 127 ? '?' : line[i];
    line[wipe + n] = '\n';
    bool locked = weft_mutex_lock(&lock, WEFT_FOREVER) == 0;
    size_t skip = drawn ? 0 : wipe;
    ssize_t ignored = write(2, line + skip, wipe + n + 1 - skip);
    (void)ignored;                              /* there is no other place to say it */
    drawn = false;
    if (locked)
        weft_mutex_unlock(&lock);
}

void progress(const char *line)
{
    if (weft_mutex_lock(&lock, WEFT_FOREVER) < 0)
        return;
    if (line || drawn)
        dprintf(2, "\r%s\033[K", line ? line : "");
    drawn = line;
    weft_mutex_unlock(&lock);
}

void die(const char *what, int64_t error)
{
    complain(what, error ? strerror((int)-error) : NULL);
    _exit(1);
}

void *need(void *memory)
{
    if (!memory)
        die("out of memory", 0);
    return memory;
}

char *text_room(struct text *t, size_t n)
{
    if (t->room - t->len < n) {
        t->room = t->room * 2 > t->len + n ? t->room * 2 : t->len + n;
        t->at = need(realloc(t->at, t->room));
    }
    return t->at + t->len;
}

void text_add(struct text *t, const char *s, size_t n)
{
    if (n)
        memcpy(text_room(t, n), s, n);
    t->len += n;
}

void text_print(struct text *t, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    text_add(t, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}
