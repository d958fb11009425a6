// SPDX-License-Identifier: MIT
// Port I/O: SDM volume 3, "Exit Qualification for I/O Instructions". IN and OUT go straight to the
// bus; INS and OUTS go element by element through the guest's own segmentation and paging.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "vmx/decode.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"
#include "vmx/walk.h"

#define IO_IN     BIT(3)
#define IO_STRING BIT(4)
#define IO_REP    BIT(5)

// Elements of one REP INS or OUTS before the guest is entered again, so that a count of 2^32 holds
// neither its own interrupts nor another VM.
#define STRING_BURST 64u

#define IO_SIZE(q)    (((u32)(q)&7) + 1)
#define IO_PORT_OF(q) ((u16)((q) >> 16))

NOINLINE static void access_another(struct vcpu *v, struct io_access *io)
{
    bus_access(&v->vm->bus, io);
}

NOINLINE static void access_nobody(struct vcpu *v, struct io_access *io)
{
    bus_unclaimed(&v->vm->bus, io);
}

// To the device of the port, by the short way if it is the one that answered there last.
static inline void port_access(struct vcpu *v, struct io_access *io, u32 size)
{
    struct bus_range *range = bus_recent_port(&v->vm->bus, (u32)io->addr, size);
    if (unlikely(!range))
        access_another(v, io);
    else if (unlikely(bus_hand(range, io) != IO_DONE))
        access_nobody(v, io);
}

// A 32-bit result clears the upper half of RAX, the smaller ones keep what is above them.
static inline void give(u64 *rax, u64 value, u32 size)
{
    if (likely(size == 1))
        __builtin_memcpy(rax, &value, 1);
    else if (size == 2)
        __builtin_memcpy(rax, &value, 2);
    else
        *rax = (u32)value;
}

static inline u64 take(u64 rax, u32 size)
{
    return likely(size == 1) ? (u8)rax : size == 2 ? (u16)rax : (u32)rax;
}

NOINLINE static enum exit_action in(struct vcpu *v, u64 q)
{
    u32 size = IO_SIZE(q);
    struct io_access io = {
        .addr = IO_PORT_OF(q), .size = (u8)size, .write = false, .space = IO_PORT};

    port_access(v, &io, size);
    give(&v->regs[GPR_RAX], io.value, io.size);
    return ACT_SKIP;
}

NOINLINE static enum exit_action out(struct vcpu *v, u64 q)
{
    u32 size = IO_SIZE(q);
    struct io_access io = {
        .addr = IO_PORT_OF(q), .size = (u8)size, .write = true, .space = IO_PORT};

    io.value = take(v->regs[GPR_RAX], size);
    port_access(v, &io, size);
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
    bool in, rep, down; // down: RFLAGS.DF
};

// Address sizes as the instruction information has them.
enum { ADDRESS_16, ADDRESS_32, ADDRESS_64 };

// Segment and address size from the prefixes.
static int read_prefixes(struct vcpu *v, struct string_io *s, unsigned *address,
                         struct event *fault)
{
    enum code_size size = code_size_of(s->mode, (u32)vmcs_read(VMCS_GUEST_CS_AR));
    u8 bytes[INSTRUCTION_LENGTH_MAX], which = SEG_DS;
    size_t done;
    bool flipped = false;

    int err = vcpu_fetch(v, bytes, &done, fault);
    if (err && (err != E_FAULT || done < v->exit.length))
        return err;
    for (size_t i = 0; i + 1 < v->exit.length && i < done; i++) {
        flipped |= bytes[i] == 0x67;
        insn_is_segment_override(bytes[i], size, &which);
    }
    if (!s->in) // INS stores through ES whatever stands there
        s->which = (enum vmcs_segment)which;
    if (size == CODE_64)
        *address = flipped ? ADDRESS_32 : ADDRESS_64;
    else
        *address = (size == CODE_32) != flipped ? ADDRESS_32 : ADDRESS_16;
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

static u64 offset_of(const struct string_io *s)
{
    return s->vcpu->regs[s->in ? GPR_RDI : GPR_RSI] & s->mask;
}

// An element that crosses a page, by itself. E_FAULT leaves *fault for the guest.
static int element(struct string_io *s, u64 linear, struct event *fault)
{
    unsigned access = s->in ? ACCESS_WRITE : ACCESS_READ;
    struct bus *bus = &s->vcpu->vm->bus;
    struct io_access io = {.space = IO_PORT, .size = s->size, .write = !s->in, .addr = s->port};
    size_t done;

    if (s->in) {
        // The memory is tried before the port: a byte read from a FIFO cannot be put back.
        const gva_t pages[] = {GVA(linear), GVA(align_down(linear + s->size - 1, PAGE_SIZE))};
        for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
            struct walk_result where;
            int err = guest_walk(&s->paging, &s->memory, pages[i], access, &where);
            *fault = where.fault;
            if (err)
                return err;
        }
        bus_access(bus, &io);
    }
    int err =
        walk_copy(&s->paging, &s->memory, GVA(linear), &io.value, s->size, access, &done, fault);
    if (err == OK && !s->in)
        bus_access(bus, &io);
    return err;
}

