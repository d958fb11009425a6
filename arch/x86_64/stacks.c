// SPDX-License-Identifier: MIT
#include "arch/x86_64/stacks.h"

static struct ist_stack boot_ist_stacks[IST_END - 1] __attribute__((section(".bss.stacks")));

INIT void stacks_boot(struct cpu *cpu)
{
    cpu->stack_top = boot_stack_top;
    for (unsigned i = 0; i < IST_END - 1; i++)
        cpu->ist_tops[i] = boot_ist_stacks[i].bytes + IST_STACK_SIZE;
}

INIT u8 *ist_stack_top(u32 cpu_id, unsigned ist)
{
    return cpus[cpu_id]->ist_tops[ist - 1];
}

static bool guards(const struct cpu *cpu, const u8 *page)
{
    if (page == cpu->stack_top - RUN_STACK_SIZE - PAGE_SIZE)
        return true;
    for (unsigned i = 0; i < IST_END - 1; i++)
        if (page == cpu->ist_tops[i] - IST_STACK_SIZE - PAGE_SIZE)
            return true;
    return false;
}

bool stack_is_guard(const u8 *page)
{
    for (unsigned i = 0; i < MAX_CPUS && cpus[i]; i++)
        if (guards(cpus[i], page))
            return true;
    return false;
}
