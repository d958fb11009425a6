// SPDX-License-Identifier: MIT
// The two 8259A interrupt controllers (Intel 8259A datasheet) on IRQ 0 and IRQ 4, which software
// can raise and lower by the PIT and the UART; the slave's lines are raised by the test's other
// half.
#include "tests/guest/devices.h"

enum {
    ISR0 = 0x01,
    ISR2 = 0x04,
    ISR4 = 0x10,
    ROTATE_SPECIFIC = 0xc0, // and the input that becomes the lowest
    ROTATE_EOI = 0xa0,
    SPECIFIC_EOI = 0x60,
    POLL = 0x0c,
    SPECIAL_MASK_ON = 0x68,
    SPECIAL_MASK_OFF = 0x48,
};

static void catch_irqs(rt_handler handler)
{
    handle(PIC_VECTOR, PIC_VECTOR + 15, handler);
}

// An edge on each line.
static void edge0(void)
{
    irq0(false);
    irq0(true);
}

static void edge4(void)
{
    irq4(false);
    irq4(true);
}

static void expect_taken(u32 count)
{
    take_pending();
    G_EXPECT_EQ(note_count, count);
}

// ---- one chip -----------------------------------------------------------------------------------

GUEST_TEST(pic, everything_is_masked_until_initialised)
{
    catch_irqs(note_pic);
    G_EXPECT_EQ(inb(PIC1 + 1), 0xff);
    G_EXPECT_EQ(inb(PIC2 + 1), 0xff);
    edge0();
    expect_taken(0);
}

// ICW1 clears the mask, the requests and what is in service, and has reads give the IRR.
GUEST_TEST(pic, icw1_starts_anew)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0));
    edge0();
    expect_taken(1);
    G_EXPECT_EQ(pic_isr(PIC1), ISR0);
    edge4();
    G_EXPECT_EQ(pic_irr(PIC1), ISR4);
    outb(PIC1, 0x0b);
    pics_start(0);
    outb(PIC1 + 1, 0);
    G_EXPECT_EQ(inb(PIC1 + 1), 0);
    G_EXPECT_EQ(inb(PIC1), 0); // the IRR: an edge that was there before counts no more
    G_EXPECT_EQ(pic_isr(PIC1), 0);
    expect_taken(1);
}

GUEST_TEST(pic, vectors_follow_icw2)
{
    static const u8 bases[] = {0x20, 0x48, 0xf8};
    for (u32 i = 0; i < ARRAY_SIZE(bases); i++) {
        handle(bases[i], bases[i] + 7u, note_no_eoi);
        pics_start(0);
        outb(PIC1, 0x11);
        outb(PIC1 + 1, bases[i] | 5); // the low three bits are the input's
        outb(PIC1 + 1, 4);
        outb(PIC1 + 1, 1);
        edge4();
        expect_taken(i + 1);
        G_EXPECT_VECTOR(i, bases[i] + 4);
    }
}

// ICW1 without "ICW4 needed", in single mode without ICW3: the next write is the mask again.
GUEST_TEST(pic, icw3_and_icw4_come_if_asked_for)
{
    outb(PIC1, 0x12);
    outb(PIC1 + 1, 0x20);
    outb(PIC1 + 1, 0xab);
    G_EXPECT_EQ(inb(PIC1 + 1), 0xab);
    outb(PIC1, 0x10);
    outb(PIC1 + 1, 0x20);
    outb(PIC1 + 1, 0x55);
    G_EXPECT_EQ(inb(PIC1 + 1), 0);
    outb(PIC1 + 1, 0xcd);
    G_EXPECT_EQ(inb(PIC1 + 1), 0xcd);
}

GUEST_TEST(pic, masked_request_waits)
{
    catch_irqs(note_pic);
    pics_start(0);
    edge0();
    expect_taken(0);
    G_EXPECT_EQ(pic_irr(PIC1), ISR0);
    outb(PIC1 + 1, 0xfe);
    expect_taken(1);
    G_EXPECT_EQ(pic_irr(PIC1), 0);
    G_EXPECT_EQ(pic_isr(PIC1), 0);
}

GUEST_TEST(pic, a_word_reaches_both_registers)
{
    pics_start(0);
    outw(PIC1, 0xa50b); // OCW3: read the ISR; then the mask
    G_EXPECT_EQ(inw(PIC1), 0xa500);
    G_EXPECT_EQ(inb(PIC1 + 1), 0xa5);
}

GUEST_TEST(pic, an_edge_comes_once)
{
    catch_irqs(note_pic);
    pics_start(BIT32(0));
    edge0();
    expect_taken(1);
    expect_taken(1); // the line is still up
    edge0();
    expect_taken(2);
}

static void lower_at_third(struct rt_frame *frame)
{
    note_no_eoi(frame);
    if (note_count == 3)
        irq4(false);
    outb(PIC1, PIC_EOI);
}

