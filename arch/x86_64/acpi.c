// SPDX-License-Identifier: MIT
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/acpi_bytes.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"

static u8 byte_sum(const u8 *data, u32 length)
{
    u8 sum = 0;
    for (u32 i = 0; i < length; i++)
        sum = (u8)(sum + data[i]);
    return sum;
}

// ---- FADT -------------------------------------------------------------------------------------
// "Fixed ACPI Description Table (FADT)". It grew with each version, so its length says which fields
// are there.
#define FADT_PM1A_CNT   0x40u
#define FADT_PM1B_CNT   0x44u
#define FADT_PM_TMR     0x4cu
#define FADT_FLAGS      0x70u
#define FADT_RESET_REG  0x74u
#define FADT_RESET_VAL  0x80u
#define FADT_X_PM1A_CNT 0xacu
#define FADT_X_PM1B_CNT 0xb8u
#define FADT_X_PM_TMR   0xd0u

#define FADT_TMR_VAL_EXT   BIT32(8)
#define FADT_RESET_REG_SUP BIT32(10)

// "Generic Address Structure (GAS)"
#define GAS_SIZE    12u
#define GAS_SPACE   0
#define GAS_WIDTH   1
#define GAS_OFFSET  2
#define GAS_ACCESS  3
#define GAS_ADDRESS 4

enum { GAS_MEMORY = 0, GAS_PORT = 1 };

static struct acpi_register gas_register(const u8 *gas)
{
    struct acpi_register reg = {ACPI_NOWHERE, acpi_u64(gas + GAS_ADDRESS)};
    if (reg.address == 0)
        return reg;
    if (gas[GAS_SPACE] == GAS_MEMORY)
        reg.space = ACPI_MEMORY;
    else if (gas[GAS_SPACE] == GAS_PORT && reg.address <= 0xffff)
        reg.space = ACPI_PORT;
    else
        reg.address = 0;
    return reg;
}

// A register that is described twice: by a GAS at extended, which counts where it says something,
// and by a port at legacy.
static struct acpi_register fadt_register(const u8 *table, u32 length, u32 legacy, u32 extended)
{
    struct acpi_register reg = {ACPI_NOWHERE, 0};
    if (length >= extended + GAS_SIZE)
        reg = gas_register(table + extended);
    u32 port = acpi_u32(table + legacy);
    if (reg.space == ACPI_NOWHERE && port != 0 && port <= 0xffff)
        reg = (struct acpi_register){ACPI_PORT, port};
    return reg;
}

// "Reset Register": eight bits wide, in memory or an I/O port (or PCI space, which Corbel leaves).
static void read_reset(const u8 *table, u32 length, struct acpi_info *info)
{
    const u8 *gas = table + FADT_RESET_REG;
    if (length <= FADT_RESET_VAL || !(acpi_u32(table + FADT_FLAGS) & FADT_RESET_REG_SUP))
        return;
    struct acpi_register reg = gas_register(gas);
    if (reg.space == ACPI_NOWHERE || gas[GAS_WIDTH] != 8 || gas[GAS_OFFSET] != 0)
        return;
    info->has_reset = true;
    info->reset = (struct reset_register){
        .space = reg.space == ACPI_PORT ? RESET_PORT : RESET_MEMORY,
        .address = reg.address,
        .value = table[FADT_RESET_VAL],
    };
}

static void read_fadt(const u8 *table, u32 length, struct acpi_info *info)
{
    info->has_fadt = true;
    info->pm1a_control = fadt_register(table, length, FADT_PM1A_CNT, FADT_X_PM1A_CNT);
    info->pm1b_control = fadt_register(table, length, FADT_PM1B_CNT, FADT_X_PM1B_CNT);
    info->pm_timer = fadt_register(table, length, FADT_PM_TMR, FADT_X_PM_TMR);
    if (info->pm_timer.space != ACPI_NOWHERE)
        info->pm_timer_bits = acpi_u32(table + FADT_FLAGS) & FADT_TMR_VAL_EXT ? 32 : 24;
    read_reset(table, length, info);
}

