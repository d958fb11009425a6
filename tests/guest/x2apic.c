// SPDX-License-Identifier: MIT
// The local APIC in x2APIC mode and the ways between its modes. SDM volume 3, "Extended XAPIC
// (x2APIC)".
#include "tests/guest/devices.h"

#define GP 13

static bool within(const u16 *rows, unsigned count, u32 reg)
{
    for (unsigned i = 0; i < count; i++)
        if (rows[i] == reg)
            return true;
    return false;
}

static bool is_vector_set(u32 reg)
{
    return reg >= APIC_ISR && reg < APIC_ESR;
}

GUEST_TEST(x2apic, registers_start_as_in_xapic_mode)
{
    xapic_write(APIC_TPR, 0x30);
    xapic_write(APIC_ICR_HIGH, 0x11000000);
    lapic_x2mode();
    G_EXPECT_EQ(x2apic_read(APIC_ID), 0);
    G_EXPECT_EQ(x2apic_read(APIC_VERSION), 0x01050014);
    G_EXPECT_EQ(x2apic_read(APIC_LDR), 1); // cluster 0, bit 0: from the ID
    G_EXPECT_EQ(x2apic_read(APIC_TPR), 0x30);
    G_EXPECT_EQ(x2apic_read(APIC_SVR), 0x1ff);
    G_EXPECT_EQ(x2apic_read(APIC_LVT_LINT0), 0x700);
    G_EXPECT_EQ(x2apic_read(APIC_ICR_LOW), 0);
}

// All 256: those that exist read, the others and the write-only ones are #GP(0).
GUEST_TEST(x2apic, missing_registers_are_gp_to_read)
{
    static const u16 readable[] = {
        APIC_ID,       APIC_VERSION,   APIC_TPR,       APIC_PPR,       APIC_LDR,
        APIC_SVR,      APIC_ESR,       APIC_ICR_LOW,   APIC_LVT_TIMER, APIC_LVT_THERM,
        APIC_LVT_PERF, APIC_LVT_LINT0, APIC_LVT_LINT1, APIC_LVT_ERROR, APIC_TMICT,
        APIC_TMCCT,    APIC_TDCR,
    };
    lapic_x2mode();
    for (u32 reg = 0; reg < 0x1000; reg += 0x10) {
        bool exists = within(readable, ARRAY_SIZE(readable), reg) || is_vector_set(reg);
        int vector = try_rdmsr(IA32_X2APIC_FIRST + (reg >> 4), NULL);
        if (vector != (exists ? NO_FAULT : GP))
            guest_fail(__FILE__, (int)reg, "RDMSR of this register", (u64)vector, exists);
    }
}

// Writing 0 does no harm in any of them (and is the only value EOI and ESR take).
GUEST_TEST(x2apic, missing_registers_are_gp_to_write)
{
    static const u16 writable[] = {
        APIC_TPR,       APIC_EOI,       APIC_SVR,      APIC_ESR,       APIC_ICR_LOW,
        APIC_LVT_TIMER, APIC_LVT_THERM, APIC_LVT_PERF, APIC_LVT_LINT0, APIC_LVT_LINT1,
        APIC_LVT_ERROR, APIC_TMICT,     APIC_TDCR,     APIC_SELF_IPI,
    };
    lapic_x2mode();
    for (u32 reg = 0; reg < 0x1000; reg += 0x10) {
        bool exists = within(writable, ARRAY_SIZE(writable), reg);
        int vector = try_wrmsr(IA32_X2APIC_FIRST + (reg >> 4), 0);
        if (vector != (exists ? NO_FAULT : GP))
            guest_fail(__FILE__, (int)reg, "WRMSR of this register", (u64)vector, exists);
    }
}

GUEST_TEST(x2apic, reserved_bits_are_gp)
{
    static const struct {
        u16 reg;
        u32 bits; // that may be written
    } rows[] = {
        {APIC_TPR,       0xff      },
        {APIC_EOI,       0         },
        {APIC_SVR,       0x13ff    },
        {APIC_ESR,       0         },
        {APIC_LVT_THERM, 0x117ff   },
        {APIC_LVT_PERF,  0x117ff   },
        {APIC_LVT_LINT0, 0x1f7ff   },
        {APIC_LVT_LINT1, 0x1f7ff   },
        {APIC_LVT_ERROR, 0x110ff   },
        {APIC_TMICT,     0xffffffff},
        {APIC_TDCR,      0xb       },
    };
    lapic_x2mode();
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        for (unsigned bit = 0; bit < 64; bit++) {
            bool legal = bit < 32 && (rows[i].bits >> bit & 1);
            u32 msr = IA32_X2APIC_FIRST + (rows[i].reg >> 4);
            if (try_wrmsr(msr, BIT(bit)) != (legal ? NO_FAULT : GP))
                guest_fail(__FILE__, rows[i].reg, "WRMSR of this register with a bit", bit, legal);
        }
}

