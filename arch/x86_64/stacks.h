// SPDX-License-Identifier: MIT
// The host's stacks, each with a page below it that paging_init leaves unmapped: running over the
// end of one is a fault, not a silent overwrite of what lies there.
#pragma once

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/bits.h"

#define IST_STACK_SIZE 8192u

struct ist_stack {
    u8 guard[PAGE_SIZE];
    u8 bytes[IST_STACK_SIZE];
} ALIGNED(PAGE_SIZE);

// stacks.asm: the boot CPU runs on this one from its first C instruction on.
extern u8 boot_stack_guard[], boot_stack[], boot_stack_top[];

// The first byte above the interrupt stack of a CPU; ist is 1 to IST_END - 1.
u8 *ist_stack_top(u32 cpu_id, unsigned ist);

// Whether the page at this image address is a guard page.
bool stack_is_guard(const u8 *page);
