// SPDX-License-Identifier: MIT
// The bus: who answers, who may attach where, and what nobody's accesses give.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/types.h"
#include "devices/bus.h"

struct probe {
    struct device dev;
    unsigned accesses;
    struct io_access last;
    unsigned resets;
    unsigned reset_order;
    bool refuses;
};

static unsigned resets_seen;

static void probe_reset(struct device *dev)
{
    struct probe *probe = container_of(dev, struct probe, dev);
    probe->resets++;
    probe->reset_order = resets_seen++;
}

static enum io_result probe_access(struct device *dev, struct io_access *io)
{
    struct probe *probe = container_of(dev, struct probe, dev);
    probe->accesses++;
    probe->last = *io;
    if (probe->refuses)
        return IO_UNCLAIMED;
    if (!io->write)
        io->value = 0x42;
    return IO_DONE;
}

static const struct device_ops probe_ops = {.reset = probe_reset, .access = probe_access};

#define PROBE(title)                                                                               \
    {                                                                                              \
        .dev = {.name = (title), .ops = &probe_ops }                                               \
    }

struct fixture {
    struct bus bus;
    struct probe a, b, c;
};

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    *f = (struct fixture){.a = PROBE("a"), .b = PROBE("b"), .c = PROBE("c")};
    memset(&f->bus, 0xa5, sizeof(f->bus)); // bus_init() clears it
    bus_init(&f->bus);
    resets_seen = 0;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static u64 bus_read(struct bus *bus, enum io_space space, u64 addr, u8 size, enum io_result want)
{
    struct io_access io = {.space = space, .addr = addr, .size = size, .value = 0x1111};
    assert_int_equal(bus_access(bus, &io), want);
    return io.value;
}

static void bus_write(struct bus *bus, enum io_space space, u64 addr, u8 size, u64 value,
                      enum io_result want)
{
    struct io_access io = {.space = space, .addr = addr, .size = size, .write = true};
    io.value = value;
    assert_int_equal(bus_access(bus, &io), want);
    assert_true(io.value == value);
}

static void test_reaches_the_device(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, 0x3f8, 8), OK);
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x40, 4), OK);
    assert_int_equal(bus_attach(&f->bus, &f->c.dev, IO_MEM, 0xfee00000, 0x1000), OK);
    assert_int_equal(bus_read(&f->bus, IO_PORT, 0x43, 1, IO_DONE), 0x42);
    assert_int_equal(f->a.accesses, 1);
    bus_write(&f->bus, IO_PORT, 0x3ff, 1, 0xaa, IO_DONE);
    assert_int_equal(f->b.last.addr, 0x3ff);
    assert_int_equal(f->b.last.value, 0xaa);
    assert_true(f->b.last.write);
    assert_int_equal(bus_read(&f->bus, IO_MEM, 0xfee00ffc, 4, IO_DONE), 0x42);
    assert_int_equal(f->c.last.size, 4);
    assert_int_equal(f->bus.unclaimed[IO_PORT] + f->bus.unclaimed[IO_MEM], 0);
}

static void test_spaces_are_apart(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x60, 1), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_MEM, 0x60, 1), OK);
    bus_read(&f->bus, IO_PORT, 0x60, 1, IO_DONE);
    bus_read(&f->bus, IO_MEM, 0x60, 1, IO_DONE);
    assert_int_equal(f->a.accesses, 1);
    assert_int_equal(f->b.accesses, 1);
    assert_ptr_equal(bus_find(&f->bus, IO_MEM, 0x60), &f->b.dev);
}

static void test_unclaimed_reads_all_ones_in_its_width(void **state)
{
    struct fixture *f = *state;
    assert_true(bus_read(&f->bus, IO_PORT, 0, 1, IO_UNCLAIMED) == 0xff); // in an empty space
    assert_true(bus_read(&f->bus, IO_PORT, 0x80, 2, IO_UNCLAIMED) == 0xffff);
    assert_true(bus_read(&f->bus, IO_PORT, 0x80, 4, IO_UNCLAIMED) == 0xffffffff);
    assert_true(bus_read(&f->bus, IO_MEM, 0x80, 8, IO_UNCLAIMED) == ~0ull);
    bus_write(&f->bus, IO_PORT, 0x80, 1, 7, IO_UNCLAIMED);
    assert_int_equal(f->bus.unclaimed[IO_PORT], 4);
    assert_int_equal(f->bus.unclaimed[IO_MEM], 1);
    assert_int_equal(f->bus.unclaimed_ports[1].port, 0x80);
    assert_int_equal(f->bus.unclaimed_ports[1].count, 3);
}

