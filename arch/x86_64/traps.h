// SPDX-License-Identifier: MIT
// Exceptions and interrupts of the host itself: SDM volume 3, "Interrupt and Exception Handling".
#pragma once

#include "arch/x86_64/lib/types.h"

// What isr.asm pushes; rip and below are the CPU's.
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8;
    u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector;
    u64 error; // 0 for vectors that push none
    u64 rip, cs, rflags, rsp, ss;
};
