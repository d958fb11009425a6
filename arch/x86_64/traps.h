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

#define TRAP_FIRST_INTERRUPT 32u // the vectors below are exceptions

// Called by isr.asm. An NMI is counted. An exception at an instruction with a fixup, or under a
// probe, is resumed there; any other ends the run with the crash screen. An interrupt goes to its
// handler.
void trap_dispatch(struct trap_frame *frame);

// An interrupt's handler: runs with interrupts off and signals EOI itself.
typedef void (*trap_handler_fn)(u8 vector);

// Sets the handler of an interrupt vector (32 to 255), for all CPUs.
void trap_set_handler(u8 vector, trap_handler_fn handler);

// A handler that does nothing, for what must not be ended by an EOI.
void trap_ignore(u8 vector);

// The handler set, or NULL.
trap_handler_fn trap_handler(u8 vector);

// Runs the handler of an interrupt that a VM exit acknowledged (SDM volume 3, "Acknowledge
// interrupt on exit"), just as if it had come through the IDT. The vector has a handler once
// host_lapic_init is done.
void trap_interrupt(u8 vector);

// RDMSR and WRMSR that report a fault: false if the instruction raised one (#GP), and then *value
// is as it was.
bool rdmsr_safe(u32 msr, u64 *value);
bool wrmsr_safe(u32 msr, u64 value);

#define PROBE_NO_FAULT (-1)

struct probe_result {
    s32 vector; // of the exception that ended the function, or PROBE_NO_FAULT
    u32 error;  // its error code, 0 where it has none
};

// Calls fn(arg) and comes back even if it raises an exception (all but NMI and #MC). Does not nest.
// Meant for self-tests: whatever fn held when it faulted stays held.
struct probe_result probe_call(void (*fn)(u64 arg), u64 arg);

// One byte read at addr; written as it is; called, so it should hold a RET.
struct probe_result probe_read(const volatile void *addr);
struct probe_result probe_write(const volatile void *addr);
struct probe_result probe_exec(const volatile void *addr);

// A push onto the stack that ends at top.
struct probe_result probe_stack(const volatile void *top);
