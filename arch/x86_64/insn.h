// SPDX-License-Identifier: MIT
// The only inline assembly of the kernel's C: one function an instruction, nothing decided here.
#pragma once

#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/cpuid.h"

static inline u8 inb(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u16 inw(u16 port)
{
    u16 value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u32 inl(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void outb(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outw(u16 port, u16 value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outl(u16 port, u32 value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}

// Faults on an MSR that does not exist; see rdmsr_safe in arch/x86_64/traps.h for those.
static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
    u64 lo, hi; // RDTSC clears the upper halves
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return hi << 32 | lo;
}

#define DEFINE_CR(n)                                                                               \
    static inline u64 read_cr##n(void)                                                             \
    {                                                                                              \
        u64 value;                                                                                 \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory");                         \
        return value;                                                                              \
    }                                                                                              \
    static inline void write_cr##n(u64 value)                                                      \
    {                                                                                              \
        __asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                             \
    }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)
#undef DEFINE_CR

#define DEFINE_DR(n)                                                                               \
    static inline u64 read_dr##n(void)                                                             \
    {                                                                                              \
        u64 value;                                                                                 \
        __asm__ volatile("mov %%dr" #n ", %0" : "=r"(value));                                      \
        return value;                                                                              \
    }                                                                                              \
    static inline void write_dr##n(u64 value)                                                      \
    {                                                                                              \
        __asm__ volatile("mov %0, %%dr" #n : : "r"(value));                                        \
    }
DEFINE_DR(0)
DEFINE_DR(1)
DEFINE_DR(2)
DEFINE_DR(3)
DEFINE_DR(6)
DEFINE_DR(7)
#undef DEFINE_DR

static inline u64 read_rflags(void)
{
    u64 value;
    __asm__ volatile("pushfq; popq %0" : "=r"(value) : : "memory");
    return value;
}

// Orders an earlier load before a later RDTSC, and the reverse: SDM volume 2, "RDTSC".
static inline void lfence(void)
{
    __asm__ volatile("lfence" : : : "memory");
}

static inline void mfence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

NORETURN static inline void ud2(void)
{
    __asm__ volatile("ud2");
    __builtin_unreachable();
}

static inline void invlpg(const void *linear)
{
    __asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}

static inline void wbinvd(void)
{
    __asm__ volatile("wbinvd" : : : "memory");
}

// Writes the cache line back to memory, if it was changed, and drops it.
static inline void clflush(const volatile void *linear)
{
    __asm__ volatile("clflush (%0)" : : "r"(linear) : "memory");
}

static inline u64 xgetbv(u32 index)
{
    u32 lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
    return (u64)hi << 32 | lo;
}

// #GP if value is not a legal XCR: check it against CPUID leaf DH first.
static inline void xsetbv(u32 index, u64 value)
{
    __asm__ volatile("xsetbv" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline void cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline void hlt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}

// Waits for one interrupt, takes it, and has interrupts off again: STI's shadow closes the gap in
// which an interrupt could come between the two instructions.
static inline void sti_hlt_cli(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

static inline void stac(void)
{
    __asm__ volatile("stac" : : : "memory");
}

static inline void clac(void)
{
    __asm__ volatile("clac" : : : "memory");
}

struct table_register {
    u16 limit;
    u64 base;
} PACKED;

static inline void lgdt(const struct table_register *gdtr)
{
    __asm__ volatile("lgdt %0" : : "m"(*gdtr) : "memory");
}

static inline void lidt(const struct table_register *idtr)
{
    __asm__ volatile("lidt %0" : : "m"(*idtr) : "memory");
}

static inline struct table_register sgdt(void)
{
    struct table_register r;
    __asm__ volatile("sgdt %0" : "=m"(r));
    return r;
}

static inline struct table_register sidt(void)
{
    struct table_register r;
    __asm__ volatile("sidt %0" : "=m"(r));
    return r;
}

static inline void ltr(u16 selector)
{
    __asm__ volatile("ltr %0" : : "r"(selector) : "memory");
}

static inline void lldt(u16 selector)
{
    __asm__ volatile("lldt %0" : : "r"(selector) : "memory");
}

// Loads every segment register: CS by a far return, FS and GS with null (their bases are MSRs).
static inline void load_segments(u16 cs, u16 ds)
{
    __asm__ volatile("pushq %0\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "movw %w1, %%ds\n\t"
                     "movw %w1, %%es\n\t"
                     "movw %w1, %%ss\n\t"
                     "movw %w2, %%fs\n\t"
                     "movw %w2, %%gs"
                     :
                     : "r"((u64)cs), "r"((u64)ds), "r"(0ull)
                     : "rax", "memory");
}

// The first quadword of what the GS base points to.
static inline u64 read_gs_first(void)
{
    u64 value;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
    return value;
}

#define DEFINE_READ_SEG(seg)                                                                       \
    static inline u16 read_##seg(void)                                                             \
    {                                                                                              \
        u16 value;                                                                                 \
        __asm__ volatile("mov %%" #seg ", %0" : "=r"(value));                                      \
        return value;                                                                              \
    }
DEFINE_READ_SEG(cs)
DEFINE_READ_SEG(ss)
DEFINE_READ_SEG(ds)
DEFINE_READ_SEG(es)
DEFINE_READ_SEG(fs)
DEFINE_READ_SEG(gs)
#undef DEFINE_READ_SEG

static inline u16 str(void)
{
    u16 value;
    __asm__ volatile("str %0" : "=r"(value));
    return value;
}

// NMI and #MC exits do not deliver the event: it is raised again for the host's own handler.
static inline void raise_nmi(void)
{
    __asm__ volatile("int $2" : : : "memory");
}

// The result of a VMX instruction: SDM volume 3, "Conventions" of the VMX instruction reference.
enum vmx_result {
    VMX_SUCCEED = 0,
    VMX_FAIL_INVALID = 1, // CF: there is no current VMCS
    VMX_FAIL_VALID = 2,   // ZF: the VM-instruction error field says why
};

#define VMX_RESULT(c, z) ((c) ? VMX_FAIL_INVALID : (z) ? VMX_FAIL_VALID : VMX_SUCCEED)

// region: host-physical address of a VMXON region.
static inline enum vmx_result vmxon(u64 region)
{
    bool c, z;
    __asm__ volatile("vmxon %2" : "=@ccc"(c), "=@ccz"(z) : "m"(region) : "memory");
    return VMX_RESULT(c, z);
}

static inline enum vmx_result vmxoff(void)
{
    bool c, z;
    __asm__ volatile("vmxoff" : "=@ccc"(c), "=@ccz"(z) : : "memory");
    return VMX_RESULT(c, z);
}

// vmcs: host-physical address of a VMCS region, in these two.
static inline enum vmx_result vmclear(u64 vmcs)
{
    bool c, z;
    __asm__ volatile("vmclear %2" : "=@ccc"(c), "=@ccz"(z) : "m"(vmcs) : "memory");
    return VMX_RESULT(c, z);
}

static inline enum vmx_result vmptrld(u64 vmcs)
{
    bool c, z;
    __asm__ volatile("vmptrld %2" : "=@ccc"(c), "=@ccz"(z) : "m"(vmcs) : "memory");
    return VMX_RESULT(c, z);
}

static inline u64 vmptrst(void)
{
    u64 vmcs;
    __asm__ volatile("vmptrst %0" : "=m"(vmcs) : : "memory");
    return vmcs;
}

static inline enum vmx_result vmread_checked(u64 field, u64 *value)
{
    bool c, z;
    __asm__ volatile("vmread %3, %2" : "=@ccc"(c), "=@ccz"(z), "=r"(*value) : "r"(field));
    return VMX_RESULT(c, z);
}

static inline enum vmx_result vmwrite_checked(u64 field, u64 value)
{
    bool c, z;
    __asm__ volatile("vmwrite %2, %3" : "=@ccc"(c), "=@ccz"(z) : "r"(value), "r"(field) : "memory");
    return VMX_RESULT(c, z);
}

struct inv_descriptor {
    u64 first;  // INVEPT: the EPT pointer; INVVPID: the VPID
    u64 second; // INVEPT: 0; INVVPID: the linear address
};

static inline enum vmx_result invept(u64 type, struct inv_descriptor what)
{
    bool c, z;
    __asm__ volatile("invept %2, %3" : "=@ccc"(c), "=@ccz"(z) : "m"(what), "r"(type) : "memory");
    return VMX_RESULT(c, z);
}

static inline enum vmx_result invvpid(u64 type, struct inv_descriptor what)
{
    bool c, z;
    __asm__ volatile("invvpid %2, %3" : "=@ccc"(c), "=@ccz"(z) : "m"(what), "r"(type) : "memory");
    return VMX_RESULT(c, z);
}

// For fields known to exist, with a VMCS known to be current: the result flags are not looked at.
static inline u64 vmread_fast(u64 field)
{
    u64 value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
    return value;
}

static inline void vmwrite_fast(u64 field, u64 value)
{
    __asm__ volatile("vmwrite %0, %1" : : "r"(value), "r"(field) : "cc", "memory");
}

// The FPU and SIMD registers, which the kernel itself never uses. area is 16-aligned (FXSAVE) or
// 64-aligned (XSAVE) and as large as CPUID leaf DH says.
static inline void fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static inline void xsave(void *area, u64 states)
{
    __asm__ volatile("xsave64 (%0)"
                     :
                     : "r"(area), "a"((u32)states), "d"((u32)(states >> 32))
                     : "memory");
}

static inline void xrstor(const void *area, u64 states)
{
    __asm__ volatile("xrstor64 (%0)"
                     :
                     : "r"(area), "a"((u32)states), "d"((u32)(states >> 32))
                     : "memory");
}

static inline void raise_machine_check(void)
{
    __asm__ volatile("int $18" : : : "memory");
}

// Lets pending interrupts in: STI's shadow covers the NOP, so they come between it and CLI.
static inline void sti_nop_cli(void)
{
    __asm__ volatile("sti; nop; nop; cli" : : : "memory");
}
