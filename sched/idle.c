/* SPDX-License-Identifier: MIT */
/* idle - the protocol and its proof are in idle.h */
#include "sched/idle.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sched/mem.h"

#define SEARCHING (UINT64_C(1) << 32)
#define PARKED UINT64_C(1)

#ifdef MUTANT_IDLE_PARKER_FENCE
#define parker_fence()
#else
#define parker_fence() fence_full()
#endif
#ifdef MUTANT_IDLE_FOUND_FENCE
#define found_fence()
#else
#define found_fence() fence_full()
#endif
#ifdef MUTANT_IDLE_RECHECK
#define last_look(look, arg) ((void)(look), (void)(arg), false)
#else
#define last_look(look, arg) look(arg)
#endif
#ifdef MUTANT_IDLE_LAST_SEARCHER
#define was_last(counts) ((void)(counts), false)
#else
#define was_last(counts) ((counts) >> 32 == 1)
#endif

#ifndef WEFT_MODEL

int idle_init(struct idle *i, unsigned workers)
{
    *i = (struct idle){ .slots = workers };
    i->eventfd = mem_alloc(workers * sizeof *i->eventfd, sizeof *i->eventfd);
    if (!i->eventfd)
        return -ENOMEM;
    for (; i->workers < workers; i->workers++) {
        int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0) {
            int error = -errno;
            idle_destroy(i);
            return error;
        }
        i->eventfd[i->workers] = fd;
    }
    return 0;
}

void idle_destroy(struct idle *i)
{
    for (unsigned k = 0; k < i->workers; k++)
        close(i->eventfd[k]);
    mem_free(i->eventfd, i->slots * sizeof *i->eventfd, sizeof *i->eventfd);
    i->eventfd = NULL;
    i->workers = i->slots = 0;
}

static void token_give(struct idle *i, unsigned worker)
{
    uint64_t one = 1;
    while (write(i->eventfd[worker], &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void token_take(struct idle *i, unsigned worker)
{
    uint64_t n;
    while (read(i->eventfd[worker], &n, sizeof n) < 0 && errno == EINTR)
        continue;
}

#else
void token_give(struct idle *i, unsigned worker);       /* semaphores of the explorer */
void token_take(struct idle *i, unsigned worker);
#endif

static bool bit_clear(struct idle *i, unsigned worker)
{
    uint64_t bit = UINT64_C(1) << worker % 64, *word = &i->parked[worker / 64];
    bool was = *word & bit;
    *word &= ~bit;
    return was;
}

bool idle_wake_sleeper(struct idle *i)
{
    unsigned worker = 0;
    uint64_t counts;
    spin_lock(&i->lock);
    counts = load_relaxed64(&i->counts);
    if (counts >> 32 || !(uint32_t)counts) {
        spin_unlock(&i->lock);
        return false;
    }
    while (!i->parked[worker / 64])
        worker += 64;
    worker += (unsigned)__builtin_ctzll(i->parked[worker / 64]);
    bit_clear(i, worker);
    add_seqcst64(&i->counts, SEARCHING - PARKED);               /* it is a searcher from now on, not when it runs */
    spin_unlock(&i->lock);
    token_give(i, worker);
    return true;
}

bool idle_wake(struct idle *i, unsigned worker)
{
    bool was;
    idle_producer_fence();                           /* I1: pairs with idle_park */
    if (!(uint32_t)load_relaxed64(&i->counts))
        return false;
    spin_lock(&i->lock);
    was = bit_clear(i, worker);
    if (was)
        add_seqcst64(&i->counts, SEARCHING - PARKED);
    spin_unlock(&i->lock);
    if (was)
        token_give(i, worker);
    return was;
}

bool idle_search(struct idle *i)
{
    uint64_t counts = load_relaxed64(&i->counts);
    if (2 * (counts >> 32) >= i->workers && counts >> 32)
        return false;
    add_seqcst64(&i->counts, SEARCHING);
    return true;
}

bool idle_found(struct idle *i)
{
    uint64_t counts = add_seqcst64(&i->counts, -SEARCHING);
    found_fence();                              /* I2: pairs with idle_wake_one */
    return was_last(counts);
}

bool idle_park(struct idle *i, unsigned worker, bool searching, bool (*look)(void *arg), void *arg)
{
    bool mine;
    spin_lock(&i->lock);
    i->parked[worker / 64] |= UINT64_C(1) << worker % 64;
    add_seqcst64(&i->counts, searching ? PARKED - SEARCHING : PARKED);
    spin_unlock(&i->lock);
    parker_fence();                             /* I1: pairs with idle_wake_one, idle_wake */
    if (last_look(look, arg)) {
        spin_lock(&i->lock);
        mine = bit_clear(i, worker);
        if (mine)
            add_seqcst64(&i->counts, SEARCHING - PARKED);
        spin_unlock(&i->lock);
        if (!mine)
            token_take(i, worker);              /* somebody was faster: its token is on the way */
        return false;
    }
    token_take(i, worker);
    return true;
}
