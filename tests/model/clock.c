/* SPDX-License-Identifier: MIT */
/* clock - sched/clock.h for model programs: time is what the test says, so runs repeat */
#include "model/explorer.h"
#include "sched/clock.h"

int64_t model_clock;

int64_t clock_now(void) { return model_clock; }
