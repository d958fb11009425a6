// SPDX-License-Identifier: MIT
// Looking for serial ports in a PCI configuration space that is anything, and by an SPCR that is.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/uart_find.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const u8 *bytes;
static size_t nbytes;
static u32 address, reads, writes;

// Each register is some four of the bytes.
static u32 in32(u16 port)
{
    if (port == 0xcf8)
        return address;
    CHECK(port == 0xcfc && address >> 31 && !(address & 3));
    reads++;
    size_t at = (address * 2654435761u >> 7) % (nbytes - 3);
    u32 value;
    memcpy(&value, bytes + at, sizeof(value));
    return value;
}

static void out32(u16 port, u32 value)
{
    if (port == 0xcf8) {
        address = value;
        return;
    }
    CHECK(port == 0xcfc && (address & 0xfc) == 4); // only the command register
    CHECK(value >> 16 == 0);                       // the status' bits are not written ones
    writes++;
}

static const struct port_io io = {.in32 = in32, .out32 = out32};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 24)
        return 0;
    struct uart_list list = {0};
    static struct acpi_info info;
    struct acpi_info *acpi = &info;
    memset(acpi, 0, sizeof(*acpi));
    memcpy(&acpi->serial.address, data, 8);
    acpi->serial.space = data[8] % 3;
    acpi->serial_type = data[9] % 32;
    acpi->serial_bits = data[10];
    acpi->serial_access = data[11];
    bytes = data + 12;
    nbytes = size - 12;
    reads = writes = 0;
    address = 0x1234;
    uart_add_spcr(&list, acpi);
    CHECK(list.count <= 1);
    uart_add_pc(&list);
    uart_add_pci(&list, &io);
    CHECK(address == 0x1234 && reads <= 256 * 256 * 12);
    CHECK(list.count <= UART_LIST_MAX);
    for (unsigned i = 0; i < list.count; i++) {
        char text[40];
        CHECK(uart_place_valid(&list.at[i].place));
        for (unsigned k = 0; k < i; k++)
            CHECK(!uart_same(&list.at[i].place, &list.at[k].place));
        uart_name(text, sizeof(text), &list.at[i].place);
        uart_origin(text, sizeof(text), &list.at[i]);
    }
    return 0;
}
