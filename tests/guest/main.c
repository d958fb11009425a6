// SPDX-License-Identifier: MIT
#include "tests/guest/tests.h"

extern const struct guest_test program_tests[];

void guest_main(const struct guest_info *info);

// One line, which Corbel keeps as the reason. The test may have left COM1 in any state: neither the
// divisor latch nor loopback may be where the text goes.
void guest_fail(const char *file, int line, const char *what, u64 got, u64 want)
{
    const char *name = file;
    outb(0x3f8 + 3, 0x03);
    outb(0x3f8 + 4, 0);
    for (const char *p = file; *p; p++)
        if (*p == '/')
            name = p + 1;
    rt_print(name);
    rt_putc(':');
    rt_print_u64((u64)line);
    rt_print(": ");
    rt_print(what);
    rt_print(" is 0x");
    rt_print_hex(got, 16);
    rt_print(", not 0x");
    rt_print_hex(want, 16);
    rt_exit(GUEST_TEST_FAILED);
}

void guest_main(const struct guest_info *info)
{
    rt_init(info);
    const struct guest_test *test = &program_tests[info->test];
    ((void (*)(void))test->run)();
    rt_exit(GUEST_TEST_PASSED);
}
