// SPDX-License-Identifier: MIT
// The local APIC's interrupts: priorities, errors, IPIs, the LINT pins.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/lapic_fixture.h"

// ---- IRR, ISR, priorities -----------------------------------------------------------------------

static void test_interrupt_goes_from_irr_to_isr_to_nowhere(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    lapic_set_irq(&f->lapic, 0x51, false);
    assert_int_equal(f->kicks, 1);
    assert_int_equal(rd(f, APIC_IRR + 0x20), 1u << 0x11);
    take(f, 0x51);
    assert_int_equal(rd(f, APIC_IRR + 0x20), 0);
    assert_int_equal(rd(f, APIC_ISR + 0x20), 1u << 0x11);
    assert_int_equal(rd(f, APIC_PPR), 0x50);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    wr(f, APIC_EOI, 0);
    assert_int_equal(rd(f, APIC_ISR + 0x20), 0);
    assert_int_equal(rd(f, APIC_PPR), 0);
    assert_int_equal(f->eois, 0); // edge-triggered: nobody else hears of it
}

static void test_every_vector_has_its_bit(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    for (unsigned v = 16; v < 256; v++) {
        lapic_set_irq(&f->lapic, (u8)v, v & 1);
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(rd(f, APIC_IRR + i * 16), i == v / 32 ? 1u << (v % 32) : 0);
            assert_int_equal(rd(f, APIC_TMR + i * 16) >> (v % 32) & 1, i == v / 32 ? v & 1 : 0);
        }
        take(f, (u8)v);
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(rd(f, APIC_ISR + i * 16), i == v / 32 ? 1u << (v % 32) : 0);
        wr(f, APIC_EOI, 0);
        f->lapic.tmr[v / 64] = 0;
    }
}

// "Task and Processor Priorities", for every TPR and every class in service.
static void test_priorities(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    for (unsigned in_service = 0; in_service < 256; in_service += 8) {
        if (in_service > 0 && in_service < 16)
            continue;
        if (in_service) {
            lapic_set_irq(&f->lapic, (u8)in_service, false);
            take(f, (u8)in_service);
        }
        for (unsigned tpr = 0; tpr < 256; tpr++) {
            wr(f, APIC_TPR, tpr);
            unsigned ppr = tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0;
            assert_int_equal(rd(f, APIC_PPR), ppr);
            for (unsigned v = 16; v < 256; v += 5) {
                lapic_set_irq(&f->lapic, (u8)v, false);
                bool beats = v >> 4 > ppr >> 4;
                assert_int_equal(lapic_pending(&f->lapic), beats ? (int)v : -1);
                unsigned held_by_tpr = v >> 4 > in_service >> 4 && v >> 4 <= tpr >> 4 ? v >> 4 : 0;
                assert_int_equal(lapic_tpr_threshold(&f->lapic), held_by_tpr);
                // Taken back through a TPR and an ISR that let it pass.
                f->lapic.irr[v / 64] = 0;
                f->lapic.irr_high = 0;
            }
        }
        wr(f, APIC_TPR, 0);
        wr(f, APIC_EOI, 0);
    }
    assert_int_equal(rd(f, APIC_PPR), 0);
}

