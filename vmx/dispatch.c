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

static void end_shadow(struct vcpu *v)
{
    if (!(v->exit.interruptibility & BLOCKING_BY_STI_MOV_SS))
        return;
    v->exit.interruptibility &= ~BLOCKING_BY_STI_MOV_SS;
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, v->exit.interruptibility);
    // The event that the shadow held back may be injected now.
    v->vm->attention |= VM_ATTENTION_EVENT;
}

// #DB ends the shadow of STI or MOV SS. VM entry refuses to go on in it with TF set unless a step
// is pending, which the exit that #DB causes has cleared: SDM volume 3, "Checks on Guest
// Non-Register State".
void vcpu_debug(struct vcpu *vcpu, u64 causes)
{
    end_shadow(vcpu);
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
static void finish_flags(struct vcpu *v, bool again)
{
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    if (!(rflags & RFLAGS_RF) == again)
        vmcs_write(VMCS_GUEST_RFLAGS, rflags ^ RFLAGS_RF);
    if (rflags & RFLAGS_TF)
        single_step(v);
}

// The instruction is done.
static void skip(struct vcpu *v)
{
    u64 rip = v->exit.rip + v->exit.length;
    // Outside 64-bit mode EIP wraps at 4 GiB; only then is the mode worth reading.
    if ((rip ^ v->exit.rip) >> 32 && vcpu_mode(v) != GUEST_64BIT)
        rip = (u32)rip;
    vmcs_write(VMCS_GUEST_RIP, rip);
    end_shadow(v);
    finish_flags(v, false);
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

void exit_read_fields(struct vcpu *vcpu, u32 needs)
{
    struct exit_info *exit = &vcpu->exit;

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
        read_vectoring(vcpu);
}

// ---- answering --------------------------------------------------------------------------------

enum exit_action exit_unhandled(struct vcpu *vcpu, const struct exit_info *exit)
{
    if (exit->reason < REASON_COUNT)
        exit_read_fields(vcpu, exit_table[exit->reason].needs);
    vm_stop(vcpu->vm, VM_END_UNHANDLED, "exit reason %u (%s) is not handled", exit->reason,
            exit_reason_name(exit->reason));
    vcpu_report(vcpu, exit);
    return ACT_STOP;
}

static enum exit_action exit_with_fields(struct vcpu *v, const struct exit_info *exit)
{
    const struct exit_row *row = &exit_table[exit->reason];
    exit_read_fields(v, row->needs);
    return row->handler(v, exit);
}

// The first thing to call for each reason: the handler itself where enter.asm has read all it
// needs.
#define CALLS_HANDLER(needs) (((needs) & ~(u32)NEED_L) == 0 || ((needs)&NEED_OWN))
#define EXIT(number, name, text, handler, needs)                                                   \
    [number] = _Generic((handler),                                                                 \
    void *: exit_unhandled,                                                                        \
    default: (CALLS_HANDLER(needs) ? (handler) : exit_with_fields)),
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
static enum exit_action stop_entry_failed(struct vcpu *v, struct exit_info *exit)
{
    exit->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    vm_stop(v->vm, VM_END_ENTRY_FAILED, "exit reason %u: %s, qualification %llu", exit->reason,
            exit_reason_name(exit->reason), (unsigned long long)exit->qualification);
    vcpu_report(v, exit);
    return ACT_STOP;
}

// The reason is none of the table's, or has more bits than its number.
COLD static enum exit_action answer_odd_reason(struct vcpu *v)
{
    struct exit_info *exit = &v->exit;
    bool failed = exit->reason & REASON_ENTRY_FAILED;
    exit->reason &= 0xffff;
    if (failed)
        return stop_entry_failed(v, exit);
    if (exit->reason >= REASON_COUNT)
        return exit_unhandled(v, exit);
    v->exits[exit->reason]++;
    return first_calls[exit->reason](v, exit);
}

// The hook sees the fields too, and may answer instead of the table.
static enum exit_action call_hook(struct vcpu *v)
{
    struct exit_info *exit = &v->exit;
    enum exit_action action;
    exit_read_fields(v, exit_table[exit->reason].needs);
    return v->hook(v, exit, &action) ? action : first_calls[exit->reason](v, exit);
}

enum exit_action exit_answer(struct vcpu *vcpu)
{
    u32 reason = vcpu->exit.reason;

    vmcs_count_reads(EXIT_READS);
    if (unlikely(reason >= REASON_COUNT))
        return answer_odd_reason(vcpu);
    vcpu->exits[reason]++;
    return first_calls[reason](vcpu, &vcpu->exit);
}

enum exit_action exit_answer_with_care(struct vcpu *vcpu)
{
    if (!vcpu->hook || vcpu->exit.reason >= REASON_COUNT)
        return exit_answer(vcpu);
    vmcs_count_reads(EXIT_READS);
    vcpu->exits[vcpu->exit.reason]++;
    return call_hook(vcpu);
}

void exit_act(struct vcpu *vcpu, enum exit_action action)
{
    switch (action) {
    case ACT_SKIP:
        skip(vcpu);
        break;
    case ACT_REPEAT:
        end_shadow(vcpu);
        finish_flags(vcpu, true);
        break;
    case ACT_IDLE:
        skip(vcpu);
        vcpu->halted = true;
        // What waits already must be looked at before going idle.
        vcpu->vm->attention |= VM_ATTENTION_EVENT;
        break;
    case ACT_GP:
        raise_gp(vcpu);
        FALLTHROUGH;
    case ACT_FAULT:
        set_fault_flags(&vcpu->exception);
        break;
    case ACT_RESUME:
    case ACT_STOP:
        break;
    }
}

// ---- the next entry ---------------------------------------------------------------------------

// The VMX-preemption timer counts down by one whenever the TSC passes a multiple of 2^rate: from
// now, in such counts, to the count of the nearest deadline, which is rounded up. So it never ends
// early, and less than a count late. The VMCS takes the low 32 bits: of a deadline farther away
// they bring an exit that finds nothing due, once in 2^32 counts.
static inline u64 count_now(const struct vcpu *v)
{
    return host_tsc() >> v->preemption_rate;
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
        vcpu->inject(vcpu);
    if (vm->attention & VM_ATTENTION_STOP) // a triple fault
        return leave(vcpu, VCPU_ENDED);
    if (vcpu->halted)
        return leave(vcpu, VCPU_IDLE);
    if ((vm->attention & VM_ATTENTION_CHECK) && !entry_sound(vcpu))
        return leave(vcpu, VCPU_ENDED);
    if (!vcpu->has_preemption_timer) {
        vcpu_arm_host_timer(vcpu);
        return vcpu;
    }
    // The timer starts with the entry: the time that all this took is not to make it late.
    now = count_now(vcpu);
    u64 next = vm->timers.next_count;
    vmcs_write(VMCS_PREEMPTION_TIMER, next > now ? next - now : 0);
    return vcpu;
}

NOINLINE static struct vcpu *act_and_prepare(struct vcpu *v, enum exit_action action)
{
    exit_act(v, action);
    return vcpu_prepare(v);
}

// What exit_act() and vcpu_prepare() do where all is as usual: the instruction is done (ACT_SKIP is
// 0), nothing is in its shadow or wants attention, it does not end at a multiple of 4 GiB, nothing
// is due.
struct vcpu *exit_finish(struct vcpu *vcpu, enum exit_action action)
{
    const struct vm *vm = vcpu->vm;
    u64 rip = vcpu->exit.rip + vcpu->exit.length;
    u64 left;

    if (unlikely((u32)action | vcpu->exit.interruptibility | vm->attention) ||
        unlikely(vcpu->exit.rflags & (RFLAGS_RF | RFLAGS_TF)) ||
        unlikely((u32)rip < INSTRUCTION_LENGTH_MAX))
        return act_and_prepare(vcpu, action);
    vmcs_write(VMCS_GUEST_RIP, rip);
    if (unlikely(__builtin_sub_overflow(vm->timers.next_count, count_now(vcpu), &left)))
        return vcpu_prepare(vcpu);
    vmcs_write(VMCS_PREEMPTION_TIMER, left);
    return vcpu;
}

struct vcpu *exit_finish_with_care(struct vcpu *vcpu, enum exit_action action)
{
    return act_and_prepare(vcpu, action);
}
