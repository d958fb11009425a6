// SPDX-License-Identifier: MIT
// The boot information as a loader hands it over: Multiboot2 specification, "Boot information".
//
// Every structure is packed: it is read where the loader put it, after its tag's size was checked.
#pragma once

#include "arch/x86_64/lib/types.h"

#define MB2_BOOT_MAGIC 0x36d76289u // EAX on entry
#define MB2_TAG_ALIGN  8u

enum mb2_tag_type {
    MB2_TAG_END = 0,
    MB2_TAG_CMDLINE = 1,
    MB2_TAG_LOADER_NAME = 2,
    MB2_TAG_MODULE = 3,
    MB2_TAG_BASIC_MEMINFO = 4,
    MB2_TAG_BIOS_BOOTDEV = 5,
    MB2_TAG_MMAP = 6,
    MB2_TAG_VBE = 7,
    MB2_TAG_FRAMEBUFFER = 8,
    MB2_TAG_ELF_SECTIONS = 9,
    MB2_TAG_APM = 10,
    MB2_TAG_EFI32 = 11,
    MB2_TAG_EFI64 = 12,
    MB2_TAG_SMBIOS = 13,
    MB2_TAG_ACPI_OLD = 14,
    MB2_TAG_ACPI_NEW = 15,
    MB2_TAG_NETWORK = 16,
    MB2_TAG_EFI_MMAP = 17,
    MB2_TAG_EFI_BOOT_SERVICES = 18,
    MB2_TAG_EFI32_IMAGE = 19,
    MB2_TAG_EFI64_IMAGE = 20,
    MB2_TAG_LOAD_BASE = 21,
};

struct mb2_info {
    u32 total_size; // of the whole, this field included
    u32 reserved;
} PACKED;

struct mb2_tag {
    u32 type;
    u32 size; // with this header, without the padding to the next tag
} PACKED;

struct mb2_module {
    struct mb2_tag tag;
    u32 start;
    u32 end;
    char string[];
} PACKED;

struct mb2_mmap {
    struct mb2_tag tag;
    u32 entry_size; // may grow: step by it
    u32 entry_version;
} PACKED;

struct mb2_mmap_entry {
    u64 base;
    u64 length;
    u32 type;
    u32 reserved;
} PACKED;

enum mb2_memory_type {
    MB2_MEMORY_AVAILABLE = 1,
    MB2_MEMORY_RESERVED = 2,
    MB2_MEMORY_ACPI = 3,
    MB2_MEMORY_NVS = 4,
    MB2_MEMORY_BAD = 5,
};

struct mb2_framebuffer {
    struct mb2_tag tag;
    u64 address;
    u32 pitch; // bytes a line
    u32 width;
    u32 height;
    u8 bpp;
    u8 kind; // enum mb2_framebuffer_kind
    u16 reserved;
} PACKED;

// Follows where kind is MB2_FRAMEBUFFER_RGB. (Its place is that of the specification's multiboot2.h
// and of GRUB, two reserved bytes after kind; the text shows one.)
struct mb2_rgb {
    u8 red_position, red_size;
    u8 green_position, green_size;
    u8 blue_position, blue_size;
} PACKED;

enum mb2_framebuffer_kind {
    MB2_FRAMEBUFFER_INDEXED = 0,
    MB2_FRAMEBUFFER_RGB = 1,
    MB2_FRAMEBUFFER_EGA_TEXT = 2,
};

struct mb2_efi_mmap {
    struct mb2_tag tag;
    u32 descr_size; // step by it: firmware's descriptors are often 48 bytes
    u32 descr_version;
} PACKED;

// UEFI specification, "EFI_BOOT_SERVICES.GetMemoryMap()", EFI_MEMORY_DESCRIPTOR.
struct efi_memory_descriptor {
    u32 type;
    u32 pad;
    u64 physical_start;
    u64 virtual_start;
    u64 pages; // of 4 KiB
    u64 attribute;
} PACKED;

enum efi_memory_type {
    EFI_RESERVED = 0,
    EFI_LOADER_CODE = 1,
    EFI_LOADER_DATA = 2,
    EFI_BOOT_SERVICES_CODE = 3,
    EFI_BOOT_SERVICES_DATA = 4,
    EFI_RUNTIME_CODE = 5,
    EFI_RUNTIME_DATA = 6,
    EFI_CONVENTIONAL = 7,
    EFI_UNUSABLE = 8,
    EFI_ACPI_RECLAIM = 9,
    EFI_ACPI_NVS = 10,
    EFI_MMIO = 11,
    EFI_MMIO_PORT = 12,
    EFI_PAL_CODE = 13,
    EFI_PERSISTENT = 14,
};

_Static_assert(sizeof(struct mb2_mmap_entry) == 24, "Multiboot2 memory map entry");
_Static_assert(sizeof(struct mb2_framebuffer) == 32, "Multiboot2 framebuffer tag");
_Static_assert(sizeof(struct efi_memory_descriptor) == 40, "EFI memory descriptor");
