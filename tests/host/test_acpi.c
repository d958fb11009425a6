// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"

// ---- a machine's memory -----------------------------------------------------------------------
// What is mapped is copied out to the byte, so that the sanitizer sees a read outside of it.
#define AREAS  16
#define COPIES 256

static struct area {
    u64 pa;
    u32 size;
    u8 bytes[5000];
} areas[AREAS];
static unsigned nareas;
static void *copies[COPIES];
static unsigned ncopies;

static const void *map(void *ctx, u64 pa, u64 size)
{
    assert_ptr_equal(ctx, areas);
    for (unsigned i = 0; i < nareas; i++) {
        if (pa < areas[i].pa || pa - areas[i].pa > areas[i].size ||
            size > areas[i].size - (pa - areas[i].pa))
            continue;
        assert_true(ncopies < COPIES && size > 0);
        void *copy = malloc(size);
        assert_non_null(copy);
        memcpy(copy, areas[i].bytes + (pa - areas[i].pa), size);
        copies[ncopies++] = copy;
        return copy;
    }
    return NULL;
}

static const struct acpi_memory memory = {map, areas};
static struct acpi_info info;
static char said[LOG_RING_SIZE + 1];

static int read_all(const void *rsdp, u32 size, bool bios, u64 ebda)
{
    log_raw("\n--\n", 4);
    int err = acpi_read(&memory, rsdp, size, bios, ebda, &info);
    said[log_ring_tail(said, LOG_RING_SIZE)] = '\0';
    for (char *mark; (mark = strstr(said, "--\n"));) // only what was said since
        memmove(said, mark + 3, strlen(mark + 3) + 1);
    while (ncopies)
        free(copies[--ncopies]);
    return err;
}

static int fresh(void **state)
{
    (void)state;
    nareas = 0;
    memset(areas, 0, sizeof(areas));
    return 0;
}

static struct area *area(u64 pa, u32 size)
{
    assert_true(nareas < AREAS && size <= sizeof(areas[0].bytes));
    struct area *a = &areas[nareas++];
    a->pa = pa;
    a->size = size;
    return a;
}

static void put16(u8 *at, u16 value)
{
    memcpy(at, &value, 2);
}

static void put32(u8 *at, u32 value)
{
    memcpy(at, &value, 4);
}

static void put64(u8 *at, u64 value)
{
    memcpy(at, &value, 8);
}

static void fix_sum(u8 *data, u32 length, u32 at)
{
    u8 sum = 0;
    data[at] = 0;
    for (u32 i = 0; i < length; i++)
        sum = (u8)(sum + data[i]);
    data[at] = (u8)-sum;
}

// A table at pa whose body (behind the header) is given.
static u8 *table(u64 pa, const char *signature, const u8 *body, u32 size)
{
    struct area *a = area(pa, 36 + size);
    memcpy(a->bytes, signature, 4);
    put32(a->bytes + 4, 36 + size);
    if (size)
        memcpy(a->bytes + 36, body, size);
    fix_sum(a->bytes, 36 + size, 9);
    return a->bytes;
}

static void resum(u8 *bytes)
{
    u32 length;
    memcpy(&length, bytes + 4, 4);
    fix_sum(bytes, length, 9);
}

static void root(u64 pa, const char *signature, const u64 *tables, unsigned n)
{
    u8 body[128];
    u32 width = signature[0] == 'X' ? 8 : 4;
    for (unsigned i = 0; i < n; i++) {
        if (width == 8)
            put64(body + i * 8, tables[i]);
        else
            put32(body + i * 4, (u32)tables[i]);
    }
    table(pa, signature, body, n * width);
}

static void make_rsdp(u8 *rsdp, u8 revision, u32 rsdt, u64 xsdt)
{
    memset(rsdp, 0, 36);
    memcpy(rsdp, "RSD PTR ", 8);
    rsdp[15] = revision;
    put32(rsdp + 16, rsdt);
    fix_sum(rsdp, 20, 8);
    if (revision < 2)
        return;
    put32(rsdp + 20, 36);
    put64(rsdp + 24, xsdt);
    fix_sum(rsdp, 36, 32);
}

#define RSDT_AT  0x7fe0000
#define XSDT_AT  0x17fe1000
#define MADT_AT  0x7fe2000
#define FADT_AT  0x7fe3000
#define HPET_AT  0x7fe4000
#define SPCR_AT  0x7fe5000
#define OTHER_AT 0x7fe6000

