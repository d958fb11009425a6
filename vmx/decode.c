// SPDX-License-Identifier: MIT
#include "vmx/decode.h"

#include "arch/x86_64/lib/err.h"
#include "vmx/decode_tables.h"

#define NO_SEGMENT 0xffu

#define REX_W BIT32(3)
#define REX_R BIT32(2)
#define REX_X BIT32(1)
#define REX_B BIT32(0)

enum { REG_AX = 0, REG_BX = 3, REG_SP = 4, REG_BP = 5, REG_SI = 6, REG_DI = 7 };

// What is known while the bytes are read. err sticks: after a byte too far all reads give 0.
struct decoder {
    const u8 *bytes;
    size_t count, at;
    int err;
    enum code_size size;
    bool prefix_66, prefix_67, lock;
    enum insn_repeat repeat; // the last of F2H and F3H
    u8 segment;              // override or NO_SEGMENT
    u8 rex;                  // 0 = none
    u8 modrm;
};

static u8 next_byte(struct decoder *d)
{
    if (d->at < d->count && d->at < INSTRUCTION_LENGTH_MAX)
        return d->bytes[d->at++];
    if (!d->err)
        d->err = d->at < INSTRUCTION_LENGTH_MAX ? E_TRUNC : E_RANGE;
    return 0;
}

// A little-endian number of 1, 2, 4 or 8 bytes, sign-extended.
static u64 next_signed(struct decoder *d, unsigned size)
{
    u64 value = 0, sign = BIT(8 * size - 1);
    for (unsigned i = 0; i < size; i++)
        value |= (u64)next_byte(d) << (8 * i);
    return (value ^ sign) - sign;
}

// ---- prefixes ---------------------------------------------------------------------------------

bool insn_is_segment_override(u8 byte, enum code_size size, u8 *segment)
{
    static const u8 prefixes[] = {
        [SEG_ES] = 0x26, [SEG_CS] = 0x2e, [SEG_SS] = 0x36,
        [SEG_DS] = 0x3e, [SEG_FS] = 0x64, [SEG_GS] = 0x65,
    };
    for (u8 which = 0; which < ARRAY_SIZE(prefixes); which++) {
        if (prefixes[which] != byte)
            continue;
        if (size != CODE_64 || which == SEG_FS || which == SEG_GS)
            *segment = which;
        return true;
    }
    return false;
}

static bool take_legacy_prefix(struct decoder *d, u8 byte)
{
    switch (byte) {
    case 0x66:
        d->prefix_66 = true;
        return true;
    case 0x67:
        d->prefix_67 = true;
        return true;
    case 0xf0:
        d->lock = true;
        return true;
    case 0xf2:
        d->repeat = REPEAT_REPNE;
        return true;
    case 0xf3:
        d->repeat = REPEAT_REP;
        return true;
    default:
        return insn_is_segment_override(byte, d->size, &d->segment);
    }
}

// Reads all prefixes and returns the first opcode byte. A REX prefix counts only right before it.
static u8 skip_prefixes(struct decoder *d)
{
    for (;;) {
        u8 byte = next_byte(d);
        if (d->size == CODE_64 && (byte & 0xf0) == 0x40)
            d->rex = byte;
        else if (take_legacy_prefix(d, byte))
            d->rex = 0;
        else
            return byte;
    }
}

// ---- opcode -----------------------------------------------------------------------------------

static struct opcode read_opcode(struct decoder *d)
{
    u8 byte = skip_prefixes(d);
    if (byte != 0x0f)
        return opcodes_1byte[byte];
    byte = next_byte(d);
    if (byte != 0x38)
        return opcodes_0f[byte];
    return opcodes_0f38[next_byte(d)];
}

static bool has_modrm(const struct opcode *opcode)
{
    return opcode->form >= FORM_MEM && opcode->form <= FORM_MEM_IMM8;
}

// Reads ModR/M, whose reg field may complete the opcode.
static void read_modrm(struct decoder *d, struct opcode *opcode)
{
    d->modrm = next_byte(d);
    if (opcode->group == GROUP_NONE)
        return;
    const struct opcode *row = &opcode_groups[opcode->group + ((d->modrm >> 3) & 7)];
    opcode->op = row->op;
    opcode->flags |= row->flags;
    if (row->form != FORM_NONE)
        opcode->form = row->form;
}

