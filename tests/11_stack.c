/* SPDX-License-Identifier: MIT */
/* stack: guards, what a spawn may not cost, running out of maps and of address space, giving memory back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sched/sanitize.h"
#include "sched/stack.h"

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define ASAN 1
#else
#define ASAN 0
#endif

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define SIZE(k) ((size_t)1 << (STACK_SHIFT_LEAST + (k)))

static size_t page;
static struct stack_cache cache;

static size_t count_maps(void)
{
    char text[4096];
    size_t n = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    cr_assert_geq(fd, 0);
    for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            n += text[i] == '\n';
    close(fd);
    return n;
}

static size_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t all, rss;
    cr_assert(f && fscanf(f, "%zu %zu", &all, &rss) == 2);
    fclose(f);
    return rss * page;
}

/* Can the kernel read this byte? */
static bool readable(const char *p)
{
    int fd[2];
    ssize_t n;
    cr_assert_eq(pipe(fd), 0);
    n = write(fd[1], p, 1);
    close(fd[0]);
    close(fd[1]);
    return n == 1;
}

static bool kernel_guards(void)
{
    char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool good = madvise(p, page, 102) == 0;
    munmap(p, page);
    return good;
}

static void need_kernel_guards(void)
{
    if (!kernel_guards())
        cr_skip("this kernel has no MADV_GUARD_INSTALL");
}

static uint64_t random_next(uint64_t *r)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return *r >> 33;
}

