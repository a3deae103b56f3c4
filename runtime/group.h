/* SPDX-License-Identifier: MIT */
/*
 * group - fibers that are waited for together, and cannot outlive their scope
 *
 * Owns       struct weft_group, which lies in the user's frame. Members are linked through their descriptors.
 * Threads    any. group_ended runs on the loop's stack, after the member has left its own: when the wait of a group returns, no
 *            member touches its stack or the group any more.
 * Promise    the unlock of the word is the last touch of each side, so the group's memory may go when the wait has returned.
 * Lock       the group's word first, then members' handles.
 */
#ifndef RUNTIME_GROUP_H
#define RUNTIME_GROUP_H

#include "runtime/weft.h"
#include "sched/fiber.h"

void group_add(struct weft_group *g, struct fiber *f);          /* the place was counted before */
void group_ended(struct weft_group *g, struct fiber *f);

#endif
