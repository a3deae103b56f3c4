/* SPDX-License-Identifier: MIT */
/*
 * void context_switch_(struct context *from, const struct context *to);        x0, x1
 * void context_init(struct context *c, void *stack_top, void (*entry)(void *), void *arg);    x0, x1, x2, x3
 *
 * The frame of a context that is not running, from its saved sp upwards; in brackets what context_init puts there:
 *
 *      +0  x29, x30    [0: the end of the chain of frame records; context_entry, behind its nop]
 *     +16  x19, x20    [entry, arg]
 *     +32  x21, x22    [0, 0]
 *     +48  x23, x24    [0, 0]
 *     +64  x25, x26    [0, 0]
 *     +80  x27, x28    [0, 0]
 *     +96  d8, d9      [0, 0]
 *    +112  d10, d11    [0, 0]
 *    +128  d12, d13    [0, 0]
 *    +144  d14, d15    [0, 0]
 *    +160              sp of the caller; CONTEXT_FRAME = 160
 *
 * AAPCS64: 6.1.1, r19-r28 and sp are kept for the caller, r29 and r30 are frame record and link; 6.1.2, so are the low 64 bits of
 * v8-v15; 6.4.5.1, sp is a multiple of 16. x18, the platform register, is not touched: Linux gives it no meaning.
 * A return address signed with sp as its modifier stays good, since a stack never moves. `ret` to x30 needs no bti landing.
 */
        .text

        .p2align 4
        .globl  context_switch_
        .hidden context_switch_
        .type   context_switch_, %function
context_switch_:
        .cfi_startproc
        hint    #34                     /* bti c */
        stp     x29, x30, [sp, #-160]!
        .cfi_adjust_cfa_offset 160
        .cfi_rel_offset x29, 0
        .cfi_rel_offset x30, 8
        stp     x19, x20, [sp, #16]
        .cfi_rel_offset x19, 16
        .cfi_rel_offset x20, 24
        stp     x21, x22, [sp, #32]
        .cfi_rel_offset x21, 32
        .cfi_rel_offset x22, 40
        stp     x23, x24, [sp, #48]
        .cfi_rel_offset x23, 48
        .cfi_rel_offset x24, 56
        stp     x25, x26, [sp, #64]
        .cfi_rel_offset x25, 64
        .cfi_rel_offset x26, 72
        stp     x27, x28, [sp, #80]
        .cfi_rel_offset x27, 80
        .cfi_rel_offset x28, 88
        stp     d8, d9, [sp, #96]
        .cfi_rel_offset d8, 96
        .cfi_rel_offset d9, 104
        stp     d10, d11, [sp, #112]
        .cfi_rel_offset d10, 112
        .cfi_rel_offset d11, 120
        stp     d12, d13, [sp, #128]
        .cfi_rel_offset d12, 128
        .cfi_rel_offset d13, 136
        stp     d14, d15, [sp, #144]
        .cfi_rel_offset d14, 144
        .cfi_rel_offset d15, 152
        mov     x9, sp
        ldr     x10, [x1]
        str     x9, [x0]
        mov     sp, x10                 /* both frames look alike: the CFI holds on either side */
        ldp     x19, x20, [sp, #16]
        ldp     x21, x22, [sp, #32]
        ldp     x23, x24, [sp, #48]
        ldp     x25, x26, [sp, #64]
        ldp     x27, x28, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        ldp     x29, x30, [sp], #160
        .cfi_adjust_cfa_offset -160
        .cfi_restore x19
        .cfi_restore x20
        .cfi_restore x21
        .cfi_restore x22
        .cfi_restore x23
        .cfi_restore x24
        .cfi_restore x25
        .cfi_restore x26
        .cfi_restore x27
        .cfi_restore x28
        .cfi_restore d8
        .cfi_restore d9
        .cfi_restore d10
        .cfi_restore d11
        .cfi_restore d12
        .cfi_restore d13
        .cfi_restore d14
        .cfi_restore d15
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   context_switch_, . - context_switch_

        .p2align 4
        .globl  context_init
        .hidden context_init
        .type   context_init, %function
context_init:
        .cfi_startproc
        hint    #34                     /* bti c */
        and     x1, x1, #-16
        sub     x1, x1, #160
        adr     x9, .Lentered
        stp     xzr, x9, [x1]
        stp     x2, x3, [x1, #16]
        stp     xzr, xzr, [x1, #32]
        stp     xzr, xzr, [x1, #48]
        stp     xzr, xzr, [x1, #64]
        stp     xzr, xzr, [x1, #80]
        stp     xzr, xzr, [x1, #96]
        stp     xzr, xzr, [x1, #112]
        stp     xzr, xzr, [x1, #128]
        stp     xzr, xzr, [x1, #144]
        str     x1, [x0]
        ret
        .cfi_endproc
        .size   context_init, . - context_init

        .p2align 4
        .type   context_entry, %function
context_entry:
        .cfi_startproc
        .cfi_undefined x30              /* nobody called us: unwinding ends here */
        nop                             /* unwinders look up the byte before a return address */
.Lentered:
        mov     x0, x20
        blr     x19
        brk     #1                      /* entry returned */
        .cfi_endproc
        .size   context_entry, . - context_entry

        .section .note.GNU-stack, "", %progbits

        .section .note.gnu.property, "a"        /* branch target identification yes, guarded control stacks no */
        .p2align 3
        .long   4, 16, 5                        /* name, descriptor, NT_GNU_PROPERTY_TYPE_0 */
        .asciz  "GNU"
        .long   0xc0000000, 4, 1, 0             /* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI */
