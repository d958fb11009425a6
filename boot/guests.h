// SPDX-License-Identifier: MIT
// The VMs that the boot modules describe.
#pragma once

#include "boot/cmdline.h"
#include "boot/guest_console.h"
#include "boot/mbi.h"
#include "boot/modline.h"
#include "guest/kernel.h"
#include "guest/pc.h"
#include "vmx/hypervisor.h"
#include "vmx/sched.h"

// One VM of this run.
struct guest {
    const struct module_role *role; // of its kernel
    char args[BOOT_LINE_MAX];       // the guest's command line
    struct boot_file kernel, initrd;
    struct pc_memory memory;
    struct cell *cell; // NULL: it does not run
    struct guest_console *console;
    u64 cleared; // bytes of its memory, while it is being reset
    struct log_limit resets;
    bool tell; // of this reset
};

struct guests {
    struct hypervisor *hv;
    struct module_role roles[BOOT_MODULES_MAX];
    struct guest list[SCHED_VMS];
    unsigned count;
    struct sched sched;
    struct terminal terminal;
    struct guest_console consoles[SCHED_VMS];
    unsigned failed;  // VMs that ended otherwise than a guest ends by itself
    unsigned refused; // VMs that were never started
};

// Makes a VM with memory of its own for each kernel module and loads it, with the input for their
// consoles. A module line that makes no sense refuses the run, STATUS_BAD_BOOT; a kernel or initrd
// that cannot be loaded refuses its VM, and the others are made: STATUS_READY.
int guests_make(struct guests *g, struct hypervisor *hv, const struct boot_info *info,
                const struct input_choice *input);

// Puts a VM that was made into its state at power-on with its kernel loaded. Every error is logged.
MUST_CHECK int guest_prepare(const struct guest *guest);

// Logs that it starts.
void guest_report_start(const struct guest *guest);

// Runs them side by side until the last has ended. The run's status.
int guests_run(struct guests *g);
