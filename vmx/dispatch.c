// SPDX-License-Identifier: MIT
// The exit table and the only place that counts exits, moves RIP and acts on a handler's answer.
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/inject.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

#define EXIT(number, name, text, handler, needs) [number] = {(text), (handler), (needs)},
const struct exit_row exit_table[REASON_COUNT] = {
#include "vmx/exit_reasons.def"
};
#undef EXIT

#define REASON_ENTRY_FAILED BIT32(31)

const char *exit_reason_name(u32 reason)
{
    return reason < REASON_COUNT && exit_table[reason].name ? exit_table[reason].name
                                                            : "unknown reason";
}

u64 vcpu_read_gpr(const struct vcpu *vcpu, unsigned reg)
{
    return reg == GPR_RSP ? vmcs_read(VMCS_GUEST_RSP) : vcpu->regs[reg];
}

void vcpu_write_gpr(struct vcpu *vcpu, unsigned reg, u64 value)
{
    if (reg == GPR_RSP)
        vmcs_write(VMCS_GUEST_RSP, value);
    else
        vcpu->regs[reg] = value;
}

void vcpu_raise(struct vcpu *vcpu, struct event event)
{
    vcpu->exception = event;
    vcpu->vm->attention |= VM_ATTENTION_EVENT;
}

enum exit_action raise_gp(struct vcpu *vcpu)
{
    vcpu_raise(vcpu, event_exception(VEC_GP, 0));
    return ACT_FAULT;
}

enum exit_action raise_ud(struct vcpu *vcpu)
{
    vcpu_raise(vcpu, event_exception(VEC_UD, 0));
    return ACT_FAULT;
}

void vcpu_debug(struct vcpu *vcpu, u64 causes)
{
    vcpu_merge_dr6(vcpu, causes);
    vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~(u64)DR7_GD);
    vmcs_write(VMCS_GUEST_DEBUGCTL,
               vmcs_read(VMCS_GUEST_DEBUGCTL) & ~(u64)(DEBUGCTL_LBR | DEBUGCTL_BTF));
    vcpu_raise(vcpu, event_exception(VEC_DB, 0));
}

// After an emulated instruction a step is due as after a real one: SDM volume 3, "Single-Step
// Exception Condition". It is raised and not left in the pending-debug field, which an interrupt
// injected with the same entry would throw away and a guest in HLT never see ("Delivery of Pending
// Debug Exceptions after VM Entry"). What MOV SS held back there comes with it.
static void single_step(struct vcpu *v)
{
    if (vmcs_read(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF)
        return;
    u64 pending = vmcs_read(VMCS_GUEST_PENDING_DEBUG);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    vcpu_debug(v, DR6_BS | (pending & BITS(3, 0)));
}

// An instruction is done, or (again) one element of a repeated one. RF keeps an instruction
// breakpoint from coming twice: an EPT violation leaves it set, an I/O exit clear, and here it gets
// what it has between two elements and after the last. SDM volume 3, "Saving RIP, RSP, RFLAGS, and
// SSP" and "Instruction-Breakpoint Exception Condition".
static void retire(struct vcpu *v, bool again)
{
    u64 blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    if (unlikely(blocking & BLOCKING_BY_STI_MOV_SS)) {
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(u64)BLOCKING_BY_STI_MOV_SS);
        // The event that the shadow held back may be injected now.
        v->vm->attention |= VM_ATTENTION_EVENT;
    }
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    if (unlikely(!(rflags & RFLAGS_RF) == again))
        vmcs_write(VMCS_GUEST_RFLAGS, rflags ^ RFLAGS_RF);
    if (unlikely(rflags & RFLAGS_TF))
        single_step(v);
}

void vcpu_skip(struct vcpu *vcpu, u32 length)
{
    u64 old = vmcs_read(VMCS_GUEST_RIP);
    u64 rip = old + length;
    // Outside 64-bit mode EIP wraps at 4 GiB; only then is the mode worth reading.
    if (unlikely((rip ^ old) >> 32) && vcpu_mode(vcpu) != GUEST_64BIT)
        rip = (u32)rip;
    vmcs_write(VMCS_GUEST_RIP, rip);
    retire(vcpu, false);
}

// What a fault's handler returns to has RF set, and VM entry pushes the flags as they are: SDM
// volume 3, "Instruction-Breakpoint Exception Condition". #DB sets it where it is a fault, by
// itself.
static void set_fault_flags(const struct event *exception)
{
    if (exception->type == EVENT_HARDWARE_EXCEPTION && exception->vector != VEC_DB)
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
}

