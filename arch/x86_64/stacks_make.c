// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/stacks.h"

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
