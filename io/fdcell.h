/* SPDX-License-Identifier: MIT */
/*
 * fdcell - what the process knows about a descriptor number: who waits for it, and which file it stands for
 *
 * Owns       a cell for each number, for all runtimes and all threads; never the descriptor. Cells live as long as the process, so
 *            a late event may look at any of them. Nothing here knows epoll.
 * Threads    any.
 *
 * Visits     A call makes its system call between fdcell_enter() and fdcell_leave(). The first enter of a call notes the cell's
 *            generation, later ones compare; a close() waits until nobody is inside, then closes, then starts the next
 *            generation. So no system call of a call hits a file that took the number after the call began, and a waiter that
 *            wakes up late finds -EBADF and not another's bytes. Visits are short: the system call must not block. The registration
 *            with epoll belongs to the visit, too.
 *
 *                enter                                       close
 *                use: CAS +1, if not CLOSING                 use: CAS | CLOSING
 *                system call                                 take out all waiters: -EBADF
 *                leave: use -1                               wait until use counts 0
 *                                                            close(2)
 *                                                            use = next generation, 0, not CLOSING
 *
 *            Both change one word, so one is first: either close waits for the visit, or enter sees CLOSING. A call that comes
 *            for the first time then waits for the end of close(2), as it cannot tell which file it means, and so does a second
 *            close; others are told -EBADF.
 *
 * Waiting    R1 A waiter reads its direction's count of edges at enter, before the system call that answers EAGAIN, and queues up
 *            under the lock only if the count is still the same; whoever brings an edge counts it under the lock and then serves
 *            the queue. No edge is lost:
 *
 *                waiter                                      I/O thread
 *                seen = edges (acquire, R1)                  an edge comes from the kernel, after the file became ready
 *                system call: EAGAIN                         lock
 *                register with epoll; leave                  edges++ (release, R1)
 *                lock                                        take out the first waiter
 *                edges != seen: unlock, call again           unlock
 *                queue up; unlock; park                      wake it
 *
 *            If seen has the edge counted, the call came after the file became ready and found what there was; so EAGAIN means
 *            that somebody else took it. Else the edge is counted later: before our lock, then we see it and call again, or after,
 *            then it finds us in the queue. An edge from before the registration is told by epoll at the registration.
 *            The count is the READY flag of other designs, but a stale one costs nothing: a flag must be cleared by somebody.
 * Passing    R2 An edge wakes one waiter (and, before it, those that only look), not all. It owes the edge to the next one: when
 *            its call came to an end (any but EAGAIN, which says that nothing is left) it calls fdcell_pass. A waiter that lost its
 *            claim to a deadline or a cancel is not found by wait_pop, and one that was woken calls again before it looks
 *            at either.
 *            So each edge goes on until somebody finds nothing, or nobody waits. Hang-ups and errors wake all.
 * Close      R3 fdcell_queue compares the generation under the lock, and close takes the waiters out under the lock after CLOSING:
 *            a waiter on its way in sees CLOSING or a new generation, or it is in the queue and taken out.
 * Rejected   a generation in the epoll data, to filter late events of a file that was closed: an event is only ever a hint to call
 *            again, so a stale one costs one system call, and a wrongly filtered one would be a lost wake-up.
 *            A lock around system calls and close(2): a holder must not wait.
 */
#ifndef IO_FDCELL_H
#define IO_FDCELL_H

#include "sched/lock.h"
#include "sched/wait.h"

#define FDCELL_READ 1u                          /* ways to wait for; hang-ups and errors are told to both */
#define FDCELL_WRITE 2u

enum fdcell_kind { FDCELL_UNKNOWN, FDCELL_FILE, FDCELL_REGULAR };       /* a hint: which system call to try first */

struct fdcell {
    atom64 use;                                 /* A generation << 32 | CLOSING | visits */
    atom32 word;                                /* L a word lock; the bits are in fdcell.c */
    atom32 edges[2];                            /* R1 written under the lock */
    atom32 kind;                                /* A enum fdcell_kind */
    atom32 serial;                              /* a word lock of its own: system calls that must not overlap (net.c) */
    struct wait_queue queue[2];                 /* L fibers */
    struct wait_queue threads;                  /* L threads, which poll(2) and need to be woken by close only */
    char pad[128 - 80];
};

/* What a call remembers; zeroed at its beginning. */
struct fdcell_visit {
    uint32_t generation;
    bool begun;
    uint32_t edges[2];
};

/* A node's value: this waiter takes nothing away, so the next one is woken with it. */
#define FDCELL_LOOKS ((void *)1)

/* The cell of a number, >= 0: NULL if there is no memory, or the number is beyond 2^24. */
struct fdcell *fdcell_get(int fd);
struct fdcell *fdcell_find(int fd);             /* the same; NULL if nobody asked for it before */

int fdcell_enter(struct fdcell *c, struct fdcell_visit *v);     /* 0; -EBADF: closed since the first one, or just now */
void fdcell_leave(struct fdcell *c);
bool fdcell_same(struct fdcell *c, const struct fdcell_visit *v);       /* not closed since: true now, perhaps not any more */

/* Open self's wait and queue it up for these ways with one node each (fiber, value and result are set here). first: before all
 * others. 0; nothing is done by -EAGAIN: there was an edge, call again; -EBADF: closed. */
int fdcell_queue(struct fdcell *c, const struct fdcell_visit *v, struct fiber *self, struct wait_node node[2], unsigned ways,
                 void *value, bool first);

/* The same for a thread, with one node, whose value is the thread's own. */
int fdcell_queue_thread(struct fdcell *c, const struct fdcell_visit *v, struct fiber *self, struct wait_node *node);

/* After the wait: take out what is left. The result that the waker gave: 0, or -EBADF. */
int fdcell_unqueue(struct fdcell *c, struct wait_node node[2], unsigned ways);
void fdcell_unqueue_thread(struct fdcell *c, struct wait_node *node);

/* These answer waiters that are claimed now, linked by next; each must be made ready after its next has been read. */
struct wait_node *fdcell_edge(struct fdcell *c, unsigned ways, bool all);       /* something happened */
struct wait_node *fdcell_pass(struct fdcell *c, unsigned ways);                 /* R2 */

/* The number is going to be closed: the waiters; *watched: it was registered with epoll somewhere. When it returns nobody is
 * inside, nor comes in before fdcell_closed(). */
void fdcell_close(struct fdcell *c, struct wait_node **waiters, bool *watched);
void fdcell_closed(struct fdcell *c);

#endif
