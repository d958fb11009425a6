// SPDX-License-Identifier: MIT
// Loading the kernel that a boot module brought, and its initial RAM disk: one loader a format.
// The VM has its RAM by then, cleared, as pc_memory_init() lays it out. A loader writes nothing but
// guest RAM. What is wrong with a file is logged once, with the VM's name and the numbers.
#pragma once

#include "guest/memory_map.h"
#include "guest/vm.h"

// A file in the host's memory, not changed.
struct boot_file {
    const u8 *data;
    u64 size; // bytes; 0: there is none
};

struct kernel_boot {
    struct boot_file kernel;
    struct boot_file initrd;
    const char *cmdline; // the guest's command line, terminated
    const struct pc_memory *memory;
    gpa_t rsdp; // what acpi_tables_write() gave; 0 if the VM has no ACPI tables
};

// Finds the kernel's format and loads it with that format's loader below. E_UNSUPP (logged) for an
// ELF file without a Multiboot header, and for Corbel's own images, which are guest_load()'s.
MUST_CHECK int kernel_load(struct vm *vm, const struct kernel_boot *boot,
                           struct guest_start *start);

// All loaders: E_TRUNC if the file ends too early, E_FORMAT if what it says makes no sense,
// E_UNSUPP if it asks for what Corbel has not, E_RANGE if the kernel or the initial RAM disk does
// not fit the VM's memory, or the command line where it belongs.

// A bzImage, by the 64-bit boot protocol: Linux kernel documentation, "The Linux/x86 Boot
// Protocol".
MUST_CHECK int linux_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start);

// Multiboot and Multiboot2 kernels, ELF of either class or by the addresses in their header, which
// is header bytes into the file, whole, as image_detect() found it. The initial RAM disk is their
// one module. They start in protected mode without paging, which needs unrestricted guest.
MUST_CHECK int multiboot1_load(struct vm *vm, const struct kernel_boot *boot, u64 header,
                               struct guest_start *start);
MUST_CHECK int multiboot2_load(struct vm *vm, const struct kernel_boot *boot, u64 header,
                               struct guest_start *start);

// A file without any header: loaded at 1 MiB, entered at its first byte as a Multiboot kernel is.
MUST_CHECK int flat_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start);

// For loaders: logs what is wrong with the VM's kernel and gives err back. Numbers go as ull, since
// %llu and u64 do not match.
typedef unsigned long long ull;
int kernel_refuse(const struct vm *vm, int err, const char *format, ...) PRINTF_LIKE(3, 4);