static void put_gas(u8 *at, u8 space, u8 width, u64 address)
{
    at[0] = space;
    at[1] = width;
    put64(at + 4, address);
}

// ---- MADT -------------------------------------------------------------------------------------
static u8 madt_body[4500];
static u32 madt_used;

static void madt_start(u32 lapic, u32 flags)
{
    memset(madt_body, 0, sizeof(madt_body));
    put32(madt_body, lapic);
    put32(madt_body + 4, flags);
    madt_used = 8;
}

static void madt_entry(const void *bytes, u32 size)
{
    memcpy(madt_body + madt_used, bytes, size);
    madt_used += size;
}

static void madt_lapic(u8 uid, u8 id, u32 flags)
{
    u8 entry[8] = {0, 8, uid, id};
    put32(entry + 4, flags);
    madt_entry(entry, 8);
}

static void madt_x2apic(u32 uid, u32 id, u32 flags)
{
    u8 entry[16] = {9, 16};
    put32(entry + 4, id);
    put32(entry + 8, flags);
    put32(entry + 12, uid);
    madt_entry(entry, 16);
}

static void madt_ioapic(u8 id, u32 address, u32 gsi)
{
    u8 entry[12] = {1, 12, id};
    put32(entry + 4, address);
    put32(entry + 8, gsi);
    madt_entry(entry, 12);
}

static void madt_override(u8 bus, u8 source, u32 gsi, u16 flags)
{
    u8 entry[10] = {2, 10, bus, source};
    put32(entry + 4, gsi);
    put16(entry + 8, flags);
    madt_entry(entry, 10);
}

static int read_madt(void)
{
    u8 rsdp[36];
    fresh(NULL);
    table(MADT_AT, "APIC", madt_body, madt_used);
    root(XSDT_AT, "XSDT", (u64[]){MADT_AT}, 1);
    make_rsdp(rsdp, 2, 0, XSDT_AT);
    return read_all(rsdp, 36, false, 0);
}

static void madt_everything(void **state)
{
    (void)state;
    madt_start(0xfee00000, 1);
    madt_lapic(1, 0, 1);
    madt_lapic(2, 2, 1);
    madt_lapic(3, 4, 0);    // an empty socket
    madt_lapic(4, 6, 2);    // one that may be filled
    madt_lapic(5, 0xff, 1); // broadcast: no CPU
    madt_ioapic(8, 0xfec00000, 0);
    madt_ioapic(9, 0xfec01000, 24);
    madt_override(0, 0, 2, 0);
    madt_override(0, 9, 9, 0xd);
    madt_override(1, 5, 5, 0);                                        // no ISA bus
    madt_entry((u8[]){3, 8, 0, 0, 1, 0, 0, 0}, 8);                    // NMI source: not asked for
    madt_entry((u8[]){4, 6, 0xff, 5, 0, 1}, 6);                       // all CPUs
    madt_entry((u8[]){4, 6, 7, 0xf, 0, 0}, 6);                        // one of them
    madt_entry((u8[]){0xa, 12, 5, 0, 0xff, 0xff, 0xff, 0xff, 1}, 12); // all again
    madt_entry((u8[]){0x42, 5, 1, 2, 3}, 5);
    madt_x2apic(300, 0x1234, 1);
    madt_x2apic(301, 2, 1); // CPU 2 again
    madt_x2apic(302, 0x1236, 0);
    madt_entry((u8[]){5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0}, 12);
    assert_int_equal(read_madt(), OK);
    assert_string_equal(said, "");
    assert_true(info.has_madt && info.has_8259 && !info.has_fadt);
    assert_int_equal(info.lapic_address, 0x1fee00000);
    static const struct acpi_cpu cpus[] = {
        {0,      1,   true },
        {2,      2,   true },
        {6,      4,   false},
        {0x1234, 300, true },
    };
    assert_int_equal(info.ncpus, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(info.cpus[i].apic_id, cpus[i].apic_id);
        assert_int_equal(info.cpus[i].uid, cpus[i].uid);
        assert_int_equal(info.cpus[i].enabled, cpus[i].enabled);
    }
    assert_int_equal(info.nioapics, 2);
    assert_int_equal(info.ioapics[1].id, 9);
    assert_int_equal(info.ioapics[1].address, 0xfec01000);
    assert_int_equal(info.ioapics[1].gsi_base, 24);
    assert_int_equal(info.noverrides, 2);
    assert_int_equal(info.overrides[0].gsi, 2);
    assert_int_equal(info.overrides[1].source, 9);
    assert_int_equal(info.overrides[1].flags, 0xd);
    assert_int_equal(info.nnmis, 3);
    assert_int_equal(info.nmis[0].uid, ACPI_ALL_CPUS);
    assert_int_equal(info.nmis[0].lint, 1);
    assert_int_equal(info.nmis[0].flags, 5);
    assert_int_equal(info.nmis[1].uid, 7);
    assert_int_equal(info.nmis[1].lint, 0);
    assert_int_equal(info.nmis[2].uid, ACPI_ALL_CPUS);
    assert_int_equal(info.nmis[2].lint, 1);
    assert_int_equal(info.nmis[2].flags, 5);
}

