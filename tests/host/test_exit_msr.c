// SPDX-License-Identifier: MIT
// RDMSR and WRMSR: every number there is, what each register takes, and which of them never exit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_rig.h"

#define GP (~0x1badull) // stands for #GP(0) where a value is expected

static u64 rdmsr(struct vmx_rig *r, u32 msr)
{
    r->vcpu.regs[GPR_RCX] = 0x1234567800000000ull | msr; // the upper half does not count
    r->vcpu.regs[GPR_RAX] = r->vcpu.regs[GPR_RDX] = ~0ull;
    vmcs_write(VMCS_GUEST_RIP, RIG_CODE);
    r->vcpu.exception.valid = false;
    rig_exit(r, &(struct rig_exit){.reason = REASON_RDMSR, .length = 2});
    assert_int_equal(r->vm.end, VM_RUNNING);
    if (r->vcpu.exception.valid) {
        assert_int_equal(r->vcpu.exception.vector, VEC_GP);
        assert_int_equal(r->vcpu.exception.error_code, 0);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        assert_int_equal(r->vcpu.regs[GPR_RAX], ~0ull);
        assert_int_equal(r->vcpu.regs[GPR_RDX], ~0ull);
        return GP;
    }
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
    assert_int_equal(r->vcpu.regs[GPR_RAX] >> 32, 0);
    assert_int_equal(r->vcpu.regs[GPR_RDX] >> 32, 0);
    return r->vcpu.regs[GPR_RDX] << 32 | r->vcpu.regs[GPR_RAX];
}

// Whether it was done, and not #GP(0).
static bool wrmsr(struct vmx_rig *r, u32 msr, u64 value)
{
    r->vcpu.regs[GPR_RCX] = 0x1234567800000000ull | msr;
    r->vcpu.regs[GPR_RAX] = 0x1234567800000000ull | (u32)value;
    r->vcpu.regs[GPR_RDX] = 0x1234567800000000ull | value >> 32;
    vmcs_write(VMCS_GUEST_RIP, RIG_CODE);
    r->vcpu.exception.valid = false;
    rig_exit(r, &(struct rig_exit){.reason = REASON_WRMSR, .length = 2});
    assert_int_equal(r->vm.end, VM_RUNNING);
    if (r->vcpu.exception.valid)
        assert_int_equal(r->vcpu.exception.vector, VEC_GP);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + (r->vcpu.exception.valid ? 0 : 2));
    return !r->vcpu.exception.valid;
}

// ---- which there are --------------------------------------------------------------------------

#define R 1u
#define W 2u

// All the guest has, as it starts; W: takes the value that it reads, or 0 where it cannot be read.
static const struct {
    u32 msr;
    u32 rights;
    u64 value;
} known[] = {
    {IA32_TIME_STAMP_COUNTER, R | W, RIG_START          },
    {IA32_PLATFORM_ID,        R,     0                  },
    {IA32_APIC_BASE,          R | W, 0xfee00900         },
    {IA32_FEATURE_CONTROL,    R,     1                  }, // locked, no VMX
    {IA32_TSC_ADJUST,         R | W, 0                  },
    {IA32_BIOS_UPDT_TRIG,     W,     0                  },
    {IA32_SPEC_CTRL,          R | W, 0                  },
    {IA32_BIOS_SIGN_ID,       R | W, RIG_MICROCODE      }, // whatever is written
    {MSR_PLATFORM_INFO,       R,     20 << 8            }, // 2 GHz in units of 100 MHz
    {IA32_MTRRCAP,            R,     0x508              },
    {IA32_ARCH_CAPABILITIES,  R,     RIG_ARCH_CAP       },
    {IA32_MCG_CAP,            R,     0                  },
    {IA32_MCG_STATUS,         R | W, 0                  },
    {IA32_MISC_ENABLE,        R | W, 0x1801             },
    {IA32_DEBUGCTL,           R | W, 0                  },
    {IA32_PAT,                R | W, 0x0007040600070406 },
    {IA32_MTRR_DEF_TYPE,      R | W, 0xc06              },
    {IA32_TSC_DEADLINE,       R | W, 0                  },
    {IA32_XSS,                R | W, 0                  },
    {IA32_EFER,               R | W, EFER_LME | EFER_LMA},
};

