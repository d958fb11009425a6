// SPDX-License-Identifier: MIT
// The local APIC's registers in both modes, the modes themselves, RESET and INIT.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/host/lapic_fixture.h"

// One register of both modes. What is written and what is read back follows from the masks.
struct row {
    u32 offset;
    u32 reset;    // value after RESET
    u32 page;     // bits a page write can set
    u64 msr;      // bits WRMSR takes without #GP
    bool in_page; // where not: reads 0, and ESR says illegal register
    bool rdmsr;   // RDMSR gives a value
    bool wrmsr;   // WRMSR of 0 is taken
};

#define RO(o, value)                                                                               \
    {                                                                                              \
        .offset = (o), .reset = (value), .in_page = true, .rdmsr = true                            \
    }
#define RW(o, value, bits, taken)                                                                  \
    {                                                                                              \
        .offset = (o), .reset = (value), .page = (bits), .msr = (taken), .in_page = true,          \
        .rdmsr = true, .wrmsr = true                                                               \
    }
#define PAGE_ONLY(o, value, bits)                                                                  \
    {                                                                                              \
        .offset = (o), .reset = (value), .page = (bits), .in_page = true                           \
    }
#define RO8(o)                                                                                     \
    RO((o), 0), RO((o) + 0x10, 0), RO((o) + 0x20, 0), RO((o) + 0x30, 0), RO((o) + 0x40, 0),        \
        RO((o) + 0x50, 0), RO((o) + 0x60, 0), RO((o) + 0x70, 0)

// The register maps of "Local APIC Registers" and "x2APIC Register Address Space". The masks are
// written out, not taken from the code's names.
static const struct row rows[] = {
    {.offset = APIC_ID, .reset = 0x25000000, .in_page = true, .rdmsr = true},
    RO(APIC_VERSION, 0x00050014),
    RW(APIC_TPR, 0, 0xff, 0xff),
    PAGE_ONLY(APIC_APR, 0, 0),
    RO(APIC_PPR, 0),
    {.offset = APIC_EOI,                 .in_page = true,                   .wrmsr = true  },
    PAGE_ONLY(APIC_RRD, 0, 0),
    {.offset = APIC_LDR,                 .in_page = true,                   .page = 0xff000000, .rdmsr = true},
    PAGE_ONLY(APIC_DFR, 0xffffffff, 0xf0000000),
    RW(APIC_SVR, 0xff, 0x3ff, 0x3ff),
    RO8(APIC_ISR),
    RO8(APIC_TMR),
    RO8(APIC_IRR),
    {.offset = APIC_ESR,    .in_page = true,                       .rdmsr = true,                     .wrmsr = true},
    RW(APIC_ICR_LOW, 0, 0x000ccfff, 0xffffffff000cdfffull),
    PAGE_ONLY(APIC_ICR_HIGH, 0, 0xff000000),
    RW(APIC_LVT_TIMER, 0x10000, 0x000700ff, 0x000710ff),
    RW(APIC_LVT_THERM, 0x10000, 0x000107ff, 0x000117ff),
    RW(APIC_LVT_PERF, 0x10000, 0x000107ff, 0x000117ff),
    RW(APIC_LVT_LINT0, 0x10000, 0x0001a7ff, 0x0001f7ff),
    RW(APIC_LVT_LINT1, 0x10000, 0x0001a7ff, 0x0001f7ff),
    RW(APIC_LVT_ERROR, 0x10000, 0x000100ff, 0x000110ff),
    RW(APIC_TMICT, 0, 0xffffffff, 0xffffffff),
    RO(APIC_TMCCT, 0),
    RW(APIC_TDCR, 0, 0xb, 0xb),
    {.offset = APIC_SELF_IPI,    .wrmsr = true,.msr = 0xff},
};

static const struct row *row_of(u32 offset)
{
    static const struct row absent;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].offset == offset)
            return &rows[i];
    return &absent;
}

