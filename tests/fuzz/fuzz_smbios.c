// SPDX-License-Identifier: MIT
// The input is the first MiB of host-physical memory, its beginning once more where a BIOS keeps
// its entry point; UEFI's system table and SMBIOS's entry point are at its beginning too.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/efi_tables.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/smbios.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COPIES 64
#define BIOS   0xf0000u

static struct {
    u8 bytes[1 << 20];
    void *copies[COPIES]; // what is mapped is copied out to the byte
    unsigned ncopies;
} ram;

static const void *map(void *ctx, u64 pa, u64 size)
{
    (void)ctx;
    if (pa >= sizeof(ram.bytes) || size > sizeof(ram.bytes) - pa || ram.ncopies == COPIES)
        return NULL;
    void *copy = malloc(size);
    CHECK(copy != NULL && size > 0);
    memcpy(copy, ram.bytes + pa, size);
    return ram.copies[ram.ncopies++] = copy;
}

static void check_text(const char *text)
{
    size_t length = strnlen(text, SMBIOS_TEXT_MAX);
    CHECK(length < SMBIOS_TEXT_MAX);
    for (size_t i = 0; i < length; i++)
        CHECK(text[i] >= 0x20 && text[i] <= 0x7e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct acpi_memory memory = {.map = map};
    struct smbios_info info;
    size_t used = size < 0x8000 ? size : 0x8000;

    memcpy(ram.bytes, data, used);
    memcpy(ram.bytes + BIOS, data, used);
    for (u64 entry = 0; entry < 0x80; entry += 0x40) {
        (void)smbios_read(&memory, entry, &info);
        check_text(info.firmware);
        check_text(info.date);
        check_text(info.maker);
        check_text(info.product);
        check_text(info.version);
        (void)efi_find_table(&memory, entry + 8, EFI_SMBIOS);
    }
    memset(ram.bytes, 0, used);
    memset(ram.bytes + BIOS, 0, used);
    while (ram.ncopies)
        free(ram.copies[--ram.ncopies]);
    return 0;
}
