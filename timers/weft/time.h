/* SPDX-License-Identifier: MIT */
/* weft/time.h - the clock and sleep; programs include <weft.h> */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include "weft/base.h"

#ifdef __cplusplus
extern "C" {
#endif

WEFT_API int64_t weft_now(void);                /* CLOCK_MONOTONIC, ns */
WEFT_API int64_t weft_after(int64_t ns);        /* now + ns, saturating at WEFT_FOREVER */
WEFT_API int weft_sleep(int64_t deadline);      /* [W] 0 when the time has come; -ETIMEDOUT if the ambient deadline came first */

#ifdef __cplusplus
}
#endif

#endif
