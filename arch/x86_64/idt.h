// SPDX-License-Identifier: MIT
// The interrupt descriptor table, one for all CPUs: SDM volume 3, "64-Bit Mode IDT".
#pragma once

#include "arch/x86_64/gdt.h"

struct idt_gate {
    u16 offset_low;
    u16 selector;
    u8 ist;
    u8 rights; // P, DPL and type as in a segment's access rights
    u16 offset_mid;
    u32 offset_high;
    u32 reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "64-bit gate");

#define IDT_GATES          256u
#define IDT_RIGHTS_INTGATE 0x8e // present, DPL 0, 64-bit interrupt gate: IF is cleared on entry

extern struct idt_gate host_idt[IDT_GATES];

// Fills the table; once, before the first idt_load.
void idt_init(void);

// Loads it on this CPU; after gdt_load.
void idt_load(void);