static bool illegal_register_seen(struct fixture *f)
{
    wr(f, APIC_ESR, 0);
    return rd(f, APIC_ESR) & APIC_ESR_ILLEGAL_REG;
}

static void test_reset_values_and_holes_of_the_page(void **state)
{
    struct fixture *f = *state;
    for (u32 offset = 0; offset < 0x1000; offset += 16) {
        const struct row *row = row_of(offset);
        assert_int_equal(rd(f, offset), row->reset);
        assert_int_equal(illegal_register_seen(f), !row->in_page);
    }
}

static void test_writes_to_holes_are_errors_too(void **state)
{
    struct fixture *f = *state;
    for (u32 offset = 0; offset < 0x1000; offset += 16) {
        const struct row *row = row_of(offset);
        wr(f, APIC_ESR, 0);
        wr(f, offset, 0);
        assert_int_equal(illegal_register_seen(f), !row->in_page);
    }
}

// Bits that a write sets or holds by itself, besides those of the row.
static u32 fixed_bits(u32 offset)
{
    if (offset == APIC_DFR)
        return 0x0fffffff;
    return 0;
}

static void test_writable_bits_of_the_page(void **state)
{
    struct fixture *f = *state;
    for (u32 offset = 0; offset < 0x1000; offset += 16) {
        const struct row *row = row_of(offset);
        if (offset == APIC_ESR || offset == APIC_EOI)
            continue;
        // Enabled, so that mask bits can be cleared; the one-shot timer does not run.
        lapic_reset(&f->lapic);
        if (offset != APIC_SVR)
            software_enable(f);
        for (unsigned bit = 0; bit < 32; bit++) {
            wr(f, offset, 1u << bit);
            u32 want = row->page ? (1u << bit & row->page) | fixed_bits(offset) : row->reset;
            assert_int_equal(rd(f, offset), want);
        }
        if (row->page) {
            wr(f, offset, 0);
            assert_int_equal(rd(f, offset), fixed_bits(offset));
        }
        assert_int_equal(illegal_register_seen(f), !row->in_page);
    }
}

static void test_every_msr(void **state)
{
    struct fixture *f = *state;
    to_x2apic(f);
    for (u32 msr = 0x800; msr <= 0x8ff; msr++) {
        const struct row *row = row_of((msr - 0x800) << 4);
        u64 value = 0;
        lapic_reset(&f->lapic);
        to_x2apic(f);
        wrmsr(f, APIC_SVR, 0x1ff);
        assert_int_equal(lapic_msr_read(&f->lapic, msr, &value), row->rdmsr ? OK : E_FAULT);
        assert_int_equal(lapic_msr_write(&f->lapic, msr, 0), row->wrmsr ? OK : E_FAULT);
        for (unsigned bit = 0; bit < 64; bit++) {
            int want = row->msr >> bit & 1 ? OK : E_FAULT;
            assert_int_equal(lapic_msr_write(&f->lapic, msr, 1ull << bit), want);
        }
    }
    // Errors there are #GP and nothing in ESR but what SELF IPI and the ICR sent.
    wrmsr(f, APIC_ESR, 0);
    assert_false(rdmsr(f, APIC_ESR) & APIC_ESR_ILLEGAL_REG);
}

