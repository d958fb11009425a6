// SPDX-License-Identifier: MIT
// The text of the crash screen: at most 80 columns, and with the backtrace within 25 rows.
#pragma once

#include "arch/x86_64/traps.h"

#define CRASH_BACKTRACE 9u // frames shown at most

struct crash_info {
    const struct trap_frame *frame; // NULL for a panic
    const char *message;            // of a panic, else NULL
    const char *machine;            // what crashed, and on what; NULL: not known yet
    u32 apic_id;                    // of the CPU that crashed
    u64 cr0, cr2, cr3, cr4;
    bool in_guard; // cr2 lies in a stack's guard page
    // Where the backtrace begins. For a panic: in panic()'s caller.
    u64 rip, rsp, rbp;
    // Reads one byte at a linear address that may not be mapped; false if it is not.
    bool (*peek)(u64 addr, u8 *value);
};

// Writes the report into buf, terminated and cut to size (> 0). Returns its length.
size_t crash_format(char *buf, size_t size, const struct crash_info *info);

// The one line for a crash while the report was being made.
size_t crash_format_again(char *buf, size_t size, const struct crash_info *info);
