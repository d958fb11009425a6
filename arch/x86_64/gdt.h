// SPDX-License-Identifier: MIT
// The host's segments: one flat code and one flat data segment, and a TSS that exists for its
// interrupt stacks. SDM volume 3, "Segment Descriptors" and "64-Bit Task State Segment".
#pragma once

#include "arch/x86_64/lib/types.h"

#define SEL_HOST_CS  0x08
#define SEL_HOST_DS  0x10
#define SEL_HOST_TSS 0x18

#define GDT_ENTRIES 5u // null, code, data, and a TSS descriptor of two

// Interrupt stacks for the exceptions that can come when the current stack cannot be trusted; the
// numbers are those a gate holds (0: stay on the current stack).
enum ist { IST_NONE, IST_DF, IST_NMI, IST_MC, IST_DB, IST_END };

struct tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7]; // IST1 is ist[0]
    u64 reserved2;
    u16 reserved3;
    u16 iomap_base;
} PACKED;
_Static_assert(sizeof(struct tss) == 0x68, "64-bit TSS");

struct cpu;

// Fills this CPU's GDT and TSS, loads them and every segment register, and makes this_cpu() work.
// Must come before idt_load: gates with an IST number need the TSS.
void gdt_load(struct cpu *cpu);
