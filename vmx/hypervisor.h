// SPDX-License-Identifier: MIT
// What Corbel holds of the machine once it is up, and a VM with its one vCPU made from it.
#pragma once

#include "ept/mtrr.h"
#include "vmx/vcpu.h"

struct hypervisor {
    struct vmx_probe probe;
    struct vmx_caps caps; // less what without= takes away
    struct vmx_verdict verdict;
    struct mitigations mitigations;
    struct frame_pool host;             // Corbel's own memory
    struct frame_pool guest;            // all that guests may have
    struct mem_range own[3];            // image, host pool, log: no guest ever reaches them
    struct mem_range start;             // of the guest pool, in use until start_over(); or empty
    struct mem_range ram[FRAME_RANGES]; // the guest pool's ranges
    unsigned nram;
    struct mtrr_state mtrr;
    u64 epoch, epoch_ticks; // the time: seconds from the beginning of 1970, at a tick of host_clock
    bool no_large_exec;     // iTLB multihit: see ept_config
    bool check_entry;       // judge each VMCS by the rules of VM entry before it is entered
};

// A VM and its vCPU, in frames of the host pool.
struct cell {
    struct vm vm;
    struct vcpu vcpu;
    struct hypervisor *hv;
    u64 ran_on;            // CPUs that may hold translations of its EPT, a bit for each by its id
    struct deadline slice; // in vm.timers while others wait for the CPU
    u64 left;              // ticks of its slice that it has not used: see sched.h
    // What the scheduler does in the VM's slices instead of entering it, a piece at a call, with
    // the ctx of struct sched, until it gives true. NULL: nothing.
    bool (*chore)(void *ctx, struct cell *cell);
};

struct cell_config {
    const char *name;
    struct chardev console; // COM1's output
    bool no_x2apic;
};

// Makes a VM without memory. E_NOMEM, and what vm_init and vcpu_init say (logged). The CPU is in
// VMX operation.
MUST_CHECK int cell_create(struct hypervisor *hv, const struct cell_config *config,
                           struct cell **out);

// Gives everything back.
void cell_destroy(struct cell *cell);

// Maps all of the guest pool at its own addresses, with the MTRRs' types, and checks that nothing
// of Corbel can be reached. E_EXIST if something can (logged with the leaf).
MUST_CHECK int cell_map_identity(struct cell *cell);

// Logs how often the VM exited: by reason, by port or device, by MSR.
void cell_stats(const struct cell *cell);

// What a guest program is told: clocks and features.
void cell_guest_info(const struct cell *cell, struct guest_info *info);