static bool is_string(const struct opcode *opcode)
{
    return opcode->form == FORM_STRING_SI || opcode->form == FORM_STRING_DI;
}

// Whether the instruction with its prefixes is one of ours.
static int check_opcode(const struct decoder *d, const struct opcode *opcode)
{
    if (opcode->op == INSN_NONE)
        return E_UNSUPP;
    if (has_modrm(opcode) && d->modrm >= 0xc0)
        return E_UNSUPP; // registers only
    if (opcode->op == OP_UNDEFINED)
        return E_FORMAT;
    if (d->size == CODE_64 && (opcode->flags & OP_NOT64))
        return E_FORMAT;
    if (d->size != CODE_64 && (opcode->flags & OP_ONLY64))
        return E_UNSUPP;
    if ((opcode->flags & OP_NO_PREFIX) && (d->prefix_66 || d->repeat != REPEAT_NONE))
        return E_UNSUPP;
    // With F2H or F3H this is CRC32, or nothing.
    if (opcode->op == INSN_MOVBE && d->repeat != REPEAT_NONE)
        return E_UNSUPP;
    if (d->lock && !(opcode->flags & OP_LOCK))
        return E_FORMAT;
    return OK;
}

// ---- sizes ------------------------------------------------------------------------------------

static u8 operand_size(const struct decoder *d, const struct opcode *opcode)
{
    if (opcode->flags & OP_BYTE)
        return 1;
    if (d->rex & REX_W)
        return 8;
    if (d->size == CODE_64 && (opcode->flags & OP_PUSH64))
        return d->prefix_66 ? 2 : 8;
    bool word = (d->size == CODE_16) != d->prefix_66;
    return word && !(opcode->flags & OP_NO16) ? 2 : 4;
}

static u8 address_size(const struct decoder *d)
{
    if (d->size == CODE_64)
        return d->prefix_67 ? 4 : 8;
    return (d->size == CODE_16) != d->prefix_67 ? 2 : 4;
}

static u8 memory_size(const struct opcode *opcode, u8 operand)
{
    if (opcode->flags & OP_MEM8)
        return 1;
    if (opcode->flags & OP_MEM16)
        return 2;
    if (opcode->flags & OP_MEM32)
        return operand == 2 ? 2 : 4;
    return operand;
}

// ---- operands ---------------------------------------------------------------------------------

static u8 extended(const struct decoder *d, unsigned field, u32 rex_bit)
{
    return (u8)(field | (d->rex & rex_bit ? 8u : 0u));
}

// SDM volume 2, "16-Bit Addressing Forms with the ModR/M Byte".
static void read_mem16(struct decoder *d, struct insn_mem *mem)
{
    static const u8 bases[] = {REG_BX, REG_BX, REG_BP, REG_BP, REG_SI, REG_DI, REG_BP, REG_BX};
    static const u8 indexes[] = {REG_SI, REG_DI, REG_SI, REG_DI};
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
    if (mod == 0 && rm == 6) {
        mem->disp = next_signed(d, 2);
        return;
    }
    mem->base = bases[rm];
    if (rm < ARRAY_SIZE(indexes))
        mem->index = indexes[rm];
    if (mod != 0)
        mem->disp = next_signed(d, mod);
}

// SDM volume 2, "32-Bit Addressing Forms with the SIB Byte".
static void read_sib(struct decoder *d, struct insn_mem *mem)
{
    unsigned sib = next_byte(d);
    u8 index = extended(d, (sib >> 3) & 7, REX_X);
    if (index != REG_SP) {
        mem->index = index;
        mem->scale = (u8)(1u << (sib >> 6));
    }
    if ((sib & 7) != REG_BP || d->modrm >= 0x40)
        mem->base = extended(d, sib & 7, REX_B);
}