static void read_vectoring(struct vcpu *v)
{
    u32 info = (u32)vmcs_read(VMCS_IDT_INFO);
    if (likely(!(info & INTR_INFO_VALID)))
        return;
    u32 error = info & INTR_INFO_ERROR_CODE ? (u32)vmcs_read(VMCS_IDT_ERROR_CODE) : 0;
    v->vectored = event_from_info(info, error, (u32)vmcs_read(VMCS_EXIT_INSN_LENGTH));
    v->vm->attention |= VM_ATTENTION_EVENT;
}

static void read_exit(struct vcpu *v, struct exit_info *exit, u32 needs)
{
    if (needs & NEED_L)
        exit->length = (u32)vmcs_read(VMCS_EXIT_INSN_LENGTH);
    if (needs & NEED_Q)
        exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (needs & NEED_A) {
        exit->gpa = GPA(vmcs_read(VMCS_GUEST_PHYSICAL_ADDR));
        exit->gla = GVA(vmcs_read(VMCS_GUEST_LINEAR_ADDR));
    }
    if (needs & NEED_I) {
        exit->intr_info = (u32)vmcs_read(VMCS_EXIT_INTR_INFO);
        exit->intr_error = (u32)vmcs_read(VMCS_EXIT_ERROR_CODE);
    }
    if (needs & NEED_N)
        exit->insn_info = (u32)vmcs_read(VMCS_EXIT_INSN_INFO);
    if (needs & NEED_V)
        read_vectoring(v);
}

static void stop_unhandled(struct vcpu *v, const struct exit_info *exit)
{
    vm_stop(v->vm, VM_END_UNHANDLED, "exit reason %u (%s) is not handled", exit->reason,
            exit_reason_name(exit->reason));
    vcpu_report(v, exit);
}

// A VM entry that failed after the host state was loaded: SDM volume 3, "VM-Entry Failures During
// or After Loading Guest State".
static void stop_entry_failed(struct vcpu *v, struct exit_info *exit)
{
    exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    vm_stop(v->vm, VM_END_ENTRY_FAILED, "exit reason %u: %s, qualification %llu", exit->reason,
            exit_reason_name(exit->reason), (unsigned long long)exit->qualification);
    vcpu_report(v, exit);
}

void exit_dispatch(struct vcpu *vcpu)
{
    struct exit_info *exit = &vcpu->exit;
    u32 reason = (u32)vmcs_read(VMCS_EXIT_REASON);

    exit->reason = reason & 0xffff;
    if (unlikely(reason & REASON_ENTRY_FAILED)) {
        stop_entry_failed(vcpu, exit);
        return;
    }
    if (unlikely(exit->reason >= REASON_COUNT)) {
        stop_unhandled(vcpu, exit);
        return;
    }
    vcpu->exits[exit->reason]++;
    const struct exit_row *row = &exit_table[exit->reason];
    read_exit(vcpu, exit, row->needs);

    enum exit_action action;
    if (likely(!vcpu->hook) || !vcpu->hook(vcpu, exit, &action)) {
        if (unlikely(!row->handler)) {
            stop_unhandled(vcpu, exit);
            return;
        }
        action = row->handler(vcpu, exit);
    }
    switch (action) {
    case ACT_SKIP:
        vcpu_skip(vcpu, exit->length);
        break;
    case ACT_REPEAT:
        retire(vcpu, true);
        break;
    case ACT_IDLE:
        vcpu_skip(vcpu, exit->length);
        vcpu->halted = true;
        // What waits already must be looked at before going idle.
        vcpu->vm->attention |= VM_ATTENTION_EVENT;
        break;
    case ACT_FAULT:
        set_fault_flags(&vcpu->exception);
        break;
    case ACT_RESUME:
    case ACT_STOP:
        break;
    }
}

// ---- injection --------------------------------------------------------------------------------

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

void vcpu_inject(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    struct inject_decision decision;
    struct inject_input in = {
        .vectored = vcpu->vectored,
        .exception = vcpu->exception,
        .nmi = vcpu->nmi || vm->nmi_requested,
        .extint = vm_extint(vm),
        .held = vcpu->held,
        .lapic = lapic_pending(&vm->lapic),
        .virtual_nmis = vcpu->has_virtual_nmis,
        .nmi_blocked = vcpu->nmi_blocked,
        .interruptibility = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY),
        .activity = vcpu->halted ? ACTIVITY_HLT : ACTIVITY_ACTIVE,
        .cr0 = vmcs_read(VMCS_GUEST_CR0),
        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
    };

    vm->attention &= ~(u32)VM_ATTENTION_EVENT;
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