static void test_nesting_and_order(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_irq(&f->lapic, 0x35, false);
    lapic_set_irq(&f->lapic, 0x31, false);
    lapic_set_irq(&f->lapic, 0x80, false);
    take(f, 0x80);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    lapic_set_irq(&f->lapic, 0x8f, false); // the same class waits
    assert_int_equal(lapic_pending(&f->lapic), -1);
    lapic_set_irq(&f->lapic, 0x90, false); // a higher one nests
    take(f, 0x90);
    assert_int_equal(rd(f, APIC_PPR), 0x90);
    wr(f, APIC_EOI, 0);
    assert_int_equal(rd(f, APIC_PPR), 0x80);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    wr(f, APIC_EOI, 0);
    take(f, 0x8f);
    wr(f, APIC_EOI, 0);
    take(f, 0x35);
    wr(f, APIC_EOI, 0);
    take(f, 0x31);
    wr(f, APIC_EOI, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    wr(f, APIC_EOI, 0); // with nothing in service
    assert_int_equal(rd(f, APIC_PPR), 0);
}

static void test_same_vector_twice_is_one_more(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_irq(&f->lapic, 0x40, false);
    lapic_set_irq(&f->lapic, 0x40, false);
    take(f, 0x40);
    lapic_set_irq(&f->lapic, 0x40, false);
    lapic_set_irq(&f->lapic, 0x40, false);
    wr(f, APIC_EOI, 0);
    take(f, 0x40);
    wr(f, APIC_EOI, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
}

static void test_kick_comes_when_something_can_be_taken(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_tpr(&f->lapic, 0x50);
    lapic_set_irq(&f->lapic, 0x5f, false);
    assert_int_equal(f->kicks, 0);
    lapic_set_tpr(&f->lapic, 0x4f);
    assert_int_equal(f->kicks, 1);
    take(f, 0x5f);
    lapic_set_irq(&f->lapic, 0x51, false);
    assert_int_equal(f->kicks, 1);
    wr(f, APIC_EOI, 0);
    assert_int_equal(f->kicks, 2);
    assert_int_equal(lapic_get_tpr(&f->lapic), 0x4f);
}

static void test_accepting_what_is_not_pending_is_our_bug(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    expect_assert_failure(lapic_accept(&f->lapic, 0x40));
}

static void test_level_eoi_is_broadcast(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_irq(&f->lapic, 0x60, true);
    assert_int_equal(rd(f, APIC_TMR + 0x30), 1);
    take(f, 0x60);
    wr(f, APIC_EOI, 0x1234); // any value ends it
    assert_int_equal(f->eois, 1);
    assert_int_equal(f->eoi_vector, 0x60);
    lapic_set_irq(&f->lapic, 0x60, false);
    assert_int_equal(rd(f, APIC_TMR + 0x30), 0);
    take(f, 0x60);
    wr(f, APIC_EOI, 0);
    assert_int_equal(f->eois, 1);
}

static void test_eoi_broadcast_suppression(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rd(f, APIC_VERSION), 0x00050014);
    wr(f, APIC_SVR, APIC_SVR_ENABLE | APIC_SVR_EOI_SUPPRESS | 0xff);
    assert_int_equal(rd(f, APIC_SVR), APIC_SVR_ENABLE | 0xff); // not offered
    struct lapic_config config = f->lapic.config;
    config.eoi_suppress = true;
    lapic_init(&f->lapic, &config);
    assert_int_equal(rd(f, APIC_VERSION), 0x01050014);
    wr(f, APIC_SVR, APIC_SVR_ENABLE | APIC_SVR_EOI_SUPPRESS | 0xff);
    lapic_set_irq(&f->lapic, 0x60, true);
    take(f, 0x60);
    wr(f, APIC_EOI, 0);
    assert_int_equal(f->eois, 0);
    assert_int_equal(rd(f, APIC_ISR + 0x30), 0);
}

// What is in memory before lapic_init() does not matter.
static void test_init_over_rubbish(void **state)
{
    struct fixture *f = *state;
    struct lapic_config config = f->lapic.config;
    memset(&f->lapic, 0xa5, sizeof(f->lapic));
    lapic_init(&f->lapic, &config);
    lapic_virtual_wire(&f->lapic);
    assert_int_equal(f->kicks + f->nmis, 0);
    lapic_set_irq(&f->lapic, 0x30, false);
    take(f, 0x30);
    lapic_eoi(&f->lapic);
    lapic_eoi(&f->lapic);
    assert_int_equal(rd(f, APIC_PPR), 0);
    assert_int_equal(f->eois, 0);
    wr(f, APIC_TMICT, 50);
    assert_int_equal(f->queue.count, 1);
}

// EOI ends the interrupt in service with its own trigger mode, whatever else waits.
static void test_eoi_of_an_edge_while_others_wait(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_irq(&f->lapic, 0x60, false);
    take(f, 0x60);
    lapic_set_irq(&f->lapic, 0x61, true);
    wr(f, APIC_EOI, 0);
    assert_int_equal(f->eois, 0);
    take(f, 0x61);
    wr(f, APIC_EOI, 0);
    assert_int_equal(f->eois, 1);
}

static void test_software_disabled(void **state)
{
    struct fixture *f = *state;
    lapic_set_irq(&f->lapic, 0x40, false);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    software_enable(f);
    lapic_set_irq(&f->lapic, 0x40, false);
    wr(f, APIC_LVT_TIMER, 0x50);
    wr(f, APIC_LVT_LINT0, 0x700);
    wr(f, APIC_SVR, 0xff);
    for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
        assert_true(rd(f, lvt) & APIC_LVT_MASKED);
    wr(f, APIC_LVT_TIMER, 0x51);
    assert_int_equal(rd(f, APIC_LVT_TIMER), APIC_LVT_MASKED | 0x51);
    assert_false(lapic_accepts_extint(&f->lapic));
    // What was there already stays deliverable; NMI and INIT still come.
    take(f, 0x40);
    lapic_receive(&f->lapic, APIC_DM_FIXED, 0x41, false);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    lapic_receive(&f->lapic, APIC_DM_NMI, 0, false);
    lapic_receive(&f->lapic, APIC_DM_INIT, 0, false);
    assert_int_equal(f->nmis, 1);
    assert_int_equal(f->inits, 1);
    software_enable(f); // unmasks nothing
    assert_int_equal(rd(f, APIC_LVT_LINT0), APIC_LVT_MASKED | 0x700);
}

// ---- errors -------------------------------------------------------------------------------------

static void test_illegal_vectors(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    for (unsigned v = 0; v < 16; v++) {
        lapic_set_irq(&f->lapic, (u8)v, false);
        assert_int_equal(rd(f, APIC_IRR), 0);
        assert_int_equal(rd(f, APIC_ESR), 0); // until a write latches it
        wr(f, APIC_ESR, 0x77);
        assert_int_equal(rd(f, APIC_ESR), APIC_ESR_RECV_ILLEGAL);
        wr(f, APIC_ESR, 0);
        assert_int_equal(rd(f, APIC_ESR), 0);
    }
    lapic_set_irq(&f->lapic, 16, false);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), 0);
}

