// SPDX-License-Identifier: MIT
// The VMs that the boot modules describe.
#pragma once

#include "boot/cmdline.h"
#include "boot/mbi.h"
#include "vmx/hypervisor.h"

// Makes a VM with memory of its own for each kernel module, loads it and runs all of them side by
// side until the last has ended, with the input for their consoles. A module line that makes no
// sense refuses the run; a kernel or initrd that cannot be loaded refuses its VM, and the others
// run. The run's status.
int guests_run(struct hypervisor *hv, const struct boot_info *info,
               const struct input_choice *input);
