// SPDX-License-Identifier: MIT
// Exits, seen from the guest: instructions that always exit, and ports.
#include "tests/guest/machine.h"

#include "arch/x86_64/regs/cpuid.h"

// ---- CPUID -------------------------------------------------------------------------------------

GUEST_TEST(exits, cpuid_shows_corbel)
{
    struct cpuid_regs r = cpuid(0x40000000, 0);
    G_EXPECT_EQ(r.ebx, 0x62726f43); // "Corb"
    G_EXPECT_EQ(r.ecx, 0x6f436c65); // "elCo"
    G_EXPECT_EQ(r.edx, 0x6c656272); // "rbel"
    G_EXPECT(r.eax >= 0x40000010);
}

GUEST_TEST(exits, cpuid_hides_what_corbel_lacks)
{
    u32 highest = cpuid(0, 0).eax;
    struct cpuid_regs r = cpuid(1, 0);
    G_EXPECT(r.ecx & CPUID_1_ECX_HYPERVISOR);
    G_EXPECT(r.edx & CPUID_1_EDX_APIC);
    G_EXPECT_EQ(r.ecx & (CPUID_1_ECX_VMX | CPUID_1_ECX_SMX | CPUID_1_ECX_MONITOR |
                         CPUID_1_ECX_PDCM | CPUID_1_ECX_EIST | CPUID_1_ECX_DTES64 |
                         CPUID_1_ECX_SDBG | CPUID_1_ECX_TM2 | CPUID_1_ECX_DCA),
                0);
    G_EXPECT_EQ(r.edx & (CPUID_1_EDX_DS | CPUID_1_EDX_ACPI | CPUID_1_EDX_HTT), 0);
    G_EXPECT_EQ(cpuid(6, 0).ecx, 0); // no MPERF and APERF
    r = cpuid(7, 0);
    G_EXPECT_EQ(r.ebx & (CPUID_7_EBX_SGX | CPUID_7_EBX_HLE | CPUID_7_EBX_RTM | CPUID_7_EBX_MPX |
                         CPUID_7_EBX_RDT_M | CPUID_7_EBX_RDT_A | CPUID_7_EBX_PT),
                0);
    G_EXPECT_EQ(r.ecx & (CPUID_7_ECX_PKU | CPUID_7_ECX_WAITPKG | CPUID_7_ECX_CET_SS |
                         CPUID_7_ECX_LA57 | CPUID_7_ECX_PKS),
                0);
    for (u32 leaf = 0xa; leaf <= highest; leaf++)
        if (leaf == 0xa || leaf == 0x12 || leaf == 0x14) { // counters, SGX, PT
            r = cpuid(leaf, 0);
            G_EXPECT_EQ(r.eax | r.ebx | r.ecx | r.edx, 0);
        }
}

