// SPDX-License-Identifier: MIT
// Control-register exits: SDM volume 3, "Exit Qualification for Control-Register Accesses" and the
// rules of "MOV - Move to/from Control Registers" in volume 2.
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)

// What the guest believes a register to hold: its own bits, and the shadow of those it does not
// own.
static u64 guest_view(u64 real, u64 shadow, u64 mask)
{
    return (real & ~mask) | (shadow & mask);
}

u64 vcpu_guest_cr0(const struct vcpu *vcpu)
{
    return guest_view(vmcs_read(VMCS_GUEST_CR0), vmcs_read(VMCS_CR0_SHADOW), vcpu->cr0_mask);
}

u64 vcpu_guest_cr4(const struct vcpu *vcpu)
{
    return guest_view(vmcs_read(VMCS_GUEST_CR4), vmcs_read(VMCS_CR4_SHADOW), vcpu->cr4_mask);
}

// The four PDPTEs that PAE paging caches in registers: SDM volume 3, "PDPTE Registers". E_FAULT if
// one has a reserved bit set (the instruction that loads them gets #GP).
static int load_pdptes(struct vcpu *v, u64 cr3)
{
    const u64 reserved = BITS(2, 1) | BITS(8, 5) | (~0ull << v->caps->maxphyaddr);
    const u64 *table = vm_ptr(v->vm, GPA(cr3 & 0xffffffe0ull), 4 * sizeof(u64));
    u64 entries[4];

    for (unsigned i = 0; i < 4; i++) {
        // Memory that is not there reads as all ones, as on a bus nobody answers.
        entries[i] = table ? __atomic_load_n(&table[i], __ATOMIC_RELAXED) : ~0ull;
        if ((entries[i] & 1) && (entries[i] & reserved))
            return E_FAULT;
    }
    for (u32 i = 0; i < 4; i++)
        vmcs_write((enum vmcs_field)(VMCS_GUEST_PDPTE0 + 2 * i), entries[i]);
    return OK;
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

// Entering or leaving paging with EFER.LME set switches IA-32e mode: LMA and the entry control
// change together. *efer gets the new value; false means #GP.
static bool switch_long_mode(u64 cr0, u64 cr4, u64 *efer)
{
    if (!(*efer & EFER_LME))
        return true;
    if (cr0 & CR0_PG) {
        // IA-32e mode has no 16-bit TSS, and neither has a VM entry into it.
        bool tss16 = (vmcs_read(VMCS_GUEST_TR_AR) & AR_TYPE) == AR_TYPE_TSS16;
        if (!(cr4 & CR4_PAE) || (vmcs_read(VMCS_GUEST_CS_AR) & AR_L) || tss16)
            return false;
        *efer |= EFER_LMA;
    } else {
        if (vmcs_read(VMCS_GUEST_CS_AR) & AR_L)
            return false; // paging cannot end in 64-bit mode
        *efer &= ~(u64)EFER_LMA;
    }
    return true;
}

static void write_efer(u64 efer)
{
    // Exits may have changed the control (VMX_MISC[5]): it is read before it is edited.
    u64 entry = vmcs_read(VMCS_ENTRY_CTLS) & ~(u64)ENTRY_IA32E;
    vmcs_write(VMCS_ENTRY_CTLS, entry | (efer & EFER_LMA ? ENTRY_IA32E : 0));
    vmcs_write(VMCS_GUEST_EFER, efer);
}

static enum exit_action write_cr0_value(struct vcpu *v, u64 value)
{
    u64 old = vcpu_guest_cr0(v);
    u64 cr4 = vcpu_guest_cr4(v);
    u64 efer = vmcs_read(VMCS_GUEST_EFER);

    if (value >> 32)
        return raise_gp(v);
    value = (value & CR0_DEFINED) | CR0_ET;
    if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        return raise_gp(v);
    if (!(value & CR0_PG) && (cr4 & CR4_PCIDE))
        return raise_gp(v);
    if (((old ^ value) & CR0_PG) && !switch_long_mode(value, cr4, &efer))
        return raise_gp(v);
    if (!v->unrestricted && (value & (CR0_PE | CR0_PG)) != (CR0_PE | CR0_PG)) {
        vm_stop(v->vm, VM_END_UNHANDLED,
                "CR0 = %llx turns paging off, which needs unrestricted guest; this CPU has none",
                (unsigned long long)value);
        vcpu_report(v, &v->exit);
        return ACT_STOP;
    }
    if (((old ^ value) & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(value, cr4, efer) &&
        load_pdptes(v, vmcs_read(VMCS_GUEST_CR3)) != OK)
        return raise_gp(v);

    // CD and NW stay with the host: a guest that sets them would slow every other one. NE is what
    // VMX operation demands.
    vmcs_write(VMCS_CR0_SHADOW, value);
    vmcs_write(VMCS_GUEST_CR0, (value & ~(u64)(CR0_CD | CR0_NW)) | CR0_NE);
    if ((old ^ value) & CR0_PG) {
        write_efer(efer);
        vcpu_flush_tlb(v);
    }
    return ACT_SKIP;
}

// SDM volume 3, "Operations that Invalidate TLBs and Paging-Structure Caches".
static bool cr4_flushes(u64 old, u64 value)
{
    return ((old ^ value) & (CR4_PGE | CR4_PAE)) || ((old & ~value) & CR4_PCIDE) ||
           ((value & ~old) & CR4_SMEP);
}

static enum exit_action write_cr4_value(struct vcpu *v, u64 value)
{
    u64 old = vcpu_guest_cr4(v);
    u64 efer = vmcs_read(VMCS_GUEST_EFER);
    u64 cr0 = vmcs_read(VMCS_GUEST_CR0);

    // Only bits whose feature the guest's CPUID shows; VMXE and SMXE are not among them.
    if (value & ~v->cr4_allowed)
        return raise_gp(v);
    if ((efer & EFER_LMA) && !(value & CR4_PAE))
        return raise_gp(v);
    if ((value & ~old) & CR4_PCIDE) {
        if (!(efer & EFER_LMA) || (vmcs_read(VMCS_GUEST_CR3) & BITS(11, 0)))
            return raise_gp(v);
    }
    if (((old ^ value) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
        pae_paging(cr0, value, efer) && load_pdptes(v, vmcs_read(VMCS_GUEST_CR3)) != OK)
        return raise_gp(v);
    vmcs_write(VMCS_CR4_SHADOW, value);
    // MCE stays on under the guest: a machine check is the host's, whatever the guest thinks of it.
    vmcs_write(VMCS_GUEST_CR4, vmx_cr4_real(v, value));
    if (cr4_flushes(old, value))
        vcpu_flush_tlb(v);
    return ACT_SKIP;
}

static enum exit_action write_cr8_value(struct vcpu *v, u64 value)
{
    if (value >> 4)
        return raise_gp(v);
    lapic_set_tpr(&v->vm->lapic, (u8)(value << 4));
    return ACT_SKIP;
}

// LMSW loads PE, MP, EM and TS, and cannot clear PE.
static enum exit_action lmsw(struct vcpu *v, u64 source)
{
    u64 old = vcpu_guest_cr0(v);
    u64 low = (source & 0xf) | (old & CR0_PE);
    return write_cr0_value(v, (old & ~0xfull) | low);
}

static enum exit_action mov_to_cr(struct vcpu *v, unsigned cr, u64 value)
{
    switch (cr) {
    case 0:
        return write_cr0_value(v, value);
    case 4:
        return write_cr4_value(v, value);
    case 8:
        return write_cr8_value(v, value);
    default:
        // CR3 loads exit only where a control says so, and it is never set.
        vm_stop(v->vm, VM_END_UNHANDLED, "MOV to CR%u exits unasked", cr);
        vcpu_report(v, &v->exit);
        return ACT_STOP;
    }
}

enum exit_action exit_cr_access(struct vcpu *vcpu, const struct exit_info *exit)
{
    u64 q = exit->qualification;
    unsigned cr = (unsigned)bits_get(q, 3, 0);
    unsigned reg = (unsigned)bits_get(q, 11, 8);

    switch (bits_get(q, 5, 4)) {
    case 0: {
        u64 value = vcpu_read_gpr(vcpu, reg);
        if (!(vmcs_read(VMCS_GUEST_CS_AR) & AR_L) || !(vmcs_read(VMCS_GUEST_EFER) & EFER_LMA))
            value = (u32)value;
        return mov_to_cr(vcpu, cr, value);
    }
    case 1:
        if (cr == 8) {
            vcpu_write_gpr(vcpu, reg, lapic_get_tpr(&vcpu->vm->lapic) >> 4);
            return ACT_SKIP;
        }
        vm_stop(vcpu->vm, VM_END_UNHANDLED, "MOV from CR%u exits unasked", cr);
        vcpu_report(vcpu, exit);
        return ACT_STOP;
    case 2:
        return write_cr0_value(vcpu, vcpu_guest_cr0(vcpu) & ~(u64)CR0_TS);
    default:
        return lmsw(vcpu, bits_get(q, 31, 16));
    }
}
