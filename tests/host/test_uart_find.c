// SPDX-License-Identifier: MIT
// Where UARTs are looked for: SPCR tables of several shapes, and PCI configuration spaces of the
// tests' own making, with bridges that lead in circles.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/uart_find.h"
#include "tests/host/fake_uart.h"

static struct uart_list list;

static int fresh(void **state)
{
    (void)state;
    memset(&list, 0, sizeof(list));
    fake_reset(FAKE_NOTHING);
    return 0;
}

static const char *named(unsigned index)
{
    static char text[80];
    assert_true(index < list.count);
    uart_name(text, 40, &list.at[index].place);
    strcat(text, " ");
    uart_origin(text + strlen(text), 40, &list.at[index]);
    return text;
}

// ---- the list ---------------------------------------------------------------------------------

static void pc_ports_come_in_order(void **state)
{
    (void)state;
    uart_add_pc(&list);
    assert_int_equal(list.count, 4);
    assert_string_equal(named(0), "3f8 COM1");
    assert_string_equal(named(1), "2f8 COM2");
    assert_string_equal(named(2), "3e8 COM3");
    assert_string_equal(named(3), "2e8 COM4");
    assert_false(list.at[0].place.keep_rate);
}

static void a_place_is_listed_once(void **state)
{
    (void)state;
    struct uart_candidate first = {.place = UART_AT_PORT(0x2f8), .from = UART_FROM_COMMAND};
    uart_add(&list, &first);
    uart_add_pc(&list);
    assert_int_equal(list.count, 4);
    assert_string_equal(named(0), "2f8 command line");
    first.place = (struct uart_place){UART_MEMORY, 0x2f8, 1, 1, false}; // not the same
    uart_add(&list, &first);
    assert_int_equal(list.count, 5);
    assert_string_equal(named(4), "mmio:2f8 command line");
}

static void a_full_list_takes_no_more(void **state)
{
    (void)state;
    for (u64 port = 1; port < 100; port++) {
        struct uart_candidate c = {.place = UART_AT_PORT(port * 8)};
        uart_add(&list, &c);
    }
    assert_int_equal(list.count, UART_LIST_MAX);
    assert_int_equal(list.at[UART_LIST_MAX - 1].place.base, UART_LIST_MAX * 8);
}

