// SPDX-License-Identifier: MIT
// The host's stacks, each with a page below it that paging_init leaves unmapped: running over the
// end of one is a fault, not a silent overwrite of what lies there.
#pragma once

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/frame.h"

#define RUN_STACK_SIZE 16384u // stacks.asm has as much
#define IST_STACK_SIZE 8192u

struct ist_stack {
    u8 guard[PAGE_SIZE];
    u8 bytes[IST_STACK_SIZE];
} ALIGNED(PAGE_SIZE);

// stacks.asm: the boot CPU runs on this one from its first C instruction on.
extern u8 boot_stack_guard[], boot_stack[], boot_stack_top[];

// Gives the boot CPU its stacks, which are in the image.
void stacks_boot(struct cpu *cpu);

// Gives another CPU its stacks, from frames. Needs paging_init. E_NOMEM; what was had stays mapped.
MUST_CHECK int stacks_alloc(struct cpu *cpu, struct frame_pool *frames);

// The first byte above the interrupt stack of a CPU; ist is 1 to IST_END - 1.
u8 *ist_stack_top(u32 cpu_id, unsigned ist);

// Whether the page at this address is a guard page.
bool stack_is_guard(const u8 *page);