// ---- HPET and SPCR ----------------------------------------------------------------------------
// IA-PC HPET specification, "The ACPI 2.0 HPET Description Table (HPET)".
#define HPET_GAS  40u
#define HPET_SIZE (HPET_GAS + GAS_SIZE)

static void read_hpet(const u8 *table, u32 length, struct acpi_info *info)
{
    (void)length;
    struct acpi_register reg = gas_register(table + HPET_GAS);
    if (reg.space == ACPI_MEMORY)
        info->hpet_address = reg.address;
}

// Microsoft, "Serial Port Console Redirection Table (SPCR)".
#define SPCR_TYPE 36u
#define SPCR_GAS  40u
#define SPCR_SIZE (SPCR_GAS + GAS_SIZE)

static void read_spcr(const u8 *table, u32 length, struct acpi_info *info)
{
    (void)length;
    info->serial = gas_register(table + SPCR_GAS); // no address: redirection is turned off
    info->serial_type = table[SPCR_TYPE];
    info->serial_bits = table[SPCR_GAS + GAS_WIDTH];
    info->serial_access = table[SPCR_GAS + GAS_ACCESS];
}

// ---- tables -----------------------------------------------------------------------------------
// "System Description Table Header"
#define HEADER_SIZE   36u
#define HEADER_LENGTH 4

// Far beyond what firmware makes; a length above is damage.
#define TABLE_MAX (1u << 20)
#define ROOT_MAX  (16u << 10)

struct table_rule {
    char signature[5];
    u32 least; // bytes, header included
    void (*read)(const u8 *table, u32 length, struct acpi_info *info);
};

static const struct table_rule rules[] = {
    {"APIC", HEADER_SIZE,    acpi_read_madt},
    {"FACP", FADT_FLAGS + 4, read_fadt     },
    {"HPET", HPET_SIZE,      read_hpet     },
    {"SPCR", SPCR_SIZE,      read_spcr     },
};

// The table at pa, all of it, if it is one of this signature and no shorter than least; else NULL.
// A wrong checksum is only reported: firmware that patches its tables gets it wrong.
static const u8 *map_table(const struct acpi_memory *memory, u64 pa, const char *signature,
                           u32 least, u32 most, u32 *length)
{
    const u8 *table = memory->map(memory->ctx, pa, HEADER_SIZE);
    if (!table || memcmp(table, signature, 4) != 0)
        return NULL;
    *length = acpi_u32(table + HEADER_LENGTH);
    if (*length < least || *length > most) {
        log_warn("ACPI: %s: %u bytes are not between %u and %u", signature, *length, least, most);
        return NULL;
    }
    table = memory->map(memory->ctx, pa, *length);
    if (!table)
        log_warn("ACPI: %s at 0x%llx cannot be read", signature, (unsigned long long)pa);
    else if (byte_sum(table, *length) != 0)
        log_warn("ACPI: %s: wrong checksum", signature);
    return table;
}

static void read_table(const struct acpi_memory *memory, u64 pa, u32 *seen, struct acpi_info *info)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
        u32 length;
        if (*seen & BIT32(i)) // of each kind the first counts
            continue;
        const u8 *table =
            map_table(memory, pa, rules[i].signature, rules[i].least, TABLE_MAX, &length);
        if (!table)
            continue;
        *seen |= BIT32(i);
        rules[i].read(table, length, info);
    }
}

// Reads all tables that the root table at pa (XSDT: 64-bit entries, RSDT: 32-bit ones) lists.
static int read_root(const struct acpi_memory *memory, u64 pa, const char *signature, u32 width,
                     struct acpi_info *info)
{
    u32 length, seen = 0;
    if (pa == 0)
        return E_NOENT;
    const u8 *root = map_table(memory, pa, signature, HEADER_SIZE, ROOT_MAX, &length);
    if (!root)
        return E_FORMAT;
    for (u32 at = HEADER_SIZE; at + width <= length; at += width) {
        u64 table = width == 8 ? acpi_u64(root + at) : acpi_u32(root + at);
        if (table)
            read_table(memory, table, &seen, info);
    }
    return OK;
}

