// SPDX-License-Identifier: MIT
#include "boot/serial_irq.h"

#include "arch/x86_64/host_lapic.h"

struct serial_irq serial_irq;

void serial_irq_handle(u8 vector)
{
    (void)vector;
    serial_irq.count++;
    serial_receive(serial_irq.serial);
    host_lapic_eoi();
}