// The mode field's 11b is reserved, and so are the shorthand-less ICR bits 31:20 and 17:16, 13.
GUEST_TEST(x2apic, reserved_fields_are_gp)
{
    lapic_x2mode();
    u32 timer = IA32_X2APIC_FIRST + (APIC_LVT_TIMER >> 4);
    u32 icr = IA32_X2APIC_FIRST + (APIC_ICR_LOW >> 4);
    u32 self = IA32_X2APIC_FIRST + (APIC_SELF_IPI >> 4);
    G_EXPECT_EQ(try_wrmsr(timer, 0x70050), GP);
    G_EXPECT_EQ(try_wrmsr(timer, 0x30050), NO_FAULT);
    for (unsigned bit = 13; bit < 32; bit++)
        if (BIT(bit) & ~0xcc000ull)
            G_EXPECT_EQ(try_wrmsr(icr, BIT(bit)), GP);
    G_EXPECT_EQ(try_wrmsr(self, 0x100), GP);
}

GUEST_TEST(x2apic, modes_change_only_as_the_sdm_says)
{
    const u64 off = APIC_DEFAULT_BASE | APIC_BASE_BSP;
    const u64 xapic = off | APIC_BASE_ENABLE, x2apic = xapic | APIC_BASE_X2APIC;
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, off | APIC_BASE_X2APIC), GP); // no such mode
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, x2apic), NO_FAULT);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, x2apic), NO_FAULT);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, xapic), GP);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, off | APIC_BASE_X2APIC), GP);
    G_EXPECT_EQ(rdmsr(IA32_APIC_BASE), x2apic);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, off), NO_FAULT);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, x2apic), GP);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, xapic), NO_FAULT);
    G_EXPECT_EQ(rdmsr(IA32_APIC_BASE), xapic);
    G_EXPECT_EQ(xapic_read(APIC_SVR), 0xff); // being off reset it
}

GUEST_TEST(x2apic, apic_base_reserved_and_moving_are_gp)
{
    u64 base = rdmsr(IA32_APIC_BASE);
    for (unsigned bit = 0; bit < 64; bit++)
        if (bit != 8 && bit != 10 && bit != 11)
            G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, base ^ BIT(bit)), GP);
    G_EXPECT_EQ(rdmsr(IA32_APIC_BASE), base);
}

GUEST_TEST(x2apic, msrs_are_gp_in_xapic_mode)
{
    G_EXPECT_EQ(try_rdmsr(IA32_X2APIC_FIRST + (APIC_ID >> 4), NULL), GP);
    G_EXPECT_EQ(try_wrmsr(IA32_X2APIC_FIRST + (APIC_EOI >> 4), 0), GP);
}

GUEST_TEST(x2apic, page_is_nobodys)
{
    lapic_x2mode();
    xapic_write(APIC_TPR, 0x50);
    G_EXPECT_EQ(xapic_read(APIC_TPR), ~0u);
    G_EXPECT_EQ(x2apic_read(APIC_TPR), 0);
}

GUEST_TEST(x2apic, self_ipi_icr_and_eoi)
{
    handle(0x50, 0x6f, note_lapic);
    lapic_x2mode();
    x2apic_write(APIC_SELF_IPI, 0x50);
    x2apic_write(APIC_ICR_LOW, 0x4061);              // physical, itself
    x2apic_write(APIC_ICR_LOW, 1ull << 32 | 0x4062); // another
    x2apic_write(APIC_ICR_LOW, 0xffffffffull << 32 | 0x4063);
    x2apic_write(APIC_ICR_LOW, 1ull << 32 | 0x4864); // logical, cluster 0 bit 0
    x2apic_write(APIC_ICR_LOW, 0x10001ull << 32 | 0x4865);
    G_EXPECT_EQ(x2apic_read(APIC_IRR + 0x30), BIT32(1) | BIT32(3) | BIT32(4));
    take_pending();
    G_EXPECT_EQ(note_count, 4);
    G_EXPECT_VECTOR(0, 0x64);
    G_EXPECT_VECTOR(3, 0x50);
    G_EXPECT_EQ(x2apic_read(APIC_PPR), 0);
}

GUEST_TEST(x2apic, illegal_self_ipi_is_an_error)
{
    lapic_x2mode();
    x2apic_write(APIC_SELF_IPI, 15);
    x2apic_write(APIC_ESR, 0);
    G_EXPECT_EQ(x2apic_read(APIC_ESR), APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL);
}

GUEST_TEST_WITH(x2apic, not_offered_it_is_not_there, GUEST_TEST_XAPIC)
{
    G_EXPECT_EQ(cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC, 0);
    G_EXPECT_EQ(try_wrmsr(IA32_APIC_BASE, rdmsr(IA32_APIC_BASE) | APIC_BASE_X2APIC), GP);
    G_EXPECT_EQ(try_rdmsr(IA32_X2APIC_FIRST + (APIC_ID >> 4), NULL), GP);
    G_EXPECT_EQ(xapic_read(APIC_VERSION), 0x01050014);
}