static bool same(struct cpuid_regs a, struct cpuid_regs b)
{
    return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

GUEST_TEST(exits, cpuid_past_the_last_leaf_is_the_last)
{
    u32 basic = cpuid(0, 0).eax, extended = cpuid(0x80000000, 0).eax;
    struct cpuid_regs last = cpuid(basic, 0);
    G_EXPECT(basic >= 0x15);
    G_EXPECT(extended >= 0x80000008);
    G_EXPECT(last.eax | last.ebx);
    G_EXPECT(same(cpuid(basic + 1, 0), last));
    G_EXPECT(same(cpuid(0x3fffffff, 0), last));
    G_EXPECT(same(cpuid(extended + 1, 0), last));
    G_EXPECT(same(cpuid(0xffffffff, 0), last));
    G_EXPECT_EQ(cpuid(0x80000008, 0).eax & 0xff00, 48 << 8);
}

GUEST_TEST(exits, cpuid_clears_the_upper_halves)
{
    u64 a = 0xffffffff00000000, b = ~0ull, c = 0xffffffff00000000, d = ~0ull;
    __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    G_EXPECT_EQ(a >> 32 | b >> 32 | c >> 32 | d >> 32, 0);
    G_EXPECT_EQ(a, cpuid(0, 0).eax);
}

GUEST_TEST(exits, cpuid_mirrors_osxsave)
{
    bool xsave = cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE;
    G_EXPECT(!(cpuid(1, 0).ecx & CPUID_1_ECX_OSXSAVE));
    G_EXPECT_EQ(try_write_cr(4, read_cr4() | CR4_OSXSAVE), xsave ? NO_FAULT : VEC_GP);
    G_EXPECT_EQ(!!(cpuid(1, 0).ecx & CPUID_1_ECX_OSXSAVE), xsave);
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    G_EXPECT(!(cpuid(1, 0).ecx & CPUID_1_ECX_OSXSAVE));
}

// Every feature state's size and offset must agree with the totals.
GUEST_TEST(exits, cpuid_tells_the_size_of_the_xsave_area)
{
    if (!(cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)) {
        struct cpuid_regs none = cpuid(0xd, 0);
        G_EXPECT_EQ(none.eax | none.ebx | none.ecx | none.edx, 0);
        return;
    }
    u32 states = cpuid(0xd, 0).eax, end = 576;
    G_EXPECT_EQ(states & 3, 3);
    G_EXPECT_EQ(cpuid(0xd, 0).ebx, 576);
    for (u32 i = 2; i < 32; i++) {
        struct cpuid_regs r = cpuid(0xd, i);
        G_EXPECT_EQ(!!(states & 1u << i), r.eax != 0);
        if (r.ebx + r.eax > end)
            end = r.ebx + r.eax;
    }
    G_EXPECT_EQ(cpuid(0xd, 0).ecx, end);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    G_EXPECT_EQ(try_xsetbv(0, states), NO_FAULT);
    G_EXPECT_EQ(cpuid(0xd, 0).ebx, end);
    G_EXPECT_EQ(try_xsetbv(0, 3), NO_FAULT);
    G_EXPECT_EQ(cpuid(0xd, 0).ebx, 576);
}

GUEST_TEST(exits, cpuid_tells_the_frequencies)
{
    struct cpuid_regs r = cpuid(0x15, 0), own = cpuid(0x40000010, 0);
    G_EXPECT(r.eax && r.ebx && r.ecx);
    G_EXPECT_EQ(rt_div((u64)r.ecx * r.ebx, r.eax), rt_info->tsc_hz);
    G_EXPECT_EQ(r.ecx, rt_info->lapic_hz);
    G_EXPECT_EQ(cpuid(0x16, 0).eax, rt_div(rt_info->tsc_hz, 1000000));
    G_EXPECT_EQ(own.eax, rt_div(rt_info->tsc_hz, 1000));
    G_EXPECT_EQ(own.ebx, rt_div(rt_info->lapic_hz, 1000));
}

GUEST_TEST(exits, cpuid_hides_an_apic_that_is_off)
{
    u64 base = rdmsr(IA32_APIC_BASE);
    G_EXPECT_EQ(cpuid(1, 0).edx & CPUID_1_EDX_APIC, CPUID_1_EDX_APIC);
    wrmsr(IA32_APIC_BASE, base & ~APIC_BASE_ENABLE);
    G_EXPECT_EQ(cpuid(1, 0).edx & CPUID_1_EDX_APIC, 0);
    wrmsr(IA32_APIC_BASE, base);
    G_EXPECT_EQ(cpuid(1, 0).edx & CPUID_1_EDX_APIC, CPUID_1_EDX_APIC);
}

GUEST_TEST(exits, cpuid_says_one_processor)
{
    struct cpuid_regs r = cpuid(1, 0);
    G_EXPECT_EQ(r.ebx >> 24, 0);
    G_EXPECT_EQ(r.ebx >> 16 & 0xff, 1);
    if (cpuid(0, 0).eax >= 0xb)
        G_EXPECT_EQ(cpuid(0xb, 0).edx, 0);
}

// ---- other instructions ------------------------------------------------------------------------

GUEST_TEST(exits, vmcall_ping_answers)
{
    G_EXPECT_EQ(vmcall(HYPERCALL_PING, 41), 42);
}

GUEST_TEST(exits, vmcall_unknown_is_an_error)
{
    G_EXPECT_EQ(vmcall(12345, 0), HYPERCALL_UNKNOWN);
}

static u64 rdtscp(u32 *aux)
{
    u32 lo, hi;
    __asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(*aux));
    return (u64)hi << 32 | lo;
}

GUEST_TEST(exits, rdtsc_goes_forward)
{
    u64 last = rdtsc();
    for (unsigned i = 0; i < 1000; i++) {
        u64 now = i % 10 ? rdtsc() : rdmsr(IA32_TIME_STAMP_COUNTER);
        G_EXPECT(now > last);
        last = now;
    }
}