static void test_error_interrupt(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LVT_ERROR, 0xfe);
    lapic_set_irq(&f->lapic, 3, false);
    take(f, 0xfe);
    wr(f, APIC_EOI, 0);
    lapic_set_irq(&f->lapic, 4, false); // not again before ESR is written
    assert_int_equal(lapic_pending(&f->lapic), -1);
    wr(f, APIC_ESR, 0);
    lapic_set_irq(&f->lapic, 5, false);
    take(f, 0xfe);
    wr(f, APIC_EOI, 0);
    wr(f, APIC_ESR, 0);
    wr(f, APIC_LVT_ERROR, APIC_LVT_MASKED | 0xfe);
    lapic_set_irq(&f->lapic, 5, false);
    assert_int_equal(lapic_pending(&f->lapic), -1);
}

static void test_error_interrupt_with_an_illegal_vector_ends(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LVT_ERROR, 7);
    rd(f, 0x40);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), APIC_ESR_RECV_ILLEGAL | APIC_ESR_ILLEGAL_REG);
    assert_int_equal(lapic_pending(&f->lapic), -1);
}

static void test_sending_an_illegal_vector(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_ICR_HIGH, 0x77000000);
    wr(f, APIC_ICR_LOW, 0x0f);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), APIC_ESR_SEND_ILLEGAL);
    assert_int_equal(f->ipis, 0);
    wr(f, APIC_ICR_LOW, 0x4000f);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL);
    wr(f, APIC_ICR_LOW, APIC_DM_NMI << 8 | 2); // an NMI has no vector
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), 0);
    to_x2apic(f);
    wrmsr(f, APIC_SELF_IPI, 15);
    wrmsr(f, APIC_ESR, 0);
    assert_int_equal(rdmsr(f, APIC_ESR), APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL);
}

// 16 is the first legal vector, wherever vectors come from; and all of these are edges.
static void test_vector_16_is_legal_everywhere(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LVT_ERROR, 16);
    lapic_set_irq(&f->lapic, 15, false);
    take(f, 16);
    lapic_eoi(&f->lapic);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), APIC_ESR_RECV_ILLEGAL);
    wr(f, APIC_ICR_LOW, 0x40000 | 16);
    take(f, 16);
    lapic_eoi(&f->lapic);
    wr(f, APIC_ICR_HIGH, 0x25000000);
    wr(f, APIC_ICR_LOW, 16);
    take(f, 16);
    lapic_eoi(&f->lapic);
    wr(f, APIC_LVT_TIMER, 16);
    wr(f, APIC_TMICT, 1);
    run_to(f, f->now + 100);
    take(f, 16);
    lapic_eoi(&f->lapic);
    to_x2apic(f);
    wrmsr(f, APIC_SELF_IPI, 16);
    take(f, 16);
    lapic_eoi(&f->lapic);
    wrmsr(f, APIC_SELF_IPI, 255);
    take(f, 255);
    lapic_eoi(&f->lapic);
    wrmsr(f, APIC_ESR, 0);
    assert_int_equal(rdmsr(f, APIC_ESR), 0);
    assert_int_equal(f->eois, 0);
    wrmsr(f, APIC_LVT_LINT0, APIC_LVT_LEVEL | 16);
    lapic_set_lint(&f->lapic, 0, true);
    assert_int_equal(rdmsr(f, APIC_LVT_LINT0), APIC_LVT_LEVEL | APIC_LVT_RIRR | 16);
    take(f, 16);
}