static void each_known_register_reads_and_writes(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        assert_int_equal(rdmsr(r, known[i].msr), known[i].rights & R ? known[i].value : GP);
        assert_int_equal(wrmsr(r, known[i].msr, known[i].value), !!(known[i].rights & W));
        assert_int_equal(rdmsr(r, known[i].msr), known[i].rights & R ? known[i].value : GP);
    }
    rig_close(r);
}

// test_guest_mtrr.c has the values.
static bool is_mtrr(u32 msr)
{
    return (msr >= 0x200 && msr <= 0x20f) || msr == 0x250 || msr == 0x258 || msr == 0x259 ||
           (msr >= 0x268 && msr <= 0x26f) || msr == 0x2ff;
}

static void every_mtrr_is_kept(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    unsigned count = 0;
    for (u32 msr = 0x200; msr < 0x300; msr++) {
        if (!is_mtrr(msr))
            continue;
        u64 value = msr < 0x210 && (msr & 1) ? BIT(20) : msr < 0x210 ? BIT(20) | MEM_WT : MEM_WT;
        assert_int_not_equal(rdmsr(r, msr), GP);
        assert_true(wrmsr(r, msr, value));
        assert_int_equal(rdmsr(r, msr), value);
        assert_false(wrmsr(r, msr, BIT(r->caps.maxphyaddr) | 2));
        assert_int_equal(rdmsr(r, msr), value);
        count++;
    }
    assert_int_equal(count, 28);
    rig_close(r);
}

static bool is_known(u32 msr)
{
    if (is_mtrr(msr))
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].msr == msr)
            return true;
    return false;
}

// Both ranges that bitmaps cover, and some numbers beyond them. The x2APIC's own are #GP too while
// the APIC is not in that mode.
static void every_other_register_is_gp(void **state)
{
    static const u32 beyond[] = {0x2000,     0x3fffffff, 0x40000000, 0x40000001, 0x7fffffff,
                                 0xbfffffff, 0xc0002000, 0xc0010000, 0xffffffff};
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (u32 i = 0; i < 0x4000 + ARRAY_SIZE(beyond); i++) {
        u32 msr = i < 0x2000 ? i : i < 0x4000 ? i - 0x2000 + 0xc0000000 : beyond[i - 0x4000];
        if (is_known(msr))
            continue;
        assert_int_equal(rdmsr(r, msr), GP);
        assert_false(wrmsr(r, msr, 0));
    }
    assert_int_equal(r->vm.end, VM_RUNNING);
    rig_close(r);
}

static void unknown_registers_are_told_a_few_times(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    unsigned lines = 0;
    for (u32 msr = 0x480; msr < 0x4a0; msr++)
        rdmsr(r, msr);
    assert_int_equal(r->vcpu.unknown_msrs, 0x20);
    assert_non_null(strstr(rig_log(), "vm rig: RDMSR of MSR 480H: #GP"));
    for (const char *at = rig_log(); (at = strstr(at, "#GP")) != NULL; at++)
        lines++;
    assert_int_equal(lines, 16);
    rig_close(r);
}

// ---- what they take ---------------------------------------------------------------------------

