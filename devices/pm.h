// SPDX-License-Identifier: MIT
// The fixed hardware of ACPI: the PM1a event and control blocks and the power management timer
// (ACPI specification, "ACPI Hardware Specification": "PM1 Event Registers", "PM1 Control
// Registers", "Power Management Timer").
//
//   base + 0   PM1_STS   16 bits; writing 1 clears a bit
//   base + 2   PM1_EN    16 bits
//   base + 4   PM1_CNT   16 bits
//   base + 8   PM_TMR    32 bits, 3.579545 MHz, read only
//
// The machine is in ACPI mode for good: SCI_EN reads 1, and there is no SMI command port. Of the
// sleep states there is S5 alone, which turns the machine off; asked for another, it is awake again
// at once, with WAK_STS set. Events that happen: the timer's top bit changing, the power button.
// The enables of the global lock, the sleep button and the RTC can be set, as ACPICA insists, but
// nothing raises their status: no firmware shares the global lock, there is no such button, and the
// RTC's alarm has its own interrupt (FADT flags SLP_BUTTON, FIX_RTC and TMR_VAL_EXT are to be set).
//
// The timer is computed from the clock when somebody looks, and so is its status. There is a
// deadline only while a change of the top bit would raise the interrupt.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"

#define PM_TIMER_HZ 3579545ull

struct pm_config {
    u16 base;    // port of PM1_STS, a multiple of 16
    u8 soft_off; // the SLP_TYP that means S5
    const struct clock *clock;
    struct deadline_queue *queue; // with room for one deadline
    struct irq_pin sci;           // level, active high
    // The guest asks for S5. Called from within its access and returns: the run loop ends the VM.
    void (*power_off)(void *ctx);
    void *ctx;
};

struct pm {
    struct device dev;
    struct pm_config config;
    struct deadline carry;
    u64 epoch;   // ticks at which the timer was 0
    u64 carries; // changes of the timer's top bit that software has seen, by clearing TMR_STS
    u16 status;  // PM1_STS but for TMR_STS
    u16 enable;  // PM1_EN
    u16 control; // what PM1_CNT keeps
    bool line;   // what sci was last set to
    u32 other_sleeps;
};

void pm_init(struct pm *pm, const struct pm_config *config);

// Claims base to base+5 and base+8 to base+11; bus_attach's errors.
int pm_attach(struct pm *pm, struct bus *bus);

// The power button is pressed: sets PWRBTN_STS, which raises SCI if the guest has enabled it.
void pm_power_button(struct pm *pm);
