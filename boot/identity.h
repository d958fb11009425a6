// SPDX-License-Identifier: MIT
// What the machine calls itself, for reports from machines that nobody here has.
#pragma once

#include "boot/mbi.h"

// Logs maker, product and firmware as SMBIOS has them, or that it has none.
void identity_say(const struct boot_info *info);
