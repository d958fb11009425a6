// SPDX-License-Identifier: MIT
#include "arch/x86_64/port_io.h"

#include "arch/x86_64/insn.h"

const struct port_io host_ports = {inb, outb};
