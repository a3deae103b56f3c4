/* SPDX-License-Identifier: MIT */
/*
 * litmus_model - does the explorer itself know the memory model?
 *
 * Classic litmus tests. Each lists exactly the outcomes that C11 without load buffering allows: every one must come up
 * and no other.
 *
 * The mutants ask whether each kind of failure is noticed.
 *
 * Build      cc -std=gnu11 -O2 -g -DWEFT_MODEL -DWEFT_TINY -I. -Itests tests/model/litmus_model.c
 *            tests/model/{explorer,search,memo,views}.c -o litmus_model
 * Mutants    the same with -DMUTANT_LITMUS_x, run with --mutant; x = RACE NO_WAKE FREED LIVELOCK
 */
#include <string.h>

#include "model/explorer.h"
#include "model/views.h"

#ifdef MUTANT_LITMUS_RACE
#define hand_over store_relaxed32
#else
#define hand_over store_release32
#endif
#ifdef MUTANT_LITMUS_NO_WAKE
#define futex_wake(word, n) ((void)(word))
#else
#define futex_wake(word, n) model_futex_wake(word, n)
#endif
#ifdef MUTANT_LITMUS_FREED
#define last_use(p) (model_sem_post(&sem), add_relaxed32(p, 1))
#else
#define last_use(p) (add_relaxed32(p, 1), model_sem_post(&sem))
#endif
#ifdef MUTANT_LITMUS_LIVELOCK
#define spin_hint() ((void)0)
#else
#define spin_hint() cpu_relax()
#endif

static atom32 x, y, z;
static uint32_t r[6];

static void start(void)
{
    memset(r, 0, sizeof r);
    x.v = y.v = z.v = 0;
    model_name(&x, "x");
    model_name(&y, "y");
    model_name(&z, "z");
}

static void two(void) { model_outcome("%u%u", r[0], r[1]); }
static void three(void) { model_outcome("%u%u%u", r[0], r[1], r[2]); }
static void four(void) { model_outcome("%u%u%u%u", r[0], r[1], r[2], r[3]); }
static void final_two(void) { model_outcome("%u%u", load_relaxed32(&x), load_relaxed32(&y)); }

/* store buffering */
static void sb_a(void) { store_relaxed32(&x, 1); r[0] = load_relaxed32(&y); }
static void sb_b(void) { store_relaxed32(&y, 1); r[1] = load_relaxed32(&x); }
static void sb_rel_a(void) { store_release32(&x, 1); r[0] = load_acquire32(&y); }
static void sb_rel_b(void) { store_release32(&y, 1); r[1] = load_acquire32(&x); }
static void sb_fence_a(void) { store_relaxed32(&x, 1); fence_full(); r[0] = load_relaxed32(&y); }
static void sb_fence_b(void) { store_relaxed32(&y, 1); fence_full(); r[1] = load_relaxed32(&x); }
static void sb_sc_a(void) { xchg_seqcst32(&x, 1); r[0] = load_seqcst32(&y); }
static void sb_sc_b(void) { xchg_seqcst32(&y, 1); r[1] = load_seqcst32(&x); }
static void sb_xchg_a(void) { xchg_seqcst32(&x, 1); r[0] = load_relaxed32(&y); }
static void sb_xchg_b(void) { xchg_seqcst32(&y, 1); r[1] = load_relaxed32(&x); }

/* message passing */
static void mp_w(void) { store_relaxed32(&x, 1); store_relaxed32(&y, 1); }
static void mp_w_rel(void) { store_relaxed32(&x, 1); store_release32(&y, 1); }
static void mp_w_fence(void) { store_relaxed32(&x, 1); fence_full(); store_relaxed32(&y, 1); }
static void mp_r(void) { r[0] = load_relaxed32(&y); r[1] = load_relaxed32(&x); }
static void mp_r_acq(void) { r[0] = load_acquire32(&y); r[1] = load_relaxed32(&x); }
static void mp_r_fence(void) { r[0] = load_relaxed32(&y); fence_full(); r[1] = load_relaxed32(&x); }

/* release sequences: an RMW in between goes on with it, a plain store of the same thread does not (C++20) */
static void rs_w(void) { store_relaxed32(&x, 1); store_release32(&y, 1); store_relaxed32(&y, 2); }
static void rs_rmw(void) { add_relaxed32(&y, 1); }

