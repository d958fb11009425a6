// SPDX-License-Identifier: MIT
#include "arch/x86_64/smbios.h"

#include "arch/x86_64/acpi_bytes.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"

// "SMBIOS Structure Table entry point"
#define BIOS_START 0xf0000u
#define BIOS_SIZE  0x10000u
#define ENTRY_SIZE 31u // the longer of the two kinds
#define TABLE_MAX  (256u << 10)

struct place {
    u64 table; // host-physical
    u32 size;
};

static bool sums_to_zero(const u8 *at, u32 size)
{
    u8 sum = 0;
    for (u32 i = 0; i < size; i++)
        sum = (u8)(sum + at[i]);
    return sum == 0;
}

static bool read_entry(const u8 *at, struct place *place)
{
    if (!memcmp(at, "_SM3_", 5) && at[6] >= 24 && at[6] <= ENTRY_SIZE && sums_to_zero(at, at[6]))
        *place = (struct place){acpi_u64(at + 0x10), acpi_u32(at + 0x0c)};
    else if (!memcmp(at, "_SM_", 4) && at[5] >= 30 && at[5] <= ENTRY_SIZE &&
             sums_to_zero(at, at[5]))
        *place = (struct place){acpi_u32(at + 0x18), acpi_u16(at + 0x16)};
    else
        return false;
    // The newer kind tells the most it can be.
    if (place->size > TABLE_MAX)
        place->size = TABLE_MAX;
    return place->table && place->size;
}

static bool find_entry(const struct acpi_memory *memory, u64 entry, struct place *place)
{
    if (entry) {
        const u8 *at = memory->map(memory->ctx, entry, ENTRY_SIZE);
        return at && read_entry(at, place);
    }
    const u8 *area = memory->map(memory->ctx, BIOS_START, BIOS_SIZE);
    for (u32 at = 0; area && at + ENTRY_SIZE <= BIOS_SIZE; at += 16)
        if (read_entry(area + at, place))
            return true;
    return false;
}

// ---- structures ---------------------------------------------------------------------------------
// A header, its fields, and behind them strings that fields name by number, ended by an empty one.
#define HEADER_SIZE 4u

enum { TYPE_FIRMWARE = 0, TYPE_SYSTEM = 1, TYPE_END = 127 };

struct structure {
    const u8 *at;
    u32 length; // of header and fields
    u32 size;   // with the strings
};

static struct structure structure_at(const u8 *at, u32 left)
{
    struct structure s = {.at = at};
    if (left < HEADER_SIZE || at[1] < HEADER_SIZE || at[1] > left)
        return s;
    s.length = at[1];
    for (u32 end = s.length; end + 2 <= left; end++) {
        if (at[end] == 0 && at[end + 1] == 0) {
            s.size = end + 2;
            break;
        }
    }
    return s;
}

// The string that the field names; nothing where there is no such field or string.
static void copy_string(const struct structure *s, u32 field, char text[SMBIOS_TEXT_MAX])
{
    u32 number = field < s->length ? s->at[field] : 0, used = 0;
    if (!number)
        return;
    u32 at = s->length;
    for (; number > 1 && at < s->size; at++)
        number -= s->at[at] == 0;
    for (; at < s->size && s->at[at] && used + 1 < SMBIOS_TEXT_MAX; at++)
        text[used++] = s->at[at] >= 0x20 && s->at[at] <= 0x7e ? (char)s->at[at] : '?';
    while (used && text[used - 1] == ' ')
        used--;
    text[used] = '\0';
}

static void take(const struct structure *s, struct smbios_info *info)
{
    if (s->at[0] == TYPE_FIRMWARE) {
        copy_string(s, 5, info->firmware);
        copy_string(s, 8, info->date);
    } else if (s->at[0] == TYPE_SYSTEM) {
        copy_string(s, 4, info->maker);
        copy_string(s, 5, info->product);
        copy_string(s, 6, info->version);
    }
}

int smbios_read(const struct acpi_memory *memory, u64 entry, struct smbios_info *info)
{
    struct place place;
    memset(info, 0, sizeof(*info));
    if (!find_entry(memory, entry, &place))
        return E_NOENT;
    const u8 *table = memory->map(memory->ctx, place.table, place.size);
    if (!table)
        return E_FORMAT;
    for (u32 at = 0; at < place.size;) {
        struct structure s = structure_at(table + at, place.size - at);
        if (!s.size || s.at[0] == TYPE_END)
            break;
        take(&s, info);
        at += s.size;
    }
    return OK;
}
