// SPDX-License-Identifier: MIT
// How costs grow with the work, and what the image and Corbel's own memory take.
#pragma once

#include "vmx/hypervisor.h"

// Measures from outside of any guest and prints a line "figure", name, value for each, with tabs
// between (tools/bench.py). false: something grew faster than a logarithm or is larger than it may
// be, which is logged.
bool bench_scale(struct hypervisor *hv);
