// SPDX-License-Identifier: MIT
#include "arch/x86_64/idt.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/traps.h"

extern const u8 isr_stubs[];

static u8 ist_of(unsigned vector)
{
    switch (vector) {
    case VEC_DF:
        return IST_DF;
    case VEC_NMI:
        return IST_NMI;
    case VEC_MC:
        return IST_MC;
    case VEC_DB:
        return IST_DB;
    default:
        return IST_NONE;
    }
}

// Where isr.asm has a vector's entry.
static u64 entry_of(unsigned vector)
{
    unsigned exceptions = vector < TRAP_FIRST_INTERRUPT ? vector : TRAP_FIRST_INTERRUPT;
    return (uintptr_t)isr_stubs + exceptions * 16 + (vector - exceptions) * 8;
}

void idt_init(void)
{
    for (unsigned vector = 0; vector < IDT_GATES; vector++) {
        u64 entry = entry_of(vector);
        host_idt[vector] = (struct idt_gate){
            .offset_low = (u16)entry,
            .selector = SEL_HOST_CS,
            .ist = ist_of(vector),
            .rights = IDT_RIGHTS_INTGATE,
            .offset_mid = (u16)(entry >> 16),
            .offset_high = (u32)(entry >> 32),
        };
    }
}

void idt_load(void)
{
    struct table_register idtr = {sizeof(struct idt_gate) * IDT_GATES - 1, (uintptr_t)host_idt};
    lidt(&idtr);
}
