// SPDX-License-Identifier: MIT
// How the machine ends.
#pragma once

#include "arch/x86_64/lib/types.h"

enum end_how {
    END_HALT,     // stop here, interrupts off
    END_RESET,    // start the machine anew
    END_EMULATOR, // end the emulator's run with a status; halt where there is none
};

// The FADT's reset register (ACPI specification, "Reset Register"), already checked to be there.
struct reset_register {
    enum { RESET_MEMORY, RESET_PORT } space;
    u64 address; // port, or host-physical
    u8 value;
};

// Remembers the register for END_RESET; memory is where it is mapped, if it lies there (NULL: it
// cannot be, and is not used).
void power_set_reset(const struct reset_register *reg, volatile u8 *memory);

// Ends the emulator: status 0 is success, with which Bochs (port 8900H) exits cleanly, with any
// other status as for a failure; QEMU's isa-debug-exit at F4H exits with 2 * status + 1. Returns
// where there is neither.
void emulator_exit(int status);

// Ends the run: END_RESET tries the FADT's register, CF9, the keyboard controller and a triple
// fault in this order; anything else halts. No CPU may be in VMX operation, in which INIT is
// blocked and a reset through it would hang. May be called from the crash screen.
NORETURN void machine_end(enum end_how how);
