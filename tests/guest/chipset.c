// SPDX-License-Identifier: MIT
// What programs probe to learn what machine this is: PCI configuration mechanism #1, the reset
// registers short of a reset, the keyboard controller. What resets is tested from outside.
#include "tests/guest/devices.h"

// ---- PCI ----------------------------------------------------------------------------------------

#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA    0xcfcu
#define RESET_CONTROL  0xcf9u
#define ENABLE         0x80000000u
#define BRIDGE         0x12378086u // Intel 82441FX

GUEST_TEST(pci, bridge_is_alone_on_the_bus)
{
    outl(CONFIG_ADDRESS, ENABLE);
    G_EXPECT_EQ(inl(CONFIG_DATA), BRIDGE);
    outl(CONFIG_ADDRESS, ENABLE | 8);
    G_EXPECT_EQ(inl(CONFIG_DATA) >> 8, 0x060000);
    for (u32 function = 1; function < 8 * 32; function++) {
        outl(CONFIG_ADDRESS, ENABLE | function << 8);
        G_EXPECT_EQ(inl(CONFIG_DATA), 0xffffffff);
    }
    outl(CONFIG_ADDRESS, ENABLE | 1 << 16);
    G_EXPECT_EQ(inw(CONFIG_DATA), 0xffff);
}

GUEST_TEST(pci, config_space_reads_in_parts)
{
    outl(CONFIG_ADDRESS, ENABLE);
    for (u16 i = 0; i < 4; i++)
        G_EXPECT_EQ(inb((u16)(CONFIG_DATA + i)), (BRIDGE >> 8 * i) & 0xff);
    G_EXPECT_EQ(inw(CONFIG_DATA), BRIDGE & 0xffff);
    G_EXPECT_EQ(inw(CONFIG_DATA + 2), BRIDGE >> 16);
    outl(CONFIG_DATA, 0);
    G_EXPECT_EQ(inl(CONFIG_DATA), BRIDGE);
}

// How Linux looks for the mechanism.
GUEST_TEST(pci, mechanism_1_is_found)
{
    outb(CONFIG_ADDRESS + 3, 1);
    u32 before = inl(CONFIG_ADDRESS);
    outl(CONFIG_ADDRESS, ENABLE);
    G_EXPECT_EQ(inl(CONFIG_ADDRESS), ENABLE);
    outl(CONFIG_ADDRESS, before);
    G_EXPECT_EQ(inl(CONFIG_ADDRESS), 0);
    G_EXPECT_EQ(inl(CONFIG_DATA), 0xffffffff); // not enabled: nobody's
}

GUEST_TEST(pci, reset_control_lies_within_the_address)
{
    outl(CONFIG_ADDRESS, ENABLE | 4);
    outb(RESET_CONTROL, 2);
    G_EXPECT_EQ(inb(RESET_CONTROL), 2);
    G_EXPECT_EQ(inl(CONFIG_ADDRESS), ENABLE | 4);
    outl(CONFIG_ADDRESS, ENABLE | 0x0600); // the same port's byte, but not by itself
    G_EXPECT_EQ(inb(RESET_CONTROL), 2);
}

// ---- address line A20 ---------------------------------------------------------------------------

#define PORT_92 0x92u

GUEST_TEST(port92, a20_is_kept)
{
    G_EXPECT_EQ(inb(PORT_92), 2);
    outb(PORT_92, 0);
    G_EXPECT_EQ(inb(PORT_92), 0);
    outb(PORT_92, 2);
    G_EXPECT_EQ(inb(PORT_92), 2);
}

// ---- the keyboard controller --------------------------------------------------------------------

#define KBC_DATA    0x60u
#define KBC_COMMAND 0x64u

enum { FULL = 1, SYSTEM = 4, TIMED_OUT = 0x40 };

static u8 answer_to(u8 command)
{
    outb(KBC_COMMAND, command);
    G_EXPECT_EQ(inb(KBC_COMMAND) & FULL, FULL);
    return inb(KBC_DATA);
}

GUEST_TEST(i8042, controller_is_in_order)
{
    G_EXPECT_EQ(inb(KBC_COMMAND) & (FULL | SYSTEM), SYSTEM);
    G_EXPECT_EQ(answer_to(0xaa), 0x55);
    G_EXPECT_EQ(answer_to(0xab), 0x00);
    outb(KBC_COMMAND, 0x60);
    outb(KBC_DATA, 0x41);
    G_EXPECT_EQ(answer_to(0x20), 0x61); // the second port is not wired
    G_EXPECT_EQ(inb(KBC_COMMAND) & (FULL | SYSTEM), 0);
    G_EXPECT_EQ(answer_to(0xd0) & 3, 3); // A20, and no reset
}

// By IRQ 1, with the time-out in the status.
GUEST_TEST(i8042, keyboard_does_not_answer)
{
    handle(PIC_VECTOR + 1, PIC_VECTOR + 1, note_pic);
    pics_start(1 << 1);
    outb(KBC_DATA, 0xff); // reset, to the keyboard
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_EQ(inb(KBC_COMMAND) & (FULL | TIMED_OUT), FULL | TIMED_OUT);
    G_EXPECT_EQ(inb(KBC_DATA), 0xfe);
    G_EXPECT_EQ(inb(KBC_COMMAND) & (FULL | TIMED_OUT), 0);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
}