GUEST_TEST(exits, rdtscp_gives_tsc_aux)
{
    static const u8 code[] = {0x0f, 0x01, 0xf9};
    u32 aux = 0;
    if (!(cpuid(0x80000001, 0).edx & CPUID_80000001_EDX_RDTSCP)) {
        G_EXPECT_EQ(try_code(code, sizeof(code)), VEC_UD);
        return;
    }
    G_EXPECT_EQ(rdmsr(IA32_TSC_AUX), 0);
    wrmsr(IA32_TSC_AUX, 0x89abcdef);
    u64 before = rdtsc(), at = rdtscp(&aux);
    G_EXPECT(at > before && at < rdtsc());
    G_EXPECT_EQ(aux, 0x89abcdef);
}

GUEST_TEST(exits, invd_and_wbinvd_lose_nothing)
{
    volatile u64 *memory = (volatile u64 *)rt_info->scratch;
    *memory = 0x1122334455667788;
    __asm__ volatile("invd" : : : "memory");
    G_EXPECT_EQ(*memory, 0x1122334455667788);
    *memory = 0x8877665544332211;
    __asm__ volatile("wbinvd" : : : "memory");
    G_EXPECT_EQ(*memory, 0x8877665544332211);
}

struct instruction {
    u8 code[8];
    u8 length;
};

GUEST_TEST(exits, insns_the_guest_lacks_are_undefined)
{
    static const struct instruction list[] = {
        {{0x0f, 0x01, 0xc8},             3}, // MONITOR
        {{0x0f, 0x01, 0xc9},             3}, // MWAIT
        {{0x0f, 0xaa},                   2}, // RSM
        {{0x0f, 0x01, 0xc2},             3}, // VMLAUNCH
        {{0x0f, 0x01, 0xc3},             3}, // VMRESUME
        {{0x0f, 0x01, 0xc4},             3}, // VMXOFF
        {{0xf3, 0x0f, 0xc7, 0x34, 0x24}, 5}, // VMXON [RSP]
        {{0x66, 0x0f, 0xc7, 0x34, 0x24}, 5}, // VMCLEAR [RSP]
        {{0x0f, 0xc7, 0x34, 0x24},       4}, // VMPTRLD [RSP]
        {{0x0f, 0xc7, 0x3c, 0x24},       4}, // VMPTRST [RSP]
        {{0x0f, 0x78, 0xc0},             3}, // VMREAD RAX, RAX
        {{0x0f, 0x79, 0xc0},             3}, // VMWRITE RAX, RAX
        {{0x66, 0x0f, 0x38, 0x80, 0x0b}, 5}, // INVEPT RCX, [RBX]
        {{0x66, 0x0f, 0x38, 0x81, 0x0b}, 5}, // INVVPID RCX, [RBX]
        {{0x0f, 0x01, 0xd4},             3}, // VMFUNC
    };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        int vector = try_code(list[i].code, list[i].length);
        if (vector != VEC_UD)
            guest_fail(__FILE__, (int)i, "vector of the instruction with this number", (u64)vector,
                       VEC_UD);
    }
}

GUEST_TEST(exits, rdpmc_finds_no_counter)
{
    static const u8 rdpmc[] = {0x0f, 0x33};
    G_EXPECT_EQ(try_code(rdpmc, sizeof(rdpmc)), VEC_GP);
    G_EXPECT_EQ(rt_caught.error, 0);
    write_cr4(read_cr4() | CR4_PCE);
    G_EXPECT_EQ(try_code(rdpmc, sizeof(rdpmc)), VEC_GP);
}

GUEST_TEST(exits, privileged_insns_fault_in_user_mode)
{
    static const struct instruction list[] = {
        {{0x0f, 0x30},             2}, // WRMSR
        {{0x0f, 0x32},             2}, // RDMSR
        {{0xf4},                   1}, // HLT
        {{0x0f, 0x08},             2}, // INVD
        {{0x0f, 0x09},             2}, // WBINVD
        {{0x0f, 0x20, 0xc0},       3}, // MOV RAX, CR0
        {{0x44, 0x0f, 0x22, 0xc0}, 4}, // MOV CR8, RAX
        {{0x0f, 0x06},             2}, // CLTS
        {{0x0f, 0x21, 0xf8},       3}, // MOV RAX, DR7
        {{0xe4, 0x80},             2}, // IN AL, 80H
        {{0x6e},                   1}, // OUTSB
    };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        int vector = try_user_code(list[i].code, list[i].length, 0);
        if (vector != VEC_GP)
            guest_fail(__FILE__, (int)i, "vector of the instruction with this number", (u64)vector,
                       VEC_GP);
    }
}

