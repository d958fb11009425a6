// SPDX-License-Identifier: MIT
#include "guest/vm.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"

const char *vm_end_name(enum vm_end_kind kind)
{
    static const char *const names[] = {
        [VM_RUNNING] = "running",
        [VM_END_DEBUG_EXIT] = "debug-exit",
        [VM_END_POWER_OFF] = "powered off",
        [VM_END_RESET] = "reset",
        [VM_END_TRIPLE_FAULT] = "triple fault",
        [VM_END_HALTED] = "halted for ever",
        [VM_END_UNHANDLED] = "unhandled exit",
        [VM_END_ENTRY_FAILED] = "VM entry failed",
        [VM_END_EMULATION] = "cannot be emulated",
        [VM_END_EPT] = "EPT",
        [VM_END_LEFT] = "left",
        [VM_END_TEST] = "stopped by a test",
    };
    return names[kind];
}

void vm_stop(struct vm *vm, enum vm_end_kind kind, const char *format, ...)
{
    va_list args;

    vm->attention |= VM_ATTENTION_STOP;
    if (vm->end != VM_RUNNING)
        return;
    vm->end = kind;
    va_start(args, format);
    fmt_vsnprintf(vm->end_text, sizeof(vm->end_text), format, args);
    va_end(args);
}

// ---- life -------------------------------------------------------------------------------------

void vm_revive(struct vm *vm)
{
    vm->attention &= VM_ATTENTION_CHECK;
    vm->nmi_requested = false;
    vm->end = VM_RUNNING;
    vm->end_status = 0;
    vm->end_text[0] = '\0';
}

INIT int vm_init(struct vm *vm, const struct vm_config *config)
{
    memset(vm, 0, sizeof(*vm));
    str_copy(vm->name, sizeof(vm->name), config->name);
    vm->clock = config->clock;
    vm->frames = config->frames;
    deadline_queue_init(&vm->timers, vm->heap, VM_DEADLINES);
    int err = vm_init_devices(vm, config);
    if (err)
        return err;
    return ept_init(&vm->ept, config->ept);
}

void vm_destroy(struct vm *vm)
{
    ept_destroy(&vm->ept);
    for (u32 i = 0; i < vm->nram; i++)
        if (vm->ram[i].owned)
            frame_free(vm->frames, vm->ram[i].hpa, vm->ram[i].size >> PAGE_SHIFT);
    vm->nram = 0;
}

// ---- memory -----------------------------------------------------------------------------------

INIT int vm_note_ram(struct vm *vm, struct vm_ram ram)
{
    const struct vm_ram *last = vm->nram ? &vm->ram[vm->nram - 1] : NULL;

    if (vm->nram == VM_RAM_REGIONS) {
        log_error("vm %s: more than %u regions of RAM", vm->name, VM_RAM_REGIONS);
        return E_NOMEM;
    }
    if (!ram.size || !is_aligned(ram.gpa.raw | ram.hpa.raw | ram.size, PAGE_SIZE) ||
        ram.gpa.raw + ram.size < ram.gpa.raw)
        return E_INVAL;
    if (last && ram.gpa.raw < last->gpa.raw + last->size)
        return E_EXIST;
    vm->ram[vm->nram++] = ram;
    return OK;
}

static struct ept_attr ram_attr(const struct vm_ram *ram)
{
    return (struct ept_attr){.rights = EPT_R | EPT_W | EPT_X, .type = ram->type};
}

INIT int vm_add_ram(struct vm *vm, struct vm_ram ram)
{
    int err = vm_note_ram(vm, ram);
    if (err == OK && !ram.lazy) {
        err = ept_map(&vm->ept, ram.gpa, ram.hpa, ram.size, ram_attr(&ram));
        if (err)
            vm->nram--;
    }
    return err;
}