static void values_are_taken_or_refused(void **state)
{
    static const struct {
        u32 msr;
        u64 value;
        bool ok;
    } rows[] = {
        {IA32_EFER,        EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE, true },
        {IA32_EFER,        EFER_LMA,                                  false}, // LME stays
        {IA32_EFER,        0,                                         false},
        {IA32_EFER,        EFER_LME | BIT(1),                         false},
        {IA32_EFER,        EFER_LME | BIT(9),                         false},
        {IA32_EFER,        EFER_LME | BIT(12),                        false},
        {IA32_EFER,        EFER_LME | BIT(63),                        false},
        {IA32_PAT,         0x0001040506070001,                        true },
        {IA32_PAT,         0x0000000000000002,                        false},
        {IA32_PAT,         0x0300000000000000,                        false},
        {IA32_PAT,         0x0000000800000000,                        false},
        {IA32_PAT,         0x0000800000000000,                        false},
        {IA32_DEBUGCTL,    DEBUGCTL_BTF,                              true },
        {IA32_DEBUGCTL,    DEBUGCTL_LBR,                              false},
        {IA32_DEBUGCTL,    BIT(6),                                    false},
        {IA32_DEBUGCTL,    BIT(14),                                   false},
        {IA32_MISC_ENABLE, 0x1800,                                    true },
        {IA32_MISC_ENABLE, 0x851809,                                  true },
        {IA32_MISC_ENABLE, 0x1801 | BIT(22),                          false}, // hides leaves
        {IA32_MISC_ENABLE, 0x1801 | BIT(34),                          false}, // hides NX
        {IA32_MISC_ENABLE, 0x1801 | BIT(63),                          false},
        {IA32_SPEC_CTRL,   SPEC_CTRL_IBRS,                            true },
        {IA32_SPEC_CTRL,   7,                                         true },
        {IA32_SPEC_CTRL,   8,                                         false},
        {IA32_SPEC_CTRL,   BIT(63),                                   false},
        {IA32_XSS,         1,                                         false},
        {IA32_XSS,         BIT(63),                                   false},
        {IA32_MCG_STATUS,  1,                                         false},
        {IA32_APIC_BASE,   0xfee01900,                                false}, // it does not move
        {IA32_APIC_BASE,   0xfee00d00,                                true }, // x2APIC mode
        {IA32_APIC_BASE,   0xfee00100,                                true }, // off
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        u64 before = rdmsr(r, rows[i].msr);
        if (wrmsr(r, rows[i].msr, rows[i].value) != rows[i].ok)
            fail_msg("MSR %x, value %llx", rows[i].msr, (unsigned long long)rows[i].value);
        assert_int_equal(rdmsr(r, rows[i].msr), rows[i].ok ? rows[i].value : before);
        rig_close(r);
    }
}

// Bits 7, 11 and 12 tell that there is no performance monitor, no branch trace and no PEBS.
static void misc_enable_keeps_what_is_read_only(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_true(wrmsr(r, IA32_MISC_ENABLE, 0));
    assert_int_equal(rdmsr(r, IA32_MISC_ENABLE), 0x1800);
    assert_true(wrmsr(r, IA32_MISC_ENABLE, 0x1881));
    assert_int_equal(rdmsr(r, IA32_MISC_ENABLE), 0x1801);
    rig_close(r);
}

static void fast_strings_are_the_hosts(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->vcpu.host_misc_enable = 0;
    vcpu_reset_msrs(&r->vcpu);
    assert_int_equal(rdmsr(r, IA32_MISC_ENABLE), 0x1800);
    rig_close(r);
}

static void every_pat_entry_knows_its_types(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (unsigned entry = 0; entry < 8; entry++) {
        for (u64 type = 0; type < 0x100; type++) {
            bool ok = type <= 7 && type != 2 && type != 3;
            assert_int_equal(wrmsr(r, IA32_PAT, type << 8 * entry), ok);
        }
    }
    rig_close(r);
}

static void pat_and_debugctl_live_in_the_vmcs(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_true(wrmsr(r, IA32_PAT, 0x0606060606060606));
    assert_int_equal(vmcs_read(VMCS_GUEST_PAT), 0x0606060606060606);
    vmcs_write(VMCS_GUEST_PAT, 0x0404040404040404);
    assert_int_equal(rdmsr(r, IA32_PAT), 0x0404040404040404);
    assert_true(wrmsr(r, IA32_DEBUGCTL, DEBUGCTL_BTF));
    assert_int_equal(vmcs_read(VMCS_GUEST_DEBUGCTL), DEBUGCTL_BTF);
    rig_close(r);
}

// LMA is the CPU's to set, whatever is written to it.
static void efer_keeps_lma_and_lets_lme_change_without_paging(void **state)
{
    static const struct {
        enum image_mode mode;
        u64 value;
        bool ok;
        u64 want;
    } rows[] = {
        {IMAGE_LONG,      EFER_LME,            true,  EFER_LME | EFER_LMA           },
        {IMAGE_LONG,      EFER_LME | EFER_SCE, true,  EFER_LME | EFER_LMA | EFER_SCE},
        {IMAGE_PROTECTED, EFER_LMA | EFER_NXE, true,  EFER_NXE                      },
        {IMAGE_PROTECTED, EFER_LME,            false, 0                             },
        {IMAGE_REAL,      EFER_LME | EFER_LMA, true,  EFER_LME                      },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = rows[i].mode});
        u64 entry = vmcs_read(VMCS_ENTRY_CTLS);
        assert_int_equal(wrmsr(r, IA32_EFER, rows[i].value), rows[i].ok);
        assert_int_equal(vmcs_read(VMCS_GUEST_EFER), rows[i].want);
        assert_int_equal(vmcs_read(VMCS_ENTRY_CTLS), entry);
        rig_close(r);
    }
}

