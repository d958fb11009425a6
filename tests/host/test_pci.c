// SPDX-License-Identifier: MIT
// PCI configuration mechanism #1 with the host bridge alone, and the reset registers: CF9H in the
// midst of CONFIG_ADDRESS, and port 92H.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "devices/pci.h"
#include "devices/reset.h"
#include "tests/host/device_rig.h"

#define ENABLE 0x80000000u

struct fixture {
    struct rig rig;
    struct reset reset;
    struct pci pci;
    unsigned asked;
    const char *by;
};

static void ask(void *ctx, const char *by)
{
    struct fixture *f = ctx;
    f->asked++;
    f->by = by;
}

static struct fixture *fresh(void)
{
    static struct fixture f;
    f = (struct fixture){0};
    rig_init(&f.rig, 1000000000);
    reset_init(&f.reset, (struct reset_pin){.ask = ask, .ctx = &f});
    pci_init(&f.pci, &f.reset.dev);
    assert_int_equal(reset_attach(&f.reset, &f.rig.bus), OK);
    assert_int_equal(pci_attach(&f.pci, &f.rig.bus), OK);
    return &f;
}

static void select_config(struct fixture *f, u32 address)
{
    rig_out(&f->rig, 0xcf8, 4, address);
}

static u32 config_read(struct fixture *f, u32 address)
{
    select_config(f, ENABLE | address);
    return (u32)rig_in(&f->rig, 0xcfc, 4);
}

static void config_write(struct fixture *f, u32 address, u32 value)
{
    select_config(f, ENABLE | address);
    rig_out(&f->rig, 0xcfc, 4, value);
}

static void bridge_is_a_440fx(void **state)
{
    (void)state;
    static const u32 header[16] = {0x12378086, 0x02800006, 0x06000002};
    struct fixture *f = fresh();
    for (u32 i = 0; i < 64; i++)
        assert_int_equal(config_read(f, i * 4), i < 16 ? header[i] : 0);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 0);
}

static void bytes_and_words_come_from_their_lanes(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    select_config(f, ENABLE | 0x00);
    assert_int_equal(rig_in(&f->rig, 0xcfc, 1), 0x86);
    assert_int_equal(rig_in(&f->rig, 0xcfd, 1), 0x80);
    assert_int_equal(rig_in(&f->rig, 0xcfe, 1), 0x37);
    assert_int_equal(rig_in(&f->rig, 0xcff, 1), 0x12);
    assert_int_equal(rig_in(&f->rig, 0xcfc, 2), 0x8086);
    assert_int_equal(rig_in(&f->rig, 0xcfd, 2), 0x3780);
    assert_int_equal(rig_in(&f->rig, 0xcfe, 2), 0x1237);
    select_config(f, ENABLE | 0x08);
    assert_int_equal(rig_in(&f->rig, 0xcfe, 2), 0x0600); // class and subclass
    // An access past CFFH is not this device's.
    assert_int_equal(rig_in(&f->rig, 0xcfe, 4), 0xffffffff);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 1);
}

// Each bit of the header: written 1, then 0, by itself; all but three fields stay as they are.
static void header_is_read_only_but_for_what_is_not(void **state)
{
    (void)state;
    static const u32 writable[16] = {[1] = 0x140, [3] = 0xf800};
    struct fixture *f = fresh();
    for (u32 i = 0; i < 64; i++) {
        u32 before = config_read(f, i * 4), mask = i < 16 ? writable[i] : 0;
        for (u32 bit = 0; bit < 32; bit++) {
            config_write(f, i * 4, before | BIT32(bit));
            assert_int_equal(config_read(f, i * 4), before | (BIT32(bit) & mask));
            config_write(f, i * 4, before & ~BIT32(bit));
            assert_int_equal(config_read(f, i * 4), before);
        }
        config_write(f, i * 4, ~0u);
        assert_int_equal(config_read(f, i * 4), before | mask);
        config_write(f, i * 4, 0);
        assert_int_equal(config_read(f, i * 4), before & ~mask);
    }
}

static void writes_change_the_bytes_they_cover(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    select_config(f, ENABLE | 0x04);
    outb(&f->rig, 0xcfd, 0xff); // SERR#
    assert_int_equal(config_read(f, 0x04), 0x02800106);
    outb(&f->rig, 0xcfc, 0xff); // parity error response
    assert_int_equal(config_read(f, 0x04), 0x02800146);
    rig_out(&f->rig, 0xcfe, 2, 0xffff); // status
    rig_out(&f->rig, 0xcfd, 2, 0);
    assert_int_equal(config_read(f, 0x04), 0x02800046);
    bus_reset(&f->rig.bus);
    assert_int_equal(rig_in(&f->rig, 0xcf8, 4), 0);
    assert_int_equal(config_read(f, 0x04), 0x02800006);
}

static void every_other_function_is_absent(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    for (u32 function = 1; function < 0x10000; function++) {
        select_config(f, ENABLE | function << 8);
        assert_int_equal(rig_in(&f->rig, 0xcfc, 4), 0xffffffff);
        assert_int_equal(rig_in(&f->rig, 0xcfe, 2), 0xffff);
        rig_out(&f->rig, 0xcfc, 4, 0);
        assert_int_equal(rig_in(&f->rig, 0xcff, 1), 0xff);
    }
    assert_int_equal(config_read(f, 0), 0x12378086);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 0);
}

static void address_register_keeps_what_exists_of_it(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(rig_in(&f->rig, 0xcf8, 4), 0);
    select_config(f, 0xffffffff);
    assert_int_equal(rig_in(&f->rig, 0xcf8, 4), 0x80fffffc);
    select_config(f, 0x00000003);
    assert_int_equal(rig_in(&f->rig, 0xcf8, 4), 0);
}

