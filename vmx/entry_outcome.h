// SPDX-License-Identifier: MIT
// What became of a VM entry, and what the rules say must become of it. Pure.
#pragma once

#include "vmx/entry_break.h"

enum entry_outcome_kind {
    OUTCOME_ENTERED,      // number is the reason of the VM exit that came at last
    OUTCOME_FAULT,        // number is the exception's vector
    OUTCOME_FAIL_INVALID, // VMfailInvalid
    OUTCOME_FAIL_VALID,   // VMfailValid: number is the VM-instruction error
    OUTCOME_FAILED_EXIT,  // VM exit by failed entry: number is its basic reason
};

struct entry_outcome {
    enum entry_outcome_kind kind;
    u32 number;
    u64 qualification; // OUTCOME_FAILED_EXIT
};

// What a CPU does that finds this rule alone violated. SDM volume 3, "VM Entries".
struct entry_outcome entry_outcome_of(const struct entry_rule *rule);

bool entry_outcome_equal(const struct entry_outcome *a, const struct entry_outcome *b);

// "entered, exit 52", "#UD", "VMfailInvalid", "error 7", "exit 33", "exit 34, qualification 1".
void entry_outcome_text(char *buf, size_t size, const struct entry_outcome *outcome);

// Whether a CPU that knows the rules, but for those in lax, may answer with this outcome when these
// are violated: entered if none is left, else as one of the violated rules says of the first stage
// that has any. The stages are the instruction, the controls with the host's state, the guest's
// state, and the MSR list; within a stage the CPU checks in any order.
bool entry_outcome_fits(const struct entry_outcome *outcome, const struct entry_rule_set *violated,
                        const struct entry_rule_set *lax);
