/* SPDX-License-Identifier: MIT */
/* overflow: the line that a fiber's end of stack prints, in children that die of it, and all the faults that print none. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
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

#define SIZE(k) ((size_t)1 << (STACK_SHIFT_LEAST + (k)))

static size_t page;

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

static void setup(void) { page = (size_t)sysconf(_SC_PAGESIZE); }

TestSuite(overflow, .init = setup, .timeout = 60);

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
    stack_prepare(NULL, &running);
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
    if (strncmp(text, "WEFT_SHAKE_SEED=", 16) == 0)     /* what the shake flavour says first */
        memmove(text, strchr(text, '\n') + 1, strlen(strchr(text, '\n')));
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

Test(overflow, an_overflow_is_a_fault, .signal = SIGSEGV)
{
    signal(SIGSEGV, SIG_DFL);                   /* a sanitizer would exit with a report */
    on_fiber(65536, recurse_on, (void *)100000000);
}

Test(overflow, an_overflow_of_mprotect_guards_is_a_fault)
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
    stack_prepare(NULL, &running);
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
        stack_prepare(NULL, &low);
        stack_prepare(NULL, &high);
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
