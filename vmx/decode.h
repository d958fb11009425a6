// SPDX-License-Identifier: MIT
// The decoder for instructions that touch emulated memory: what an instruction does and where, not
// how to do it (vmx/emulate.h). It knows the instructions that operating systems and firmware use
// on device memory, in their memory forms only. SDM volume 2, "Instruction Format" and the opcode
// maps.
#pragma once

#include "vmx/segment.h"

enum insn_op {
    INSN_NONE,
    // dst = src, the source extended or reversed where the name says so.
    INSN_MOV,
    INSN_MOVZX,
    INSN_MOVSX, // MOVSXD too
    INSN_MOVBE,
    // dst and src, or dst and the accumulator, are exchanged or compared.
    INSN_XCHG,
    INSN_XADD,
    INSN_CMPXCHG,
    // dst = dst op src, in the order of the opcodes.
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_TEST,
    INSN_NOT,
    INSN_NEG,
    INSN_INC,
    INSN_DEC,
    // Bit src of dst.
    INSN_BT,
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    // One operand in memory, the other on the stack.
    INSN_PUSH,
    INSN_POP,
    // String instructions: mem is the source of MOVS, CMPS and LODS, which ES:rDI follows, and the
    // only operand of STOS and SCAS.
    INSN_MOVS,
    INSN_CMPS,
    INSN_STOS,
    INSN_LODS,
    INSN_SCAS,
};

enum insn_operand { OPERAND_NONE, OPERAND_MEM, OPERAND_REG, OPERAND_IMM };

enum insn_repeat { REPEAT_NONE, REPEAT_REP /* REPE for CMPS and SCAS */, REPEAT_REPNE };

#define INSN_NO_REG 0xffu

// The offset is base + index * scale + disp, or the next instruction's offset + disp, cut to the
// address size.
struct insn_mem {
    u8 segment; // enum vmcs_segment: the override, or the default of the base
    u8 base;    // register number 0-15, or INSN_NO_REG
    u8 index;   // the same
    u8 scale;   // 1, 2, 4 or 8
    bool rip_relative;
    u64 disp; // sign-extended
};

struct insn {
    enum insn_op op;
    enum insn_operand dst, src;
    enum insn_repeat repeat; // string instructions only
    u8 length;               // bytes, 1-15
    u8 operand_size;         // bytes: 1, 2, 4 or 8
    u8 address_size;         // bytes: 2, 4 or 8
    u8 mem_size;             // bytes accessed in memory at once
    u8 reg;                  // register operand's number 0-15, or INSN_NO_REG
    bool reg_high;           // it is bits 15:8 of that register (AH, CH, DH, BH)
    bool lock;
    struct insn_mem mem;
    u64 imm; // sign-extended
};

// The default operand and address size of the code segment, in bits.
enum code_size { CODE_16 = 16, CODE_32 = 32, CODE_64 = 64 };

// For a guest in this mode whose CS has these access rights.
static inline enum code_size code_size_of(enum guest_mode mode, u32 cs_ar)
{
    if (mode == GUEST_64BIT)
        return CODE_64;
    return cs_ar & AR_DB ? CODE_32 : CODE_16;
}

// Whether byte is a segment-override prefix. *segment (enum vmcs_segment) becomes what it names,
// unless 64-bit mode ignores it: the four segments that have no base there.
bool insn_is_segment_override(u8 byte, enum code_size size, u8 *segment);

// Decodes the instruction at bytes, of which count can be read. E_TRUNC: it goes on beyond them.
// E_FORMAT: the CPU raises #UD for it. E_RANGE: longer than 15 bytes, for which it raises #GP.
// E_UNSUPP: not one of those above. out is meaningful only with OK.
MUST_CHECK int insn_decode(const u8 *bytes, size_t count, enum code_size size, struct insn *out);
