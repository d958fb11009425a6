// SPDX-License-Identifier: MIT
// Making the VMs that the boot modules describe.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "boot/guests.h"
#include "boot/host_input.h"
#include "boot/machine.h"
#include "boot/modline.h"
#include "boot/run_end.h"

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

// The words are copied: a VM that is reset is loaded again, when the boot information is gone.
static void collect(struct guests *g, const struct boot_info *info)
{
    for (unsigned i = 0; i < info->nmodules; i++) {
        struct module_role *role = &g->roles[i];
        if (role->kind != MODULE_KERNEL)
            continue;
        struct guest *guest = &g->list[g->count++];
        guest->role = role;
        str_copy(guest->args, sizeof(guest->args), role->args);
        role->args = guest->args;
        guest->kernel = file_of(&info->modules[i]);
        guest->initrd = file_of(find_initrd(g, info, role->vm));
    }
}

// ---- making -----------------------------------------------------------------------------------

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
        err = guest_prepare(guest);
    if (err) {
        cell_destroy(guest->cell);
        guest->cell = NULL;
        return err;
    }
    guest_report_start(guest);
    guest_console_attach(guest->console, &g->terminal, &guest->cell->vm);
    g->sched.cells[g->sched.count++] = guest->cell;
    return OK;
}

// ---- all of them ------------------------------------------------------------------------------

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
}

int guests_make(struct guests *g, struct hypervisor *hv, const struct boot_info *info,
                const struct input_choice *input)
{
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
    return STATUS_READY;
}
