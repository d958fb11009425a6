// SPDX-License-Identifier: MIT
// The 8259A pair: directed tests of each datasheet feature, and random programs compared with a
// model that finds priorities by walking the inputs one at a time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "devices/pic.h"
#include "tests/host/device_rig.h"
#include "tests/host/pic_model.h"

struct fixture {
    struct rig rig;
    struct pic pic;
};

enum { M = 0x20, MD = 0x21, S = 0xa0, SD = 0xa1, ELCR = 0x4d0 };

static void program(struct fixture *f, u8 icw1, u8 icw4)
{
    outb(&f->rig, M, icw1);
    outb(&f->rig, MD, 0x30);
    outb(&f->rig, MD, 0x04);
    outb(&f->rig, MD, icw4);
    outb(&f->rig, S, icw1);
    outb(&f->rig, SD, 0x38);
    outb(&f->rig, SD, 0x02);
    outb(&f->rig, SD, icw4);
}

static struct fixture *fresh(void)
{
    static struct fixture f;
    rig_init(&f.rig, 1000);
    pic_init(&f.pic, rig_pin(&f.rig));
    assert_int_equal(pic_attach(&f.pic, &f.rig.bus), OK);
    program(&f, 0x11, 0x01);
    return &f;
}

static void line(struct fixture *f, unsigned irq, bool level)
{
    pic_set_irq(&f->pic, irq, level);
    assert_int_equal(pic_output(&f->pic), f->rig.irq.level);
}

static u8 ack(struct fixture *f)
{
    u8 vector = pic_ack(&f->pic);
    assert_int_equal(pic_output(&f->pic), f->rig.irq.level);
    return vector;
}

static u8 isr(struct fixture *f, u16 port)
{
    outb(&f->rig, port, 0x0b);
    return inb(&f->rig, port);
}

static u8 irr(struct fixture *f, u16 port)
{
    outb(&f->rig, port, 0x0a);
    return inb(&f->rig, port);
}

// ---- directed -----------------------------------------------------------------------------------

static void before_icw1_all_is_masked(void **state)
{
    (void)state;
    struct fixture f;
    rig_init(&f.rig, 1000);
    pic_init(&f.pic, rig_pin(&f.rig));
    assert_int_equal(pic_attach(&f.pic, &f.rig.bus), OK);
    line(&f, 0, true);
    line(&f, 8, true);
    assert_false(pic_output(&f.pic));
    assert_int_equal(inb(&f.rig, MD), 0xff);
    assert_int_equal(inb(&f.rig, SD), 0xff);
}

static void mask_reads_back_and_holds_requests(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(inb(&f->rig, MD), 0);
    outb(&f->rig, MD, 0xfb);
    assert_int_equal(inb(&f->rig, MD), 0xfb);
    line(f, 3, true);
    assert_false(pic_output(&f->pic));
    assert_int_equal(irr(f, M), 0x08);
    outb(&f->rig, MD, 0xf3);
    assert_true(pic_output(&f->pic));
    outb(&f->rig, MD, 0xfb); // software withdraws INT by masking
    assert_false(pic_output(&f->pic));
}

static void edge_needs_a_new_rise(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 4, true);
    assert_int_equal(ack(f), 0x34);
    assert_int_equal(isr(f, M), 0x10);
    assert_int_equal(irr(f, M), 0);
    outb(&f->rig, M, 0x20);
    assert_int_equal(isr(f, M), 0);
    line(f, 4, true); // still up: no edge
    assert_false(pic_output(&f->pic));
    line(f, 4, false);
    line(f, 4, true);
    assert_true(pic_output(&f->pic));
}

static void level_requests_while_up(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, ELCR + 1, 0x08);
    line(f, 11, true);
    for (int i = 0; i < 3; i++) {
        assert_true(pic_output(&f->pic));
        assert_int_equal(ack(f), 0x3b);
        assert_int_equal(irr(f, S), 0x08);
        assert_false(pic_output(&f->pic));
        outb(&f->rig, S, 0x20);
        outb(&f->rig, M, 0x20);
    }
    ack(f);
    line(f, 11, false);
    outb(&f->rig, S, 0x20);
    outb(&f->rig, M, 0x20);
    assert_false(pic_output(&f->pic));
}

