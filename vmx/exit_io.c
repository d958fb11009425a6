// SPDX-License-Identifier: MIT
// Port I/O: SDM volume 3, "Exit Qualification for I/O Instructions". IN and OUT go straight to the
// bus; INS and OUTS go element by element through the guest's own segmentation and paging.
#include "arch/x86_64/lib/err.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"
#include "vmx/walk.h"

#define IO_IN     BIT(3)
#define IO_STRING BIT(4)
#define IO_REP    BIT(5)

// Elements of one REP INS or OUTS before the guest is entered again, so that a count of 2^32 holds
// neither its own interrupts nor another VM.
#define STRING_BURST 64u

static enum exit_action single(struct vcpu *v, u64 q)
{
    struct io_access io = {
        .space = IO_PORT,
        .size = (u8)((q & 7) + 1),
        .write = !(q & IO_IN),
        .addr = q >> 16 & 0xffff,
    };
    u64 *rax = &v->regs[GPR_RAX];

    io.value = low_bytes(*rax, io.size);
    bus_access(&v->vm->bus, &io);
    if (!io.write) {
        // A 32-bit result clears the upper half of RAX, the smaller ones keep what is above them.
        u64 keep = io.size == 4 ? 0 : ~0ull << (io.size * 8);
        *rax = (*rax & keep) | low_bytes(io.value, io.size);
    }
    return ACT_SKIP;
}

struct string_io {
    struct vcpu *vcpu;
    struct guest_paging paging;
    struct guest_memory memory;
    struct guest_segment segment;
    enum guest_mode mode;
    enum vmcs_segment which;
    u64 mask; // of the address size
    u8 size;  // bytes an element
    u16 port;
    bool in;
};

static void take_override(struct string_io *s, u8 prefix)
{
    static const u8 overrides[] = {
        [SEG_ES] = 0x26, [SEG_CS] = 0x2e, [SEG_SS] = 0x36,
        [SEG_DS] = 0x3e, [SEG_FS] = 0x64, [SEG_GS] = 0x65,
    };
    // 64-bit mode ignores the four that have no base there.
    for (unsigned which = s->mode == GUEST_64BIT ? SEG_FS : SEG_ES; which <= SEG_GS; which++)
        if (overrides[which] == prefix)
            s->which = (enum vmcs_segment)which;
}

// Address sizes as the instruction information has them.
enum { ADDRESS_16, ADDRESS_32, ADDRESS_64 };

// Segment and address size from the prefixes.
static int read_prefixes(struct vcpu *v, struct string_io *s, unsigned *address,
                         struct event *fault)
{
    u8 bytes[INSTRUCTION_LENGTH_MAX];
    size_t done;
    bool flipped = false;

    int err = vcpu_fetch(v, bytes, &done, fault);
    if (err && (err != E_FAULT || done < v->exit.length))
        return err;
    for (size_t i = 0; i + 1 < v->exit.length && i < done; i++) {
        flipped |= bytes[i] == 0x67;
        if (!s->in) // INS stores through ES whatever stands there
            take_override(s, bytes[i]);
    }
    if (s->mode == GUEST_64BIT)
        *address = flipped ? ADDRESS_32 : ADDRESS_64;
    else
        *address = !(vmcs_read(VMCS_GUEST_CS_AR) & AR_DB) == flipped ? ADDRESS_32 : ADDRESS_16;
    return OK;
}

// Segment and address size of INS and OUTS: SDM volume 3, "Format of the VM-Exit
// Instruction-Information Field as Used for INS and OUTS". CPUs that do not give it (VMX_BASIC[54])
// have it taken from the prefixes.
static int string_operand(struct vcpu *v, struct string_io *s, struct event *fault)
{
    unsigned address;

    s->which = s->in ? SEG_ES : SEG_DS;
    if (v->caps->io_insn_info) {
        u32 info = (u32)vmcs_read(VMCS_EXIT_INSN_INFO);
        address = (unsigned)bits_get(info, 9, 7);
        if (!s->in)
            s->which = (enum vmcs_segment)bits_get(info, 17, 15);
    } else {
        int err = read_prefixes(v, s, &address, fault);
        if (err)
            return err;
    }
    s->mask = address == ADDRESS_16 ? 0xffff : address == ADDRESS_32 ? 0xffffffffu : ~0ull;
    return OK;
}

