// SPDX-License-Identifier: MIT
#include "arch/x86_64/uart_find.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/string.h"

#define LAST_PORT     0xfff8u // whose eight registers still lie in the I/O space
#define ADDRESSES_END BIT(52)

bool uart_place_valid(const struct uart_place *place)
{
    if (place->space == UART_PORT)
        return place->base != 0 && place->base <= LAST_PORT;
    return place->space == UART_MEMORY && place->base != 0 && place->base % place->width == 0 &&
           place->base <= ADDRESSES_END - uart_span(place);
}

void uart_add(struct uart_list *list, const struct uart_candidate *candidate)
{
    for (unsigned i = 0; i < list->count; i++)
        if (uart_same(&list->at[i].place, &candidate->place))
            return;
    if (list->count < UART_LIST_MAX)
        list->at[list->count++] = *candidate;
}

// ---- SPCR -------------------------------------------------------------------------------------
// Microsoft, "Debug Port Table 2 (DBG2)", debug port subtypes.
#define SPCR_16550     0x00
#define SPCR_16450     0x01
#define SPCR_16550_GAS 0x12 // the same, and its registers are as the address structure says

// What firmware leaves out, or says that makes no sense, is a byte.
static u8 bytes_of(u8 bits)
{
    return bits == 16 || bits == 32 ? bits / 8 : 1;
}

// "Generic Address Structure (GAS)": access size 1 is a byte, 2 a word, 3 a dword.
static u8 access_of(const struct acpi_info *acpi, u8 stride)
{
    if (acpi->serial_access < 1 || acpi->serial_access > 3)
        return stride;
    u8 width = (u8)(1u << (acpi->serial_access - 1));
    return width < stride ? width : stride; // a wider access would take in the next register
}

void uart_add_spcr(struct uart_list *list, const struct acpi_info *acpi)
{
    struct uart_candidate c = {.from = UART_FROM_SPCR};

    if (acpi->serial.space == ACPI_NOWHERE ||
        (acpi->serial_type != SPCR_16550 && acpi->serial_type != SPCR_16450 &&
         acpi->serial_type != SPCR_16550_GAS))
        return;
    c.place = UART_AT_PORT(acpi->serial.address);
    if (acpi->serial.space == ACPI_MEMORY) {
        c.place.space = UART_MEMORY;
        c.place.stride = bytes_of(acpi->serial_bits);
        c.place.width = access_of(acpi, c.place.stride);
    }
    c.place.keep_rate = true;
    if (uart_place_valid(&c.place))
        uart_add(list, &c);
}

// ---- a PC's ports -----------------------------------------------------------------------------

static const u16 com_ports[] = {SERIAL_COM1, SERIAL_COM2, SERIAL_COM3, SERIAL_COM4};

void uart_add_pc(struct uart_list *list)
{
    for (unsigned i = 0; i < ARRAY_SIZE(com_ports); i++) {
        struct uart_candidate c = {.place = UART_AT_PORT(com_ports[i]), .from = UART_FROM_PC};
        uart_add(list, &c);
    }
}

// ---- PCI --------------------------------------------------------------------------------------

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  BIT32(31)

#define PCI_ID            0x00
#define PCI_COMMAND       0x04
#define PCI_CLASS         0x08
#define PCI_HEADER        0x0c // its byte 2
#define PCI_BAR0          0x10
#define PCI_BARS_END      0x28
#define PCI_BRIDGE_BUS    0x18 // secondary bus number in its byte 1
#define HEADER_TYPE       0x7f
#define HEADER_MULTI      0x80
#define HEADER_DEVICE     0
#define HEADER_BRIDGE     1
#define COMMAND_PORTS     BIT32(0)
#define COMMAND_MEMORY    BIT32(1)
#define CLASS_BRIDGE      0x0604
#define CLASS_SERIAL      0x0700
#define LAST_INTERFACE    0x06 // 00H is a generic XT one, 02H a 16550, 06H a 16950
#define BAR_IS_PORT       BIT32(0)
#define BAR_TYPE_64       0x4
#define BUSES             256u
#define FUNCTION(b, d, f) ((b) << 16 | (d) << 11 | (f) << 8)

struct scan {
    const struct port_io *io;
    struct uart_list *list;
    bool wanted[BUSES], seen[BUSES];
};

static u32 config_read(const struct scan *scan, u32 function, u32 offset)
{
    scan->io->out32(CONFIG_ADDRESS, CONFIG_ENABLE | function | offset);
    return scan->io->in32(CONFIG_DATA);
}

static void config_write(const struct scan *scan, u32 function, u32 offset, u32 value)
{
    scan->io->out32(CONFIG_ADDRESS, CONFIG_ENABLE | function | offset);
    scan->io->out32(CONFIG_DATA, value);
}

