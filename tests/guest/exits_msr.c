// SPDX-License-Identifier: MIT
// RDMSR and WRMSR, seen from the guest.
#include "tests/guest/machine.h"

#include "arch/x86_64/regs/cpuid.h"

static void is_gp_both_ways(u32 msr)
{
    if (try_rdmsr(msr, NULL) != VEC_GP)
        guest_fail(__FILE__, __LINE__, "an MSR that can be read", msr, 0);
    if (try_wrmsr(msr, 0) != VEC_GP)
        guest_fail(__FILE__, __LINE__, "an MSR that can be written", msr, 0);
}

GUEST_TEST(msr, capabilities_of_vmx_are_hidden)
{
    for (u32 msr = IA32_VMX_BASIC; msr <= IA32_VMX_EXIT_CTLS2; msr++)
        is_gp_both_ways(msr);
}

GUEST_TEST(msr, those_that_do_not_exist_fault)
{
    static const u32 list[] = {
        0x2,
        0xc1,  // performance counters
        0x186, // their selectors
        0x38f,      0x1ff,
        0x1fff, // the last of the bitmap's first half
        0x2000, // outside the bitmap
        0x12345678, 0x40000000, 0xbfffffff, 0xc0001fff, 0xc0002000, 0xffffffff,
    };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        is_gp_both_ways(list[i]);
}

// CPUID shows none of the features they belong to.
GUEST_TEST(msr, those_of_hidden_features_fault)
{
    static const u32 list[] = {
        IA32_MPERF, IA32_APERF,
        0xcf,  // split-lock detection
        0x122, // TSX_CTRL
        0x140, // MISC_FEATURES_ENABLES
        0x400, // bank 0 of machine checks: IA32_MCG_CAP says there is none
        0x560, // processor trace
        0x6a0, // CET
        0xd90, // MPX
    };
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        is_gp_both_ways(list[i]);
}

// What a host without the CPUID bit does not have, no guest has.
GUEST_TEST(msr, speculation_control_goes_with_its_cpuid_bits)
{
    u32 edx = cpuid(7, 0).edx;
    u64 legal = (edx & CPUID_7_EDX_IBRS ? SPEC_CTRL_IBRS : 0) |
                (edx & CPUID_7_EDX_STIBP ? SPEC_CTRL_STIBP : 0) |
                (edx & CPUID_7_EDX_SSBD ? SPEC_CTRL_SSBD : 0);
    u64 value = 0;
    G_EXPECT_EQ(try_rdmsr(IA32_SPEC_CTRL, &value), legal ? NO_FAULT : VEC_GP);
    G_EXPECT_EQ(value, 0);
    G_EXPECT_EQ(try_wrmsr(IA32_SPEC_CTRL, 0), legal ? NO_FAULT : VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_SPEC_CTRL, BIT(63)), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_PRED_CMD, 1), edx & CPUID_7_EDX_IBRS ? NO_FAULT : VEC_GP);
    G_EXPECT_EQ(try_rdmsr(IA32_PRED_CMD, NULL), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_FLUSH_CMD, 1), edx & CPUID_7_EDX_L1D_FLUSH ? NO_FAULT : VEC_GP);
    G_EXPECT_EQ(try_rdmsr(IA32_FLUSH_CMD, NULL), VEC_GP);
    G_EXPECT_EQ(try_rdmsr(IA32_ARCH_CAPABILITIES, &value),
                edx & CPUID_7_EDX_ARCH_CAP ? NO_FAULT : VEC_GP);
    G_EXPECT_EQ(value & ARCH_CAP_TSX_CTRL, 0);
    G_EXPECT_EQ(try_wrmsr(IA32_ARCH_CAPABILITIES, 0), VEC_GP);
}

GUEST_TEST(msr, read_only_ones_refuse_a_write)
{
    static const u32 list[] = {IA32_PLATFORM_ID, IA32_FEATURE_CONTROL, MSR_PLATFORM_INFO,
                               IA32_MTRRCAP, IA32_MCG_CAP};
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        u64 value;
        G_EXPECT_EQ(try_rdmsr(list[i], &value), NO_FAULT);
        G_EXPECT_EQ(try_wrmsr(list[i], value), VEC_GP);
    }
    G_EXPECT_EQ(try_rdmsr(IA32_BIOS_UPDT_TRIG, NULL), VEC_GP); // this one is write-only
    G_EXPECT_EQ(try_wrmsr(IA32_BIOS_UPDT_TRIG, 0x1000), NO_FAULT);
}

