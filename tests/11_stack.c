/* SPDX-License-Identifier: MIT */
/* stack and overflow: guards, what a spawn may not cost, running out of maps and of address space, giving memory back. */
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

#include "sched/context.h"
#include "sched/overflow.h"
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
TestSuite(overflow, .init = setup, .timeout = 60);

/* ---- shape -------------------------------------------------------------------------------------------------------------- */

Test(stack, every_class_is_usable_to_both_ends_and_guarded)
{
    struct stack s;
    for (unsigned k = 0; k < STACK_CLASSES; k++)
        for (unsigned n = 0; n < 9; n++) {
            char *base, *top;
            bool in_guard;
            cr_assert_eq(stack_get(NULL, SIZE(k), &s), 0);
            stack_prepare(&s);
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

Test(stack, the_last_one_put_is_the_next_one_got)
{
    struct stack_cache *of[2] = { &cache, NULL };
    for (int i = 0; i < 2; i++) {
        struct stack a, b, c;
        char *first, *second;
        cr_assert_eq(stack_get(of[i], 65536, &a), 0);
        cr_assert_eq(stack_get(of[i], 65536, &b), 0);
        stack_prepare(&a);
        stack_prepare(&b);
        first = a.base;
        second = b.base;
        stack_put(of[i], &a);
        stack_put(of[i], &b);
        cr_assert_null(a.base);
        cr_assert_eq(stack_get(of[i], 65536, &c), 0);
        cr_assert_eq(c.base, second);
        cr_assert_eq(stack_get(of[i], 65536, &b), 0);
        cr_assert_eq(b.base, first);
    }
}

Test(stack, the_depot_gives_touched_stacks_before_clean_ones)
{
    struct stack s[8], t;
    for (int i = 0; i < 8; i++)
        cr_assert_eq(stack_get(NULL, 65536, &s[i]), 0);
    stack_prepare(&s[3]);
    t = s[3];
    for (int i = 0; i < 8; i++)
        stack_put(NULL, &s[i]);
    cr_assert_eq(stack_trim_due(), 1);
    cr_assert_eq(stack_get(NULL, 65536, &s[0]), 0);
    cr_assert_eq(s[0].base, t.base);
    cr_assert_eq(stack_trim_due(), 0);
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
        stack_prepare(&s[i]);
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
        stack_prepare(&s[n]);
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
        stack_prepare(&s[i]);
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
        stack_prepare(&s[i]);
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
        stack_prepare(&s[n++]);
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
        stack_prepare(&s[n++]);
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
    stack_prepare(&s);
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
        stack_prepare(&s[i]);
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
        stack_prepare(&s[i]);
    }
}

Test(stack, trimming_takes_the_coldest_first)
{
    struct stack s[4], hot;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(stack_get(NULL, 65536, &s[i]), 0);
        stack_prepare(&s[i]);
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
            stack_prepare(&s[i]);
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
    stack_prepare(&s);
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
            stack_prepare(&s[i]);
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

/* ---- overflow ----------------------------------------------------------------------------------------------------------- */

static struct context home, side;
static struct san_context home_san, side_san;
static struct stack running;
static void *named_top;

static const char *describe(void *top, int64_t *id)
{
    if (top != named_top)
        return NULL;
    *id = 4711;
    return "bottomless\npit";
}

__attribute__((noinline)) static int recurse(volatile char *above, int n)
{
    volatile char room[256];
    room[0] = above[0];
    room[255] = (char)n;
    return n ? recurse(room, n - 1) + room[255] : 0;
}

static void recurse_on(void *arg)
{
    volatile char room[1] = { 0 };
    san_switch_after(&side_san);
    recurse(room, (int)(intptr_t)arg);
    san_switch_before(&side_san, &home_san, true);
    context_switch(&side, &home);
}

static void stray_on(void *arg)
{
    san_switch_after(&side_san);
    *(volatile char *)arg = 1;
    abort();
}

static void on_fiber(size_t size, void (*entry)(void *), void *arg)
{
    if (!running.base && (stack_get(NULL, size, &running) != 0))
        _exit(9);
    stack_prepare(&running);
    named_top = running.top;
    san_thread_begin(&home_san);
    san_fiber_begin(&side_san, running.base, running.top);
    context_init(&side, running.top, entry, arg);
    san_switch_before(&home_san, &side_san, false);
    context_switch(&home, &side);
    san_switch_after(&home_san);
}

/* Run one of the cases below in a child with default actions: its wait status, and what it wrote to stderr. */
static int in_child(void (*what)(void), char *text, size_t size)
{
    int err[2], status = -1;
    size_t have = 0;
    pid_t child;
    cr_assert_eq(pipe(err), 0);
    child = fork();
    if (child == 0) {
        struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        dup2(err[1], 2);
        what();
        _exit(0);
    }
    close(err[1]);
    for (ssize_t n; have < size - 1 && (n = read(err[0], text + have, size - 1 - have)) > 0;)
        have += (size_t)n;
    text[have] = 0;
    close(err[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

static void begin_overflow(void)
{
    struct overflow_stack alt;
    if (overflow_thread_begin(&alt) != 0 || overflow_install(describe) != 0)
        _exit(8);
}

static size_t child_class;
static char text[4096];

#define KILLED(status, sig) (WIFSIGNALED(status) && WTERMSIG(status) == (sig))

static void case_plain(void) { on_fiber(65536, recurse_on, (void *)100000000); }

Test(stack, an_overflow_is_a_fault, .signal = SIGSEGV)
{
    signal(SIGSEGV, SIG_DFL);                   /* a sanitizer would exit with a report */
    on_fiber(65536, recurse_on, (void *)100000000);
}

Test(stack, an_overflow_of_mprotect_guards_is_a_fault)
{
    setenv("WEFT_STACK_GUARD", "mprotect", 1);
    cr_assert(KILLED(in_child(case_plain, text, sizeof text), SIGSEGV), "%s", text);
}

/* Moves sp past the guard at once, and only then touches the guard (built with probes, it touches it on the way). */
__attribute__((noinline)) static void jump_on(void *arg)
{
    volatile char room[65536 + 8192];
    san_switch_after(&side_san);
    room[(intptr_t)arg] = 1;
    if (room[(intptr_t)arg + 1] == 0)
        abort();
}

static void case_jump(void)
{
    struct stack below;
    begin_overflow();
    if (stack_get(NULL, 65536, &below) != 0)    /* something for sp to point into */
        _exit(7);
    on_fiber(65536, jump_on, (void *)6000);
}

Test(overflow, a_frame_larger_than_the_guard_is_reported_if_it_hits)
{
    int status = in_child(case_jump, text, sizeof text);
    if (ASAN)
        cr_skip("the sanitizer touches the frame first");
    cr_assert(KILLED(status, SIGSEGV), "status %x", status);
    cr_assert_not_null(strstr(text, "weft: fiber 4711"), "%s", text);
}

static void case_named(void)
{
    begin_overflow();
    on_fiber(SIZE(child_class), recurse_on, (void *)100000000);
}

Test(overflow, every_class_names_its_fiber)
{
    char want[128];
    for (child_class = 0; child_class < STACK_CLASSES; child_class++) {
        int status = in_child(case_named, text, sizeof text);
        snprintf(want, sizeof want, "weft: fiber 4711 \"bottomless?pit\" overflowed its %zu KiB stack (raise stack_size)\n",
                 SIZE(child_class) / 1024);
        cr_assert(KILLED(status, SIGSEGV), "status %x", status);
        cr_assert_str_eq(text, want);
    }
}

static void case_most(void)
{
    begin_overflow();
    on_fiber(65536, recurse_on, (void *)(ASAN ? 20 : 100));
    on_fiber(65536, recurse_on, (void *)(ASAN ? 20 : 100));
    overflow_remove();
}

Test(overflow, a_stack_used_well_is_silent)
{
    cr_assert_eq(in_child(case_most, text, sizeof text), 0);
    cr_assert_str_empty(text);
}

static void case_unnamed(void)
{
    begin_overflow();
    if (stack_get(NULL, 16384, &running) != 0)
        _exit(7);
    stack_prepare(&running);
    overflow_install(NULL);
    on_fiber(16384, recurse_on, (void *)100000000);
}

Test(overflow, without_a_name_it_is_reported_all_the_same)
{
    cr_assert(KILLED(in_child(case_unnamed, text, sizeof text), SIGSEGV));
    cr_assert_str_eq(text, "weft: a fiber overflowed its 16 KiB stack (raise stack_size)\n");
}

static void case_stray(void)
{
    struct stack low, high;
    begin_overflow();
    do {                                        /* two neighbours, to write past the top of the lower */
        if (stack_get(NULL, 65536, &low) != 0 || stack_get(NULL, 65536, &high) != 0)
            _exit(7);
        stack_prepare(&low);
        stack_prepare(&high);
    } while (high.base - low.base != (ptrdiff_t)(65536 + page));
    running = low;
    on_fiber(65536, stray_on, high.base - 8);
}

static void case_null(void)
{
    begin_overflow();
    on_fiber(65536, stray_on, (void *)8);
}

static void case_sent(void)
{
    begin_overflow();
    raise(SIGSEGV);
}

Test(overflow, other_faults_are_silent_and_stay_what_they_are)
{
    void (*cases[3])(void) = { case_stray, case_null, case_sent };
    for (int i = 0; i < 3; i++) {
        int status = in_child(cases[i], text, sizeof text);
        cr_assert(KILLED(status, SIGSEGV), "case %d: %x", i, status);
        cr_assert_str_empty(text, "case %d: %s", i, text);
    }
}

static void theirs(int sig) { (void)!write(2, "theirs\n", 7); (void)sig; _exit(33); }
static void theirs_info(int sig, siginfo_t *info, void *u)
{
    bool right = sig == SIGSEGV && info->si_addr < (void *)running.base && u;
    (void)!write(2, right ? "right\n" : "wrong\n", 6);
    _exit(34);
}

static void case_chained(void)
{
    struct sigaction act = { .sa_handler = theirs };
    sigaction(SIGSEGV, &act, NULL);
    case_named();
}

static void case_chained_info(void)
{
    struct sigaction act = { .sa_sigaction = theirs_info, .sa_flags = SA_SIGINFO };
    sigaction(SIGSEGV, &act, NULL);
    case_named();
}

Test(overflow, a_handler_that_was_there_is_called)
{
    int status = in_child(case_chained, text, sizeof text);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 33, "%x", status);
    cr_assert_not_null(strstr(text, "(raise stack_size)\ntheirs\n"), "%s", text);
    status = in_child(case_chained_info, text, sizeof text);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 34, "%x", status);
    cr_assert_not_null(strstr(text, "(raise stack_size)\nright\n"), "%s", text);
}

static void *action(int sig)
{
    struct sigaction act;
    sigaction(sig, NULL, &act);
    return (void *)act.sa_sigaction;
}

Test(overflow, the_signals_are_given_back_by_the_last)
{
    struct sigaction later = { .sa_sigaction = theirs_info, .sa_flags = SA_SIGINFO };
    void *segv = action(SIGSEGV), *bus = action(SIGBUS), *ours;
    cr_assert_eq(overflow_install(describe), 0);
    ours = action(SIGSEGV);
    cr_assert_neq(ours, segv);
    cr_assert_eq(action(SIGBUS), ours);
    cr_assert_eq(overflow_install(describe), 0);
    overflow_remove();
    cr_assert_eq(action(SIGSEGV), ours);
    overflow_remove();
    cr_assert_eq(action(SIGSEGV), segv);
    cr_assert_eq(action(SIGBUS), bus);
    cr_assert_eq(overflow_install(describe), 0);
    sigaction(SIGSEGV, &later, NULL);           /* who comes after us stays */
    overflow_remove();
    cr_assert_eq(action(SIGSEGV), (void *)theirs_info);
    cr_assert_eq(action(SIGBUS), bus);
}

static void *with_alt(void *arg)
{
    stack_t before, within, after;
    struct overflow_stack alt, nested;
    size_t maps = count_maps();
    sigaltstack(NULL, &before);
    cr_assert_eq(overflow_thread_begin(&alt), 0);
    sigaltstack(NULL, &within);
    cr_assert_eq(within.ss_flags & SS_DISABLE, 0);
    cr_assert_geq(within.ss_size, 65536 / (ASAN ? 4 : 1));
    cr_assert_eq(overflow_thread_begin(&nested), 0);
    cr_assert_null(nested.map, "the one that is there stays");
    overflow_thread_end(&nested);
    overflow_thread_end(&alt);
    sigaltstack(NULL, &after);
    cr_assert_eq(after.ss_flags & SS_DISABLE, before.ss_flags & SS_DISABLE);
    cr_assert_eq(count_maps(), maps);
    return arg;
}

Test(overflow, a_threads_signal_stack_comes_and_goes)
{
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, with_alt, NULL), 0);
    pthread_join(t, NULL);
}
