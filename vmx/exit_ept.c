// SPDX-License-Identifier: MIT
// EPT exits: SDM volume 3, "EPT Violations" and "EPT Misconfigurations". An address that is not RAM
// belongs to a device or to nobody: the instruction is decoded and done by hand.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "vmx/emulate.h"
#include "vmx/ept_violation.h"
#include "vmx/mmio.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

struct mmio {
    struct vcpu *vcpu;
    struct guest_paging paging;
    struct guest_memory memory;
};

// Within one page. What the CPU translated for the access that caused the exit holds for that
// address again, but not for writing where it only read: that has rights of its own to check.
static int translate(struct mmio *m, gva_t gva, unsigned access, gpa_t *out, struct event *fault)
{
    const struct exit_info *exit = &m->vcpu->exit;
    struct walk_result where;

    bool covered = !(access & ACCESS_WRITE) || (exit->qualification & EPTV_WRITE);
    if (covered && (exit->qualification & EPTV_GLA_VALID) && gva.raw == exit->gla.raw) {
        *out = exit->gpa;
        return OK;
    }
    int err = guest_walk(&m->paging, &m->memory, gva, access, &where);
    if (err == E_FAULT)
        *fault = where.fault;
    *out = where.gpa;
    return err;
}

static void access_physical(struct mmio *m, gpa_t gpa, unsigned size, bool write, u64 *value)
{
    void *ram = vm_ptr(m->vcpu->vm, gpa, size);
    struct io_access io = {
        .space = IO_MEM, .size = (u8)size, .write = write, .addr = gpa.raw, .value = *value};

    if (ram && write) {
        memcpy(ram, value, size);
    } else if (ram) {
        *value = 0;
        memcpy(value, ram, size);
    } else {
        bus_access(&m->vcpu->vm->bus, &io);
        *value = low_bytes(io.value, size);
    }
}

// Both pages of an access that crosses are translated before either is touched.
static int access_linear(struct mmio *m, gva_t gva, unsigned size, unsigned access, bool write,
                         u64 *value, struct event *fault)
{
    unsigned first = (unsigned)(PAGE_SIZE - (gva.raw & (PAGE_SIZE - 1)));
    gpa_t low, high;

    int err = translate(m, gva, access, &low, fault);
    if (err || size <= first) {
        if (err == OK)
            access_physical(m, low, size, write, value);
        return err;
    }
    err = translate(m, GVA(gva.raw + first), access, &high, fault);
    if (err)
        return err;
    u64 result = 0;
    for (unsigned i = 0; i < size; i++) {
        gpa_t at = i < first ? GPA(low.raw + i) : GPA(high.raw + i - first);
        u64 byte = *value >> 8 * i & 0xff;
        access_physical(m, at, 1, write, &byte);
        result |= byte << 8 * i;
    }
    *value = result;
    return OK;
}

static int read_linear(void *ctx, gva_t gva, unsigned size, unsigned access, u64 *value,
                       struct event *fault)
{
    *value = 0;
    return access_linear(ctx, gva, size, access, false, value, fault);
}

static int write_linear(void *ctx, gva_t gva, unsigned size, u64 value, struct event *fault)
{
    return access_linear(ctx, gva, size, ACCESS_WRITE, true, &value, fault);
}

static void get_segment(void *ctx, enum vmcs_segment which, struct guest_segment *out)
{
    (void)ctx;
    vcpu_segment(which, out);
}

static enum exit_action stop(struct vcpu *v, enum vm_end_kind kind, const char *what)
{
    vm_stop(v->vm, kind, "%s at guest-physical %llx", what, (unsigned long long)v->exit.gpa.raw);
    vcpu_report(v, &v->exit);
    return ACT_STOP;
}

// The instruction at RIP. OK, E_FAULT with *fault, or why it cannot be done.
static int decode_at_rip(struct vcpu *v, enum guest_mode mode, struct insn *insn,
                         struct event *fault)
{
    u8 bytes[INSTRUCTION_LENGTH_MAX];
    size_t count;

    int fetched = vcpu_fetch(v, bytes, &count, fault);
    int err = insn_decode(bytes, count, code_size_of(mode, (u32)vmcs_read(VMCS_GUEST_CS_AR)), insn);
    if (err == OK && mode == GUEST_64BIT)
        mmio_remember(v, bytes, insn);
    // Bytes that cannot be fetched matter only to an instruction that goes on into them.
    return err == E_TRUNC && fetched ? fetched : err;
}

static enum exit_action emulate_access(struct vcpu *v)
{
    struct mmio m = {.vcpu = v};
    enum guest_mode mode = vcpu_mode(v);
    struct event fault;
    struct insn insn;