GUEST_TEST(msr, feature_control_is_locked_without_vmx)
{
    G_EXPECT_EQ(rdmsr(IA32_FEATURE_CONTROL), FEATURE_CONTROL_LOCK);
    G_EXPECT_EQ(try_wrmsr(IA32_FEATURE_CONTROL, 5), VEC_GP);
    G_EXPECT_EQ(rt_caught.error, 0);
}

GUEST_TEST(msr, rdmsr_clears_the_upper_halves)
{
    u64 a = ~0ull, d = ~0ull, c = 0xffffffff00000000ull | IA32_PAT;
    __asm__ volatile("rdmsr" : "+a"(a), "+d"(d) : "c"(c));
    G_EXPECT_EQ(a, 0x00070406);
    G_EXPECT_EQ(d, 0x00070406);
}

static u64 fault_rax, fault_rdx, fault_ip;

static void past_rdmsr(struct rt_frame *frame)
{
    fault_rdx = frame->regs[11];
    fault_rax = frame->regs[14];
    fault_ip = frame->ip;
    frame->ip += 2;
}

GUEST_TEST(msr, a_fault_changes_no_register)
{
    u64 a = 0x1234567812345678, d = 0x8765432187654321, at;
    rt_set_handler(VEC_GP, past_rdmsr);
    __asm__ volatile("leaq 1f(%%rip), %2\n1: rdmsr"
                     : "+a"(a), "+d"(d), "=&r"(at)
                     : "c"(IA32_VMX_BASIC));
    G_EXPECT_EQ(fault_rax, 0x1234567812345678);
    G_EXPECT_EQ(fault_rdx, 0x8765432187654321);
    G_EXPECT_EQ(fault_ip, at);
}

GUEST_TEST(msr, tsc_write_moves_tsc_adjust)
{
    u64 adjust = rdmsr(IA32_TSC_ADJUST), before = rdtsc();
    wrmsr(IA32_TIME_STAMP_COUNTER, before + 1000000000000ull);
    u64 moved = rdmsr(IA32_TSC_ADJUST) - adjust;
    // What passed between RDTSC and WRMSR is missing from the move.
    G_EXPECT_IN(moved, 1000000000000ull - 100000, 1000000000000ull);
    G_EXPECT_IN(rdtsc() - before, moved, moved + 200000);
    wrmsr(IA32_TIME_STAMP_COUNTER, 5);
    G_EXPECT_IN(rdtsc(), 5, 100000);
    G_EXPECT_IN(rdmsr(IA32_TIME_STAMP_COUNTER), 5, 200000);
}

GUEST_TEST(msr, tsc_adjust_write_moves_the_tsc)
{
    G_EXPECT_EQ(rdmsr(IA32_TSC_ADJUST), 0);
    u64 before = rdtsc();
    wrmsr(IA32_TSC_ADJUST, 1ull << 40);
    G_EXPECT_EQ(rdmsr(IA32_TSC_ADJUST), 1ull << 40);
    G_EXPECT_IN(rdtsc() - before, 1ull << 40, (1ull << 40) + 100000);
    wrmsr(IA32_TSC_ADJUST, (u64)-100);
    G_EXPECT_EQ(rdmsr(IA32_TSC_ADJUST), (u64)-100);
    G_EXPECT(rdtsc() - before + 100 < 200000);
}

GUEST_TEST(msr, apic_base_keeps_its_address)
{
    u64 base = rdmsr(IA32_APIC_BASE);
    G_EXPECT_EQ(base, APIC_DEFAULT_BASE | 1 << 8 | 1 << 11); // BSP, enabled
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, base), NO_FAULT);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, base | 1), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, base | 1ull << 52), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, (base & 0xfff) | 0x10000000), VEC_GP);
    // x2APIC mode without the APIC.
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, APIC_DEFAULT_BASE | 1 << 8 | 1 << 10), VEC_GP);
    G_EXPECT_EQ(rdmsr(IA32_APIC_BASE), base);
    is_gp_both_ways(IA32_X2APIC_FIRST + 2);
    is_gp_both_ways(IA32_X2APIC_LAST);
}

