// SPDX-License-Identifier: MIT
#include "arch/x86_64/cpu.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"

#define CACHE_LINE 64u // of every CPU with VT-x

static struct cpu boot_cpu = {.state = CPU_ONLINE};
struct cpu *cpus[MAX_CPUS] = {&boot_cpu};
struct cpu_features cpu_features;

INIT u32 cpu_microcode(void)
{
    u64 revision = 0;
    if (!cpu_features.intel || !wrmsr_safe(IA32_BIOS_SIGN_ID, 0))
        return 0;
    cpuid(1, 0);
    return rdmsr_safe(IA32_BIOS_SIGN_ID, &revision) ? (u32)(revision >> 32) : 0;
}

void cpu_write_back(const volatile void *at, size_t size)
{
    uintptr_t end = (uintptr_t)at + size;
    for (uintptr_t line = align_down((uintptr_t)at, CACHE_LINE); line < end; line += CACHE_LINE)
        clflush((const volatile void *)line);
}
