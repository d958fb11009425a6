// SPDX-License-Identifier: MIT
#include "guest/acpi_tables.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "guest/guest_memory.h"
#include "guest/le.h"
#include "guest/pc.h"

extern const u8 dsdt_aml[], dsdt_aml_end[];

// The tables follow the RSDP, each at a multiple of 64 bytes, as the FACS has to be.
#define RSDP_SIZE   36u
#define TABLE_ALIGN 64u
#define TABLE_MAX   320u
#define TABLES_MAX  8u

// ---- a table in the making --------------------------------------------------------------------

struct table {
    u8 data[TABLE_MAX];
    u32 length;
};

static void put(struct table *t, u64 value, u32 size)
{
    CHECK(t->length + size <= TABLE_MAX);
    for (u32 i = 0; i < size; i++)
        t->data[t->length++] = (u8)(value >> (i * 8));
}

static void put_text(struct table *t, const char *text, u32 size)
{
    for (u32 i = 0; i < size; i++)
        put(t, *text ? (u8)*text++ : 0, 1);
}

static void skip_to(struct table *t, u32 offset)
{
    CHECK(offset >= t->length);
    put_text(t, "", offset - t->length);
}

static u8 checksum(const u8 *data, u32 length)
{
    u8 sum = 0;
    for (u32 i = 0; i < length; i++)
        sum = (u8)(sum + data[i]);
    return (u8)(0 - sum);
}

// "System Description Table Header"; length and checksum come with finish().
#define HEADER_LENGTH   4u
#define HEADER_CHECKSUM 9u

static void begin(struct table *t, const char *signature, u8 revision)
{
    *t = (struct table){.length = 0};
    put_text(t, signature, 4);
    put(t, 0, 4);
    put(t, revision, 1);
    put(t, 0, 1);
    put_text(t, "CORBEL", 6);
    put_text(t, "CORBELPC", 8);
    put(t, 1, 4); // OEM revision
    put_text(t, "CRBL", 4);
    put(t, 1, 4); // creator's revision
}

static void finish(struct table *t)
{
    put_le32(t->data + HEADER_LENGTH, t->length);
    t->data[HEADER_CHECKSUM] = checksum(t->data, t->length);
}

// "Generic Address Structure"; access: 1 byte, 2 word, 3 doubleword.
enum { SPACE_MEMORY, SPACE_IO };

static void put_gas(struct table *t, u8 space, u8 bits, u8 access, u64 address)
{
    put(t, space, 1);
    put(t, bits, 1);
    put(t, 0, 1); // bit offset
    put(t, access, 1);
    put(t, address, 8);
}

// ---- the tables -------------------------------------------------------------------------------

// "FADT Format": offsets where fields that are 0 are skipped.
#define FADT_REVISION   6u
#define FADT_SCI        46u
#define FADT_PM1A_EVT   56u
#define FADT_PM1A_CNT   64u
#define FADT_PM_TMR     76u
#define FADT_LENGTHS    88u
#define FADT_LATENCIES  96u
#define FADT_CENTURY    108u
#define FADT_RESET      116u
#define FADT_X_DSDT     140u
#define FADT_X_PM1A_CNT 172u
#define FADT_X_PM_TMR   208u
#define FADT_HYPERVISOR 268u

// "IA-PC Boot Architecture Flags". No 8042 is announced: only its reset line is there.
#define BOOT_LEGACY_DEVICES BIT32(0)
#define BOOT_NO_VGA         BIT32(2)
#define BOOT_NO_MSI         BIT32(3)
#define BOOT_NO_ASPM        BIT32(4)

// "Fixed ACPI Description Table Fixed Feature Flags". The power button is a fixed one, and the RTC
// wakes nothing, since there is nothing to wake from.
#define FADT_WBINVD      BIT32(0)
#define FADT_PROC_C1     BIT32(2)
#define FADT_SLP_BUTTON  BIT32(5) // there is no fixed one
#define FADT_FIX_RTC     BIT32(6) // likewise
#define FADT_TMR_VAL_EXT BIT32(8)
#define FADT_RESET_REG   BIT32(10)
#define FADT_FLAGS                                                                                 \
    (FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT |              \
     FADT_RESET_REG)

