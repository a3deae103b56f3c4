/* SPDX-License-Identifier: MIT */
/*
 * overflow - the fault handler
 *
 * A fault is an overflow if its address lies in a guard page and the thread's sp in that page or the stack above it; or else its
 * frame pointer (a large frame moves sp first and touches memory later). Otherwise a stray write past the top of the stack below,
 * which hits the same page, would be blamed on the wrong fiber.
 *
 * Everything in the handler is async-signal-safe: stack_owner is arithmetic, the line is put together by hand and written once.
 * Rejected: unwinding in the handler. The core has the frames, and unwinders take locks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                             /* REG_RSP */
#endif
#include "sched/overflow.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "sched/atomic.h"
#include "sched/stack.h"

#define SIGNAL_STACK 65536

static const int signals[2] = { SIGSEGV, SIGBUS };

static struct {
    pthread_mutex_t lock;
    unsigned users;                             /* under lock */
    atomptr describe;                           /* written under lock, read by the handler */
    struct sigaction old[2];                    /* written before the handler is in place */
} overflow = { .lock = PTHREAD_MUTEX_INITIALIZER };

#if defined(__x86_64__)
static void *sp_of(const ucontext_t *u) { return (void *)u->uc_mcontext.gregs[REG_RSP]; }
static void *fp_of(const ucontext_t *u) { return (void *)u->uc_mcontext.gregs[REG_RBP]; }
#else
static void *sp_of(const ucontext_t *u) { return (void *)u->uc_mcontext.sp; }
static void *fp_of(const ucontext_t *u) { return (void *)u->uc_mcontext.regs[29]; }
#endif

struct line {
    char text[160];
    size_t n;
};

static void add(struct line *l, const char *s)
{
    for (; *s && l->n < sizeof l->text; s++)
        l->text[l->n++] = *s >= ' ' && *s <= '~' ? *s : '?';
}

static void add_number(struct line *l, uint64_t x)
{
    char digits[24];
    size_t i = sizeof digits - 1;
    digits[i] = 0;
    do {
        digits[--i] = (char)('0' + x % 10);
    } while (x /= 10);
    add(l, digits + i);
}

static void report(char *base, char *top)
{
    overflow_describe_fn describe = (overflow_describe_fn)load_acquireptr(&overflow.describe);
    int64_t id = 0;
    const char *name = describe ? describe(top, &id) : NULL;
    struct line l = { .n = 0 };
    add(&l, name ? "weft: fiber " : "weft: a fiber");
    if (name)
        add_number(&l, (uint64_t)id);
    if (name && *name) {
        add(&l, " \"");
        add(&l, name);
        add(&l, "\"");
    }
    add(&l, " overflowed its ");
    add_number(&l, (uint64_t)(top - base + 1023) / 1024);
    add(&l, " KiB stack (raise stack_size)");
    l.text[l.n < sizeof l.text ? l.n++ : l.n - 1] = '\n';
    (void)!write(2, l.text, l.n);
}

/* What would have happened without us. */
static void pass_on(int sig, siginfo_t *info, void *u)
{
    const struct sigaction *old = &overflow.old[sig == SIGSEGV ? 0 : 1];
    bool sent = info->si_code <= 0;             /* by kill() and the like: it does not come again by itself */
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, u);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    } else if (!sent || old->sa_handler == SIG_DFL) {
        sigaction(sig, old, NULL);
        if (sent)
            raise(sig);                         /* blocked until we return */
    }
}

static bool on_stack(const void *p, const char *top)
{
    char *base, *its_top;
    bool in_guard;
    return stack_owner(p, &base, &its_top, &in_guard) && its_top == top;
}

static void on_fault(int sig, siginfo_t *info, void *u)
{
    int saved = errno;
    char *base, *top;
    bool in_guard;
    if (info->si_code > 0 && stack_owner(info->si_addr, &base, &top, &in_guard) && in_guard)
        if (on_stack(sp_of(u), top) || on_stack(fp_of(u), top))
            report(base, top);
    pass_on(sig, info, u);
    errno = saved;
}

static void restore(int i)
{
    struct sigaction now;
    if (sigaction(signals[i], NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)
        sigaction(signals[i], &overflow.old[i], NULL);
}

int overflow_install(overflow_describe_fn describe)
{
    int r = 0;
    pthread_mutex_lock(&overflow.lock);
    store_releaseptr(&overflow.describe, (void *)describe);
    for (int i = 0; i < 2 && overflow.users == 0 && r == 0; i++) {
        struct sigaction act = { .sa_sigaction = on_fault };
        if (sigaction(signals[i], NULL, &overflow.old[i]) != 0) {
            r = -errno;
            break;
        }
        act.sa_mask = overflow.old[i].sa_mask;
        act.sa_flags = SA_SIGINFO | SA_ONSTACK | (overflow.old[i].sa_flags & (SA_NODEFER | SA_RESTART));
        if (sigaction(signals[i], &act, NULL) != 0)
            r = -errno;
    }
    overflow.users += r == 0;
    pthread_mutex_unlock(&overflow.lock);
    return r;
}

void overflow_remove(void)
{
    pthread_mutex_lock(&overflow.lock);
    if (--overflow.users == 0)
        for (int i = 0; i < 2; i++)
            restore(i);
    pthread_mutex_unlock(&overflow.lock);
}

int overflow_thread_begin(struct overflow_stack *s)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = SIGNAL_STACK;
    long usual = sysconf(_SC_SIGSTKSZ);         /* grows with the register file */
    stack_t own, alt = { 0 };
    *s = (struct overflow_stack){ 0 };
    if (sigaltstack(NULL, &own) == 0 && !(own.ss_flags & SS_DISABLE))
        return 0;
    if (usual > 0 && (size_t)usual > size)
        size = (size_t)usual;
    size = (size + page - 1) / page * page;
    s->map = mmap(NULL, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (s->map == MAP_FAILED) {
        s->map = NULL;
        return -ENOMEM;
    }
    s->size = size + page;
    alt.ss_sp = (char *)s->map + page;
    alt.ss_size = size;
    if (mprotect(alt.ss_sp, size, PROT_READ | PROT_WRITE) != 0 || sigaltstack(&alt, NULL) != 0) {
        munmap(s->map, s->size);
        s->map = NULL;
        return -ENOMEM;
    }
    return 0;
}

void overflow_thread_end(struct overflow_stack *s)
{
    stack_t none = { .ss_flags = SS_DISABLE };
    if (!s->map)
        return;
    sigaltstack(&none, NULL);
    munmap(s->map, s->size);
    s->map = NULL;
}
