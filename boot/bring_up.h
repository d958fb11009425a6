// SPDX-License-Identifier: MIT
// The start, from the boot loader's hand-over to guests that stand ready: code and constants that
// are not needed again (INIT in tools/image.mk).
#pragma once

#include "boot/guests.h"

// Brings the machine up and does what the command line says. mbi is the boot information's
// host-physical address. STATUS_READY: guests are made and wait for guests_run(); else the run is
// over, with this status.
int bring_up(u32 mbi, struct hypervisor *hv, struct guests *guests);