static void madt_broken_entries(void **state)
{
    (void)state;
    static const u8 sizes[] = {0, 1, 9, 255}; // of the last entry, which has 8 bytes
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        madt_start(0xfee00000, 0);
        madt_lapic(0, 3, 1);
        madt_lapic(0, 4, 1);
        madt_body[madt_used - 7] = sizes[i];
        assert_int_equal(read_madt(), OK);
        assert_int_equal(info.ncpus, 1);
        assert_false(info.has_8259);
        assert_non_null(strstr(said, "warning: ACPI: MADT: the entry at 52 has "));
    }
    // Too short for its type: passed over by its own length. Told once.
    madt_start(0xfee00000, 0);
    madt_entry((u8[]){0, 7, 1, 1, 1, 0, 0}, 7);
    madt_entry((u8[]){0, 7, 1, 1, 1, 0, 0}, 7);
    madt_entry((u8[]){1, 11, 1, 1, 1, 0, 0, 0, 0, 0, 0}, 11);
    madt_entry((u8[]){2, 9, 0, 1, 1, 0, 0, 0, 0}, 9);
    madt_entry((u8[]){4, 5, 0, 1, 1}, 5);
    madt_entry((u8[]){5, 11, 0, 0, 1, 1, 1, 1, 1, 1, 1}, 11);
    madt_entry((u8[]){9, 15, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 15);
    madt_entry((u8[]){10, 11, 0, 0, 1, 1, 1, 1, 1, 1, 1}, 11);
    madt_lapic(0, 9, 1);
    madt_entry((u8[]){0}, 1); // half an entry at the end
    assert_int_equal(read_madt(), OK);
    assert_int_equal(info.ncpus, 1);
    assert_int_equal(info.cpus[0].apic_id, 9);
    assert_int_equal(info.nioapics + info.noverrides + info.nnmis, 0);
    assert_int_equal(info.lapic_address, 0xfee00000);
    char *first = strstr(said, "a local APIC entry has 7 bytes, not 8");
    assert_non_null(first);
    assert_null(strstr(first + 1, "a local APIC entry has 7 bytes"));
    assert_non_null(strstr(said, "a local x2APIC NMI entry has 11 bytes, not 12"));
    // The body cut anywhere, without an entry or half a header.
    for (u32 size = 0; size < 8; size++) {
        madt_used = size;
        assert_int_equal(read_madt(), OK);
        assert_false(info.has_madt);
        assert_non_null(strstr(said, "ACPI: MADT: "));
    }
}

static void madt_more_than_kept(void **state)
{
    (void)state;
    madt_start(0xfee00000, 0);
    for (u32 i = 0; i < ACPI_CPUS_MAX + 2; i++)
        madt_x2apic(i, i, 1);
    for (u8 i = 0; i < ACPI_IOAPICS_MAX + 2; i++)
        madt_ioapic(i, 0, 0);
    assert_int_equal(read_madt(), OK);
    assert_int_equal(info.ncpus, ACPI_CPUS_MAX);
    assert_int_equal(info.nioapics, ACPI_IOAPICS_MAX);
    char *first = strstr(said, "there are more local x2APIC entries than Corbel keeps");
    assert_non_null(first);
    assert_null(strstr(first + 1, "there are more local x2APIC"));
    assert_non_null(strstr(said, "there are more I/O APIC entries than Corbel keeps"));
    madt_start(0xfee00000, 0);
    for (u8 i = 0; i < ACPI_OVERRIDES_MAX + 1; i++)
        madt_override(0, i, i, 0);
    for (u32 i = 0; i < ACPI_NMIS_MAX + 1; i++)
        madt_entry((u8[]){4, 6, 1, 0, 0, 1}, 6);
    assert_int_equal(read_madt(), OK);
    assert_int_equal(info.noverrides, ACPI_OVERRIDES_MAX);
    assert_int_equal(info.nnmis, ACPI_NMIS_MAX);
}

