// SPDX-License-Identifier: MIT
// The one clock: host TSC ticks. Devices convert their own rates to ticks when they are programmed,
// so the run loop compares deadlines without converting anything.
#pragma once

#include "arch/x86_64/lib/types.h"

struct clock {
    u64 (*now)(const struct clock *clock); // ticks, never going back; NULL: the TSC itself
    u64 hz;                                // ticks a second
};

static inline u64 clock_now(const struct clock *clock)
{
    return likely(!clock->now) ? __builtin_ia32_rdtsc() : clock->now(clock);
}

// count * num / den with a 128-bit product and what remains of it. den is not 0 and the result must
// fit 64 bits; it is ~0 where it does not. In the CPU's own instructions: the compiler would call a
// library for the division and realign the stack for the product.
static inline u64 mul_div_rest(u64 count, u64 num, u64 den, u64 *rest)
{
    u64 high, low;
    __asm__("mulq %3" : "=a"(low), "=d"(high) : "0"(count), "rm"(num) : "cc");
    *rest = 0;
    if (unlikely(high >= den))
        return ~0ull;
    __asm__("divq %4" : "=a"(low), "=d"(*rest) : "0"(low), "1"(high), "rm"(den) : "cc");
    return low;
}

// Rounded down.
static inline u64 mul_div(u64 count, u64 num, u64 den)
{
    u64 rest;
    return mul_div_rest(count, num, den, &rest);
}

// Rounded up: a deadline computed this way is never early.
static inline u64 mul_div_up(u64 count, u64 num, u64 den)
{
    u64 rest, down = mul_div_rest(count, num, den, &rest);
    return down + (rest != 0);
}
