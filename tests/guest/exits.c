// SPDX-License-Identifier: MIT
// Exits, seen from the guest.
#include "tests/guest/tests.h"

GUEST_TEST(exits, cpuid_shows_corbel)
{
    struct cpuid_regs r = cpuid(0x40000000, 0);
    G_EXPECT_EQ(r.ebx, 0x62726f43); // "Corb"
    G_EXPECT_EQ(r.ecx, 0x6f436c65); // "elCo"
    G_EXPECT_EQ(r.edx, 0x6c656272); // "rbel"
}

GUEST_TEST(exits, vmcall_ping_answers)
{
    G_EXPECT_EQ(vmcall(HYPERCALL_PING, 41), 42);
}

GUEST_TEST(exits, vmcall_unknown_is_an_error)
{
    G_EXPECT_EQ(vmcall(12345, 0), HYPERCALL_UNKNOWN);
}