// Only the first ports are counted one by one; the total counts them all.
static void test_more_unclaimed_ports_than_are_named(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < 3; round++)
        for (u64 port = 0; port < BUS_UNCLAIMED_PORTS + 4; port++)
            bus_read(&f->bus, IO_PORT, 0x500 + port, 1, IO_UNCLAIMED);
    assert_int_equal(f->bus.unclaimed[IO_PORT], 3 * (BUS_UNCLAIMED_PORTS + 4));
    for (unsigned i = 0; i < BUS_UNCLAIMED_PORTS; i++) {
        assert_int_equal(f->bus.unclaimed_ports[i].port, 0x500 + i);
        assert_int_equal(f->bus.unclaimed_ports[i].count, 3);
    }
    f->bus.unclaimed_ports[0].count = ~0u;
    bus_read(&f->bus, IO_PORT, 0x500, 1, IO_UNCLAIMED);
    assert_true(f->bus.unclaimed_ports[0].count == ~0u);
}

static void test_device_may_refuse(void **state)
{
    struct fixture *f = *state;
    f->a.refuses = true;
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x70, 2), OK);
    assert_true(bus_read(&f->bus, IO_PORT, 0x71, 1, IO_UNCLAIMED) == 0xff);
    assert_int_equal(f->a.accesses, 1);
    assert_int_equal(f->bus.unclaimed[IO_PORT], 1);
}

static void test_straddling_is_unclaimed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x40, 4), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, 0x44, 4), OK);
    bus_read(&f->bus, IO_PORT, 0x42, 2, IO_DONE);
    bus_read(&f->bus, IO_PORT, 0x43, 2, IO_UNCLAIMED); // into the neighbour
    bus_read(&f->bus, IO_PORT, 0x3f, 2, IO_UNCLAIMED); // from before
    bus_read(&f->bus, IO_PORT, 0x47, 2, IO_UNCLAIMED); // past the end
    assert_int_equal(f->a.accesses, 1);
    assert_int_equal(f->b.accesses, 0);
}

static void test_ends_of_the_spaces(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0xffff, 1), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_MEM, 0, 0x10), OK);
    assert_int_equal(bus_attach(&f->bus, &f->c.dev, IO_MEM, ~0ull, 1), E_RANGE);
    assert_int_equal(bus_attach(&f->bus, &f->c.dev, IO_MEM, ~1ull, 1), OK);
    bus_read(&f->bus, IO_PORT, 0xffff, 1, IO_DONE);
    bus_read(&f->bus, IO_PORT, 0xffff, 4, IO_UNCLAIMED);
    bus_read(&f->bus, IO_MEM, 0, 8, IO_DONE);
    bus_read(&f->bus, IO_MEM, ~0ull, 4, IO_UNCLAIMED); // wraps into b, which answered last
    bus_read(&f->bus, IO_MEM, ~0ull, 1, IO_UNCLAIMED);
    bus_read(&f->bus, IO_MEM, ~1ull, 1, IO_DONE);
    assert_int_equal(f->b.accesses, 1);
    assert_int_equal(f->c.accesses, 1);
}

static void test_bad_ranges(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x10, 0), E_RANGE);
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0xffff, 2), E_RANGE);
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x10000, 1), E_RANGE);
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_MEM, ~0ull, 2), E_RANGE);
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_MEM, 2, ~0ull), E_RANGE);
    bus_reset(&f->bus);
    assert_int_equal(f->a.resets, 0);
}

static void test_overlaps(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, 0x100, 0x10), OK);
    static const struct {
        u64 first, size;
        int want;
    } tries[] = {
        {0x100, 0x10, E_EXIST},
        {0x0f0, 0x11, E_EXIST},
        {0x10f, 1,    E_EXIST},
        {0x104, 2,    E_EXIST},
        {0x0ff, 0x12, E_EXIST},
        {0x0f0, 0x10, OK     },
        {0x110, 1,    OK     },
        {0x110, 1,    E_EXIST},
        {0x0ff, 1,    E_EXIST},
    };
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++)
        assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, tries[i].first, tries[i].size),
                         tries[i].want);
    assert_int_equal(f->bus.spaces[IO_PORT].count, 3);
    assert_ptr_equal(bus_find(&f->bus, IO_PORT, 0x108), &f->a.dev);
    assert_null(bus_find(&f->bus, IO_PORT, 0x111));
    assert_null(bus_find(&f->bus, IO_PORT, 0xef));
}

