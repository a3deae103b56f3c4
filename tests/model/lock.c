/* SPDX-License-Identifier: MIT */
/*
 * lock - sched/lock.h for model programs
 *
 * lock_wait takes the place of that in sched: whoever finds a lock taken only waits for somebody else.
 * A program that names -DMODEL_LOCK_STEP=1 asks for word_lock as one step that waits until the bit is clear: the same order and
 * the same outcomes, and far fewer runs. The loop itself is explored by lock_model.c.
 */
#include "sched/lock.h"

#include "model/explorer.h"
#include "model/views.h"

void lock_wait(unsigned *tries)
{
    (void)tries;
    cpu_relax();
}

#ifdef MODEL_LOCK_STEP

static bool is_free(void *word) { return !(((const atom32 *)word)->v & WORD_LOCKED); }

uint32_t word_lock(atom32 *word)
{
    model_step();
    while (!is_free(word))
        model_wait_until(is_free, word);
    return views_lock(word, WORD_LOCKED);
}

#endif
