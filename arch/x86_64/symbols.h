// SPDX-License-Identifier: MIT
// The names of the kernel's functions, for the crash screen: a table that tools/symbols.py makes
// from the first of two links.
#pragma once

#include "arch/x86_64/lib/types.h"

struct symbol_table {
    u64 base; // address of the first function
    u32 size; // bytes from base to the end of the last
    u32 count;
    const u32 *offsets; // from base, ascending
    const char *names;  // count strings one after another, in the same order; "": a gap starts here
};

// The kernel's own; empty in the first link.
extern const struct symbol_table symbol_table;

// The function that addr lies in and how far into it (offset: bytes; may be NULL), or NULL if addr
// lies in none. Walks the names: for reports, not for a hot path.
const char *symbol_lookup(const struct symbol_table *table, u64 addr, u64 *offset);

// The same in the kernel's own table.
const char *symbol_find(u64 addr, u64 *offset);
