/* SPDX-License-Identifier: MIT */
/* trim - see trim.h */
#include "runtime/trim.h"

#include <errno.h>

#include "runtime/rt.h"
#include "sched/clock.h"
#include "sched/mem.h"
#include "timers/due.h"

#define TRIM_DELAY WEFT_SEC
#define TRIM_PAUSE WEFT_MSEC                    /* between two steps */
#define TRIM_STEP 64
#define TRIM_KEEP 256                           /* warm stacks that the depot may keep: 1 MiB of touched pages */

struct trim {
    struct timer_node node;                     /* first */
    struct due_call call;
    weft_rt *rt;
    size_t unused;                              /* how many the depot held when the second began; while trimming, still to do */
    bool trimming;
    atom32 armed;                               /* 1: the node and the fields above are the I/O thread's: X1 */
};

static void arm(struct trim *t, int64_t after) { timers_arm(&t->rt->timers, &t->node, clock_now() + after, UINT32_MAX); }

static void step(struct due_call *call)
{
    struct trim *t = (struct trim *)((char *)call - offsetof(struct trim, call));
    size_t due = stack_trim_due(), n;
    if (!t->trimming) {
        t->trimming = true;
        t->unused = due < t->unused ? due : t->unused;
        t->unused = t->unused > TRIM_KEEP ? t->unused - TRIM_KEEP : 0;
    }
    n = stack_trim(t->unused < TRIM_STEP ? t->unused : TRIM_STEP);
    t->unused -= n;
    if (n && t->unused) {
        arm(t, TRIM_PAUSE);
        return;
    }
    (void)table_trim();
    store_release32(&t->armed, 0);              /* X1: pairs with trim_call */
}

static void fire(struct timer_node *node, void *out) { due_add_call(out, &((struct trim *)node)->call); }

void trim_call(struct sched *s)
{
    weft_rt *rt = (weft_rt *)s;
    struct trim *t = rt->trim;
    size_t due = stack_trim_due();
    if (due <= 2 * TRIM_KEEP || load_relaxed32(&t->armed) || xchg_acqrel32(&t->armed, 1))      /* X1: pairs with step */
        return;
    t->unused = due;
    t->trimming = false;
    arm(t, TRIM_DELAY);
}

int trim_start(weft_rt *rt)
{
    rt->trim = mem_alloc(sizeof *rt->trim, _Alignof(struct trim));
    if (!rt->trim)
        return -ENOMEM;
    rt->trim->rt = rt;
    rt->trim->node.fire = fire;
    rt->trim->call.run = step;
    return 0;
}

void trim_stop(weft_rt *rt)
{
    mem_free(rt->trim, sizeof *rt->trim, _Alignof(struct trim));
    rt->trim = NULL;
}
