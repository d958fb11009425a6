// SPDX-License-Identifier: MIT
// What inject_decide() has decided, put into the VMCS.
#include "vmx/inject.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

static void set_windows(struct vcpu *v, bool interrupt, bool nmi)
{
    u32 ctls = v->proc_ctls & ~(u32)(PROC_INTR_WINDOW | PROC_NMI_WINDOW);
    ctls |= (interrupt ? PROC_INTR_WINDOW : 0) | (nmi ? PROC_NMI_WINDOW : 0);
    if (ctls != v->proc_ctls) {
        v->proc_ctls = ctls;
        vmcs_write(VMCS_PROC_CTLS, ctls);
    }
}

static void commit(struct vcpu *v, struct inject_decision *d, const struct inject_input *in)
{
    if (d->source == INJECT_EXTINT)
        inject_set_vector(d, pic_ack(&v->vm->pic));
    else if (d->source == INJECT_LAPIC)
        lapic_accept(&v->vm->lapic, (u8)(d->info & INTR_INFO_VECTOR));
    if (d->info) {
        vmcs_write(VMCS_ENTRY_INTR_INFO, d->info);
        if (d->info & INTR_INFO_ERROR_CODE)
            vmcs_write(VMCS_ENTRY_ERROR_CODE, d->error_code);
        if (d->length)
            vmcs_write(VMCS_ENTRY_INSN_LENGTH, d->length);
        v->halted = false;
    }
    if (d->interruptibility != in->interruptibility)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, d->interruptibility);
    if (d->set_cr2)
        vcpu_set_cr2(v, d->cr2);
    set_windows(v, d->interrupt_window, d->nmi_window);
    v->nmi = d->nmi;
    v->nmi_blocked = d->nmi_blocked;
    v->held = d->held;
}

NOINLINE static void inject_any(struct vcpu *vcpu, s32 lapic)
{
    struct vm *vm = vcpu->vm;
    struct inject_decision decision;
    struct inject_input in = {
        .vectored = vcpu->vectored,
        .exception = vcpu->exception,
        .nmi = vcpu->nmi || vm->nmi_requested,
        .extint = vm_extint(vm),
        .held = vcpu->held,
        .lapic = lapic,
        .virtual_nmis = vcpu->has_virtual_nmis,
        .nmi_blocked = vcpu->nmi_blocked,
        .interruptibility = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY),
        .activity = vcpu->halted ? ACTIVITY_HLT : ACTIVITY_ACTIVE,
        .cr0 = vmcs_read(VMCS_GUEST_CR0),
        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
    };

    vcpu->vectored.valid = false;
    vcpu->exception.valid = false;
    vm->nmi_requested = false;
    inject_decide(&in, &decision);
    if (decision.triple_fault) {
        vm_stop(vm, VM_END_TRIPLE_FAULT, "an exception while delivering a double fault");
        return;
    }
    commit(vcpu, &decision, &in);
}

// Whether there is anything to decide on but the local APIC's interrupt.
static bool any_others(const struct vcpu *v)
{
    return v->vectored.valid || v->exception.valid || v->nmi || v->vm->nmi_requested ||
           v->nmi_blocked || v->held >= 0 || pic_output(&v->vm->pic) ||
           (v->proc_ctls & (PROC_INTR_WINDOW | PROC_NMI_WINDOW));
}

// Most of the time there is nothing but the local APIC's interrupt, and the guest takes it. Then
// this is all that inject_decide() and commit() come to.
static bool inject_plainly(struct vcpu *v)
{
    struct vm *vm = v->vm;
    int vector = lapic_pending(&vm->lapic);

    if (any_others(v) || vector < 0 || !(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) ||
        vmcs_read(VMCS_GUEST_INTERRUPTIBILITY))
        return false;
    lapic_accept(&vm->lapic, (u8)vector);
    vmcs_write(VMCS_ENTRY_INTR_INFO, INTR_INFO_VALID | (u32)vector);
    v->halted = false;
    return true;
}

void vcpu_inject(struct vcpu *vcpu)
{
    vcpu->vm->attention &= ~(u32)VM_ATTENTION_EVENT;
    if (!inject_plainly(vcpu))
        inject_any(vcpu, lapic_pending(&vcpu->vm->lapic));
}

void vcpu_inject_others(struct vcpu *vcpu)
{
    vcpu->vm->attention &= ~(u32)VM_ATTENTION_EVENT;
    if (any_others(vcpu))
        inject_any(vcpu, -1);
}

enum exit_action exit_interrupt_window(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    vcpu->vm->attention |= VM_ATTENTION_EVENT;
    return ACT_RESUME;
}

enum exit_action exit_nmi_window(struct vcpu *vcpu, const struct exit_info *exit)
{
    return exit_interrupt_window(vcpu, exit);
}
