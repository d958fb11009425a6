// SPDX-License-Identifier: MIT
// Handlers of the exits that need little: CPUID, HLT, the TSC, cache and VMX instructions, XSETBV,
// interrupts and the preemption timer.
#include "arch/x86_64/regs/cr.h"
#include "vmx/segment.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

static enum exit_action give_cpuid(struct vcpu *v, u64 eax, u64 ebx, u64 ecx, u64 edx)
{
    v->regs[GPR_RAX] = eax;
    v->regs[GPR_RBX] = ebx;
    v->regs[GPR_RCX] = ecx;
    v->regs[GPR_RDX] = edx;
    return ACT_SKIP;
}

NOINLINE static enum exit_action find_cpuid(struct vcpu *v)
{
    struct cpuid_state state = {
        .cr4 = vmcs_read(VMCS_GUEST_CR4),
        .xcr0 = v->xcr0,
        .apic_off = !(lapic_base_read(&v->vm->lapic) & APIC_BASE_ENABLE),
    };
    struct cpuid_regs r =
        cpuid_answer(&v->cpuid, (u32)v->regs[GPR_RAX], (u32)v->regs[GPR_RCX], &state);
    return give_cpuid(v, r.eax, r.ebx, r.ecx, r.edx);
}

enum exit_action exit_cpuid(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    const struct cpuid_ready *ready = &vcpu->cpuid.ready;
    u32 leaf = (u32)vcpu->regs[GPR_RAX], slot = leaf % CPUID_READY;

    if (unlikely(ready->leaf[slot] != leaf))
        return find_cpuid(vcpu);
    return give_cpuid(vcpu, ready->eax[slot], ready->ebx[slot], ready->ecx[slot], ready->edx[slot]);
}

enum exit_action exit_hlt(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)vcpu;
    (void)exit;
    return ACT_IDLE;
}

static void set_edx_eax(struct vcpu *v, u64 value)
{
    v->regs[GPR_RAX] = (u32)value;
    v->regs[GPR_RDX] = value >> 32;
}

// RDTSC exiting is off; a CPU or an outer hypervisor that forces it still gets the right answer.
enum exit_action exit_rdtsc(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    set_edx_eax(vcpu, host_tsc() + vcpu->tsc_offset);
    return ACT_SKIP;
}

enum exit_action exit_rdtscp(struct vcpu *vcpu, const struct exit_info *exit)
{
    exit_rdtsc(vcpu, exit);
    vcpu->regs[GPR_RCX] = (u32)vcpu_tsc_aux(vcpu);
    return ACT_SKIP;
}

// The guest is shown no performance counter: none of them exists.
enum exit_action exit_rdpmc(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    return raise_gp(vcpu);
}

// Guest RAM is ordinary host memory, coherent by itself: there is nothing to write back, and
// throwing away what is cached (INVD) would take the host's data with it.
enum exit_action exit_invd(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)vcpu;
    (void)exit;
    return ACT_SKIP;
}

enum exit_action exit_wbinvd(struct vcpu *vcpu, const struct exit_info *exit)
{
    return exit_invd(vcpu, exit);
}

// Instructions whose CPUID bit the guest does not see: VMX, SMX, SGX, MONITOR and newer ones.
enum exit_action exit_undefined(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    return raise_ud(vcpu);
}

enum exit_action exit_vmcall(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u64 *rax = &vcpu->regs[GPR_RAX];

    if (*rax == HYPERCALL_PING)
        *rax = vcpu->regs[GPR_RBX] + 1;
    else if (*rax == HYPERCALL_VMCS_COUNT)
        *rax = vmcs_access_count();
    else
        *rax = HYPERCALL_UNKNOWN;
    return ACT_SKIP;
}

// XCR0 bits that come only together: SDM volume 1, "Extended Control Registers (XCRs)".
static bool xcr0_legal(u64 value, u64 allowed)
{
    const u64 avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
    if (!(value & XCR0_X87) || (value & ~allowed))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    return !(value & avx512) || ((value & avx512) == avx512 && (value & XCR0_AVX));
}

// XSETBV exits always. The privilege check comes before the exit and the value check is ours: the
// instruction is executed in root operation, where a bad value would fault.
enum exit_action exit_xsetbv(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u64 value = (u64)(u32)vcpu->regs[GPR_RDX] << 32 | (u32)vcpu->regs[GPR_RAX];

    if (!(vmcs_read(VMCS_GUEST_CR4) & CR4_OSXSAVE))
        return raise_ud(vcpu);
    if ((u32)vcpu->regs[GPR_RCX] != 0 || !xcr0_legal(value, vcpu->xcr0_allowed))
        return raise_gp(vcpu);
    vcpu_set_xcr0(vcpu, value);
    return ACT_SKIP;
}

// The run loop looks at the deadlines before every entry; the exit itself is all that was wanted.
enum exit_action exit_preemption_timer(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)vcpu;
    (void)exit;
    return ACT_RESUME;
}

enum exit_action exit_external_interrupt(struct vcpu *vcpu, const struct exit_info *exit)
{
    vcpu_host_interrupt(vcpu, exit);
    return ACT_RESUME;
}

enum exit_action exit_triple_fault(struct vcpu *vcpu, const struct exit_info *exit)
{
    vm_stop(vcpu->vm, VM_END_TRIPLE_FAULT, "at %04llx:%016llx",
            (unsigned long long)vmcs_read(VMCS_GUEST_CS_SEL),
            (unsigned long long)vmcs_read(VMCS_GUEST_RIP));
    vcpu_report(vcpu, exit);
    return ACT_STOP;
}

// #DB as it would be delivered; ICEBP's is privileged software and points behind itself.
static enum exit_action reflect_debug(struct vcpu *v, const struct exit_info *exit)
{
    vcpu_debug(v, exit->qualification & (BITS(3, 0) | DR6_BD | DR6_BS));
    u32 type = (exit->intr_info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT;
    if (type == EVENT_PRIVILEGED_SOFTWARE_EXCEPTION) {
        v->exception.type = EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
        v->exception.length = (u8)exit->length;
    }
    return ACT_FAULT;
}

enum exit_action exit_exception(struct vcpu *vcpu, const struct exit_info *exit)
{
    u32 info = exit->intr_info;
    u32 type = (info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT;
    u8 vector = (u8)(info & INTR_INFO_VECTOR);

    if (type == EVENT_NMI) {
        vcpu_host_nmi();
        return ACT_RESUME;
    }
    // IRET had ended NMI blocking when the fault came: SDM volume 3, "Information About NMI
    // Unblocking Due to IRET". Not so where another event was being delivered or for #DF.
    if ((info & INTR_INFO_NMI_UNBLOCKING) && vector != VEC_DF && !vcpu->vectored.valid)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
                   vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_BY_NMI);
    if (vector == VEC_MC) {
        vcpu_host_machine_check();
        return ACT_RESUME;
    }
    if (vector == VEC_DB)
        return reflect_debug(vcpu, exit);
    vcpu_raise(vcpu, event_exception((enum vector)vector,
                                     info & INTR_INFO_ERROR_CODE ? exit->intr_error : 0));
    return ACT_FAULT;
}
