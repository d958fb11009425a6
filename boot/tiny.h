// SPDX-License-Identifier: MIT
// The built-in guests: the default run and the measurements.
#pragma once

#include "boot/mbi.h"
#include "vmx/hypervisor.h"

// Runs the tiny guest in long mode, protected mode and (with unrestricted guest) real mode, one
// after the other on the identity map. The run's status.
int tiny_run(struct hypervisor *hv);

// Runs the VMs that the modules describe, one after the other, each in memory of its own. Every
// line and image is checked before the first VM starts; only images in Corbel's own format
// (guest/abi.h) are loaded, the others are refused by name. The run's status.
int tiny_run_modules(struct hypervisor *hv, const struct boot_info *info);