// ---- the TSC ----------------------------------------------------------------------------------

static void tsc_and_its_adjustment_move_together(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_true(wrmsr(r, IA32_TIME_STAMP_COUNTER, 5000));
    assert_int_equal(rdmsr(r, IA32_TIME_STAMP_COUNTER), 5000);
    assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), 5000 - RIG_START);
    assert_int_equal(vmcs_read(VMCS_TSC_OFFSET), 5000 - RIG_START);
    assert_int_equal(r->vm.lapic.tsc_offset, 5000 - RIG_START);
    assert_int_equal(r->now, RIG_START); // the host's own stays

    r->now += 100;
    assert_int_equal(rdmsr(r, IA32_TIME_STAMP_COUNTER), 5100);
    assert_true(wrmsr(r, IA32_TSC_ADJUST, 7));
    assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), 7);
    assert_int_equal(rdmsr(r, IA32_TIME_STAMP_COUNTER), RIG_START + 100 + 7);
    assert_int_equal(vmcs_read(VMCS_TSC_OFFSET), 7);

    // The adjustment keeps what was written to it, and each write of the TSC adds its jump.
    assert_true(wrmsr(r, IA32_TIME_STAMP_COUNTER, RIG_START));
    assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), ~0ull - 99); // 7 - 107
    assert_true(wrmsr(r, IA32_TSC_ADJUST, 0));
    assert_int_equal(rdmsr(r, IA32_TIME_STAMP_COUNTER), r->now);
    rig_close(r);
}

// The deadline is in guest TSC: turning the TSC forward makes it due sooner.
static void tsc_write_moves_the_deadline(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    struct io_access lvt = {.space = IO_MEM,
                            .size = 4,
                            .write = true,
                            .addr = APIC_DEFAULT_BASE + 0x320,
                            .value = 0x40051};
    bus_access(&r->vm.bus, &lvt);
    assert_true(wrmsr(r, IA32_TSC_DEADLINE, RIG_START + 1000));
    assert_int_equal(rdmsr(r, IA32_TSC_DEADLINE), RIG_START + 1000);
    assert_int_equal(deadline_next(&r->vm.timers), RIG_START + 1000);
    assert_true(wrmsr(r, IA32_TIME_STAMP_COUNTER, RIG_START + 400));
    assert_int_equal(deadline_next(&r->vm.timers), RIG_START + 600);
    assert_true(wrmsr(r, IA32_TSC_ADJUST, 0));
    assert_int_equal(deadline_next(&r->vm.timers), RIG_START + 1000);
    rig_close(r);
}

// ---- the local APIC ---------------------------------------------------------------------------

static void x2apic_registers_are_there_in_that_mode_alone(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_int_equal(rdmsr(r, 0x803), GP);
    assert_true(wrmsr(r, IA32_APIC_BASE, 0xfee00d00));
    assert_int_not_equal(rdmsr(r, 0x803), GP); // version
    assert_false(wrmsr(r, 0x803, 0));
    assert_true(wrmsr(r, 0x808, 0x50)); // TPR
    assert_int_equal(lapic_get_tpr(&r->vm.lapic), 0x50);
    assert_int_equal(rdmsr(r, 0x80e), GP); // no DFR there
    assert_int_equal(rdmsr(r, 0x8ff), GP);
    rig_close(r);

    r = rig_open(&(struct rig_options){.no_x2apic = true});
    assert_false(wrmsr(r, IA32_APIC_BASE, 0xfee00d00));
    rig_close(r);
}

// ---- the bitmap -------------------------------------------------------------------------------

// SDM volume 3, "MSR-Bitmap Address": four bitmaps of 1 KiB; a set bit exits.
static bool exits(const struct vmx_rig *r, u32 msr, bool write)
{
    const u8 *bitmap = phys_ptr(r->vcpu.msr_bitmap);
    unsigned at = (write ? 2048 : 0) + (msr >= 0xc0000000 ? 1024 : 0);
    return bitmap[at + (msr & 0x1fff) / 8] >> (msr & 7) & 1;
}

static bool is_passed(u32 msr, bool tsc_aux)
{
    static const u32 passed[] = {0x174,      0x175,      0x176,      0xc0000081, 0xc0000082,
                                 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102};
    for (unsigned i = 0; i < ARRAY_SIZE(passed); i++)
        if (passed[i] == msr)
            return true;
    return msr == 0xc0000103 && tsc_aux;
}

