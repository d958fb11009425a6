// SPDX-License-Identifier: MIT
// Putting a built-in guest program into guest memory, and the page tables it starts with.
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/pte.h"
#include "guest/vm.h"

// 64-bit: PML4, PDPT, four page directories and the image's page table. 32-bit with 4 MiB pages: a
// page directory and the image's page table. Both tables map the low 4 GiB, the image excepted, to
// themselves.
#define LONG_TABLES      7u
#define PROTECTED_TABLES 2u

int guest_image_check(const void *image, u64 size)
{
    const struct guest_image *r = image;

    if (size < sizeof(*r)) {
        log_error("guest image: %llu bytes are too few", (unsigned long long)size);
        return E_TRUNC;
    }
    if (r->magic != GUEST_MAGIC ||
        (r->mode != IMAGE_REAL && r->mode != IMAGE_PROTECTED && r->mode != IMAGE_LONG)) {
        log_error("guest image: not one of Corbel's");
        return E_FORMAT;
    }
    if (r->image_size > size) {
        log_error("guest image: %llu bytes, its record says %u", (unsigned long long)size,
                  r->image_size);
        return E_TRUNC;
    }
    if (r->memory_size < r->image_size || !is_aligned(r->link_base, PAGE_SIZE)) {
        log_error("guest image: sizes in its record make no sense");
        return E_FORMAT;
    }
    return OK;
}

static u64 tables_of(const struct guest_image *r)
{
    return r->mode == IMAGE_LONG ? LONG_TABLES : r->mode == IMAGE_PROTECTED ? PROTECTED_TABLES : 0;
}

// Image, page tables, the information page.
u64 guest_image_footprint(const struct guest_image *r)
{
    return align_up(r->memory_size, PAGE_SIZE) + (tables_of(r) + 1) * PAGE_SIZE;
}

static void build_long(u64 *tables, u64 at, const struct guest_image *r, u64 base)
{
    u64 *pml4 = tables, *pdpt = tables + 512, *pd = tables + 1024, *pt = tables + 6 * 512;
    u64 first = r->link_base >> 21;

    pml4[0] = (at + PAGE_SIZE) | PTE_P | PTE_W;
    for (u64 i = 0; i < 4; i++)
        pdpt[i] = (at + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W;
    for (u64 i = 0; i < 4 * 512; i++)
        pd[i] = i << 21 | PTE_P | PTE_W | PTE_PS;
    pd[first] = (at + 6 * PAGE_SIZE) | PTE_P | PTE_W;
    for (u64 i = 0; i < 512; i++)
        pt[i] = (base + (i << PAGE_SHIFT)) | PTE_P | PTE_W;
}

static void build_protected(u32 *tables, u64 at, const struct guest_image *r, u64 base)
{
    u32 *pd = tables, *pt = tables + 1024;

    for (u32 i = 0; i < 1024; i++)
        pd[i] = i << 22 | (u32)(PTE_P | PTE_W | PTE_PS);
    pd[r->link_base >> 22] = (u32)((at + PAGE_SIZE) | PTE_P | PTE_W);
    for (u32 i = 0; i < 1024; i++)
        pt[i] = (u32)((base + (i << PAGE_SHIFT)) | PTE_P | PTE_W);
}

// The image must lie in what its one page table maps, from the start of it.
static bool link_base_fits(const struct guest_image *r)
{
    u64 window = r->mode == IMAGE_LONG ? SIZE_2M : 2 * SIZE_2M;
    if (r->mode == IMAGE_REAL)
        return r->link_base == 0 && r->memory_size <= 0x10000;
    return is_aligned(r->link_base, window) && r->memory_size <= window;
}

int guest_load(struct vm *vm, const void *image, u64 size, gpa_t base,
               const struct guest_info *info, struct guest_start *start)
{
    const struct guest_image *r = image;

    int err = guest_image_check(image, size);
    if (err)
        return err;
    if (!link_base_fits(r)) {
        log_error("guest image: link base %x does not suit its mode", r->link_base);
        return E_FORMAT;
    }
    u64 footprint = guest_image_footprint(r);
    u8 *memory = vm_ptr(vm, base, footprint);
    if (!memory || (r->mode == IMAGE_REAL && base.raw + footprint > 0xa0000)) {
        log_error("vm %s: no RAM for the guest's %llu bytes at %llx", vm->name,
                  (unsigned long long)footprint, (unsigned long long)base.raw);
        return E_RANGE;
    }
    u64 tables = base.raw + align_up(r->memory_size, PAGE_SIZE);
    u64 info_at = tables + tables_of(r) * PAGE_SIZE;

    memset(memory, 0, footprint);
    memcpy(memory, image, r->image_size);
    if (r->mode == IMAGE_LONG)
        build_long((u64 *)(void *)(memory + (tables - base.raw)), tables, r, base.raw);
    else if (r->mode == IMAGE_PROTECTED)
        build_protected((u32 *)(void *)(memory + (tables - base.raw)), tables, r, base.raw);
    memcpy(memory + (info_at - base.raw), info, sizeof(*info));

    *start = (struct guest_start){
        .mode = (enum image_mode)r->mode,
        .rip = r->entry,
        .rsp = r->stack_top,
        // Real mode reaches it through its segments, which start at the image.
        .rdi = r->mode == IMAGE_REAL ? info_at - base.raw : info_at,
        .cr3 = r->mode == IMAGE_REAL ? 0 : tables,
        .selector = r->mode == IMAGE_REAL ? (u16)(base.raw >> 4) : 0,
    };
    return OK;
}
