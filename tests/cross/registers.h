/* SPDX-License-Identifier: MIT */
/*
 * registers - a switch with every callee-saved register full of a pattern
 *
 * registers_held(from, to, pattern) puts pattern + i into each register that a callee must keep, calls context_switch_(from, to),
 * and when it returns counts the registers that are not as they were. It keeps the ABI towards its own caller.
 * On x86-64 rbp is one of them, so no unwinder should look while it runs.
 * rounding_get and rounding_set are <fenv.h> without libm.
 */
#ifndef TESTS_REGISTERS_H
#define TESTS_REGISTERS_H

#include <stdint.h>

#include "sched/context.h"

uint64_t registers_held(struct context *from, const struct context *to, uint64_t pattern);

#if defined(__x86_64__)

__asm__(".text\n"
        ".globl registers_held\n"
        ".type registers_held, @function\n"
        "registers_held:\n"
        "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n push %rdx\n"
        "lea 1(%rdx), %rbp\n lea 2(%rdx), %rbx\n lea 3(%rdx), %r12\n"
        "lea 4(%rdx), %r13\n lea 5(%rdx), %r14\n lea 6(%rdx), %r15\n"
        "call context_switch_\n"
        "pop %rdx\n"
        "xor %eax, %eax\n"
        ".macro held reg, i\n lea \\i(%rdx), %rcx\n cmp %rcx, \\reg\n setne %cl\n movzbl %cl, %ecx\n add %rcx, %rax\n .endm\n"
        "held %rbp, 1\n held %rbx, 2\n held %r12, 3\n held %r13, 4\n held %r14, 5\n held %r15, 6\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
        "ret\n"
        ".size registers_held, . - registers_held\n");

#define ROUND_DOWN 0x2000u
#define ROUND_UP 0x4000u

static inline unsigned rounding_get(void)
{
    unsigned csr;
    __asm__ volatile("stmxcsr %0" : "=m"(csr));
    return csr & 0x6000u;
}

static inline void rounding_set(unsigned mode)
{
    unsigned csr;
    __asm__ volatile("stmxcsr %0" : "=m"(csr));
    csr = (csr & ~0x6000u) | mode;
    __asm__ volatile("ldmxcsr %0" : : "m"(csr));
}

#elif defined(__aarch64__)

__asm__(".text\n"
        ".globl registers_held\n"
        ".type registers_held, %function\n"
        "registers_held:\n"
        "stp x29, x30, [sp, #-176]!\n mov x29, sp\n"
        "stp x19, x20, [sp, #16]\n stp x21, x22, [sp, #32]\n stp x23, x24, [sp, #48]\n stp x25, x26, [sp, #64]\n"
        "stp x27, x28, [sp, #80]\n stp d8, d9, [sp, #96]\n stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n"
        "stp d14, d15, [sp, #144]\n str x2, [sp, #160]\n"
        ".macro fill reg, i\n add \\reg, x2, #\\i\n .endm\n"
        "fill x19, 1\n fill x20, 2\n fill x21, 3\n fill x22, 4\n fill x23, 5\n fill x24, 6\n fill x25, 7\n fill x26, 8\n"
        "fill x27, 9\n fill x28, 10\n"
        ".macro filld reg, i\n add x9, x2, #\\i\n fmov \\reg, x9\n .endm\n"
        "filld d8, 11\n filld d9, 12\n filld d10, 13\n filld d11, 14\n filld d12, 15\n filld d13, 16\n filld d14, 17\n"
        "filld d15, 18\n"
        "bl context_switch_\n"
        "ldr x2, [sp, #160]\n mov x0, #0\n"
        ".macro held reg, i\n add x9, x2, #\\i\n cmp \\reg, x9\n cinc x0, x0, ne\n .endm\n"
        "held x19, 1\n held x20, 2\n held x21, 3\n held x22, 4\n held x23, 5\n held x24, 6\n held x25, 7\n held x26, 8\n"
        "held x27, 9\n held x28, 10\n"
        "mov x9, sp\n cmp x29, x9\n cinc x0, x0, ne\n"
        ".macro heldd reg, i\n fmov x10, \\reg\n held x10, \\i\n .endm\n"
        "heldd d8, 11\n heldd d9, 12\n heldd d10, 13\n heldd d11, 14\n heldd d12, 15\n heldd d13, 16\n heldd d14, 17\n"
        "heldd d15, 18\n"
        "ldp x19, x20, [sp, #16]\n ldp x21, x22, [sp, #32]\n ldp x23, x24, [sp, #48]\n ldp x25, x26, [sp, #64]\n"
        "ldp x27, x28, [sp, #80]\n ldp d8, d9, [sp, #96]\n ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n"
        "ldp d14, d15, [sp, #144]\n ldp x29, x30, [sp], #176\n"
        "ret\n"
        ".size registers_held, . - registers_held\n");

#define ROUND_DOWN 0x800000u
#define ROUND_UP 0x400000u

static inline unsigned rounding_get(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (unsigned)fpcr & 0xc00000u;
}

static inline void rounding_set(unsigned mode)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    fpcr = (fpcr & ~UINT64_C(0xc00000)) | mode;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}

#endif

#endif