static void read_mem32(struct decoder *d, struct insn_mem *mem)
{
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
    if (rm == REG_SP)
        read_sib(d, mem);
    else if (mod != 0 || rm != REG_BP)
        mem->base = extended(d, rm, REX_B);
    else
        mem->rip_relative = d->size == CODE_64;

    if (mod == 1)
        mem->disp = next_signed(d, 1);
    else if (mod == 2 || mem->base == INSN_NO_REG)
        mem->disp = next_signed(d, 4);
}

static void choose_segment(const struct decoder *d, struct insn_mem *mem)
{
    bool stack = mem->base == REG_SP || mem->base == REG_BP;
    if (d->segment != NO_SEGMENT)
        mem->segment = d->segment;
    else
        mem->segment = stack ? SEG_SS : SEG_DS;
}

static void read_memory_operand(struct decoder *d, const struct opcode *opcode, struct insn *out)
{
    struct insn_mem *mem = &out->mem;
    *mem = (struct insn_mem){.base = INSN_NO_REG, .index = INSN_NO_REG, .scale = 1};
    if (opcode->form == FORM_STRING_SI)
        mem->base = REG_SI;
    else if (opcode->form == FORM_STRING_DI)
        mem->base = REG_DI;
    else if (!has_modrm(opcode))
        mem->disp = next_signed(d, out->address_size);
    else if (out->address_size == 2)
        read_mem16(d, mem);
    else
        read_mem32(d, mem);

    choose_segment(d, mem);
    if (opcode->form == FORM_STRING_DI)
        mem->segment = SEG_ES; // no override reaches it
}

static void choose_register(const struct decoder *d, struct insn *out)
{
    out->reg = extended(d, (d->modrm >> 3) & 7, REX_R);
    // Without REX, byte registers 4 to 7 are AH, CH, DH and BH.
    if (out->operand_size == 1 && !d->rex && out->reg >= 4) {
        out->reg -= 4;
        out->reg_high = true;
    }
}

static void read_operands(struct decoder *d, const struct opcode *opcode, struct insn *out)
{
    switch (opcode->form) {
    case FORM_MEM_REG:
        out->dst = OPERAND_MEM;
        out->src = OPERAND_REG;
        choose_register(d, out);
        break;
    case FORM_REG_MEM:
        out->dst = OPERAND_REG;
        out->src = OPERAND_MEM;
        choose_register(d, out);
        break;
    case FORM_MEM:
        out->dst = OPERAND_MEM;
        break;
    case FORM_MEM_IMM:
        out->dst = OPERAND_MEM;
        out->src = OPERAND_IMM;
        out->imm = next_signed(d, out->operand_size < 4 ? out->operand_size : 4);
        break;
    case FORM_MEM_IMM8:
        out->dst = OPERAND_MEM;
        out->src = OPERAND_IMM;
        out->imm = next_signed(d, 1);
        break;
    case FORM_ACC_MOFFS:
        out->dst = OPERAND_REG;
        out->src = OPERAND_MEM;
        out->reg = REG_AX;
        break;
    case FORM_MOFFS_ACC:
        out->dst = OPERAND_MEM;
        out->src = OPERAND_REG;
        out->reg = REG_AX;
        break;
    default: // string instructions: the operands are in the name
        break;
    }
}

int insn_decode(const u8 *bytes, size_t count, enum code_size size, struct insn *out)
{
    struct decoder d = {.bytes = bytes, .count = count, .size = size, .segment = NO_SEGMENT};
    struct opcode opcode = read_opcode(&d);
    if (has_modrm(&opcode) || opcode.group != GROUP_NONE)
        read_modrm(&d, &opcode);
    if (d.err)
        return d.err;
    int err = check_opcode(&d, &opcode);
    if (err < 0)
        return err;

    *out = (struct insn){
        .op = (enum insn_op)opcode.op,
        .repeat = is_string(&opcode) ? d.repeat : REPEAT_NONE,
        .operand_size = operand_size(&d, &opcode),
        .address_size = address_size(&d),
        .reg = INSN_NO_REG,
        .lock = d.lock,
    };
    out->mem_size = memory_size(&opcode, out->operand_size);
    read_memory_operand(&d, &opcode, out);
    read_operands(&d, &opcode, out); // the immediate comes last
    out->length = (u8)d.at;
    return d.err;
}