// ---- FADT -------------------------------------------------------------------------------------
static u8 fadt[244];

static void fadt_start(u32 flags)
{
    memset(fadt, 0, sizeof(fadt));
    put32(fadt + 0x40, 0x604);
    put32(fadt + 0x4c, 0x608);
    put32(fadt + 0x70, flags);
}

static void read_fadt_of(u32 length)
{
    u8 rsdp[36];
    fresh(NULL);
    table(FADT_AT, "FACP", fadt + 36, length - 36);
    root(XSDT_AT, "XSDT", (u64[]){FADT_AT}, 1);
    make_rsdp(rsdp, 2, 0, XSDT_AT);
    assert_int_equal(read_all(rsdp, 36, false, 0), OK);
}

static void fadt_legacy(void **state)
{
    (void)state;
    fadt_start(0);
    put32(fadt + 0x44, 0x614);
    read_fadt_of(116); // ACPI 1.0
    assert_string_equal(said, "");
    assert_true(info.has_fadt);
    assert_int_equal(info.pm_timer.space, ACPI_PORT);
    assert_int_equal(info.pm_timer.address, 0x608);
    assert_int_equal(info.pm_timer_bits, 24);
    assert_int_equal(info.pm1a_control.address, 0x604);
    assert_int_equal(info.pm1b_control.address, 0x614);
    assert_false(info.has_reset);
    read_fadt_of(115);
    assert_false(info.has_fadt);
    assert_non_null(strstr(said, "ACPI: FACP: 115 bytes"));
}

static void fadt_extended_registers(void **state)
{
    (void)state;
    fadt_start(1u << 8);
    put_gas(fadt + 0xd0, 0, 32, 0x1fed80808);
    put_gas(fadt + 0xac, 1, 16, 0x804);
    put_gas(fadt + 0xb8, 1, 16, 0x814);
    read_fadt_of(244);
    assert_int_equal(info.pm_timer.space, ACPI_MEMORY);
    assert_int_equal(info.pm_timer.address, 0x1fed80808);
    assert_int_equal(info.pm_timer_bits, 32);
    assert_int_equal(info.pm1a_control.space, ACPI_PORT);
    assert_int_equal(info.pm1a_control.address, 0x804);
    assert_int_equal(info.pm1b_control.address, 0x814);
    // A table that ends inside the extended field, and one whose extended fields say nothing.
    read_fadt_of(0xd0 + 11);
    assert_int_equal(info.pm_timer.address, 0x608);
    put_gas(fadt + 0xd0, 0, 0, 0);
    put_gas(fadt + 0xac, 2, 16, 0x804);   // PCI space
    put_gas(fadt + 0xb8, 1, 16, 0x10000); // no port
    read_fadt_of(244);
    assert_int_equal(info.pm_timer.space, ACPI_PORT);
    assert_int_equal(info.pm_timer.address, 0x608);
    assert_int_equal(info.pm1a_control.address, 0x604);
    assert_int_equal(info.pm1b_control.space, ACPI_NOWHERE);
    assert_int_equal(info.pm1b_control.address, 0);
    // No PM timer at all.
    put32(fadt + 0x4c, 0);
    read_fadt_of(244);
    assert_int_equal(info.pm_timer.space, ACPI_NOWHERE);
    assert_int_equal(info.pm_timer_bits, 0);
    put32(fadt + 0x4c, 0x12345678);
    read_fadt_of(244);
    assert_int_equal(info.pm_timer.space, ACPI_NOWHERE);
}

