// SPDX-License-Identifier: MIT
// The local APIC in xAPIC mode: its registers and its interrupts. SDM volume 3, "Advanced
// Programmable Interrupt Controller (APIC)".
#include "tests/guest/devices.h"

// ---- registers ----------------------------------------------------------------------------------

struct reg_value {
    u16 reg;
    u32 value;
};

static void expect_registers(const struct reg_value *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (xapic_read(rows[i].reg) != rows[i].value)
            guest_fail(__FILE__, rows[i].reg, "register at this offset", xapic_read(rows[i].reg),
                       rows[i].value);
}

static void expect_no_vectors(void)
{
    for (u32 reg = APIC_ISR; reg < APIC_ESR; reg += 0x10)
        G_EXPECT_EQ(xapic_read(reg), 0);
}

GUEST_TEST(lapic, starts_in_virtual_wire_mode)
{
    static const struct reg_value rows[] = {
        {APIC_ID,        0         },
        {APIC_VERSION,   0x01050014},
        {APIC_TPR,       0         },
        {APIC_PPR,       0         },
        {APIC_LDR,       0         },
        {APIC_DFR,       ~0u       },
        {APIC_SVR,       0x1ff     },
        {APIC_ESR,       0         },
        {APIC_ICR_LOW,   0         },
        {APIC_ICR_HIGH,  0         },
        {APIC_LVT_TIMER, 0x10000   },
        {APIC_LVT_THERM, 0x10000   },
        {APIC_LVT_PERF,  0x10000   },
        {APIC_LVT_LINT0, 0x700     },
        {APIC_LVT_LINT1, 0x400     },
        {APIC_LVT_ERROR, 0x10000   },
        {APIC_TMICT,     0         },
        {APIC_TMCCT,     0         },
        {APIC_TDCR,      0         },
    };
    expect_registers(rows, ARRAY_SIZE(rows));
    expect_no_vectors();
    G_EXPECT_EQ(rdmsr(IA32_APIC_BASE), APIC_DEFAULT_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP);
}

GUEST_TEST(lapic, keeps_no_reserved_bit)
{
    static const struct reg_value rows[] = {
        {APIC_TPR,       0xff      },
        {APIC_LDR,       0xff000000},
        {APIC_LVT_THERM, 0x107ff   },
        {APIC_LVT_PERF,  0x107ff   },
        {APIC_LVT_LINT0, 0x1a7ff   },
        {APIC_LVT_LINT1, 0x1a7ff   },
        {APIC_LVT_ERROR, 0x100ff   },
        {APIC_ICR_HIGH,  0xff000000},
        {APIC_TMICT,     ~0u       },
        {APIC_TDCR,      0xb       },
        {APIC_SVR,       0x13ff    },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        xapic_write(rows[i].reg, ~0u);
    expect_registers(rows, ARRAY_SIZE(rows));
    xapic_write(APIC_DFR, 0);
    G_EXPECT_EQ(xapic_read(APIC_DFR), 0x0fffffff);
}

GUEST_TEST(lapic, read_only_registers_ignore_writes)
{
    static const u16 regs[] = {APIC_ID, APIC_VERSION, APIC_PPR, APIC_ISR, APIC_IRR, APIC_TMCCT};
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        u32 before = xapic_read(regs[i]);
        xapic_write(regs[i], ~before);
        G_EXPECT_EQ(xapic_read(regs[i]), before);
    }
    xapic_write(APIC_ESR, 0);
    G_EXPECT_EQ(xapic_read(APIC_ESR), 0);
}

// ESR shows what came since its last write but one: a write latches, a read does not clear.
GUEST_TEST(lapic, missing_register_is_an_error)
{
    static const u16 missing[] = {0x000, 0x040, 0x290, APIC_SELF_IPI};
    for (unsigned i = 0; i < ARRAY_SIZE(missing); i++) {
        G_EXPECT_EQ(xapic_read(missing[i]), 0);
        G_EXPECT_EQ(xapic_read(APIC_ESR), 0);
        xapic_write(APIC_ESR, 0);
        G_EXPECT_EQ(xapic_read(APIC_ESR), APIC_ESR_ILLEGAL_REG);
        xapic_write(missing[i], 0x40);
        xapic_write(APIC_ESR, 0);
        G_EXPECT_EQ(xapic_read(APIC_ESR), APIC_ESR_ILLEGAL_REG);
        xapic_write(APIC_ESR, 0);
        G_EXPECT_EQ(xapic_read(APIC_ESR), 0);
    }
}

// ---- priorities ---------------------------------------------------------------------------------

