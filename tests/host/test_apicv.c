// SPDX-License-Identifier: MIT
// The CPU's part in the local APIC: what is chosen, what it is told, and what its exits lead to.
// What the CPU does with it is played here by writes to the virtual-APIC page.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_rig.h"
#include "vmx/apicv.h"

#define ALL ((u32)APICV_CONTROLS)
#define CR8 ((u32)(PROC_CR8_LOAD | PROC_CR8_STORE))

// ---- choosing -----------------------------------------------------------------------------------

static void what_goes_together_is_chosen(void **state)
{
    static const struct {
        u32 must, proc, proc2; // negotiated
        u32 chosen, chosen2;
    } rows[] = {
        {0,              PROC_TPR_SHADOW | CR8, ALL,                 PROC_TPR_SHADOW, ALL            },
        {0,              CR8,                   ALL,                 CR8,             0              },
        {PROC_CR8_STORE, PROC_TPR_SHADOW | CR8, ALL,                 CR8,             0              },
        {0,              PROC_TPR_SHADOW | CR8, 0,                   PROC_TPR_SHADOW, 0              },
        {0,              PROC_TPR_SHADOW | CR8, PROC2_APIC_REGISTER, PROC_TPR_SHADOW, 0              },
        {0,              PROC_TPR_SHADOW | CR8, PROC2_VIRT_INTR,     PROC_TPR_SHADOW, PROC2_VIRT_INTR},
        {0,              PROC_TPR_SHADOW | CR8, PROC2_X2APIC,        PROC_TPR_SHADOW, PROC2_X2APIC   },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct ctl_allowed proc = {.must = rows[i].must, .may = ~0u};
        u32 values[CTL_WORDS] = {
            [CTL_PROC] = rows[i].proc | PROC_HLT, [CTL_PROC2] = rows[i].proc2 | PROC2_EPT};
        apicv_choose(&proc, values);
        assert_int_equal(values[CTL_PROC], rows[i].chosen | PROC_HLT);
        assert_int_equal(values[CTL_PROC2], rows[i].chosen2 | PROC2_EPT);
    }
}

// ---- telling the CPU ----------------------------------------------------------------------------

static struct vmx_rig *open_with(u32 without)
{
    struct vmx_rig *r = rig_open(&(struct rig_options){.apicv = true, .without = without});
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    rig_inject(r);
    return r;
}

static u32 *page_register(struct vmx_rig *r, u32 offset)
{
    return &r->vm.lapic.cpu.page[offset / 4];
}

static u64 status(void)
{
    return vmcs_read(VMCS_GUEST_INTR_STATUS);
}

static void what_arrives_is_posted(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(0);
    assert_true(r->vm.lapic.cpu.lent);
    lapic_set_irq(&r->vm.lapic, 0x51, false);
    lapic_set_irq(&r->vm.lapic, 0x31, false);
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r);
    assert_int_equal(status(), 0x51);
    assert_int_equal(*page_register(r, APIC_IRR + 0x20), 1u << 0x11);
    assert_int_equal(*page_register(r, APIC_IRR + 0x10), 1u << 0x11);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), 0); // that is the CPU's doing
    // What is lower than what waits changes nothing; SVI is the CPU's.
    fake_vmcs_set(VMCS_GUEST_INTR_STATUS, 0x5131);
    lapic_set_irq(&r->vm.lapic, 0x22, false);
    rig_inject(r);
    assert_int_equal(status(), 0x5131);
    lapic_set_irq(&r->vm.lapic, 0x42, false);
    rig_inject(r);
    assert_int_equal(status(), 0x5142);
    rig_close(r);
}

static void what_is_recalled_comes_back_the_same(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(0);
    struct lapic *lapic = &r->vm.lapic;
    *page_register(r, APIC_TPR) = 0x23;
    *page_register(r, APIC_ISR + 0x10) = 1u << 0x05; // 25H
    *page_register(r, APIC_ISR + 0x50) = 1u << 0x1f; // BFH
    *page_register(r, APIC_IRR + 0x70) = 1u << 0x1f; // FFH
    *page_register(r, APIC_IRR + 0x30) = 1u << 0x00; // 60H
    *page_register(r, APIC_ICR_HIGH) = 0x07000000;
    lapic_recall(lapic);
    assert_int_equal(lapic_get_tpr(lapic), 0x23);
    assert_int_equal(lapic_pending(lapic), 0xff);
    assert_int_equal(lapic->isr_high, 0xbf);
    assert_int_equal(lapic->icr >> 32, 0x07000000);
    lapic_eoi(lapic);
    assert_int_equal(lapic->isr_high, 0x25);
    assert_true(r->vm.attention & VM_ATTENTION_EVENT);
    rig_inject(r);
    assert_int_equal(status(), 0x25ff);
    assert_int_equal(*page_register(r, APIC_ISR + 0x50), 0);
    assert_int_equal(*page_register(r, APIC_ISR + 0x10), 1u << 5);
    rig_close(r);
}

static void level_triggered_vectors_exit_at_eoi(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(0);
    lapic_set_irq(&r->vm.lapic, 0x61, true);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_EOI_EXIT_BITMAP1), BIT(0x21));
    assert_int_equal(*page_register(r, APIC_TMR + 0x30), 1u << 1);
    lapic_set_irq(&r->vm.lapic, 0x61, false);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_EOI_EXIT_BITMAP1), 0);
    rig_close(r);
}