static void elcr_holds_only_what_can_be_level(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    rig_out(&f->rig, ELCR, 2, 0xffff);
    assert_int_equal(rig_in(&f->rig, ELCR, 2), 0xdef8);
    program(f, 0x11, 1);
    assert_int_equal(rig_in(&f->rig, ELCR, 2), 0xdef8); // ICW1 is not the chipset's business
    line(f, 0, true);
    ack(f);
    outb(&f->rig, M, 0x20);
    assert_false(pic_output(&f->pic)); // line 0 stays edge triggered
    bus_reset(&f->rig.bus);
    assert_int_equal(rig_in(&f->rig, ELCR, 2), 0);
}

static void ltim_makes_all_level(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 1, true);
    assert_int_equal(ack(f), 0x31);
    program(f, 0x19, 1);
    assert_true(pic_output(&f->pic)); // no edge needed
    assert_int_equal(ack(f), 0x31);
    outb(&f->rig, M, 0x20);
    assert_true(pic_output(&f->pic));
    line(f, 1, false);
    line(f, 9, true);
    assert_int_equal(ack(f), 0x39);
    program(f, 0x11, 1);
    assert_false(pic_output(&f->pic)); // edge again: the line must fall first
}

static void priority_is_fully_nested(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 5, true);
    assert_int_equal(ack(f), 0x35);
    line(f, 6, true);
    assert_false(pic_output(&f->pic));
    line(f, 1, true);
    assert_true(pic_output(&f->pic));
    assert_int_equal(ack(f), 0x31);
    assert_int_equal(isr(f, M), 0x22);
    outb(&f->rig, M, 0x20); // ends 1
    assert_int_equal(isr(f, M), 0x20);
    assert_false(pic_output(&f->pic));
    outb(&f->rig, M, 0x20); // ends 5
    assert_int_equal(ack(f), 0x36);
}

static void slave_goes_through_input_2(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 3, true);
    line(f, 12, true);
    assert_int_equal(irr(f, M), 0x0c);
    assert_int_equal(ack(f), 0x3c); // before 3: input 2 is higher
    assert_int_equal(isr(f, M), 0x04);
    assert_int_equal(isr(f, S), 0x10);
    line(f, 8, true); // higher in the slave, but the master's input 2 is in service
    assert_false(pic_output(&f->pic));
    outb(&f->rig, S, 0x64); // specific end of 12
    outb(&f->rig, M, 0x62);
    assert_int_equal(ack(f), 0x38);
    outb(&f->rig, S, 0x20);
    outb(&f->rig, M, 0x20);
    assert_int_equal(ack(f), 0x33);
}

static void line_2_is_the_cascade(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 2, true);
    line(f, 16, true);
    line(f, ~0u, true);
    assert_false(pic_output(&f->pic));
    assert_int_equal(irr(f, M), 0);
    outb(&f->rig, SD, 0xff);
    line(f, 10, true);
    assert_int_equal(irr(f, M), 0);
    outb(&f->rig, SD, 0);
    assert_int_equal(irr(f, M), 4);
}

static void master_withdrawn_gives_irq_7(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 4, true);
    line(f, 4, false);
    assert_true(pic_output(&f->pic)); // INT waits for its acknowledge ...
    assert_int_equal(irr(f, M), 0);   // ... or for software, here with OCW3
    assert_false(pic_output(&f->pic));
    line(f, 4, true);
    line(f, 4, false);
    assert_int_equal(ack(f), 0x37);
    assert_int_equal(isr(f, M), 0);
    assert_false(pic_output(&f->pic));
    assert_int_equal(ack(f), 0x37); // an acknowledge nobody asked for
    line(f, 7, true);
    assert_int_equal(ack(f), 0x37); // and the real one, told apart by the ISR
    assert_int_equal(isr(f, M), 0x80);
}

static void slave_withdrawn_gives_irq_15(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 10, true);
    line(f, 10, false);
    assert_true(pic_output(&f->pic));
    assert_int_equal(ack(f), 0x3f);
    assert_int_equal(isr(f, S), 0);    // nothing to end in the slave
    assert_int_equal(isr(f, M), 0x04); // but the master saw its input 2 serviced
    line(f, 5, true);
    assert_false(pic_output(&f->pic));
    outb(&f->rig, M, 0x20);
    assert_int_equal(ack(f), 0x35);
}

