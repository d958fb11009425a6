// SPDX-License-Identifier: MIT
#include "vmx/emulate.h"

#include "arch/x86_64/lib/err.h"
#include "vmx/alu.h"

enum { REG_AX = 0, REG_CX = 1, REG_SP = 4, REG_SI = 6, REG_DI = 7 };

// ---- registers --------------------------------------------------------------------------------

static u64 get_register(const struct emulate_cpu *cpu, unsigned reg, unsigned size)
{
    return low_bytes(cpu->gpr[reg], size);
}

// Writes of 4 bytes clear the upper half; those of 1 and 2 leave the rest.
static void set_register(struct emulate_cpu *cpu, unsigned reg, unsigned size, u64 value)
{
    value = low_bytes(value, size);
    if (size <= 2)
        value |= cpu->gpr[reg] & ~low_bytes(~0ull, size);
    cpu->gpr[reg] = value;
}

// The operand that is not in memory: an immediate or the register.
static u64 get_operand(const struct emulate_cpu *cpu, const struct insn *insn)
{
    if (insn->src == OPERAND_IMM)
        return low_bytes(insn->imm, insn->operand_size);
    if (insn->reg_high)
        return bits_get(cpu->gpr[insn->reg], 15, 8);
    return get_register(cpu, insn->reg, insn->operand_size);
}

static void set_operand(struct emulate_cpu *cpu, const struct insn *insn, u64 value)
{
    if (insn->reg_high)
        cpu->gpr[insn->reg] = bits_set(cpu->gpr[insn->reg], 15, 8, value);
    else
        set_register(cpu, insn->reg, insn->operand_size, value);
}

// ---- memory -----------------------------------------------------------------------------------

static int to_linear(const struct emulate_cpu *cpu, enum vmcs_segment which, u64 offset,
                     unsigned size, unsigned access, gva_t *gva, struct event *fault)
{
    struct guest_segment seg = {0};
    if (cpu->mode != GUEST_64BIT || which == SEG_FS || which == SEG_GS)
        cpu->segment(cpu->ctx, which, &seg);
    return segment_linear(cpu->mode, which, &seg, offset, size, access, &gva->raw, fault);
}

static u64 offset_of(const struct emulate_cpu *cpu, const struct insn *insn)
{
    const struct insn_mem *mem = &insn->mem;
    u64 offset = mem->disp;
    if (mem->base != INSN_NO_REG)
        offset += cpu->gpr[mem->base];
    if (mem->index != INSN_NO_REG)
        offset += cpu->gpr[mem->index] * mem->scale;
    if (mem->rip_relative)
        offset += cpu->rip + insn->length;
    return low_bytes(offset, insn->address_size);
}

static int locate(const struct emulate_cpu *cpu, const struct insn *insn, unsigned access,
                  gva_t *gva, struct event *fault)
{
    return to_linear(cpu, (enum vmcs_segment)insn->mem.segment, offset_of(cpu, insn),
                     insn->mem_size, access, gva, fault);
}

// Finds and reads the memory operand.
static int fetch(const struct emulate_cpu *cpu, const struct insn *insn, unsigned access,
                 gva_t *gva, u64 *value, struct event *fault)
{
    int err = locate(cpu, insn, access, gva, fault);
    if (err < 0)
        return err;
    return cpu->read(cpu->ctx, *gva, insn->mem_size, access, value, fault);
}

static int read_at(const struct emulate_cpu *cpu, enum vmcs_segment which, u64 offset,
                   unsigned size, u64 *value, struct event *fault)
{
    gva_t gva;
    int err = to_linear(cpu, which, offset, size, ACCESS_READ, &gva, fault);
    return err < 0 ? err : cpu->read(cpu->ctx, gva, size, ACCESS_READ, value, fault);
}

static int write_at(const struct emulate_cpu *cpu, enum vmcs_segment which, u64 offset,
                    unsigned size, u64 value, struct event *fault)
{
    gva_t gva;
    int err = to_linear(cpu, which, offset, size, ACCESS_WRITE, &gva, fault);
    return err < 0 ? err : cpu->write(cpu->ctx, gva, size, value, fault);
}

// ---- moves ------------------------------------------------------------------------------------

static s64 sign_extend(u64 value, unsigned size)
{
    unsigned unused = 64 - size * 8;
    return (s64)(value << unused) >> unused;
}

static u64 convert(const struct insn *insn, u64 value)
{
    switch (insn->op) {
    case INSN_MOVSX:
        return (u64)sign_extend(value, insn->mem_size);
    case INSN_MOVBE:
        return __builtin_bswap64(value) >> (64 - insn->mem_size * 8);
    default:
        return value;
    }
}

