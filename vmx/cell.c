// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/tsc.h"
#include "vmx/hypervisor.h"
#include "vmx/vmx_cpus.h"
#include "vmx/vmx_host.h"

#define CELL_FRAMES (align_up(sizeof(struct cell), PAGE_SIZE) >> PAGE_SHIFT)

static int alloc_table(void *ctx, hpa_t *out)
{
    struct cell *cell = ctx;
    return frame_alloc(&cell->hv->host, 1, PAGE_SIZE, 0, out);
}

static void free_table(void *ctx, hpa_t table)
{
    struct cell *cell = ctx;
    frame_free(&cell->hv->host, table, 1);
}

static void invalidate(void *ctx)
{
    struct cell *cell = ctx;
    vmx_invept(&cell->hv->caps, ept_eptp(&cell->vm.ept));
    vmx_shoot_down(&cell->hv->caps, ept_eptp(&cell->vm.ept), cell->ran_on);
}

static const struct ept_ops ept_ops = {alloc_table, free_table, invalidate};

INIT int cell_create(struct hypervisor *hv, const struct cell_config *config, struct cell **out)
{
    hpa_t memory;
    int err = frame_alloc(&hv->host, CELL_FRAMES, PAGE_SIZE, 0, &memory);
    if (err) {
        log_error("vm %s: no memory for it", config->name);
        return err;
    }
    struct cell *cell = phys_ptr(memory);
    memset(cell, 0, sizeof(*cell));
    cell->hv = hv;
    const struct ept_config ept = {
        .caps = hv->caps.ept,
        .phys_bits = hv->caps.maxphyaddr,
        .no_large_exec = hv->no_large_exec,
        .ops = &ept_ops,
        .ctx = cell,
    };
    const struct vm_config vm = {
        .name = config->name,
        .clock = &host_clock,
        .frames = &hv->guest,
        .ept = &ept,
        .console = config->console,
        .lapic_hz = cpuid_crystal_hz(host_clock.hz),
        .epoch = hv->epoch,
        .epoch_ticks = hv->epoch_ticks,
        .x2apic = !config->no_x2apic,
        .tsc_deadline = true,
    };
    err = vm_init(&cell->vm, &vm);
    if (err)
        goto no_vm;
    err = vcpu_init(&cell->vcpu, &cell->vm, &hv->caps, &hv->mitigations, &hv->host);
    if (err)
        goto no_vcpu;
    if (hv->check_entry)
        cell->vm.attention |= VM_ATTENTION_CHECK;
    // Whatever an earlier VM left under this EPT pointer or VPID: SDM volume 3, "Guidelines for Use
    // of the INVVPID Instruction".
    vmx_flush_all(&hv->caps);
    *out = cell;
    return OK;

no_vcpu:
    vm_destroy(&cell->vm);
no_vm:
    log_error("vm %s: cannot be made: %s", config->name, err_name(err));
    frame_free(&hv->host, memory, CELL_FRAMES);
    return err;
}

void cell_destroy(struct cell *cell)
{
    struct hypervisor *hv = cell->hv;
    vcpu_destroy(&cell->vcpu, &hv->host);
    vm_destroy(&cell->vm);
    frame_free(&hv->host, phys_addr(cell), CELL_FRAMES);
}

void cell_guest_info(const struct cell *cell, struct guest_info *info)
{
    const struct lapic_config *lapic = &cell->vm.lapic.config;
    *info = (struct guest_info){
        .tsc_hz = cell->vm.clock->hz,
        .lapic_hz = lapic->timer_hz,
        .features = (lapic->x2apic ? GUEST_HAS_X2APIC : 0) |
                    (lapic->tsc_deadline ? GUEST_HAS_TSC_DEADLINE : 0),
    };
}
