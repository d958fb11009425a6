// SPDX-License-Identifier: MIT
#include "boot/bench.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/tsc.h"
#include "boot/bench_scale.h"
#include "boot/run.h"
#include "vmx/sched.h"

extern const u8 bench64_image[], bench64_image_end[];

#define BENCH_IMAGE 0x100000u
#define BENCH_RAM   0x200000u
#define BENCH_LAZY  0x800000u // pages for the guest to touch for the first time
#define BENCH_PAGES 1024u

// Zero bytes are what the guest measures UART writes with: they go nowhere, so what is measured is
// Corbel's way to the device and not the console behind it.
static void console_out(void *ctx, const u8 *data, size_t length)
{
    (void)ctx;
    if (*data)
        log_raw((const char *)data, length);
}

static bool run(struct cell *cell)
{
    struct guest_info info;
    struct guest_start start;

    if (vm_alloc_ram(&cell->vm, GPA(0), BENCH_RAM, false) != OK ||
        vm_alloc_ram(&cell->vm, GPA(BENCH_LAZY), BENCH_PAGES * PAGE_SIZE, true) != OK)
        return false;
    cell_guest_info(cell, &info);
    info.scratch = BENCH_LAZY;
    info.scratch_size = BENCH_PAGES * PAGE_SIZE;
    if (guest_load(&cell->vm, bench64_image, (u64)(bench64_image_end - bench64_image),
                   GPA(BENCH_IMAGE), &info, &start) != OK)
        return false;
    vm_reset_devices(&cell->vm);
    if (vcpu_start(&cell->vcpu, &start) != OK)
        return false;
    cell_run(cell);
    log_info("vm %s: stopped: %s (%s)", cell->vm.name, vm_end_name(cell->vm.end),
             cell->vm.end_text);
    return cell->vm.end == VM_END_DEBUG_EXIT && cell->vm.end_status == 1;
}

// Without these, measurements on silicon say nothing.
static void print_cpu(const struct vcpu *vcpu)
{
    const struct cpu_features *f = &cpu_features;
    u64 khz = host_clock.hz / 1000;
    log_info("bench: CPU: %s, family %u model %u stepping %u, microcode %llxH, TSC %llu.%03llu MHz",
             f->brand[0] ? f->brand : f->vendor, f->family, f->model, f->stepping,
             (unsigned long long)(vcpu->host_microcode >> 32), (unsigned long long)(khz / 1000),
             (unsigned long long)(khz % 1000));
}

int bench_run(struct hypervisor *hv)
{
    const struct cell_config config = {.name = "bench", .console = {.write = console_out}};
    struct cell *cell;

    if (cell_create(hv, &config, &cell) != OK)
        return STATUS_FAILED;
    print_cpu(&cell->vcpu);
    bool good = run(cell);
    cell_destroy(cell);
    good = bench_scale(hv) && good;
    return good ? STATUS_OK : STATUS_FAILED;
}