static void disabled_the_data_port_is_nobodys(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    select_config(f, 0);
    assert_int_equal(rig_in(&f->rig, 0xcfc, 4), 0xffffffff);
    assert_int_equal(rig_in(&f->rig, 0xcfe, 1), 0xff);
    select_config(f, 4);
    rig_out(&f->rig, 0xcfc, 4, 0x140);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 3);
    assert_int_equal(config_read(f, 4), 0x02800006);
}

static void narrow_accesses_miss_the_address_register(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    select_config(f, ENABLE);
    // As Linux does first of all to see that mechanism #2 is not there.
    outb(&f->rig, 0xcfb, 0x01);
    outb(&f->rig, 0xcf8, 0x55);
    rig_out(&f->rig, 0xcf8, 2, 0x5555);
    rig_out(&f->rig, 0xcf9, 2, 0x0606);
    rig_out(&f->rig, 0xcfa, 2, 0x5555);
    rig_out(&f->rig, 0xcf9, 4, 0x55555555); // straddles both registers
    rig_out(&f->rig, 0xcfb, 2, 0x5555);
    assert_int_equal(f->rig.bus.unclaimed[IO_PORT], 7);
    assert_int_equal(rig_in(&f->rig, 0xcf8, 1), 0xff);
    assert_int_equal(rig_in(&f->rig, 0xcfb, 4), 0xffffffff);
    assert_int_equal(rig_in(&f->rig, 0xcf8, 4), ENABLE);
    assert_int_equal(rig_in(&f->rig, 0xcfc, 4), 0x12378086);
    assert_int_equal(f->asked, 0);
}

// ---- reset --------------------------------------------------------------------------------------

static void cf9_resets_on_the_rise_of_bit_2(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(inb(&f->rig, 0xcf9), 0);
    outb(&f->rig, 0xcf9, 0x02); // hard, as Linux writes it first
    assert_int_equal(f->asked, 0);
    outb(&f->rig, 0xcf9, 0x06);
    assert_int_equal(f->asked, 1);
    assert_string_equal(f->by, "port CF9H");
    assert_int_equal(inb(&f->rig, 0xcf9), 0x06);
    outb(&f->rig, 0xcf9, 0x0e); // it was up already
    assert_int_equal(f->asked, 1);
    outb(&f->rig, 0xcf9, 0xf3);
    assert_int_equal(inb(&f->rig, 0xcf9), 0x02);
    outb(&f->rig, 0xcf9, 0x04); // the CPU alone
    assert_int_equal(f->asked, 2);
    bus_reset(&f->rig.bus);
    assert_int_equal(inb(&f->rig, 0xcf9), 0);
    outb(&f->rig, 0xcf9, 0x06);
    assert_int_equal(f->asked, 3);
    // The same port as part of CONFIG_ADDRESS.
    select_config(f, 0x00000000);
    select_config(f, 0x0000ff00);
    assert_int_equal(f->asked, 3);
    assert_int_equal(inb(&f->rig, 0xcf9), 0x06);
}

static void without_a_reset_register_cf9_is_nobodys(void **state)
{
    (void)state;
    struct rig rig;
    struct pci pci;
    rig_init(&rig, 1000000000);
    pci_init(&pci, NULL);
    assert_int_equal(pci_attach(&pci, &rig.bus), OK);
    assert_int_equal(inb(&rig, 0xcf9), 0xff);
    outb(&rig, 0xcf9, 6);
    assert_int_equal(rig.bus.unclaimed[IO_PORT], 2);
}

static void port_92_keeps_a20_and_resets_on_the_rise_of_bit_0(void **state)
{
    (void)state;
    struct fixture *f = fresh();
    assert_int_equal(inb(&f->rig, 0x92), 0x02);
    outb(&f->rig, 0x92, 0xfc);
    assert_int_equal(inb(&f->rig, 0x92), 0x00);
    outb(&f->rig, 0x92, 0x02);
    assert_int_equal(inb(&f->rig, 0x92), 0x02);
    assert_int_equal(f->asked, 0);
    outb(&f->rig, 0x92, 0x03);
    assert_int_equal(f->asked, 1);
    assert_string_equal(f->by, "port 92H");
    outb(&f->rig, 0x92, 0x01);
    assert_int_equal(f->asked, 1);
    outb(&f->rig, 0x92, 0x00);
    outb(&f->rig, 0x92, 0x01);
    assert_int_equal(f->asked, 2);
    bus_reset(&f->rig.bus);
    assert_int_equal(inb(&f->rig, 0x92), 0x02);
    assert_int_equal(inb(&f->rig, 0xcf9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bridge_is_a_440fx),
        cmocka_unit_test(bytes_and_words_come_from_their_lanes),
        cmocka_unit_test(header_is_read_only_but_for_what_is_not),
        cmocka_unit_test(writes_change_the_bytes_they_cover),
        cmocka_unit_test(every_other_function_is_absent),
        cmocka_unit_test(address_register_keeps_what_exists_of_it),
        cmocka_unit_test(disabled_the_data_port_is_nobodys),
        cmocka_unit_test(narrow_accesses_miss_the_address_register),
        cmocka_unit_test(cf9_resets_on_the_rise_of_bit_2),
        cmocka_unit_test(without_a_reset_register_cf9_is_nobodys),
        cmocka_unit_test(port_92_keeps_a20_and_resets_on_the_rise_of_bit_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