// ---- IPIs ---------------------------------------------------------------------------------------

static void send(struct fixture *f, u32 dest, u32 low)
{
    forget(f);
    wr(f, APIC_ICR_HIGH, dest << 24);
    wr(f, APIC_ICR_LOW, low);
}

static void test_self_shorthand(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    send(f, 0, 0x40000 | 0x41);
    take(f, 0x41);
    assert_int_equal(f->ipis, 0);
    wr(f, APIC_EOI, 0);
    send(f, 0, 0x40000 | APIC_DM_LOWEST << 8 | 0x42);
    take(f, 0x42);
    wr(f, APIC_EOI, 0);
    send(f, 0, 0x40000 | APIC_DM_NMI << 8);
    assert_int_equal(f->nmis, 1);
    static const u32 invalid[] = {APIC_DM_SMI, 3, APIC_DM_INIT, APIC_DM_STARTUP, APIC_DM_EXTINT};
    for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
        send(f, 0, 0x40000 | invalid[i] << 8 | 0x50);
        assert_int_equal(f->nmis + f->inits + f->startups + f->ipis + f->kicks, 0);
        send(f, 0, 0x80000 | invalid[i] << 8 | 0x50);
        assert_int_equal(f->nmis + f->inits + f->startups + f->ipis + f->kicks, 0);
    }
}

static void test_self_ipi_is_edge_whatever_it_says(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    send(f, 0, 0x40000 | APIC_ICR_LEVEL | 0x41); // level, de-asserted
    assert_int_equal(rd(f, APIC_TMR + 0x20), 0);
    take(f, 0x41);
}

static void test_all_and_others(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    send(f, 0x99, 0x80000 | 0x43);
    take(f, 0x43);
    assert_int_equal(f->ipis, 1);
    assert_true(f->ipi.dest == LAPIC_BROADCAST);
    assert_int_equal(f->ipi.vector, 0x43);
    wr(f, APIC_EOI, 0);
    send(f, 0x25, 0xc0000 | APIC_ICR_DEST_LOGICAL | 0x44);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    assert_int_equal(f->ipis, 1);
    assert_true(f->ipi.dest == LAPIC_BROADCAST);
    assert_false(f->ipi.logical);
    send(f, 0, 0xc0000 | APIC_DM_INIT << 8 | APIC_ICR_ASSERT);
    assert_int_equal(f->ipis, 1);
    assert_int_equal(f->inits, 0);
}

static void test_physical_destination(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    for (u32 dest = 0; dest < 256; dest++) {
        send(f, dest, 0x45);
        bool self = dest == 0x25 || dest == 0xff;
        assert_int_equal(f->ipis, dest != 0x25);
        assert_int_equal(lapic_pending(&f->lapic), self ? 0x45 : -1);
        if (!self) {
            assert_int_equal(f->ipi.dest, dest);
            assert_int_equal(f->ipi.mode, APIC_DM_FIXED);
            continue;
        }
        take(f, 0x45);
        wr(f, APIC_EOI, 0);
    }
    send(f, 0x25, APIC_DM_NMI << 8);
    assert_int_equal(f->nmis, 1);
    send(f, 0x25, APIC_DM_INIT << 8 | APIC_ICR_LEVEL | APIC_ICR_ASSERT);
    assert_int_equal(f->inits, 1);
    send(f, 0x25, APIC_DM_INIT << 8); // as an edge
    assert_int_equal(f->inits, 1);
    send(f, 0x25, APIC_DM_INIT << 8 | APIC_ICR_LEVEL); // de-assert
    assert_int_equal(f->inits, 0);
    send(f, 0x33, APIC_DM_INIT << 8 | APIC_ICR_LEVEL);
    assert_int_equal(f->ipis, 0);
    send(f, 0x25, APIC_DM_STARTUP << 8 | 0x9a);
    assert_int_equal(f->startups, 1);
    assert_int_equal(f->startup_vector, 0x9a);
    send(f, 0x25, APIC_DM_SMI << 8);
    send(f, 0x25, APIC_DM_EXTINT << 8 | 0x50);
    send(f, 0x25, 3 << 8 | 0x50);
    assert_int_equal(f->nmis + f->inits + f->startups + f->ipis + f->kicks, 0);
}

