// SPDX-License-Identifier: MIT
// Event injection, where the guest's half in tests/guest/inject.c needs help.
#include "arch/x86_64/regs/cr.h"
#include "tests/kernel/support.h"
#include "vmx/vmcs_access.h"

static bool load(struct selftest_ctx *t, struct lab *lab)
{
    answer_calls(lab);
    return lab_load(t, lab, t->name);
}

// The guest's half and the calls it makes are all there is.
#define CALLS_TEST(title)                                                                          \
    LAB_TEST(inject, title, NEEDS_VMX)                                                             \
    {                                                                                              \
        if (load(t, lab))                                                                          \
            lab_run_passes(t, lab);                                                                \
    }

CALLS_TEST(pic_goes_before_the_local_apic)

// Without virtual NMIs nothing tells when the guest's handler returns: a second NMI waits until the
// guest takes interrupts again.
static bool lacks_virtual_nmis(struct selftest_ctx *t, const struct lab *lab)
{
    if (!lab->vcpu->has_virtual_nmis)
        selftest_skip(t, "needs virtual NMIs");
    return t->skipped;
}

#define NMI_TEST(title)                                                                            \
    LAB_TEST(inject, title, NEEDS_VMX)                                                             \
    {                                                                                              \
        if (!lacks_virtual_nmis(t, lab) && load(t, lab))                                           \
            lab_run_passes(t, lab);                                                                \
    }

NMI_TEST(nmi_comes_with_interrupts_off)
NMI_TEST(nmi_waits_for_iret)

// ---- delivery through memory that is not mapped yet --------------------------------------------

// Three pages are set up, forgotten and touched again, each with one exit. What Corbel injects was
// cut short three times and is delivered once.
static void run_loaded(struct selftest_ctx *t, struct lab *lab)
{
    EXPECT(lab_run_passes(t, lab));
    u64 lapic = t->arg; // accesses to its page exit alike
    EXPECT_EQ(lab->vcpu->exits[REASON_EPT_VIOLATION] - lapic, 6);
}

static void run_lazy(struct selftest_ctx *t, struct lab *lab)
{
    EXPECT(load(t, lab));
    run_loaded(t, lab);
}

