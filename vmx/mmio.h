// SPDX-License-Identifier: MIT
// The short way of an access to a device's memory: MOV in 64-bit mode, by which drivers reach
// nearly all registers. What such an instruction does is remembered by its bytes, and where it
// accesses is what the EPT violation says; so neither is the instruction decoded again nor its
// operand translated.
#pragma once

#include "vmx/decode.h"

struct vcpu;

#define MMIO_MOVES 16u

// A MOV with one memory operand: load a register (zero-extended), store a register or an immediate.
struct mmio_move {
    u64 bytes[2], mask[2]; // the instruction, and which bits of 16 bytes it takes
    u64 imm;
    u8 length; // bytes; 0: none is remembered here
    u8 size;   // bytes accessed
    u8 reg;    // INSN_NO_REG: imm is stored
    bool write;
};

// Does the access to guest-physical gpa that caused an EPT violation with this qualification. false
// where the long way has to be taken: nothing is done then. Otherwise vcpu->exit.length is set, and
// the instruction is done.
bool mmio_move(struct vcpu *vcpu, gpa_t gpa, u64 qualification);

// Remembers the instruction of these bytes, if it is one for the short way.
void mmio_remember(struct vcpu *vcpu, const u8 *bytes, const struct insn *insn);
