// SPDX-License-Identifier: MIT
#include "boot/host_input.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/irq_route.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/pic.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"
#include "boot/serial_irq.h"
#include "vmx/sched.h"

// A millisecond: the sixteen bytes that a UART keeps take 1.4.
#define POLLS_A_SECOND 1000u

// The line a PC's port is wired to, or -1.
static int isa_irq(const struct uart_place *place)
{
    if (place->space != UART_PORT)
        return -1;
    if (place->base == SERIAL_COM1 || place->base == SERIAL_COM3)
        return 4;
    return place->base == SERIAL_COM2 || place->base == SERIAL_COM4 ? 3 : -1;
}

static int route(const struct acpi_info *acpi)
{
    struct irq_route to;
    int irq = isa_irq(&serial_irq.serial->place);

    if (irq < 0)
        return E_NOENT;
    int err = irq_route_isa(acpi, (u8)irq, VECTOR_SERIAL, host_lapic_id(), &to);
    if (err)
        return err;
    trap_set_handler(VECTOR_SERIAL, serial_irq_handle);
    return ioapic_route(to.ioapic, to.pin, to.entry);
}

// Tables can be wrong and lines cut: what counts is an interrupt.
static bool interrupt_arrives(void)
{
    u64 patience = rdtsc() + host_clock.hz / POLLS_A_SECOND;
    u32 before = serial_irq.count;

    serial_provoke(serial_irq.serial, true);
    while (serial_irq.count == before && rdtsc() < patience)
        sti_nop_cli();
    serial_provoke(serial_irq.serial, false);
    return serial_irq.count != before;
}

struct host_input host_input_open(const struct input_choice *choice, const struct acpi_info *acpi)
{
    struct host_input result = {0};
    bool named = choice->serial_at.space != UART_NOWHERE;
    char name[32];

    if (choice->from == INPUT_NONE)
        return result;
    serial_irq.serial = console_listen(named ? &choice->serial_at : NULL, sched_host_work);
    if (!serial_irq.serial) {
        if (choice->from == INPUT_SERIAL)
            log_warn("input: there is no such serial port");
        return result;
    }
    result.serial = serial_irq.serial;
    uart_name(name, sizeof(name), &serial_irq.serial->place);
    if (route(acpi) == OK && interrupt_arrives()) {
        log_info("input: serial port %s, by interrupt", name);
    } else {
        result.poll = host_clock.hz / POLLS_A_SECOND;
        log_info("input: serial port %s, looked at %u times a second", name, POLLS_A_SECOND);
    }
    return result;
}
