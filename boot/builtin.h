// SPDX-License-Identifier: MIT
// The built-in guests, which run where no module says what else to run.
#pragma once

#include "vmx/hypervisor.h"

// Runs the tiny guest in long mode, protected mode and (with unrestricted guest) real mode, one
// after the other on the identity map. The run's status.
int builtin_run(struct hypervisor *hv);