static uint64_t random_seed(void)
{
    const char *given = getenv("WEFT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    fprintf(stderr, "WEFT_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static void setup(void) { page = (size_t)sysconf(_SC_PAGESIZE); }

TestSuite(stack, .init = setup, .timeout = 60);

/* ---- shape -------------------------------------------------------------------------------------------------------------- */

Test(stack, every_class_is_usable_to_both_ends_and_guarded)
{
    struct stack s;
    for (unsigned k = 0; k < STACK_CLASSES; k++)
        for (unsigned n = 0; n < 9; n++) {
            char *base, *top;
            bool in_guard;
            cr_assert_eq(stack_get(NULL, SIZE(k), &s), 0);
            stack_prepare(NULL, &s);
            cr_assert_eq((uintptr_t)s.base % page, 0);
            cr_assert_eq((uintptr_t)s.top % 128, 0);
            cr_assert_leq((size_t)(s.top - s.base), SIZE(k));
            cr_assert_geq((size_t)(s.top - s.base), SIZE(k) - 896);
            s.base[0] = s.top[-1] = 1;
            cr_assert_not(readable(s.base - 1));
            cr_assert_not(readable(s.base - page));
            cr_assert(stack_owner(s.base, &base, &top, &in_guard) && base == s.base && top == s.top && !in_guard);
            cr_assert(stack_owner(s.top - 1, &base, &top, &in_guard) && base == s.base && top == s.top && !in_guard);
            cr_assert(stack_owner(s.base - 1, &base, &top, &in_guard) && base == s.base && top == s.top && in_guard);
            cr_assert(stack_owner(s.base - page, &base, &top, &in_guard) && base == s.base && in_guard);
            cr_assert_not(stack_owner(&s, &base, &top, &in_guard));
            cr_assert_not(stack_owner(NULL, &base, &top, &in_guard));
            cr_assert_not(stack_owner((char *)UINTPTR_MAX, &base, &top, &in_guard));
            if (n % 2)
                stack_put(NULL, &s);
        }
}

Test(stack, sizes_go_to_the_next_class)
{
    static const size_t ask[] = { 0, 1, 16384, 16385, 65536, 65537, 100000, 64 * MIB - 1, 64 * MIB };
    static const size_t get[] = { 16384, 16384, 16384, 32768, 65536, 131072, 131072, 64 * MIB, 64 * MIB };
    struct stack s;
    for (size_t i = 0; i < sizeof ask / sizeof *ask; i++) {
        cr_assert_eq(stack_get(&cache, ask[i], &s), 0);
        cr_assert_leq((size_t)(s.top - s.base), get[i]);
        cr_assert_gt((size_t)(s.top - s.base), get[i] - 1024);
        stack_put(&cache, &s);
    }
    cr_assert_eq(stack_get(&cache, 64 * MIB + 1, &s), -EINVAL);
    cr_assert_eq(stack_get(NULL, SIZE_MAX, &s), -EINVAL);
}

/* A cache hands out its cold ones first; who begins to run gets the warmest. The depot hands out the warmest. */
Test(stack, the_last_one_put_is_the_next_one_used)
{
    struct stack_cache *of[2] = { &cache, NULL };
    for (int i = 0; i < 2; i++) {
        struct stack a, b, c;
        char *first, *second;
        cr_assert_eq(stack_get(of[i], 65536, &a), 0);
        cr_assert_eq(stack_get(of[i], 65536, &b), 0);
        stack_prepare(NULL, &a);
        stack_prepare(NULL, &b);
        first = a.base;
        second = b.base;
        stack_put(of[i], &a);
        stack_put(of[i], &b);
        cr_assert_null(a.base);
        cr_assert_eq(stack_get(of[i], 65536, &c), 0);
        stack_prepare(of[i], &c);
        cr_assert_eq(c.base, second);
        cr_assert_eq(stack_get(of[i], 65536, &b), 0);
        stack_prepare(of[i], &b);
        cr_assert_eq(b.base, first);
    }
}

Test(stack, the_depot_gives_touched_stacks_before_clean_ones)
{
    struct stack s[8], t;
    for (int i = 0; i < 8; i++)
        cr_assert_eq(stack_get(NULL, 65536, &s[i]), 0);
    stack_prepare(NULL, &s[3]);
    t = s[3];
    for (int i = 0; i < 8; i++)
        stack_put(NULL, &s[i]);
    cr_assert_eq(stack_trim_due(), 1);
    cr_assert_eq(stack_get(NULL, 65536, &s[0]), 0);
    cr_assert_eq(s[0].base, t.base);
    cr_assert_eq(stack_trim_due(), 0);
}

/* Spawned first, run to their end one by one later: all on the stack of the first. */
Test(stack, a_cold_stack_is_changed_for_a_warm_one)
{
    enum { N = 1000 };
    static struct stack s[N];
    char *first = NULL;
    size_t rss;
    for (int i = 0; i < N; i++)
        cr_assert_eq(stack_get(&cache, 65536, &s[i]), 0);
    rss = resident();
    for (int i = 0; i < N; i++) {
        stack_prepare(&cache, &s[i]);
        cr_assert(!first || s[i].base == first, "%d", i);
        first = s[i].base;
        cr_assert_not(i % 100 == 0 && readable(s[i].base - 1));
        s[i].top[-1] = 1;
        stack_put(&cache, &s[i]);
    }
    cr_assert_leq(resident(), rss + MIB);
    stack_cache_flush(&cache);
    cr_assert_eq(stack_trim_due(), 1);
    cr_assert_eq(stack_pool_release(), 0, "none was lost in the exchange");
}

Test(stack, a_second_put_is_noticed, .signal = SIGABRT)
{
    struct stack s;
    cr_assert_eq(stack_get(&cache, 65536, &s), 0);
    stack_put(&cache, &s);
    signal(SIGABRT, SIG_DFL);
    stack_put(&cache, &s);
}

/* ---- what a spawn may not cost ------------------------------------------------------------------------------------------ */

Test(stack, getting_a_million_touches_none)
{
    enum { N = 1000000 };
    struct stack *s = mmap(NULL, N * sizeof *s, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    size_t maps, rss;
    need_kernel_guards();
    maps = count_maps();
    rss = resident();
    for (int i = 0; i < N; i++)
        cr_assert_eq(stack_get(&cache, 65536, &s[i]), 0);
    cr_assert_leq(resident(), rss + 2 * MIB);
    cr_assert_leq(count_maps(), maps + 200);
    for (int i = 0; i < N; i += 997)
        cr_assert_eq(stack_used(&s[i]), 0);
    for (int i = 0; i < N; i++)
        stack_put(&cache, &s[i]);
    cr_assert_eq(stack_trim_due(), 0);
}

/* Made by one worker, redeemed by another, with a trim in between; what is left over goes back. */
Test(stack, a_promise_costs_nothing_and_is_kept)
{
    enum { N = 5000 };
    static struct stack s[N], warm[N];
    static struct stack_cache other;
    size_t rss;
    need_kernel_guards();
    for (int i = 0; i < N; i++) {               /* free stacks that a trim would like to have */
        cr_assert_eq(stack_get(NULL, 65536, &warm[i]), 0);
        stack_prepare(NULL, &warm[i]);
    }
    for (int i = 0; i < N; i++)
        stack_put(NULL, &warm[i]);
    rss = resident();
    for (int i = 0; i < N; i++) {
        cr_assert_eq(stack_promise(i % 3 ? &cache : NULL, 65536, &s[i]), 0);
        cr_assert_eq(s[i].at.segment, 0);
    }
    cr_assert_leq(resident(), rss + MIB);
    stack_trim(SIZE_MAX);
    cr_assert_neq(stack_pool_release(), 0);     /* promises hold it */
    for (int i = 0; i < N; i++) {
        stack_prepare(i % 2 ? &cache : &other, &s[i]);
        cr_assert_not_null(s[i].base);
        *(void **)(s[i].top - 8) = &s[i];
    }
    for (int i = 0; i < N; i++)                 /* each got its own */
        cr_assert_eq(*(void **)(s[i].top - 8), &s[i]);
    for (int i = 0; i < N; i++)
        stack_put(i % 5 ? &cache : &other, &s[i]);
    for (int i = 0; i < N; i++) {               /* one after the other: all on the same */
        cr_assert_eq(stack_promise(&cache, 65536, &s[i]), 0);
        stack_prepare(&cache, &s[i]);
        cr_assert(i == 0 || s[i].base == warm[0].base);
        warm[0].base = s[i].base;
        stack_put(&cache, &s[i]);
    }
    stack_cache_flush(&cache);
    stack_cache_flush(&other);
    cr_assert_eq(stack_pool_release(), 0);
}

/* Under strict seccomp any system call but read, write and exit kills. */
Test(stack, getting_makes_no_system_call_while_slots_last)
{
    struct stack s[8];
    int status;
    pid_t child;
    need_kernel_guards();
    if (ASAN)
        cr_skip("the sanitizer makes calls of its own");
    child = fork();
    if (child == 0) {
        for (int i = 0; i < 8; i++)             /* maps 1, 1, 2, 4 slots and more, or 16 at once */
            if (stack_get(NULL, MIB, &s[i]) != 0)
                _exit(1);
        for (int i = 0; i < 8; i++)
            stack_put(NULL, &s[i]);
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        for (int i = 0; i < 8; i++)
            if (stack_get(&cache, MIB, &s[i]) != 0)
                syscall(SYS_exit, 2);
        for (int i = 0; i < 8; i++)
            stack_put(&cache, &s[i]);
        stack_cache_flush(&cache);
        syscall(SYS_exit, 0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

Test(stack, a_hundred_thousand_guards_are_few_maps)
{
    enum { N = 100000 };
    struct stack *s = calloc(N, sizeof *s);
    size_t maps;
    need_kernel_guards();
    maps = count_maps();
    for (int i = 0; i < N; i++) {
        cr_assert_eq(stack_get(&cache, 65536, &s[i]), 0);
        stack_prepare(NULL, &s[i]);
        s[i].top[-1] = 1;
    }
    cr_assert_leq(count_maps(), maps + 200);
    for (int i = 0; i < N; i += 97) {
        cr_assert_not(readable(s[i].base - 1));
        cr_assert(readable(s[i].base));
    }
    for (int i = 0; i < N; i++)
        stack_put(&cache, &s[i]);
    stack_cache_flush(&cache);
    cr_assert_eq(stack_trim_due(), N);
    cr_assert_eq(stack_pool_release(), 0);
    cr_assert_leq(count_maps(), maps);
    free(s);
}

/* ---- running out -------------------------------------------------------------------------------------------------------- */

static size_t max_map_count(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
    size_t n;
    cr_assert(f && fscanf(f, "%zu", &n) == 1);
    fclose(f);
    return n;
}

static void malloc_works(void)
{
    void *p[64], *m[200];
    FILE *f;
    for (int i = 0; i < 64; i++) {              /* each large enough for a map of its own */
        p[i] = malloc(MIB * (size_t)(1 + i % 3));
        cr_assert_not_null(p[i]);
        memset(p[i], 1, 4096);
    }
    for (int i = 0; i < 64; i++)
        free(p[i]);
    for (int i = 0; i < 200; i++) {             /* nor do they merge */
        m[i] = mmap(NULL, page, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(m[i], MAP_FAILED);
    }
    for (int i = 0; i < 200; i++)
        munmap(m[i], page);
    f = fopen("/proc/self/status", "r");
    cr_assert_not_null(f);
    fclose(f);
}

Test(stack, without_kernel_guards_it_stops_before_the_maps_run_out)
{
    size_t most = max_map_count(), maps = count_maps(), n = 0, again, full;
    struct stack *s = calloc(most, sizeof *s), other;
    if (most > 300000)
        cr_skip("vm.max_map_count is large here");
    setenv("WEFT_STACK_GUARD", "mprotect", 1);
    while (n < most && stack_get(&cache, STACK_MIN, &s[n]) == 0)
        n++;
    cr_assert_lt(n, most / 2, "guards must have cost maps");
    cr_assert_gt(n, most / 2 - most / 8);
    cr_assert_lt(count_maps(), most - most / 16);
    cr_assert_eq(stack_get(&cache, STACK_MIN, &other), -ENOMEM);
    cr_assert_eq(stack_get(NULL, MIB, &other), -ENOMEM);
    malloc_works();
    for (size_t i = 0; i < n; i += 101)
        cr_assert_not(readable(s[i].base - 1));

    for (size_t i = 0; i < 1000; i++)           /* the same class */
        stack_put(&cache, &s[--n]);
    for (again = 0; stack_get(&cache, STACK_MIN, &s[n]) == 0; again++) {
        stack_prepare(NULL, &s[n]);
        cr_assert_not(readable(s[n].base - 1));
        n++;
    }
    cr_assert_eq(again, 1000);

    full = count_maps();
    for (size_t i = 0; i < 1000; i++)           /* another: the guards of free stacks are opened for it */
        stack_put(NULL, &s[--n]);
    for (again = 0; stack_get(NULL, 65536, &s[n]) == 0; again++) {
        cr_assert_not(readable(s[n].base - 1));
        s[n].top[-1] = 1;
        n++;
    }
    cr_assert_eq(again, 1000);
    cr_assert_leq(count_maps(), full + 8);
    for (size_t i = 0; i < n; i += 101)
        cr_assert_not(readable(s[i].base - 1));
    malloc_works();

    while (n)
        stack_put(&cache, &s[--n]);
    stack_cache_flush(&cache);
    cr_assert_eq(stack_pool_release(), 0);
    cr_assert_leq(count_maps(), maps + 20);
    free(s);
}

Test(stack, mprotect_guards_are_kept_through_reuse)
{
    struct stack s;
    size_t maps = 0;
    setenv("WEFT_STACK_GUARD", "mprotect", 1);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(stack_get(&cache, 65536, &s), 0);
        cr_assert_not(readable(s.base - 1), "guarded before it is prepared");
        stack_put(&cache, &s);
        if (i == 0)
            maps = count_maps();
    }
    cr_assert_eq(count_maps(), maps);
}

/* A filter that answers MADV_GUARD_INSTALL as Linux 6.12 does. */
static bool old_kernel(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { sizeof code / sizeof *code, code };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

Test(stack, an_old_kernel_is_noticed)
{
    struct stack s[40];
    size_t maps;
    if (!old_kernel())
        cr_skip("no seccomp filters here");
    cr_assert_not(kernel_guards());
    maps = count_maps();
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(stack_get(&cache, 65536, &s[i]), 0);
        cr_assert_not(readable(s[i].base - 1), "guarded before it is prepared");
        stack_prepare(NULL, &s[i]);
    }
    cr_assert_geq(count_maps(), maps + 80, "by mprotect");
}

/* The call goes away after a segment was made with it: prepare falls back. */
Test(stack, a_guard_refused_later_is_made_otherwise)
{
    struct stack s[2];
    need_kernel_guards();
    for (int i = 0; i < 2; i++)
        cr_assert_eq(stack_get(NULL, 16384, &s[i]), 0);
    if (!old_kernel())
        cr_skip("no seccomp filters here");
    for (int i = 0; i < 2; i++) {
        stack_prepare(NULL, &s[i]);
        cr_assert_not(readable(s[i].base - 1));
    }
}

Test(stack, without_address_space_it_answers_enomem_and_recovers)
{
    struct rlimit old, tight;
    struct stack *s = calloc(100000, sizeof *s);
    size_t n = 0, used, all;
    FILE *f;
    if (ASAN)
        cr_skip("the sanitizer reserves terabytes");
    f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%zu", &all) == 1);
    fclose(f);
    used = all * page;
    getrlimit(RLIMIT_AS, &old);
    tight = old;
    tight.rlim_cur = used + 512 * MIB;
    cr_assert_eq(setrlimit(RLIMIT_AS, &tight), 0);
    while (stack_get(&cache, 65536, &s[n]) == 0)
        stack_prepare(NULL, &s[n++]);
    cr_assert_gt(n, 512 * MIB / (65536 + page) * 8 / 10, "%zu: most of the space can be used", n);
    cr_assert_lt(n, 512 * MIB / 65536);
    cr_assert_eq(stack_get(&cache, 65536, &s[n]), -ENOMEM);
    cr_assert_eq(stack_get(NULL, 64 * MIB, &s[n]), -ENOMEM);
    for (int i = 0; i < 5; i++) {               /* less than a batch */
        stack_put(NULL, &s[i]);
        s[i] = s[--n];
    }
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(stack_get(&cache, 65536, &s[n]), 0);
        for (size_t j = 0; j < n; j++)
            cr_assert_neq(s[n].base, s[j].base, "%zu again", j);
        stack_prepare(NULL, &s[n++]);
    }
    cr_assert_eq(stack_get(&cache, 65536, &s[n]), -ENOMEM);
    cr_assert_eq(setrlimit(RLIMIT_AS, &old), 0);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(stack_get(&cache, 65536, &s[n++]), 0);
    while (n)
        stack_put(&cache, &s[--n]);
    stack_cache_flush(&cache);
    cr_assert_eq(stack_pool_release(), 0);
    free(s);
}

Test(stack, locked_memory_gets_its_guards_too)
{
    struct stack s;
    if (mlockall(MCL_FUTURE) != 0)
        cr_skip("may not lock memory");
    cr_assert_eq(stack_get(NULL, 65536, &s), 0);
    stack_prepare(NULL, &s);
    cr_assert_not(readable(s.base - 1));
    munlockall();
}

/* ---- giving memory back ------------------------------------------------------------------------------------------------- */

Test(stack, trimming_gives_memory_back_and_keeps_the_guards)
{
    enum { N = 2000 };
    static struct stack s[N];
    size_t before, full, done = 0;
    for (int i = 0; i < N; i++) {
        cr_assert_eq(stack_get(&cache, 65536, &s[i]), 0);
        stack_prepare(NULL, &s[i]);
    }
    before = resident();
    for (int i = 0; i < N; i++)
        memset(s[i].top - 32768, 1, 32768);
    full = resident();
    cr_assert_geq(full, before + N * 32 * KIB);
    for (int i = 0; i < N; i++)
        stack_put(&cache, &s[i]);
    stack_cache_flush(&cache);
    cr_assert_eq(stack_trim_due(), N);
    cr_assert_eq(stack_trim(10), 10, "no more than asked for");
    cr_assert_eq(stack_trim_due(), N - 10);
    for (size_t n; (n = stack_trim(77)) > 0;)
        done += n;
    cr_assert_eq(done, N - 10);
    cr_assert_eq(stack_trim_due(), 0);
    cr_assert_leq(resident(), before + MIB);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(stack_get(&cache, 65536, &s[i]), 0);
        cr_assert_eq(stack_used(&s[i]), 0);
        cr_assert_not(readable(s[i].base - 1));
        cr_assert_eq(s[i].top[-1], 0);
        stack_prepare(NULL, &s[i]);
    }
}

Test(stack, trimming_takes_the_coldest_first)
{
    struct stack s[4], hot;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(stack_get(NULL, 65536, &s[i]), 0);
        stack_prepare(NULL, &s[i]);
        s[i].top[-1] = (char)(i + 1);
    }
    for (int i = 0; i < 4; i++)
        stack_put(NULL, &s[i]);
    cr_assert_eq(stack_trim(3), 3);
    cr_assert_eq(stack_get(NULL, 65536, &hot), 0);
    cr_assert_eq(hot.top[-1], 4);
}

Test(stack, huge_pages_are_off)
{
    struct stack s;
    char line[512];
    FILE *f = fopen("/proc/self/smaps", "r");
    uintptr_t from, to;
    bool mine = false, seen = false;
    if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) != 0)
        cr_skip("this kernel has no huge pages");
    cr_assert_eq(stack_get(NULL, 65536, &s), 0);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            mine = from <= (uintptr_t)s.base && (uintptr_t)s.base < to;
        if (mine && strncmp(line, "VmFlags:", 8) == 0) {
            cr_assert_not_null(strstr(line, " nh"), "%s", line);
            seen = true;
        }
    }
    fclose(f);
    cr_assert(seen);
}

