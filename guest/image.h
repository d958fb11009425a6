// SPDX-License-Identifier: MIT
// What kind of kernel a file is, found by looking into it.
#pragma once

#include "arch/x86_64/lib/types.h"

enum image_format {
    FORMAT_FLAT,       // nothing known: code from its first byte on
    FORMAT_CORBEL,     // starts with the record of guest/abi.h
    FORMAT_BZIMAGE,    // Linux kernel documentation, "The Linux/x86 Boot Protocol"
    FORMAT_MULTIBOOT,  // Multiboot specification, "OS image format"
    FORMAT_MULTIBOOT2, // Multiboot2 specification, "OS image format"
    FORMAT_ELF,        // an ELF with neither header: nothing says how to start it
};

struct image {
    enum image_format format;
    bool elf;          // an ELF file, whatever its format
    u32 header_offset; // of the Multiboot header or of Linux's setup header, bytes; else 0
    u32 header_size;   // bytes, as far as the format's own rules give it; else 0
};

// Looks at a file of size bytes, none of which is changed and only the first 32 KiB of which are
// looked at. Where a file answers to several formats the order is Corbel, bzImage,
// Multiboot2, Multiboot.
// E_TRUNC if it is empty or ends inside the header that its format says it has: image->format then
// tells which.
MUST_CHECK int image_detect(const void *file, u64 size, struct image *image);

// For messages: "bzImage", "Multiboot2 kernel" and so on.
const char *image_format_name(enum image_format format);
