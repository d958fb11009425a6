// SPDX-License-Identifier: MIT
// VMs that share one CPU: round robin, a slice of time each, and what a VM leaves by HLT goes to
// the others. A VM that wakes has the CPU at once, for what is left of its slice; the one it takes
// it from keeps the rest of its own. New slices are given out when those that want the CPU have
// used theirs up, so that halting for an instant brings nobody more than an equal share.
#pragma once

#include "vmx/hypervisor.h"

#define SCHED_VMS      16u
#define SCHED_SLICE_MS 5u

struct sched {
    struct cell *cells[SCHED_VMS];
    unsigned count;
    unsigned current;    // index of the cell that ran last
    struct cell *loaded; // whose vCPU is current on this CPU
    u64 slice;           // ticks; 0 = SCHED_SLICE_MS
    u64 switches;        // from one vCPU to another
    // What follows is the owner's, with ctx; each may be NULL.
    void (*poll)(void *ctx); // the host has work to do: see sched_host_work()
    // A VM has ended, its vCPU is not loaded. true: it has been started anew, or its chore will do
    // that, and it goes on; false: the VM leaves the set. NULL stands for false.
    bool (*ended)(void *ctx, struct cell *cell);
    void *ctx;
    bool input; // poll() may wake a VM that is halted with no deadline of its own
};

// Runs the cells until every one has left. Interrupts are off, and on only while all VMs are idle
// and between the pieces of a chore.
void sched_run(struct sched *sched);

// Runs one VM until it ends; why is in its vm.end.
void cell_run(struct cell *cell);

// Something outside wants the scheduler's poll() soon: the VM that runs leaves its run loop after
// the exit that is being handled, an idle CPU does not halt again. Called by interrupt handlers and
// by devices.
void sched_host_work(void);
