// SPDX-License-Identifier: MIT
// What the machine calls itself and how its memory lies, for reports from machines that nobody here
// has.
#pragma once

#include "boot/mbi.h"
#include "vmx/hypervisor.h"

// Logs maker, product and firmware as SMBIOS has them, or that it has none, the memory map and the
// memory types that the MTRRs give. hv has been through machine_vmx.
void identity_say(const struct boot_info *info, const struct hypervisor *hv);
