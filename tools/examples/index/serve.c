/* SPDX-License-Identifier: MIT */
/*
 * serve - an index over HTTP/1.1
 *
 *   GET /            what there is
 *   GET /word/NAME   {"word":NAME,"count":N,"files":[{"file":PATH,"count":N},...]}, sorted by path; 404: no such word
 *   GET /stats       counters of the index, the server and the workers
 *
 * One fiber accepts, one serves each connection: requests follow each other on it and may come in advance. HEAD is
 * known, bodies are not. A head is at most HEAD bytes; lines may end with LF alone. Errors are answered (400, 404,
 * 405, 408, 431, 505), and all but 404 end the connection, since what follows on it cannot be trusted. A whole head
 * must come within IDLE, a client must take an answer within PATIENCE. A stop cancels the fibers; they are shielded
 * while they answer, so that an answer begun is finished.
 */
#define _GNU_SOURCE
#include "serve.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "text.h"

enum { HEAD = 8192 };

#define IDLE (10 * WEFT_SEC)
#define PATIENCE (5 * WEFT_SEC)

struct connection { struct server *server; int fd; size_t have; char in[HEAD + 1]; };
struct request { char *target; bool head, keep; int status; };

/* ---- answers ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 431: return "Request Header Fields Too Large";
    case 505: return "HTTP Version Not Supported";
    default: return "Bad Request";
    }
}

/* Bytes of the valid UTF-8 sequence of several bytes at s, which ends with a NUL; 0 if it is none. */
static size_t utf8(const unsigned char *s)
{
    size_t n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return overlong || beyond ? 0 : n;
}

static void json_string(struct text *t, const char *s)  /* what is not UTF-8 becomes U+FFFD */
{
    text_add(t, "\"", 1);
    for (size_t n; *s; s += n) {
        unsigned char c = (unsigned char)*s;
        n = c < 128 ? 1 : utf8((const unsigned char *)s);
        if (c == '"' || c == '\\')
            text_print(t, "\\%c", c);
        else if (c < ' ' || c == 127)
            text_print(t, "\\u%04x", c);
        else if (n)
            text_add(t, s, n);
        else
            text_add(t, "\xef\xbf\xbd", 3), n = 1;
    }
    text_add(t, "\"", 1);
}

static int place_order(const void *left, const void *right, void *arg)
{
    const struct place *a = left, *b = right;
    char **files = arg;
    return a->file == b->file ? 0 : strcmp(files[a->file], files[b->file]);
}

static void answer_word(struct text *out, const struct index *x, const struct word *w)
{
    size_t n = 0, room = 1;
    for (const struct run *r = w->runs; r; r = r->next)
        room += r->used;
    struct place *at = need(malloc(room * sizeof(*at)));
    for (const struct run *r = w->runs; r; n += r->used, r = r->next)
        memcpy(at + n, r->at, r->used * sizeof(*at));
    at[n++] = w->last;
    qsort_r(at, n, sizeof(*at), place_order, x->files);
    text_print(out, "{\"word\":\"");
    text_add(out, w->text, w->len);
    text_print(out, "\",\"count\":%" PRIu64 ",\"files\":[", w->count);
    for (size_t i = 0, next; i < n; i = next) {
        uint64_t count = 0;
        for (next = i; next < n && at[next].file == at[i].file; next++)
            count += at[next].count;
        text_print(out, "%s{\"file\":", i ? "," : "");
        json_string(out, x->files[at[i].file]);
        text_print(out, ",\"count\":%" PRIu64 "}", count);
        weft_checkpoint();
    }
    text_print(out, "]}\n");
    free(at);
}

static uint64_t requests(struct server *s, unsigned more)
{
    weft_mutex_lock(&s->lock, WEFT_FOREVER);
    uint64_t n = s->requests += more;
    weft_mutex_unlock(&s->lock);
    return n;
}

