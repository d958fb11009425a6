// SPDX-License-Identifier: MIT
// The built-in guests, which run where no module says what else to run.
#pragma once

#include "vmx/hypervisor.h"

// Runs the tiny guest in long mode, protected mode and (with unrestricted guest) real mode, one
// after the other on the identity map. The run's status.
int builtin_run(struct hypervisor *hv);

// Looks at a guest that is made and started, just before it runs (false: it is not to run), and
// after it has ended.
struct builtin_watch {
    void *ctx;
    bool (*before)(void *ctx, struct cell *cell);
    void (*after)(void *ctx, struct cell *cell);
};

// Runs a fresh tiny guest in long mode; whether it ended well.
bool builtin_run_tiny(struct hypervisor *hv, const struct builtin_watch *watch);