GUEST_TEST(exits, cpuid_and_ports_work_in_user_mode)
{
    static const u8 code[] = {0x0f, 0xa2, 0xb0, 0x5a, 0xe6, 0x80}; // CPUID; MOV AL, 5AH; OUT 80H
    G_EXPECT_EQ(try_user_code(code, sizeof(code), RFLAGS_IOPL), VEC_UD);
    G_EXPECT_EQ(inb(0x80), 0x5a);
}

static bool xcr0_is_legal(u32 states, u64 value)
{
    const u64 avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
    if (!(value & XCR0_X87) || (value & ~(u64)states))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    return !(value & avx512) || ((value & avx512) == avx512 && (value & XCR0_AVX));
}

static u64 xgetbv(void)
{
    u32 lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (u64)hi << 32 | lo;
}

GUEST_TEST(exits, xsetbv_takes_legal_values_only)
{
    static const u64 high[] = {1ull << 8 | 1,  1ull << 9 | 1,  1ull << 17 | 3,
                               1ull << 32 | 3, 1ull << 62 | 3, 1ull << 63 | 3};
    G_EXPECT_EQ(try_xsetbv(0, 1), VEC_UD); // CR4.OSXSAVE is clear
    if (!(cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE))
        return;
    u32 states = cpuid(0xd, 0).eax;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    G_EXPECT_EQ(xgetbv(), 1);
    u64 now = 1;
    for (u64 value = 0; value < 256; value++) {
        bool legal = xcr0_is_legal(states, value);
        G_EXPECT_EQ(try_xsetbv(0, value), legal ? NO_FAULT : VEC_GP);
        now = legal ? value : now;
        G_EXPECT_EQ(xgetbv(), now);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(high); i++)
        G_EXPECT_EQ(try_xsetbv(0, high[i]), VEC_GP);
    G_EXPECT_EQ(try_xsetbv(1, 1), VEC_GP); // there is no XCR1
    G_EXPECT_EQ(xgetbv(), now);
}

GUEST_TEST(exits, hlt_waits_for_the_timer)
{
    rt_set_handler(0x50, note_event);
    xapic_write(APIC_TDCR, 0xb); // divide by 1
    xapic_write(APIC_LVT_TIMER, 0x50);
    u64 start = rdtsc();
    xapic_write(APIC_TMICT, (u32)rt_div(rt_info->lapic_hz, 10000));
    sti_hlt_cli();
    u64 took = rdtsc() - start, wanted = rt_div(rt_info->tsc_hz, 10000);
    G_EXPECT_EQ(event_count, 1);
    G_EXPECT_IN(took, wanted - wanted / 100, 2 * wanted);
}

// With interrupts off, so that nothing but the deadline itself brings the guest out.
GUEST_PART(exits, deadline_ends_a_spin)
{
    xapic_write(APIC_TDCR, 0xb);
    xapic_write(APIC_LVT_TIMER, 0x50);
    xapic_write(APIC_TMICT, (u32)rt_div(rt_info->lapic_hz, 10000));
    u64 end = rdtsc() + rt_div(rt_info->tsc_hz, 5000);
    while (rdtsc() < end)
        ;
    G_EXPECT_EQ(xapic_read(APIC_IRR + 0x20), 1 << 16);
}

// ---- ports -------------------------------------------------------------------------------------

// IN and OUT with the port in the instruction, so both forms are met.
#define IN(insn, reg, rax) __asm__ volatile(insn " $0x80, %%" reg : "+a"(rax))

GUEST_TEST(exits, in_keeps_the_upper_part_of_rax)
{
    u64 rax = 0x1122334455667788;
    outb(0x80, 0xa5);
    IN("inb", "al", rax);
    G_EXPECT_EQ(rax, 0x11223344556677a5);
    G_EXPECT_EQ(inb(0x80), 0xa5);
    // Wider than the device: nobody answers, and 32 bits clear the rest.
    rax = 0x1122334455667788;
    IN("inw", "ax", rax);
    G_EXPECT_EQ(rax, 0x112233445566ffff);
    rax = 0x1122334455667788;
    IN("inl", "eax", rax);
    G_EXPECT_EQ(rax, 0xffffffff);
}

