// SPDX-License-Identifier: MIT
#include "vmx/entry_known.h"

#include "arch/x86_64/lib/bits.h"

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

static const u16 bochs_lax[] = {
    RULE_E4,
};

void entry_known_lax(enum entry_platform platform, struct entry_rule_set *lax)
{
    *lax = (struct entry_rule_set){0};
    for (unsigned i = 0; platform == PLATFORM_BOCHS && i < ARRAY_SIZE(bochs_lax); i++)
        entry_rule_set_add(lax, &entry_rules[bochs_lax[i]]);
}