#define PM1_EVT (PC_PM_BASE + 0)
#define PM1_CNT (PC_PM_BASE + 4)
#define PM_TMR  (PC_PM_BASE + 8)

#define RTC_CENTURY 0x32u // where in CMOS RAM
#define NO_C2       101u  // worst-case latency, us: from 101 on there is no such state
#define NO_C3       1001u

static void put_fadt_ports(struct table *t)
{
    skip_to(t, FADT_PM1A_EVT);
    put(t, PM1_EVT, 4);
    skip_to(t, FADT_PM1A_CNT);
    put(t, PM1_CNT, 4);
    skip_to(t, FADT_PM_TMR);
    put(t, PM_TMR, 4);
    skip_to(t, FADT_LENGTHS);
    put(t, 4, 1); // PM1_EVT
    put(t, 2, 1); // PM1_CNT
    put(t, 0, 1); // PM2_CNT
    put(t, 4, 1); // PM_TMR
}

// No SMI command port: the machine is in ACPI mode from the start.
static void make_fadt(struct table *t, u32 facs, u32 dsdt)
{
    begin(t, "FACP", FADT_REVISION);
    put(t, facs, 4);
    put(t, dsdt, 4);
    skip_to(t, FADT_SCI);
    put(t, PC_IRQ_SCI, 2);
    put_fadt_ports(t);
    skip_to(t, FADT_LATENCIES);
    put(t, NO_C2, 2);
    put(t, NO_C3, 2);
    skip_to(t, FADT_CENTURY);
    put(t, RTC_CENTURY, 1);
    put(t, BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM, 2);
    put(t, 0, 1);
    put(t, FADT_FLAGS, 4);
    skip_to(t, FADT_RESET);
    put_gas(t, SPACE_IO, 8, 1, PC_RESET_PORT);
    put(t, PC_RESET_VALUE, 1);
    skip_to(t, FADT_X_DSDT);
    put(t, dsdt, 8);
    put_gas(t, SPACE_IO, 32, 2, PM1_EVT);
    skip_to(t, FADT_X_PM1A_CNT);
    put_gas(t, SPACE_IO, 16, 2, PM1_CNT);
    skip_to(t, FADT_X_PM_TMR);
    put_gas(t, SPACE_IO, 32, 3, PM_TMR);
    skip_to(t, FADT_HYPERVISOR);
    put_text(t, "Corbel", 8);
    finish(t);
}

// "Firmware ACPI Control Structure": no table header, no checksum.
static void make_facs(struct table *t)
{
    *t = (struct table){.length = 0};
    put_text(t, "FACS", 4);
    put(t, 64, 4);
    skip_to(t, 32);
    put(t, 2, 1); // version
    skip_to(t, 64);
}

// "MPS INTI Flags".
#define INTI_BUS        0x0u // as the bus has it: ISA is edge-triggered and active high
#define INTI_EDGE_HIGH  0x5u
#define INTI_LEVEL_HIGH 0xdu

static void put_override(struct table *t, u8 irq, u32 gsi, u16 flags)
{
    put(t, 2, 1); // Interrupt Source Override
    put(t, 10, 1);
    put(t, 0, 1); // ISA
    put(t, irq, 1);
    put(t, gsi, 4);
    put(t, flags, 2);
}

static void make_madt(struct table *t)
{
    begin(t, "APIC", 3);
    put(t, PC_LAPIC, 4);
    put(t, 1, 4); // the two 8259s are there as well

    put(t, 0, 1); // Processor Local APIC
    put(t, 8, 1);
    put(t, 0, 1); // processor UID
    put(t, 0, 1); // APIC id
    put(t, 1, 4); // enabled

    put(t, 1, 1); // I/O APIC
    put(t, 12, 1);
    put(t, PC_IOAPIC_ID, 1);
    put(t, 0, 1);
    put(t, PC_IOAPIC, 4);
    put(t, 0, 4); // its first global interrupt

    put_override(t, PC_IRQ_PIT, PC_GSI_PIT, INTI_BUS);
    put_override(t, PC_IRQ_SCI, PC_IRQ_SCI, INTI_LEVEL_HIGH);

    put(t, 4, 1); // Local APIC NMI
    put(t, 6, 1);
    put(t, 0xff, 1); // of all processors
    put(t, INTI_EDGE_HIGH, 2);
    put(t, 1, 1); // LINT1
    finish(t);
}

