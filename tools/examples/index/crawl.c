/* SPDX-License-Identifier: MIT */
/*
 * crawl - count the words of all files of a tree, on all cores
 *
 *   walk    lists a directory on the blocking pool, then spawns a fiber for each subdirectory and each batch of files
 *   scan    reads the files of a batch; a file longer than a block is cut between two words, a fiber for each block
 *   tally   counts the words of a block in the table of the worker that it runs on. A fiber runs until it waits, and
 *           this one does not, so what is indexed by weft_worker() is its own: no lock, no atomics
 *   merge   one fiber for each part gets that part of every worker's table through a channel and makes them one
 *
 * A word is [A-Za-z_][A-Za-z0-9_]*, the longest from its first letter, as `LC_ALL=C grep -rhoaE` prints them. As grep
 * -r does, it follows the root, but no symbolic link below it, and passes over devices, sockets and FIFOs.
 *
 * Bounds     content is not kept: memory is what the words, places and names take, and a block or two for each file
 *            open. Fibers and descriptors are bounded by semaphores. When no fiber can be had (too many, no memory)
 *            the work is done on the spot; a walk then keeps the subdirectories for later, so that no stack grows
 *            with the tree.
 */
#define _GNU_SOURCE
#include "crawl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

enum {
    BATCH = 32,                                 /* files per scanning fiber */
    BLOCK = 256 * 1024,                         /* bytes read and counted at a time */
    TOKENS = 64,                                /* counted at a time */
    FIBERS = 4096,                              /* most fibers at one time */
    DESCRIPTORS = 128,                          /* most files and directories open at one time */
};

struct block { struct block *next; struct index *index; uint32_t file; size_t len, room; char *data; };

struct core {
    struct words words;
    struct block *spare;
    uint64_t tokens;
    char pad[64];                               /* no two workers write to one cache line */
};

struct names { char **at; size_t n, room; };
struct listing { struct index *index; const char *path; struct names dirs, files; };
struct batch { struct index *index; uint32_t first, n; char *path[BATCH]; };
struct dir { struct index *index; char *path; };
struct merger { struct part *part; struct index *index; weft_chan *in; };

static void unreadable(struct index *x, const char *path, int64_t error)
{
    weft_mutex_lock(&x->lock, WEFT_FOREVER);
    x->unreadable++;
    weft_mutex_unlock(&x->lock);
    if (!x->quiet)
        complain(path, strerror((int)-error));
}

/* A fiber of its own for fn(arg), if one can be had. It ends with landed(). */
static bool offload(struct index *x, weft_fn fn, void *arg)
{
    if (weft_sem_wait(&x->fibers, WEFT_NOW) < 0)
        return false;
    if (weft_group_spawn(&x->crawl, fn, arg) > 0)
        return true;
    weft_sem_post(&x->fibers);
    return false;
}

static int64_t landed(struct index *x) { return weft_sem_post(&x->fibers); }

/* ---- tally ---- */

enum { OTHER, DIGIT, LETTER };

static const uint8_t class[256] = {
    ['0' ... '9'] = DIGIT, ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER, ['_'] = LETTER,
};

static inline unsigned class_of(char c) { return class[(uint8_t)c]; }

static struct block *block_new(struct index *x, uint32_t file)
{
    struct core *c = &x->cores[weft_worker()];
    struct block *b = c->spare;
    if (b) {
        c->spare = b->next;
    } else {
        b = need(malloc(sizeof(*b)));
        *b = (struct block){.index = x, .room = BLOCK, .data = need(malloc(BLOCK + 1))};
    }
    b->file = file;
    b->len = 0;
    return b;
}

static void block_grow(struct block *b, size_t room)
{
    while (b->room < room)
        b->room *= 2;
    b->data = need(realloc(b->data, b->room + 1));
}

/* Count the words of b, which is given away. The last of them ends in it. */
static void tally(struct block *b)
{
    struct core *c = &b->index->cores[weft_worker()];
    const char *s = b->data, *end = s + b->len;
    struct token tokens[TOKENS];
    size_t n = 0;
    b->data[b->len] = 0;
    for (;;) {
        for (; class_of(*s) != LETTER; s++)
            if (s == end)
                goto out;
        const char *from = s++;
        while (class_of(*s))
            s++;
        tokens[n++] = (struct token){.s = from, .len = (size_t)(s - from)};
        if (n == TOKENS) {
            words_count(&c->words, b->file, tokens, n);
            c->tokens += n;
            n = 0;
        }
    }
out:
    words_count(&c->words, b->file, tokens, n);
    c->tokens += n;
    b->next = c->spare;
    c->spare = b;
}

static int64_t tally_fiber(void *arg)
{
    struct index *x = ((struct block *)arg)->index;
    tally(arg);
    return landed(x);
}

/* ---- scan ---- */