GUEST_TEST(exits, out_writes_its_width_only)
{
    u64 rax = 0x1122334455667788;
    __asm__ volatile("outb %%al, $0x80" : "+a"(rax));
    G_EXPECT_EQ(rax, 0x1122334455667788);
    G_EXPECT_EQ(inb(0x80), 0x88);
    outw(0x80, 0x1234); // two ports wide: not this device's
    outl(0x80, 0x12345678);
    G_EXPECT_EQ(inb(0x80), 0x88);
    outw(0x7f, 0x9999);
    G_EXPECT_EQ(inb(0x80), 0x88);
}

GUEST_TEST(exits, ports_nobody_claims_read_as_ones)
{
    static const u16 ports[] = {0x0002, 0x1234, 0x5678, 0xfffc};
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        outl(ports[i], 0);
        G_EXPECT_EQ(inb(ports[i]), 0xff);
        G_EXPECT_EQ(inw(ports[i]), 0xffff);
        G_EXPECT_EQ(inl(ports[i]), 0xffffffff);
    }
    G_EXPECT_EQ(inl(0xffff), 0xffffffff); // past the last port
}

GUEST_TEST(exits, registers_survive)
{
    // Every register but RSP, whose value the stack shows, with a pattern of its own.
    u64 bad = 1;
    __asm__ volatile("pushq %%rbp\n\t"
                     "movl $0x80, %%edx; movl $0x5c, %%eax\n\t"
                     "leaq 3(%%rax), %%rbx; leaq 4(%%rax), %%rcx; leaq 5(%%rax), %%rsi\n\t"
                     "leaq 6(%%rax), %%rdi; leaq 7(%%rax), %%rbp; leaq 8(%%rax), %%r8\n\t"
                     "leaq 9(%%rax), %%r9; leaq 10(%%rax), %%r10; leaq 11(%%rax), %%r11\n\t"
                     "leaq 12(%%rax), %%r12; leaq 13(%%rax), %%r13; leaq 14(%%rax), %%r14\n\t"
                     "leaq 15(%%rax), %%r15\n\t"
                     "outb %%al, %%dx; inb %%dx, %%al; vmcall; movl $0x5c, %%eax\n\t"
                     "subq %%rax, %%rbx; subq %%rax, %%rcx; subq %%rax, %%rsi\n\t"
                     "subq %%rax, %%rdi; subq %%rax, %%rbp; subq %%rax, %%r8\n\t"
                     "subq %%rax, %%r9; subq %%rax, %%r10; subq %%rax, %%r11\n\t"
                     "subq %%rax, %%r12; subq %%rax, %%r13; subq %%rax, %%r14\n\t"
                     "subq %%rax, %%r15; subq $0x80, %%rdx\n\t"
                     "xorq $3, %%rbx; xorq $4, %%rcx; xorq $5, %%rsi; xorq $6, %%rdi\n\t"
                     "xorq $7, %%rbp; xorq $8, %%r8; xorq $9, %%r9; xorq $10, %%r10\n\t"
                     "xorq $11, %%r11; xorq $12, %%r12; xorq $13, %%r13; xorq $14, %%r14\n\t"
                     "xorq $15, %%r15\n\t"
                     "orq %%rbx, %%rdx; orq %%rcx, %%rdx; orq %%rsi, %%rdx; orq %%rdi, %%rdx\n\t"
                     "orq %%rbp, %%rdx; orq %%r8, %%rdx; orq %%r9, %%rdx; orq %%r10, %%rdx\n\t"
                     "orq %%r11, %%rdx; orq %%r12, %%rdx; orq %%r13, %%rdx; orq %%r14, %%rdx\n\t"
                     "orq %%r15, %%rdx\n\t"
                     "popq %%rbp"
                     : "=d"(bad)
                     :
                     : "rax", "rbx", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                       "r14", "r15", "memory", "cc");
    G_EXPECT_EQ(bad, 0);
}

GUEST_TEST(exits, flags_survive)
{
    static const u32 flags[] = {RFLAGS_FIXED,
                                RFLAGS_FIXED | RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF |
                                    RFLAGS_SF | RFLAGS_DF | RFLAGS_OF,
                                RFLAGS_FIXED | RFLAGS_CF | RFLAGS_DF | RFLAGS_ID | RFLAGS_AC};
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        u64 rflags = flags[i];
        __asm__ volatile("pushq %0; popfq; outb %%al, $0x80; cpuid; pushfq; popq %0; cld"
                         : "+S"(rflags)
                         :
                         : "rax", "rbx", "rcx", "rdx", "memory", "cc");
        G_EXPECT_EQ(rflags, flags[i]);
    }
}
