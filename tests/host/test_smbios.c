// SPDX-License-Identifier: MIT
// Firmware's own words: UEFI's list of tables, and what SMBIOS calls the machine.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/efi_tables.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/smbios.h"

// Host-physical memory from 0 to 1 MiB. What is mapped is a copy, so that reading past it is seen.
static u8 ram[1 << 20];
static void *copies[64];
static unsigned ncopies;

static const void *map(void *ctx, u64 pa, u64 size)
{
    (void)ctx;
    if (pa >= sizeof(ram) || size > sizeof(ram) - pa || size == 0)
        return NULL;
    assert_in_range(ncopies, 0, ARRAY_SIZE(copies) - 1);
    void *copy = malloc(size);
    memcpy(copy, ram + pa, size);
    return copies[ncopies++] = copy;
}

static const struct acpi_memory memory = {.map = map};

static int setup(void **state)
{
    (void)state;
    memset(ram, 0, sizeof(ram));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    while (ncopies)
        free(copies[--ncopies]);
    return 0;
}

static void put(u32 at, u64 value, unsigned bytes)
{
    memcpy(&ram[at], &value, bytes);
}

static void make_sum(u32 at, u32 size, u32 where)
{
    u8 sum = 0;
    ram[at + where] = 0;
    for (u32 i = 0; i < size; i++)
        sum = (u8)(sum + ram[at + i]);
    ram[at + where] = (u8)-sum;
}

// ---- UEFI -------------------------------------------------------------------------------------

#define SYSTEM 0x8000u
#define LIST   0x9000u

static void put_guid(unsigned index, const char *text, u64 pointer)
{
    // "8868e871-e4f1-11d3-bc22-0080c73c8881": three numbers, then bytes.
    u8 *at = &ram[LIST + index * 24];
    put((u32)(at - ram), strtoul(text, NULL, 16), 4);
    put((u32)(at - ram) + 4, strtoul(text + 9, NULL, 16), 2);
    put((u32)(at - ram) + 6, strtoul(text + 14, NULL, 16), 2);
    text += 19;
    for (unsigned i = 8; i < 16; i++) {
        if (*text == '-')
            text++;
        char byte[3] = {text[0], text[1], 0};
        at[i] = (u8)strtoul(byte, NULL, 16);
        text += 2;
    }
    memcpy(at + 16, &pointer, 8);
}

static void make_system_table(void)
{
    memcpy(&ram[SYSTEM], "IBI SYST", 8);
    put(SYSTEM + 104, 5, 8);
    put(SYSTEM + 112, LIST, 8);
    put_guid(0, "49152e77-1ada-4764-b7a2-7afefed95e8b", 0xdead); // debug image information
    put_guid(1, "8868e871-e4f1-11d3-bc22-0080c73c8881", 0x111);
    put_guid(2, "eb9d2d30-2d88-11d3-9a16-0090273fc14d", 0x222);
    put_guid(3, "eb9d2d31-2d88-11d3-9a16-0090273fc14d", 0x333);
    put_guid(4, "f2fd1544-9794-4a2c-992e-e5bbcf20e394", 0x123456789a);
}

static void each_table_is_found_by_its_guid(void **state)
{
    (void)state;
    make_system_table();
    assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_ACPI_20), 0x111);
    assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_ACPI_10), 0x222);
    assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_SMBIOS), 0x333);
    assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_SMBIOS_3), 0x123456789a);
    put(SYSTEM + 104, 4, 8);
    assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_SMBIOS_3), 0);
}

static void what_is_no_system_table_is_not_believed(void **state)
{
    (void)state;
    make_system_table();
    assert_int_equal(efi_find_table(&memory, 0, EFI_ACPI_20), 0);
    assert_int_equal(efi_find_table(&memory, SYSTEM + 8, EFI_ACPI_20), 0);
    assert_int_equal(efi_find_table(&memory, sizeof(ram) - 8, EFI_ACPI_20), 0);
    static const u64 counts[] = {0, 257, ~0ull, 1ull << 61};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        put(SYSTEM + 104, counts[i], 8);
        assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_ACPI_20), 0);
    }
    put(SYSTEM + 104, 5, 8);
    put(SYSTEM + 112, ~0ull, 8);
    assert_int_equal(efi_find_table(&memory, SYSTEM, EFI_ACPI_20), 0);
}

// ---- SMBIOS -----------------------------------------------------------------------------------

#define TABLE 0x4000u

static u32 table_end;

static u32 add(u8 type, u8 length, const char *strings, u32 size)
{
    u32 at = table_end;
    ram[at] = type;
    ram[at + 1] = length;
    memcpy(&ram[at + length], strings, size);
    table_end += length + size;
    return at;
}
#define ADD(type, length, strings) add(type, length, strings, sizeof(strings))

