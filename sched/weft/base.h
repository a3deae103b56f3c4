/* SPDX-License-Identifier: MIT */
/* weft/base.h - types, times and macros of the public interface; programs include <weft.h> */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#define WEFT_NORETURN __attribute__((noreturn))
#else
#define WEFT_API
#define WEFT_NORETURN
#endif

#define WEFT_FOREVER INT64_MAX
#define WEFT_NOW INT64_C(0)
#define WEFT_USEC INT64_C(1000)
#define WEFT_MSEC INT64_C(1000000)
#define WEFT_SEC INT64_C(1000000000)

typedef struct weft_rt weft_rt;
typedef struct weft_chan weft_chan;
typedef int64_t weft_t;                         /* a fiber's id: an index and a generation; never used twice */
typedef int64_t (*weft_fn)(void *arg);

struct weft_list_ { void *head, *tail; };

#endif
