// SPDX-License-Identifier: MIT
// What the conditions of the VM-entry rules are written in: the fields that many rules look at,
// read once, and the words that are more than a bit test.
#pragma once

#include "vmx/entry_rules.h"
#include "vmx/events.h"

// A field that the CPU lacks is 0 here, and so are controls that are not activated.
struct entry_view {
    const struct entry_state *state;
    const struct vmx_caps *caps;
    u32 pin, proc, proc2, exit, entry;
    u64 proc3, vmfunc;
    u64 address_high; // bits that must be 0 in addresses of structures VMX uses
    u64 frame_high;   // bits that must be 0 where an address of a page or table stands
    // The event that is injected.
    u32 info;
    bool injecting;
    u8 type, vector;
    // The guest.
    u64 cr0;
    u32 cs_sel, cs_ar, ss_ar;
    bool ug, v86, ia32e;
    bool pae;         // PAE paging
    bool step_frozen; // blocking by STI or MOV SS, or HLT
    bool linked;      // the VMCS link pointer is in use
    bool link_readable;
    u32 link_head; // the first word there
};

void entry_view_init(struct entry_view *view, const struct entry_state *state);

// The field, or 0.
u64 entry_read(const struct entry_state *state, u32 field);

// Whether the rule is kept, v being the values of its fields; *number gets what its legal names.
bool entry_rule_holds(const struct entry_rule *rule, const struct entry_view *view, const u64 *v,
                      u64 *number);

// An address of a structure that VMX uses.
static inline bool within(const struct entry_view *s, u64 address)
{
    return !(address & s->address_high);
}

// A list of count MSR entries of 16 bytes whose start is within: its last byte.
static inline bool list_within(const struct entry_view *s, u64 address, u64 count)
{
    if (!count || !within(s, address))
        return true; // other rules speak
    u64 last = address + 16 * count - 1;
    return last >= address && within(s, last);
}