static void hlt_ends_with_what_the_cpu_would_deliver(void **state)
{
    static const struct {
        u8 vector, tpr, in_service;
        bool enabled, wakes;
    } rows[] = {
        {0x51, 0x00, 0x00, true,  true },
        {0x51, 0x4f, 0x00, true,  true },
        {0x51, 0x50, 0x00, true,  false},
        {0x51, 0x00, 0x42, true,  true },
        {0x51, 0x00, 0x5f, true,  false},
        {0x51, 0x00, 0x00, false, false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = open_with(0);
        *page_register(r, APIC_TPR) = rows[i].tpr;
        fake_vmcs_set(VMCS_GUEST_INTR_STATUS, (u64)rows[i].in_service << 8);
        vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | (rows[i].enabled ? RFLAGS_IF : 0));
        r->vcpu.halted = true;
        lapic_set_irq(&r->vm.lapic, rows[i].vector, false);
        rig_inject(r);
        assert_int_equal(r->vcpu.halted, !rows[i].wakes);
        rig_close(r);
    }
}

static void threshold_is_the_class_that_tpr_holds(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(FEATURE_VIRTUAL_INTERRUPTS);
    *page_register(r, APIC_TPR) = 0x70;
    lapic_set_irq(&r->vm.lapic, 0x51, false);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_TPR_THRESHOLD), 5);
    *page_register(r, APIC_TPR) = 0x40;
    rig_exit(r, &(struct rig_exit){.reason = REASON_TPR_BELOW});
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO(EVENT_EXTERNAL_INTERRUPT, 0x51));
    assert_int_equal(vmcs_read(VMCS_TPR_THRESHOLD), 0);
    rig_close(r);
}

// ---- modes and exits ----------------------------------------------------------------------------

static bool exits(struct vmx_rig *r, u32 offset, bool write)
{
    const u8 *bitmap = phys_ptr(r->vcpu.msr_bitmap);
    u32 msr = IA32_X2APIC_FIRST + (offset >> 4);
    return bitmap[(write ? 0x800 : 0) + msr / 8] >> msr % 8 & 1;
}

static u32 mode(void)
{
    return (u32)vmcs_read(VMCS_PROC_CTLS2) & (PROC2_X2APIC | PROC2_APIC_ACCESS);
}

static bool page_is_mapped(struct vmx_rig *r)
{
    hpa_t hpa;
    return ept_translate(&r->vm.ept, GPA(APIC_DEFAULT_BASE), EPT_R | EPT_W, &hpa, NULL) == OK;
}

static void control_follows_the_mode(void **state)
{
    const u64 off = APIC_DEFAULT_BASE | APIC_BASE_BSP, on = off | APIC_BASE_ENABLE;
    (void)state;
    struct vmx_rig *r = open_with(0);
    struct lapic *lapic = &r->vm.lapic;
    assert_int_equal(mode(), PROC2_APIC_ACCESS);
    assert_true(page_is_mapped(r));
    assert_true(exits(r, APIC_TPR, true));
    assert_int_equal(lapic_base_write(lapic, on | APIC_BASE_X2APIC), OK);
    rig_inject(r);
    assert_int_equal(mode(), PROC2_X2APIC);
    assert_false(page_is_mapped(r));
    for (u32 offset = 0; offset < 0x1000; offset += 0x10) {
        bool written = offset == APIC_TPR || offset == APIC_EOI || offset == APIC_SELF_IPI;
        assert_int_equal(exits(r, offset, true), !written);
        u64 value; // what does not exist must fault, and the counter run
        bool reads = lapic_msr_read(lapic, IA32_X2APIC_FIRST + (offset >> 4), &value) == OK &&
                     offset != APIC_TMCCT && offset != APIC_ICR_LOW;
        assert_int_equal(exits(r, offset, false), !reads);
    }
    assert_int_equal(lapic_base_write(lapic, off), OK);
    rig_inject(r);
    assert_int_equal(mode(), 0);
    assert_true(exits(r, APIC_TPR, true));
    assert_int_equal(lapic_base_write(lapic, on), OK); // and software-disabled
    rig_inject(r);
    assert_int_equal(mode(), 0);
    rig_close(r);
}

static void written_registers_are_kept_as_software_does(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(0);
    *page_register(r, APIC_LVT_ERROR) = ~0u;
    rig_exit(r, &(struct rig_exit){.reason = REASON_APIC_WRITE, .qualification = APIC_LVT_ERROR});
    assert_int_equal(r->vm.lapic.lvt[LAPIC_LVT_ERROR], 0x100ff);
    assert_int_equal(*page_register(r, APIC_LVT_ERROR), 0x100ff);
    *page_register(r, APIC_ID) = 0x55000000; // read-only
    rig_exit(r, &(struct rig_exit){.reason = REASON_APIC_WRITE, .qualification = APIC_ID});
    assert_int_equal(*page_register(r, APIC_ID), 0);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_together_is_chosen),
        cmocka_unit_test(what_arrives_is_posted),
        cmocka_unit_test(what_is_recalled_comes_back_the_same),
        cmocka_unit_test(level_triggered_vectors_exit_at_eoi),
        cmocka_unit_test(hlt_ends_with_what_the_cpu_would_deliver),
        cmocka_unit_test(threshold_is_the_class_that_tpr_holds),
        cmocka_unit_test(control_follows_the_mode),
        cmocka_unit_test(written_registers_are_kept_as_software_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