// ---- RSDP -------------------------------------------------------------------------------------
// "Root System Description Pointer (RSDP)"
#define RSDP_REVISION 15
#define RSDP_RSDT     16
#define RSDP_V1_SIZE  20u
#define RSDP_LENGTH   20
#define RSDP_XSDT     24
#define RSDP_V2_SIZE  36u

#define LOW_1M     0x100000ull
#define BIOS_START 0xe0000ull
#define EBDA_SEEN  1024u // "the first 1 KB of the EBDA"

static bool is_rsdp(const u8 *at)
{
    return memcmp(at, "RSD PTR ", 8) == 0 && byte_sum(at, RSDP_V1_SIZE) == 0;
}

// "Finding the RSDP on IA-PC Systems": on a 16-byte boundary. The copy holds what of it may be
// read.
static bool search(const struct acpi_memory *memory, u64 start, u32 size, u8 copy[RSDP_V2_SIZE])
{
    const u8 *area = memory->map(memory->ctx, start, size);
    for (u32 at = 0; area && at + RSDP_V1_SIZE <= size; at += 16) {
        if (!is_rsdp(area + at))
            continue;
        u32 length = size - at < RSDP_V2_SIZE ? RSDP_V1_SIZE : RSDP_V2_SIZE;
        memset(copy, 0, RSDP_V2_SIZE);
        memcpy(copy, area + at, length);
        return true;
    }
    return false;
}

static bool search_bios(const struct acpi_memory *memory, u64 ebda, u8 copy[RSDP_V2_SIZE])
{
    bool in_ebda = ebda != 0 && ebda < LOW_1M - EBDA_SEEN;
    return (in_ebda && search(memory, align_down(ebda, 16), EBDA_SEEN, copy)) ||
           search(memory, BIOS_START, (u32)(LOW_1M - BIOS_START), copy);
}

// Where the root tables are; xsdt is 0 where only ACPI 1.0 is spoken.
static int read_rsdp(const u8 *rsdp, u32 size, u64 *rsdt, u64 *xsdt)
{
    *xsdt = 0;
    if (size < RSDP_V1_SIZE || memcmp(rsdp, "RSD PTR ", 8) != 0) {
        log_warn("ACPI: the boot loader's RSDP is none");
        return E_FORMAT;
    }
    if (byte_sum(rsdp, RSDP_V1_SIZE) != 0)
        log_warn("ACPI: RSDP: wrong checksum");
    *rsdt = acpi_u32(rsdp + RSDP_RSDT);
    if (rsdp[RSDP_REVISION] < 2 || size < RSDP_V2_SIZE)
        return OK;
    // The length is the firmware's; only as much of it as was given can be summed up.
    if (acpi_u32(rsdp + RSDP_LENGTH) == RSDP_V2_SIZE && byte_sum(rsdp, RSDP_V2_SIZE) != 0)
        log_warn("ACPI: RSDP: wrong extended checksum");
    *xsdt = acpi_u64(rsdp + RSDP_XSDT);
    return OK;
}

int acpi_read(const struct acpi_memory *memory, const void *rsdp, u32 size, bool bios, u64 ebda,
              struct acpi_info *info)
{
    u8 found[RSDP_V2_SIZE];
    u64 rsdt, xsdt;
    memset(info, 0, sizeof(*info));
    if (size == 0) {
        if (!bios || !search_bios(memory, ebda, found))
            return E_NOENT;
        rsdp = found;
        size = sizeof(found);
    }
    int err = read_rsdp(rsdp, size, &rsdt, &xsdt);
    if (err)
        return err;
    // The XSDT first: firmware keeps the RSDT for old systems and may leave it stale.
    if (read_root(memory, xsdt, "XSDT", 8, info) == OK)
        return OK;
    if (read_root(memory, rsdt, "RSDT", 4, info) == OK)
        return OK;
    log_warn("ACPI: neither an XSDT at 0x%llx nor an RSDT at 0x%llx", (unsigned long long)xsdt,
             (unsigned long long)rsdt);
    return E_FORMAT;
}
