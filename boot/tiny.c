// SPDX-License-Identifier: MIT
#include "boot/tiny.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "boot/modline.h"
#include "boot/run.h"
#include "guest/image.h"
#include "vmx/sched.h"

extern const u8 tiny64_image[], tiny64_image_end[];
extern const u8 tiny32_image[], tiny32_image_end[];
extern const u8 tiny16_image[], tiny16_image_end[];

static const struct builtin {
    const char *name;
    const u8 *image, *end;
} builtins[] = {
    {"tiny",   tiny64_image, tiny64_image_end},
    {"tiny32", tiny32_image, tiny32_image_end},
    {"tiny16", tiny16_image, tiny16_image_end},
};

static void console_out(void *ctx, const u8 *data, size_t length)
{
    (void)ctx;
    log_raw((const char *)data, length);
}

// Frames for the image among the memory that the identity map shows: below 1 MiB for real mode,
// below 4 GiB for the others.
static int place(struct hypervisor *hv, const struct guest_image *record, hpa_t *base)
{
    u64 frames = guest_image_footprint(record) >> PAGE_SHIFT;
    u64 limit = record->mode == IMAGE_REAL ? 0xa0000 : SIZE_4G;
    int err = frame_alloc(&hv->guest, frames, PAGE_SIZE, limit, base);
    if (err)
        log_error("no %llu KiB below %llx for a guest", (unsigned long long)(frames * 4),
                  (unsigned long long)limit);
    return err;
}

// Loads the image at base and runs it; whether it ended as a good run does.
static bool run_image(struct cell *cell, const void *image, u64 size, gpa_t base)
{
    struct guest_info info;
    struct guest_start state;

    cell_guest_info(cell, &info);
    if (guest_load(&cell->vm, image, size, base, &info, &state) != OK)
        return false;
    vm_reset_devices(&cell->vm);
    if (vcpu_start(&cell->vcpu, &state) != OK)
        return false;
    cell_run(cell);
    log_info("vm %s: stopped: %s (%s)", cell->vm.name, vm_end_name(cell->vm.end),
             cell->vm.end_text);
    return cell->vm.end == VM_END_DEBUG_EXIT && cell->vm.end_status == 1;
}

static bool run_one(struct hypervisor *hv, const struct builtin *b)
{
    const struct guest_image *record = (const void *)b->image;
    const struct cell_config config = {
        .name = b->name, .console = {console_out, NULL}
    };
    struct cell *cell;
    bool good = false;
    hpa_t base;

    if (place(hv, record, &base) != OK)
        return false;
    if (cell_create(hv, &config, &cell) == OK) {
        good = cell_map_identity(cell) == OK &&
               run_image(cell, b->image, (u64)(b->end - b->image), GPA(base.raw));
        cell_destroy(cell);
    }
    frame_free(&hv->guest, base, guest_image_footprint(record) >> PAGE_SHIFT);
    return good;
}

int tiny_run(struct hypervisor *hv)
{
    bool good = true;
    for (unsigned i = 0; i < ARRAY_SIZE(builtins); i++) {
        const struct guest_image *record = (const void *)builtins[i].image;
        if (record->mode == IMAGE_REAL && !(hv->caps.ctl[CTL_PROC2].may & PROC2_UNRESTRICTED)) {
            log_info("vm %s: skipped: real mode needs unrestricted guest, which this CPU lacks",
                     builtins[i].name);
            continue;
        }
        good = run_one(hv, &builtins[i]) && good;
    }
    return good ? STATUS_OK : STATUS_FAILED;
}

// ---- modules ----------------------------------------------------------------------------------

// Guest images lie at 1 MiB, real-mode ones at 64 KiB.
#define LOAD_BASE      0x100000u
#define LOAD_BASE_REAL 0x10000u

static int check_image(const struct boot_module *module, const struct module_role *role)
{
    struct image image;
    const void *file = phys_ptr(HPA(module->start));

    if (role->kind != MODULE_KERNEL) {
        log_error("module %u: only kernel modules are supported by this version", role->number);
        return E_UNSUPP;
    }
    int err = image_detect(file, module->size, &image);
    if (err) {
        log_error("module %u (vm=%s): truncated: %llu bytes end inside the header of a %s",
                  role->number, role->vm, (unsigned long long)module->size,
                  image_format_name(image.format));
        return err;
    }
    if (image.format != FORMAT_CORBEL) {
        log_error("module %u (vm=%s): a %s cannot be loaded by this version, only images in "
                  "Corbel's own format",
                  role->number, role->vm, image_format_name(image.format));
        return E_UNSUPP;
    }
    return guest_image_check(file, module->size);
}

static int check_modules(const struct boot_info *info, struct module_role *roles)
{
    struct why why;

    for (unsigned i = 0; i < info->nmodules; i++) {
        if (modline_parse(info->modules[i].line, i + 1, &roles[i], &why) != OK) {
            log_error("%s", why.text);
            return E_INVAL;
        }
    }
    if (modlines_check(roles, info->nmodules, &why) != OK) {
        log_error("%s", why.text);
        return E_INVAL;
    }
    for (unsigned i = 0; i < info->nmodules; i++) {
        int err = check_image(&info->modules[i], &roles[i]);
        if (err)
            return err;
    }
    return OK;
}

static bool run_module(struct hypervisor *hv, const struct boot_module *module,
                       const struct module_role *role)
{
    const struct guest_image *record = phys_ptr(HPA(module->start));
    const struct cell_config config = {
        .name = role->vm, .console = {console_out, NULL}
    };
    gpa_t base = GPA(record->mode == IMAGE_REAL ? LOAD_BASE_REAL : LOAD_BASE);
    struct cell *cell;
    bool good = false;

    if (cell_create(hv, &config, &cell) != OK)
        return false;
    if (vm_alloc_ram(&cell->vm, GPA(0), align_down(role->mem, PAGE_SIZE), false) == OK)
        good = run_image(cell, record, module->size, base);
    cell_destroy(cell);
    return good;
}

int tiny_run_modules(struct hypervisor *hv, const struct boot_info *info)
{
    static struct module_role roles[BOOT_MODULES_MAX];
    bool good = true;

    if (check_modules(info, roles) != OK)
        return STATUS_BAD_BOOT;
    for (unsigned i = 0; i < info->nmodules; i++)
        good = run_module(hv, &info->modules[i], &roles[i]) && good;
    return good ? STATUS_OK : STATUS_FAILED;
}
