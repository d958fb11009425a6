// SPDX-License-Identifier: MIT
#include "arch/x86_64/symbols.h"

#include "arch/x86_64/lib/string.h"

// How many functions begin at or below offset.
static u32 count_at_or_below(const struct symbol_table *table, u64 offset)
{
    u32 low = 0, high = table->count;
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (table->offsets[middle] <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const char *symbol_lookup(const struct symbol_table *table, u64 addr, u64 *offset)
{
    if (addr - table->base >= table->size) // below base it wraps to more than any size
        return NULL;
    u64 from_base = addr - table->base;
    u32 index = count_at_or_below(table, from_base);
    if (index == 0)
        return NULL;
    index--;
    if (offset)
        *offset = from_base - table->offsets[index];
    const char *name = table->names;
    for (u32 i = 0; i < index; i++)
        name += strlen(name) + 1;
    return *name ? name : NULL;
}

const char *symbol_find(u64 addr, u64 *offset)
{
    return symbol_lookup(&symbol_table, addr, offset);
}
