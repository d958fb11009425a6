// SPDX-License-Identifier: MIT
#include "boot/guests.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "boot/guest_console.h"
#include "boot/host_input.h"
#include "boot/machine.h"
#include "boot/modline.h"
#include "boot/run.h"
#include "guest/acpi_tables.h"
#include "guest/image.h"
#include "guest/kernel.h"
#include "vmx/sched.h"

// Guest images in Corbel's own format lie at 1 MiB, real-mode ones at 64 KiB.
#define LOAD_BASE      0x100000u
#define LOAD_BASE_REAL 0x10000u

// One VM of this run.
struct guest {
    const struct module_role *role; // of its kernel
    struct boot_file kernel, initrd;
    struct pc_memory memory;
    struct cell *cell; // NULL: it does not run
    struct guest_console *console;
    u64 cleared; // bytes of its memory, while it is being reset
    struct log_limit resets;
    bool tell; // of this reset
};

struct guests {
    struct hypervisor *hv;
    struct module_role roles[BOOT_MODULES_MAX];
    struct guest list[SCHED_VMS];
    unsigned count;
    struct sched sched;
    struct terminal terminal;
    struct guest_console consoles[SCHED_VMS];
    unsigned failed;  // VMs that ended otherwise than a guest ends by itself
    unsigned refused; // VMs that were never started
};

_Static_assert(BOOT_MODULES_MAX <= SCHED_VMS, "each module may be a kernel");

// ---- what the modules say ---------------------------------------------------------------------

static int parse_lines(const struct boot_info *info, struct module_role *roles)
{
    struct why why;

    for (unsigned i = 0; i < info->nmodules; i++) {
        int err = modline_parse(info->modules[i].line, i + 1, &roles[i], &why);
        if (err) {
            log_error("%s", why.text);
            return err;
        }
        if (roles[i].kind != MODULE_KERNEL && roles[i].kind != MODULE_INITRD) {
            log_error("module %u (vm=%s): firmware and disk modules are not supported by this "
                      "version",
                      i + 1, roles[i].vm);
            return E_UNSUPP;
        }
    }
    int err = modlines_check(roles, info->nmodules, &why);
    if (err)
        log_error("%s", why.text);
    return err;
}

static const struct boot_module *find_initrd(const struct guests *g, const struct boot_info *info,
                                             const char *vm)
{
    for (unsigned i = 0; i < info->nmodules; i++)
        if (g->roles[i].kind == MODULE_INITRD && !strcmp(g->roles[i].vm, vm))
            return &info->modules[i];
    return NULL;
}

static struct boot_file file_of(const struct boot_module *module)
{
    if (!module)
        return (struct boot_file){NULL, 0};
    return (struct boot_file){phys_ptr(HPA(module->start)), module->size};
}

static void collect(struct guests *g, const struct boot_info *info)
{
    for (unsigned i = 0; i < info->nmodules; i++) {
        const struct module_role *role = &g->roles[i];
        if (role->kind == MODULE_KERNEL)
            g->list[g->count++] = (struct guest){
                .role = role,
                .kernel = file_of(&info->modules[i]),
                .initrd = file_of(find_initrd(g, info, role->vm)),
            };
    }
}

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
        .cmdline = guest->role->args,
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

static void report_start(const struct guest *guest)
{
    log_info("vm %s: starts with %llu MiB at TSC %llu", guest->role->vm,
             (unsigned long long)(guest->role->mem >> 20), (unsigned long long)rdtsc());
}

// A VM at power-on with its kernel loaded.
static int prepare(const struct guest *guest)
{
    struct guest_start start;

    int err = load(guest, &start);
    if (err)
        return err;
    vm_reset_devices(&guest->cell->vm);
    return vcpu_start(&guest->cell->vcpu, &start);
}

static int alloc_memory(const struct guests *g, struct guest *guest)
{
    u64 free = g->hv->guest.free << PAGE_SHIFT;
    if (guest->role->mem > free) {
        log_error("vm %s: mem=%lluM is more than the %llu MiB that are free", guest->role->vm,
                  (unsigned long long)(guest->role->mem >> 20), (unsigned long long)(free >> 20));
        return E_NOMEM;
    }
    int err = pc_memory_init(&guest->memory, guest->role->mem);
    for (unsigned i = 0; err == OK && i < guest->memory.nram; i++)
        err = vm_alloc_ram(&guest->cell->vm, guest->memory.ram[i].gpa, guest->memory.ram[i].size,
                           false);
    return err;
}

static int make(struct guests *g, struct guest *guest)
{
    guest->console = &g->consoles[guest - g->list];
    const struct cell_config config = {
        .name = guest->role->vm,
        .console = guest_console_chardev(guest->console),
    };

    int err = cell_create(g->hv, &config, &guest->cell);
    if (err)
        return err;
    err = alloc_memory(g, guest);
    if (err == OK)
        err = prepare(guest);
    if (err) {
        cell_destroy(guest->cell);
        guest->cell = NULL;
        return err;
    }
    report_start(guest);
    guest_console_attach(guest->console, &g->terminal, &guest->cell->vm);
    g->sched.cells[g->sched.count++] = guest->cell;
    return OK;
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
    if (prepare(guest) != OK)
        vm_stop(&cell->vm, VM_END_UNHANDLED, "its kernel cannot be loaded again");
    else if (guest->tell)
        report_start(guest);
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

static void open_terminal(struct guests *g, const struct input_choice *choice)
{
    struct host_input input = host_input_open(choice, machine_acpi());
    const struct terminal_config config = {
        .input = input.serial,
        .poll = input.poll,
        .labels = g->count > 1,
        .work = sched_host_work,
    };

    terminal_init(&g->terminal, &config);
    g->sched = (struct sched){.ended = ended, .poll = poll, .ctx = g, .input = input.serial};
}

int guests_run(struct hypervisor *hv, const struct boot_info *info,
               const struct input_choice *input)
{
    static struct guests guests; // large
    struct guests *g = &guests;

    g->hv = hv;
    if (parse_lines(info, g->roles) != OK)
        return STATUS_BAD_BOOT;
    collect(g, info);
    open_terminal(g, input);
    for (unsigned i = 0; i < g->count; i++) {
        int err = make(g, &g->list[i]);
        if (err) {
            log_error("vm %s: not started: %s", g->list[i].role->vm, err_name(err));
            g->refused++;
        }
    }
    terminal_announce(&g->terminal);
    sched_run(&g->sched);
    return g->refused ? STATUS_BAD_BOOT : g->failed ? STATUS_FAILED : STATUS_OK;
}
