// SPDX-License-Identifier: MIT
// What a run does once the machine is up, and how it ends.
#pragma once

#include "boot/cmdline.h"
#include "boot/mbi.h"
#include "vmx/hypervisor.h"

// The status a run ends with; docs/boot.md.
enum run_status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,    // a VM or a test failed
    STATUS_BAD_BOOT = 2,  // command line, module or memory
    STATUS_NO_GUESTS = 3, // this machine cannot run guests
    STATUS_CRASHED = 4,
};

// Whether the run needs the laboratory: the tests, the measurements or the built-in guests.
bool run_needs_lab(const struct options *options, const struct boot_info *info);

// Does what run= says and gives the status.
int run_mode(const struct options *options, const struct boot_info *info, struct hypervisor *hv);

// Prints the last line, leaves VMX operation and ends the machine.
NORETURN void run_end(const struct options *options, int status);