static void test_msr_readback(void **state)
{
    struct fixture *f = *state;
    to_x2apic(f);
    wrmsr(f, APIC_SVR, 0x3ef);
    assert_int_equal(rdmsr(f, APIC_SVR), 0x3ef);
    wrmsr(f, APIC_TPR, 0x37);
    assert_int_equal(rdmsr(f, APIC_TPR), 0x37);
    assert_int_equal(rdmsr(f, APIC_PPR), 0x37);
    wrmsr(f, APIC_LVT_LINT0, 0x1f7ff); // status bits are taken and not stored
    assert_int_equal(rdmsr(f, APIC_LVT_LINT0), 0x1a7ff);
    wrmsr(f, APIC_LVT_ERROR, 0x110fe);
    assert_int_equal(rdmsr(f, APIC_LVT_ERROR), 0x100fe);
    wrmsr(f, APIC_ICR_LOW, 0x7788990000009041ull);
    assert_true(rdmsr(f, APIC_ICR_LOW) == 0x7788990000008041ull);
    assert_int_equal(rdmsr(f, APIC_ID), 0x25);
    assert_int_equal(rdmsr(f, APIC_VERSION), 0x00050014);
    lapic_set_irq(&f->lapic, 0xff, true);
    lapic_set_irq(&f->lapic, 0xe0, true);
    assert_int_equal(rdmsr(f, APIC_IRR + 0x70), 0x80000001);
    assert_int_equal(rdmsr(f, APIC_TMR + 0x70), 0x80000001);
    take(f, 0xff);
    assert_int_equal(rdmsr(f, APIC_ISR + 0x70), 0x80000000);
    wrmsr(f, APIC_EOI, 0);
    assert_int_equal(rdmsr(f, APIC_ISR + 0x70), 0);
    wrmsr(f, APIC_SELF_IPI, 0xf1);
    take(f, 0xf1);
    wrmsr(f, APIC_TDCR, 0xb);
    wrmsr(f, APIC_TMICT, 0xffffffff);
    assert_true(rdmsr(f, APIC_TMICT) == 0xffffffff);
    assert_true(rdmsr(f, APIC_TMCCT) == 0xffffffff);
}

static void test_timer_modes_in_the_lvt(void **state)
{
    struct fixture *f = *state;
    struct lapic_config config = f->lapic.config;
    config.tsc_deadline = false;
    lapic_init(&f->lapic, &config);
    software_enable(f);
    wr(f, APIC_LVT_TIMER, 0x60040);
    assert_int_equal(rd(f, APIC_LVT_TIMER), 0x20040); // bit 18 is not there
    to_x2apic(f);
    assert_int_equal(lapic_msr_write(&f->lapic, X2(APIC_LVT_TIMER), 0x40040), E_FAULT);
    wrmsr(f, APIC_LVT_TIMER, 0x20041);
    config.tsc_deadline = true;
    lapic_init(&f->lapic, &config);
    software_enable(f);
    to_x2apic(f);
    wrmsr(f, APIC_LVT_TIMER, 0x40041);
    assert_int_equal(lapic_msr_write(&f->lapic, X2(APIC_LVT_TIMER), 0x60041), E_FAULT);
    assert_int_equal(rdmsr(f, APIC_LVT_TIMER), 0x40041);
}

static void test_odd_page_accesses(void **state)
{
    struct fixture *f = *state;
    wr(f, APIC_LVT_LINT0, 0x1a5c3);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0, 1, 0), 0xc3);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0 + 1, 1, 0), 0xa5);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0 + 1, 2, 0), 0x01a5);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0 + 2, 2, 0), 0x1);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0 + 3, 2, 9), 0);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0 + 4, 4, 9), 0);
    assert_int_equal(page_access(f, false, APIC_LVT_LINT0, 8, 9), 0);
    assert_int_equal(page_access(f, false, 0xffc, 4, 9), 0);
    static const struct {
        u32 offset;
        u8 size;
    } writes[] = {
        {0,  1},
        {0,  2},
        {0,  8},
        {1,  4},
        {4,  4},
        {8,  8},
        {15, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
        page_access(f, true, APIC_LVT_LINT0 + writes[i].offset, writes[i].size, 0x10111);
    assert_int_equal(rd(f, APIC_LVT_LINT0), 0x1a5c3);
    assert_false(illegal_register_seen(f));
}

// ---- modes --------------------------------------------------------------------------------------

#define DISABLED 0x000ull
#define INVALID  0x400ull
#define XAPIC    0x800ull
#define X2APIC   0xc00ull

// Brings a fresh LAPIC into a mode by legal steps.
static void enter(struct fixture *f, u64 mode)
{
    lapic_reset(&f->lapic);
    if (mode != XAPIC)
        assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | mode), OK);
}