static void fadt_reset(void **state)
{
    (void)state;
    fadt_start(1u << 10);
    put_gas(fadt + 0x74, 1, 8, 0xcf9);
    fadt[0x80] = 6;
    read_fadt_of(244);
    assert_true(info.has_reset);
    assert_int_equal(info.reset.space, RESET_PORT);
    assert_int_equal(info.reset.address, 0xcf9);
    assert_int_equal(info.reset.value, 6);
    read_fadt_of(0x81);
    assert_true(info.has_reset);
    read_fadt_of(0x80);
    assert_false(info.has_reset);
    put_gas(fadt + 0x74, 0, 8, 0x200000000);
    read_fadt_of(244);
    assert_true(info.has_reset);
    assert_int_equal(info.reset.space, RESET_MEMORY);
    assert_int_equal(info.reset.address, 0x200000000);
    static const struct {
        u8 space, width, offset;
        u64 address;
    } bad[] = {
        {1, 8,  0, 0      },
        {1, 16, 0, 0xcf9  },
        {1, 8,  4, 0xcf9  },
        {2, 8,  0, 0xcf9  },
        {1, 8,  0, 0x10cf9},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        put_gas(fadt + 0x74, bad[i].space, bad[i].width, bad[i].address);
        fadt[0x76] = bad[i].offset;
        read_fadt_of(244);
        assert_false(info.has_reset);
    }
    put_gas(fadt + 0x74, 1, 8, 0xcf9);
    fadt[0x76] = 0;
    put32(fadt + 0x70, 0); // the flag says there is none
    read_fadt_of(244);
    assert_false(info.has_reset);
}

// ---- HPET, SPCR -------------------------------------------------------------------------------
static void hpet_and_spcr(void **state)
{
    (void)state;
    u8 rsdp[36], hpet[20] = {0}, spcr[44] = {0};
    put_gas(hpet + 4, 0, 64, 0xfed00000);
    spcr[0] = 1;
    put_gas(spcr + 4, 1, 8, 0x2f8);
    spcr[7] = 3;
    u8 *hpet_table = table(HPET_AT, "HPET", hpet, 20);
    u8 *spcr_table = table(SPCR_AT, "SPCR", spcr, 44);
    root(XSDT_AT, "XSDT", (u64[]){0, HPET_AT, 0xdead0000, SPCR_AT}, 4);
    make_rsdp(rsdp, 2, 0, XSDT_AT);
    assert_int_equal(read_all(rsdp, 36, false, 0), OK);
    assert_string_equal(said, "");
    assert_int_equal(info.hpet_address, 0xfed00000);
    assert_int_equal(info.serial.space, ACPI_PORT);
    assert_int_equal(info.serial.address, 0x2f8);
    assert_int_equal(info.serial_type, 1);
    assert_int_equal(info.serial_bits, 8);
    assert_int_equal(info.serial_access, 3);
    assert_false(info.has_madt || info.has_fadt);
    hpet_table[40] = 1; // a port: no HPET
    resum(hpet_table);
    put64(spcr_table + 44, 0); // redirection is off
    resum(spcr_table);
    assert_int_equal(read_all(rsdp, 36, false, 0), OK);
    assert_int_equal(info.hpet_address, 0);
    assert_int_equal(info.serial.space, ACPI_NOWHERE);
    put32(hpet_table + 4, 51);
    put32(spcr_table + 4, 51);
    assert_int_equal(read_all(rsdp, 36, false, 0), OK);
    assert_non_null(strstr(said, "ACPI: HPET: 51 bytes"));
    assert_non_null(strstr(said, "ACPI: SPCR: 51 bytes"));
}

// ---- the way to the tables --------------------------------------------------------------------
// An RSDT and an XSDT that lead to different tables: CPU 1 and CPU 2.
static void two_roots(u8 *rsdp)
{
    madt_start(0xfee00000, 0);
    madt_lapic(0, 1, 1);
    table(MADT_AT, "APIC", madt_body, madt_used);
    root(RSDT_AT, "RSDT", (u64[]){MADT_AT}, 1);
    madt_start(0xfee00000, 0);
    madt_lapic(0, 2, 1);
    table(OTHER_AT, "APIC", madt_body, madt_used);
    root(XSDT_AT, "XSDT", (u64[]){OTHER_AT}, 1);
    make_rsdp(rsdp, 2, RSDT_AT, XSDT_AT);
}

static u32 first_cpu(const void *rsdp, u32 size)
{
    assert_int_equal(read_all(rsdp, size, false, 0), OK);
    assert_int_equal(info.ncpus, 1);
    return info.cpus[0].apic_id;
}

