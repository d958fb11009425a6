// SPDX-License-Identifier: MIT
// Machines whose VM entry is known to differ from the SDM, rule by rule. Pure.
#pragma once

#include "vmx/entry_break.h"

enum entry_platform {
    PLATFORM_ANY,   // nothing is known of it
    PLATFORM_BOCHS, // Bochs 2.7
};

const char *entry_platform_name(enum entry_platform platform);

// Why breaking this rule would bring the machine down; NULL: it may be tried.
const char *entry_known_fatal(enum entry_platform platform, const struct entry_rule *rule);

// Whether the machine never checks the rule.
bool entry_known_unchecked(enum entry_platform platform, const struct entry_rule *rule);

// The rules that the machine never checks, and those that it does not check in every state.
void entry_known_lax(enum entry_platform platform, struct entry_rule_set *lax);

// What the machine does in this state: adds to lax the rules that it then does not check, and to
// violated the rule that stands for what it asks beyond the SDM, if the state lacks it.
void entry_known_state(enum entry_platform platform, const struct entry_state *state,
                       struct entry_rule_set *violated, struct entry_rule_set *lax);
