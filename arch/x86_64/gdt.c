// SPDX-License-Identifier: MIT
#include "arch/x86_64/gdt.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"

// The descriptor of these rights (as a VMCS holds them) with base 0 and limit FFFFFH.
static u64 flat_descriptor(u32 rights)
{
    return (u64)(rights & 0xff) << 40 | 0xfull << 48 | (u64)(rights >> 12 & 0xf) << 52 | 0xffff;
}

static void put_tss_descriptor(u64 *entry, const struct tss *tss)
{
    u64 base = (uintptr_t)tss;
    // LTR wants it available and marks it busy itself.
    u64 rights = (AR_TSS_BUSY & 0xff) & ~2u;
    entry[0] = (sizeof(*tss) - 1) | bits_get(base, 23, 0) << 16 | rights << 40 |
               bits_get(base, 31, 24) << 56;
    entry[1] = base >> 32;
}

static void fill_tss(struct cpu *cpu)
{
    cpu->tss = (struct tss){.iomap_base = sizeof(struct tss)};
    for (unsigned ist = IST_NONE + 1; ist < IST_END; ist++)
        cpu->tss.ist[ist - 1] = (uintptr_t)cpu->ist_tops[ist - 1];
}

void gdt_load(struct cpu *cpu)
{
    cpu->self = cpu;
    cpu->gdt[0] = 0;
    cpu->gdt[SEL_HOST_CS / 8] = flat_descriptor(AR_CODE64);
    cpu->gdt[SEL_HOST_DS / 8] = flat_descriptor(AR_DATA32);
    put_tss_descriptor(&cpu->gdt[SEL_HOST_TSS / 8], &cpu->tss);
    fill_tss(cpu);

    struct table_register gdtr = {sizeof(cpu->gdt) - 1, (uintptr_t)cpu->gdt};
    lgdt(&gdtr);
    load_segments(SEL_HOST_CS, SEL_HOST_DS);
    lldt(0);
    ltr(SEL_HOST_TSS);
    // After the selectors: loading GS clears its base.
    wrmsr(IA32_FS_BASE, 0);
    wrmsr(IA32_GS_BASE, (uintptr_t)cpu);
    wrmsr(IA32_KERNEL_GS_BASE, 0);
}
