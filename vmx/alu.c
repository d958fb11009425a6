// SPDX-License-Identifier: MIT
#include "vmx/alu.h"

// CF, OF and AF fall out of the carries into and out of the bits concerned, so 64-bit operands need
// nothing wider than themselves.
struct carries {
    u64 out;      // bit n: a carry or borrow leaves bit n
    u64 in;       // bit n: one enters bit n
    u64 overflow; // bit n: the result's sign would be wrong were n the top bit
};

static u64 flag_if(bool condition, u64 flag)
{
    return condition ? flag : 0;
}

// SF, ZF and PF.
static u64 flags_of_value(u64 value, unsigned size)
{
    bool odd = __builtin_parity((unsigned)value & 0xff);
    return flag_if(low_bytes(value, size) == 0, RFLAGS_ZF) |
           flag_if(value >> (size * 8 - 1) & 1, RFLAGS_SF) | flag_if(!odd, RFLAGS_PF);
}

static u64 flags_of_carries(const struct carries *c, unsigned size)
{
    unsigned top = size * 8 - 1;
    return flag_if(c->out >> top & 1, RFLAGS_CF) | flag_if(c->overflow >> top & 1, RFLAGS_OF) |
           flag_if(c->in >> 4 & 1, RFLAGS_AF);
}

static u64 add(unsigned size, u64 a, u64 b, u64 carry, u64 *status)
{
    u64 sum = a + b + carry;
    struct carries c = {
        .out = (a & b) | ((a | b) & ~sum),
        .in = a ^ b ^ sum,
        .overflow = (a ^ sum) & (b ^ sum),
    };
    *status = flags_of_value(sum, size) | flags_of_carries(&c, size);
    return sum;
}

static u64 subtract(unsigned size, u64 a, u64 b, u64 borrow, u64 *status)
{
    u64 difference = a - b - borrow;
    struct carries c = {
        .out = (~a & b) | ((~a | b) & difference),
        .in = a ^ b ^ difference,
        .overflow = (a ^ b) & (a ^ difference),
    };
    *status = flags_of_value(difference, size) | flags_of_carries(&c, size);
    return difference;
}

static u64 logical(unsigned size, u64 value, u64 *status)
{
    *status = flags_of_value(value, size);
    return value;
}

static u64 compute(enum insn_op op, unsigned size, u64 a, u64 b, u64 *status)
{
    u64 carry = *status & RFLAGS_CF;
    switch (op) {
    case INSN_ADD:
        return add(size, a, b, 0, status);
    case INSN_ADC:
        return add(size, a, b, carry, status);
    case INSN_INC:
        return add(size, a, 1, 0, status);
    case INSN_SUB:
    case INSN_CMP:
        return subtract(size, a, b, 0, status);
    case INSN_SBB:
        return subtract(size, a, b, carry, status);
    case INSN_DEC:
        return subtract(size, a, 1, 0, status);
    case INSN_NEG:
        return subtract(size, 0, a, 0, status);
    case INSN_OR:
        return logical(size, a | b, status);
    case INSN_XOR:
        return logical(size, a ^ b, status);
    case INSN_AND:
    case INSN_TEST:
        return logical(size, a & b, status);
    default: // INSN_NOT touches no flag
        return ~a;
    }
}

u64 alu(enum insn_op op, unsigned size, u64 a, u64 b, u64 *rflags)
{
    u64 status = *rflags & RFLAGS_STATUS;
    u64 result = compute(op, size, a, b, &status);
    u64 kept = ~RFLAGS_STATUS;
    if (op == INSN_INC || op == INSN_DEC)
        kept |= RFLAGS_CF;
    *rflags = (*rflags & kept) | (status & ~kept);
    return low_bytes(result, size);
}

u64 alu_bit(enum insn_op op, u64 a, unsigned bit, u64 *rflags)
{
    u64 mask = BIT(bit);
    *rflags = (*rflags & ~RFLAGS_CF) | flag_if(a & mask, RFLAGS_CF);
    switch (op) {
    case INSN_BTS:
        return a | mask;
    case INSN_BTR:
        return a & ~mask;
    case INSN_BTC:
        return a ^ mask;
    default:
        return a;
    }
}