static int emulate_move(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    gva_t gva;
    u64 value;
    if (insn->dst == OPERAND_MEM) {
        int err = locate(cpu, insn, ACCESS_WRITE, &gva, fault);
        if (err < 0)
            return err;
        value = convert(insn, get_operand(cpu, insn));
        return cpu->write(cpu->ctx, gva, insn->mem_size, value, fault);
    }
    int err = fetch(cpu, insn, ACCESS_READ, &gva, &value, fault);
    if (err < 0)
        return err;
    set_operand(cpu, insn, convert(insn, value));
    return OK;
}

static int emulate_exchange(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    gva_t gva;
    u64 value;
    int err = fetch(cpu, insn, ACCESS_WRITE, &gva, &value, fault);
    if (err < 0)
        return err;
    u64 rflags = cpu->rflags, stored = get_operand(cpu, insn);
    if (insn->op == INSN_XADD)
        stored = alu(INSN_ADD, insn->operand_size, value, stored, &rflags);
    err = cpu->write(cpu->ctx, gva, insn->mem_size, stored, fault);
    if (err < 0)
        return err;
    set_operand(cpu, insn, value);
    cpu->rflags = rflags;
    return OK;
}

// Memory is written either way: SDM volume 2, CMPXCHG.
static int emulate_cmpxchg(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    gva_t gva;
    u64 value, rflags = cpu->rflags;
    int err = fetch(cpu, insn, ACCESS_WRITE, &gva, &value, fault);
    if (err < 0)
        return err;
    u64 accumulator = get_register(cpu, REG_AX, insn->operand_size);
    alu(INSN_CMP, insn->operand_size, accumulator, value, &rflags);
    bool equal = rflags & RFLAGS_ZF;
    err = cpu->write(cpu->ctx, gva, insn->mem_size, equal ? get_operand(cpu, insn) : value, fault);
    if (err < 0)
        return err;
    if (!equal)
        set_register(cpu, REG_AX, insn->operand_size, value);
    cpu->rflags = rflags;
    return OK;
}

// ---- arithmetic -------------------------------------------------------------------------------

static bool only_compares(enum insn_op op)
{
    return op == INSN_CMP || op == INSN_TEST || op == INSN_BT;
}

static int emulate_arithmetic(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    bool to_memory = insn->dst == OPERAND_MEM && !only_compares(insn->op);
    gva_t gva;
    u64 memory, rflags = cpu->rflags;
    int err = fetch(cpu, insn, to_memory ? ACCESS_WRITE : ACCESS_READ, &gva, &memory, fault);
    if (err < 0)
        return err;
    u64 other = insn->src == OPERAND_NONE ? 0 : get_operand(cpu, insn);
    bool memory_first = insn->dst == OPERAND_MEM;
    u64 result = alu(insn->op, insn->operand_size, memory_first ? memory : other,
                     memory_first ? other : memory, &rflags);
    if (to_memory)
        err = cpu->write(cpu->ctx, gva, insn->mem_size, result, fault);
    else if (!only_compares(insn->op))
        set_operand(cpu, insn, result);
    if (err == OK)
        cpu->rflags = rflags;
    return err;
}

// A register as the bit number reaches beyond the operand, forwards and backwards.
static u64 bit_offset(const struct emulate_cpu *cpu, const struct insn *insn, u64 number)
{
    u64 offset = offset_of(cpu, insn);
    if (insn->src == OPERAND_REG) {
        unsigned size = insn->operand_size;
        s64 signed_number = sign_extend(number, size);
        offset += (u64)(signed_number >> (3 + bit_lowest(size))) * size;
    }
    return low_bytes(offset, insn->address_size);
}

static int emulate_bit(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    unsigned size = insn->operand_size;
    unsigned access = only_compares(insn->op) ? ACCESS_READ : ACCESS_WRITE;
    u64 number = get_operand(cpu, insn);
    gva_t gva;
    u64 value, rflags = cpu->rflags;
    int err = to_linear(cpu, (enum vmcs_segment)insn->mem.segment, bit_offset(cpu, insn, number),
                        size, access, &gva, fault);
    if (err == OK)
        err = cpu->read(cpu->ctx, gva, size, access, &value, fault);
    if (err < 0)
        return err;
    value = alu_bit(insn->op, value, (unsigned)number & (size * 8 - 1), &rflags);
    if (access)
        err = cpu->write(cpu->ctx, gva, size, value, fault);
    if (err == OK)
        cpu->rflags = rflags;
    return err;
}

// ---- the stack --------------------------------------------------------------------------------

static unsigned stack_width(const struct emulate_cpu *cpu)
{
    struct guest_segment ss;
    if (cpu->mode == GUEST_64BIT)
        return 8;
    cpu->segment(cpu->ctx, SEG_SS, &ss);
    return ss.ar & AR_DB ? 4 : 2;
}