Test(stack, release_unmaps_everything_two_hundred_times)
{
    size_t maps = 0, rss = 0;
    for (int round = 0; round < 200; round++) {
        struct stack s[100], *big = &s[99];
        for (int i = 0; i < 99; i++) {
            cr_assert_eq(stack_get(&cache, 16384u << i % 3, &s[i]), 0);
            stack_prepare(NULL, &s[i]);
            memset(s[i].top - 8192, 1, 8192);
        }
        cr_assert_eq(stack_get(NULL, 64 * MIB, big), 0);
        cr_assert_geq(stack_pool_release(), 100, "none may go while some are out");
        for (int i = 0; i < 99; i++) {
            cr_assert_eq(s[i].top[-1], 1);
            stack_put(&cache, &s[i]);
        }
        stack_put(NULL, big);
        cr_assert_gt(stack_pool_release(), 0, "a cache is out");
        stack_cache_flush(&cache);
        cr_assert_eq(stack_pool_release(), 0);
        if (round == 0) {
            maps = count_maps();
            rss = resident();
        }
    }
    cr_assert_eq(count_maps(), maps);
    cr_assert_leq(resident(), rss + MIB);
}

Test(stack, used_is_the_deepest_mark)
{
    static const size_t deep[] = { 8, 1000, 4096, 5000, 20000, 100000, 1000000 };
    struct stack s;
    cr_assert_eq(stack_get(NULL, MIB, &s), 0);
    stack_prepare(NULL, &s);
    cr_assert_eq(stack_used(&s), 0);
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        s.top[-(ptrdiff_t)deep[i]] = 1;
        cr_assert_geq(stack_used(&s), deep[i]);
        cr_assert_lt(stack_used(&s), deep[i] + 8);
    }
    s.base[0] = 1;
    cr_assert_eq(stack_used(&s), (size_t)(s.top - s.base));
}

