// SPDX-License-Identifier: MIT
// The in-kernel self-tests: a test is a function and a row in a linker section.
#pragma once

#include "arch/x86_64/lib/types.h"

// What a test needs of the machine; it is skipped, by name, where that is missing.
enum selftest_needs {
    NEEDS_NOTHING = 0,
    NEEDS_VMX = 1u << 0,          // VMX operation, EPT
    NEEDS_UNRESTRICTED = 1u << 1, // unrestricted guest
    NEEDS_X2APIC = 1u << 2,       // nothing of the host: the virtual x2APIC is always there
    NEEDS_PREEMPTION = 1u << 3,   // VMX-preemption timer
};

struct selftest_ctx {
    const char *name;
    u32 arg;
    bool failed;
    bool skipped;
    char why[120]; // the first failure's or the skip's text
};

struct selftest {
    const char *name; // "area.what_it_shows"
    void (*run)(struct selftest_ctx *t);
    u32 needs; // enum selftest_needs
    u32 arg;   // for run(), as t->arg
};

// SELFTEST(area, what_it_shows, needs) { ... uses t ... }
#define SELFTEST(area, title, need)                                                                \
    static void selftest_##area##_##title(struct selftest_ctx *t);                                 \
    static const struct selftest selftest_row_##area##_##title SECTION(".selftests")               \
        ALIGNED(8) = {#area "." #title, selftest_##area##_##title, (need), 0};                     \
    static void selftest_##area##_##title(struct selftest_ctx *t)

// Records a failure with its text; the first one is kept.
void selftest_fail(struct selftest_ctx *t, const char *format, ...) PRINTF_LIKE(2, 3);
void selftest_skip(struct selftest_ctx *t, const char *format, ...) PRINTF_LIKE(2, 3);

// Each ends the test on failure: use them in the test function itself.
#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            selftest_fail(t, "line %d: %s", __LINE__, #cond);                                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define EXPECT_EQ(got, want)                                                                       \
    do {                                                                                           \
        u64 got_ = (u64)(got), want_ = (u64)(want);                                                \
        if (got_ != want_) {                                                                       \
            selftest_fail(t, "line %d: %s is 0x%llx, not 0x%llx", __LINE__, #got,                  \
                          (unsigned long long)got_, (unsigned long long)want_);                    \
            return;                                                                                \
        }                                                                                          \
    } while (0)

struct selftest_result {
    u32 passed, failed, skipped;
};

// Tests that lie one after the other.
struct selftest_set {
    const struct selftest *first, *last; // [first, last)
};

// Runs every test of the sets whose name matches glob (NULL: all), in order, printing PASS, FAIL or
// SKIP with its name for each and "N passed, N failed, N skipped" last. have is the set of needs
// this machine meets.
struct selftest_result selftest_run(const struct selftest_set *sets, unsigned nsets,
                                    const char *glob, u32 have);
