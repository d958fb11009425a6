// SPDX-License-Identifier: MIT
// The guests' ACPI tables: sound in themselves, what Corbel's own reader makes of them, and what
// ACPICA's disassembler says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86_64/acpi.h"
#include "guest/acpi_tables.h"
#include "guest/pc.h"
#include "tests/host/guest_ram.h"

#define AREA      0xe0000u
#define AREA_END  0x100000u
#define SOME_HPET 0x8086a701u

static struct guest_ram g;
static u8 area[AREA_END - AREA];

static void build(bool hpet)
{
    gpa_t rsdp = GPA(0);
    guest_ram_open(&g, 2 << 20, 0);
    assert_int_equal(
        acpi_tables_write(&g.vm, &(struct acpi_config){.hpet = hpet, .hpet_id = SOME_HPET}, &rsdp),
        OK);
    assert_int_equal(rsdp.raw, AREA);
    assert_true(guest_ram_read(&g, AREA, area, sizeof(area)));
}

static u32 get(u64 at, unsigned size)
{
    u32 value = 0;
    memcpy(&value, area + (at - AREA), size);
    return value;
}

static u8 sum(u64 at, u32 size)
{
    u8 s = 0;
    for (u32 i = 0; i < size; i++)
        s = (u8)(s + area[at - AREA + i]);
    return s;
}

// ---- every table, found from the RSDP ---------------------------------------------------------

struct found {
    char signature[5];
    u32 at, size;
};

static struct found list[16];
static unsigned count;

static void note(u32 at, u32 size)
{
    assert_true(count < ARRAY_SIZE(list));
    assert_in_range(at, AREA, AREA_END - 8);
    assert_true(size && size <= AREA_END - at);
    struct found *f = &list[count++];
    *f = (struct found){.at = at, .size = size};
    memcpy(f->signature, area + (at - AREA), 4);
}

static const struct found *find(const char *signature)
{
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(list[i].signature, signature))
            return &list[i];
    return NULL;
}

static void walk(void)
{
    count = 0;
    note(AREA, 36);
    u32 rsdt = get(AREA + 16, 4), xsdt = get(AREA + 24, 4);
    note(rsdt, get(rsdt + 4, 4));
    note(xsdt, get(xsdt + 4, 4));
    unsigned n = (get(rsdt + 4, 4) - 36) / 4;
    assert_int_equal((get(xsdt + 4, 4) - 36) / 8, n);
    for (unsigned i = 0; i < n; i++) {
        u32 at = get(rsdt + 36 + i * 4, 4);
        assert_int_equal(get(xsdt + 36 + i * 8, 4), at);
        assert_int_equal(get(xsdt + 40 + i * 8, 4), 0);
        note(at, get(at + 4, 4));
    }
    const struct found *fadt = find("FACP");
    assert_non_null(fadt);
    u32 facs = get(fadt->at + 36, 4), dsdt = get(fadt->at + 40, 4);
    note(facs, get(facs + 4, 4));
    note(dsdt, get(dsdt + 4, 4));
    assert_int_equal(get(fadt->at + 140, 4), dsdt);
}

static void each_table_is_whole_and_by_itself(void **state)
{
    (void)state;
    for (int hpet = 0; hpet < 2; hpet++) {
        build(hpet);
        walk();
        assert_int_equal(count, hpet ? 8 : 7);
        for (unsigned i = 0; i < count; i++) {
            const struct found *f = &list[i];
            if (strcmp(f->signature, "FACS") != 0)
                assert_int_equal(sum(f->at, f->size), 0);
            for (unsigned j = 0; j < i; j++)
                assert_true(f->at >= list[j].at + list[j].size || list[j].at >= f->at + f->size);
        }
        assert_memory_equal(area, "RSD PTR ", 8);
        assert_int_equal(sum(AREA, 20), 0);
        assert_int_equal(area[15], 2);
        assert_int_equal(get(AREA + 20, 4), 36);
        static const char *const names[] = {"RSDT", "XSDT", "FACP", "APIC", "FACS", "DSDT"};
        for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
            assert_non_null(find(names[i]));
        assert_int_equal(find("HPET") != NULL, hpet);
        assert_int_equal(find("FACS")->at % 64, 0);
        assert_int_equal(find("FACS")->size, 64);
        guest_ram_close(&g);
    }
}

static void nothing_else_is_touched(void **state)
{
    (void)state;
    build(true);
    walk();
    u32 end = 0;
    for (unsigned i = 0; i < count; i++)
        if (list[i].at + list[i].size > end)
            end = list[i].at + list[i].size;
    assert_true(guest_ram_is_clear(&g, 0, AREA));
    assert_true(guest_ram_is_clear(&g, end, 2 << 20));
    guest_ram_close(&g);
}

// ---- Corbel's own reader ----------------------------------------------------------------------

static const void *map(void *ctx, u64 pa, u64 size)
{
    return vm_ptr(&((struct guest_ram *)ctx)->vm, GPA(pa), size);
}

static struct acpi_info info;

