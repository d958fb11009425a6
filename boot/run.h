// SPDX-License-Identifier: MIT
// What a run does once the machine is up.
#pragma once

#include "boot/cmdline.h"
#include "boot/guests.h"
#include "boot/mbi.h"
#include "boot/run_end.h"

// Whether the run needs the laboratory: the tests, the measurements or the built-in guests.
bool run_needs_lab(const struct options *options, const struct boot_info *info);

// Does what run= says and gives the status: STATUS_READY if guests are to run.
int run_mode(const struct options *options, const struct boot_info *info, struct hypervisor *hv,
             struct guests *guests);

// Says to run_end() what end= says, or what suits this machine best.
void run_set_end(const struct options *options);