/* Give away what b holds up to the last place between two words; what follows begins the block that is returned. */
static struct block *cut(struct block *b)
{
    size_t end = b->len;
    while (end && class_of(b->data[end - 1]))
        end--;
    if (!end) {                                 /* one word fills the block */
        block_grow(b, b->room * 2);
        return b;
    }
    struct block *rest = block_new(b->index, b->file);
    rest->len = b->len - end;
    block_grow(rest, rest->len + 1);
    memcpy(rest->data, b->data + end, rest->len);
    b->len = end;
    if (!offload(b->index, tally_fiber, b))
        tally(b);
    return rest;
}

/* Read and count one file: its bytes, or a negative errno. */
static int64_t scan_file(struct index *x, const char *path, uint32_t file)
{
    int follow = path == x->root ? 0 : O_NOFOLLOW;
    int fd = weft_open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | follow, 0, WEFT_FOREVER);
    if (fd < 0)
        return fd;
    struct block *b = block_new(x, x->places ? file : 0);
    int64_t bytes = 0;
    ssize_t n;
    while ((n = weft_read(fd, b->data + b->len, b->room - b->len, WEFT_FOREVER)) > 0) {
        bytes += n;
        b->len += (size_t)n;
        if (b->len == b->room)
            b = cut(b);
    }
    weft_close(fd);
    tally(b);
    return n < 0 ? n : bytes;
}

static void scan(struct batch *b)
{
    struct index *x = b->index;
    uint64_t read = 0, bytes = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        weft_sem_wait(&x->descriptors, WEFT_FOREVER);
        int64_t n = scan_file(x, b->path[i], b->first + i);
        weft_sem_post(&x->descriptors);
        if (n < 0)
            unreadable(x, b->path[i], n);
        read += n >= 0;
        bytes += n >= 0 ? (uint64_t)n : 0;
    }
    weft_mutex_lock(&x->lock, WEFT_FOREVER);
    x->read += read;
    x->bytes += bytes;
    weft_mutex_unlock(&x->lock);
    free(b);
}

static int64_t scan_fiber(void *arg)
{
    struct index *x = ((struct batch *)arg)->index;
    scan(arg);
    return landed(x);
}

static uint32_t name_files(struct index *x, const struct names *files)
{
    weft_mutex_lock(&x->lock, WEFT_FOREVER);
    uint32_t first = x->named;
    for (size_t i = 0; i < files->n; i++) {
        if (!(x->named & (x->named - 1)))       /* the room is a power of two */
            x->files = need(realloc(x->files, (x->named ? x->named * 2 : 1) * sizeof(*x->files)));
        x->files[x->named++] = files->at[i];
    }
    weft_mutex_unlock(&x->lock);
    return first;
}

static void scan_all(struct index *x, const struct names *files)
{
    uint32_t first = name_files(x, files);
    for (size_t i = 0; i < files->n; i += BATCH) {
        struct batch *b = need(malloc(sizeof(*b)));
        *b = (struct batch){.index = x, .first = first + (uint32_t)i};
        while (b->n < BATCH && i + b->n < files->n)
            b->path[b->n] = files->at[i + b->n], b->n++;
        if (!offload(x, scan_fiber, b))
            scan(b);
    }
}

/* ---- walk ---- */

static void push(struct names *v, char *name)
{
    if (v->n == v->room) {
        v->room = v->room ? v->room * 2 : 16;
        v->at = need(realloc(v->at, v->room * sizeof(*v->at)));
    }
    v->at[v->n++] = name;
}

static unsigned kind_of(int dir, const struct dirent *e)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type;
    return fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) ? DT_UNKNOWN : IFTODT(st.st_mode);
}