    int err = decode_at_rip(v, mode, &insn, &fault);
    if (err == OK) {
        u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS), rsp = vmcs_read(VMCS_GUEST_RSP);
        struct emulate_cpu cpu = {
            .mode = mode,
            .gpr = v->regs,
            .rip = vmcs_read(VMCS_GUEST_RIP),
            .rflags = rflags,
            .ctx = &m,
            .segment = get_segment,
            .read = read_linear,
            .write = write_linear,
        };
        v->regs[GPR_RSP] = rsp;
        vcpu_paging(v, &m.paging);
        vcpu_memory(v, &m.memory);
        err = emulate(&cpu, &insn, &fault);
        if (cpu.rflags != rflags)
            vmcs_write(VMCS_GUEST_RFLAGS, cpu.rflags);
        if (v->regs[GPR_RSP] != rsp)
            vmcs_write(VMCS_GUEST_RSP, v->regs[GPR_RSP]);
    }
    switch (err) {
    case OK:
        v->exit.length = insn.length;
        return ACT_SKIP;
    case EMULATE_MORE:
        return ACT_REPEAT;
    case E_TIMEOUT: // page tables that kept changing: once more
        return ACT_RESUME;
    case E_FAULT:
        vcpu_raise(v, fault);
        return ACT_FAULT;
    case E_FORMAT: // another than the one that exited: the guest changed it meanwhile
        return raise_ud(v);
    case E_RANGE:
        return raise_gp(v);
    default:
        return stop(v, VM_END_EMULATION, "an instruction that is not emulated");
    }
}

NOINLINE static enum exit_action not_ram(struct vcpu *vcpu, const struct exit_info *exit)
{
    u64 q = exit->qualification;

    if (vcpu->vectored.valid)
        return stop(vcpu, VM_END_EMULATION, "an event is delivered through memory that is none");
    if ((q & EPTV_GLA_VALID) && !(q & EPTV_FINAL))
        return stop(vcpu, VM_END_EMULATION, "page tables in memory that is none");
    if (q & EPTV_FETCH)
        return stop(vcpu, VM_END_EMULATION, "code in memory that is none");
    return emulate_access(vcpu);
}

static enum exit_action other_violation(struct vcpu *vcpu, const struct exit_info *exit)
{
    // As for exceptions: IRET had ended NMI blocking when the access failed.
    if ((exit->qualification & EPTV_NMI_UNBLOCKED) && !vcpu->vectored.valid)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
                   vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_BY_NMI);
    if (!vm_find_ram(vcpu->vm, exit->gpa))
        return not_ram(vcpu, exit);
    int err = vm_fill(vcpu->vm, exit->gpa);
    // Mapped meanwhile with all rights: a stale translation, gone now.
    if (err == OK || err == E_EXIST)
        return ACT_RESUME;
    return stop(vcpu, VM_END_EPT,
                err == E_NOMEM ? "no memory for a page table" : "RAM without the right used");
}

// RF, which the exit has set: SDM volume 3, "Saving RIP, RSP, RFLAGS, and SSP". The instruction is
// done.
static void clear_rf(struct vcpu *v)
{
    v->exit.rflags &= ~(u64)RFLAGS_RF;
    vmcs_write(VMCS_GUEST_RFLAGS, v->exit.rflags);
}

enum exit_action exit_ept_violation(struct vcpu *vcpu, const struct exit_info *exit)
{
    u64 q = vmcs_read(VMCS_EXIT_QUALIFICATION);
    gpa_t gpa = GPA(vmcs_read(VMCS_GUEST_PHYSICAL_ADDR));
    bool cut_short = vmcs_read(VMCS_IDT_INFO) & INTR_INFO_VALID;

    if (likely(!cut_short) && bus_is_recent(&vcpu->vm->bus, IO_MEM, gpa.raw) &&
        mmio_move(vcpu, gpa, q)) {
        if (vcpu->exit.rflags & RFLAGS_RF)
            clear_rf(vcpu);
        return ACT_SKIP;
    }
    exit_read_fields(vcpu, NEED_Q | NEED_A | NEED_V);
    return other_violation(vcpu, exit);
}

// How the guest came to the access page, in the terms of an EPT violation: "Exit Qualification for
// APIC-Access VM Exits" has the offset in bits 11:0 and the type in 15:12. No linear address comes
// with it.
static u64 violation_of_access(u64 qualification)
{
    enum { READ, WRITE, FETCH };
    switch (bits_get(qualification, 15, 12)) {
    case READ:
        return EPTV_READ | EPTV_FINAL;
    case WRITE:
        return EPTV_WRITE | EPTV_FINAL;
    case FETCH:
        return EPTV_FETCH | EPTV_FINAL;
    default: // the delivery of an event, or a walk of page tables
        return EPTV_GLA_VALID;
    }
}

// An access to the local APIC's page that the CPU leaves to software as a whole.
enum exit_action exit_apic_access(struct vcpu *vcpu, const struct exit_info *exit)
{
    u64 access = vmcs_read(VMCS_EXIT_QUALIFICATION);
    u64 q = violation_of_access(access);
    gpa_t gpa = GPA(APIC_DEFAULT_BASE | bits_get(access, 11, 0));

    if (likely(bus_is_recent(&vcpu->vm->bus, IO_MEM, gpa.raw)) &&
        !(vmcs_read(VMCS_IDT_INFO) & INTR_INFO_VALID) &&
        mmio_move(vcpu, gpa, q | (q & EPTV_FINAL ? EPTV_GLA_VALID : 0))) {
        if (vcpu->exit.rflags & RFLAGS_RF)
            clear_rf(vcpu);
        return ACT_SKIP;
    }
    exit_read_fields(vcpu, NEED_V);
    vcpu->exit.gpa = gpa;
    vcpu->exit.qualification = q;
    return not_ram(vcpu, exit);
}

// Always a mistake of Corbel's own, never the guest's: that VM is stopped with the entries.
enum exit_action exit_ept_misconfig(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    return stop(vcpu, VM_END_EPT, "a misconfigured EPT entry");
}
