// SPDX-License-Identifier: MIT
#include "arch/x86_64/stacks.h"

static struct ist_stack ist_stacks[MAX_CPUS][IST_END - 1] __attribute__((section(".bss.stacks")));

u8 *ist_stack_top(u32 cpu_id, unsigned ist)
{
    struct ist_stack *stack = &ist_stacks[cpu_id][ist - 1];
    return stack->bytes + sizeof(stack->bytes);
}

bool stack_is_guard(const u8 *page)
{
    if (page == boot_stack_guard)
        return true;
    uintptr_t offset = (uintptr_t)page - (uintptr_t)ist_stacks;
    return offset < sizeof(ist_stacks) && offset % sizeof(struct ist_stack) < PAGE_SIZE;
}
