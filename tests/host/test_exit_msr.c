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
    {IA32_BIOS_SIGN_ID,       R | W, 0                  },
    {MSR_PLATFORM_INFO,       R,     20 << 8            }, // 2 GHz in units of 100 MHz
    {IA32_MTRRCAP,            R,     0x400              },
    {IA32_MCG_CAP,            R | W, 0                  },
    {IA32_MCG_STATUS,         R | W, 0                  },
    {IA32_MISC_ENABLE,        R | W, 1                  },
    {IA32_DEBUGCTL,           R | W, 0                  },
    {IA32_PAT,                R | W, 0x0007040600070406 },
    {IA32_MTRR_DEF_TYPE,      R | W, 0x806              },
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

static bool is_known(u32 msr)
{
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
        {IA32_EFER,          EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE, true },
        {IA32_EFER,          EFER_LMA,                                  false}, // LME stays
        {IA32_EFER,          0,                                         false},
        {IA32_EFER,          EFER_LME | BIT(1),                         false},
        {IA32_EFER,          EFER_LME | BIT(9),                         false},
        {IA32_EFER,          EFER_LME | BIT(12),                        false},
        {IA32_EFER,          EFER_LME | BIT(63),                        false},
        {IA32_PAT,           0x0001040506070001,                        true },
        {IA32_PAT,           0x0000000000000002,                        false},
        {IA32_PAT,           0x0300000000000000,                        false},
        {IA32_PAT,           0x0000000800000000,                        false},
        {IA32_PAT,           0x0000800000000000,                        false},
        {IA32_DEBUGCTL,      DEBUGCTL_BTF,                              true },
        {IA32_DEBUGCTL,      DEBUGCTL_LBR,                              false},
        {IA32_DEBUGCTL,      BIT(6),                                    false},
        {IA32_DEBUGCTL,      BIT(14),                                   false},
        {IA32_MISC_ENABLE,   0,                                         true },
        {IA32_MISC_ENABLE,   BIT(22),                                   false}, // hides leaves
        {IA32_MISC_ENABLE,   MISC_ENABLE_XD_DISABLE,                    false},
        {IA32_MTRR_DEF_TYPE, 0,                                         true },
        {IA32_MTRR_DEF_TYPE, MTRR_DEF_E | MEM_WP,                       true },
        {IA32_MTRR_DEF_TYPE, MTRR_DEF_E | MTRR_DEF_FE,                  false}, // no fixed ranges
        {IA32_MTRR_DEF_TYPE, 2,                                         false},
        {IA32_MTRR_DEF_TYPE, 3,                                         false},
        {IA32_MTRR_DEF_TYPE, 7,                                         false},
        {IA32_MTRR_DEF_TYPE, BIT(32),                                   false},
        {IA32_XSS,           1,                                         false},
        {IA32_XSS,           BIT(63),                                   false},
        {IA32_MCG_STATUS,    1,                                         false},
        {IA32_APIC_BASE,     0xfee01900,                                false}, // it does not move
        {IA32_APIC_BASE,     0xfee00d00,                                true }, // x2APIC mode
        {IA32_APIC_BASE,     0xfee00100,                                true }, // off
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

static void bitmap_passes_what_is_switched_and_no_more(void **state)
{
    (void)state;
    for (unsigned rdtscp = 0; rdtscp < 2; rdtscp++) {
        struct vmx_rig *r = rig_open(NULL);
        if (!rdtscp)
            r->caps.ctl[CTL_PROC2].may &= ~(u32)PROC2_RDTSCP;
        memset(phys_ptr(r->vcpu.msr_bitmap), 0x5a, PAGE_SIZE);
        msr_bitmap_init(&r->vcpu);
        for (u32 i = 0; i < 0x4000; i++) {
            u32 msr = i < 0x2000 ? i : i - 0x2000 + 0xc0000000;
            assert_int_equal(exits(r, msr, false), !is_passed(msr, rdtscp));
            assert_int_equal(exits(r, msr, true), !is_passed(msr, rdtscp));
        }
        rig_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_known_register_reads_and_writes),
        cmocka_unit_test(every_other_register_is_gp),
        cmocka_unit_test(unknown_registers_are_told_a_few_times),
        cmocka_unit_test(values_are_taken_or_refused),
        cmocka_unit_test(every_pat_entry_knows_its_types),
        cmocka_unit_test(pat_and_debugctl_live_in_the_vmcs),
        cmocka_unit_test(efer_keeps_lma_and_lets_lme_change_without_paging),
        cmocka_unit_test(tsc_and_its_adjustment_move_together),
        cmocka_unit_test(tsc_write_moves_the_deadline),
        cmocka_unit_test(x2apic_registers_are_there_in_that_mode_alone),
        cmocka_unit_test(bitmap_passes_what_is_switched_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