// IA-PC HPET specification, "The HPET Description Table".
#define HPET_MIN_TICK 128u // counter ticks that a periodic timer must be set to at least

static void make_hpet(struct table *t, u32 id)
{
    begin(t, "HPET", 1);
    put(t, id, 4);
    put_gas(t, SPACE_MEMORY, 64, 0, PC_HPET);
    put(t, 0, 1); // its number
    put(t, HPET_MIN_TICK, 2);
    put(t, 0, 1); // page protection: none told
    finish(t);
}

// ---- where they lie ---------------------------------------------------------------------------

struct area {
    struct vm *vm;
    u64 next; // guest-physical
    u32 listed[TABLES_MAX];
    unsigned nlisted; // those that RSDT and XSDT name
};

// Writes size bytes at the next place, whose address it gives.
static int place(struct area *area, const void *data, u64 size, u32 *at)
{
    if (size > PC_HIGH_RAM - area->next)
        return E_RANGE;
    *at = (u32)area->next;
    area->next = align_up(area->next + size, TABLE_ALIGN);
    return guest_write(area->vm, GPA(*at), data, size);
}

static int place_listed(struct area *area, const struct table *t)
{
    CHECK(area->nlisted < TABLES_MAX);
    return place(area, t->data, t->length, &area->listed[area->nlisted++]);
}

static int place_fadt(struct area *area)
{
    struct table t;
    u32 facs, dsdt;

    make_facs(&t);
    int err = place(area, t.data, t.length, &facs);
    if (err == OK)
        err = place(area, dsdt_aml, (u64)(dsdt_aml_end - dsdt_aml), &dsdt);
    if (err)
        return err;
    make_fadt(&t, facs, dsdt);
    return place_listed(area, &t);
}

static int place_list(struct area *area, const char *signature, u32 pointer_size, u32 *at)
{
    struct table t;

    begin(&t, signature, 1);
    for (unsigned i = 0; i < area->nlisted; i++)
        put(&t, area->listed[i], pointer_size);
    finish(&t);
    return place(area, t.data, t.length, at);
}

// "Root System Description Pointer (RSDP)": the first checksum is that of ACPI 1.0's 20 bytes.
static int write_rsdp(struct vm *vm, u32 rsdt, u32 xsdt)
{
    struct table t = {.length = 0};

    put_text(&t, "RSD PTR ", 8);
    put(&t, 0, 1);
    put_text(&t, "CORBEL", 6);
    put(&t, 2, 1);
    put(&t, rsdt, 4);
    put(&t, RSDP_SIZE, 4);
    put(&t, xsdt, 8);
    put(&t, 0, 4);
    t.data[8] = checksum(t.data, 20);
    t.data[32] = checksum(t.data, RSDP_SIZE);
    return guest_write(vm, GPA(PC_BIOS), t.data, t.length);
}

int acpi_tables_write(struct vm *vm, const struct acpi_config *config, gpa_t *rsdp)
{
    struct area area = {.vm = vm, .next = align_up(PC_BIOS + RSDP_SIZE, TABLE_ALIGN)};
    struct table t;
    u32 rsdt, xsdt;

    int err = place_fadt(&area);
    if (err == OK) {
        make_madt(&t);
        err = place_listed(&area, &t);
    }
    if (err == OK && config->hpet) {
        make_hpet(&t, config->hpet_id);
        err = place_listed(&area, &t);
    }
    if (err == OK)
        err = place_list(&area, "RSDT", 4, &rsdt);
    if (err == OK)
        err = place_list(&area, "XSDT", 8, &xsdt);
    if (err == OK)
        err = write_rsdp(vm, rsdt, xsdt);
    if (err == OK)
        *rsdp = GPA(PC_BIOS);
    return err;
}
