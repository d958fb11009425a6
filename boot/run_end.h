// SPDX-License-Identifier: MIT
// How a run ends.
#pragma once

#include "arch/x86_64/power.h"

// The status a run ends with; docs/boot.md.
enum run_status {
    STATUS_READY = -1, // it does not yet: guests are ready to run
    STATUS_OK = 0,
    STATUS_FAILED = 1,    // a VM or a test failed
    STATUS_BAD_BOOT = 2,  // command line, module or memory
    STATUS_NO_GUESTS = 3, // this machine cannot run guests
    STATUS_CRASHED = 4,
};

// Sets how run_end() ends the machine.
void run_end_by(enum end_how by);

// Prints the last line, leaves VMX operation and ends the machine.
NORETURN void run_end(int status);
