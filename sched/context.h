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
 * Rejected   inline asm that clobbers all registers (1.5 ns, and the compiler saves only what lives): a push in it destroys
 *            the red zone of a leaf function, and unwinders lose the frame. ucontext: two system calls a switch.
 */
#ifndef SCHED_CONTEXT_H
#define SCHED_CONTEXT_H

struct context {
    void *sp;
};

/* Save the caller in *from and go on where *to was saved. Returns when somebody switches to *from, maybe on another thread. */
void context_switch(struct context *from, const struct context *to);

/* Let the first switch to *c call entry(arg) on the stack that ends at stack_top; entry never returns. Writes the topmost
 * CONTEXT_FRAME bytes (and up to 15 for alignment) of the stack. */
void context_init(struct context *c, void *stack_top, void (*entry)(void *), void *arg);

#if defined(__x86_64__)
#define CONTEXT_FRAME 72
#elif defined(__aarch64__)
#define CONTEXT_FRAME 160
#else
#error "weft runs on x86-64 and aarch64"
#endif

#endif
