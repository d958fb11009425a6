// SPDX-License-Identifier: MIT
// break=: the tiny guest with its VMCS broken on purpose, to see the report that says so.
#pragma once

#include "vmx/entry_break.h"
#include "vmx/hypervisor.h"

// For each of the rules a fresh tiny guest whose VMCS violates that rule alone. The run's status:
// STATUS_BAD_BOOT, with nothing run, if one of them cannot be broken here (logged by name);
// STATUS_FAILED as soon as one guest did not run to its end, which is what breaking is for.
int break_run(struct hypervisor *hv, const struct entry_rule_set *rules);