static int emulate_push(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    unsigned width = stack_width(cpu);
    gva_t gva;
    u64 value;
    int err = fetch(cpu, insn, ACCESS_READ, &gva, &value, fault);
    if (err < 0)
        return err;
    u64 top = low_bytes(cpu->gpr[REG_SP] - insn->operand_size, width);
    err = write_at(cpu, SEG_SS, top, insn->operand_size, value, fault);
    if (err == OK)
        set_register(cpu, REG_SP, width, top);
    return err;
}

// An address based on rSP is taken after rSP has moved: SDM volume 2, POP.
static int emulate_pop(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    unsigned width = stack_width(cpu);
    u64 value, before = cpu->gpr[REG_SP];
    int err = read_at(cpu, SEG_SS, low_bytes(before, width), insn->operand_size, &value, fault);
    if (err < 0)
        return err;
    set_register(cpu, REG_SP, width, before + insn->operand_size);
    gva_t gva;
    err = locate(cpu, insn, ACCESS_WRITE, &gva, fault);
    if (err == OK)
        err = cpu->write(cpu->ctx, gva, insn->mem_size, value, fault);
    if (err < 0)
        cpu->gpr[REG_SP] = before;
    return err;
}

// ---- strings ----------------------------------------------------------------------------------

static void advance(struct emulate_cpu *cpu, const struct insn *insn, unsigned reg)
{
    u64 step = cpu->rflags & RFLAGS_DF ? -(u64)insn->mem_size : insn->mem_size;
    set_register(cpu, reg, insn->address_size, cpu->gpr[reg] + step);
}

static bool uses_source(enum insn_op op)
{
    return op == INSN_MOVS || op == INSN_CMPS || op == INSN_LODS;
}

// What the instruction does with the element at rSI or in rAX.
static int apply_element(struct emulate_cpu *cpu, const struct insn *insn, u64 element,
                         struct event *fault)
{
    unsigned size = insn->mem_size;
    u64 di = get_register(cpu, REG_DI, insn->address_size), other;
    if (insn->op == INSN_LODS) {
        set_register(cpu, REG_AX, size, element);
        return OK;
    }
    if (insn->op == INSN_MOVS || insn->op == INSN_STOS)
        return write_at(cpu, SEG_ES, di, size, element, fault);
    int err = read_at(cpu, SEG_ES, di, size, &other, fault);
    if (err == OK)
        alu(INSN_CMP, size, element, other, &cpu->rflags);
    return err;
}

static int iterate(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    u64 element = get_register(cpu, REG_AX, insn->mem_size);
    if (uses_source(insn->op)) {
        int err =
            read_at(cpu, (enum vmcs_segment)insn->mem.segment,
                    get_register(cpu, REG_SI, insn->address_size), insn->mem_size, &element, fault);
        if (err < 0)
            return err;
    }
    int err = apply_element(cpu, insn, element, fault);
    if (err < 0)
        return err;
    if (uses_source(insn->op))
        advance(cpu, insn, REG_SI);
    if (insn->op != INSN_LODS)
        advance(cpu, insn, REG_DI);
    return OK;
}

// Whether a comparison ends the repetition.
static bool found(const struct emulate_cpu *cpu, const struct insn *insn)
{
    if (insn->op != INSN_CMPS && insn->op != INSN_SCAS)
        return false;
    bool zero = cpu->rflags & RFLAGS_ZF;
    return insn->repeat == REPEAT_REP ? !zero : zero;
}

static int emulate_string(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    if (insn->repeat == REPEAT_NONE)
        return iterate(cpu, insn, fault);
    unsigned limit = cpu->rflags & RFLAGS_TF ? 1 : EMULATE_ITERATIONS;
    u64 count = get_register(cpu, REG_CX, insn->address_size);
    for (; count && limit; limit--) {
        int err = iterate(cpu, insn, fault);
        if (err < 0)
            return err;
        set_register(cpu, REG_CX, insn->address_size, --count);
        if (found(cpu, insn))
            return OK;
    }
    return count ? EMULATE_MORE : OK;
}

int emulate(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault)
{
    *fault = (struct event){0};
    switch (insn->op) {
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_MOVSX:
    case INSN_MOVBE:
        return emulate_move(cpu, insn, fault);
    case INSN_XCHG:
    case INSN_XADD:
        return emulate_exchange(cpu, insn, fault);
    case INSN_CMPXCHG:
        return emulate_cmpxchg(cpu, insn, fault);
    case INSN_ADD ... INSN_DEC:
        return emulate_arithmetic(cpu, insn, fault);
    case INSN_BT ... INSN_BTC:
        return emulate_bit(cpu, insn, fault);
    case INSN_PUSH:
        return emulate_push(cpu, insn, fault);
    case INSN_POP:
        return emulate_pop(cpu, insn, fault);
    case INSN_MOVS ... INSN_SCAS:
        return emulate_string(cpu, insn, fault);
    default:
        return E_UNSUPP;
    }
}
