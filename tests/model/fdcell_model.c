/* SPDX-License-Identifier: MIT */
/*
 * fdcell_model - the cell of a descriptor number, io/fdcell.c itself, in all orders
 *
 * The kernel is two words: which file is behind the number (0: none) and how many bytes wait there. Readers do what attempt.c
 * does: visit, read, queue up, park, pass on. Whoever is not woken waits for ever, and that is reported as a deadlock; whoever
 * meets a file that is not his own is caught on the spot.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -DMODEL_LOCK_STEP=1 -I. -Itests tests/model/fdcell_model.c
 *            tests/model/{explorer,search,memo,views,lock,memory}.c io/fdcell.c -o fdcell_model
 * Mutants    the same with -DMUTANT_FDCELL_x, run with --mutant; x = EDGES PASS GENERATION CLOSING VISITS.
 */
#include <errno.h>
#include <string.h>

#include "io/fdcell.h"
#include "model/explorer.h"
#include "sched/mem.h"

#define READERS 3

static struct fdcell c;
static struct fiber fiber[READERS];
static struct wait_node node[READERS][2];
static struct model_sem token[READERS];
static atom32 file, bytes;                      /* the kernel's */
static int result[READERS];                     /* 1: a byte, or why not */

static void begin(void)
{
    memset(&c, 0, sizeof c);
    memset(fiber, 0, sizeof fiber);
    memset(token, 0, sizeof token);
    memset(result, 0, sizeof result);
    mem_fail_after.v = 0;
    file.v = 1;
    bytes.v = 0;
    model_name(&c.use, "use");
    model_name(&c.word, "word");
    model_name(&c.edges[0], "edges");
    model_name(&file, "file");
    model_name(&bytes, "bytes");
    for (int i = 0; i < READERS; i++)
        model_name(&fiber[i].wait, "wait %d", i);
}

static void empty(void) { begin(); }

/* ---- the kernel ---------------------------------------------------------------------------------------------------------- */

static int kernel_read(void)
{
    uint32_t n = load_acquire32(&bytes);
    while (n)
        if (cas_acqrel32(&bytes, &n, n - 1))
            return 1;
    return -EAGAIN;
}

/* ---- what attempt.c and reactor.c do ------------------------------------------------------------------------------------- */

static void wake(struct wait_node *n)
{
    while (n) {
        struct wait_node *next = n->next;
        model_sem_post(&token[n->fiber - fiber]);
        n = next;
    }
}

#ifdef MUTANT_FDCELL_PASS
static void pass(void) { }
#else
static void pass(void) { wake(fdcell_pass(&c, FDCELL_READ)); }
#endif

static int visit(struct fdcell_visit *v, uint32_t *mine)
{
    uint32_t met;
    int r = fdcell_enter(&c, v);
    if (r < 0)
        return r;
    met = load_seqcst32(&file);
    MODEL_ASSERT(!*mine || met == *mine);       /* R3: not the file that came after */
    *mine = met;
    r = met ? kernel_read() : -EBADF;
    MODEL_ASSERT(load_seqcst32(&file) == met);  /* R5: nor does it come in the middle */
    fdcell_leave(&c);
    return r;
}

static int attempt(int i, uint32_t mine, struct fdcell_visit v)
{
    bool woken = false;
    int r;
    for (;;) {
        r = visit(&v, &mine);
        if (r != -EAGAIN)
            break;
        r = fdcell_queue(&c, &v, &fiber[i], node[i], FDCELL_READ, NULL, woken);
        woken = false;
        if (r == -EAGAIN)
            continue;
        if (r < 0)
            break;
        model_sem_wait(&token[i]);
        if (wait_close(&fiber[i]) == WAIT_TIMEOUT) {
            fdcell_unqueue(&c, node[i], FDCELL_READ);
            r = -ETIMEDOUT;
            break;
        }
        if ((r = (int)node[i][0].result) < 0)
            break;
        woken = true;
    }
    if (woken)
        pass();
    return r;
}

static const struct fdcell_visit none;
static struct fdcell_visit first;

static void reader(void) { result[model_self()] = attempt((int)model_self(), 0, none); }
static void reader_inside(void) { result[0] = attempt(0, 1, first); }   /* its call began before the close did */