static void places_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        struct uart_place place;
        bool valid;
    } rows[] = {
        {{UART_NOWHERE, 0x3f8, 1, 1, false},             false},
        {{UART_PORT, 0, 1, 1, false},                    false},
        {{UART_PORT, 1, 1, 1, false},                    true },
        {{UART_PORT, 0xfff8, 1, 1, false},               true },
        {{UART_PORT, 0xfff9, 1, 1, false},               false},
        {{UART_PORT, 0x103f8, 1, 1, false},              false},
        {{UART_MEMORY, 0, 1, 1, false},                  false},
        {{UART_MEMORY, 0xfe034001, 1, 1, false},         true },
        {{UART_MEMORY, 0xfe034001, 4, 1, false},         true },
        {{UART_MEMORY, 0xfe034002, 4, 4, false},         false},
        {{UART_MEMORY, 0xfe034002, 4, 2, false},         true },
        {{UART_MEMORY, BIT(52) - 8, 1, 1, false},        true },
        {{UART_MEMORY, BIT(52) - 7, 1, 1, false},        false},
        {{UART_MEMORY, BIT(52) - 28, 4, 4, false},       false},
        {{UART_MEMORY, 0xfffffffffffffff0, 4, 4, false}, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (uart_place_valid(&rows[i].place) != rows[i].valid)
            fail_msg("row %u", i);
}

// ---- SPCR -------------------------------------------------------------------------------------

static void spcr_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct acpi_info acpi;
        const char *name; // NULL: none is taken
        u8 stride, width;
    } rows[] = {
        {"COM1, as most servers say",
         {.serial = {ACPI_PORT, 0x3f8}, .serial_bits = 8},
         "3f8 SPCR",                                                                                                   1,
         1                                                                                                                 },
        {"COM2, no width",                       {.serial = {ACPI_PORT, 0x2f8}, .serial_type = 1},         "2f8 SPCR", 1, 1},
        {"a port with wide registers is a port",
         {.serial = {ACPI_PORT, 0x2f8}, .serial_bits = 32, .serial_access = 3},
         "2f8 SPCR",                                                                                                   1,
         1                                                                                                                 },
        {"registers of 32 bits",
         {.serial = {ACPI_MEMORY, 0xfe034000}, .serial_bits = 32, .serial_access = 3},
         "mmio32:fe034000 SPCR",                                                                                       4,
         4                                                                                                                 },
        {"access not said",
         {.serial = {ACPI_MEMORY, 0xfe034000}, .serial_bits = 32},
         "mmio32:fe034000 SPCR",                                                                                       4,
         4                                                                                                                 },
        {"by bytes, four apart",
         {.serial = {ACPI_MEMORY, 0xfe034000}, .serial_bits = 32, .serial_access = 1},
         "mmio32:fe034000 SPCR",                                                                                       4,
         1                                                                                                                 },
        {"access wider than the register",
         {.serial = {ACPI_MEMORY, 0xfe034000}, .serial_bits = 8, .serial_access = 3},
         "mmio:fe034000 SPCR",                                                                                         1,
         1                                                                                                                 },
        {"a quad word is no access of ours",
         {.serial = {ACPI_MEMORY, 0xfe034000},
          .serial_bits = 32,
          .serial_access = 4,
          .serial_type = 0x12},
         "mmio32:fe034000 SPCR",                                                                                       4,
         4                                                                                                                 },
        {"16 bits",
         {.serial = {ACPI_MEMORY, 0xfe034000}, .serial_bits = 16},
         "mmio16:fe034000 SPCR",                                                                                       2,
         2                                                                                                                 },
        {"bits that make no sense",
         {.serial = {ACPI_MEMORY, 0xfe034000}, .serial_bits = 7},
         "mmio:fe034000 SPCR",                                                                                         1,
         1                                                                                                                 },
        {"above 4 GiB",
         {.serial = {ACPI_MEMORY, 0x3fff0034000}, .serial_bits = 8},
         "mmio:3fff0034000 SPCR",                                                                                      1,
         1                                                                                                                 },
        {"redirection is off",                   {.serial = {ACPI_NOWHERE, 0}},                            NULL,       0, 0},
        {"an ARM PL011",                         {.serial = {ACPI_MEMORY, 0x9000000}, .serial_type = 3},   NULL,       0, 0},
        {"a port that wraps",                    {.serial = {ACPI_PORT, 0xfffc}},                          NULL,       0, 0},
        {"not aligned",                          {.serial = {ACPI_MEMORY, 0xfe034001}, .serial_bits = 32}, NULL,       0, 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        fresh(state);
        uart_add_spcr(&list, &rows[i].acpi);
        if (list.count != (rows[i].name != NULL))
            fail_msg("%s", rows[i].what);
        if (!rows[i].name)
            continue;
        if (strcmp(named(0), rows[i].name) || list.at[0].place.stride != rows[i].stride ||
            list.at[0].place.width != rows[i].width || !list.at[0].place.keep_rate)
            fail_msg("%s: %s", rows[i].what, named(0));
    }
}

static void spcr_comes_before_the_pc_ports(void **state)
{
    (void)state;
    const struct acpi_info acpi = {
        .serial = {ACPI_PORT, 0x2f8}
    };
    uart_add_spcr(&list, &acpi);
    uart_add_pc(&list);
    assert_int_equal(list.count, 4);
    assert_string_equal(named(0), "2f8 SPCR");
    assert_string_equal(named(1), "3f8 COM1");
}

// ---- PCI --------------------------------------------------------------------------------------

struct function {
    u32 at; // bus, device, function as in a configuration address
    u32 id, command, class, header, bar[6];
};
#define AT(bus, device, function) ((bus) << 16 | (device) << 11 | (function) << 8)
#define BRIDGE(bus, device, secondary)                                                             \
    {                                                                                              \
        AT(bus, device, 0), 0x12348086, 0, 0x060400, 1,                                            \
        {                                                                                          \
            0, 0, 0x550000 | (secondary) << 8 | (bus)                                              \
        }                                                                                          \
    }

