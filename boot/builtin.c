// SPDX-License-Identifier: MIT
#include "boot/builtin.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "boot/run.h"
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

// Loads the image at base and runs it; whether it ended as a good run does. watch may be NULL.
static bool run_image(struct cell *cell, const void *image, u64 size, gpa_t base,
                      const struct builtin_watch *watch)
{
    struct guest_info info;
    struct guest_start state;

    cell_guest_info(cell, &info);
    if (guest_load(&cell->vm, image, size, base, &info, &state) != OK)
        return false;
    vm_reset_devices(&cell->vm);
    if (vcpu_start(&cell->vcpu, &state) != OK)
        return false;
    if (watch && !watch->before(watch->ctx, cell))
        return false;
    cell_run(cell);
    log_info("vm %s: stopped: %s (%s)", cell->vm.name, vm_end_name(cell->vm.end),
             cell->vm.end_text);
    if (watch)
        watch->after(watch->ctx, cell);
    return cell->vm.end == VM_END_DEBUG_EXIT && cell->vm.end_status == 1;
}

static bool run_one(struct hypervisor *hv, const struct builtin *b,
                    const struct builtin_watch *watch)
{
    const struct guest_image *record = (const void *)b->image;
    const struct cell_config config = {.name = b->name, .console = {.write = console_out}};
    struct cell *cell;
    bool good = false;
    hpa_t base;

    if (place(hv, record, &base) != OK)
        return false;
    if (cell_create(hv, &config, &cell) == OK) {
        good = cell_map_identity(cell) == OK &&
               run_image(cell, b->image, (u64)(b->end - b->image), GPA(base.raw), watch);
        cell_destroy(cell);
    }
    frame_free(&hv->guest, base, guest_image_footprint(record) >> PAGE_SHIFT);
    return good;
}

int builtin_run(struct hypervisor *hv)
{
    bool good = true;
    for (unsigned i = 0; i < ARRAY_SIZE(builtins); i++) {
        const struct guest_image *record = (const void *)builtins[i].image;
        if (record->mode == IMAGE_REAL && !(hv->caps.ctl[CTL_PROC2].may & PROC2_UNRESTRICTED)) {
            log_info("vm %s: skipped: real mode needs unrestricted guest, which this CPU lacks",
                     builtins[i].name);
            continue;
        }
        good = run_one(hv, &builtins[i], NULL) && good;
    }
    return good ? STATUS_OK : STATUS_FAILED;
}

bool builtin_run_tiny(struct hypervisor *hv, const struct builtin_watch *watch)
{
    return run_one(hv, &builtins[0], watch);
}
