// SPDX-License-Identifier: MIT
// Bit and alignment arithmetic.
#pragma once

#include "arch/x86_64/lib/types.h"

#define BIT(n)   (1ull << (n))
#define BIT32(n) (1u << (n))

// Bits hi..lo set, both included.
#define BITS(hi, lo) ((~0ull >> (63 - (hi))) & (~0ull << (lo)))

// The field hi..lo of value, shifted down.
static inline u64 bits_get(u64 value, unsigned hi, unsigned lo)
{
    return (value & BITS(hi, lo)) >> lo;
}

// value with its field hi..lo replaced by the low bits of field.
static inline u64 bits_set(u64 value, unsigned hi, unsigned lo, u64 field)
{
    return (value & ~BITS(hi, lo)) | ((field << lo) & BITS(hi, lo));
}

// align is a power of two in these four.
static inline u64 align_down(u64 value, u64 align)
{
    return value & ~(align - 1);
}

static inline u64 align_up(u64 value, u64 align)
{
    return (value + align - 1) & ~(align - 1);
}

static inline bool is_aligned(u64 value, u64 align)
{
    return (value & (align - 1)) == 0;
}

static inline bool is_power_of_two(u64 value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

// Index of the highest set bit; value must not be 0.
static inline unsigned bit_highest(u64 value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

// Index of the lowest set bit; value must not be 0.
static inline unsigned bit_lowest(u64 value)
{
    return (unsigned)__builtin_ctzll(value);
}

// value truncated to size bytes (1, 2, 4 or 8).
static inline u64 low_bytes(u64 value, unsigned size)
{
    return size >= 8 ? value : value & (BIT(size * 8) - 1);
}

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define SIZE_2M    (2ull << 20)
#define SIZE_1G    (1ull << 30)
#define SIZE_4G    (4ull << 30)
