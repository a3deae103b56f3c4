/* SPDX-License-Identifier: MIT */
/*
 * query - clients that ask a served index for words and check the answers
 *
 * Each client is a fiber with a connection of its own, kept for all of its requests; every call on it has a deadline.
 * Fifteen of sixteen questions are for a word drawn from the index, whose count must come back; the others must get a
 * 404. How many clients are connected at one time is bounded by the descriptors, two for each: the server is here too.
 */
#define _GNU_SOURCE
#include "query.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define PATIENCE (5 * WEFT_SEC)

struct party {                                  /* all clients */
    struct bench *bench;
    struct sockaddr_in address;
    struct weft_sem connections;
};

struct client { struct party *party; uint64_t seed; size_t done; int64_t latency[REQUESTS]; };

static uint64_t draw(uint64_t *seed)            /* splitmix64, but for its finish */
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    return mix(*seed ^ *seed >> 30, UINT64_C(0xbf58476d1ce4e5b9));
}

/* A word that fits in a request, or NULL. */
static const struct word *draw_word(const struct index *x, uint64_t *seed)
{
    const struct part *p = &x->parts[draw(seed) % PARTS];
    size_t from = draw(seed) & p->mask;
    for (size_t i = 0; p->used && i <= p->mask; i++) {
        const struct word *w = p->slots[(from + i) & p->mask].word;
        if (w && w->len < 1000)
            return w;
    }
    return NULL;
}

/* Read one answer into `in`, ended by a NUL: where its body starts, or a negative errno. */
static ssize_t receive(int fd, struct text *in)
{
    size_t whole = SIZE_MAX, start = 0;
    for (in->len = 0; in->len < whole;) {
        text_room(in, 4096);
        ssize_t n = weft_read(fd, in->at + in->len, in->room - in->len - 1, weft_after(PATIENCE));
        if (n <= 0)
            return n ? n : -ECONNRESET;
        in->len += (size_t)n;
        in->at[in->len] = 0;
        const char *end = start ? NULL : strstr(in->at, "\r\n\r\n"), *length = strstr(in->at, "Content-Length: ");
        if (!end)
            continue;
        start = (size_t)(end + 4 - in->at);
        whole = start + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
    return in->len == whole ? (ssize_t)start : -EBADMSG;
}

/* Ask for the word, or for one that there is not, and check the answer: 0, or a negative errno. */
static int ask(int fd, struct text *in, const struct word *w)
{
    struct text out = {0};
    char expected[48];
    text_print(&out, "GET /word/");
    text_add(&out, w ? w->text : "not-a-word", w ? w->len : 10);
    text_print(&out, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int error = weft_write_full(fd, out.at, out.len, NULL, weft_after(PATIENCE));
    free(out.at);
    ssize_t body = error < 0 ? error : receive(fd, in);
    if (body < 0)
        return (int)body;
    snprintf(expected, sizeof(expected), "\",\"count\":%" PRIu64 ",", w ? w->count : 0);
    bool good = !strncmp(in->at, w ? "HTTP/1.1 200 " : "HTTP/1.1 404 ", 13) && (!w || strstr(in->at + body, expected));
    return good ? 0 : -EBADMSG;
}

static int64_t client(void *arg)
{
    struct client *c = arg;
    struct party *p = c->party;
    struct text in = {0};
    weft_sem_wait(&p->connections, WEFT_FOREVER);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr *address = (struct sockaddr *)&p->address;
    int error = fd < 0 ? -errno : weft_connect(fd, address, sizeof(p->address), weft_after(PATIENCE));
    while (!error && c->done < REQUESTS) {
        const struct word *w = c->done % 16 == 15 ? NULL : draw_word(p->bench->server.index, &c->seed);
        int64_t from = weft_now();
        error = ask(fd, &in, w);
        c->latency[c->done] = weft_now() - from;
        c->done += !error;
    }
    if (fd >= 0)
        weft_close(fd);
    weft_sem_post(&p->connections);
    free(in.at);
    return error;
}

int64_t bench_run(void *arg)
{
    struct bench *b = arg;
    struct party p = {.bench = b};
    struct client *clients = need(calloc(CLIENTS, sizeof(*clients)));
    struct weft_group group = {0};
    socklen_t len = sizeof(p.address);
    unsigned most = (descriptors_left() + 1) / 2;
    weft_sem_init(&p.connections, most < CLIENTS ? most : CLIENTS);
    b->server.listener = weft_listen("tcp:127.0.0.1:0", 0, 0);
    int error = b->server.listener < 0 ? b->server.listener : server_start(&b->server);
    if (error < 0)
        die("cannot serve on 127.0.0.1", error);
    getsockname(b->server.listener, (struct sockaddr *)&p.address, &len);
    int64_t from = weft_now();
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.party = &p, .seed = i};
        if (weft_group_spawn(&group, client, &clients[i]) < 0)
            need(NULL);
    }
    error = weft_group_wait(&group, WEFT_FOREVER);
    b->ns = weft_now() - from;
    if (error < 0)
        complain("a query failed", strerror(-error));
    server_stop(&b->server);
    weft_stats(weft_current(), &b->stats, sizeof(b->stats));
    for (unsigned i = 0; i < CLIENTS; i++) {
        memcpy(b->latency + b->done, clients[i].latency, clients[i].done * sizeof(clients[i].latency[0]));
        b->done += clients[i].done;
        b->failed += REQUESTS - clients[i].done;
    }
    free(clients);
    return 0;
}
