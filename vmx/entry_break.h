// SPDX-License-Identifier: MIT
// How to break each VM-entry rule, and if it can be done only that one: edits to a VMCS that any
// CPU enters. Pure: what is edited is reached through callbacks, so the same table serves a running
// CPU and machines that tests make up.
#pragma once

#include "vmx/entry_rules.h"

// The guest that a break starts from. Edits turn the first, which is what vcpu_start() makes of
// IMAGE_LONG, into the others.
enum entry_baseline {
    BASE_LONG,
    BASE_COMPAT,
    BASE_PAE,
    BASE_PROT32, // 32-bit paging
    BASE_V86,
    BASE_FLAT, // protected mode without paging: needs unrestricted guest
    BASE_REAL, // the same
    BASE_COUNT
};

// What an edit may change beside the fields of the VMCS: how the entry is made.
enum entry_manner {
    MANNER_RESUME = 1u << 0,      // VMRESUME
    MANNER_LAUNCHED = 1u << 1,    // the VMCS has been launched before
    MANNER_MOV_SS = 1u << 2,      // the instruction before it is MOV to SS
    MANNER_NO_VMCS = 1u << 3,     // there is no current VMCS
    MANNER_SHADOW = 1u << 4,      // the current VMCS is a shadow VMCS
    MANNER_OUTSIDE_VMX = 1u << 5, // after VMXOFF
};

// The memory that edits fill and let fields point to, zero at first: virtual-APIC page, VMCS,
// PDPTEs, MSR list.
#define ENTRY_SCRATCH_SIZE 0x4000u

struct entry_break_target {
    const struct vmx_caps *caps;
    hpa_t scratch; // ENTRY_SCRATCH_SIZE bytes
    hpa_t vmcs;    // the current VMCS
    void *ctx;
    // Each false: this CPU has no such field.
    bool (*read)(void *ctx, u32 field, u64 *value);
    bool (*write)(void *ctx, u32 field, u64 value);
    // 32 bits of the scratch memory.
    u32 (*memory_read)(void *ctx, u32 offset);
    void (*memory_write)(void *ctx, u32 offset, u32 value);
    void (*manner)(void *ctx, u32 set); // bits of enum entry_manner
};

// A row of the table, opaque.
struct entry_edit;
typedef const struct entry_edit *entry_break;

// The break of this rule; NULL: it cannot be broken from here, and entry_unbreakable() says why.
entry_break entry_break_find(const struct entry_rule *rule);
const char *entry_unbreakable(const struct entry_rule *rule);

// Makes the target, which is in BASE_LONG, the one that the break starts from. A CPU that lacks
// what this needs lacks a field (false) or violates a rule afterwards. seg is the segment (enum
// vmcs_segment) that a rule on several segments is to be broken for; 0 otherwise.
bool entry_break_prepare(entry_break what, const struct entry_break_target *target, u32 seg);

// Breaks the rule: the violation alone.
bool entry_break_violate(entry_break what, const struct entry_break_target *target, u32 seg);

// The guest of BASE_LONG in another mode.
bool entry_baseline_make(enum entry_baseline base, const struct entry_break_target *target);
const char *entry_baseline_name(enum entry_baseline base);

// Whether violated, the rules found with entry_check(), has the break's rule and none but those it
// necessarily breaks too.
bool entry_break_alone(entry_break what, const struct entry_rule_set *violated);
