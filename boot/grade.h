// SPDX-License-Identifier: MIT
// run=grade: each rule of VM entry broken by itself, the entry tried, and what the CPU does set
// beside what the rules say.
#pragma once

#include "vmx/entry_known.h"
#include "vmx/hypervisor.h"

// Prints a line a rule, "grade", rule, section, predicted, observed, verdict with tabs between, and
// the sums. The run's status: a verdict other than "agree" is no failure.
int grade_run(struct hypervisor *hv);

// Why this CPU cannot be given a VMCS that violates this rule alone, in this segment where it is on
// several; NULL: it can. Nothing is entered.
const char *grade_obstacle(struct hypervisor *hv, const struct entry_rule *rule, u32 seg);

// The machine that this is, as far as its VM entry goes.
enum entry_platform grade_platform(const struct hypervisor *hv);
