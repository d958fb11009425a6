// SPDX-License-Identifier: MIT
#include "arch/x86_64/port_io.h"

#include "arch/x86_64/insn.h"

static u32 read_memory(const volatile void *at, unsigned width)
{
    switch (width) {
    case 1:
        return *(const volatile u8 *)at;
    case 2:
        return *(const volatile u16 *)at;
    default:
        return *(const volatile u32 *)at;
    }
}

static void write_memory(volatile void *at, unsigned width, u32 value)
{
    switch (width) {
    case 1:
        *(volatile u8 *)at = (u8)value;
        break;
    case 2:
        *(volatile u16 *)at = (u16)value;
        break;
    default:
        *(volatile u32 *)at = value;
        break;
    }
}

const struct port_io host_ports = {inb, outb, inl, outl, read_memory, write_memory};