static void read_back(void)
{
    const struct acpi_memory memory = {map, &g};
    guest_ram_forget_log();
    assert_int_equal(acpi_read(&memory, area, 36, false, 0, &info), OK);
    assert_string_equal(guest_ram_log, "");
}

static void interrupts_as_the_reader_finds_them(void **state)
{
    (void)state;
    build(false);
    read_back();
    assert_true(info.has_madt && info.has_8259);
    assert_int_equal(info.lapic_address, 0xfee00000);
    assert_int_equal(info.ncpus, 1);
    assert_int_equal(info.cpus[0].apic_id, 0);
    assert_int_equal(info.cpus[0].uid, 0);
    assert_true(info.cpus[0].enabled);
    assert_int_equal(info.nioapics, 1);
    assert_int_equal(info.ioapics[0].id, 1);
    assert_int_equal(info.ioapics[0].address, 0xfec00000);
    assert_int_equal(info.ioapics[0].gsi_base, 0);
    assert_int_equal(info.noverrides, 2);
    assert_int_equal(info.overrides[0].source, 0);
    assert_int_equal(info.overrides[0].gsi, 2);
    assert_int_equal(info.overrides[0].flags, 0);
    assert_int_equal(info.overrides[1].source, 9);
    assert_int_equal(info.overrides[1].gsi, 9);
    assert_int_equal(info.overrides[1].flags, 0xd); // level, active high
    assert_int_equal(info.nnmis, 1);
    assert_int_equal(info.nmis[0].uid, ACPI_ALL_CPUS);
    assert_int_equal(info.nmis[0].lint, 1);
    guest_ram_close(&g);
}

static void power_management_as_the_reader_finds_it(void **state)
{
    (void)state;
    for (int hpet = 0; hpet < 2; hpet++) {
        build(hpet);
        read_back();
        assert_true(info.has_fadt);
        assert_int_equal(info.pm_timer.space, ACPI_PORT);
        assert_int_equal(info.pm_timer.address, 0x608);
        assert_int_equal(info.pm_timer_bits, 32);
        assert_int_equal(info.pm1a_control.space, ACPI_PORT);
        assert_int_equal(info.pm1a_control.address, 0x604);
        assert_int_equal(info.pm1b_control.space, ACPI_NOWHERE);
        assert_true(info.has_reset);
        assert_int_equal(info.hpet_address, hpet ? 0xfed00000 : 0);
        guest_ram_close(&g);
    }
}

// What the reader does not look at.
static void fadt_fields(void **state)
{
    (void)state;
    static const struct {
        u32 offset, size, value;
    } rows[] = {
        {46,  2, 9         }, // SCI
        {48,  4, 0         }, // no SMI command port: no way out of ACPI mode
        {52,  4, 0         }, // nor values for it
        {56,  4, 0x600     }, // PM1a event block
        {60,  4, 0         },
        {64,  4, 0x604     },
        {68,  4, 0         },
        {72,  4, 0         },
        {76,  4, 0x608     },
        {80,  4, 0         }, // no general-purpose events
        {84,  4, 0         },
        {88,  4, 0x04000204}, // lengths
        {96,  2, 101       }, // no C2
        {98,  2, 1001      }, // no C3
        {108, 1, 0x32      }, // century
        {109, 2, 0x1d      }, // legacy devices, no 8042, no VGA, no MSI, no ASPM, an RTC
        {112, 4, 0x565     },
        {116, 4, 0x01000801}, // reset register: port, 8 bits, byte access
        {120, 4, 0xcf9     },
        {128, 1, 6         },
        {132, 4, 0         }, // X_FIRMWARE_CTRL: the FACS is
  // named once
        {148, 4, 0x02002001},
        {152, 4, 0x600     },
        {172, 4, 0x02001001},
        {176, 4, 0x604     },
        {208, 4, 0x03002001},
        {212, 4, 0x608     },
    };
    build(false);
    walk();
    const struct found *fadt = find("FACP");
    assert_int_equal(fadt->size, 276);
    assert_int_equal(get(fadt->at + 8, 1), 6);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (get(fadt->at + rows[i].offset, rows[i].size) != rows[i].value)
            fail_msg("FADT offset %u: %x", rows[i].offset,
                     get(fadt->at + rows[i].offset, rows[i].size));
    // And nothing else: every other byte behind the header is 0.
    u8 named[276] = {0};
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        memset(named + rows[i].offset, 1, rows[i].size);
    memset(named + 36, 1, 8);  // FACS, DSDT
    memset(named + 140, 1, 8); // X_DSDT
    memset(named + 268, 1, 8); // the hypervisor's name
    for (u32 i = 36; i < sizeof(named); i++)
        if (!named[i] && get(fadt->at + i, 1))
            fail_msg("FADT offset %u is not 0", i);
    assert_memory_equal(area + (fadt->at + 268 - AREA), "Corbel\0", 8);
    guest_ram_close(&g);
}

static void hpet_fields(void **state)
{
    (void)state;
    static const u8 want[] = {0x01, 0xa7, 0x86, 0x80, // its ID
                              0,    64,   0,    0,    // memory
                              0,    0,    0xd0, 0xfe, 0, 0, 0, 0, 0, 128, 0, 0};
    build(true);
    walk();
    const struct found *hpet = find("HPET");
    assert_int_equal(hpet->size, 36 + sizeof(want));
    assert_memory_equal(area + (hpet->at + 36 - AREA), want, sizeof(want));
    guest_ram_close(&g);
}

