// SPDX-License-Identifier: MIT
// VM exits of a guest that does what it likes: the input is its memory, its registers and a row of
// exits with what the CPU reports of each. Between two exits the CPU runs the guest, so its state
// is any that VM entry takes. Whatever comes: no crash, no CHECK, bounded work, all memory back at
// the end, and a VMCS that the CPU enters again.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/regs/msr.h"
#include "tests/host/vmx_machines.h"
#include "tests/host/vmx_rig.h"
#include "vmx/emulate.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define EXITS_MAX 24u
// What one exit may ask of devices: each element of a repeated instruction reads and writes at most
// 8 bytes, one by one where they cross a page.
#define WORK_MAX  (EMULATE_ITERATIONS * 2 * 8)

struct input {
    const u8 *data;
    size_t size;
};

static void expect(bool cond)
{
    if (!cond)
        abort();
}

// Zeros after the end.
static u64 take(struct input *in, unsigned bytes)
{
    u64 value = 0;
    for (unsigned i = 0; i < bytes && in->size; i++, in->data++, in->size--)
        value |= (u64)*in->data << 8 * i;
    return value;
}

// ---- what the guest does between exits ---------------------------------------------------------

// Numbers at which things change.
static u64 take_number(struct input *in)
{
    static const u64 edges[] = {
        0,       RIG_CODE,          RIG_RAM_SIZE - 1, RIG_LAZY, RIG_MMIO, RIG_MMIO + 0xffe,
        0xa0000, APIC_DEFAULT_BASE, 0xffffffff,       ~0ull,    BIT(47),  RIG_WINDOW + 0x30ffd,
    };
    u8 kind = (u8)take(in, 1);
    if (kind < 128)
        return edges[kind % ARRAY_SIZE(edges)] + (kind >> 4);
    return take(in, kind < 192 ? 2 : kind < 224 ? 4 : 8);
}

static void change_memory(struct vmx_rig *r, struct input *in)
{
    u64 gpa = take(in, 3) % (RIG_RAM_SIZE - 8);
    if (take(in, 1) & 1) // page tables, most of the time
        gpa = RIG_IMAGE + PAGE_SIZE + gpa % (7 * PAGE_SIZE - 8);
    u64 value = take(in, 8);
    memcpy(rig_ram(r, gpa, sizeof(value)), &value, sizeof(value));
}

static void change_code(struct vmx_rig *r, struct input *in)
{
    u8 code[INSTRUCTION_LENGTH_MAX];
    for (unsigned i = 0; i < sizeof(code); i++)
        code[i] = (u8)take(in, 1);
    vmcs_write(VMCS_GUEST_RIP, RIG_CODE);
    memcpy(rig_ram(r, RIG_CODE, sizeof(code)), code, sizeof(code));
}

// A field of the guest's state, unless VM entry would refuse the value. Bits of CR0 and CR4 that
// the guest does not own stay, and EFER it changes by an exit alone.
static void change_field(struct vmx_rig *r, struct input *in)
{
    static const u16 fields[] = {
        VMCS_GUEST_RIP,
        VMCS_GUEST_RSP,
        VMCS_GUEST_RFLAGS,
        VMCS_GUEST_CR0,
        VMCS_GUEST_CR3,
        VMCS_GUEST_CR4,
        VMCS_GUEST_CS_AR,
        VMCS_GUEST_DS_AR,
        VMCS_GUEST_ES_AR,
        VMCS_GUEST_SS_AR,
        VMCS_GUEST_FS_AR,
        VMCS_GUEST_TR_AR,
        VMCS_GUEST_DS_LIMIT,
        VMCS_GUEST_ES_LIMIT,
        VMCS_GUEST_CS_LIMIT,
        VMCS_GUEST_SS_LIMIT,
        VMCS_GUEST_DS_BASE,
        VMCS_GUEST_ES_BASE,
        VMCS_GUEST_CS_BASE,
        VMCS_GUEST_FS_BASE,
        VMCS_GUEST_GS_BASE,
        VMCS_GUEST_DR7,
        VMCS_GUEST_PDPTE0,
        VMCS_GUEST_PDPTE3,
        VMCS_GUEST_INTERRUPTIBILITY,
        VMCS_GUEST_PENDING_DEBUG,
    };
    u32 field = fields[take(in, 1) % ARRAY_SIZE(fields)];
    u64 old = fake_vmcs_read(field), value = take_number(in);
    u64 keep = field == VMCS_GUEST_CR0   ? r->vcpu.cr0_mask
               : field == VMCS_GUEST_CR4 ? r->vcpu.cr4_mask
                                         : 0;
    fake_vmcs_set(field, (old & keep) | (value & ~keep));
    if (rig_entry_violations(r, false))
        fake_vmcs_set(field, old);
}

static void run_guest(struct vmx_rig *r, struct input *in)
{
    for (unsigned n = (unsigned)take(in, 1) % 8; n; n--) {
        u8 what = (u8)take(in, 1);
        if (what < 80)
            r->vcpu.regs[what % GPR_COUNT] = take_number(in);
        else if (what < 120)
            change_memory(r, in);
        else if (what < 160)
            change_code(r, in);
        else if (what < 250)
            change_field(r, in);
        else
            r->now += take(in, 4);
    }
}

// ---- exits ------------------------------------------------------------------------------------