static void xsdt_first_then_rsdt(void **state)
{
    (void)state;
    u8 rsdp[36], old[36];
    two_roots(rsdp);
    assert_int_equal(first_cpu(rsdp, 36), 2);
    assert_string_equal(said, "");
    make_rsdp(old, 0, RSDT_AT, 0);
    assert_int_equal(first_cpu(old, 20), 1);
    put64(old + 24, XSDT_AT); // revision 0 has no XSDT, whatever stands there
    assert_int_equal(first_cpu(old, 36), 1);
    assert_int_equal(first_cpu(rsdp, 35), 1); // nor has one that is cut off
    make_rsdp(rsdp, 2, RSDT_AT, 0);
    assert_int_equal(first_cpu(rsdp, 36), 1);
    make_rsdp(rsdp, 2, RSDT_AT, 0x666000); // nothing there
    assert_int_equal(first_cpu(rsdp, 36), 1);
    make_rsdp(rsdp, 2, RSDT_AT, RSDT_AT); // not an XSDT
    assert_int_equal(first_cpu(rsdp, 36), 1);
    make_rsdp(rsdp, 2, 0x666000, 0x667000);
    assert_int_equal(read_all(rsdp, 36, false, 0), E_FORMAT);
    assert_non_null(strstr(said, "neither an XSDT at 0x667000 nor an RSDT at 0x666000"));
    make_rsdp(rsdp, 2, 0, 0);
    assert_int_equal(read_all(rsdp, 36, false, 0), E_FORMAT);
}

static void wrong_checksums_are_told_not_fatal(void **state)
{
    (void)state;
    u8 rsdp[36];
    two_roots(rsdp);
    rsdp[9] ^= 1; // in both sums
    assert_int_equal(first_cpu(rsdp, 36), 2);
    assert_non_null(strstr(said, "warning: ACPI: RSDP: wrong checksum"));
    assert_non_null(strstr(said, "warning: ACPI: RSDP: wrong extended checksum"));
    rsdp[9] ^= 1;
    rsdp[33] ^= 1;
    assert_int_equal(first_cpu(rsdp, 36), 2);
    assert_null(strstr(said, "RSDP: wrong checksum"));
    assert_non_null(strstr(said, "RSDP: wrong extended checksum"));
    rsdp[33] ^= 1;
    areas[2].bytes[20] ^= 1;
    areas[3].bytes[20] ^= 1;
    assert_int_equal(first_cpu(rsdp, 36), 2);
    assert_non_null(strstr(said, "ACPI: APIC: wrong checksum"));
    assert_non_null(strstr(said, "ACPI: XSDT: wrong checksum"));
}

static void roots_of_wrong_length(void **state)
{
    (void)state;
    u8 rsdp[36];
    static const u32 lengths[] = {0, 35, (16 << 10) + 1, 0xffffffff};
    two_roots(rsdp);
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        put32(areas[3].bytes + 4, lengths[i]);
        assert_int_equal(first_cpu(rsdp, 36), 1); // by the RSDT
        assert_non_null(strstr(said, "ACPI: XSDT: "));
    }
    put32(areas[3].bytes + 4, 100); // beyond what is mapped
    assert_int_equal(first_cpu(rsdp, 36), 1);
    assert_non_null(strstr(said, "ACPI: XSDT at 0x17fe1000 cannot be read"));
    put32(areas[3].bytes + 4, 43); // not a whole entry
    assert_int_equal(read_all(rsdp, 36, false, 0), OK);
    assert_int_equal(info.ncpus, 0);
}

static void tables_of_wrong_length(void **state)
{
    (void)state;
    u8 rsdp[36];
    static const u32 lengths[] = {0, 35, 1000, (1 << 20) + 1, 0xffffffff};
    two_roots(rsdp);
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        put32(areas[2].bytes + 4, lengths[i]);
        assert_int_equal(read_all(rsdp, 36, false, 0), OK);
        assert_false(info.has_madt);
        assert_non_null(strstr(said, "ACPI: APIC"));
    }
}

static void first_good_table_of_a_kind_counts(void **state)
{
    (void)state;
    u8 rsdp[36];
    two_roots(rsdp);
    fresh(NULL);
    two_roots(rsdp);
    root(0x500000, "XSDT", (u64[]){MADT_AT, OTHER_AT}, 2);
    make_rsdp(rsdp, 2, 0, 0x500000);
    assert_int_equal(first_cpu(rsdp, 36), 1);
    put32(areas[0].bytes + 4, 10); // the first one is broken
    assert_int_equal(first_cpu(rsdp, 36), 2);
}