static void answer_stats(struct text *out, struct server *s)
{
    const struct index *x = s->index;
    struct weft_stats *stats = need(malloc(sizeof(*stats)));
    weft_stats(weft_current(), stats, sizeof(*stats));
    text_print(out, "{\"files\":%" PRIu64 ",\"unreadable\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"tokens\":%" PRIu64
               ",\"words\":%zu,\"requests\":%" PRIu64 ",\"seconds\":%.3f,\"fibers\":%" PRIu64 ",\"workers\":[",
               x->read, x->unreadable, x->bytes, x->tokens, x->words, requests(s, 0),
               (double)(weft_now() - s->since) / 1e9, stats->fibers);
    for (unsigned i = 0; i < stats->workers && i < WEFT_STATS_WORKERS; i++) {
        const struct weft_worker_stats *w = &stats->worker[i];
        text_print(out, "%s{\"dispatched\":%" PRIu64 ",\"stolen\":%" PRIu64 ",\"parked\":%" PRIu64 ",\"woken\":%" PRIu64
                   ",\"run_ns\":%" PRIu64 ",\"search_ns\":%" PRIu64 ",\"park_ns\":%" PRIu64 "}", i ? "," : "",
                   w->dispatched, w->stolen, w->parked, w->woken, w->run_ns, w->search_ns, w->park_ns);
    }
    text_print(out, "]}\n");
    free(stats);
}

static int answer(struct text *body, struct server *s, const char *target)
{
    const struct index *x = s->index;
    if (!strcmp(target, "/")) {
        text_print(body, "weft index: %zu words in %" PRIu64 " files\n\n/word/NAME   how often it is in which files\n"
                   "/stats       counters of the index, the server, the workers\n", x->words, x->read);
    } else if (!strcmp(target, "/stats")) {
        answer_stats(body, s);
    } else {
        const char *name = target + strlen("/word/");
        const struct word *w = strncmp(target, "/word/", 6) ? NULL : words_find(x->parts, name, strlen(name));
        if (!w)
            return 404;
        answer_word(body, x, w);
    }
    return 200;
}

/* ---- requests ---- */

static bool percent_decode(char *s)             /* false: a bad escape, or a NUL */
{
    char *to = s;
    for (; *s; s++, to++) {
        *to = *s;
        if (*s != '%')
            continue;
        if (!isxdigit((unsigned char)s[1]) || !isxdigit((unsigned char)s[2]))
            return false;
        *to = (char)strtoul((char[]){s[1], s[2], 0}, NULL, 16);
        if (!*to)
            return false;
        s += 2;
    }
    *to = 0;
    return true;
}

static char *next_line(char **rest)             /* ended by LF or CR LF, which a NUL replaces */
{
    char *line = *rest, *end = strchr(line, '\n');
    *rest = end + 1;
    end[end > line && end[-1] == '\r' ? -1 : 0] = 0;
    return line;
}

/* Judge one field: false if it cannot be accepted. */
static bool field(char *line, unsigned *hosts, bool *keep)
{
    char *value = strchr(line, ':');
    if (!value || value == line || strcspn(line, " \t") < (size_t)(value - line))
        return false;
    *value++ = 0;
    value += strspn(value, " \t");
    value[strcspn(value, " \t,")] = 0;
    *hosts += !strcasecmp(line, "host");
    if (!strcasecmp(line, "connection") && !strcasecmp(value, "close"))
        *keep = false;
    return strcasecmp(line, "transfer-encoding") && (strcasecmp(line, "content-length") || !strcmp(value, "0"));
}

/* head is n bytes, its last line is empty, a NUL follows. The target stays in it. */
static struct request parse(char *head, size_t n)
{
    struct request bad = {.status = 400}, r = {.status = 200};
    unsigned hosts = 0;
    if (strlen(head) != n)
        return bad;
    char *rest = head, *line = next_line(&rest), *method = strsep(&line, " ");
    r.target = strsep(&line, " ");
    if (!line || strncmp(line, "HTTP/", 5) || strlen(line) != 8 || line[6] != '.')
        return bad;
    if (line[5] != '1')
        return (struct request){.status = 505};
    bool old = line[7] == '0';
    r.keep = !old;
    for (line = next_line(&rest); *line; line = next_line(&rest))
        if (!field(line, &hosts, &r.keep))
            return bad;
    r.head = !strcmp(method, "HEAD");
    r.target[strcspn(r.target, "?")] = 0;
    if (hosts > 1 || (!hosts && !old) || *r.target != '/' || !percent_decode(r.target))
        return bad;
    if (!r.head && strcmp(method, "GET"))
        return (struct request){.status = 405};
    return r;
}

