/* SPDX-License-Identifier: MIT */
/*
 * config - the numbers of the scheduler, in one place
 *
 * The tiny flavour (WEFT_TINY) shrinks each of them to the smallest that is still correct, so that growth, overflow and
 * wrap-around happen in every test and not once a year.
 */
#ifndef SCHED_CONFIG_H
#define SCHED_CONFIG_H

#define CACHE_LINE 64

#ifdef WEFT_TINY
#ifndef DEQUE_CAPACITY              /* a model program goes down to 2 */
#define DEQUE_CAPACITY 4            /* slots of a new deque; a power of two; it doubles when full */
#endif
#define NEXT_STREAK 1               /* dispatches in a row through the next slot before the queues get their turn */
#define INJECTOR_BATCH 2            /* most fibers that one look takes */
#define SEARCH_SWEEPS 1
#define FRESH_OLDEST_INTERVAL 2     /* every so many fresh fibers the oldest is taken, not the newest */
#define FIBER_CACHE 4               /* free descriptors that a worker keeps */
#define STACK_CACHE 2               /* free stacks that a worker keeps per class */
#else
#define DEQUE_CAPACITY 256
#define NEXT_STREAK 3
#define INJECTOR_BATCH 32
#define SEARCH_SWEEPS 4             /* looks at all other workers before a worker parks */
#define FRESH_OLDEST_INTERVAL 16
#define FIBER_CACHE 1024
#define STACK_CACHE 64
#endif

#define TINY_NS 1000                /* a worker that ran for less since its last search should not have stolen */
#define PATIENCE 1023               /* most pauses that it waits before the next theft, about 13 us */
#define PREFETCH 3                  /* fresh fibers ahead of the one that is taken */
#define MAX_WORKERS 256             /* the parked set is a bitmap of this many bits */
#define STACK_DEFAULT 65536         /* usable bytes of a fiber's stack */
#define STACK_MIN 16384

#endif