static void check_bitmap(const struct vmx_rig *r, bool tsc_aux, bool commands, bool spec_ctrl)
{
    for (u32 i = 0; i < 0x4000; i++) {
        u32 msr = i < 0x2000 ? i : i - 0x2000 + 0xc0000000;
        bool passed = is_passed(msr, tsc_aux) || (spec_ctrl && msr == IA32_SPEC_CTRL);
        bool written =
            passed || (commands && (msr == IA32_PRED_CMD || msr == IA32_FLUSH_CMD)); // write-only
        assert_int_equal(exits(r, msr, false), !passed);
        assert_int_equal(exits(r, msr, true), !written);
    }
}

static void bitmap_passes_what_is_switched_and_no_more(void **state)
{
    (void)state;
    for (unsigned rdtscp = 0; rdtscp < 2; rdtscp++) {
        struct vmx_rig *r = rig_open(NULL);
        if (!rdtscp)
            r->caps.ctl[CTL_PROC2].may &= ~(u32)PROC2_RDTSCP;
        memset(phys_ptr(r->vcpu.msr_bitmap), 0x5a, PAGE_SIZE);
        vcpu_reset_msrs(&r->vcpu);
        check_bitmap(r, rdtscp, true, false);
        rig_close(r);
    }
}

// ---- speculation control ----------------------------------------------------------------------

// The first value that is not 0 shows that the guest uses it; a reset takes it away again.
static void spec_ctrl_is_passed_once_it_is_used(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    assert_true(wrmsr(r, IA32_SPEC_CTRL, 0));
    assert_false(r->vcpu.spec.ctrl_passed);
    check_bitmap(r, true, true, false);
    assert_false(wrmsr(r, IA32_SPEC_CTRL, 9));
    assert_false(r->vcpu.spec.ctrl_passed);
    assert_true(wrmsr(r, IA32_SPEC_CTRL, SPEC_CTRL_SSBD));
    assert_true(r->vcpu.spec.ctrl_passed);
    assert_int_equal(r->vcpu.spec.ctrl, SPEC_CTRL_SSBD);
    check_bitmap(r, true, true, true);
    vcpu_reset_msrs(&r->vcpu);
    assert_false(r->vcpu.spec.ctrl_passed);
    assert_int_equal(rdmsr(r, IA32_SPEC_CTRL), 0);
    check_bitmap(r, true, true, false);
    rig_close(r);
}

// CPUID.7:EDX of the host, and what of these registers a guest then has.
static void speculation_control_goes_with_its_cpuid_bits(void **state)
{
    static const struct {
        u32 edx;
        u64 legal;
        bool pred_cmd, flush_cmd, arch_cap;
    } rows[] = {
        {0,                                   0, false, false, false},
        {CPUID_7_EDX_IBRS,                    1, true,  false, false},
        {CPUID_7_EDX_STIBP,                   2, false, false, false},
        {CPUID_7_EDX_SSBD,                    4, false, false, false},
        {CPUID_7_EDX_IBRS | CPUID_7_EDX_SSBD, 5, true,  false, false},
        {CPUID_7_EDX_L1D_FLUSH,               0, false, true,  false},
        {CPUID_7_EDX_ARCH_CAP,                0, false, false, true },
        {CPUID_7_EDX_MD_CLEAR | BIT32(4),     0, false, false, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.missing_7_edx = ~rows[i].edx});
        assert_int_equal(rdmsr(r, IA32_SPEC_CTRL), rows[i].legal ? 0 : GP);
        for (u64 value = 0; value < 16; value++)
            assert_int_equal(wrmsr(r, IA32_SPEC_CTRL, value),
                             rows[i].legal && !(value & ~rows[i].legal));
        assert_int_equal(rdmsr(r, IA32_ARCH_CAPABILITIES), rows[i].arch_cap ? RIG_ARCH_CAP : GP);
        assert_int_equal(exits(r, IA32_PRED_CMD, true), !rows[i].pred_cmd);
        assert_int_equal(exits(r, IA32_FLUSH_CMD, true), !rows[i].flush_cmd);
        assert_int_equal(rdmsr(r, IA32_PRED_CMD), GP);
        assert_int_equal(rdmsr(r, IA32_FLUSH_CMD), GP);
        rig_close(r);
    }
}