static void test_mode_transitions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        u64 from, to;
        int want;
    } table[] = {
        {DISABLED, DISABLED, OK     },
        {DISABLED, INVALID,  E_FAULT},
        {DISABLED, XAPIC,    OK     },
        {DISABLED, X2APIC,   E_FAULT},
        {XAPIC,    DISABLED, OK     },
        {XAPIC,    INVALID,  E_FAULT},
        {XAPIC,    XAPIC,    OK     },
        {XAPIC,    X2APIC,   OK     },
        {X2APIC,   DISABLED, OK     },
        {X2APIC,   INVALID,  E_FAULT},
        {X2APIC,   XAPIC,    E_FAULT},
        {X2APIC,   X2APIC,   OK     },
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        enter(f, table[i].from);
        int got = lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | table[i].to);
        assert_int_equal(got, table[i].want);
        u64 mode = got == OK ? table[i].to : table[i].from;
        assert_true((lapic_base_read(&f->lapic) & X2APIC) == mode);
        struct io_access io = {.space = IO_MEM, .size = 4, .addr = APIC_DEFAULT_BASE + APIC_SVR};
        assert_int_equal(f->lapic.dev.ops->access(&f->lapic.dev, &io),
                         mode == XAPIC ? IO_DONE : IO_UNCLAIMED);
        u64 value;
        assert_int_equal(lapic_msr_read(&f->lapic, X2(APIC_SVR), &value),
                         mode == X2APIC ? OK : E_FAULT);
        assert_int_equal(lapic_msr_write(&f->lapic, X2(APIC_SVR), 0x1ff),
                         mode == X2APIC ? OK : E_FAULT);
    }
}

static void test_base_bits(void **state)
{
    struct fixture *f = *state;
    assert_true(lapic_base_read(&f->lapic) == (APIC_DEFAULT_BASE | 0x900)); // BSP, enabled
    for (unsigned bit = 0; bit < 64; bit++) {
        enter(f, XAPIC);
        u64 value = (APIC_DEFAULT_BASE | XAPIC) ^ (1ull << bit);
        bool taken = bit == 8 || bit == 10 || bit == 11;
        assert_int_equal(lapic_base_write(&f->lapic, value), taken ? OK : E_FAULT);
        assert_true(lapic_base_read(&f->lapic) == (taken ? value : (APIC_DEFAULT_BASE | 0x900)));
    }
}

static void test_x2apic_not_offered(void **state)
{
    struct fixture *f = *state;
    struct lapic_config config = f->lapic.config;
    config.x2apic = false;
    config.bsp = false;
    lapic_init(&f->lapic, &config);
    assert_true(lapic_base_read(&f->lapic) == (APIC_DEFAULT_BASE | XAPIC));
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | X2APIC), E_FAULT);
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE), OK);
}

static void test_x2apic_keeps_state_but_ldr_and_icr_high(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LDR, 0x40000000);
    wr(f, APIC_ICR_HIGH, 0x99000000);
    wr(f, APIC_ICR_LOW, 0x41);
    wr(f, APIC_LVT_LINT0, 0x700);
    wr(f, APIC_TMICT, 5000);
    lapic_set_irq(&f->lapic, 0x80, false);
    to_x2apic(f);
    assert_int_equal(rdmsr(f, APIC_LDR), 0x2u << 16 | 1u << 5);
    assert_true(rdmsr(f, APIC_ICR_LOW) == 0x41);
    assert_int_equal(rdmsr(f, APIC_SVR), 0x1ff);
    assert_int_equal(rdmsr(f, APIC_LVT_LINT0), 0x700);
    assert_int_equal(rdmsr(f, APIC_TMCCT), 5000);
    assert_int_equal(lapic_pending(&f->lapic), 0x80);
}

static void test_writing_the_same_base_changes_nothing(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_irq(&f->lapic, 0x80, false);
    wr(f, APIC_ICR_HIGH, 0x99000000);
    assert_int_equal(lapic_base_write(&f->lapic, lapic_base_read(&f->lapic)), OK);
    assert_int_equal(lapic_pending(&f->lapic), 0x80);
    assert_true(rd(f, APIC_ICR_HIGH) == 0x99000000);
}

