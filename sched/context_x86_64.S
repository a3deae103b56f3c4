/* SPDX-License-Identifier: MIT */
/*
 * context_switch_: jumped to, not called, by context_switch in context.h    rdi = from, rsi = to, return address pushed
 * void context_init(struct context *c, void *stack_top, void (*entry)(void *), void *arg);    rdi, rsi, rdx, rcx
 *
 * The frame of a context that is not running, from its saved sp upwards; in brackets what context_init puts there:
 *
 *      +0  r15     [0]
 *      +8  r14     [0]
 *     +16  r13     [arg]
 *     +24  r12     [entry]
 *     +32  rbx     [0]
 *     +40  rbp     [its own address, so that an unwinder that trusts rbp on the way finds the return address above it]
 *     +48  return  [context_entry, behind its nop]
 *     +56          [0]   the end of a saved frame; of a new one, CONTEXT_FRAME = 72, these two words are padding:
 *     +64          [0]   sp is a multiple of 16 when context_entry begins
 *
 * System V ABI, AMD64: 3.2.1, rbx, rbp, r12-r15 and rsp belong to the caller; 3.2.2, rsp + 8 is a multiple of 16 when a function
 * is entered; 3.4.1, the outermost frame has rbp 0: context_entry clears it. The direction flag is clear at every call, so it need
 * not be saved.
 *
 * Neither call nor ret: the processor predicts a ret by a stack of the calls before it. A switch that is called and answered by
 * ret pops a stranger's entry (8.3 ns a switch between a fiber and the loop, on Zen 4); called and answered by jmp it leaves one
 * behind, and every ret after it misses. Jumped to and left by jmp, the prediction stack of each side is as it was: a yield
 * through the loop, with all its frames, measured 43.8 ns with call and ret, 31 with call and jmp; see context.h for this one.
 */
#ifdef MUTANT_CONTEXT
#define FRAME 80                /* the first frame is 8 off: all but vector code runs */
#else
#define FRAME 72
#endif

        .text

        .p2align 4
        .globl  context_switch_
        .hidden context_switch_
        .type   context_switch_, @function
context_switch_:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        movq    %rsp, (%rdi)
        movq    (%rsi), %rsp            /* both frames look alike: the CFI holds on either side */
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register %rip, %rcx
        jmp     *%rcx
        .cfi_endproc
        .size   context_switch_, . - context_switch_

        .p2align 4
        .globl  context_init
        .hidden context_init
        .type   context_init, @function
context_init:
        .cfi_startproc
        endbr64
        andq    $-16, %rsi
        leaq    .Lentered(%rip), %rax
        subq    $FRAME, %rsi
        movq    $0, (%rsi)
        movq    $0, 8(%rsi)
        movq    %rcx, 16(%rsi)
        movq    %rdx, 24(%rsi)
        movq    $0, 32(%rsi)
        movq    %rax, 48(%rsi)
        leaq    40(%rsi), %rax
        movq    %rax, 40(%rsi)
        movq    $0, 56(%rsi)
        movq    $0, 64(%rsi)
        movq    %rsi, (%rdi)
        ret
        .cfi_endproc
        .size   context_init, . - context_init

        .p2align 4
        .type   context_entry, @function
context_entry:
        .cfi_startproc
        .cfi_undefined %rip             /* nobody called us: unwinding ends here */
        nop                             /* unwinders look up the byte before a return address */
.Lentered:
        xorl    %ebp, %ebp              /* the end of the chain of frame pointers */
        movq    %r13, %rdi
        call    *%r12
        ud2                             /* entry returned */
        .cfi_endproc
        .size   context_entry, . - context_entry

        .section .note.GNU-stack, "", @progbits

        .section .note.gnu.property, "a"        /* indirect branch tracking yes, shadow stacks no */
        .p2align 3
        .long   4, 16, 5                        /* name, descriptor, NT_GNU_PROPERTY_TYPE_0 */
        .asciz  "GNU"
        .long   0xc0000002, 4, 1, 0             /* GNU_PROPERTY_X86_FEATURE_1_AND: IBT */
