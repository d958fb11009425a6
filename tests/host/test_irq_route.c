// SPDX-License-Identifier: MIT
// Where the host's ISA interrupts arrive.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "arch/x86_64/irq_route.h"
#include "arch/x86_64/lib/err.h"

#define VECTOR 0xf0
#define CPU    5u

static struct acpi_info acpi;
static struct irq_route route;

static int fresh(void **state)
{
    (void)state;
    memset(&acpi, 0, sizeof(acpi));
    memset(&route, 0xee, sizeof(route));
    acpi.ioapics[acpi.nioapics++] = (struct acpi_ioapic){1, 0xfec00000, 0};
    return 0;
}

static void override(u8 source, u32 gsi, u16 flags)
{
    acpi.overrides[acpi.noverrides++] = (struct acpi_override){source, gsi, flags};
}

static void expect_route(u8 irq, u64 ioapic, u32 pin, u64 entry)
{
    assert_int_equal(irq_route_isa(&acpi, irq, VECTOR, CPU, &route), OK);
    assert_int_equal(route.ioapic.raw, ioapic);
    assert_int_equal(route.pin, pin);
    assert_int_equal(route.entry, entry);
}

#define ENTRY(low) (0x0500000000000000ull | VECTOR | (low))

static void isa_is_identity_edge_and_active_high(void **state)
{
    (void)state;
    override(0, 2, 0);
    expect_route(4, 0xfec00000, 4, ENTRY(0));
    expect_route(3, 0xfec00000, 3, ENTRY(0));
}

static void overrides_move_the_line(void **state)
{
    (void)state;
    override(9, 9, 0xd);
    override(4, 20, 0);
    expect_route(4, 0xfec00000, 20, ENTRY(0));
}

static void overrides_say_polarity_and_trigger(void **state)
{
    (void)state;
    static const struct {
        u16 flags;
        u64 bits;
    } rows[] = {
        {0x0, 0     },
        {0x5, 0     }, // active high, edge
        {0x1, 0     },
        {0x4, 0     },
        {0x3, 0x2000}, // active low, as the bus: edge
        {0xc, 0x8000}, // as the bus: active high, level
        {0xd, 0x8000},
        {0x7, 0x2000},
        {0xf, 0xa000},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        acpi.noverrides = 0;
        override(4, 4, rows[i].flags);
        expect_route(4, 0xfec00000, 4, ENTRY(rows[i].bits));
    }
}

static void the_nearest_ioapic_below_has_the_pin(void **state)
{
    (void)state;
    acpi.ioapics[acpi.nioapics++] = (struct acpi_ioapic){2, 0xfec02000, 48};
    acpi.ioapics[acpi.nioapics++] = (struct acpi_ioapic){3, 0xfec01000, 24};
    override(4, 47, 0);
    override(3, 48, 0);
    expect_route(4, 0xfec01000, 23, ENTRY(0));
    expect_route(3, 0xfec02000, 0, ENTRY(0));
    expect_route(5, 0xfec00000, 5, ENTRY(0));
}

static void no_ioapic_no_route(void **state)
{
    (void)state;
    acpi.ioapics[0].gsi_base = 5;
    assert_int_equal(irq_route_isa(&acpi, 4, VECTOR, CPU, &route), E_NOENT);
    acpi.nioapics = 0;
    assert_int_equal(irq_route_isa(&acpi, 4, VECTOR, CPU, &route), E_NOENT);
}

static void a_cpu_beyond_eight_bits_cannot_be_named(void **state)
{
    (void)state;
    assert_int_equal(irq_route_isa(&acpi, 4, VECTOR, 0xfe, &route), OK);
    assert_int_equal(route.entry >> 56, 0xfe);
    assert_int_equal(irq_route_isa(&acpi, 4, VECTOR, 0xff, &route), E_RANGE);
    assert_int_equal(irq_route_isa(&acpi, 4, VECTOR, 0x105, &route), E_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(isa_is_identity_edge_and_active_high, fresh),
        cmocka_unit_test_setup(overrides_move_the_line, fresh),
        cmocka_unit_test_setup(overrides_say_polarity_and_trigger, fresh),
        cmocka_unit_test_setup(the_nearest_ioapic_below_has_the_pin, fresh),
        cmocka_unit_test_setup(no_ioapic_no_route, fresh),
        cmocka_unit_test_setup(a_cpu_beyond_eight_bits_cannot_be_named, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
