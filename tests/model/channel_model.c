/* SPDX-License-Identifier: MIT */
/*
 * channel_model - runtime/channel.c itself, in all orders, on timers/waiting.c
 *
 * The fibers are those of tests/model/waiters.h. Every value that was sent is received or still buffered, once, and whoever has it
 * comes after its sender (model_exclusive); one whose send failed is nowhere; whoever is not to fail comes through in the end
 * (else all wait: a deadlock). "either" is a fiber with nodes in two channels, as a select has: one value, from one of them.
 * In "freed" the receiver drops the last reference at once.
 *
 * Locks      -DMODEL_LOCK_STEP=1: word_lock is one step; lock_model.c has its loop.
 * Mutants    the same with -DMUTANT_CHAN_x, run with --mutant.
 */
#include "model/waiters.h"
#include "runtime/channel.h"
#include "sched/mem.h"

static weft_chan *c[2];
enum { EACH = 2, VALUES = EACH * MODEL_THREADS };
static int payload[VALUES];                     /* what the values stand for */
static int sent[VALUES], received[VALUES];
static int next_value[MODEL_THREADS];

static void begin(size_t capacity)
{
    waiters_begin();
    mem_fail_after.v = 0;
    memset(sent, 0, sizeof sent);
    memset(received, 0, sizeof received);
    memset(next_value, 0, sizeof next_value);
    for (int i = 0; i < 2; i++) {
        MODEL_ASSERT(weft_chan_open(&c[i], sizeof(intptr_t), capacity) == 0);
        model_name(chan_word(c[i]), "chan %d", i);
    }
}

static void meet(void) { begin(0); }
static void one(void) { begin(1); }
static void unbounded(void) { begin(WEFT_UNBOUNDED); }

static int send_to(weft_chan *to, int64_t deadline)
{
    intptr_t v = EACH * model_self() + next_value[model_self()]++;
    int r;
    model_exclusive(&payload[v]);
    r = weft_chan_send(to, &v, deadline);
    if (r == 0)
        sent[v]++;
    MODEL_ASSERT(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EPIPE);
    return r;
}

static void have(intptr_t from)
{
    MODEL_ASSERT(from >= 0 && from < VALUES);
    model_exclusive(&payload[from]);
    received[from]++;
}

static int recv_from(weft_chan *from, int64_t deadline)
{
    intptr_t v = -1;
    int r = weft_chan_recv(from, &v, deadline);
    MODEL_ASSERT((r == 0) == (v >= 0));
    if (r == 0)
        have(v);
    MODEL_ASSERT(r == 0 || r == -ETIMEDOUT || r == -ECANCELED || r == -EPIPE);
    return r;
}

static void sends(void) { MODEL_ASSERT(send_to(c[0], WEFT_FOREVER) == 0); }
static void sends_two(void) { sends(); sends(); }
static void sends_soon(void) { (void)send_to(c[0], SOON); }
static void sends_any(void) { (void)send_to(c[0], WEFT_FOREVER); }
static void sends_other(void) { (void)send_to(c[1], SOON); }
static void receives(void) { MODEL_ASSERT(recv_from(c[0], WEFT_FOREVER) == 0); }
static void receives_two(void) { receives(); receives(); }
static void receives_soon(void) { (void)recv_from(c[0], SOON); }
static void receives_any(void) { (void)recv_from(c[0], WEFT_FOREVER); }
static void receives_all(void) { while (recv_from(c[0], WEFT_FOREVER) == 0); }
static void receives_rest(void) { while (received[EACH] == 0) receives(); }    /* until it has thread 1's */
static void cancel_0(void) { waiters_cancel(&model_fiber[0]); }
static void closes(void) { MODEL_ASSERT(weft_chan_close(c[0]) == 0); }

/* What is left in the channels, and then the sums. */
static void conserved(void)
{
    for (int i = 0; i < 2; i++) {
        intptr_t v;
        MODEL_ASSERT(!chan_senders(c[i])->head && !chan_receivers(c[i])->head);
        while (weft_chan_recv(c[i], &v, WEFT_NOW) == 0)
            have(v);
    }
    for (int i = 0; i < VALUES; i++)
        MODEL_ASSERT(sent[i] == received[i]);
}