// A ThinkPad's, which has its name in the version.
static void make_table(void)
{
    table_end = TABLE;
    u32 firmware = ADD(0, 24,
                       "LENOVO\0N24ET65W (1.40 )\0"
                       "02/14/2022\0");
    ram[firmware + 4] = 1;
    ram[firmware + 5] = 2;
    ram[firmware + 8] = 3;
    ADD(2, 15, "\0"); // no strings
    u32 system = ADD(1, 27,
                     "LENOVO\0"
                     "20L5CTO1WW   \0ThinkPad T480\0");
    ram[system + 4] = 1;
    ram[system + 5] = 2;
    ram[system + 6] = 3;
    ADD(127, 4, "\0");
}

static void make_entry_2(u32 at)
{
    memcpy(&ram[at], "_SM_", 4);
    ram[at + 5] = 31;
    put(at + 0x16, table_end - TABLE, 2);
    put(at + 0x18, TABLE, 4);
    make_sum(at, 31, 4);
}

static void make_entry_3(u32 at)
{
    memcpy(&ram[at], "_SM3_", 5);
    ram[at + 6] = 24;
    put(at + 0x0c, 0x2000, 4); // the most it can be
    put(at + 0x10, TABLE, 8);
    make_sum(at, 24, 5);
}

static void expect_thinkpad(u64 entry)
{
    struct smbios_info info;
    memset(&info, 'x', sizeof(info));
    assert_int_equal(smbios_read(&memory, entry, &info), OK);
    assert_string_equal(info.firmware, "N24ET65W (1.40 )");
    assert_string_equal(info.date, "02/14/2022");
    assert_string_equal(info.maker, "LENOVO");
    assert_string_equal(info.product, "20L5CTO1WW");
    assert_string_equal(info.version, "ThinkPad T480");
}

static void both_kinds_of_entry_lead_to_the_table(void **state)
{
    (void)state;
    make_table();
    make_entry_2(0x2000);
    make_entry_3(0x3000);
    expect_thinkpad(0x2000);
    expect_thinkpad(0x3000);
}

static void a_bios_is_searched(void **state)
{
    (void)state;
    struct smbios_info info;
    make_table();
    assert_int_equal(smbios_read(&memory, 0, &info), E_NOENT);
    make_entry_2(0xf0018); // on no boundary of 16
    assert_int_equal(smbios_read(&memory, 0, &info), E_NOENT);
    make_entry_2(0xfffe0 - 0x10);
    expect_thinkpad(0);
    ram[0xfffe0 - 0x10 + 4]++; // a wrong sum
    assert_int_equal(smbios_read(&memory, 0, &info), E_NOENT);
    make_entry_3(0xf0000);
    expect_thinkpad(0);
}

static void what_leads_nowhere_is_told(void **state)
{
    (void)state;
    struct smbios_info info;
    make_table();
    make_entry_3(0x3000);
    put(0x3010, 0x10000000, 8);
    make_sum(0x3000, 24, 5);
    assert_int_equal(smbios_read(&memory, 0x3000, &info), E_FORMAT);
    assert_string_equal(info.maker, "");
    put(0x3010, 0, 8);
    make_sum(0x3000, 24, 5);
    assert_int_equal(smbios_read(&memory, 0x3000, &info), E_NOENT);
    assert_int_equal(smbios_read(&memory, 0x10000000, &info), E_NOENT);
}

// A table that is cut anywhere, and numbers of strings that are not there.
static void a_broken_table_gives_what_it_has(void **state)
{
    (void)state;
    make_table();
    u32 whole = table_end - TABLE;
    for (u32 size = 1; size <= whole; size++) {
        struct smbios_info info;
        make_entry_2(0x2000);
        put(0x2016, size, 2);
        make_sum(0x2000, 31, 4);
        assert_int_equal(smbios_read(&memory, 0x2000, &info), OK);
        assert_true(!info.maker[0] || !strcmp(info.maker, "LENOVO"));
        teardown(NULL);
    }
    for (unsigned number = 0; number < 256; number++) {
        struct smbios_info info;
        make_entry_2(0x2000);
        ram[TABLE + 5] = (u8)number;
        assert_int_equal(smbios_read(&memory, 0x2000, &info), OK);
        static const char *const texts[] = {"", "LENOVO", "N24ET65W (1.40 )", "02/14/2022"};
        assert_string_equal(info.firmware, number < 4 ? texts[number] : "");
        teardown(NULL);
    }
}

static void strings_are_cut_and_made_printable(void **state)
{
    (void)state;
    struct smbios_info info;
    char text[102];
    memset(text, 'm', 100);
    text[0] = '\x1b';
    text[1] = '\xc3';
    text[100] = text[101] = 0;
    table_end = TABLE;
    u32 system = add(1, 8, text, sizeof(text));
    ram[system + 4] = 1;
    ram[system + 7] = 1;
    make_entry_2(0x2000);
    assert_int_equal(smbios_read(&memory, 0x2000, &info), OK);
    assert_int_equal(strlen(info.maker), SMBIOS_TEXT_MAX - 1);
    assert_memory_equal(info.maker, "??mm", 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_table_is_found_by_its_guid),
        TEST(what_is_no_system_table_is_not_believed),
        TEST(both_kinds_of_entry_lead_to_the_table),
        TEST(a_bios_is_searched),
        TEST(what_leads_nowhere_is_told),
        TEST(a_broken_table_gives_what_it_has),
        TEST(strings_are_cut_and_made_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