/* two orders of independent stores */
static void iriw_x(void) { store_release32(&x, 1); }
static void iriw_y(void) { store_release32(&y, 1); }
static void iriw_a(void) { r[0] = load_acquire32(&x); r[1] = load_acquire32(&y); }
static void iriw_b(void) { r[2] = load_acquire32(&y); r[3] = load_acquire32(&x); }
static void iriw_a_fence(void) { r[0] = load_relaxed32(&x); fence_full(); r[1] = load_relaxed32(&y); }
static void iriw_b_fence(void) { r[2] = load_relaxed32(&y); fence_full(); r[3] = load_relaxed32(&x); }
static void iriw_x_sc(void) { xchg_seqcst32(&x, 1); }
static void iriw_y_sc(void) { xchg_seqcst32(&y, 1); }
static void iriw_a_sc(void) { r[0] = load_seqcst32(&x); r[1] = load_seqcst32(&y); }
static void iriw_b_sc(void) { r[2] = load_seqcst32(&y); r[3] = load_seqcst32(&x); }

/* coherence */
static void corr_w(void) { store_relaxed32(&x, 1); store_relaxed32(&x, 2); }
static void corr_r(void) { r[0] = load_relaxed32(&x); r[1] = load_relaxed32(&x); }

/* cumulativity: x is seen by b, which tells c */
static void wrc_a(void) { store_relaxed32(&x, 1); }
static void wrc_b(void) { r[0] = load_acquire32(&x); store_release32(&y, 1); }
static void wrc_b_relaxed(void) { r[0] = load_relaxed32(&x); store_relaxed32(&y, 1); }
static void wrc_b_fence(void) { r[0] = load_relaxed32(&x); fence_full(); store_relaxed32(&y, 1); }
static void wrc_c(void) { r[1] = load_acquire32(&y); r[2] = load_relaxed32(&x); }
static void wrc_a_rel(void) { store_release32(&x, 1); }

/* the order of stores to two words; the final values are the outcome */
static void w22_a(void) { store_relaxed32(&x, 1); store_relaxed32(&y, 2); }
static void w22_b(void) { store_relaxed32(&y, 1); store_relaxed32(&x, 2); }
static void w22_a_fence(void) { store_relaxed32(&x, 1); fence_full(); store_relaxed32(&y, 2); }
static void w22_b_fence(void) { store_relaxed32(&y, 1); fence_full(); store_relaxed32(&x, 2); }

/* load buffering is left out on purpose: 11 would be allowed by C11 */
static void lb_a(void) { r[0] = load_relaxed32(&x); store_relaxed32(&y, 1); }
static void lb_b(void) { r[1] = load_relaxed32(&y); store_relaxed32(&x, 1); }

/* atomicity */
static void add_one(void) { r[model_self()] = add_relaxed32(&x, 1); }
static void cas_one(void) { uint32_t zero = 0; r[model_self()] = cas_acqrel32(&x, &zero, model_self() + 1); }
static void racy_add(void) { store_relaxed32(&x, load_relaxed32(&x) + 1); }
static void sum(void) { model_outcome("%u", load_relaxed32(&x)); }

/* a store into the past of an RMW that has not seen it: y says that x was stored, the RMW still finds 0 */
static void past_a(void) { store_relaxed32(&x, 5); store_relaxed32(&y, 1); }
static void past_b(void) { r[0] = load_relaxed32(&y); r[1] = add_relaxed32(&x, 1); }

/* waits */
static struct model_sem sem;
static void sem_start(void) { start(); sem.count.v = 0; }
static void sem_a(void) { store_relaxed32(&x, 1); model_sem_post(&sem); }
static void sem_b(void) { model_sem_wait(&sem); r[0] = load_relaxed32(&x); }
static void spin_w(void) { store_relaxed32(&x, 1); store_release32(&y, 1); }
static void spin_r(void)
{
    while (!load_acquire32(&y))
        spin_hint();
    r[0] = load_relaxed32(&x);
}
static void spin_lost_r(void)
{
    while (!load_relaxed32(&y))
        cpu_relax();
    r[0] = load_relaxed32(&x);
}
static void freed_a(void) { last_use(&x); }
static void freed_b(void) { model_sem_wait(&sem); r[0] = load_relaxed32(&x); views_forget(&x, sizeof x); }
static void owner_a(void) { model_exclusive(&z); hand_over(&y, 1); }
static void owner_b(void)
{
    while (!load_acquire32(&y))
        cpu_relax();
    model_exclusive(&z);
    r[0] = 1;
}
static void futex_w(void) { store_relaxed32(&x, 1); futex_wake(&x, 1); }
static void futex_r(void) { r[0] = (uint32_t)(model_futex_wait(&x, 0, false) == 0); }
static void futex_timed(void) { r[0] = (uint32_t)model_futex_wait(&x, 0, true) & 15; }
static void choice(void) { r[0] = model_choose(2); r[1] = model_choose(2); }
static void one(void) { model_outcome("%u", r[0]); }