static void dirty(struct fixture *f)
{
    software_enable(f);
    for (u32 offset = APIC_LVT_TIMER; offset <= APIC_LVT_ERROR; offset += 16)
        wr(f, offset, 0x40);
    wr(f, APIC_TPR, 0x20);
    wr(f, APIC_LDR, 0xff000000);
    wr(f, APIC_DFR, 0);
    wr(f, APIC_TDCR, 0xb);
    wr(f, APIC_ICR_HIGH, 0x99000000);
    wr(f, APIC_ICR_LOW, 0x41);
    lapic_set_irq(&f->lapic, 0x90, true);
    take(f, 0x90);
    lapic_set_irq(&f->lapic, 0x91, true);
    rd(f, 0);
    wr(f, APIC_ESR, 0);
    rd(f, 0);
    wr(f, APIC_TMICT, 100000);
}

static void assert_reset_state(struct fixture *f)
{
    assert_int_equal(f->queue.count, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].in_page)
            assert_int_equal(rd(f, rows[i].offset), rows[i].reset);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), 0);
}

static void test_reset(void **state)
{
    struct fixture *f = *state;
    dirty(f);
    f->lapic.dev.ops->reset(&f->lapic.dev);
    assert_reset_state(f);
    // From x2APIC mode RESET goes back to xAPIC mode.
    dirty(f);
    to_x2apic(f);
    lapic_reset(&f->lapic);
    assert_true(lapic_base_read(&f->lapic) == (APIC_DEFAULT_BASE | 0x900));
    assert_reset_state(f);
}

static void test_init_keeps_the_mode(void **state)
{
    struct fixture *f = *state;
    dirty(f);
    lapic_receive_init(&f->lapic);
    assert_true(lapic_base_read(&f->lapic) == (APIC_DEFAULT_BASE | 0x900));
    assert_reset_state(f);
    dirty(f);
    to_x2apic(f);
    lapic_receive_init(&f->lapic);
    assert_true(lapic_in_x2apic(&f->lapic));
    assert_int_equal(rdmsr(f, APIC_SVR), 0xff);
    assert_int_equal(rdmsr(f, APIC_ID), 0x25);
    assert_int_equal(rdmsr(f, APIC_LDR), 0x2u << 16 | 1u << 5);
    assert_int_equal(f->queue.count, 0);
}

static void test_disabling_resets(void **state)
{
    struct fixture *f = *state;
    dirty(f);
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | 0x100), OK);
    assert_int_equal(f->queue.count, 0);
    lapic_set_irq(&f->lapic, 0x80, false);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | 0x900), OK);
    assert_reset_state(f);
    dirty(f);
    to_x2apic(f);
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | 0x100), OK);
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE | 0x900), OK);
    assert_reset_state(f);
}

static void test_pins_outlive_reset(void **state)
{
    struct fixture *f = *state;
    lapic_set_lint(&f->lapic, 0, true);
    lapic_reset(&f->lapic);
    lapic_virtual_wire(&f->lapic);
    assert_int_equal(f->kicks, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reset_values_and_holes_of_the_page),
        TEST(test_writes_to_holes_are_errors_too),
        TEST(test_writable_bits_of_the_page),
        TEST(test_every_msr),
        TEST(test_msr_readback),
        TEST(test_timer_modes_in_the_lvt),
        TEST(test_odd_page_accesses),
        TEST(test_mode_transitions),
        TEST(test_base_bits),
        TEST(test_x2apic_not_offered),
        TEST(test_x2apic_keeps_state_but_ldr_and_icr_high),
        TEST(test_writing_the_same_base_changes_nothing),
        TEST(test_reset),
        TEST(test_init_keeps_the_mode),
        TEST(test_disabling_resets),
        TEST(test_pins_outlive_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