static void spurious_does_not_lose_another(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 4, true);
    line(f, 4, false);
    line(f, 6, true);
    assert_int_equal(ack(f), 0x36); // a request that is there is what is acknowledged
    assert_int_equal(isr(f, M), 0x40);
}

static void automatic_eoi_keeps_isr_clear(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    program(f, 0x11, 0x03);
    line(f, 1, true);
    line(f, 9, true);
    line(f, 10, true);
    assert_int_equal(ack(f), 0x31);
    assert_int_equal(isr(f, M), 0);
    assert_int_equal(ack(f), 0x39);
    assert_true(pic_output(&f->pic)); // a new edge on input 2 for the slave's next
    assert_int_equal(ack(f), 0x3a);
    assert_int_equal(isr(f, S), 0);
    assert_false(pic_output(&f->pic));
}

static void rotation_in_automatic_eoi(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    program(f, 0x11, 0x03);
    outb(&f->rig, M, 0x80); // set
    line(f, 3, true);
    assert_int_equal(ack(f), 0x33); // 3 is now lowest, 4 highest
    line(f, 3, false);
    line(f, 3, true);
    line(f, 0, true);
    line(f, 5, true);
    assert_int_equal(ack(f), 0x35);
    assert_int_equal(ack(f), 0x30);
    outb(&f->rig, M, 0x00); // clear: 1 stays highest
    assert_int_equal(ack(f), 0x33);
    line(f, 1, true);
    line(f, 0, false);
    line(f, 0, true);
    assert_int_equal(ack(f), 0x31);
    assert_int_equal(ack(f), 0x30);
}

static void set_priority_and_rotate_on_eoi(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, M, 0xc4); // 4 lowest: order 5 6 7 0 1 2 3 4
    line(f, 0, true);
    line(f, 4, true);
    line(f, 6, true);
    assert_int_equal(ack(f), 0x36);
    outb(&f->rig, M, 0xa0);         // rotate on non-specific: 6 lowest, 7 highest
    assert_int_equal(ack(f), 0x30); // 7 0 1 ...
    line(f, 6, false);
    line(f, 6, true);
    outb(&f->rig, M, 0xe0);         // rotate on specific: 0 lowest, 1 highest
    assert_int_equal(ack(f), 0x34); // 1 2 3 4 5 6 7 0
    outb(&f->rig, M, 0x40);         // no operation
    assert_int_equal(isr(f, M), 0x10);
    outb(&f->rig, M, 0x64);
    assert_int_equal(ack(f), 0x36);
}

static void eoi_of_nothing_is_nothing(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, M, 0x20);
    outb(&f->rig, M, 0xa0); // must not rotate either
    line(f, 0, true);
    line(f, 1, true);
    assert_int_equal(ack(f), 0x30);
}

static void special_mask_mode_lets_lower_ones_in(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 1, true);
    assert_int_equal(ack(f), 0x31);
    line(f, 5, true);
    outb(&f->rig, MD, 0x02);
    assert_false(pic_output(&f->pic));
    outb(&f->rig, M, 0x68); // set special mask
    assert_true(pic_output(&f->pic));
    assert_int_equal(ack(f), 0x35);
    outb(&f->rig, M, 0x20);            // ends 5, not the masked 1
    assert_int_equal(isr(f, M), 0x02); // datasheet: a masked in-service bit is not cleared
    outb(&f->rig, M, 0x28);            // ESMM clear: SMM is not looked at
    line(f, 6, true);
    assert_true(pic_output(&f->pic));
    outb(&f->rig, M, 0x48); // clear special mask
    assert_false(pic_output(&f->pic));
    outb(&f->rig, M, 0x20);
    assert_int_equal(isr(f, M), 0);
}