static void test_full(void **state)
{
    struct fixture *f = *state;
    for (u64 i = 0; i < BUS_RANGES; i++)
        assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_PORT, i * 16, 8), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, 0x8000, 8), E_NOMEM);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_MEM, 0x8000, 8), OK);
    struct probe many[BUS_DEVICES];
    for (unsigned i = 0; i < BUS_DEVICES; i++) {
        many[i] = (struct probe)PROBE("many");
        int want = i < BUS_DEVICES - 2 ? OK : E_NOMEM;
        assert_int_equal(bus_attach(&f->bus, &many[i].dev, IO_MEM, 0x10000 + i, 1), want);
    }
}

static void test_reset_once_each_in_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bus_attach(&f->bus, &f->c.dev, IO_PORT, 0xa0, 2), OK);
    assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_MEM, 0x1000, 2), OK);
    assert_int_equal(bus_attach(&f->bus, &f->c.dev, IO_PORT, 0x20, 2), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, 0x10, 2), OK);
    bus_reset(&f->bus);
    assert_int_equal(f->a.resets + f->b.resets + f->c.resets, 3);
    assert_int_equal(f->c.reset_order, 0);
    assert_int_equal(f->a.reset_order, 1);
    assert_int_equal(f->b.reset_order, 2);
}

static void test_room_for_more(void **state)
{
    struct fixture *f = *state;
    static struct bus_range ranges[2 * BUS_RANGES];
    bus_give_room(&f->bus, IO_MEM, ranges, ARRAY_SIZE(ranges));
    for (u64 i = 0; i < ARRAY_SIZE(ranges); i++)
        assert_int_equal(bus_attach(&f->bus, &f->a.dev, IO_MEM, i * 16, 16), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_MEM, 0x10000, 16), E_NOMEM);
    bus_read(&f->bus, IO_MEM, 16 * (ARRAY_SIZE(ranges) - 1), 1, IO_DONE);
    bus_read(&f->bus, IO_MEM, 16 * ARRAY_SIZE(ranges), 1, IO_UNCLAIMED);
    // The other space keeps its own.
    for (u64 i = 0; i < BUS_RANGES; i++)
        assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, i * 16, 16), OK);
    assert_int_equal(bus_attach(&f->bus, &f->b.dev, IO_PORT, 0x8000, 16), E_NOMEM);
}

// Every port, after attaching in a scattered order, against a plain table of owners.
static void test_every_port(void **state)
{
    struct fixture *f = *state;
    static struct probe *owner[0x10000];
    struct probe *probes[] = {&f->a, &f->b, &f->c};
    srand(2);
    for (unsigned i = 0; i < 500; i++) {
        struct probe *probe = probes[rand() % 3];
        u64 first = (u64)(rand() % 0x1000) * 16, size = (u64)(rand() % 300) + 1;
        if (bus_attach(&f->bus, &probe->dev, IO_PORT, first, size) != OK)
            continue;
        for (u64 port = first; port < first + size; port++) {
            assert_null(owner[port]);
            owner[port] = probe;
        }
    }
    assert_int_equal(f->bus.spaces[IO_PORT].count, BUS_RANGES);
    for (u64 n = 0; n < 0x10000; n++) {
        u64 port = n * 40503 % 0x10000; // an odd multiplier visits every port once
        unsigned before = owner[port] ? owner[port]->accesses : 0;
        bus_read(&f->bus, IO_PORT, port, 1, owner[port] ? IO_DONE : IO_UNCLAIMED);
        if (owner[port])
            assert_int_equal(owner[port]->accesses, before + 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reaches_the_device),
        TEST(test_spaces_are_apart),
        TEST(test_unclaimed_reads_all_ones_in_its_width),
        TEST(test_more_unclaimed_ports_than_are_named),
        TEST(test_device_may_refuse),
        TEST(test_straddling_is_unclaimed),
        TEST(test_ends_of_the_spaces),
        TEST(test_bad_ranges),
        TEST(test_overlaps),
        TEST(test_full),
        TEST(test_reset_once_each_in_order),
        TEST(test_room_for_more),
        TEST(test_every_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