static bool respond(struct connection *c, struct request r)     /* true: the connection goes on */
{
    struct text body = {0}, out = {0};
    if (r.status == 200)
        r.status = answer(&body, c->server, r.target);
    if (r.status != 200)
        text_print(&body, "{\"error\":\"%s\"}\n", reason(r.status));
    const char *type = r.status == 200 && !strcmp(r.target, "/") ? "text/plain" : "application/json";
    text_print(&out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n", r.status, reason(r.status), type);
    text_print(&out, "Content-Length: %zu\r\n%s%s\r\n", body.len, r.status == 405 ? "Allow: GET, HEAD\r\n" : "",
               r.keep ? "" : "Connection: close\r\n");
    if (!r.head)
        text_add(&out, body.at, body.len);
    requests(c->server, 1);
    int error = weft_write_full(c->fd, out.at, out.len, NULL, weft_after(PATIENCE));
    free(out.at);
    free(body.at);
    return error == 0 && r.keep;
}

/* The length of the next head, which c->in has in whole; 0: the client is gone; negative: the status due. */
static int read_head(struct connection *c)
{
    int64_t deadline = weft_after(IDLE);
    for (size_t start = 0;;) {                  /* of a line */
        char *end = memchr(c->in + start, '\n', c->have - start);
        if (end) {
            size_t n = (size_t)(end - c->in) - start;
            if (n == 0 || (n == 1 && c->in[start] == '\r'))
                return start ? (int)(start + n + 1) : -400;
            start += n + 1;
            continue;
        }
        if (c->have == HEAD)
            return -431;
        ssize_t n = weft_read(c->fd, c->in + c->have, HEAD - c->have, deadline);
        if (n <= 0)
            return !c->have || (n < 0 && n != -ETIMEDOUT) ? 0 : n < 0 ? -408 : -400;
        c->have += (size_t)n;
    }
}

static bool serve_one(struct connection *c, int n)      /* n as read_head */
{
    struct request r = {.status = -n};
    char next = 0;
    if (n > 0) {
        next = c->in[n];
        c->in[n] = 0;
        r = parse(c->in, (size_t)n);
    }
    int old = weft_shield(1);
    bool keep = respond(c, r);
    weft_shield(old);
    if (n > 0) {
        c->in[n] = next;
        c->have -= (size_t)n;
        memmove(c->in, c->in + n, c->have);
    }
    return keep;
}

static int64_t serve_connection(void *arg)
{
    struct connection *c = arg;
    int n;
    while ((n = read_head(c)) && serve_one(c, n))
        ;
    shutdown(c->fd, SHUT_WR);                   /* and read on for a moment: a reset could overtake the last answer */
    for (int64_t linger = weft_after(WEFT_SEC); n && weft_read(c->fd, c->in, HEAD, linger) > 0;)
        ;
    weft_close(c->fd);
    free(c);
    return 0;
}

/* ---- the server ---- */

static int64_t accept_all(void *arg)
{
    struct server *s = arg;
    for (;;) {
        int fd = weft_accept(s->listener, NULL, NULL, WEFT_FOREVER);
        if (fd == -ECANCELED || fd == -EBADF)
            return 0;
        if (fd < 0)                             /* a client that has left already */
            continue;
        struct connection *c = need(malloc(sizeof(*c)));
        c->server = s;
        c->fd = fd;
        c->have = 0;
        if (weft_group_spawn(&s->connections, serve_connection, c) < 0) {
            weft_close(fd);
            free(c);
        }
    }
}

int server_start(struct server *s)
{
    s->since = weft_now();
    weft_group_init(&s->connections, descriptors_left(), 0);
    s->acceptor = weft_spawn(accept_all, s);
    return s->acceptor < 0 ? (int)s->acceptor : 0;
}

void server_stop(struct server *s)
{
    weft_cancel(s->acceptor);
    weft_join(s->acceptor, NULL, WEFT_FOREVER);
    weft_close(s->listener);
    weft_group_close(&s->connections);
}
