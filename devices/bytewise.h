// SPDX-License-Identifier: MIT
// Devices whose registers are bytes. The ISA bus turns a wider access into byte cycles at
// successive addresses, lowest first, so a word written to 20H reaches 20H and then 21H; a device
// built on this helper sees bytes only. The bus has already refused what straddles a range's end.
#pragma once

#include "devices/device.h"

// Serves one access of 1, 2, 4 or 8 bytes through a device's byte handlers. Always inlined: with
// the handlers constant at the call, the compiler sees through the pointers.
__attribute__((always_inline)) static inline enum io_result
bytewise_access(struct device *dev, struct io_access *io, u8 (*read)(struct device *dev, u64 addr),
                void (*write)(struct device *dev, u64 addr, u8 value))
{
    if (io->write) {
        for (unsigned i = 0; i < io->size; i++)
            write(dev, io->addr + i, (u8)(io->value >> (8 * i)));
        return IO_DONE;
    }
    u64 value = 0;
    for (unsigned i = 0; i < io->size; i++)
        value |= (u64)read(dev, io->addr + i) << (8 * i);
    io->value = value;
    return IO_DONE;
}
