// SPDX-License-Identifier: MIT
// The host's serial port as the source of what is typed for the guests.
#pragma once

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/serial.h"
#include "boot/cmdline.h"

struct host_input {
    struct serial *serial; // receiving; NULL: no input
    u64 poll;              // ticks between looks at it, 0: its interrupt tells of them
};

// Opens the port that was chosen, routes its interrupt to this CPU and tries whether it arrives;
// where it does not, the port is to be polled. sched_host_work() is called
// when something has come. Says in a line what came of it. Needs machine_time.
struct host_input host_input_open(const struct input_choice *choice, const struct acpi_info *acpi);