static void edge_of(uint32_t n)
{
    (void)add_acqrel32(&bytes, n);
    wake(fdcell_edge(&c, FDCELL_READ, false));
}

static void edge_of_one(void) { edge_of(1); }
static void edge_of_two(void) { edge_of(2); }
static void two_edges(void) { edge_of(1); edge_of(1); }

static void times_out_first(void)
{
    if (wait_claim(&fiber[0], WAIT_TIMEOUT))
        model_sem_post(&token[0]);
}

/* ---- close --------------------------------------------------------------------------------------------------------------- */

static bool closed;                             /* close(2) is over: the number is free */

static void close_it(bool reopen)
{
    struct wait_node *waiters;
    bool watched;
    fdcell_close(&c, &waiters, &watched);
    (void)xchg_seqcst32(&bytes, reopen);
    (void)xchg_seqcst32(&file, reopen ? 2 : 0); /* another thread was fast, and there is a byte to be stolen */
    closed = true;
    fdcell_closed(&c);
    wake(waiters);
}

static void closes(void) { close_it(false); }
static void closes_and_reopens(void) { close_it(true); }

static void setup_close(void)
{
    begin();
    closed = false;
}

static void setup_inside(void)
{
    setup_close();
    first = none;
    MODEL_ASSERT(fdcell_enter(&c, &first) == 0);
    fdcell_leave(&c);
}

static bool is_closed(void *unused) { (void)unused; return closed; }

/* The number's next owner, who may come before fdcell_closed(): its own file, its own byte. */
static void next_owner(void)
{
    model_wait_until(is_closed, NULL);
    (void)xchg_seqcst32(&file, 2);
    result[2] = attempt(2, 2, none);
}

static void edge_of_next(void)
{
    model_wait_until(is_closed, NULL);
    edge_of(1);
}

/* ---- what must hold ------------------------------------------------------------------------------------------------------ */

static void nobody_left(void)
{
    MODEL_ASSERT(!c.queue[0].head && !c.queue[1].head);
    MODEL_ASSERT((load_relaxed64(&c.use) & UINT32_MAX) == 0);
}

static void served(void)
{
    nobody_left();
    MODEL_ASSERT(result[0] == 1);
}

static void both_served(void)
{
    nobody_left();
    MODEL_ASSERT(result[0] == 1 && result[1] == 1);
}

static void second_served(void)
{
    nobody_left();
    MODEL_ASSERT(result[1] == 1);
    MODEL_ASSERT(result[0] == 1 || result[0] == -ETIMEDOUT);
    MODEL_ASSERT(load_relaxed32(&bytes) == (result[0] != 1));
    model_outcome(result[0] == 1 ? "byte" : "late");
}

static void told(void)
{
    nobody_left();
    for (int i = 0; i < 2; i++)
        MODEL_ASSERT(result[i] == -EBADF || result[i] == 1 || result[i] == 0);
    model_outcome(result[0] == 1 ? "byte" : "closed");
}

static void only_closed(void)
{
    nobody_left();
    MODEL_ASSERT(result[0] == -EBADF);
}

static void next_served(void)
{
    nobody_left();
    MODEL_ASSERT(result[0] == -EBADF && result[2] == 1);
}

static const struct model_test tests[] = {
    { "edge", empty, { reader, edge_of_one }, served, NULL, 6, 0 },
    { "close", setup_close, { reader, closes }, only_closed, NULL, 6, 0 },
    { "close-and-edge", setup_close, { reader, closes, edge_of_one }, nobody_left, NULL, 3, 0 },
    { "reuse", setup_close, { reader, closes_and_reopens, edge_of_one }, told, "byte closed", 3, 0 },
    { "reuse-inside", setup_inside, { reader_inside, closes_and_reopens }, only_closed, NULL, 6, 0 },
    { "next-owner", setup_inside, { reader_inside, closes, next_owner, edge_of_next }, next_served, NULL, 2, 0 },
    { "pass", empty, { reader, reader, edge_of_two }, both_served, NULL, 3, 0 },
    { "two-edges", empty, { reader, reader, two_edges }, both_served, NULL, 2, 0 },
    { "time-out", empty, { reader, reader, edge_of_two, times_out_first }, second_served, "byte late", 2, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
