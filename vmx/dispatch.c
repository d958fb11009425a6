// SPDX-License-Identifier: MIT
// The exit table and the only place that counts exits, moves RIP and acts on a handler's answer.
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
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

// RF keeps an instruction breakpoint from coming twice: an EPT violation leaves it set, an I/O exit
// clear, and here it gets what it has between two elements of a repeated instruction (again) and
// after the last. SDM volume 3, "Saving RIP, RSP, RFLAGS, and SSP" and "Instruction-Breakpoint
// Exception Condition".
COLD static void finish_flags(struct vcpu *v, bool again)
{
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    if (!(rflags & RFLAGS_RF) == again)
        vmcs_write(VMCS_GUEST_RFLAGS, rflags ^ RFLAGS_RF);
    if (rflags & RFLAGS_TF)
        single_step(v);
}

COLD static void end_shadow(struct vcpu *v)
{
    v->exit.interruptibility &= ~BLOCKING_BY_STI_MOV_SS;
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, v->exit.interruptibility);
    // The event that the shadow held back may be injected now.
    v->vm->attention |= VM_ATTENTION_EVENT;
}

// Outside 64-bit mode EIP wraps at 4 GiB.
COLD static u64 wrap_rip(const struct vcpu *v, u64 rip)
{
    return vcpu_mode(v) == GUEST_64BIT ? rip : (u32)rip;
}

// The instruction is done.
static inline void skip(struct vcpu *v)
{
    u64 rip = v->exit.rip + v->exit.length;
    if (unlikely((u32)rip < INSTRUCTION_LENGTH_MAX)) // only then is the mode worth reading
        rip = wrap_rip(v, rip);
    vmcs_write(VMCS_GUEST_RIP, rip);
    if (unlikely(v->exit.interruptibility & BLOCKING_BY_STI_MOV_SS))
        end_shadow(v);
    if (unlikely(v->exit.rflags & (RFLAGS_RF | RFLAGS_TF)))
        finish_flags(v, false);
}

// One element of a repeated instruction is done.
static void repeat(struct vcpu *v)
{
    if (v->exit.interruptibility & BLOCKING_BY_STI_MOV_SS)
        end_shadow(v);
    finish_flags(v, true);
}

// What a fault's handler returns to has RF set, and VM entry pushes the flags as they are: SDM
// volume 3, "Instruction-Breakpoint Exception Condition". #DB sets it where it is a fault, by
// itself.
static void set_fault_flags(const struct event *exception)
{
    if (exception->type == EVENT_HARDWARE_EXCEPTION && exception->vector != VEC_DB)
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
}

// ---- the exit's fields ------------------------------------------------------------------------

static void read_vectoring(struct vcpu *v)
{
    u32 info = (u32)vmcs_read(VMCS_IDT_INFO);
    if (likely(!(info & INTR_INFO_VALID)))
        return;
    u32 error = info & INTR_INFO_ERROR_CODE ? (u32)vmcs_read(VMCS_IDT_ERROR_CODE) : 0;
    v->vectored = event_from_info(info, error, v->exit.length);
    v->vm->attention |= VM_ATTENTION_EVENT;
}

