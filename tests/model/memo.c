/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "model/run.h"

#define SLOTS ((size_t)1 << 21)

static struct { uint64_t key; int left; } *slots;
static size_t used;

bool memo_init(void)
{
    slots = calloc(SLOTS, sizeof *slots);
    return slots != NULL;
}

void memo_reset(void)
{
    if (used)
        memset(slots, 0, SLOTS * sizeof *slots);
    used = 0;
}

bool memo_seen(uint64_t key, int left)
{
    size_t h = key % SLOTS;
    key += key == 0;
    while (slots[h].key && slots[h].key != key)
        h = (h + 1) % SLOTS;
    if (slots[h].key && slots[h].left >= left)
        return true;
    if (!slots[h].key) {
        if (used > SLOTS / 4 * 3)
            return false;                   /* full: the search goes on without */
        used++;
        slots[h].key = key;
    }
    slots[h].left = left;
    return false;
}