static int64_t list(void *arg)                  /* on a thread of the blocking pool */
{
    struct listing *l = arg;
    int follow = l->path == l->index->root ? 0 : O_NOFOLLOW;
    int fd = open(l->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int64_t error = -errno;
        if (fd >= 0)
            close(fd);
        return error;
    }
    const char *slash = l->path[strlen(l->path) - 1] == '/' ? "" : "/";
    struct dirent *e;
    while (errno = 0, (e = readdir(dir))) {
        unsigned kind = kind_of(fd, e);
        char *path;
        if ((kind != DT_DIR && kind != DT_REG) || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (asprintf(&path, "%s%s%s", l->path, slash, e->d_name) < 0)
            need(NULL);
        push(kind == DT_DIR ? &l->dirs : &l->files, path);
    }
    int64_t error = -errno;
    closedir(dir);
    return error;
}

static int64_t walk_fiber(void *arg);

static void walk_on(struct index *x, char *path, struct names *later)
{
    struct dir *d = need(malloc(sizeof(*d)));
    *d = (struct dir){x, path};
    if (offload(x, walk_fiber, d))
        return;
    free(d);
    push(later, path);
}

static void walk(struct index *x, const char *root)
{
    struct names later = {0};
    push(&later, (char *)root);
    while (later.n) {
        struct listing l = {.index = x, .path = later.at[--later.n]};
        int64_t result = 0;
        weft_sem_wait(&x->descriptors, WEFT_FOREVER);
        int error = weft_blocking(list, &l, &result, WEFT_FOREVER);
        weft_sem_post(&x->descriptors);
        if (error < 0 || result < 0)
            unreadable(x, l.path, error < 0 ? error : result);
        scan_all(x, &l.files);
        for (size_t i = 0; i < l.dirs.n; i++)
            walk_on(x, l.dirs.at[i], &later);
        if (l.path != x->root)
            free((char *)l.path);
        free(l.dirs.at);
        free(l.files.at);
    }
    free(later.at);
}

static int64_t walk_fiber(void *arg)
{
    struct dir d = *(struct dir *)arg;
    free(arg);
    walk(d.index, d.path);
    return landed(d.index);
}

/* ---- merge ---- */

static int64_t merge(void *arg)
{
    struct merger *m = arg;
    struct part piece;
    while (weft_chan_recv(m->in, &piece, WEFT_FOREVER) == 0)
        part_absorb(m->part, &piece, &m->index->cores[weft_worker()].words.arena);
    return 0;
}

static void merge_all(struct index *x)
{
    struct merger mergers[PARTS];
    struct weft_group group = {0};
    for (size_t i = 0; i < PARTS; i++) {
        mergers[i] = (struct merger){.part = &x->parts[i], .index = x};
        if (weft_chan_open(&mergers[i].in, sizeof(struct part), 4) < 0)
            need(NULL);
        if (weft_group_spawn(&group, merge, &mergers[i]) < 0)
            need(NULL);
    }
    for (unsigned w = 0; w < x->workers; w++) {
        x->tokens += x->cores[w].tokens;
        for (size_t i = 0; i < PARTS; i++) {
            weft_chan_send(mergers[i].in, &x->cores[w].words.parts[i], WEFT_FOREVER);
            x->cores[w].words.parts[i] = (struct part){0};
        }
    }
    for (size_t i = 0; i < PARTS; i++)
        weft_chan_close(mergers[i].in);
    weft_group_wait(&group, WEFT_FOREVER);
    for (size_t i = 0; i < PARTS; i++) {
        weft_chan_unref(mergers[i].in);
        x->words += x->parts[i].used;
    }
}

/* ---- the whole ---- */

static int64_t draw(void *arg)
{
    struct index *x = arg;
    struct weft_timer ticker = {0};
    char line[120];
    int64_t from = weft_now();
    weft_timer_start(&ticker, weft_after(100 * WEFT_MSEC), 100 * WEFT_MSEC, NULL, NULL);
    while (weft_ticker_wait(&ticker, WEFT_FOREVER) > 0 && weft_mutex_lock(&x->lock, WEFT_FOREVER) == 0) {
        double mb = (double)x->bytes / 1e6, s = (double)(weft_now() - from) / 1e9;
        snprintf(line, sizeof(line), "%llu files, %.1f MB, %.0f MB/s", (unsigned long long)x->read, mb, mb / s);
        weft_mutex_unlock(&x->lock);
        progress(line);
    }
    weft_timer_stop(&ticker);
    weft_shield(1);
    progress(NULL);
    return 0;
}

unsigned descriptors_left(void)
{
    const rlim_t own = 24, plenty = 1 << 20;
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur > plenty)
        return plenty;
    return r.rlim_cur > own ? (unsigned)(r.rlim_cur - own) : 1;
}

static void crawl_root(struct index *x)
{
    struct stat st;
    if (stat(x->root, &st))
        unreadable(x, x->root, -errno);
    else if (S_ISDIR(st.st_mode))
        walk(x, x->root);
    else if (S_ISREG(st.st_mode))
        scan_all(x, &(struct names){.at = (char **)&x->root, .n = 1});
    else
        unreadable(x, x->root, -ENOTDIR);
}

int64_t index_build(void *arg)
{
    struct index *x = arg;
    unsigned most = (descriptors_left() + 1) / 2;
    int64_t from = weft_now();
    weft_t drawer = isatty(2) ? weft_spawn(draw, x) : 0;
    x->workers = (unsigned)weft_workers(weft_current());
    x->cores = need(calloc(x->workers, sizeof(*x->cores)));
    weft_sem_init(&x->fibers, FIBERS);
    weft_sem_init(&x->descriptors, most < DESCRIPTORS ? most : DESCRIPTORS);
    crawl_root(x);
    weft_group_wait(&x->crawl, WEFT_FOREVER);
    merge_all(x);
    x->ns = weft_now() - from;
    weft_stats(weft_current(), &x->stats, sizeof(x->stats));
    if (drawer > 0) {
        weft_cancel(drawer);
        weft_join(drawer, NULL, WEFT_FOREVER);
    }
    return 0;
}

void index_free(struct index *x)
{
    for (unsigned w = 0; w < x->workers; w++) {
        arena_free(&x->cores[w].words.arena);
        for (struct block *b = x->cores[w].spare, *next; b; b = next) {
            next = b->next;
            free(b->data);
            free(b);
        }
    }
    for (size_t i = 0; i < PARTS; i++)
        free(x->parts[i].slots);
    for (uint32_t i = 0; i < x->named; i++)
        if (x->files[i] != x->root)
            free(x->files[i]);
    free(x->files);
    free(x->cores);
}