// How many of wanted elements, the first of them at linear, lie in its page without a break: where
// the address size's end or the segment's comes first, the elements are taken one by one.
static u64 run_length(const struct string_io *s, u64 offset, u64 linear, u64 wanted)
{
    u64 in_page = linear & (PAGE_SIZE - 1);
    u64 fit = s->down ? in_page / s->size + 1 : (PAGE_SIZE - in_page) / s->size;
    u64 n = wanted < fit ? wanted : fit, span = (n - 1) * s->size, last;
    struct event fault;

    if (s->down ? offset < span : s->mask - offset < span)
        return 1;
    u64 last_offset = s->down ? offset - span : offset + span;
    int err = segment_linear(s->mode, s->which, &s->segment, last_offset, s->size,
                             s->in ? ACCESS_WRITE : ACCESS_READ, &last, &fault);
    return err == OK && (last ^ linear) >> PAGE_SHIFT == 0 ? n : 1;
}

// n elements from memory that is translated to the port or back; the addresses go up or down.
static void transfer(struct string_io *s, u8 *memory, u64 n)
{
    struct bus *bus = &s->vcpu->vm->bus;
    s64 step = s->down ? -(s64)s->size : s->size;

    if (!s->in && s->size == 1 && !s->down) {
        size_t taken = bus_write_bytes(bus, s->port, memory, n);
        memory += taken;
        n -= taken;
    }
    for (; n; n--, memory += step) {
        struct io_access io = {.space = IO_PORT, .size = s->size, .write = !s->in, .addr = s->port};
        if (!s->in)
            memcpy(&io.value, memory, s->size);
        bus_access(bus, &io);
        if (s->in)
            memcpy(memory, &io.value, s->size);
    }
}

// Some of wanted elements, *done of them: those of one page, translated once. E_FAULT leaves *fault
// for the guest.
static int some_elements(struct string_io *s, u64 wanted, u64 *done, struct event *fault)
{
    unsigned access = s->in ? ACCESS_WRITE : ACCESS_READ;
    u64 offset = offset_of(s), linear;
    struct walk_result where;

    *done = 1;
    int err =
        segment_linear(s->mode, s->which, &s->segment, offset, s->size, access, &linear, fault);
    if (err)
        return err;
    if ((linear & (PAGE_SIZE - 1)) + s->size > PAGE_SIZE)
        return element(s, linear, fault);
    err = guest_walk(&s->paging, &s->memory, GVA(linear), access, &where);
    *fault = where.fault;
    if (err)
        return err;
    u8 *memory = vm_ptr(s->vcpu->vm, where.gpa, s->size);
    if (!memory)
        return E_NOENT;
    *done = run_length(s, offset, linear, wanted);
    transfer(s, memory, *done);
    return OK;
}

// A register as wide as the address size; a 32-bit one clears its upper half.
static void set_masked(u64 *reg, u64 mask, u64 value)
{
    *reg = mask == 0xffff ? (*reg & ~mask) | (value & mask) : value & mask;
}

// Up to a burst of elements, with the registers moved past those that are done. OK, or why no more
// could be.
static int do_elements(struct string_io *s, u64 left, struct event *fault)
{
    struct vcpu *v = s->vcpu;
    u64 *index = &v->regs[s->in ? GPR_RDI : GPR_RSI], *count = &v->regs[GPR_RCX];
    int err = OK;

    while (err == OK && left) {
        u64 done;
        err = some_elements(s, left, &done, fault);
        if (err)
            break;
        u64 moved = done * s->size;
        set_masked(index, s->mask, s->down ? *index - moved : *index + moved);
        if (s->rep)
            set_masked(count, s->mask, *count - done);
        left -= done;
    }
    return err;
}

static enum exit_action string_failed(struct vcpu *v, const struct string_io *s, int err,
                                      struct event fault)
{
    if (err == E_FAULT) {
        vcpu_raise(v, fault);
        return ACT_FAULT;
    }
    if (err == E_TIMEOUT)
        return ACT_RESUME;
    vm_stop(v->vm, VM_END_EMULATION, "%s at port %xH: its memory is not RAM",
            s->in ? "INS" : "OUTS", s->port);
    vcpu_report(v, &v->exit);
    return ACT_STOP;
}

NOINLINE static enum exit_action string(struct vcpu *v, u64 q)
{
    struct string_io s = {
        .vcpu = v,
        .mode = vcpu_mode(v),
        .size = (u8)IO_SIZE(q),
        .port = IO_PORT_OF(q),
        .in = q & IO_IN,
        .rep = q & IO_REP,
        .down = v->exit.rflags & RFLAGS_DF,
    };
    struct event fault = {0};

    int err = string_operand(v, &s, &fault);
    if (err)
        return string_failed(v, &s, err, fault);
    vcpu_paging(v, &s.paging);
    vcpu_memory(v, &s.memory);
    vcpu_segment(s.which, &s.segment);
    u64 burst = v->exit.rflags & RFLAGS_TF ? 1 : STRING_BURST;
    u64 count = s.rep ? v->regs[GPR_RCX] & s.mask : 1;
    err = do_elements(&s, count < burst ? count : burst, &fault);
    if (err)
        return string_failed(v, &s, err, fault);
    return count > burst ? ACT_REPEAT : ACT_SKIP;
}

enum exit_action exit_io(struct vcpu *vcpu, const struct exit_info *exit)
{
    (void)exit;
    u64 q = vmcs_read(VMCS_EXIT_QUALIFICATION);

    if (unlikely(q & IO_STRING))
        return string(vcpu, q);
    return q & IO_IN ? in(vcpu, q) : out(vcpu, q);
}
