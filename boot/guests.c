// SPDX-License-Identifier: MIT
#include "boot/guests.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "boot/run_end.h"
#include "guest/acpi_tables.h"
#include "guest/image.h"
#include "guest/kernel.h"

// Guest images in Corbel's own format lie at 1 MiB, real-mode ones at 64 KiB.
#define LOAD_BASE      0x100000u
#define LOAD_BASE_REAL 0x10000u

// ---- loading ----------------------------------------------------------------------------------

static int load_corbel(const struct guest *guest, struct guest_start *start)
{
    const struct guest_image *record = (const void *)guest->kernel.data;
    struct guest_info info;

    int err = guest_image_check(record, guest->kernel.size);
    if (err)
        return err;
    cell_guest_info(guest->cell, &info);
    gpa_t base = GPA(record->mode == IMAGE_REAL ? LOAD_BASE_REAL : LOAD_BASE);
    return guest_load(&guest->cell->vm, record, guest->kernel.size, base, &info, start);
}

static int load_kernel(const struct guest *guest, struct guest_start *start)
{
    struct vm *vm = &guest->cell->vm;
    const struct acpi_config acpi = {.hpet = true, .hpet_id = HPET_ID};
    struct kernel_boot boot = {
        .kernel = guest->kernel,
        .initrd = guest->initrd,
        .cmdline = guest->args,
        .memory = &guest->memory,
    };

    int err = pc_write_bios_data(vm);
    if (err == OK)
        err = acpi_tables_write(vm, &acpi, &boot.rsdp);
    return err ? err : kernel_load(vm, &boot, start);
}

// Puts the kernel and what belongs to it into the VM's memory, which is all zero. Every error is
// logged.
static int load(const struct guest *guest, struct guest_start *start)
{
    struct image image;

    int err = image_detect(guest->kernel.data, guest->kernel.size, &image);
    if (err) {
        log_error("module %u (vm=%s): truncated: %llu bytes end inside the header of a %s",
                  guest->role->number, guest->role->vm, (unsigned long long)guest->kernel.size,
                  image_format_name(image.format));
        return err;
    }
    return image.format == FORMAT_CORBEL ? load_corbel(guest, start) : load_kernel(guest, start);
}

void guest_report_start(const struct guest *guest)
{
    log_info("vm %s: starts with %llu MiB at TSC %llu", guest->role->vm,
             (unsigned long long)(guest->role->mem >> 20), (unsigned long long)rdtsc());
}

int guest_prepare(const struct guest *guest)
{
    struct guest_start start;

    int err = load(guest, &start);
    if (err)
        return err;
    vm_reset_devices(&guest->cell->vm);
    return vcpu_start(&guest->cell->vcpu, &start);
}

// ---- the ends of VMs --------------------------------------------------------------------------

static struct guest *guest_of(struct guests *g, const struct cell *cell)
{
    unsigned i = 0;
    while (g->list[i].cell != cell)
        i++;
    return &g->list[i];
}

// A piece of memory that is cleared in a fraction of a millisecond.
#define CLEAR_PIECE SIZE_2M

// A reset's chore: memory as at power-on, then the kernel anew.
static bool clear_and_load(void *ctx, struct cell *cell)
{
    struct guest *guest = guest_of(ctx, cell);

    if (!vm_clear_ram_piece(&cell->vm, &guest->cleared, CLEAR_PIECE))
        return false;
    if (guest_prepare(guest) != OK)
        vm_stop(&cell->vm, VM_END_UNHANDLED, "its kernel cannot be loaded again");
    else if (guest->tell)
        guest_report_start(guest);
    return true;
}

static void restart(struct guest *guest)
{
    struct vm *vm = &guest->cell->vm;

    guest->tell = log_limited(&guest->resets, LOG_INFO, "vm %s: reset: %s", vm->name, vm->end_text);
    vm_revive(vm);
    guest->cleared = 0;
    guest->cell->chore = clear_and_load;
}

static bool ended(void *ctx, struct cell *cell)
{
    struct guests *g = ctx;
    struct guest *guest = guest_of(g, cell);
    struct vm *vm = &cell->vm;

    if (vm->end == VM_END_RESET) {
        restart(guest);
        return true;
    }
    guest_console_detach(guest->console);
    log_info("vm %s: stopped: %s (%s)", vm->name, vm_end_name(vm->end), vm->end_text);
    bool good = vm->end == VM_END_POWER_OFF || vm->end == VM_END_LEFT ||
                (vm->end == VM_END_DEBUG_EXIT && vm->end_status == 1);
    g->failed += !good;
    cell_stats(cell);
    cell_destroy(cell);
    guest->cell = NULL;
    return false;
}

// ---- the run ----------------------------------------------------------------------------------

static void poll(void *ctx)
{
    struct guests *g = ctx;
    terminal_poll(&g->terminal);
}

int guests_run(struct guests *g)
{
    g->sched.ended = ended;
    g->sched.poll = poll;
    g->sched.ctx = g;
    g->sched.input = g->terminal.config.input;
    sched_run(&g->sched);
    return g->refused ? STATUS_BAD_BOOT : g->failed ? STATUS_FAILED : STATUS_OK;
}