static struct function machine[300];
static unsigned nfunctions, config_reads, config_writes;

static u32 config_space(u32 address, const u32 *write)
{
    config_reads += !write;
    config_writes += write != NULL;
    assert_true(address >> 31 && !(address & 0x7f000003));
    for (unsigned i = 0; i < nfunctions; i++) {
        struct function *f = &machine[i];
        u32 offset = address & 0xfc;
        if (f->at != (address & 0xffff00))
            continue;
        if (write) {
            assert_int_equal(offset, 4);
            f->command = *write;
        }
        switch (offset) {
        case 0:
            return f->id;
        case 4:
            return f->command;
        case 8:
            return f->class << 8 | 0xa5;
        case 0xc:
            return f->header << 16 | 0x10;
        default:
            return offset >= 0x10 && offset < 0x28 ? f->bar[(offset - 0x10) / 4] : 0;
        }
    }
    return ~0u;
}

static void scan(const struct function *functions, unsigned n)
{
    memcpy(machine, functions, n * sizeof(*functions));
    nfunctions = n;
    config_reads = config_writes = 0;
    fake.pci = config_space;
    fake.pci_address = 0x80001234; // what somebody was doing
    uart_add_pci(&list, &fake_ports);
    assert_int_equal(fake.pci_address, 0x80001234);
    assert_int_equal(fake.stray, 0);
    assert_int_equal(fake.writes, 0); // no UART is touched
}

static void a_management_engine_s_port(void **state)
{
    (void)state;
    static const struct function functions[] = {
        {AT(0, 0,    0), 0x12378086, 0x107, 0x060000, 0,    {0}                     },
        {AT(0, 0x16, 0), 0x1c3a8086, 0x106, 0x078000, 0x80, {0xf7d0a004, 1}         },
        {AT(0, 0x16, 3), 0x1c3d8086, 0x103, 0x070002, 0x80, {0xf0e1, 0xf7d00000}    },
        {AT(0, 0x1f, 2), 0x1c028086, 0x107, 0x010601, 0,    {0xf0d1, 0xf0c1, 0xf0b1}},
    };
    scan(functions, ARRAY_SIZE(functions));
    assert_int_equal(list.count, 1);
    assert_string_equal(named(0), "f0e0 PCI 00:16.3");
    assert_int_equal(config_writes, 0);
    assert_false(list.at[0].place.keep_rate);
}

static void cards_behind_bridges(void **state)
{
    (void)state;
    static const struct function functions[] = {
        BRIDGE(0u, 1u, 1u),
        BRIDGE(0u, 0x1cu, 3u),
        BRIDGE(3u, 0u, 2u), // leads to a lower bus
        {AT(2, 4,  0), 0x1,    0x0,   0x070002, 0, {0, 0, 0xe001}    },
        {AT(1, 31, 0), 0x9835, 0x145, 0x070006, 0, {0xfe000000}      },
        {AT(3, 5,  0), 0x9835, 0x2,   0x070003, 0, {0x10000004, 0x40}},
        {AT(9, 0,  0), 0x9835, 0x3,   0x070002, 0, {0xf001}          }, // behind no bridge
    };
    scan(functions, ARRAY_SIZE(functions));
    assert_int_equal(list.count, 3);
    assert_string_equal(named(0), "mmio:fe000000 PCI 01:1f.0");
    assert_string_equal(named(1), "mmio:4010000000 PCI 03:05.0");
    assert_string_equal(named(2), "e000 PCI 02:04.0");
    // Where firmware left the decoding off it is on now, and nothing else has changed.
    assert_int_equal(machine[3].command, 0x1);
    assert_int_equal(machine[4].command, 0x147);
    assert_int_equal(machine[5].command, 0x2);
    assert_int_equal(config_writes, 2);
}