GUEST_TEST(msr, efer_lets_nxe_and_sce_change)
{
    u64 efer = rdmsr(IA32_EFER);
    G_EXPECT_EQ(efer, EFER_LME | EFER_LMA);
    wrmsr(IA32_EFER, efer | EFER_NXE | EFER_SCE);
    G_EXPECT_EQ(rdmsr(IA32_EFER), efer | EFER_NXE | EFER_SCE);
    // NX works now, and not without.
    u8 *code = map_page(WINDOW, rt_info->scratch, PTE_P | PTE_W | PTE_NX);
    code[0] = 0xc3;
    G_EXPECT_EQ(rt_try((void (*)(uintptr_t))(u64)code, 0), VEC_PF);
    G_EXPECT_EQ(rt_caught.error, PFEC_P | PFEC_I);
    wrmsr(IA32_EFER, efer);
    G_EXPECT_EQ(rdmsr(IA32_EFER), efer);
    G_EXPECT_EQ(rt_try((void (*)(uintptr_t))(u64)code, 0), VEC_PF);
    G_EXPECT_EQ(rt_caught.error & PFEC_R, PFEC_R);
}

GUEST_TEST(msr, efer_keeps_long_mode_and_reserved_bits)
{
    u64 efer = rdmsr(IA32_EFER);
    G_EXPECT_EQ(try_wrmsr(IA32_EFER, efer & ~EFER_LME), VEC_GP); // paging is on
    for (unsigned bit = 0; bit < 64; bit++) {
        if (BIT(bit) & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
            continue;
        G_EXPECT_EQ(try_wrmsr(IA32_EFER, efer | BIT(bit)), VEC_GP);
    }
    G_EXPECT_EQ(try_wrmsr(IA32_EFER, efer & ~EFER_LMA), NO_FAULT); // LMA is read-only
    G_EXPECT_EQ(rdmsr(IA32_EFER), efer);
}

GUEST_TEST(msr, pat_takes_memory_types_only)
{
    u64 pat = 0x0706050401000600ull;
    G_EXPECT_EQ(rdmsr(IA32_PAT), 0x0007040600070406ull);
    wrmsr(IA32_PAT, pat);
    G_EXPECT_EQ(rdmsr(IA32_PAT), pat);
    for (unsigned i = 0; i < 8; i++)
        for (u64 type = 0; type < 256; type = type < 16 ? type + 1 : type * 2) {
            u64 value = (pat & ~(0xffull << 8 * i)) | type << 8 * i;
            bool legal = type < 8 && type != 2 && type != 3;
            G_EXPECT_EQ(try_wrmsr(IA32_PAT, value), legal ? NO_FAULT : VEC_GP);
        }
    wrmsr(IA32_PAT, pat);
    G_EXPECT_EQ(rdmsr(IA32_PAT), pat);
}

GUEST_TEST(msr, misc_enable_cannot_hide_leaves_or_nx)
{
    u64 value = rdmsr(IA32_MISC_ENABLE);
    // Fast strings are as the host has them.
    G_EXPECT_EQ(value | MISC_ENABLE_FAST_STRINGS,
                MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS);
    G_EXPECT_EQ(try_wrmsr(IA32_MISC_ENABLE, value | MISC_ENABLE_LIMIT_CPUID), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_MISC_ENABLE, value | MISC_ENABLE_XD_DISABLE), VEC_GP);
    G_EXPECT_EQ(rdmsr(IA32_MISC_ENABLE), value);
    wrmsr(IA32_MISC_ENABLE, 0);
    G_EXPECT_EQ(rdmsr(IA32_MISC_ENABLE), value & ~MISC_ENABLE_FAST_STRINGS);
}

// ---- MTRRs -------------------------------------------------------------------------------------

// The type of a page that no fixed range covers: SDM volume 3, "MTRR Precedences", where at most
// one range holds it.
static u64 type_of(u64 address)
{
    for (u32 i = 0; i < 8; i++) {
        u64 mask = rdmsr(IA32_MTRR_PHYSMASK0 + 2 * i), base = rdmsr(IA32_MTRR_PHYSBASE0 + 2 * i);
        if ((mask & MTRR_MASK_V) && !((address ^ base) & mask & PTE_ADDR))
            return base & MTRR_DEF_TYPE;
    }
    return rdmsr(IA32_MTRR_DEF_TYPE) & MTRR_DEF_TYPE;
}

