// SPDX-License-Identifier: MIT
// What the crash screen is made of, on the machine it is for: names of functions, reads that may
// fault, frame pointers, the log's ring.
#include "arch/x86_64/crash.h"
#include "arch/x86_64/crash_format.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/selftest.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/stacks.h"
#include "arch/x86_64/symbols.h"

static char text[4096];

SELFTEST(crash, functions_have_their_names, NEEDS_NOTHING)
{
    u64 offset = ~0ull, addr = (uintptr_t)log_ring_tail;
    const char *name = symbol_find(addr, &offset);
    EXPECT(name && strcmp(name, "log_ring_tail") == 0);
    EXPECT_EQ(offset, 0);
    name = symbol_find(addr + 3, &offset);
    EXPECT(name && strcmp(name, "log_ring_tail") == 0);
    EXPECT_EQ(offset, 3);
    EXPECT(symbol_find((uintptr_t)text_start, NULL));
    EXPECT(!symbol_find((uintptr_t)text_start - 1, NULL));
    EXPECT(!symbol_find((uintptr_t)rodata_start, NULL));
    EXPECT(!symbol_find((uintptr_t)lab_start - 1, NULL));
    EXPECT(!symbol_find((uintptr_t)lab_rodata_start, NULL));
    EXPECT(!symbol_find(0, NULL));
    // This function lies behind the table in the image.
    name = symbol_find((uintptr_t)selftest_crash_functions_have_their_names, &offset);
    EXPECT(name && strcmp(name, "selftest_crash_functions_have_their_names") == 0);
    EXPECT_EQ(offset, 0);
}

SELFTEST(crash, reads_of_nothing_are_survived, NEEDS_NOTHING)
{
    u8 value = 0xa5;
    EXPECT(!crash_peek(0, &value));
    EXPECT(!crash_peek((uintptr_t)boot_stack_guard, &value));
    EXPECT(!crash_peek(1ull << 62, &value)); // not canonical: #GP
    EXPECT_EQ(value, 0xa5);
    EXPECT(crash_peek((uintptr_t)text_start, &value));
    EXPECT_EQ(value, text_start[0]);
}

SELFTEST(crash, the_backtrace_reaches_the_start, NEEDS_NOTHING)
{
    const u64 *frame = __builtin_frame_address(0);
    const struct crash_info info = {
        .message = "made up",
        .rip = (uintptr_t)log_ring_tail + 1,
        .rsp = (uintptr_t)frame,
        .rbp = (uintptr_t)frame,
        .peek = crash_peek,
    };
    size_t length = crash_format(text, sizeof(text), &info);
    EXPECT(length < sizeof(text) - 1);
    EXPECT(str_glob("*panic: made up\n*backtrace\n  * log_ring_tail+0x1\n*", text));
    EXPECT(str_glob("*backtrace\n* selftest_run+0x*\n* kmain+0x*\n*", text));
}

SELFTEST(crash, the_ring_has_the_last_line, NEEDS_NOTHING)
{
    log_debug("the last line is %s", "this");
    size_t length = log_ring_tail(text, sizeof(text) - 1);
    text[length] = '\0';
    EXPECT(str_glob("*\nthe last line is this\n", text));
}