// Reads the base address register at *bar and leaves *bar at its last half.
static struct uart_place read_bar(const struct scan *scan, u32 function, u32 *bar)
{
    u32 low = config_read(scan, function, *bar);
    if (low & BAR_IS_PORT)
        return UART_AT_PORT(low & ~3u);
    struct uart_place place = {UART_MEMORY, low & ~0xfu, 1, 1, false};
    if (low & BAR_TYPE_64) {
        *bar += 4;
        place.base |= (u64)config_read(scan, function, *bar) << 32;
    }
    return place;
}

// The first one that is set to something a UART can be at.
static struct uart_place first_bar(const struct scan *scan, u32 function)
{
    for (u32 bar = PCI_BAR0; bar < PCI_BARS_END; bar += 4) {
        struct uart_place place = read_bar(scan, function, &bar);
        if (uart_place_valid(&place))
            return place;
    }
    return (struct uart_place){.space = UART_NOWHERE};
}

static void add_serial(struct scan *scan, u32 function)
{
    struct uart_candidate c = {
        .place = first_bar(scan, function), .from = UART_FROM_PCI, .pci = function};
    if (c.place.space == UART_NOWHERE)
        return;
    u32 decode = c.place.space == UART_PORT ? COMMAND_PORTS : COMMAND_MEMORY;
    u32 command = config_read(scan, function, PCI_COMMAND);
    if (!(command & decode)) // the upper half is status, where zeros clear nothing
        config_write(scan, function, PCI_COMMAND, (command & 0xffff) | decode);
    uart_add(scan->list, &c);
}

static void look_at(struct scan *scan, u32 function, u32 header)
{
    u32 class = config_read(scan, function, PCI_CLASS) >> 8;
    if ((header & HEADER_TYPE) == HEADER_BRIDGE && class >> 8 == CLASS_BRIDGE)
        scan->wanted[config_read(scan, function, PCI_BRIDGE_BUS) >> 8 & 0xff] = true;
    else if ((header & HEADER_TYPE) == HEADER_DEVICE && class >> 8 == CLASS_SERIAL &&
             (class & 0xff) <= LAST_INTERFACE)
        add_serial(scan, function);
}

static bool is_there(const struct scan *scan, u32 function)
{
    u32 vendor = config_read(scan, function, PCI_ID) & 0xffff;
    return vendor != 0 && vendor != 0xffff;
}

static void look_at_bus(struct scan *scan, u32 bus)
{
    scan->seen[bus] = true;
    for (u32 device = 0; device < 32; device++) {
        u32 function = FUNCTION(bus, device, 0u);
        if (!is_there(scan, function))
            continue;
        u32 header = config_read(scan, function, PCI_HEADER) >> 16 & 0xff;
        look_at(scan, function, header);
        for (u32 f = 1; header & HEADER_MULTI && f < 8; f++) {
            function = FUNCTION(bus, device, f);
            if (is_there(scan, function))
                look_at(scan, function, config_read(scan, function, PCI_HEADER) >> 16 & 0xff);
        }
    }
}

// A bridge may lead to a bus of a lower number, and to one that has been looked at.
static unsigned next_bus(const struct scan *scan)
{
    unsigned bus = 0;
    while (bus < BUSES && (!scan->wanted[bus] || scan->seen[bus]))
        bus++;
    return bus;
}

void uart_add_pci(struct uart_list *list, const struct port_io *io)
{
    struct scan scan = {.io = io, .list = list};
    u32 before = io->in32(CONFIG_ADDRESS), bus;

    io->out32(CONFIG_ADDRESS, CONFIG_ENABLE);
    if (io->in32(CONFIG_ADDRESS) == CONFIG_ENABLE) {
        scan.wanted[0] = true;
        while ((bus = next_bus(&scan)) < BUSES)
            look_at_bus(&scan, bus);
    }
    io->out32(CONFIG_ADDRESS, before);
}

// ---- names ------------------------------------------------------------------------------------

void uart_name(char *buf, size_t size, const struct uart_place *place)
{
    static const char *const spaces[] = {"", "mmio:", "mmio16:", "", "mmio32:"};
    const char *space = place->space == UART_MEMORY ? spaces[place->stride] : "";
    fmt_snprintf(buf, size, "%s%llx", space, (unsigned long long)place->base);
}

void uart_origin(char *buf, size_t size, const struct uart_candidate *c)
{
    unsigned com = 0;
    switch (c->from) {
    case UART_FROM_COMMAND:
        fmt_snprintf(buf, size, "command line");
        break;
    case UART_FROM_SPCR:
        fmt_snprintf(buf, size, "SPCR");
        break;
    case UART_FROM_PCI:
        fmt_snprintf(buf, size, "PCI %02x:%02x.%u", c->pci >> 16, c->pci >> 11 & 0x1f,
                     c->pci >> 8 & 7);
        break;
    default:
        while (com < ARRAY_SIZE(com_ports) && com_ports[com] != c->place.base)
            com++;
        fmt_snprintf(buf, size, "COM%u", com + 1);
        break;
    }
}