// What promises a further register is hidden, whatever the host has.
static void arch_capabilities_are_the_hosts_less_what_needs_more(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->vcpu.host_arch_capabilities = ~0ull;
    assert_int_equal(rdmsr(r, IA32_ARCH_CAPABILITIES), 0x1d1ae17f);
    r->vcpu.host_arch_capabilities = 0;
    assert_int_equal(rdmsr(r, IA32_ARCH_CAPABILITIES), 0);
    rig_close(r);
}

// ---- where they are found ---------------------------------------------------------------------

static u64 count_of(const struct vmx_rig *r, u32 msr)
{
    u64 count = 0;
    for (unsigned i = 0; i < MSR_SLOTS; i++)
        if (r->vcpu.msrs[i].count && r->vcpu.msrs[i].msr == msr)
            count += r->vcpu.msrs[i].count;
    return count;
}

// Numbers whose low bits are the same get in each other's way, but not in each other's place.
static void msrs_of_like_numbers_are_told_apart(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (u32 i = 1; i <= 5; i++) {
        assert_true(wrmsr(r, IA32_TSC_ADJUST, i));
        assert_true(wrmsr(r, IA32_MISC_ENABLE, 1));
        assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), i);
        assert_int_equal(rdmsr(r, IA32_TSC_ADJUST + MSR_SLOTS), GP);
        assert_int_equal(rdmsr(r, IA32_TSC_ADJUST + 2 * MSR_SLOTS), GP);
        assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), i);
        assert_int_equal(count_of(r, IA32_TSC_ADJUST), 3 * i);
        assert_int_equal(count_of(r, IA32_TSC_ADJUST + MSR_SLOTS), i);
        assert_int_equal(count_of(r, IA32_MISC_ENABLE), i);
    }
    rig_close(r);
}

// A guest that uses one MSR all day long.
static void count_goes_beyond_32_bits(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rdmsr(r, IA32_TSC_ADJUST);
    for (unsigned i = 0; i < MSR_SLOTS; i++)
        if (r->vcpu.msrs[i].count)
            r->vcpu.msrs[i].count = ~0u;
    rdmsr(r, IA32_TSC_ADJUST);
    rdmsr(r, IA32_TSC_ADJUST);
    assert_int_equal(count_of(r, IA32_TSC_ADJUST), BIT(32) + 1);
    rig_close(r);
}

static void more_msrs_than_are_kept_work_all_the_same(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    for (u32 round = 0; round < 2; round++) {
        for (u32 msr = 0x10000; msr < 0x10000 + 3 * MSR_SLOTS; msr++)
            assert_int_equal(rdmsr(r, msr), GP);
        assert_true(wrmsr(r, IA32_TSC_ADJUST, round + 7));
        assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), round + 7);
        assert_int_equal(rdmsr(r, IA32_TSC_ADJUST), round + 7);
    }
    assert_int_equal(count_of(r, 0x10000 + 5), 2);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_known_register_reads_and_writes),
        cmocka_unit_test(every_other_register_is_gp),
        cmocka_unit_test(every_mtrr_is_kept),
        cmocka_unit_test(unknown_registers_are_told_a_few_times),
        cmocka_unit_test(values_are_taken_or_refused),
        cmocka_unit_test(misc_enable_keeps_what_is_read_only),
        cmocka_unit_test(fast_strings_are_the_hosts),
        cmocka_unit_test(every_pat_entry_knows_its_types),
        cmocka_unit_test(pat_and_debugctl_live_in_the_vmcs),
        cmocka_unit_test(efer_keeps_lma_and_lets_lme_change_without_paging),
        cmocka_unit_test(tsc_and_its_adjustment_move_together),
        cmocka_unit_test(tsc_write_moves_the_deadline),
        cmocka_unit_test(x2apic_registers_are_there_in_that_mode_alone),
        cmocka_unit_test(bitmap_passes_what_is_switched_and_no_more),
        cmocka_unit_test(spec_ctrl_is_passed_once_it_is_used),
        cmocka_unit_test(speculation_control_goes_with_its_cpuid_bits),
        cmocka_unit_test(arch_capabilities_are_the_hosts_less_what_needs_more),
        cmocka_unit_test(msrs_of_like_numbers_are_told_apart),
        cmocka_unit_test(count_goes_beyond_32_bits),
        cmocka_unit_test(more_msrs_than_are_kept_work_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
