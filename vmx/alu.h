// SPDX-License-Identifier: MIT
// The arithmetic of emulated instructions, with its flags: SDM volume 1, "Status Flags"; volume 2,
// each instruction's "Flags Affected".
#pragma once

#include "vmx/decode.h"

#define RFLAGS_STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

// a op b in size bytes (1, 2, 4 or 8), the status flags in *rflags updated; op is INSN_ADD to
// INSN_DEC, of which CMP and TEST give a result nobody keeps and the unary ones ignore b. AF, which
// the logical instructions leave undefined, is cleared as CPUs do.
u64 alu(enum insn_op op, unsigned size, u64 a, u64 b, u64 *rflags);

// a with bit number bit changed as INSN_BT to INSN_BTC do; the bit as it was is in CF of *rflags,
// and the flags they leave undefined stay.
u64 alu_bit(enum insn_op op, u64 a, unsigned bit, u64 *rflags);