static u32 vector_word(u32 set, u8 vector)
{
    return xapic_read(set + vector / 32 * 0x10u);
}

static void read_isr(struct rt_frame *frame)
{
    u8 vector = (u8)frame->vector;
    G_EXPECT_EQ(vector_word(APIC_ISR, vector), BIT32(vector % 32));
    G_EXPECT_EQ(vector_word(APIC_IRR, vector), 0);
    G_EXPECT_EQ(xapic_read(APIC_PPR), vector & 0xf0u);
    note_lapic(frame);
    G_EXPECT_EQ(vector_word(APIC_ISR, vector), 0);
    G_EXPECT_EQ(xapic_read(APIC_PPR), 0);
}

GUEST_TEST(lapic, irr_shows_what_waits_isr_what_is_served)
{
    static const u8 vectors[] = {0x10, 0x1f, 0x20, 0x5f, 0x60, 0xa5, 0xfe, 0xff};
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
        rt_set_handler(vectors[i], read_isr);
        lapic_self_ipi(vectors[i]);
        G_EXPECT_EQ(vector_word(APIC_IRR, vectors[i]), BIT32(vectors[i] % 32));
        G_EXPECT_EQ(vector_word(APIC_ISR, vectors[i]), 0);
        G_EXPECT_EQ(vector_word(APIC_TMR, vectors[i]), 0);
        take_pending();
        G_EXPECT_EQ(note_count, i + 1);
    }
}

GUEST_TEST(lapic, same_vector_twice_comes_once)
{
    handle(0x50, 0x50, note_lapic);
    lapic_self_ipi(0x50);
    lapic_self_ipi(0x50);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
}

GUEST_TEST(lapic, tpr_holds_back_its_class_and_below)
{
    handle(0x30, 0x6f, note_lapic);
    xapic_write(APIC_TPR, 0x50);
    G_EXPECT_EQ(xapic_read(APIC_PPR), 0x50);
    lapic_self_ipi(0x4f);
    lapic_self_ipi(0x5f);
    take_pending();
    G_EXPECT_EQ(note_count, 0);
    lapic_self_ipi(0x60);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    xapic_write(APIC_TPR, 0x4f);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_VECTOR(1, 0x5f);
    xapic_write(APIC_TPR, 0x3f);
    take_pending();
    G_EXPECT_EQ(note_count, 3);
    G_EXPECT_VECTOR(2, 0x4f);
}

// With interrupts on the whole time: the write of TPR or CR8 itself lets the interrupt come.
GUEST_TEST(lapic, lowering_tpr_lets_it_come_at_once)
{
    handle(0x50, 0x50, note_lapic);
    for (u32 i = 0; i < 4; i++) {
        write_cr8(i & 1 ? 15 : 5);
        lapic_self_ipi(0x50);
        take_pending();
        G_EXPECT_EQ(note_count, i);
        sti();
        if (i < 2)
            write_cr8(4);
        else
            xapic_write(APIC_TPR, 0x4f);
        u32 came = note_count;
        cli();
        G_EXPECT_EQ(came, i + 1);
    }
}

// In service at 5xH: 5xH waits however high, 6xH comes in between.
static void nest(struct rt_frame *frame)
{
    note_no_eoi(frame);
    if (frame->vector == 0x52) {
        lapic_self_ipi(0x61);
        lapic_self_ipi(0x5f);
        take_pending();
        G_EXPECT_EQ(note_count, 2);
        G_EXPECT_VECTOR(1, 0x61);
        G_EXPECT_EQ(vector_word(APIC_ISR, 0x52), BIT32(0x12));
        G_EXPECT_EQ(vector_word(APIC_IRR, 0x5f), BIT32(0x1f));
    } else if (frame->vector == 0x61) {
        G_EXPECT_EQ(xapic_read(APIC_PPR), 0x60);
        G_EXPECT_EQ(vector_word(APIC_ISR, 0x52), BIT32(0x12));
        G_EXPECT_EQ(vector_word(APIC_ISR, 0x61), BIT32(1));
    }
    xapic_write(APIC_EOI, 0);
}

GUEST_TEST(lapic, higher_class_nests_eoi_ends_the_highest)
{
    handle(0x50, 0x6f, nest);
    lapic_self_ipi(0x52);
    take_pending();
    G_EXPECT_EQ(note_count, 3);
    G_EXPECT_VECTOR(2, 0x5f);
    expect_no_vectors();
}