GUEST_TEST(msr, mtrrs_tell_ram_from_devices)
{
    G_EXPECT_EQ(rdmsr(IA32_MTRRCAP), 8 | MTRRCAP_FIX | MTRRCAP_WC);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_DEF_TYPE), MTRR_DEF_E | MTRR_DEF_FE | MEM_WB);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_FIX64K_00000), 0x0606060606060606);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_FIX16K_80000), 0x0606060606060606);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_FIX16K_A0000), 0);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_FIX4K_C0000 + 7), 0x0606060606060606);
    G_EXPECT_EQ(type_of(0x100000), MEM_WB);
    G_EXPECT_EQ(type_of(0xbffff000), MEM_WB);
    G_EXPECT_EQ(type_of(0xc0000000), MEM_UC);
    G_EXPECT_EQ(type_of(APIC_DEFAULT_BASE), MEM_UC);
    G_EXPECT_EQ(type_of(0x100000000), MEM_WB);
}

GUEST_TEST(msr, mtrrs_take_memory_types_only)
{
    for (u64 type = 0; type < 16; type++) {
        int want = type <= MEM_WB && type != 2 && type != 3 ? NO_FAULT : VEC_GP;
        G_EXPECT_EQ(try_wrmsr(IA32_MTRR_DEF_TYPE, MTRR_DEF_E | type), want);
        G_EXPECT_EQ(try_wrmsr(IA32_MTRR_PHYSBASE0 + 14, type), want);
        G_EXPECT_EQ(try_wrmsr(IA32_MTRR_FIX4K_C0000, type << 56), want);
    }
    G_EXPECT_EQ(rdmsr(IA32_MTRR_DEF_TYPE), MTRR_DEF_E | MEM_WB);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_PHYSBASE0 + 14), MEM_WB);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_FIX4K_C0000), (u64)MEM_WB << 56);
}

GUEST_TEST(msr, mtrrs_keep_reserved_bits_clear)
{
    u64 width = BIT(cpuid(0x80000008, 0).eax & 0xff);
    G_EXPECT_EQ(try_wrmsr(IA32_MTRR_DEF_TYPE, BIT(12)), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_MTRR_PHYSBASE0, BIT(11)), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_MTRR_PHYSBASE0, width), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_MTRR_PHYSMASK0, BIT(10)), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_MTRR_PHYSMASK0, width), VEC_GP);
    wrmsr(IA32_MTRR_PHYSBASE0, (width - 1) & PTE_ADDR);
    wrmsr(IA32_MTRR_PHYSMASK0, MTRR_MASK_V | ((width - 1) & PTE_ADDR));
    G_EXPECT_EQ(rdmsr(IA32_MTRR_PHYSBASE0), (width - 1) & PTE_ADDR);
    G_EXPECT_EQ(rdmsr(IA32_MTRR_PHYSMASK0), MTRR_MASK_V | ((width - 1) & PTE_ADDR));
    is_gp_both_ways(IA32_MTRR_PHYSBASE0 + 16); // there are eight pairs
}

GUEST_TEST(msr, debugctl_offers_btf_alone)
{
    G_EXPECT_EQ(rdmsr(IA32_DEBUGCTL), 0);
    for (unsigned bit = 0; bit < 64; bit++)
        if (bit != 1)
            G_EXPECT_EQ(try_wrmsr(IA32_DEBUGCTL, BIT(bit)), VEC_GP);
    wrmsr(IA32_DEBUGCTL, 2);
    G_EXPECT_EQ(rdmsr(IA32_DEBUGCTL), 2);
    wrmsr(IA32_DEBUGCTL, 0);
    G_EXPECT_EQ(rdmsr(IA32_DEBUGCTL), 0);
}

GUEST_TEST(msr, machine_check_has_no_banks)
{
    G_EXPECT_EQ(rdmsr(IA32_MCG_CAP), 0);
    G_EXPECT_EQ(try_wrmsr(IA32_MCG_CAP, 0), VEC_GP);
    G_EXPECT_EQ(rdmsr(IA32_MCG_STATUS), 0);
    G_EXPECT_EQ(try_wrmsr(IA32_MCG_STATUS, 0), NO_FAULT);
    G_EXPECT_EQ(try_wrmsr(IA32_MCG_STATUS, 1), VEC_GP);
}

GUEST_TEST(msr, microcode_and_platform_can_be_asked_for)
{
    G_EXPECT_EQ(rdmsr(IA32_PLATFORM_ID), 0);
    wrmsr(IA32_BIOS_SIGN_ID, 0);
    G_EXPECT_EQ((u32)rdmsr(IA32_BIOS_SIGN_ID), 0); // the revision, if any, is above
    G_EXPECT_EQ(rdmsr(MSR_PLATFORM_INFO) >> 8 & 0xff, rt_div(rt_info->tsc_hz, 100000000));
}

