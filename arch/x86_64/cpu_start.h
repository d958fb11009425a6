// SPDX-License-Identifier: MIT
// The decisions in starting the other CPUs: which, in which APIC mode, with which messages, and
// whether one that is up is like the boot CPU. Nothing here touches the hardware.
#pragma once

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu_features.h"

// CPUs that can be started: enabled, and not the boot CPU, whose APIC ID is boot_id.
unsigned cpu_start_count(const struct acpi_info *acpi, u32 boot_id);

// Bytes of memory they take: each its struct cpu, its stacks and its VMXON region. Firmware that
// names more CPUs than there can be does not get all memory for them: at most an eighth of usable.
u64 cpu_start_memory(const struct acpi_info *acpi, u32 boot_id, u64 usable);

// Whether one of them can be reached in x2APIC mode only: an xAPIC's IDs have 8 bits, of which FFH
// means all CPUs.
bool cpu_start_needs_x2apic(const struct acpi_info *acpi);
#define XAPIC_ID_MAX 0xfeu

// How a CPU is woken: SDM volume 3, "MP Initialization Protocol Algorithm for MP Systems".
struct cpu_waker {
    void (*ipi)(void *ctx, u32 apic_id, u32 icr);
    void (*spin_us)(void *ctx, u32 us);
    bool (*alive)(void *ctx, u32 us); // waits up to us microseconds for its first sign of life
    void *ctx;
};

// INIT, 10 ms, SIPI, and another one if 200 us pass without a sign of life, for which a second is
// waited then. page is the trampoline's number, its physical address / 4 KiB, 0 to 9FH. False if
// the CPU does not come up.
bool cpu_wake(const struct cpu_waker *waker, u32 apic_id, u8 page);

// An INIT and nothing else: the CPU waits for a SIPI that does not come.
void cpu_send_to_sleep(const struct cpu_waker *waker, u32 apic_id);

// In words, what keeps a CPU from sharing the boot CPU's page tables and control registers; or
// NULL.
const char *cpu_difference(const struct cpu_features *cpu, const struct cpu_features *boot);
