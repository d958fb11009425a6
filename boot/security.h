// SPDX-License-Identifier: MIT
// What is on against hostile guests, as docs/security.md lists it.
#pragma once

#include "boot/cmdline.h"
#include "vmx/hypervisor.h"

// Logs which protections Corbel itself runs under. Needs the final page tables.
void security_tell_host(void);

// Decides hv->mitigations and sets this CPU's IA32_SPEC_CTRL accordingly, which is the one that
// guests run on; logs that and what else guests could do. For a CPU that can run guests.
void security_start(const struct options *options, struct hypervisor *hv);
