// SPDX-License-Identifier: MIT
// Measuring VM exits from inside a guest.
#pragma once

#include "vmx/hypervisor.h"

// Runs the measuring guest, which prints a tab-separated line a measurement (guest/tiny/bench.c).
// The run's status.
int bench_run(struct hypervisor *hv);
