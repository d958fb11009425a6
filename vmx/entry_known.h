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

// The rules that the machine does not check, or not always.
void entry_known_lax(enum entry_platform platform, struct entry_rule_set *lax);

// Adds to violated the rule that stands for what the machine asks beyond the SDM, if the state
// lacks it.
void entry_known_strict(enum entry_platform platform, const struct entry_state *state,
                        struct entry_rule_set *violated);