static u32 take_reason(struct input *in)
{
    static const u8 usual[] = {
        REASON_EXCEPTION_NMI,
        REASON_CPUID,
        REASON_HLT,
        REASON_RDTSCP,
        REASON_VMCALL,
        REASON_CR_ACCESS,
        REASON_IO,
        REASON_RDMSR,
        REASON_WRMSR,
        REASON_EPT_VIOLATION,
        REASON_XSETBV,
        REASON_IO,
        REASON_IO,
        REASON_EPT_VIOLATION,
        REASON_EPT_VIOLATION,
    };
    u8 kind = (u8)take(in, 1);
    if (kind < 0xf8)
        return usual[kind % ARRAY_SIZE(usual)];
    return kind < 0xfe ? (u32)take(in, 1) : (u32)take(in, 4);
}

// An exception that the guest's own instruction raises, or none; what the CPU was told to inject
// can be cut short as well.
static u32 take_vectoring(struct input *in, u32 injected)
{
    u8 kind = (u8)take(in, 1), vector = (u8)take(in, 1);
    if (kind < 0xc0)
        return 0;
    if (kind < 0xd0)
        return injected;
    if (kind < 0xf0) {
        vector &= 31;
        bool error = vector_has_error_code(vector) && (vmcs_read(VMCS_GUEST_CR0) & CR0_PE);
        return vector == VEC_NMI ? 0 : INFO_FAULT(vector) | (error ? INTR_INFO_ERROR_CODE : 0);
    }
    return INFO(kind < 0xf8 ? EVENT_SOFTWARE_INTERRUPT : EVENT_SOFTWARE_EXCEPTION, vector);
}

static struct rig_exit take_exit(struct vmx_rig *r, struct input *in, u32 injected)
{
    struct rig_exit exit = {.reason = take_reason(in)};
    static const u8 sizes[] = {0, 1, 3, 0};

    exit.qualification = exit.reason == REASON_IO ? take(in, 4) : take(in, 2);
    if (exit.reason == REASON_IO) // no other sizes exist
        exit.qualification = (exit.qualification & ~7ull) | sizes[exit.qualification & 3];
    if (exit.reason == REASON_CR_ACCESS)
        exit.qualification |= take(in, 2) << 16;
    exit.length = (u32)take(in, 1) % (INSTRUCTION_LENGTH_MAX + 1);
    exit.gpa = take_number(in) & (BIT(r->caps.maxphyaddr) - 1);
    exit.gla = take_number(in);
    exit.insn_info = (u32)take(in, 3);
    exit.idt_info = take_vectoring(in, injected);
    exit.idt_error = (u32)take(in, 2);
    if (exit.reason == REASON_EXCEPTION_NMI) {
        static const u32 infos[] = {INFO_DB, INFO_NMI};
        u8 kind = (u8)take(in, 1);
        exit.intr_info = kind < 2     ? infos[kind]
                         : kind < 6   ? INFO_FAULT(VEC_MC)
                         : kind < 128 ? INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_AC)
                                      : INFO(EVENT_PRIVILEGED_SOFTWARE_EXCEPTION, VEC_DB);
        exit.intr_error = 0;
        if ((u8)exit.intr_info == VEC_DB) // such an exit leaves none
            fake_vmcs_set(VMCS_GUEST_PENDING_DEBUG, 0);
    }
    return exit;
}

// As vcpu_run() does between an exit and the next entry. False: the VM is not entered again.
static bool enter(struct vmx_rig *r, struct input *in, u32 *injected)
{
    struct vm *vm = &r->vm;
    if (r->now >= deadline_next(&vm->timers))
        deadline_run(&vm->timers, r->now);
    fake_vmcs_set(VMCS_ENTRY_INTR_INFO, 0);
    for (unsigned tries = 0; tries < 2; tries++) {
        if (vm->attention & VM_ATTENTION_STOP)
            return false;
        if (vm->attention)
            vcpu_inject(&r->vcpu);
        if (!r->vcpu.halted)
            break;
        lapic_set_irq(&vm->lapic, (u8)take(in, 1), false);
    }
    if (r->vcpu.halted || (vm->attention & VM_ATTENTION_STOP))
        return false;
    expect(rig_entry_violations(r, true) == 0);
    *injected = (u32)vmcs_read(VMCS_ENTRY_INTR_INFO);
    if (*injected) {
        u64 blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & ~(u64)BLOCKING_BY_STI_MOV_SS;
        fake_vmcs_set(VMCS_GUEST_INTERRUPTIBILITY,
                      blocking | (*injected == INFO_NMI ? BLOCKING_BY_NMI : 0));
        fake_vmcs_set(VMCS_GUEST_PENDING_DEBUG, 0);
    }
    return true;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct vmx_probe *const machines[] = {&machine_skylake, &machine_skylake,
                                                       &machine_haswell, &machine_lynnfield};
    static const enum image_mode modes[] = {IMAGE_LONG, IMAGE_PROTECTED, IMAGE_REAL, IMAGE_LONG};
    struct input in = {data, size};
    u8 how = (u8)take(&in, 1);
    u32 injected = 0;
    struct rig_options options = {
        .machine = machines[how & 3],
        .mode = modes[how >> 2 & 3],
        .xcr0_allowed = how & 0x10 ? 7 : 0,
        .without = how & 0x20 ? FEATURE_VNMI : 0,
        .no_x2apic = how & 0x40,
    };
    if (options.machine == &machine_lynnfield && options.mode == IMAGE_REAL)
        options.mode = IMAGE_PROTECTED;
    struct vmx_rig *r = rig_open(&options);
    r->caps.io_insn_info = how & 0x80;

    for (unsigned n = 0; n < EXITS_MAX && in.size; n++) {
        run_guest(r, &in);
        struct rig_exit exit = take_exit(r, &in, injected);
        r->mmio.count = r->ports.count = 0;
        rig_exit(r, &exit);
        expect(r->mmio.count + r->ports.count <= WORK_MAX);
        if (!enter(r, &in, &injected))
            break;
    }
    rig_close(r);
    return 0;
}