#define LAZY_TEST(title)                                                                           \
    LAB_TEST(inject, title##_through_lazy_memory, NEEDS_VMX)                                       \
    {                                                                                              \
        run_lazy(t, lab);                                                                          \
    }

LAZY_TEST(software_interrupt)
LAZY_TEST(breakpoint)
LAZY_TEST(icebp)
LAZY_TEST(own_exception)
LAZY_TEST(page_fault)
LAZY_TEST(injected_exception)

LAB_TEST(inject, nmi_through_lazy_memory, NEEDS_VMX)
{
    if (!lacks_virtual_nmis(t, lab))
        run_lazy(t, lab);
}

// Where the CPU delivers the interrupt, Bochs 2.7 does not say in the IDT-vectoring information
// what was cut short, but leaves there what an earlier event put into it. A CPU has the vector that
// is SVI. Put right, the rest is the same.
static bool (*other_hook)(struct vcpu *vcpu, const struct exit_info *exit,
                          enum exit_action *action);

static bool name_the_interrupt(struct vcpu *vcpu, const struct exit_info *exit,
                               enum exit_action *action)
{
    if (exit->reason != REASON_EPT_VIOLATION || !vcpu->vectored.valid)
        return other_hook(vcpu, exit, action);
    u8 in_service = (u8)(vmcs_read(VMCS_GUEST_INTR_STATUS) >> 8);
    if (vcpu->vectored.type == EVENT_EXTERNAL_INTERRUPT && vcpu->vectored.vector == in_service)
        return false;
    vcpu->vectored = (struct event){.valid = true, .vector = in_service};
    *action = ACT_RESUME;
    return vm_fill(vcpu->vm, exit->gpa) == OK;
}

LAB_TEST(inject, interrupt_through_lazy_memory, NEEDS_VMX)
{
    if (!(lab->vcpu->apicv.controls & PROC2_APIC_ACCESS))
        t->arg = 3; // ICR, EOI, ISR
    EXPECT(load(t, lab));
    other_hook = lab->vcpu->hook;
    if (lab->vcpu->apicv.controls & PROC2_VIRT_INTR)
        lab->vcpu->hook = name_the_interrupt;
    run_loaded(t, lab);
}

// ---- exceptions on top of each other -----------------------------------------------------------

LAB_TEST(inject, three_faults_are_the_end, NEEDS_VMX)
{
    EXPECT(load(t, lab));
    run_quietly(lab);
    ended(t, lab, VM_END_TRIPLE_FAULT, "");
    EXPECT_EQ(lab->vcpu->exits[REASON_TRIPLE_FAULT], 1);
}

// An exit can cut short the delivery of one exception and raise another; here the first is made up.
static u8 first_vector;

static bool cut_short(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    (void)action;
    if (exit->reason == REASON_WRMSR)
        vcpu->vectored = event_exception((enum vector)first_vector, 0);
    return false;
}

static void run_cut_short(struct selftest_ctx *t, struct lab *lab, u8 vector)
{
    first_vector = vector;
    lab->vcpu->hook = cut_short;
    if (lab_load(t, lab, "inject.fault_while_a_fault_is_delivered"))
        run_quietly(lab);
}

LAB_TEST(inject, gp_while_np_is_delivered_is_a_double_fault, NEEDS_VMX)
{
    run_cut_short(t, lab, VEC_NP);
    EXPECT_EQ(lab->vm->end, VM_END_DEBUG_EXIT);
    EXPECT_EQ(lab->vm->end_status, 0x10 << 1 | 1);
}

LAB_TEST(inject, gp_while_a_page_fault_is_delivered_is_a_double_fault, NEEDS_VMX)
{
    run_cut_short(t, lab, VEC_PF);
    EXPECT_EQ(lab->vm->end, VM_END_DEBUG_EXIT);
    EXPECT_EQ(lab->vm->end_status, 0x10 << 1 | 1);
}

LAB_TEST(inject, gp_while_a_double_fault_is_delivered_is_the_end, NEEDS_VMX)
{
    run_cut_short(t, lab, VEC_DF);
    ended(t, lab, VM_END_TRIPLE_FAULT, "double fault");
}

// ---- what holds an interrupt back --------------------------------------------------------------

LAB_TEST(inject, interrupt_waits_for_sti, NEEDS_VMX)
{
    EXPECT(load(t, lab));
    EXPECT(lab_run_passes(t, lab));
    // A CPU that delivers needs none.
    bool delivers = lab->vcpu->apicv.controls & PROC2_VIRT_INTR;
    EXPECT_EQ(lab->vcpu->exits[REASON_INTERRUPT_WINDOW], delivers ? 0 : 1);
}

static struct {
    u32 outs;
    u32 blocking; // as the first exit saved it
} shadow;

// The first OUT is not done, and an interrupt is there: the guest must get to do the OUT first.
static bool raise_in_shadow(struct vcpu *vcpu, const struct exit_info *exit,
                            enum exit_action *action)
{
    if (exit->reason != REASON_IO || exit->qualification >> 16 != 0x80 || shadow.outs++)
        return false;
    shadow.blocking = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    lapic_set_irq(&vcpu->vm->lapic, 0x54, false);
    *action = ACT_RESUME;
    return true;
}

static void run_shadow(struct selftest_ctx *t, struct lab *lab, u32 blocking)
{
    shadow.outs = 0;
    lab->vcpu->hook = raise_in_shadow;
    EXPECT(lab_load(t, lab, t->name));
    EXPECT(lab_run_passes(t, lab));
    EXPECT_EQ(shadow.outs, 2);
    EXPECT_EQ(shadow.blocking & BLOCKING_BY_STI_MOV_SS, blocking);
}

LAB_TEST(inject, shadow_of_sti_outlasts_an_exit, NEEDS_VMX)
{
    run_shadow(t, lab, BLOCKING_BY_STI);
}

LAB_TEST(inject, shadow_of_mov_ss_outlasts_an_exit, NEEDS_VMX)
{
    run_shadow(t, lab, BLOCKING_BY_MOV_SS);
}

// ---- HLT ---------------------------------------------------------------------------------------

static bool nmi_at_hlt(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    (void)action;
    if (exit->reason == REASON_HLT)
        vcpu_nmi(vcpu);
    return false;
}

LAB_TEST(inject, nmi_ends_hlt, NEEDS_VMX)
{
    lab->vcpu->hook = nmi_at_hlt;
    if (lab_load(t, lab, t->name))
        lab_run_passes(t, lab);
}

LAB_TEST(inject, masked_interrupts_do_not_end_hlt, NEEDS_VMX)
{
    EXPECT(load(t, lab));
    run_quietly(lab);
    ended(t, lab, VM_END_HALTED, "");
    lapic_recall(&lab->vm->lapic);
    EXPECT(lapic_pending(&lab->vm->lapic) == 0x52); // waits still
}