// The chipset's register makes a line level triggered; the timer's and the cascade cannot be.
GUEST_TEST(pic, elcr_makes_a_line_level_triggered)
{
    catch_irqs(lower_at_third);
    outw(0x4d0, 0xffff);
    G_EXPECT_EQ(inw(0x4d0), 0xdef8);
    outw(0x4d0, BIT32(4));
    pics_start(BIT32(4));
    edge4();
    expect_taken(3);
}

GUEST_TEST(pic, icw1_can_make_all_level_triggered)
{
    catch_irqs(note_no_eoi);
    pics_start(0);
    edge0();
    outb(PIC1, 0x19);
    outb(PIC1 + 1, PIC_VECTOR);
    outb(PIC1 + 1, 4);
    outb(PIC1 + 1, 1);
    expect_taken(1);
    outb(PIC1, PIC_EOI);
    expect_taken(2);
    irq0(false);
    outb(PIC1, PIC_EOI);
    expect_taken(2);
}

// ---- priority -----------------------------------------------------------------------------------

GUEST_TEST(pic, higher_priority_comes_first)
{
    catch_irqs(note_pic);
    pics_start(BIT32(0) | BIT32(4));
    edge4();
    edge0();
    expect_taken(2);
    G_EXPECT_VECTOR(0, PIC_VECTOR);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 4);
}

GUEST_TEST(pic, in_service_lets_only_higher_ones_in)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0) | BIT32(4));
    edge4();
    expect_taken(1);
    edge4();
    expect_taken(1);
    edge0();
    expect_taken(2);
    G_EXPECT_VECTOR(1, PIC_VECTOR);
    G_EXPECT_EQ(pic_isr(PIC1), ISR0 | ISR4);
    outb(PIC1, PIC_EOI); // ends the highest
    G_EXPECT_EQ(pic_isr(PIC1), ISR4);
    expect_taken(2);
    outb(PIC1, PIC_EOI);
    expect_taken(3);
    G_EXPECT_VECTOR(2, PIC_VECTOR + 4);
}

GUEST_TEST(pic, specific_eoi_ends_what_it_names)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0) | BIT32(4));
    edge4();
    expect_taken(1);
    edge0();
    expect_taken(2);
    outb(PIC1, SPECIFIC_EOI | 4);
    G_EXPECT_EQ(pic_isr(PIC1), ISR0);
    outb(PIC1, SPECIFIC_EOI | 3);
    G_EXPECT_EQ(pic_isr(PIC1), ISR0);
    outb(PIC1, SPECIFIC_EOI | 0);
    G_EXPECT_EQ(pic_isr(PIC1), 0);
}

GUEST_TEST(pic, rotation_moves_the_priority)
{
    catch_irqs(note_pic);
    pics_start(BIT32(0) | BIT32(4));
    outb(PIC1, ROTATE_SPECIFIC | 3); // 4 becomes the highest
    edge0();
    edge4();
    expect_taken(2);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 4);
    G_EXPECT_VECTOR(1, PIC_VECTOR);
}

GUEST_TEST(pic, rotating_eoi_puts_what_it_ends_last)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0) | BIT32(4));
    edge0();
    expect_taken(1);
    outb(PIC1, ROTATE_EOI);
    G_EXPECT_EQ(pic_isr(PIC1), 0);
    edge4();
    edge0();
    expect_taken(2);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 4);
}

// A masked input in service locks nothing out.
GUEST_TEST(pic, special_mask_mode_lets_lower_ones_in)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0) | BIT32(4));
    edge0();
    expect_taken(1);
    edge4();
    outb(PIC1 + 1, (u8) ~(BIT32(4)));
    expect_taken(1);
    outb(PIC1, SPECIAL_MASK_ON);
    expect_taken(2);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 4);
    G_EXPECT_EQ(pic_isr(PIC1), ISR0 | ISR4);
    outb(PIC1, PIC_EOI); // passes the masked one by
    G_EXPECT_EQ(pic_isr(PIC1), ISR0);
    outb(PIC1, SPECIAL_MASK_OFF);
    outb(PIC1, PIC_EOI);
    G_EXPECT_EQ(pic_isr(PIC1), 0);
}

GUEST_TEST(pic, automatic_eoi_leaves_nothing_in_service)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0) | BIT32(4));
    outb(PIC1, 0x11);
    outb(PIC1 + 1, PIC_VECTOR);
    outb(PIC1 + 1, 4);
    outb(PIC1 + 1, 3);
    for (u32 i = 1; i <= 2; i++) {
        edge0();
        expect_taken(i);
        G_EXPECT_EQ(pic_isr(PIC1), 0);
    }
}

// ---- without the CPU's acknowledge --------------------------------------------------------------

GUEST_TEST(pic, poll_acknowledges)
{
    catch_irqs(note_pic);
    pics_start(BIT32(0) | BIT32(4));
    outb(PIC1, POLL);
    G_EXPECT_EQ(inb(PIC1), 0);
    edge4();
    edge0();
    outb(PIC1, POLL);
    G_EXPECT_EQ(inb(PIC1), 0x80);
    G_EXPECT_EQ(pic_isr(PIC1), ISR0);
    outb(PIC1, PIC_EOI);
    outb(PIC1, POLL);
    G_EXPECT_EQ(inb(PIC1), 0x84);
    outb(PIC1, PIC_EOI);
    expect_taken(0);
}