static void read_fields(struct vcpu *v, struct exit_info *exit, u32 needs)
{
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

// ---- answering --------------------------------------------------------------------------------

enum exit_action exit_unhandled(struct vcpu *vcpu, const struct exit_info *exit)
{
    vm_stop(vcpu->vm, VM_END_UNHANDLED, "exit reason %u (%s) is not handled", exit->reason,
            exit_reason_name(exit->reason));
    vcpu_report(vcpu, exit);
    return ACT_STOP;
}

static enum exit_action exit_with_fields(struct vcpu *v, const struct exit_info *exit)
{
    const struct exit_row *row = &exit_table[exit->reason];
    read_fields(v, &v->exit, row->needs);
    return row->handler ? row->handler(v, exit) : exit_unhandled(v, exit);
}

// The first thing to call for each reason: the handler itself where enter.asm has read all it
// needs.
#define EXIT(number, name, text, handler, needs)                                                   \
    [number] = (needs) & ~(u32)NEED_L ? exit_with_fields                                           \
                                      : _Generic((handler), void *: exit_unhandled, default: (handler)),
static const exit_handler first_calls[REASON_COUNT] = {
#include "vmx/exit_reasons.def"
    [35] = exit_unhandled,
    [38] = exit_unhandled,
    [42] = exit_unhandled,
    [71] = exit_unhandled,
};
#undef EXIT

// A VM entry that failed after the host state was loaded: SDM volume 3, "VM-Entry Failures During
// or After Loading Guest State".
COLD static void stop_entry_failed(struct vcpu *v, struct exit_info *exit)
{
    exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    vm_stop(v->vm, VM_END_ENTRY_FAILED, "exit reason %u: %s, qualification %llu", exit->reason,
            exit_reason_name(exit->reason), (unsigned long long)exit->qualification);
    vcpu_report(v, exit);
}

// The reason is none of the table's, or has more bits than its number. Whether it has an answer all
// the same.
COLD static bool accept_reason(struct vcpu *v)
{
    struct exit_info *exit = &v->exit;
    bool failed = exit->reason & REASON_ENTRY_FAILED;
    exit->reason &= 0xffff;
    if (failed)
        stop_entry_failed(v, exit);
    else if (exit->reason >= REASON_COUNT)
        exit_unhandled(v, exit);
    return !failed && exit->reason < REASON_COUNT;
}

// All but ACT_SKIP.
COLD static void act(struct vcpu *v, enum exit_action action)
{
    switch (action) {
    case ACT_REPEAT:
        repeat(v);
        break;
    case ACT_IDLE:
        skip(v);
        v->halted = true;
        // What waits already must be looked at before going idle.
        v->vm->attention |= VM_ATTENTION_EVENT;
        break;
    case ACT_FAULT:
        set_fault_flags(&v->exception);
        break;
    default:
        break;
    }
}

// The hook sees the fields too, and may answer instead of the table.
static enum exit_action call_hook(struct vcpu *v)
{
    struct exit_info *exit = &v->exit;
    enum exit_action action;
    read_fields(v, exit, exit_table[exit->reason].needs);
    return v->hook(v, exit, &action) ? action : first_calls[exit->reason](v, exit);
}

static inline void answer(struct vcpu *v, bool hooked)
{
    u32 reason = v->exit.reason;

    vmcs_count_reads(EXIT_READS);
    if (unlikely(reason >= REASON_COUNT)) {
        if (!accept_reason(v))
            return;
        reason = v->exit.reason;
    }
    v->exits[reason]++;
    enum exit_action action = hooked ? call_hook(v) : first_calls[reason](v, &v->exit);
    if (likely(action == ACT_SKIP))
        skip(v);
    else
        act(v, action);
}

void exit_dispatch(struct vcpu *vcpu)
{
    answer(vcpu, vcpu->hook != NULL);
}

// ---- from an exit to the next entry -----------------------------------------------------------

// Makes the guest come out when the nearest deadline is due. The timer counts down by one whenever
// the TSC passes a multiple of 2^rate, so a count of n ends up to 2^rate - 1 ticks before n << rate
// have passed; with the slack, and rounded down, it never ends before left have, and less than two
// counts after. The VMCS takes the low 32 bits: of a deadline farther away they bring an exit that
// finds nothing due, once in 2^32 counts.
static inline struct vcpu *arm(struct vcpu *v, u64 left)
{
    vmcs_write(VMCS_PREEMPTION_TIMER, (left + v->preemption_slack) >> v->preemption_rate);
    return v;
}

static struct vcpu *leave(struct vcpu *v, enum vcpu_pause pause)
{
    v->pause = pause;
    return NULL;
}

struct vcpu *vcpu_prepare(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    u64 now = host_tsc();

    if (deadline_next(&vm->timers) <= now)
        deadline_run(&vm->timers, now);
    if (vm->attention & VM_ATTENTION_STOP)
        return leave(vcpu, VCPU_ENDED);
    if (vm->attention & VM_ATTENTION_YIELD) {
        vm->attention &= ~(u32)VM_ATTENTION_YIELD;
        return leave(vcpu, VCPU_YIELD);
    }
    if (vm->attention)
        vcpu_inject(vcpu);
    if (vm->attention & VM_ATTENTION_STOP) // a triple fault
        return leave(vcpu, VCPU_ENDED);
    if (vcpu->halted)
        return leave(vcpu, VCPU_IDLE);
    if ((vm->attention & VM_ATTENTION_CHECK) && !entry_sound(vcpu))
        return leave(vcpu, VCPU_ENDED);
    if (vcpu->turn != vcpu_turn)
        vcpu_care_before_entry(vcpu);
    if (!vcpu->has_preemption_timer)
        return vcpu;
    // The timer starts with the entry: the time that all this took is not to make it late.
    now = host_tsc();
    u64 next = deadline_next(&vm->timers);
    return arm(vcpu, next > now ? next - now : 0);
}

struct vcpu *vcpu_turn(struct vcpu *vcpu)
{
    u64 left;

    answer(vcpu, false);
    const struct vm *vm = vcpu->vm;
    if (unlikely(vm->attention) ||
        unlikely(__builtin_sub_overflow(deadline_next(&vm->timers), host_tsc(), &left)))
        return vcpu_prepare(vcpu);
    return arm(vcpu, left);
}

struct vcpu *vcpu_turn_with_care(struct vcpu *vcpu)
{
    vcpu_care_after_exit(vcpu);
    exit_dispatch(vcpu);
    return vcpu_prepare(vcpu);
}