static const struct model_test tests[] = {
    { "sb", start, { sb_a, sb_b }, two, "00 01 10 11", 0, 0 },
    { "sb-acq-rel", start, { sb_rel_a, sb_rel_b }, two, "00 01 10 11", 0, 0 },
    { "sb-fence", start, { sb_fence_a, sb_fence_b }, two, "01 10 11", 0, 0 },
    { "sb-one-fence", start, { sb_fence_a, sb_b }, two, "00 01 10 11", 0, 0 },
    { "sb-seqcst", start, { sb_sc_a, sb_sc_b }, two, "01 10 11", 0, 0 },
    { "sb-seqcst-relaxed", start, { sb_xchg_a, sb_xchg_b }, two, "00 01 10 11", 0, 0 },
    { "sb-fence-seqcst", start, { sb_fence_a, sb_sc_b }, two, "01 10 11", 0, 0 },
    { "mp-relaxed", start, { mp_w, mp_r }, two, "00 01 10 11", 0, 0 },
    { "mp", start, { mp_w_rel, mp_r_acq }, two, "00 01 11", 0, 0 },
    { "mp-no-acquire", start, { mp_w_rel, mp_r }, two, "00 01 10 11", 0, 0 },
    { "mp-no-release", start, { mp_w, mp_r_acq }, two, "00 01 10 11", 0, 0 },
    { "mp-fences", start, { mp_w_fence, mp_r_fence }, two, "00 01 11", 0, 0 },
    { "mp-fence-acquire", start, { mp_w_fence, mp_r_acq }, two, "00 01 11", 0, 0 },
    { "mp-release-fence", start, { mp_w_rel, mp_r_fence }, two, "00 01 11", 0, 0 },
    { "release-sequence", start, { mp_w_rel, rs_rmw, mp_r_acq }, two, "00 01 10 11 21", 0, 0 },
    { "no-release-sequence", start, { rs_w, mp_r_acq }, two, "00 01 11 20 21", 0, 0 },
    { "iriw", start, { iriw_x, iriw_y, iriw_a, iriw_b }, four,
      "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1010 1011 1100 1101 1110 1111", 0, 0 },
    { "iriw-fence", start, { iriw_x, iriw_y, iriw_a_fence, iriw_b_fence }, four,
      "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 1100 1101 1110 1111", 0, 0 },
    { "iriw-seqcst", start, { iriw_x_sc, iriw_y_sc, iriw_a_sc, iriw_b_sc }, four,
      "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 1100 1101 1110 1111", 0, 0 },
    { "corr", start, { corr_w, corr_r }, two, "00 01 02 11 12 22", 0, 0 },
    { "wrc", start, { wrc_a_rel, wrc_b, wrc_c }, three, "000 001 010 011 100 101 111", 0, 0 },
    { "wrc-coherence", start, { wrc_a, wrc_b, wrc_c }, three, "000 001 010 011 100 101 111", 0, 0 },
    { "wrc-relaxed", start, { wrc_a, wrc_b_relaxed, wrc_c }, three, "000 001 010 011 100 101 110 111", 0, 0 },
    { "wrc-fence", start, { wrc_a, wrc_b_fence, wrc_c }, three, "000 001 010 011 100 101 111", 0, 0 },
    { "2+2w", start, { w22_a, w22_b }, final_two, "11 12 21 22", 0, 0 },
    { "2+2w-fence", start, { w22_a_fence, w22_b_fence }, final_two, "12 21 22", 0, 0 },
    { "lb", start, { lb_a, lb_b }, two, "00 01 10", 0, 0 },
    { "rmw-add", start, { add_one, add_one, add_one }, three, "012 021 102 120 201 210", 0, 0 },
    { "rmw-cas", start, { cas_one, cas_one }, two, "01 10", 0, 0 },
    { "racy-add", start, { racy_add, racy_add }, sum, "1 2", 0, 0 },
    { "rmw-in-the-past", start, { past_a, past_b }, two, "00 05 10 15", 0, 0 },
    { "semaphore", sem_start, { sem_a, sem_b }, one, "1", 0, 0 },
    { "spin", start, { spin_w, spin_r }, one, "1", 0, 0 },
    { "spin-relaxed", start, { spin_w, spin_lost_r }, one, "0 1", 0, 0 },
    { "freed", sem_start, { freed_a, freed_b }, one, "1", 0, 0 },
    { "exclusive", start, { owner_a, owner_b }, one, "1", 0, 0 },
    { "futex", start, { futex_w, futex_r }, one, "0 1", 0, 0 },
    { "futex-timed", start, { futex_w, futex_timed }, one, "0 2 5", 0, 0 },
    { "choose", start, { choice }, two, "00 01 10 11", 0, 0 },
};

int main(int argc, char **argv) { return model_main(argc, argv, tests, sizeof tests / sizeof *tests); }