static void test_logical_destination_flat(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    assert_true(rd(f, APIC_DFR) == 0xffffffff);
    for (u32 id = 0; id < 256; id += 3) {
        wr(f, APIC_LDR, id << 24 | 0x123456);
        assert_true(rd(f, APIC_LDR) == id << 24);
        for (u32 dest = 0; dest < 256; dest++)
            assert_int_equal(lapic_matches(&f->lapic, dest, true), dest == 0xff || (dest & id));
    }
    wr(f, APIC_LDR, 0x04000000);
    send(f, 0x06, APIC_ICR_DEST_LOGICAL | 0x46);
    assert_int_equal(f->ipis, 1); // others may be in the set too
    assert_true(f->ipi.logical);
    take(f, 0x46);
}

static void test_logical_destination_cluster(void **state)
{
    struct fixture *f = *state;
    wr(f, APIC_DFR, 0);
    assert_true(rd(f, APIC_DFR) == 0x0fffffff);
    for (u32 id = 0; id < 256; id += 3) {
        wr(f, APIC_LDR, id << 24);
        for (u32 dest = 0; dest < 256; dest++) {
            bool want = dest == 0xff || (dest >> 4 == id >> 4 && (dest & id & 0xf));
            assert_int_equal(lapic_matches(&f->lapic, dest, true), want);
        }
    }
    wr(f, APIC_DFR, 0x50000000); // no such model
    wr(f, APIC_LDR, 0xff000000);
    assert_false(lapic_matches(&f->lapic, 0x0f, true));
    assert_true(lapic_matches(&f->lapic, LAPIC_BROADCAST, true));
}

static void test_x2apic_destinations(void **state)
{
    struct fixture *f = *state;
    struct lapic_config config = f->lapic.config;
    config.id = 0x12345;
    lapic_init(&f->lapic, &config);
    to_x2apic(f);
    assert_int_equal(rdmsr(f, APIC_ID), 0x12345);
    assert_int_equal(rdmsr(f, APIC_LDR), 0x1234u << 16 | 1u << 5);
    assert_true(lapic_matches(&f->lapic, 0x12345, false));
    assert_false(lapic_matches(&f->lapic, 0x45, false));
    assert_false(lapic_matches(&f->lapic, 0xff, false));
    assert_true(lapic_matches(&f->lapic, 0xffffffff, false));
    assert_true(lapic_matches(&f->lapic, 0xffffffff, true));
    assert_true(lapic_matches(&f->lapic, 0x12340020, true));
    assert_true(lapic_matches(&f->lapic, 0x1234ffff, true));
    assert_false(lapic_matches(&f->lapic, 0x1234ffdf, true));
    assert_false(lapic_matches(&f->lapic, 0x12350020, true));
    wrmsr(f, APIC_SVR, 0x1ff);
    wrmsr(f, APIC_ICR_LOW, 0x12345ull << 32 | 0x47);
    assert_int_equal(f->ipis, 0);
    take(f, 0x47);
    wrmsr(f, APIC_ICR_LOW, 0xabcdef0100000048ull);
    assert_int_equal(f->ipis, 1);
    assert_true(f->ipi.dest == 0xabcdef01);
}

static void test_disabled_apic_matches_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE), OK);
    assert_false(lapic_matches(&f->lapic, 0x25, false));
    assert_false(lapic_matches(&f->lapic, LAPIC_BROADCAST, false));
}

// ---- the LINT pins ------------------------------------------------------------------------------

