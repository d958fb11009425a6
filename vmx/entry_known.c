// SPDX-License-Identifier: MIT
#include "vmx/entry_known.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/seg.h"
#include "vmx/events.h"
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

// Seen by run=grade.
static const u16 bochs_unchecked[] = {
    RULE_E4, RULE_H5, RULE_H9,  RULE_G7,  RULE_G8, RULE_G15, RULE_R2,
    RULE_R6, RULE_M4, RULE_M16, RULE_M17, RULE_P2, RULE_P3,
};

// Seen by the self-test that tries states by chance. N9: with VMX_BASIC[56] = 1 not for every
// event; S22, S26: not for every segment; P1: not bits 63:32.
static const u16 bochs_lax[] = {
    RULE_N9,
    RULE_S22,
    RULE_S26,
    RULE_P1,
};

bool entry_known_unchecked(enum entry_platform platform, const struct entry_rule *rule)
{
    for (unsigned i = 0; platform == PLATFORM_BOCHS && i < ARRAY_SIZE(bochs_unchecked); i++)
        if (bochs_unchecked[i] == rule - entry_rules)
            return true;
    return false;
}

void entry_known_lax(enum entry_platform platform, struct entry_rule_set *lax)
{
    *lax = (struct entry_rule_set){0};
    if (platform != PLATFORM_BOCHS)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(bochs_unchecked); i++)
        entry_rule_set_add(lax, &entry_rules[bochs_unchecked[i]]);
    for (unsigned i = 0; i < ARRAY_SIZE(bochs_lax); i++)
        entry_rule_set_add(lax, &entry_rules[bochs_lax[i]]);
}

// The rules on a usable SS.
static const u16 on_ss[] = {
    RULE_S12, RULE_S16, RULE_S20, RULE_S28, RULE_S30, RULE_S34, RULE_S35, RULE_S37,
};

void entry_known_state(enum entry_platform platform, const struct entry_state *state,
                       struct entry_rule_set *violated, struct entry_rule_set *lax)
{
    const u64 *value = state->values->value;
    u64 ar = value[ENTRY_SLOT(VMCS_GUEST_CS_AR)];

    if (platform != PLATFORM_BOCHS)
        return;
    // It takes a null selector in SS of a 64-bit guest for an unusable SS, whatever its rights say.
    if ((value[ENTRY_SLOT(VMCS_ENTRY_CTLS)] & ENTRY_IA32E) && (ar & AR_L) &&
        !(value[ENTRY_SLOT(VMCS_GUEST_SS_SEL)] & SEL_INDEX))
        for (unsigned i = 0; i < ARRAY_SIZE(on_ss); i++)
            entry_rule_set_add(lax, &entry_rules[on_ss[i]]);
    // It compares the RPL of CS with its DPL even for an unrestricted guest, where the SDM asks for
    // nothing of the kind ("Checks on Guest Segment Registers"). S22, which it does not always see,
    // is the rule next to it.
    if (bits_get(ar, 6, 5) != (value[ENTRY_SLOT(VMCS_GUEST_CS_SEL)] & SEL_RPL))
        entry_rule_set_add(violated, &entry_rules[RULE_S22]);
    // It wants an exception's error code where there is no unrestricted guest too, whatever PE is:
    // a state that G1 forbids.
    if ((value[ENTRY_SLOT(VMCS_ENTRY_INTR_INFO)] & INTR_INFO_VALID) &&
        !(value[ENTRY_SLOT(VMCS_GUEST_CR0)] & CR0_PE) &&
        !(value[ENTRY_SLOT(VMCS_PROC_CTLS2)] & PROC2_UNRESTRICTED))
        entry_rule_set_add(violated, &entry_rules[RULE_N9]);
}
