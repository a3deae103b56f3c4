/* SPDX-License-Identifier: MIT */
/*
 * context - where a computation that is not running goes on
 *
 * Owns       nothing: a context is the stack pointer of a stack that nobody runs on; all else lies on that stack, in a frame
 *            drawn in context_x86_64.S and context_aarch64.S.
 * Threads    one at a time. Whoever loads a context must have seen the store of its sp: the run queues' release and acquire.
 * Saved      the registers that the ABI makes a callee keep. To the compiler a switch is a call that takes long; what a caller
 *            must save itself, it has.
 * Not saved  x87 and SSE control words (mxcsr, fcw; fpcr on aarch64) and the signal mask. They belong to the thread here, as
 *            errno does: a fiber that changes the rounding mode puts it back before it waits. Saving them always costs more
 *            than the rest of the switch together (2.5 -> 5.5 ns), and a system call for the mask a hundred times that.
 *            Nor the shadow stack of CET and GCS: the objects do not claim to support it, so the loader leaves it off.
 * TLS        the other side of a switch may be another thread. Nothing derived from it survives: not errno, not the address
 *            of a _Thread_local, not pthread_self().
 * Unwinding  the frames carry CFI and, in our own code, frame pointers. A fiber's outermost frame is context_entry, whose caller
 *            is undefined and whose frame pointer is 0: debuggers and profilers end there.
 * x86-64     the switch is jumped to from a stub of inline asm (why: context_x86_64.S). The stub steps over the red zone first, so
 *            that its push destroys nothing, and unwinders find the frame by the frame pointer.
 * Rejected   inline asm alone that clobbers all registers (1.5 ns, and the compiler saves only what lives): then a backtrace of
 *            a parked fiber depends on what the compiler kept. ucontext: two system calls a switch.
 */
#ifndef SCHED_CONTEXT_H
#define SCHED_CONTEXT_H

struct context {
    void *sp;
};

/* Save the caller in *from and go on where *to was saved. Returns when somebody switches to *from, maybe on another thread. */
#ifdef WEFT_MODEL
void context_switch(struct context *from, const struct context *to);    /* the test's */
#else
static inline void context_switch(struct context *from, const struct context *to);
#endif

/* Let the first switch to *c call entry(arg) on the stack that ends at stack_top; entry never returns. Writes the topmost
 * CONTEXT_FRAME bytes (and up to 15 for alignment) of the stack. */
void context_init(struct context *c, void *stack_top, void (*entry)(void *), void *arg);

#if defined(WEFT_MODEL)

#define CONTEXT_FRAME 0

#elif defined(__x86_64__)

#define CONTEXT_FRAME 72

#if defined(__AVX512F__)
#define CONTEXT_VECTORS "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", \
                        "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#else
#define CONTEXT_VECTORS
#endif

static inline __attribute__((always_inline)) void context_switch(struct context *from, const struct context *to)
{
    __asm__ volatile(
        "leaq -128(%%rsp), %%rsp\n\t"
        "leaq 1f(%%rip), %%rax\n\t"
        "pushq %%rax\n\t"
        "jmp context_switch_\n"
        "1:\tendbr64\n\t"
        "leaq 128(%%rsp), %%rsp"
        : "+D"(from), "+S"(to)
        : "r"(__builtin_frame_address(0))       /* a frame pointer even in a leaf: unwinders must not count from rsp here */
        : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
          "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", CONTEXT_VECTORS "memory", "cc");
}

#elif defined(__aarch64__)

#define CONTEXT_FRAME 160

void context_switch_(struct context *from, const struct context *to);

static inline void context_switch(struct context *from, const struct context *to) { context_switch_(from, to); }

#else
#error "weft runs on x86-64 and aarch64"
#endif

#endif