GUEST_TEST(lapic, eoi_with_nothing_in_service_does_nothing)
{
    handle(0x50, 0x50, note_lapic);
    lapic_self_ipi(0x50);
    xapic_write(APIC_EOI, 0);
    G_EXPECT_EQ(vector_word(APIC_IRR, 0x50), BIT32(0x10));
    take_pending();
    xapic_write(APIC_EOI, 0);
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_EQ(xapic_read(APIC_PPR), 0);
}

// ---- interprocessor interrupts to oneself -------------------------------------------------------

// Sends and says whether it came.
static u32 comes(u32 high, u32 low)
{
    u32 before = note_count;
    xapic_write(APIC_ICR_HIGH, high << 24);
    xapic_write(APIC_ICR_LOW, low);
    take_pending();
    return note_count - before;
}

GUEST_TEST(lapic, icr_destination_and_shorthand)
{
    handle(0x50, 0x50, note_lapic);
    G_EXPECT_EQ(comes(0, 0x4050), 1);    // physical, itself
    G_EXPECT_EQ(comes(1, 0x4050), 0);    // another
    G_EXPECT_EQ(comes(0xff, 0x4050), 1); // broadcast
    G_EXPECT_EQ(comes(1, 0x44050), 1);   // shorthand: self
    G_EXPECT_EQ(comes(1, 0x84050), 1);   // all
    G_EXPECT_EQ(comes(0, 0xc4050), 0);   // all but self
    G_EXPECT_EQ(comes(0, 0x4150), 1);    // lowest priority
    G_EXPECT_EQ(xapic_read(APIC_ICR_LOW), 0x4150);
}

GUEST_TEST(lapic, icr_logical_destination)
{
    handle(0x50, 0x50, note_lapic);
    xapic_write(APIC_LDR, 0x12000000); // flat: a set of eight
    G_EXPECT_EQ(comes(0x02, 0x4850), 1);
    G_EXPECT_EQ(comes(0x31, 0x4850), 1);
    G_EXPECT_EQ(comes(0xed, 0x4850), 0);
    xapic_write(APIC_DFR, 0x0fffffff); // cluster 1, member 1
    G_EXPECT_EQ(comes(0x12, 0x4850), 1);
    G_EXPECT_EQ(comes(0x1d, 0x4850), 0);
    G_EXPECT_EQ(comes(0x22, 0x4850), 0);
    G_EXPECT_EQ(comes(0xff, 0x4850), 1);
}

GUEST_TEST(lapic, nmi_to_self_ignores_if_and_tpr)
{
    rt_set_handler(2, note_no_eoi);
    xapic_write(APIC_TPR, 0xff);
    xapic_write(APIC_ICR_LOW, 0x44400);
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_VECTOR(0, 2);
    expect_no_vectors();
}

// ---- errors -------------------------------------------------------------------------------------

GUEST_TEST(lapic, illegal_vector_is_an_error)
{
    for (u8 vector = 0; vector < 16; vector++) {
        lapic_self_ipi(vector);
        xapic_write(APIC_ESR, 0);
        G_EXPECT_EQ(xapic_read(APIC_ESR), APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL);
    }
    xapic_write(APIC_ICR_HIGH, 5u << 24);
    xapic_write(APIC_ICR_LOW, 3);
    xapic_write(APIC_ESR, 0);
    G_EXPECT_EQ(xapic_read(APIC_ESR), APIC_ESR_SEND_ILLEGAL);
    expect_no_vectors();
}

GUEST_TEST(lapic, error_interrupt_comes_once_an_esr_write)
{
    handle(0x60, 0x60, note_lapic);
    lapic_self_ipi(1); // while the entry is masked
    xapic_write(APIC_LVT_ERROR, 0x60);
    take_pending();
    G_EXPECT_EQ(note_count, 0);
    xapic_write(APIC_ESR, 0);
    for (u32 i = 1; i <= 2; i++) {
        lapic_self_ipi(1);
        lapic_self_ipi(1);
        take_pending();
        G_EXPECT_EQ(note_count, i);
        xapic_write(APIC_ESR, 0);
    }
}

// ---- disabling ----------------------------------------------------------------------------------

GUEST_TEST(lapic, software_disable_masks_and_drops)
{
    handle(0x50, 0x51, note_lapic);
    xapic_write(APIC_LVT_ERROR, 0x60);
    lapic_self_ipi(0x50);
    xapic_write(APIC_SVR, 0xff);
    lapic_self_ipi(0x51);
    for (u32 reg = APIC_LVT_TIMER; reg <= APIC_LVT_ERROR; reg += 0x10)
        G_EXPECT_EQ(xapic_read(reg) & APIC_LVT_MASKED, APIC_LVT_MASKED);
    xapic_write(APIC_LVT_ERROR, 0x60);
    G_EXPECT_EQ(xapic_read(APIC_LVT_ERROR), 0x10060);
    G_EXPECT_EQ(vector_word(APIC_IRR, 0x50), BIT32(0x10)); // what waited still does
    xapic_write(APIC_SVR, 0x1ff);
    G_EXPECT_EQ(xapic_read(APIC_LVT_ERROR), 0x10060); // enabling unmasks nothing
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_VECTOR(0, 0x50);
}