static void special_fully_nested_mode_reopens_the_slave(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    program(f, 0x11, 0x11);
    line(f, 12, true);
    assert_int_equal(ack(f), 0x3c);
    line(f, 3, true);
    assert_false(pic_output(&f->pic)); // lower than the slave
    line(f, 14, true);
    assert_false(pic_output(&f->pic)); // lower within the slave
    line(f, 9, true);
    assert_true(pic_output(&f->pic));
    assert_int_equal(ack(f), 0x39);
    assert_int_equal(isr(f, S), 0x12);
    outb(&f->rig, S, 0x20);
    assert_false(pic_output(&f->pic));
    outb(&f->rig, S, 0x20); // ends 12; 14 comes through input 2 while that is in service
    assert_int_equal(ack(f), 0x3e);
    outb(&f->rig, S, 0x20);
    outb(&f->rig, M, 0x20);
    assert_int_equal(ack(f), 0x33);
}

static void poll_acknowledges_by_read(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, M, 0x0c);
    assert_int_equal(inb(&f->rig, M), 0);
    assert_int_equal(inb(&f->rig, MD), 0); // one read only: this is the IMR
    line(f, 6, true);
    line(f, 3, true);
    outb(&f->rig, M, 0x0c);
    assert_int_equal(inb(&f->rig, M), 0x83);
    assert_int_equal(isr(f, M), 0x08);
    assert_false(pic_output(&f->pic));
    outb(&f->rig, M, 0x20);
    outb(&f->rig, M, 0x0c);
    assert_int_equal(inb(&f->rig, MD), 0x86); // either address
    outb(&f->rig, M, 0x20);
    line(f, 13, true);
    outb(&f->rig, M, 0x0c);
    assert_int_equal(inb(&f->rig, M), 0x82);
    outb(&f->rig, S, 0x0c);
    assert_int_equal(inb(&f->rig, S), 0x85);
    assert_int_equal(isr(f, S), 0x20);
    assert_int_equal(irr(f, M), 0);
}

static void single_mode_has_no_icw3_and_no_cascade(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    outb(&f->rig, M, 0x13); // single, ICW4
    outb(&f->rig, MD, 0x47);
    outb(&f->rig, MD, 0x01);
    outb(&f->rig, MD, 0x80); // OCW1 already
    assert_int_equal(inb(&f->rig, MD), 0x80);
    line(f, 9, true);
    assert_int_equal(ack(f), 0x42); // ICW2's low bits count for nothing
    outb(&f->rig, M, 0x12);         // single, no ICW4
    outb(&f->rig, MD, 0x50);
    outb(&f->rig, MD, 0x01);
    assert_int_equal(inb(&f->rig, MD), 0x01);
    outb(&f->rig, M, 0x10); // cascade, no ICW4
    outb(&f->rig, MD, 0x50);
    outb(&f->rig, MD, 0x04);
    outb(&f->rig, MD, 0x7f);
    assert_int_equal(inb(&f->rig, MD), 0x7f);
}

static void icw1_starts_over(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    program(f, 0x11, 0x03); // AEOI, to see it go
    outb(&f->rig, M, 0xc2);
    outb(&f->rig, M, 0x6b); // special mask, ISR reads
    outb(&f->rig, MD, 0xf0);
    line(f, 1, true);
    outb(&f->rig, M, 0x10); // no ICW4: its functions are off
    outb(&f->rig, MD, 0x30);
    outb(&f->rig, MD, 0x04);
    assert_int_equal(inb(&f->rig, MD), 0);
    assert_int_equal(inb(&f->rig, M), 0); // IRR: the edge was forgotten
    line(f, 1, false);
    line(f, 1, true);
    line(f, 0, true);
    assert_int_equal(inb(&f->rig, M), 0x03);
    assert_int_equal(ack(f), 0x30); // 0 is highest again
    assert_int_equal(isr(f, M), 0x01);
}

static void wide_access_is_byte_by_byte(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    line(f, 5, true);
    rig_out(&f->rig, M, 2, 0xaa0a);
    assert_int_equal(rig_in(&f->rig, M, 2), 0xaa20);
    // Four bytes pass the chip's two ports: nobody's.
    assert_int_equal(rig_in(&f->rig, M, 4), 0xffffffff);
}

static void output_is_told_on_changes_only(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    unsigned before = f->rig.irq.calls;
    line(f, 5, true);
    line(f, 5, true);
    line(f, 6, true);
    assert_int_equal(f->rig.irq.calls, before + 1);
    ack(f);
    assert_int_equal(f->rig.irq.calls, before + 2);
    outb(&f->rig, MD, 0);
    inb(&f->rig, M);
    assert_int_equal(f->rig.irq.calls, before + 2);
    outb(&f->rig, M, 0x20);
    bus_reset(&f->rig.bus);
    assert_int_equal(f->rig.irq.calls, before + 4);
    assert_false(pic_output(&f->pic));
}

