// SPDX-License-Identifier: MIT
#include "arch/x86_64/stacks.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/paging.h"

static struct ist_stack boot_ist_stacks[IST_END - 1] __attribute__((section(".bss.stacks")));

void stacks_boot(struct cpu *cpu)
{
    cpu->stack_top = boot_stack_top;
    for (unsigned i = 0; i < IST_END - 1; i++)
        cpu->ist_tops[i] = boot_ist_stacks[i].bytes + IST_STACK_SIZE;
}

static u8 *alloc_stack(struct frame_pool *frames, u64 size)
{
    hpa_t base;
    if (frame_alloc(frames, size >> PAGE_SHIFT, PAGE_SIZE, 0, &base) != OK)
        return NULL;
    u8 *bottom = paging_map_apart(base, size);
    return bottom ? bottom + size : NULL;
}

int stacks_alloc(struct cpu *cpu, struct frame_pool *frames)
{
    cpu->stack_top = alloc_stack(frames, RUN_STACK_SIZE);
    bool good = cpu->stack_top;
    for (unsigned i = 0; good && i < IST_END - 1; i++) {
        cpu->ist_tops[i] = alloc_stack(frames, IST_STACK_SIZE);
        good = cpu->ist_tops[i];
    }
    return good ? OK : E_NOMEM;
}

u8 *ist_stack_top(u32 cpu_id, unsigned ist)
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
