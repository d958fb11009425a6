// SPDX-License-Identifier: MIT
// What of the local APIC exits, and what does not: by the controls that this VM has. The guest's
// half is tests/guest/apicv.c.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/tsc.h"
#include "tests/kernel/support.h"
#include "vmx/sched.h"

#define TIMES 100u // of tests/guest/apicv.c

struct parts {
    bool tpr, x2apic, page, registers, delivery;
};

static struct parts parts_of(const struct lab *lab)
{
    u32 controls = lab->vcpu->apicv.controls;
    return (struct parts){
        .tpr = lab->vm->lapic.cpu.page,
        .x2apic = controls & PROC2_X2APIC,
        .page = controls & PROC2_APIC_ACCESS,
        .registers = controls & PROC2_APIC_REGISTER,
        .delivery = controls & PROC2_VIRT_INTR,
    };
}

static u64 exits(const struct lab *lab, enum exit_reason reason)
{
    return lab->vcpu->exits[reason];
}

static bool run(struct selftest_ctx *t, struct lab *lab)
{
    return lab_load(t, lab, t->name) && lab_run_passes(t, lab);
}

// Everything together goes without any exit.
LAB_TEST(apicv, x2apic_interrupts, NEEDS_VMX)
{
    struct parts has = parts_of(lab);
    if (!(lab->vm->lapic.config.x2apic)) {
        selftest_skip(t, "needs x2APIC mode");
        return;
    }
    EXPECT(run(t, lab));
    u64 tpr = has.x2apic ? 0 : TIMES;
    u64 eoi = has.x2apic && has.delivery ? 0 : TIMES;
    u64 reads = has.x2apic && has.registers ? 0 : TIMES;
    EXPECT_EQ(exits(lab, REASON_WRMSR), 1 + 2 * tpr + 2 * eoi); // 1: IA32_APIC_BASE
    EXPECT_EQ(exits(lab, REASON_RDMSR), 1 + tpr + 2 * reads);
    EXPECT_EQ(exits(lab, REASON_VIRTUAL_EOI), 0);
    // Where the CPU does not deliver it says when TPR has let the interrupt come.
    EXPECT_EQ(exits(lab, REASON_TPR_BELOW), has.x2apic && !has.delivery ? TIMES : 0);
}

LAB_TEST(apicv, xapic_interrupts, NEEDS_VMX)
{
    struct parts has = parts_of(lab);
    EXPECT(run(t, lab));
    u64 ipi_and_eoi = has.delivery ? 0 : 2 * TIMES;
    u64 reads = has.registers ? 0 : 2 * TIMES;
    u64 all = 7 * TIMES;
    EXPECT_EQ(exits(lab, REASON_APIC_ACCESS), has.page ? ipi_and_eoi + reads : 0);
    EXPECT_EQ(exits(lab, REASON_EPT_VIOLATION), has.page ? 0 : all);
    EXPECT_EQ(exits(lab, REASON_APIC_WRITE), 0);
    EXPECT_EQ(exits(lab, REASON_VIRTUAL_EOI), 0);
    EXPECT_EQ(exits(lab, REASON_TPR_BELOW), has.page && !has.delivery ? TIMES : 0);
}

LAB_TEST(apicv, cr8_lowered_lets_it_come, NEEDS_VMX)
{
    struct parts has = parts_of(lab);
    EXPECT(run(t, lab));
    EXPECT_EQ(exits(lab, REASON_CR_ACCESS), has.tpr ? 0 : 5 * TIMES);
    EXPECT_EQ(exits(lab, REASON_TPR_BELOW), has.tpr && !has.delivery ? TIMES : 0);
}

LAB_TEST(apicv, cr8_does_not_pass_what_is_served, NEEDS_VMX)
{
    EXPECT(run(t, lab));
    EXPECT_EQ(exits(lab, REASON_TPR_BELOW), 0);
}

