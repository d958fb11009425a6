// SPDX-License-Identifier: MIT
// A guest to try VM entries with: a vCPU without memory, whose VMCS any CPU enters as it stands and
// which comes straight back, the fields a mirror of which is kept so that each can be put back.
#pragma once

#include "vmx/entry_outcome.h"
#include "vmx/hypervisor.h"

#define ENTRY_RIG_FIELDS 192u // room for the fields that a CPU has and that can be written

struct entry_rig {
    struct hypervisor *hv;
    struct cell *cell;
    struct vmx_caps caps; // the CPU's own, whatever without= takes away
    hpa_t scratch;
    struct entry_break_target target; // edits go through this
    struct entry_state state;         // for the checker: this CPU, and what the fields are
    struct entry_values now;          // what they are, by slot
    u64 base[ENTRY_SLOTS];            // what they are put back to
    u64 first[ENTRY_SLOTS];           // what they were when the rig was opened
    u16 fields[ENTRY_RIG_FIELDS];     // those there are
    unsigned nfields;
    u16 spent[ENTRY_RIG_FIELDS]; // those that an entry and the exit after it change
    unsigned nspent;
    u16 dirty[ENTRY_RIG_FIELDS]; // those to be put back
    unsigned ndirty;
    bool is_dirty[ENTRY_SLOTS];
    bool memory_dirty;     // the scratch memory is not all zero
    bool host_dirty;       // a field of the host's state differs
    u32 manner;            // enum entry_manner
    u32 entries;           // that came to a guest
    bool preemption_timer; // the CPU has it
};

// Makes the guest, in 64-bit mode. The CPU is in VMX operation and stays on this VMCS until
// entry_rig_close(). cell_create's errors.
MUST_CHECK int entry_rig_open(struct hypervisor *hv, struct entry_rig *rig);
void entry_rig_close(struct entry_rig *rig);

// Undoes every edit and what an entry changed.
void entry_rig_reset(struct entry_rig *rig);

// What reset goes back to becomes what the fields are now, with the scratch memory and the manner
// as they were at first.
void entry_rig_keep(struct entry_rig *rig);

// Resets to what there was at first, and makes that what reset goes back to again.
void entry_rig_restart(struct entry_rig *rig);

// Tries to enter with the VMCS and the manner as edited. Comes back from every outcome that leaves
// the CPU running; the host's own state is put in order if the entry could have spoiled it.
// entry_rig_reset() is due before the next edit.
struct entry_outcome entry_rig_attempt(struct entry_rig *rig);