// ---- against the model --------------------------------------------------------------------------

static u8 random_register_value(u16 port, u64 *seed)
{
    u32 r = rig_random(seed);
    if (port & 1 && port < 0x4d0 && r & 0x300)
        return (u8)(r & 0xff & rig_random(seed)); // masks with more bits clear
    if (!(port & 1) && (r & 0xf00))
        return (u8)(r & 0xef); // ICW1 now and then only
    return (u8)r;
}

// Initialisations come seldom, so that most steps run in a mode that makes sense.
static void random_program(u64 seed, unsigned steps)
{
    static const u16 ports[] = {M, MD, S, SD, ELCR, ELCR + 1};
    struct fixture *f = fresh();
    struct model m = {
        .chip = {{.lowest = 7, .base = 0x30, .ic4 = true},
                 {.lowest = 7, .base = 0x38, .ic4 = true}}
    };
    for (unsigned step = 0; step < steps; step++) {
        u32 what = rig_random(&seed) % 16;
        u16 port = ports[rig_random(&seed) % (rig_random(&seed) % 8 ? 4 : 6)];
        u32 got = 0, want = 0;
        if (what < 7) {
            unsigned irq = rig_random(&seed) % 16;
            bool level = rig_random(&seed) & 1;
            pic_set_irq(&f->pic, irq, level);
            if (irq != 2) {
                model_line(&m.chip[irq / 8], (int)(irq % 8), level);
                if (level)
                    model_update(&m, true);
            }
        } else if (what < 10) {
            if (pic_output(&f->pic) || rig_random(&seed) % 8 == 0) {
                got = pic_ack(&f->pic);
                want = model_ack(&m);
            }
        } else if (what < 12) {
            got = inb(&f->rig, port);
            want = model_read(&m, port);
        } else {
            u8 value = random_register_value(port, &seed);
            outb(&f->rig, port, value);
            model_write(&m, port, value);
        }
        if (got != want || pic_output(&f->pic) != m.chip[0].intr ||
            f->rig.irq.level != m.chip[0].intr)
            fail_msg("step %u, kind %u, port %x: got %x, want %x; INT %d, want %d", step, what,
                     port, got, want, pic_output(&f->pic), m.chip[0].intr);
    }
}

static void random_programs_match_the_model(void **state)
{
    (void)state;
    for (u64 seed = 1; seed <= 400; seed++)
        random_program(seed, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_icw1_all_is_masked),
        cmocka_unit_test(mask_reads_back_and_holds_requests),
        cmocka_unit_test(edge_needs_a_new_rise),
        cmocka_unit_test(level_requests_while_up),
        cmocka_unit_test(elcr_holds_only_what_can_be_level),
        cmocka_unit_test(ltim_makes_all_level),
        cmocka_unit_test(priority_is_fully_nested),
        cmocka_unit_test(slave_goes_through_input_2),
        cmocka_unit_test(line_2_is_the_cascade),
        cmocka_unit_test(master_withdrawn_gives_irq_7),
        cmocka_unit_test(slave_withdrawn_gives_irq_15),
        cmocka_unit_test(spurious_does_not_lose_another),
        cmocka_unit_test(automatic_eoi_keeps_isr_clear),
        cmocka_unit_test(rotation_in_automatic_eoi),
        cmocka_unit_test(set_priority_and_rotate_on_eoi),
        cmocka_unit_test(eoi_of_nothing_is_nothing),
        cmocka_unit_test(special_mask_mode_lets_lower_ones_in),
        cmocka_unit_test(special_fully_nested_mode_reopens_the_slave),
        cmocka_unit_test(poll_acknowledges_by_read),
        cmocka_unit_test(single_mode_has_no_icw3_and_no_cascade),
        cmocka_unit_test(icw1_starts_over),
        cmocka_unit_test(wide_access_is_byte_by_byte),
        cmocka_unit_test(output_is_told_on_changes_only),
        cmocka_unit_test(random_programs_match_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