LAB_TEST(apicv, level_triggered_interrupts, NEEDS_VMX)
{
    struct parts has = parts_of(lab);
    EXPECT(run(t, lab));
    EXPECT_EQ(exits(lab, REASON_VIRTUAL_EOI), has.page && has.delivery ? TIMES : 0);
}

// ---- where the access page is -------------------------------------------------------------------

static void expect_page(struct selftest_ctx *t, struct lab *lab, bool there)
{
    const struct ept *ept = &lab->vm->ept;
    hpa_t hpa;
    u64 left;
    if (!there) {
        EXPECT_EQ(ept_translate(ept, GPA(APIC_DEFAULT_BASE), EPT_R, &hpa, &left), E_NOENT);
        return;
    }
    EXPECT_EQ(ept_translate(ept, GPA(APIC_DEFAULT_BASE), EPT_R | EPT_W, &hpa, &left), OK);
    EXPECT_EQ(hpa.raw, lab->vcpu->apicv.access_page.raw);
    EXPECT_EQ(left, PAGE_SIZE);
    EXPECT_EQ(ept_translate(ept, GPA(APIC_DEFAULT_BASE), EPT_X, &hpa, &left), E_FAULT);
}

static void expect_control(struct selftest_ctx *t, struct lab *lab, u32 control)
{
    u64 controls = lab_peek(lab, VMCS_PROC_CTLS2);
    EXPECT_EQ(controls & (PROC2_X2APIC | PROC2_APIC_ACCESS), control & lab->vcpu->apicv.controls);
}

// And nothing was written to it, ever.
static void expect_untouched(struct selftest_ctx *t, struct lab *lab)
{
    hpa_t frame = lab->vcpu->apicv.access_page;
    if (!frame.raw)
        return;
    const u64 *page = phys_ptr(frame);
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(u64); i++)
        EXPECT_EQ(page[i], 0);
}

LAB_TEST(apicv, ends_in_xapic_mode, NEEDS_VMX)
{
    expect_page(t, lab, false);
    EXPECT(run(t, lab));
    expect_page(t, lab, parts_of(lab).page);
    expect_control(t, lab, PROC2_APIC_ACCESS);
    expect_untouched(t, lab);
}

LAB_TEST(apicv, ends_in_x2apic_mode, NEEDS_VMX)
{
    if (!(lab->vm->lapic.config.x2apic)) {
        selftest_skip(t, "needs x2APIC mode");
        return;
    }
    EXPECT(run(t, lab));
    expect_page(t, lab, false);
    expect_control(t, lab, PROC2_X2APIC);
    expect_untouched(t, lab);
}

LAB_TEST(apicv, ends_software_disabled, NEEDS_VMX)
{
    EXPECT(run(t, lab));
    expect_page(t, lab, false);
    expect_control(t, lab, 0);
    expect_untouched(t, lab);
}

// ---- two VMs ------------------------------------------------------------------------------------

SELFTEST(apicv, two_vms_keep_their_registers, NEEDS_VMX)
{
    static struct lab labs[2];
    struct sched sched = {.slice = host_clock.hz / 5000};
    for (unsigned i = 0; i < ARRAY_SIZE(labs); i++) {
        if (!lab_open(t, &labs[i], "beside"))
            break;
        sched.cells[sched.count++] = labs[i].cell;
        if (!lab_load(t, &labs[i], "apicv.keeps_its_registers"))
            break;
    }
    unsigned opened = sched.count;
    if (!t->failed)
        sched_run(&sched);
    for (unsigned i = 0; i < opened; i++) {
        EXPECT_EQ(labs[i].vm->end, VM_END_DEBUG_EXIT);
        if (labs[i].vm->end_status != (0x10 << 1 | 1))
            selftest_fail(t, "VM %u: %s", i, labs[i].out);
    }
    while (opened)
        lab_close(&labs[--opened]);
    EXPECT(sched.switches > 50);
}