static void test_lint0_extint(void **state)
{
    struct fixture *f = *state;
    assert_false(lapic_accepts_extint(&f->lapic)); // masked by RESET
    lapic_virtual_wire(&f->lapic);
    assert_true(lapic_accepts_extint(&f->lapic));
    lapic_set_lint(&f->lapic, 0, true);
    assert_int_equal(f->kicks, 1);
    lapic_set_lint(&f->lapic, 0, true); // still the same level
    assert_int_equal(f->kicks, 1);
    wr(f, APIC_LVT_LINT0, APIC_LVT_MASKED | 0x700);
    assert_false(lapic_accepts_extint(&f->lapic));
    assert_int_equal(f->kicks, 1);
    wr(f, APIC_LVT_LINT0, 0x700); // opens onto an asserted pin
    assert_int_equal(f->kicks, 2);
    wr(f, APIC_LVT_LINT0, 0x000); // fixed is not ExtINT
    assert_false(lapic_accepts_extint(&f->lapic));
    assert_int_equal(lapic_pending(&f->lapic), -1);
}

static void test_lint1_nmi(void **state)
{
    struct fixture *f = *state;
    lapic_lint_set(&f->lapic, 1, true);
    assert_int_equal(f->nmis, 0); // masked
    lapic_virtual_wire(&f->lapic);
    assert_int_equal(f->nmis, 0); // the edge has passed
    lapic_lint_set(&f->lapic, 1, false);
    lapic_lint_set(&f->lapic, 1, true);
    lapic_lint_set(&f->lapic, 1, true);
    assert_int_equal(f->nmis, 1);
    wr(f, APIC_LVT_LINT1, APIC_DM_NMI << 8 | APIC_LVT_LEVEL);
    assert_int_equal(f->nmis, 1); // NMI is an edge whatever the entry says
    wr(f, APIC_LVT_LINT1, APIC_DM_INIT << 8);
    lapic_set_lint(&f->lapic, 1, false);
    lapic_set_lint(&f->lapic, 1, true);
    assert_int_equal(f->inits, 1);
    wr(f, APIC_LVT_LINT1, APIC_DM_SMI << 8);
    lapic_set_lint(&f->lapic, 1, false);
    lapic_set_lint(&f->lapic, 1, true);
    assert_int_equal(f->nmis + f->inits, 2);
}

