// SPDX-License-Identifier: MIT
// What VM entry checks, a rule a row, so that a refused entry can be explained: SDM volume 3,
// chapter "VM Entries". Pure: the VMCS is read through a callback, the CPU described by its
// capabilities, so the same rules judge an entry that Corbel emulates.
#pragma once

#include "vmx/caps.h"

// The section a rule is from. Its group tells how the CPU reports a violation.
enum entry_section {
    SECTION_BASIC,
    SECTION_EXEC,
    SECTION_EXIT,
    SECTION_ENTRY,
    SECTION_HOST_REGS,
    SECTION_HOST_SEGS,
    SECTION_SPACE,
    SECTION_GUEST_REGS,
    SECTION_GUEST_SEGS,
    SECTION_GUEST_TABLES,
    SECTION_GUEST_RIP,
    SECTION_GUEST_OTHER,
    SECTION_PDPTES,
    SECTION_LOADING,
    SECTION_COUNT
};

enum entry_group {
    ENTRY_BASIC,    // #UD, #GP, VMfailInvalid or an error of its own
    ENTRY_CONTROLS, // VM-instruction error 7
    ENTRY_HOST,     // VM-instruction error 8
    ENTRY_GUEST,    // VM exit with reason 33
    ENTRY_MSR_LOAD, // VM exit with reason 34
};

// RULE_C8, RULE_S21, ...: the index in entry_rules.
#define RULE(id, ...)         RULE_##id,
#define SEGMENT_RULE(id, ...) RULE_##id,
enum entry_rule_id {
#include "vmx/entry_controls.def"
#include "vmx/entry_guest.def"
    RULE_COUNT
};
#undef RULE
#undef SEGMENT_RULE

#define ENTRY_FIELDS   4
#define ENTRY_NO_FIELD 0xffff

struct entry_rule {
    const char *what, *legal;     // formats: see entry_check
    u16 fields[ENTRY_FIELDS + 1]; // encodings of the fields judged, up to ENTRY_NO_FIELD
    char id[4];                   // "C8", "S21": never given to another rule
    u8 section;                   // enum entry_section
    u8 segments; // judged for each of these (bits by enum vmcs_segment); fields are those of ES
};

extern const struct entry_rule entry_rules[];
extern const unsigned entry_rules_count;

// The rule of this name, such as "C8"; NULL: there is none.
const struct entry_rule *entry_rule_find(const char *id, size_t length);

// Whether each byte of IA32_PAT names a memory type: SDM volume 3, "Page Attribute Table (PAT)".
bool entry_pat_ok(u64 pat);

// The section's title in the SDM.
const char *entry_section_title(enum entry_section section);
enum entry_group entry_section_group(enum entry_section section);

enum entry_msr_verdict {
    ENTRY_MSR_LOADS,
    ENTRY_MSR_MODEL,  // not to be loaded by VM entry on this model
    ENTRY_MSR_FAULTS, // WRMSR of this value would raise #GP
};

#define ENTRY_NO_VMCS ~0ull

// The fields of a VMCS by a number made from the encoding, so that a rule finds its own with one
// load: type and width, and the index among those. SDM volume 3, "Field Encoding in VMCS".
#define ENTRY_SLOTS (16u * 40u)
#define ENTRY_SLOT(field)                                                                          \
    ((((field) >> 13 & 3u) * 4u + ((field) >> 10 & 3u)) * 40u + ((field) >> 1 & 0x1ffu))
struct entry_values {
    u64 value[ENTRY_SLOTS]; // 0 where the CPU has no such field
    bool present[ENTRY_SLOTS];
};

// All a check looks at. Callbacks get ctx.
struct entry_state {
    const struct vmx_caps *caps;
    void *ctx;
    // The field of the VMCS by its encoding; false: this CPU has no such field. NULL: values holds
    // them already.
    bool (*read)(void *ctx, u32 field, u64 *value);
    struct entry_values *values; // filled by the check where there is read
    // size bytes (up to 32) of memory; false: they cannot be read. May be NULL.
    bool (*memory)(void *ctx, hpa_t address, void *buf, u32 size);
    // May be NULL.
    enum entry_msr_verdict (*load_msr)(void *ctx, u32 index, u64 value);

    // The entry.
    u64 current_vmcs; // host-physical; ENTRY_NO_VMCS: there is none
    bool shadow;      // it is a shadow VMCS
    bool launched;    // its launch state
    bool resume;      // VMRESUME, not VMLAUNCH
    // The CPU's state.
    u8 cpl;
    bool vmx_operation;
    bool mov_ss_blocking;
    bool lma; // IA32_EFER.LMA
    bool smm;
    bool tracing; // IA32_RTIT_CTL.TraceEn
    // The CPU's features.
    u8 linear_bits;
    bool rtm, sgx, bus_lock;
    // The bits of MSRs that are not reserved on this CPU; ~0 where that is not known.
    u64 efer, debugctl, perf_global_ctrl, rtit_ctl, lbr_ctl;
};

typedef void (*entry_violation_fn)(void *ctx, const struct entry_rule *rule, const char *what,
                                   const char *legal);

// Calls violation (NULL: nothing) for every rule that the state violates (for a rule on several
// segments or on an MSR list, for each of them) and returns how many calls that were. what says
// what is wrong, with the fields' values; legal what would be right; both last for the call only.
// Not judged: rules on fields that cannot be read, and rules on memory that cannot.
//
// The CPU does not go on to the guest's state when the controls or the host's state are bad, and
// within a group it stops at the first violation it sees, which may be any.
unsigned entry_check(const struct entry_state *state, entry_violation_fn violation, void *ctx);

// Rules, as a set.
struct entry_rule_set {
    u64 words[5];
};
_Static_assert(RULE_COUNT <= 5 * 64, "entry_rule_set is too small");

static inline void entry_rule_set_add(struct entry_rule_set *set, const struct entry_rule *rule)
{
    size_t index = (size_t)(rule - entry_rules);
    set->words[index / 64] |= BIT(index % 64);
}

static inline bool entry_rule_set_has(const struct entry_rule_set *set, unsigned index)
{
    return set->words[index / 64] & BIT(index % 64);
}

bool entry_rule_set_empty(const struct entry_rule_set *set);

// The first rule of the set from this index on; RULE_COUNT: there is none.
unsigned entry_rule_set_next(const struct entry_rule_set *set, unsigned from);
#define rule_set_for_each(i, set)                                                                  \
    for (unsigned i = entry_rule_set_next(set, 0); i < RULE_COUNT;                                 \
         i = entry_rule_set_next(set, i + 1))

// As entry_check(), with no words made: the rules that the state violates.
void entry_rule_set_check(const struct entry_state *state, struct entry_rule_set *violated);
