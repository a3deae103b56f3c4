/* SPDX-License-Identifier: MIT */
/* spare - see spare.h */
#include "io/spare.h"

#include "timers/waiting.h"

static atom32 word;
static struct wait_queue waiters;

int spare_wait(struct fiber *self, int64_t deadline)
{
    struct wait_node node = { .fiber = self };
    return waiting_object(self, &word, word_lock(&word), &waiters, &node, deadline, false);
}

void spare_freed(void)
{
    struct wait_node *n;
    if (!(load_relaxed32(&word) & WORD_WAITERS))        /* one that comes late tries again on its own */
        return;
    (void)word_lock(&word);
    n = waiting_pop_all(&waiters, 0);
    word_unlock(&word, 0);
    waiting_ready_all(n);
}