/* ---- many threads ------------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, HELD = 200, STEPS = 30000 };

static uint64_t thread_seed;
static int thread_errors;

/* Stacks got here carry our mark until they are put; some go by the cache, some by the depot. */
static void *getter(void *arg)
{
    static _Thread_local struct stack_cache own;
    static _Thread_local struct stack s[HELD];
    uint64_t me = (uintptr_t)arg + 1, r = thread_seed + me;
    int errors = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t i = random_next(&r) % HELD, way = random_next(&r) % 4;
        struct stack_cache *c = way ? &own : NULL;
        if (s[i].base) {
            errors += *(uint64_t *)s[i].base != (me << 32 | i);
            *(uint64_t *)s[i].base = 0;
            stack_put(c, &s[i]);
        } else {
            errors += stack_get(c, (size_t)16384 << random_next(&r) % 3, &s[i]) != 0;
            stack_prepare(NULL, &s[i]);
            errors += *(uint64_t *)s[i].base != 0;
            *(uint64_t *)s[i].base = me << 32 | i;
        }
        if (random_next(&r) % 500 == 0)
            stack_trim(20);
        if (random_next(&r) % 2000 == 0)
            stack_cache_flush(&own);
    }
    for (size_t i = 0; i < HELD; i++)
        if (s[i].base) {
            *(uint64_t *)s[i].base = 0;
            stack_put(&own, &s[i]);
        }
    stack_cache_flush(&own);
    __atomic_fetch_add(&thread_errors, errors, __ATOMIC_RELAXED);
    return NULL;
}

Test(stack, no_stack_has_two_holders)
{
    pthread_t t[THREADS];
    thread_seed = random_seed();
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, getter, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(thread_errors, 0);
    cr_assert_eq(stack_pool_release(), 0, "every stack came back");
}
