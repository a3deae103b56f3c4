/* SPDX-License-Identifier: MIT */
/* reactor - see reactor.h */
#include "io/reactor.h"

#include <errno.h>
#include <sys/prctl.h>

#include "io/fdcell.h"
#include "io/sys.h"
#include "sched/clock.h"
#include "sched/park.h"
#include "timers/due.h"
#include "timers/timers.h"

#define WAKE UINT64_MAX                         /* as data: the eventfd */
#define EDGES (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct reactor *all;

/* ---- the thread ---------------------------------------------------------------------------------------------------------- */

static void deliver(uint32_t events, int fd, struct chain *ready)
{
    struct fdcell *c = fdcell_find(fd);
    bool broken = events & (EPOLLHUP | EPOLLERR);
    unsigned ways = 0;
    if (!c)
        return;
    if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP) || broken)
        ways |= FDCELL_READ;
    if (events & EPOLLOUT || broken)
        ways |= FDCELL_WRITE;
    for (struct wait_node *n = fdcell_edge(c, ways, broken), *next; n; n = next) {
        next = n->next;                         /* the node is gone once its fiber is ready */
        ready_later(n->fiber, ready);
    }
}

static void *run(void *arg)
{
    struct reactor *r = arg;
    struct epoll_event events[REACTOR_BATCH];
    struct due due = { .ready.sched = r->sched };
    prctl(PR_SET_TIMERSLACK, 1UL);              /* or the kernel rounds each sleep up by 50 us */
    while (!load_acquire32(&r->stopping)) {     /* pairs with reactor_stop */
        int n;
        count_up64(&r->fired, timers_expire(r->timers, clock_now(), &due));
        if (due.ready.head)
            worker_queue_chain(&due.ready);
        due_run_calls(&due);
        n = sys_epoll_wait(r->epfd, events, REACTOR_BATCH, timers_sleep(r->timers));
        timers_wake(r->timers);
        count_up64(&r->wakeups, 1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == WAKE)
                continue;
            count_up64(&r->events, 1);
            deliver(events[i].events, (int)events[i].data.u64, &due.ready);
        }
    }
    return NULL;
}

void reactor_interrupt(void *arg)
{
    sys_eventfd_add(((struct reactor *)arg)->wake);
}

/* ---- the set ------------------------------------------------------------------------------------------------------------- */

int reactor_watch(struct reactor *r, int fd, bool write)
{
    uint32_t edges = write ? EDGES | EPOLLOUT : EDGES;
    int error = write ? sys_epoll(r->epfd, EPOLL_CTL_MOD, fd, edges, (uint64_t)fd) : -ENOENT;
    if (error != -ENOENT)
        return error;
    error = sys_epoll(r->epfd, EPOLL_CTL_ADD, fd, edges, (uint64_t)fd);
    if (error != -EEXIST)
        return error < 0 ? error : 1;
    /* two came first at once: the other's may be without EPOLLOUT */
    return write ? sys_epoll(r->epfd, EPOLL_CTL_MOD, fd, edges, (uint64_t)fd) : 0;
}

void reactor_forget(int fd)
{
    pthread_rwlock_rdlock(&lock);
    for (struct reactor *r = all; r; r = r->next)
        (void)sys_epoll(r->epfd, EPOLL_CTL_DEL, fd, 0, 0);
    pthread_rwlock_unlock(&lock);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------ */

static void close_both(struct reactor *r)
{
    if (r->wake >= 0)
        (void)sys_close(r->wake);
    if (r->epfd >= 0)
        (void)sys_close(r->epfd);
}

static int open_both(struct reactor *r)
{
    int error;
    r->wake = -1;
    r->epfd = sys_epoll_open();
    if (r->epfd < 0)
        return r->epfd;
    r->wake = sys_eventfd();
    if (r->wake < 0)
        return r->wake;
    error = sys_epoll(r->epfd, EPOLL_CTL_ADD, r->wake, EPOLLIN | EPOLLET, WAKE);
    return error == -ENOSPC ? -ENOMEM : error;
}

int reactor_start(struct reactor *r, struct sched *s, struct timers *timers, const char *name)
{
    int error = open_both(r);
    r->sched = s;
    r->timers = timers;
    store_relaxed32(&r->stopping, 0);
    store_relaxed64(&r->wakeups, 0);
    store_relaxed64(&r->events, 0);
    store_relaxed64(&r->fired, 0);
    if (!error)
        error = sys_thread(&r->thread, run, r, name, "/io");
    if (error) {
        close_both(r);
        return error;
    }
    pthread_rwlock_wrlock(&lock);
    r->next = all;
    all = r;
    pthread_rwlock_unlock(&lock);
    s->reactor = r;
    return 0;
}

void reactor_stop(struct reactor *r)
{
    struct reactor **p = &all;
    pthread_rwlock_wrlock(&lock);
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
    pthread_rwlock_unlock(&lock);
    store_release32(&r->stopping, 1);           /* pairs with run */
    reactor_interrupt(r);
    pthread_join(r->thread, NULL);
    r->sched->reactor = NULL;
    close_both(r);
}
