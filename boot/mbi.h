// SPDX-License-Identifier: MIT
// The boot information, read once with every bound checked and copied out, so that the memory it
// came in can be used again.
#pragma once

#include "boot/memmap.h"
#include "boot/why.h"

#define BOOT_LINE_MAX    1024u // a command line with its terminator
#define BOOT_MODULES_MAX 16u
#define BOOT_RSDP_MAX    36u // ACPI specification, "Root System Description Pointer (RSDP)"

struct boot_module {
    u64 start; // host-physical, bytes
    u64 size;  // bytes
    char line[BOOT_LINE_MAX];
};

enum boot_framebuffer_kind { BOOT_FB_NONE, BOOT_FB_INDEXED, BOOT_FB_RGB, BOOT_FB_EGA_TEXT };

struct boot_channel {
    u8 position; // of its lowest bit in the pixel
    u8 size;     // bits
};

struct boot_framebuffer {
    enum boot_framebuffer_kind kind;
    u64 address; // host-physical, may be above 4 GiB
    u32 pitch;   // bytes a line
    u32 width;   // pixels; characters for EGA text
    u32 height;
    u8 bpp;
    struct boot_channel red, green, blue; // BOOT_FB_RGB only
};

struct boot_info {
    u32 size; // bytes the original takes
    char cmdline[BOOT_LINE_MAX];
    char loader[64];
    struct boot_module modules[BOOT_MODULES_MAX];
    unsigned nmodules;
    struct mem_entry memory[MEM_ENTRIES_MAX]; // as given: see memmap_build()
    unsigned nmemory;
    bool memory_from_efi; // there was only the EFI memory map
    struct boot_framebuffer framebuffer;
    u8 rsdp[BOOT_RSDP_MAX]; // a copy: that of ACPI 2.0 where there are two
    u32 rsdp_size;          // 0 where there is none
    u64 efi_system_table;   // host-physical; 0 unless booted by UEFI
    unsigned efi_bits;      // 32 or 64, 0 unless booted by UEFI
    u64 load_base;          // host-physical, where the image was put; valid if has_load_base
    bool has_load_base;
};

// Reads the boot information at data, of which at most max bytes may be touched. Alignment does not
// matter. On failure why says in one line what is wrong: E_TRUNC if something ends too early,
// E_FORMAT if it makes no sense, E_NOMEM if there is more than Corbel keeps, E_UNSUPP if EFI boot
// services still run, E_NOENT if no memory map is there.
MUST_CHECK int mbi_parse(const void *data, size_t max, struct boot_info *info, struct why *why);

#define BOOT_RESERVED_MAX (BOOT_MODULES_MAX + 8u)

// Lists what of the usable memory is taken at boot: page 0, from ebda (host-physical, 0 if it is
// not known) or A0000 to FFFFF, image, the boot information itself at mbi (host-physical), the
// modules and the framebuffer. Returns how many ranges there are, for memmap_free(); they are in no
// order.
unsigned boot_reserved(const struct boot_info *info, struct mem_range image, u64 mbi, u64 ebda,
                       struct mem_range out[BOOT_RESERVED_MAX]);
