// SPDX-License-Identifier: MIT
// The runtime of guest programs: ports, the UART, interrupts, caught exceptions, the local APIC.
// Everything here runs inside a guest and knows nothing of Corbel but guest/abi.h.
#pragma once

#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "guest/abi.h"

// What an interrupt or exception pushed; the same in both modes.
struct rt_frame {
    uintptr_t regs[sizeof(void *) == 8 ? 15 : 7];
    uintptr_t vector, error;
    uintptr_t ip, cs, flags;
};

typedef void (*rt_handler)(struct rt_frame *frame);

extern const struct guest_info *rt_info;

// Loads GDT and IDT; all 256 vectors report and end the guest until they have a handler.
void rt_init(const struct guest_info *info);
void rt_set_handler(u8 vector, rt_handler handler);

// A function of attribute "interrupt", which the CPU enters with nothing in between.
struct interrupt_frame;
typedef void (*rt_entry)(struct interrupt_frame *frame);
void rt_set_entry(u8 vector, rt_entry entry);

// Calls fn(arg) and returns the vector of the exception that ended it, or -1; rt_caught then holds
// what was pushed, except the registers.
int rt_try(void (*fn)(uintptr_t arg), uintptr_t arg);
extern volatile struct rt_caught {
    uintptr_t vector, error, ip, flags;
} rt_caught;

void rt_putc(char c);
void rt_print(const char *text);
void rt_print_u64(u64 value);
void rt_print_hex(u64 value, unsigned digits);
NORETURN void rt_exit(u8 value);

u64 rt_div(u64 a, u32 b); // 32-bit guests have no 64-bit division

static inline u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u16 inw(u16 port)
{
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void outb(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(u16 port, u16 v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u64 rdtsc(void)
{
    u32 lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline void sti(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}

// Waits for one interrupt with no gap before it, and has them off again.
static inline void sti_hlt_cli(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

static inline uintptr_t vmcall(uintptr_t function, uintptr_t arg)
{
    uintptr_t r = function;
    __asm__ volatile("vmcall" : "+a"(r) : "b"(arg) : "memory");
    return r;
}

// The local APIC through its page (identity-mapped), or through MSRs once x2APIC mode is on.
static inline u32 xapic_read(u32 reg)
{
    return *(volatile u32 *)(uintptr_t)(0xfee00000u + reg);
}

static inline void xapic_write(u32 reg, u32 v)
{
    *(volatile u32 *)(uintptr_t)(0xfee00000u + reg) = v;
}

static inline u64 x2apic_read(u32 reg)
{
    return rdmsr(IA32_X2APIC_FIRST + (reg >> 4));
}

static inline void x2apic_write(u32 reg, u64 v)
{
    wrmsr(IA32_X2APIC_FIRST + (reg >> 4), v);
}