GUEST_TEST(lapic, hardware_disable_removes_page_and_resets)
{
    xapic_write(APIC_TPR, 0x40);
    wrmsr(IA32_APIC_BASE, APIC_DEFAULT_BASE | APIC_BASE_BSP);
    G_EXPECT_EQ(xapic_read(APIC_SVR), ~0u);
    wrmsr(IA32_APIC_BASE, APIC_DEFAULT_BASE | APIC_BASE_BSP | APIC_BASE_ENABLE);
    G_EXPECT_EQ(xapic_read(APIC_SVR), 0xff);
    G_EXPECT_EQ(xapic_read(APIC_TPR), 0);
    G_EXPECT_EQ(xapic_read(APIC_LVT_LINT0), APIC_LVT_MASKED);
}

// ---- the PIC on LINT0 ---------------------------------------------------------------------------

static void raise_irq0(void)
{
    irq0(false);
    irq0(true);
}

GUEST_TEST(lapic, lint0_extint_lets_the_pic_through)
{
    handle(PIC_VECTOR, PIC_VECTOR, note_pic);
    pics_start(BIT32(0));
    xapic_write(APIC_LVT_LINT0, 0x10700);
    raise_irq0();
    take_pending();
    G_EXPECT_EQ(note_count, 0);
    xapic_write(APIC_LVT_LINT0, 0x700);
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_VECTOR(0, PIC_VECTOR);
}

// TPR does not hold ExtINT, and nothing is in service at the local APIC.
GUEST_TEST(lapic, extint_passes_by_tpr_and_isr)
{
    handle(PIC_VECTOR, PIC_VECTOR, note_pic);
    pics_start(BIT32(0));
    xapic_write(APIC_TPR, 0xff);
    raise_irq0();
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    expect_no_vectors();
}

GUEST_TEST(lapic, lint0_fixed_gives_its_own_vector)
{
    handle(PIC_VECTOR, PIC_VECTOR, note_pic);
    handle(0x70, 0x70, note_lapic);
    pics_start(BIT32(0));
    xapic_write(APIC_LVT_LINT0, 0x70);
    raise_irq0();
    take_pending();
    G_EXPECT_EQ(note_count, 1); // an edge
    G_EXPECT_VECTOR(0, 0x70);
}

// Level triggered it comes again after each EOI for as long as the PIC asserts INTR.
GUEST_TEST(lapic, lint0_level_comes_again_after_eoi)
{
    handle(0x70, 0x70, note_no_eoi);
    pics_start(BIT32(0));
    xapic_write(APIC_LVT_LINT0, APIC_LVT_LEVEL | 0x70);
    raise_irq0();
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_EQ(xapic_read(APIC_LVT_LINT0) & APIC_LVT_RIRR, APIC_LVT_RIRR);
    G_EXPECT_EQ(vector_word(APIC_TMR, 0x70), BIT32(0x10));
    xapic_write(APIC_LVT_LINT0, APIC_LVT_LEVEL | 0x70); // nothing new while remote IRR is set
    G_EXPECT_EQ(vector_word(APIC_IRR, 0x70), 0);
    xapic_write(APIC_EOI, 0);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    outb(PIC1 + 1, 0xff);
    xapic_write(APIC_EOI, 0);
    take_pending();
    G_EXPECT_EQ(note_count, 2);
    G_EXPECT_EQ(xapic_read(APIC_LVT_LINT0) & APIC_LVT_RIRR, 0);
}

// LINT0 is then the CPU's INTR pin.
GUEST_TEST(lapic, hardware_disabled_the_pic_interrupts)
{
    handle(PIC_VECTOR, PIC_VECTOR, note_pic);
    pics_start(BIT32(0));
    xapic_write(APIC_LVT_LINT0, APIC_LVT_MASKED);
    wrmsr(IA32_APIC_BASE, APIC_DEFAULT_BASE | APIC_BASE_BSP);
    raise_irq0();
    take_pending();
    G_EXPECT_EQ(note_count, 1);
    G_EXPECT_VECTOR(0, PIC_VECTOR);
}
