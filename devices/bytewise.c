// SPDX-License-Identifier: MIT
#include "devices/bytewise.h"

enum io_result bytewise_access(struct device *dev, struct io_access *io)
{
    u64 value = 0;
    for (unsigned i = 0; i < io->size; i++) {
        struct io_access byte = {
            .space = io->space,
            .size = 1,
            .write = io->write,
            .addr = io->addr + i,
            .value = io->write ? io->value >> (8 * i) & 0xff : 0,
        };
        dev->ops->access(dev, &byte);
        value |= byte.value << (8 * i);
    }
    io->value = value;
    return IO_DONE;
}
