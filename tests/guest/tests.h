// SPDX-License-Identifier: MIT
// Tests that run inside a guest: a function and a row, found by Corbel in the program's image and
// run each in a fresh VM.
#pragma once

#include "guest/tiny/rt.h"

// The order matters to Corbel, which reads this from the image.
struct guest_test {
    char name[64]; // "area.what_it_shows"
    u64 run;       // void (*)(void)
    u64 flags;     // enum guest_test_flags
};

enum guest_test_flags {
    GUEST_TEST_PART = 1u << 0,  // half of a test of Corbel's, which runs it by name: not by itself
    GUEST_TEST_XAPIC = 1u << 1, // the guest is offered no x2APIC
    GUEST_TEST_EXACT = 1u << 2, // has bounds of time: skipped where Corbel is a guest itself
};

#define GUEST_TEST(area, title) GUEST_TEST_WITH(area, title, 0)

// The guest's half of a test in tests/kernel, which finds it by name.
#define GUEST_PART(area, title) GUEST_TEST_WITH(area, title, GUEST_TEST_PART)

#define GUEST_TEST_WITH(area, title, flags)                                                        \
    _Static_assert(sizeof(#area "." #title) <= sizeof((struct guest_test){0}.name), "too long");   \
    static void guest_test_##area##_##title(void);                                                 \
    static const struct guest_test guest_row_##area##_##title SECTION(".guest_tests")              \
        ALIGNED(8) = {#area "." #title, (u64)guest_test_##area##_##title, (flags)};                \
    static void guest_test_##area##_##title(void)

// Ends the test as failed with this text (what it wrote to COM1) unless cond holds.
NORETURN void guest_fail(const char *file, int line, const char *what, u64 got, u64 want);

#define G_EXPECT(cond)                                                                             \
    do {                                                                                           \
        if (!(cond))                                                                               \
            guest_fail(__FILE__, __LINE__, #cond, 0, 1);                                           \
    } while (0)
#define G_EXPECT_EQ(got, want)                                                                     \
    do {                                                                                           \
        u64 got_ = (u64)(got), want_ = (u64)(want);                                                \
        if (got_ != want_)                                                                         \
            guest_fail(__FILE__, __LINE__, #got, got_, want_);                                     \
    } while (0)

// got within [low, high].
#define G_EXPECT_IN(got, low, high)                                                                \
    do {                                                                                           \
        u64 got_ = (u64)(got);                                                                     \
        if (got_ < (u64)(low) || got_ > (u64)(high))                                               \
            guest_fail(__FILE__, __LINE__, #got, got_, (u64)(low));                                \
    } while (0)

#define GUEST_TEST_PASSED 0x10
#define GUEST_TEST_FAILED 0x11