GUEST_TEST(msr, xss_offers_no_state)
{
    G_EXPECT_EQ(rdmsr(IA32_XSS), 0);
    G_EXPECT_EQ(try_wrmsr(IA32_XSS, 0), NO_FAULT);
    for (unsigned bit = 0; bit < 64; bit++)
        G_EXPECT_EQ(try_wrmsr(IA32_XSS, BIT(bit)), VEC_GP);
}

GUEST_TEST(msr, deadline_outside_its_mode_reads_zero)
{
    G_EXPECT(rt_info->features & GUEST_HAS_TSC_DEADLINE);
    wrmsr(IA32_TSC_DEADLINE, rdtsc() + 1000000000);
    G_EXPECT_EQ(rdmsr(IA32_TSC_DEADLINE), 0);
}

// Neither read nor written by Corbel on the way; the addresses must be canonical.
GUEST_PART(msr, those_passed_through_keep_their_values)
{
    static const u32 list[] = {IA32_SYSENTER_ESP, IA32_SYSENTER_EIP, IA32_LSTAR,         IA32_CSTAR,
                               IA32_FS_BASE,      IA32_GS_BASE,      IA32_KERNEL_GS_BASE};
    for (u64 i = 0; i < ARRAY_SIZE(list); i++) {
        G_EXPECT_EQ(rdmsr(list[i]), 0);
        wrmsr(list[i], 0xffff812345678000ull + i);
    }
    for (u64 i = 0; i < ARRAY_SIZE(list); i++) {
        G_EXPECT_EQ(rdmsr(list[i]), 0xffff812345678000ull + i);
        wrmsr(list[i], 0);
    }
    wrmsr(IA32_STAR, 0x0123456789abcdefull);
    wrmsr(IA32_FMASK, 0x47700);
    wrmsr(IA32_SYSENTER_CS, 0x1234);
    G_EXPECT_EQ(rdmsr(IA32_STAR), 0x0123456789abcdefull);
    G_EXPECT_EQ(rdmsr(IA32_FMASK), 0x47700);
    G_EXPECT_EQ(rdmsr(IA32_SYSENTER_CS), 0x1234);
}

GUEST_TEST(msr, passed_through_addresses_must_be_canonical)
{
    G_EXPECT_EQ(try_wrmsr(IA32_KERNEL_GS_BASE, 0x8000000000000000ull), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_LSTAR, 0x0000800000000000ull), VEC_GP);
    G_EXPECT_EQ(try_wrmsr(IA32_FS_BASE, 0xffff7fffffffffffull), VEC_GP);
    G_EXPECT_EQ(rdmsr(IA32_KERNEL_GS_BASE), 0);
    G_EXPECT_EQ(rdmsr(IA32_LSTAR), 0);
}

// Corbel looks at its own one during the calls.
GUEST_PART(msr, spec_ctrl_is_the_guests_own)
{
    u64 legal =
        cpuid(7, 0).edx & CPUID_7_EDX_SSBD ? SPEC_CTRL_IBRS | SPEC_CTRL_SSBD : SPEC_CTRL_IBRS;
    G_EXPECT_EQ(rdmsr(IA32_SPEC_CTRL), 0);
    wrmsr(IA32_SPEC_CTRL, SPEC_CTRL_IBRS);
    G_EXPECT_EQ(vmcall(HYPERCALL_PING, 1), 2);
    G_EXPECT_EQ(rdmsr(IA32_SPEC_CTRL), SPEC_CTRL_IBRS);
    wrmsr(IA32_SPEC_CTRL, legal);
    G_EXPECT_EQ(vmcall(HYPERCALL_PING, 1), 2);
    G_EXPECT_EQ(rdmsr(IA32_SPEC_CTRL), legal);
    wrmsr(IA32_SPEC_CTRL, 0);
    wrmsr(IA32_PRED_CMD, PRED_CMD_IBPB);
    G_EXPECT_EQ(vmcall(HYPERCALL_PING, 1), 2);
    G_EXPECT_EQ(rdmsr(IA32_SPEC_CTRL), 0);
    wrmsr(IA32_SPEC_CTRL, legal);
}
