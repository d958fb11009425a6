// SPDX-License-Identifier: MIT
// Fields of ACPI tables, which nothing aligns.
#pragma once

#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/lib/types.h"

static inline u16 acpi_u16(const u8 *at)
{
    u16 value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline u32 acpi_u32(const u8 *at)
{
    u32 value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline u64 acpi_u64(const u8 *at)
{
    u64 value;
    memcpy(&value, at, sizeof(value));
    return value;
}