// One element; E_FAULT leaves *fault for the guest.
static int element(struct string_io *s, struct event *fault)
{
    struct vcpu *v = s->vcpu;
    unsigned access = s->in ? ACCESS_WRITE : ACCESS_READ;
    u64 offset = v->regs[s->in ? GPR_RDI : GPR_RSI] & s->mask;
    struct io_access io = {.space = IO_PORT, .size = s->size, .write = !s->in, .addr = s->port};
    u64 linear;
    size_t done;

    int err =
        segment_linear(s->mode, s->which, &s->segment, offset, s->size, access, &linear, fault);
    if (err)
        return err;
    if (s->in) {
        // The memory is tried before the port: a byte read from a FIFO cannot be put back.
        struct walk_result where;
        u64 last = linear + s->size - 1;
        err = guest_walk(&s->paging, &s->memory, GVA(linear), access, &where);
        if (err == OK && (last ^ linear) >> PAGE_SHIFT)
            err = guest_walk(&s->paging, &s->memory, GVA(align_down(last, PAGE_SIZE)), access,
                             &where);
        if (err) {
            *fault = where.fault;
            return err;
        }
        bus_access(&v->vm->bus, &io);
    }
    err = walk_copy(&s->paging, &s->memory, GVA(linear), &io.value, s->size, access, &done, fault);
    if (err == OK && !s->in)
        bus_access(&v->vm->bus, &io);
    return err;
}

// A register as wide as the address size; a 32-bit one clears its upper half.
static void set_masked(u64 *reg, u64 mask, u64 value)
{
    *reg = mask == 0xffff ? (*reg & ~mask) | (value & mask) : value & mask;
}

static enum exit_action string(struct vcpu *v, u64 q)
{
    struct string_io s = {
        .vcpu = v,
        .mode = vcpu_mode(v),
        .size = (u8)((q & 7) + 1),
        .port = (u16)(q >> 16),
        .in = q & IO_IN,
    };
    bool rep = q & IO_REP;
    struct event fault = {0};

    int err = string_operand(v, &s, &fault);
    vcpu_paging(v, &s.paging);
    vcpu_memory(v, &s.memory);
    vcpu_segment(s.which, &s.segment);
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    u64 step = rflags & RFLAGS_DF ? ~(u64)s.size + 1 : s.size;
    unsigned burst = rflags & RFLAGS_TF ? 1 : STRING_BURST;
    u64 *index = &v->regs[s.in ? GPR_RDI : GPR_RSI];
    u64 *count = &v->regs[GPR_RCX];
    for (unsigned n = 0; err == OK && n < burst; n++) {
        if (rep && (*count & s.mask) == 0)
            return ACT_SKIP;
        err = element(&s, &fault);
        if (err)
            break;
        set_masked(index, s.mask, *index + step);
        if (!rep)
            return ACT_SKIP;
        set_masked(count, s.mask, *count - 1);
    }
    if (err == OK)
        return (*count & s.mask) == 0 ? ACT_SKIP : ACT_REPEAT;
    if (err == E_FAULT) {
        vcpu_raise(v, fault);
        return ACT_FAULT;
    }
    if (err == E_TIMEOUT)
        return ACT_RESUME;
    vm_stop(v->vm, VM_END_EMULATION, "%s at port %xH: its memory is not RAM", s.in ? "INS" : "OUTS",
            s.port);
    vcpu_report(v, &v->exit);
    return ACT_STOP;
}

enum exit_action exit_io(struct vcpu *vcpu, const struct exit_info *exit)
{
    if (likely(!(exit->qualification & IO_STRING)))
        return single(vcpu, exit->qualification);
    return string(vcpu, exit->qualification);
}
