// SPDX-License-Identifier: MIT
// The opcode maps as far as the decoder knows them: SDM volume 2, "Opcode Map". Private to
// vmx/decode.c.
#pragma once

#include "vmx/decode.h"

// Where the operands are.
enum opcode_form {
    FORM_NONE,
    FORM_MEM,       // r/m alone
    FORM_MEM_REG,   // r/m, reg
    FORM_REG_MEM,   // reg, r/m
    FORM_MEM_IMM,   // r/m, immediate of the operand size, at most 4 bytes
    FORM_MEM_IMM8,  // r/m, sign-extended byte
    FORM_ACC_MOFFS, // accumulator, memory at a direct offset
    FORM_MOFFS_ACC, // the reverse
    FORM_STRING_SI, // memory at rSI
    FORM_STRING_DI, // memory at ES:rDI
};

enum opcode_flags {
    OP_BYTE = 1u << 0,     // the operand size is 1
    OP_LOCK = 1u << 1,     // LOCK is allowed
    OP_PUSH64 = 1u << 2,   // the operand size is 8 in 64-bit mode, or 2 with 66H
    OP_MEM8 = 1u << 3,     // the memory operand is a byte whatever the operand size
    OP_MEM16 = 1u << 4,    // the same, two bytes
    OP_MEM32 = 1u << 5,    // four bytes, or two with an operand size of 2
    OP_NO16 = 1u << 6,     // an operand size of 2 counts as 4
    OP_ONLY64 = 1u << 7,   // another instruction outside 64-bit mode
    OP_NOT64 = 1u << 8,    // undefined in 64-bit mode
    OP_NO_PREFIX = 1u << 9 // undefined or another instruction with 66H, F2H or F3H
};

// Where in opcode_groups[] the eight rows of a group begin; the reg field of ModR/M chooses one.
enum opcode_group {
    GROUP_NONE,
    GROUP_1 = 8,
    GROUP_1A = 16,
    GROUP_3 = 24,
    GROUP_4 = 32,
    GROUP_5 = 40,
    GROUP_8 = 48,
    GROUP_11 = 56,
    GROUPS_END = 64
};

#define OP_UNDEFINED 0xffu // in place of enum insn_op: #UD

struct opcode {
    u8 op;     // enum insn_op; INSN_NONE = not one of ours
    u8 form;   // enum opcode_form; in a group, FORM_NONE = as the opcode has it
    u8 group;  // enum opcode_group
    u16 flags; // enum opcode_flags
};

extern const struct opcode opcodes_1byte[256];
extern const struct opcode opcodes_0f[256];
extern const struct opcode opcodes_0f38[256];
extern const struct opcode opcode_groups[GROUPS_END];
