// SPDX-License-Identifier: MIT
// The input is all of host-physical memory from 0 on, its first 36 bytes being the RSDP too.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/lib/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COPIES 4096

struct machine {
    const uint8_t *data;
    size_t size;
    void *copies[COPIES]; // what is mapped is copied out to the byte
    unsigned ncopies;
};

static const void *map(void *ctx, u64 pa, u64 size)
{
    struct machine *machine = ctx;
    if (pa > machine->size || size > machine->size - pa || machine->ncopies == COPIES)
        return NULL;
    void *copy = malloc(size);
    CHECK(copy != NULL && size > 0);
    memcpy(copy, machine->data + pa, size);
    machine->copies[machine->ncopies++] = copy;
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machine;
    static struct acpi_info info;
    machine = (struct machine){.data = data, .size = size};
    struct acpi_memory memory = {map, &machine};
    u32 rsdp = size < 36 ? (u32)size : 36;
    bool bios = size && data[size - 1] & 1;
    acpi_read(&memory, data, size > 8 ? rsdp : 0, bios, 64, &info);
    CHECK(info.ncpus <= ACPI_CPUS_MAX && info.nioapics <= ACPI_IOAPICS_MAX);
    CHECK(info.noverrides <= ACPI_OVERRIDES_MAX && info.nnmis <= ACPI_NMIS_MAX);
    CHECK(info.pm_timer.space != ACPI_PORT || info.pm_timer.address <= 0xffff);
    CHECK(!info.has_reset || info.reset.address != 0);
    while (machine.ncopies)
        free(machine.copies[--machine.ncopies]);
    // And the MADT's bytes by themselves, which no checksum or length stands in front of.
    if (size >= 36)
        acpi_read_madt(data, (u32)size, &info);
    return 0;
}
