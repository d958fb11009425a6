// SPDX-License-Identifier: MIT
// Port 80H, ports of nobody, and the debug-exit port as far as a guest outlives it.
#include "tests/guest/devices.h"

#define SPACE_PORT 0

GUEST_PART(ports, post_code_is_kept)
{
    static const u8 codes[] = {0x01, 0xa5, 0xff, 0x00};
    for (u32 i = 0; i < ARRAY_SIZE(codes); i++) {
        outb(POST, codes[i]);
        G_EXPECT_EQ(inb(POST), codes[i]);
        G_EXPECT_EQ(vmcall(WORLD_POST, 0), codes[i]);
    }
}

GUEST_PART(ports, unclaimed_accesses_are_counted)
{
    u64 before = vmcall(WORLD_UNCLAIMED, SPACE_PORT);
    G_EXPECT_EQ(inb(0x1234), 0xff);
    outb(0x1234, 0);
    outl(0xfff0, 0);
    inb(POST); // somebody's
    G_EXPECT_EQ(vmcall(WORLD_UNCLAIMED, SPACE_PORT) - before, 3);
}

// An access that is not wholly within a device's ports is nobody's.
GUEST_TEST(ports, straddling_a_device_is_unclaimed)
{
    outb(SYS61, 0);
    G_EXPECT_EQ(inw(SYS61), 0xffff);
    G_EXPECT_EQ(inl(PIT + 2), 0xffffffff);
    outw(POST - 1, 0x5500);
    G_EXPECT_EQ(inb(POST), 0);
}

GUEST_TEST(ports, debug_exit_reads_zero)
{
    G_EXPECT_EQ(inb(GUEST_EXIT_PORT), 0);
    G_EXPECT_EQ(inw(GUEST_EXIT_PORT + 2), 0);
    G_EXPECT_EQ(inl(GUEST_EXIT_PORT), 0);
}
