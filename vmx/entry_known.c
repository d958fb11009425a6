// SPDX-License-Identifier: MIT
#include "vmx/entry_known.h"

#include "arch/x86_64/lib/bits.h"
#include "vmx/vmcs.h"

const char *entry_platform_name(enum entry_platform platform)
{
    return platform == PLATFORM_BOCHS ? "Bochs" : "unknown";
}

static const struct {
    u16 rule;
    const char *why;
} bochs_fatal[] = {
    {RULE_N4,  "Bochs panics when it injects an event of type 7"},
    {RULE_N5,  "Bochs panics when it injects an event of type 7"},
    {RULE_N17, "Bochs panics on entry to SMM"                   },
};

const char *entry_known_fatal(enum entry_platform platform, const struct entry_rule *rule)
{
    for (unsigned i = 0; platform == PLATFORM_BOCHS && i < ARRAY_SIZE(bochs_fatal); i++)
        if (bochs_fatal[i].rule == rule - entry_rules)
            return bochs_fatal[i].why;
    return NULL;
}

// Read in its source (cpu/vmx.cc), seen by run=grade and by the fuzzed states of the self-test. P1:
// bits 63:32 are not looked at. N9: not in real mode where VMX_BASIC[56] is 1. S12, S16, S22, S23,
// S26: not in all states.
static const u16 bochs_lax[] = {
    RULE_E4,  RULE_N9,  RULE_H5,  RULE_H9,  RULE_G7,  RULE_G8, RULE_G15,
    RULE_S12, RULE_S16, RULE_S22, RULE_S23, RULE_S26, RULE_R2, RULE_R6,
    RULE_M4,  RULE_M5,  RULE_M16, RULE_M17, RULE_P1,  RULE_P2, RULE_P3,
};

void entry_known_lax(enum entry_platform platform, struct entry_rule_set *lax)
{
    *lax = (struct entry_rule_set){0};
    for (unsigned i = 0; platform == PLATFORM_BOCHS && i < ARRAY_SIZE(bochs_lax); i++)
        entry_rule_set_add(lax, &entry_rules[bochs_lax[i]]);
}

// Bochs compares the RPL of CS with its DPL even for an unrestricted guest, where the SDM asks for
// nothing of the kind ("Checks on Guest Segment Registers"). S22, which it does not always see, is
// the rule next to it.
void entry_known_strict(enum entry_platform platform, const struct entry_state *state,
                        struct entry_rule_set *violated)
{
    const u64 *value = state->values->value;
    u64 ar = value[ENTRY_SLOT(VMCS_GUEST_CS_AR)], sel = value[ENTRY_SLOT(VMCS_GUEST_CS_SEL)];
    if (platform == PLATFORM_BOCHS && bits_get(ar, 6, 5) != bits_get(sel, 1, 0))
        entry_rule_set_add(violated, &entry_rules[RULE_S22]);
}