// One piece in one run of frames, not cleared yet.
static int alloc_piece(struct vm *vm, gpa_t gpa, u64 size, bool lazy)
{
    struct vm_ram ram = {.gpa = gpa, .size = size, .type = MEM_WB, .lazy = lazy, .owned = true};
    // Aligned alike on both sides, so that large leaves fit.
    u64 align = size >= SIZE_2M && is_aligned(gpa.raw, SIZE_2M) ? SIZE_2M : PAGE_SIZE;

    int err = frame_alloc(vm->frames, size >> PAGE_SHIFT, align, 0, &ram.hpa);
    if (err)
        return err;
    err = vm_add_ram(vm, ram);
    if (err)
        frame_free(vm->frames, ram.hpa, size >> PAGE_SHIFT);
    return err;
}

static void clear_ram(struct vm *vm, u32 first)
{
    for (u32 i = first; i < vm->nram; i++)
        if (vm->ram[i].owned)
            memset(phys_ptr(vm->ram[i].hpa), 0, vm->ram[i].size);
}

INIT int vm_alloc_ram(struct vm *vm, gpa_t gpa, u64 size, bool lazy)
{
    // What lies before the first 2 MiB boundary is a piece of its own: the rest gets large leaves.
    u64 head = align_up(gpa.raw, SIZE_2M) - gpa.raw;
    u64 done = 0, piece = head && head < size ? head : size;
    u32 first = vm->nram;

    while (done < size) {
        if (piece > size - done)
            piece = size - done;
        int err = alloc_piece(vm, GPA(gpa.raw + done), piece, lazy);
        if (err == OK) {
            done += piece;
            piece = done == head ? size : piece;
        } else if (err == E_NOMEM && piece > SIZE_2M) {
            // Memory is in several runs, with holes and modules between them.
            piece = align_up(piece / 2, SIZE_2M);
        } else {
            log_error("vm %s: no %llu KiB of memory: %llu KiB could be had", vm->name,
                      (unsigned long long)(size >> 10), (unsigned long long)(done >> 10));
            return err;
        }
    }
    clear_ram(vm, first); // not before all of it is there: it takes a second a few GiB
    return OK;
}

bool vm_clear_ram_piece(struct vm *vm, u64 *done, u64 most)
{
    u64 before = 0; // bytes of the regions that come before this one
    for (u32 i = 0; i < vm->nram; i++) {
        const struct vm_ram *ram = &vm->ram[i];
        if (!ram->owned)
            continue;
        u64 offset = *done - before, left = ram->size - offset;
        if (offset < ram->size) {
            u64 piece = most < left ? most : left;
            memset(phys_ptr(HPA(ram->hpa.raw + offset)), 0, piece);
            *done += piece;
            return false;
        }
        before += ram->size;
    }
    return true;
}

INIT void vm_clear_ram(struct vm *vm)
{
    clear_ram(vm, 0);
}

const struct vm_ram *vm_find_ram(const struct vm *vm, gpa_t gpa)
{
    u32 low = 0, high = vm->nram;
    while (low < high) {
        u32 mid = (low + high) / 2;
        const struct vm_ram *r = &vm->ram[mid];
        if (gpa.raw < r->gpa.raw)
            high = mid;
        else if (gpa.raw - r->gpa.raw >= r->size)
            low = mid + 1;
        else
            return r;
    }
    return NULL;
}

void *vm_ptr(const struct vm *vm, gpa_t gpa, u64 length)
{
    const struct vm_ram *r = vm_find_ram(vm, gpa);
    if (!r)
        return NULL;
    u64 offset = gpa.raw - r->gpa.raw;
    if (length > r->size - offset)
        return NULL;
    return phys_ptr(HPA(r->hpa.raw + offset));
}

int vm_fill(struct vm *vm, gpa_t gpa)
{
    const struct vm_ram *r = vm_find_ram(vm, gpa);
    if (!r || !r->lazy)
        return E_NOENT;
    u64 offset = align_down(gpa.raw - r->gpa.raw, PAGE_SIZE);
    return ept_map(&vm->ept, GPA(r->gpa.raw + offset), HPA(r->hpa.raw + offset), PAGE_SIZE,
                   ram_attr(r));
}
