// SPDX-License-Identifier: MIT
// Executes one decoded instruction on a guest's registers, its memory behind callbacks: the second
// half of answering an access to emulated memory, after insn_decode().
#pragma once

#include "vmx/decode.h"

struct emulate_cpu {
    enum guest_mode mode;
    u64 *gpr;   // the 16 general registers by their encoding, RSP (4) included
    u64 rip;    // of the instruction; stays as it is
    u64 rflags; // status flags are updated
    void *ctx;  // for the callbacks
    // The segment register; in 64-bit mode asked for FS and GS alone.
    void (*segment)(void *ctx, enum vmcs_segment which, struct guest_segment *out);
    // size bytes (1, 2, 4 or 8) at a guest-linear address that passed segmentation; they may cross
    // a page. access is ACCESS_WRITE where the instruction goes on to write what it reads:
    // translate for writing then. OK; E_FAULT with *fault set; or an error that emulate() passes
    // on.
    int (*read)(void *ctx, gva_t gva, unsigned size, unsigned access, u64 *value,
                struct event *fault);
    int (*write)(void *ctx, gva_t gva, unsigned size, u64 value, struct event *fault);
};

// Iterations of a repeated string instruction that one call does at most.
#define EMULATE_ITERATIONS 256u

#define EMULATE_MORE 1

// Executes insn. OK: done, go on at rip + insn->length. EMULATE_MORE: a repeated instruction has
// done some iterations, the registers say how far, and running it again at rip goes on; with
// RFLAGS.TF set that is after each one, where the CPU would trap. E_FAULT: the guest takes *fault
// at rip. Other errors are the callbacks'. With an error registers and flags are as before the
// instruction, or as after the last whole iteration. LOCK is obeyed by the guest's other CPUs only
// as far as the callbacks see to it: the read and the write of one instruction are two calls.
MUST_CHECK int emulate(struct emulate_cpu *cpu, const struct insn *insn, struct event *fault);
