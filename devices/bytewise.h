// SPDX-License-Identifier: MIT
// Devices whose registers are bytes. The ISA bus turns a wider access into byte cycles at
// successive addresses, lowest first, so a word written to 20H reaches 20H and then 21H.
#pragma once

#include "devices/device.h"

// Serves an access of more than one byte by giving the device's own access() one byte at a time;
// for use there, so that what follows sees bytes only. The bus has already refused what passes a
// range's end.
enum io_result bytewise_access(struct device *dev, struct io_access *io);
