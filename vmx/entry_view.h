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

// A rule that is not kept, in this segment if it is on several; or by an entry of the MSR list. One
// on a field that the CPU lacks is dropped here.
struct entry_violations;
void entry_violated(struct entry_violations *to, enum entry_rule_id rule, u32 seg);
void entry_violated_by_msr(struct entry_violations *to, enum entry_rule_id rule, const u64 *v);

// Judges all rules but those on the MSR list.
void entry_judge_rules(const struct entry_view *view, struct entry_violations *to);
// Judges those, v being an entry's index, reserved half and value.
void entry_judge_msr(const struct entry_view *view, const u64 *v, struct entry_violations *to);

// The number that the rule's legal names.
u64 entry_rule_number(enum entry_rule_id rule, const struct entry_view *view, const u64 *v);

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
