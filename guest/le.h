// SPDX-License-Identifier: MIT
// Little-endian fields of files and tables, which nothing aligns.
#pragma once

#include "arch/x86_64/lib/types.h"

static inline u16 le16(const u8 *at)
{
    return (u16)(at[0] | at[1] << 8);
}

static inline u32 le32(const u8 *at)
{
    return (u32)at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24;
}

static inline u64 le64(const u8 *at)
{
    return le32(at) | (u64)le32(at + 4) << 32;
}

static inline void put_le16(u8 *at, u16 value)
{
    at[0] = (u8)value;
    at[1] = (u8)(value >> 8);
}

static inline void put_le32(u8 *at, u32 value)
{
    put_le16(at, (u16)value);
    put_le16(at + 2, (u16)(value >> 16));
}

static inline void put_le64(u8 *at, u64 value)
{
    put_le32(at, (u32)value);
    put_le32(at + 4, (u32)(value >> 32));
}