static void not_an_rsdp(void **state)
{
    (void)state;
    u8 rsdp[36];
    two_roots(rsdp);
    assert_int_equal(read_all(rsdp, 19, false, 0), E_FORMAT);
    assert_int_equal(read_all(rsdp, 1, true, 0), E_FORMAT);
    rsdp[0] ^= 1;
    assert_int_equal(read_all(rsdp, 36, false, 0), E_FORMAT);
    assert_non_null(strstr(said, "the boot loader's RSDP is none"));
}

// ---- the search under BIOS --------------------------------------------------------------------
// The area E0000-FFFFF does not fit one of the areas above, so it has a map of its own.
static u8 rom[0x20000];
static u8 ebda_bytes[1024];
static bool has_ebda;

static const void *map_bios(void *ctx, u64 pa, u64 size)
{
    if (pa >= 0xe0000 && pa + size <= 0x100000)
        return rom + (pa - 0xe0000);
    if (has_ebda && pa >= 0x9fc00 && pa + size <= 0xa0000)
        return ebda_bytes + (pa - 0x9fc00);
    return map(ctx, pa, size);
}

static int find_bios(bool bios, u64 ebda)
{
    static const struct acpi_memory bios_memory = {map_bios, areas};
    int err = acpi_read(&bios_memory, NULL, 0, bios, ebda, &info);
    while (ncopies)
        free(copies[--ncopies]);
    return err;
}

static void found_by_search(void **state)
{
    (void)state;
    u8 rsdp[36], old[36];
    two_roots(rsdp);
    make_rsdp(old, 0, RSDT_AT, 0);
    memset(rom, 0xff, sizeof(rom));
    memset(ebda_bytes, 0, sizeof(ebda_bytes));
    has_ebda = true;
    assert_int_equal(find_bios(true, 0x9fc00), E_NOENT);

    memcpy(rom + 0x1ffe0, old, 20); // near the end: there is no room for 36 bytes
    assert_int_equal(find_bios(false, 0x9fc00), E_NOENT);
    assert_int_equal(find_bios(true, 0), OK);
    assert_int_equal(info.cpus[0].apic_id, 1);

    memcpy(rom + 0x8008, rsdp, 36); // not on a 16-byte boundary
    assert_int_equal(find_bios(true, 0), OK);
    assert_int_equal(info.cpus[0].apic_id, 1);
    memcpy(rom + 0x9000, rsdp, 36);
    rom[0x9000 + 9] ^= 1; // wrong checksum: a stray text, not the pointer
    assert_int_equal(find_bios(true, 0), OK);
    assert_int_equal(info.cpus[0].apic_id, 1);
    memcpy(rom + 0xa000, rsdp, 36);
    assert_int_equal(find_bios(true, 0), OK);
    assert_int_equal(info.cpus[0].apic_id, 2);

    memcpy(ebda_bytes + 1024 - 16 - 16, old, 20); // the EBDA comes first
    assert_int_equal(find_bios(true, 0x9fc00), OK);
    assert_int_equal(info.cpus[0].apic_id, 1);
    assert_int_equal(find_bios(true, 0x400), OK); // no EBDA there: goes on in the ROM
    assert_int_equal(info.cpus[0].apic_id, 2);
    assert_int_equal(find_bios(true, ~0ull), OK);
    assert_int_equal(info.cpus[0].apic_id, 2);
    has_ebda = false;
    assert_int_equal(find_bios(true, 0x9fc00), OK);
    assert_int_equal(info.cpus[0].apic_id, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(madt_everything, fresh),
        cmocka_unit_test_setup(madt_broken_entries, fresh),
        cmocka_unit_test_setup(madt_more_than_kept, fresh),
        cmocka_unit_test_setup(fadt_legacy, fresh),
        cmocka_unit_test_setup(fadt_extended_registers, fresh),
        cmocka_unit_test_setup(fadt_reset, fresh),
        cmocka_unit_test_setup(hpet_and_spcr, fresh),
        cmocka_unit_test_setup(xsdt_first_then_rsdt, fresh),
        cmocka_unit_test_setup(wrong_checksums_are_told_not_fatal, fresh),
        cmocka_unit_test_setup(roots_of_wrong_length, fresh),
        cmocka_unit_test_setup(tables_of_wrong_length, fresh),
        cmocka_unit_test_setup(first_good_table_of_a_kind_counts, fresh),
        cmocka_unit_test_setup(not_an_rsdp, fresh),
        cmocka_unit_test_setup(found_by_search, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
