// SPDX-License-Identifier: MIT
// What keeps a guest from reading, or steering, what another guest or the host does, by way of what
// the CPU remembers and foretells: which of it this CPU needs, which it has, and what is on.
// Intel, "Affected Processors: Guidance for Security Issues on Intel Processors", and the technical
// documentation of each issue named below.
#pragma once

#include "arch/x86_64/lib/types.h"

enum mitigation {
    MITIGATE_REGISTERS, // after an exit no register holds what the guest left there
    MITIGATE_RSB,       // after an exit the return stack buffer has no returns of the guest's
    MITIGATE_IBRS, // while the host runs the guest's indirect branches foretell none of its own
    MITIGATE_BHI,  // ... nor does the history of its branches choose among them
    MITIGATE_IBPB, // when a vCPU becomes current: what other guests taught the predictors goes
    MITIGATE_VERW, // before an entry: what the host left in the CPU's buffers goes
    MITIGATE_L1D,  // when a vCPU becomes current: what others left in the L1 data cache goes
    MITIGATION_COUNT
};

enum mitigation_state {
    MITIGATION_NOT_NEEDED,
    MITIGATION_ON,
    MITIGATION_MISSING, // needed, and the CPU (its microcode) does not offer it
    MITIGATION_OFF,     // could be on, but for mitigations=off
};

// What a CPU says of itself; a leaf or an MSR that it has not is 0.
struct mitigation_cpu {
    u32 leaf7_ebx, leaf7_edx, leaf7_2_edx;
    u64 arch_capabilities;
};

// An MSR that makes the CPU forget something when the value is written.
struct msr_command {
    u32 msr;
    u64 value;
};

struct mitigations {
    enum mitigation_state state[MITIGATION_COUNT];
    u32 spec_msr;   // IA32_SPEC_CTRL; a test has another in its place where the CPU has none
    u64 spec_ctrl;  // what the host's must have
    bool spec_each; // ... and must be written with at each exit; else once is enough
    u32 rsb_calls;  // after an exit; even
    bool history;   // after them overwrites the history of branches
    unsigned command_count;
    struct msr_command commands[2]; // written when a vCPU becomes current
};

// What is done at each exit and entry, a set: enter.asm has a loop for each.
enum way {
    WAY_RSB = 1,   // fill the return stack buffer, and overwrite the history of branches if wanted
    WAY_SPEC = 2,  // switch IA32_SPEC_CTRL
    WAY_VERW = 4,  // clear the CPU's buffers before the entry
    WAY_BARE = 8,  // alone: not even registers are cleared
    WAY_COUNT = 9, // sets
};

// Decides for this CPU; off: none is to be on.
void mitigations_decide(const struct mitigation_cpu *cpu, bool off, struct mitigations *out);

// Logs what is on, and what is not and why.
void mitigations_log(const struct mitigations *m);

// Whether it is on.
static inline bool mitigated(const struct mitigations *m, enum mitigation which)
{
    return m->state[which] == MITIGATION_ON;
}

// The set for a vCPU; spec_used: its guest uses IA32_SPEC_CTRL, of which the CPU has one for both
// sides.
static inline unsigned mitigations_way(const struct mitigations *m, bool spec_used)
{
    unsigned way = (m->rsb_calls ? WAY_RSB : 0) | (mitigated(m, MITIGATE_VERW) ? WAY_VERW : 0) |
                   (m->spec_each || spec_used ? WAY_SPEC : 0);
    return way || mitigated(m, MITIGATE_REGISTERS) ? way : WAY_BARE;
}