static void what_is_no_uart_of_ours(void **state)
{
    (void)state;
    static const struct function functions[] = {
        {AT(0, 1,  0), 0x1, 0, 0x070007, 0, {0xe001}                      },
        {AT(0, 2,  0), 0x1, 0, 0x070100, 0, {0xe001}                      }, // parallel
        {AT(0, 3,  0), 0x1, 0, 0x078000, 0, {0xe001}                      }, // other
        {AT(0, 4,  0), 0x1, 0, 0x070002, 1, {0xe001}                      },
        {AT(0, 5,  0), 0x1, 0, 0x070002, 0, {0}                           },
        {AT(0, 6,  0), 0x1, 0, 0x070002, 0, {1, 0xfffd, 4, 0, 8, 0x30001} },
        {AT(0, 7,  0), 0x1, 0, 0x070002, 0, {0, 0, 0, 0, 0, 4}            }, // cut off
        {AT(0, 8,  0), 0x0, 0, 0x070002, 0, {0xe001}                      },
        {AT(0, 9,  1), 0x1, 0, 0x070002, 0, {0xe001}                      }, // no function 0
        {AT(0, 10, 0), 0x1, 0, 0x050000, 0, {0}                           },
        {AT(0, 10, 2), 0x1, 0, 0x070002, 0, {0xe001}                      }, // one function
        {AT(0, 11, 0), 0x1, 0, 0x070002, 0, {~0u, ~0u, ~0u, ~0u, ~0u, ~0u}},
    };
    scan(functions, ARRAY_SIZE(functions));
    for (unsigned i = 0; i < list.count; i++)
        print_message("taken: %s\n", named(i));
    assert_int_equal(list.count, 0);
    assert_int_equal(config_writes, 0);
}

static void bridges_that_lead_in_circles(void **state)
{
    (void)state;
    static struct function functions[256];
    for (unsigned bus = 0; bus < 256; bus++) {
        functions[bus] = (struct function)BRIDGE(bus, bus % 32, (bus * 5 + 1) % 256);
        functions[bus].header |= 0x80;
    }
    scan(functions, 256);
    assert_int_equal(list.count, 0);
    // Each bus once: an ID for each device, and for the bridge's seven other functions.
    assert_int_equal(config_reads, 256 * (32 + 7 + 3));
}

// Every function of every bus answers, as where nothing decodes the address: odd ones are bridges
// to the next bus, even ones serial controllers.
static u32 all_answer(u32 address, const u32 *write)
{
    bool bridge = address >> 8 & 1;
    config_reads += !write;
    switch (address & 0xfc) {
    case 0:
        return 0x9835;
    case 8:
        return bridge ? 0x06040000 : 0x07000200;
    case 0xc:
        return bridge ? 0x810000 : 0x800000;
    case 0x10:
        return bridge ? 0 : (address >> 8 & 0xffff) << 4 | 1;
    default:
        return bridge ? ((address >> 16) + 1) << 8 : 0;
    }
}

static void everything_answers(void **state)
{
    (void)state;
    config_reads = 0;
    fake.pci = all_answer;
    uart_add_pci(&list, &fake_ports);
    assert_int_equal(list.count, UART_LIST_MAX);
    assert_in_range(config_reads, 256 * 256, 256 * 256 * 8);
}

static void no_pci_is_survived(void **state)
{
    (void)state;
    uart_add_pci(&list, &fake_ports);
    assert_int_equal(list.count, 0);
    assert_true(fake.reads <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pc_ports_come_in_order, fresh),
        cmocka_unit_test_setup(a_place_is_listed_once, fresh),
        cmocka_unit_test_setup(a_full_list_takes_no_more, fresh),
        cmocka_unit_test_setup(places_that_cannot_be, fresh),
        cmocka_unit_test_setup(spcr_shapes, fresh),
        cmocka_unit_test_setup(spcr_comes_before_the_pc_ports, fresh),
        cmocka_unit_test_setup(a_management_engine_s_port, fresh),
        cmocka_unit_test_setup(cards_behind_bridges, fresh),
        cmocka_unit_test_setup(what_is_no_uart_of_ours, fresh),
        cmocka_unit_test_setup(bridges_that_lead_in_circles, fresh),
        cmocka_unit_test_setup(everything_answers, fresh),
        cmocka_unit_test_setup(no_pci_is_survived, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
