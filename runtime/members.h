/* SPDX-License-Identifier: MIT */
/*
 * members - who belongs to a group, and what their end means for it
 *
 * Owns       struct weft_group, which lies in the user's frame. Members are linked through their descriptors.
 * Threads    any. members_ended runs on the stack of whoever goes on, after the member has left its own: when the wait of
 *            a group returns, no
 *            member touches its stack or the group any more.
 * Promise    the unlock of the word is the last touch of each side, so the group's memory may go when the wait has returned.
 * Lock       the group's word first, then members' handles.
 */
#ifndef RUNTIME_MEMBERS_H
#define RUNTIME_MEMBERS_H

#include "runtime/weft.h"
#include "sched/injector.h"
#include "sched/wait.h"

struct members_wakes {
    struct wait_node *waiters;                  /* the group became empty */
    struct wait_node *spawner;                  /* a place became free, and is his */
};

void members_add(struct weft_group *g, struct fiber *f);        /* the place was counted before */
void members_ended(struct weft_group *g, struct fiber *f);

/* With the group's word locked. */
struct members_wakes members_leave(struct weft_group *g);       /* one place less */
void members_cancel(struct weft_group *g, struct chain *c);     /* those of now, and mark it for those to come */
void members_unlock(struct weft_group *g);

/* After the unlock. */
void members_wake(struct members_wakes w);

/* To collect fibers of the caller's own scheduler. */
struct chain members_chain(void);

#endif