// The line fell before the acknowledge: the default IR7, and nothing in service. A line that is
// masked changes nothing of that.
GUEST_TEST(pic, request_that_goes_away_is_spurious)
{
    catch_irqs(note_no_eoi);
    pics_start(BIT32(0));
    edge0();
    irq0(false);
    edge4();
    expect_taken(1);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 7);
    G_EXPECT_EQ(pic_isr(PIC1), 0);
    expect_taken(1);
}

// ---- the slave ----------------------------------------------------------------------------------

static void line(u32 number, bool level)
{
    vmcall(WORLD_LINE, number | (level ? 0x100 : 0));
}

GUEST_PART(pic, slaves_lines_come_by_the_cascade)
{
    static const u8 lines[] = {8, 9, 10, 11, 12, 13, 14, 15};
    catch_irqs(note_no_eoi);
    pics_start(0xff04);
    for (u32 i = 0; i < ARRAY_SIZE(lines); i++) {
        line(lines[i], true);
        expect_taken(i + 1);
        G_EXPECT_VECTOR(i, PIC_VECTOR + lines[i]);
        G_EXPECT_EQ(pic_isr(PIC1), ISR2);
        G_EXPECT_EQ(pic_isr(PIC2), BIT32(i));
        outb(PIC2, PIC_EOI);
        outb(PIC1, PIC_EOI);
        G_EXPECT_EQ(pic_isr(PIC1) | pic_isr(PIC2), 0);
    }
}

GUEST_PART(pic, masters_lines_1_3_5_6_7)
{
    static const u8 lines[] = {1, 3, 5, 6, 7};
    catch_irqs(note_pic);
    pics_start(0xfb);
    for (u32 i = 0; i < ARRAY_SIZE(lines); i++) {
        line(lines[i], true);
        expect_taken(i + 1);
        G_EXPECT_VECTOR(i, PIC_VECTOR + lines[i]);
    }
}

// Slave lines have the priority of the master's input 2.
GUEST_PART(pic, cascade_is_between_1_and_3)
{
    catch_irqs(note_pic);
    pics_start(0xffff);
    line(3, true);
    line(15, true);
    line(8, true);
    line(1, true);
    expect_taken(4);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 1);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 8);
    G_EXPECT_VECTOR(2, PIC_VECTOR + 15);
    G_EXPECT_VECTOR(3, PIC_VECTOR + 3);
}

GUEST_PART(pic, either_mask_holds_a_slave_line)
{
    catch_irqs(note_pic);
    pics_start(0xff00);
    line(10, true);
    expect_taken(0);
    outb(PIC1 + 1, 0);
    outb(PIC2 + 1, 0xff);
    expect_taken(0);
    G_EXPECT_EQ(pic_irr(PIC2), BIT32(2));
    outb(PIC2 + 1, 0);
    expect_taken(1);
}

// Until the master's cascade input is ended too, no slave line comes.
GUEST_PART(pic, slave_needs_an_eoi_at_each)
{
    catch_irqs(note_no_eoi);
    pics_start(0xff04);
    line(9, true);
    expect_taken(1);
    line(8, true);
    expect_taken(1);
    outb(PIC2, PIC_EOI);
    expect_taken(1);
    outb(PIC1, PIC_EOI);
    expect_taken(2);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 8);
}

// With both waiting at the slave, its INT falls at the first's acknowledge and rises for the
// second.
GUEST_PART(pic, slave_with_automatic_eoi_raises_again)
{
    catch_irqs(note_no_eoi);
    pics_start(0xff04);
    outb(PIC2, 0x11);
    outb(PIC2 + 1, PIC2_VECTOR);
    outb(PIC2 + 1, 2);
    outb(PIC2 + 1, 3);
    line(13, true);
    line(10, true);
    expect_taken(1);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 10);
    outb(PIC1, PIC_EOI);
    expect_taken(2);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 13);
}

GUEST_PART(pic, special_fully_nested_mode)
{
    catch_irqs(note_no_eoi);
    pics_start(0);
    outb(PIC1, 0x11);
    outb(PIC1 + 1, PIC_VECTOR);
    outb(PIC1 + 1, 4);
    outb(PIC1 + 1, 0x11);
    outb(PIC2 + 1, 0);
    line(9, true);
    expect_taken(1);
    line(10, true);
    expect_taken(1);
    line(8, true); // higher within the slave
    expect_taken(2);
    G_EXPECT_VECTOR(1, PIC_VECTOR + 8);
}

GUEST_PART(pic, slaves_spurious_has_the_cascade_in_service)
{
    catch_irqs(note_no_eoi);
    pics_start(0xff04);
    line(12, true);
    line(12, false);
    line(3, true); // masked
    expect_taken(1);
    G_EXPECT_VECTOR(0, PIC_VECTOR + 15);
    G_EXPECT_EQ(pic_isr(PIC1), ISR2);
    G_EXPECT_EQ(pic_isr(PIC2), 0);
}