static void facs_fields(void **state)
{
    (void)state;
    build(false);
    walk();
    u32 at = find("FACS")->at;
    for (u32 i = 4; i < 64; i++)
        assert_int_equal(get(at + i, 1), i == 4 ? 64 : i == 32 ? 2 : 0);
    guest_ram_close(&g);
}

// ---- the DSDT ---------------------------------------------------------------------------------

static bool dsdt_has(const u8 *bytes, size_t n)
{
    const struct found *dsdt = find("DSDT");
    for (u32 i = 0; i + n <= dsdt->size; i++)
        if (!memcmp(area + (dsdt->at - AREA) + i, bytes, n))
            return true;
    return false;
}

// An I/O port descriptor of 16-bit decoding: ACPI specification, "I/O Port Descriptor".
static void has_ports(u16 first, u8 n)
{
    const u8 io[] = {0x47, 0x01, (u8)first, (u8)(first >> 8), (u8)first, (u8)(first >> 8), 1, n};
    if (!dsdt_has(io, sizeof(io)))
        fail_msg("the DSDT has no ports %x, %u of them", first, n);
}

static void the_dsdt_names_what_the_pc_has(void **state)
{
    (void)state;
    static const u8 s5[] = {'_', 'S', '5', '_', 0x12, 7, 4, 0x0a, PC_SLEEP_S5, 0, 0, 0};
    static const u8 irqs[] = {0, 2, 4, 8};
    build(false);
    walk();
    assert_true(dsdt_has(s5, sizeof(s5)));
    has_ports(UART_COM1, 8);
    has_ports(0x20, 2);
    has_ports(0xa0, 2);
    has_ports(0x4d0, 2);
    has_ports(0x40, 4);
    has_ports(0x61, 1);
    has_ports(0x70, 2);
    has_ports(0xcf8, 8);
    has_ports(PC_PM_BASE, 12);
    for (unsigned i = 0; i < ARRAY_SIZE(irqs); i++) {
        // "IRQ Descriptor", without flags, and the end tag.
        const u8 irq[] = {0x22, (u8)(1u << irqs[i]), (u8)(1u << irqs[i] >> 8), 0x79};
        if (!dsdt_has(irq, sizeof(irq)))
            fail_msg("the DSDT has no IRQ %u", irqs[i]);
    }
    guest_ram_close(&g);
}

static void a_vm_without_the_area_is_refused(void **state)
{
    (void)state;
    gpa_t rsdp;
    guest_ram_open(&g, 2 << 20, 0);
    g.vm.nram = 1; // what lies below the screen's hole
    assert_int_equal(acpi_tables_write(&g.vm, &(struct acpi_config){0}, &rsdp), E_RANGE);
    guest_ram_close(&g);
}

// ---- ACPICA -----------------------------------------------------------------------------------

static char dir[] = "/tmp/acpi-tables-XXXXXX";

static int run(const char *format, ...)
{
    char command[512];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    return system(command);
}

static void save(const struct found *f)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/%s.dat", dir, f->signature);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(area + (f->at - AREA), 1, f->size, file), f->size);
    assert_int_equal(fclose(file), 0);
}

// Disassembles each table, and compiles what comes out again: the same bytes, but for the
// compiler's own name and the checksum.
static void acpica_takes_each_table(void **state)
{
    (void)state;
    build(true);
    walk();
    assert_non_null(mkdtemp(dir));
    for (unsigned i = 1; i < count; i++) {
        const char *s = list[i].signature;
        save(&list[i]);
        if (run("cd %s && iasl -d %s.dat >%s.log 2>&1", dir, s, s) ||
            !run("cd %s && grep -iE 'warn|error|invalid|incorrect|terminates|\\*\\*\\*\\*' %s.log "
                 "%s.dsl | grep -v '0 Errors' >&2",
                 dir, s, s))
            fail_msg("iasl -d is not content with the %s", s);
        if (run("cd %s && iasl %s.dsl >%s.again 2>&1 && cmp -l %s.dat %s.aml >%s.cmp; "
                "awk '$1 != 10 && ($1 < 29 || $1 > 36) { exit 1 }' %s.cmp",
                dir, s, s, s, s, s, s))
            fail_msg("the %s compiles to other bytes", s);
    }
    assert_int_equal(run("rm -rf %s", dir), 0);
    guest_ram_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_table_is_whole_and_by_itself),
        cmocka_unit_test(nothing_else_is_touched),
        cmocka_unit_test(interrupts_as_the_reader_finds_them),
        cmocka_unit_test(power_management_as_the_reader_finds_it),
        cmocka_unit_test(fadt_fields),
        cmocka_unit_test(hpet_fields),
        cmocka_unit_test(facs_fields),
        cmocka_unit_test(the_dsdt_names_what_the_pc_has),
        cmocka_unit_test(a_vm_without_the_area_is_refused),
        cmocka_unit_test(acpica_takes_each_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
