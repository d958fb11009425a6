// SPDX-License-Identifier: MIT
// What the boot loader says of the screen: Multiboot2 specification, "Framebuffer info".
#pragma once

#include "arch/x86_64/lib/types.h"

enum screen_kind {
    SCREEN_NONE,
    SCREEN_TEXT,   // EGA text: cells of a character and an attribute
    SCREEN_PIXELS, // direct RGB
};

struct screen_channel {
    u8 position; // of its lowest bit in a pixel
    u8 size;     // bits
};

struct screen {
    enum screen_kind kind;
    void *memory; // mapped by the caller, write-combining or uncached, pitch * height bytes
    u32 pitch;    // bytes from one line (text: row) to the next
    u32 width;    // pixels (text: columns)
    u32 height;   // pixels (text: rows)
    u8 bpp;       // bits a pixel
    struct screen_channel red, green, blue;
};