/* ---- a select ------------------------------------------------------------------------------------------------------------ */

static int either(int64_t deadline)
{
    struct fiber *self = park_self();
    struct wait_node node[2];
    struct chan_rest rest = { 0 };
    intptr_t v = -1;
    uint32_t state[2];
    int done = -1, r = 0;
    for (int i = 0; i < 2; i++)
        state[i] = word_lock(chan_word(c[i]));
    for (int i = 0; i < 2 && done < 0; i++)
        if (chan_try_recv(c[i], state[i], &v, &rest) == 0)
            done = i;
    if (done < 0) {
        wait_open(self);
        for (int i = 0; i < 2; i++) {
            node[i] = (struct wait_node){ .fiber = self, .value = &v, .result = CHAN_WAIT };
            wait_push(chan_receivers(c[i]), &node[i]);
        }
    }
    for (int i = 0; i < 2; i++)
        word_unlock(chan_word(c[i]), state[i]);
    chan_settle(&rest);
    if (done < 0) {
        r = waiting_park(self, deadline);
        for (int i = 0; i < 2; i++) {
            uint32_t now = word_lock(chan_word(c[i]));
            wait_remove(chan_receivers(c[i]), &node[i]);
            word_unlock(chan_word(c[i]), now);
        }
        MODEL_ASSERT((r == 0) == ((node[0].result == CHAN_WAIT) != (node[1].result == CHAN_WAIT)));
    }
    MODEL_ASSERT((r == 0) == (v >= 0));
    if (r == 0)
        have(v);
    return r;
}

static void either_soon(void) { (void)either(SOON); }
static void either_must(void) { MODEL_ASSERT(either(WEFT_FOREVER) == 0); }

/* ---- freed at once ------------------------------------------------------------------------------------------------------- */

static void sends_once(void) { sends(); }

static void receives_and_frees(void)
{
    receives();
    weft_chan_unref(c[0]);
}

static void refs(void) { meet(); (void)weft_chan_ref(c[0]); }

static void uses_and_drops(void)
{
    (void)weft_chan_close(c[0]);
    weft_chan_unref(c[0]);
}

static void nothing(void) { }

static const struct model_test tests[] = {
    { "meet", meet, { sends_two, receives_two }, conserved, NULL, 4, 0 },
    { "meet-late", meet, { sends_soon, receives_soon }, conserved, NULL, 4, 0 },
    { "meet-late-three", meet, { sends_soon, receives_soon, sends_soon }, conserved, NULL, 4, 0 },
    { "meet-cancelled", meet, { sends_any, receives_soon, cancel_0, sends_soon }, conserved, NULL, 2, 0 },
    { "served-behind-late", meet, { sends_soon, sends, receives_rest }, conserved, NULL, 4, 0 },
    { "buffered", one, { sends_two, receives_two }, conserved, NULL, 4, 0 },
    { "buffered-late", one, { sends_two, sends_soon, receives_two }, conserved, NULL, 4, 0 },
    { "unbounded", unbounded, { sends_two, receives_soon, receives_soon }, conserved, NULL, 4, 0 },
    { "close-senders", meet, { sends_any, sends_any, closes, receives_soon }, conserved, NULL, 2, 0 },
    { "close-receivers", one, { sends_any, receives_all, closes, receives_any }, conserved, NULL, 2, 0 },
    { "either", meet, { either_soon, sends_soon, sends_other }, conserved, NULL, 3, 0 },
    { "either-two", meet, { either_soon, either_soon, sends_soon, sends_other }, conserved, NULL, 2, 0 },
    { "either-must", meet, { either_must, sends }, conserved, NULL, 4, 0 },
    { "freed", meet, { receives_and_frees, sends_once }, nothing, NULL, 4, 0 },
    { "freed-buffered", one, { receives_and_frees, sends_once }, nothing, NULL, 4, 0 },
    { "references", refs, { uses_and_drops, uses_and_drops }, nothing, NULL, 4, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
