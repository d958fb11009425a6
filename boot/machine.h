// SPDX-License-Identifier: MIT
// Bringing up the machine, step by step, as kmain lists it.
#pragma once

#include "arch/x86_64/acpi.h"
#include "boot/cmdline.h"
#include "boot/mbi.h"
#include "vmx/hypervisor.h"

// "0.1-" and the commit it was built from, with a + where more was changed; made by Makefile.
extern const char corbel_version[];

// The one there is. Passed on as a pointer; only self-tests, which nobody calls with one, name it.
extern struct hypervisor hypervisor;

// Reads ACPI's tables, which tell where the machine's parts are, orders the memory map, takes
// Corbel's own pool out of it, makes both frame pools and switches to the final page tables. mbi is
// the boot information's host-physical address. Without lab, guests get the laboratory's memory,
// where nothing may be touched any more, and will get the start's: see start_over(). Logs what is
// wrong.
int machine_memory(const struct boot_info *info, u64 mbi, bool lab, struct hypervisor *hv);

// Tells the crash screen which version and CPU this is. After cpu_read_features.
void machine_name_for_crash(void);

// Starts the console with what the options allow. Before machine_memory has succeeded the boot
// tables have to do: a screen below 4 GiB, and no UARTs in memory.
void machine_console(const struct boot_info *info, const struct options *options);

// Logs what the machine is: CPU, memory and ACPI's tables.
void machine_describe(const struct boot_info *info, const struct hypervisor *hv);

// TSC frequency, local APIC and timer. Needs machine_memory.
int machine_time(const struct options *options);

// What time it is, for the clocks of the VMs. Needs machine_time.
void machine_wallclock(struct hypervisor *hv);

// Logs the memory map as it was made of what the boot loader gave, a line a range.
void machine_tell_map(enum log_level level);

// How firmware's tables are read, wherever they are. Needs machine_memory.
const struct acpi_memory *machine_reader(void);

// What the tables said; empty if there are none.
const struct acpi_info *machine_acpi(void);

// Probes VMX, judges it, reads the MTRRs. The verdict is in hv.
void machine_vmx(const struct options *options, struct hypervisor *hv);