static void test_lint_fixed_edge(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LVT_LINT0, 0x61);
    wr(f, APIC_LVT_LINT1, 0x62 | APIC_LVT_LEVEL); // LINT1 has no level
    lapic_set_lint(&f->lapic, 0, true);
    take(f, 0x61);
    assert_int_equal(rd(f, APIC_TMR + 0x30), 0);
    wr(f, APIC_EOI, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    lapic_set_lint(&f->lapic, 1, true);
    take(f, 0x62);
    assert_int_equal(rd(f, APIC_TMR + 0x30), 0);
    wr(f, APIC_EOI, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
}

static void test_lint0_fixed_level(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    lapic_set_lint(&f->lapic, 0, true);
    wr(f, APIC_LVT_LINT0, APIC_LVT_LEVEL | 0x63); // felt although it was asserted before
    assert_int_equal(rd(f, APIC_LVT_LINT0), APIC_LVT_RIRR | APIC_LVT_LEVEL | 0x63);
    take(f, 0x63);
    lapic_set_lint(&f->lapic, 0, false);
    lapic_set_lint(&f->lapic, 0, true);
    assert_int_equal(lapic_pending(&f->lapic), -1); // remote IRR holds it
    assert_int_equal(rd(f, APIC_IRR + 0x30), 0);
    wr(f, APIC_EOI, 0);
    take(f, 0x63); // still asserted: again
    lapic_set_lint(&f->lapic, 0, false);
    wr(f, APIC_EOI, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
    assert_int_equal(rd(f, APIC_LVT_LINT0), APIC_LVT_LEVEL | 0x63);
    wr(f, APIC_LVT_LINT0, APIC_LVT_LEVEL | APIC_LVT_RIRR | 0x63);
    assert_int_equal(rd(f, APIC_LVT_LINT0), APIC_LVT_LEVEL | 0x63); // read-only
}

// Remote IRR belongs to LINT0's own vector and trigger mode.
static void test_eoi_of_others_leaves_lint0_alone(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LVT_LINT0, APIC_LVT_LEVEL | 0x63);
    lapic_set_lint(&f->lapic, 0, true);
    lapic_set_irq(&f->lapic, 0x70, true); // an I/O APIC's
    take(f, 0x70);
    wr(f, APIC_EOI, 0);
    assert_int_equal(rd(f, APIC_LVT_LINT0), APIC_LVT_LEVEL | APIC_LVT_RIRR | 0x63);
    take(f, 0x63);
    wr(f, APIC_LVT_LINT0, 0x63); // an edge from now on, and it has passed
    wr(f, APIC_EOI, 0);
    assert_int_equal(lapic_pending(&f->lapic), -1);
}

static void test_lint0_level_with_an_illegal_vector(void **state)
{
    struct fixture *f = *state;
    software_enable(f);
    wr(f, APIC_LVT_LINT0, APIC_LVT_LEVEL | 0x3);
    lapic_set_lint(&f->lapic, 0, true);
    assert_int_equal(rd(f, APIC_LVT_LINT0), APIC_LVT_LEVEL | 0x3);
    wr(f, APIC_ESR, 0);
    assert_int_equal(rd(f, APIC_ESR), APIC_ESR_RECV_ILLEGAL);
}

static void test_pins_of_a_disabled_apic_are_intr_and_nmi(void **state)
{
    struct fixture *f = *state;
    lapic_set_lint(&f->lapic, 0, true);
    assert_int_equal(f->kicks, 0);
    assert_int_equal(lapic_base_write(&f->lapic, APIC_DEFAULT_BASE), OK);
    assert_int_equal(f->kicks, 1);
    assert_true(lapic_accepts_extint(&f->lapic));
    lapic_set_lint(&f->lapic, 0, false);
    lapic_set_lint(&f->lapic, 0, true);
    assert_int_equal(f->kicks, 2);
    lapic_set_lint(&f->lapic, 1, true);
    assert_int_equal(f->nmis, 1);
}

static void test_a_third_pin_is_our_bug(void **state)
{
    struct fixture *f = *state;
    expect_assert_failure(lapic_set_lint(&f->lapic, 2, true));
}

// An owner that wants to hear of nothing.
static void test_ops_may_be_missing(void **state)
{
    struct fixture *f = *state;
    static const struct lapic_ops none = {0};
    struct lapic_config config = f->lapic.config;
    config.ops = &none;
    lapic_init(&f->lapic, &config);
    lapic_virtual_wire(&f->lapic);
    lapic_set_lint(&f->lapic, 0, true);
    lapic_set_lint(&f->lapic, 1, true);
    lapic_set_irq(&f->lapic, 0x60, true);
    take(f, 0x60);
    wr(f, APIC_EOI, 0);
    for (u32 mode = 0; mode < 8; mode++)
        send(f, 0xff, mode << 8 | 0x60);
    take(f, 0x60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_interrupt_goes_from_irr_to_isr_to_nowhere),
        TEST(test_every_vector_has_its_bit),
        TEST(test_priorities),
        TEST(test_nesting_and_order),
        TEST(test_same_vector_twice_is_one_more),
        TEST(test_kick_comes_when_something_can_be_taken),
        TEST(test_accepting_what_is_not_pending_is_our_bug),
        TEST(test_level_eoi_is_broadcast),
        TEST(test_eoi_broadcast_suppression),
        TEST(test_init_over_rubbish),
        TEST(test_eoi_of_an_edge_while_others_wait),
        TEST(test_software_disabled),
        TEST(test_illegal_vectors),
        TEST(test_error_interrupt),
        TEST(test_error_interrupt_with_an_illegal_vector_ends),
        TEST(test_sending_an_illegal_vector),
        TEST(test_vector_16_is_legal_everywhere),
        TEST(test_self_shorthand),
        TEST(test_self_ipi_is_edge_whatever_it_says),
        TEST(test_all_and_others),
        TEST(test_physical_destination),
        TEST(test_logical_destination_flat),
        TEST(test_logical_destination_cluster),
        TEST(test_x2apic_destinations),
        TEST(test_disabled_apic_matches_nothing),
        TEST(test_lint0_extint),
        TEST(test_lint1_nmi),
        TEST(test_lint_fixed_edge),
        TEST(test_lint0_fixed_level),
        TEST(test_eoi_of_others_leaves_lint0_alone),
        TEST(test_lint0_level_with_an_illegal_vector),
        TEST(test_pins_of_a_disabled_apic_are_intr_and_nmi),
        TEST(test_a_third_pin_is_our_bug),
        TEST(test_ops_may_be_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
