// SPDX-License-Identifier: MIT
// Building the host's address space, and what is added to it while Corbel starts.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/stacks.h"

static struct {
    struct pagetable table;
    const u8 *image_end; // of what is there of it
    u64 mmio_next;       // linear address from which the device window is free
} paging;

struct image_part {
    const u8 *first, *last;
    unsigned rights;
};

static const struct image_part image_parts[] = {
    {text_start,        text_end,        PAGE_EXEC },
    {rodata_start,      rodata_end,      PAGE_READ },
    {data_start,        data_end,        PAGE_WRITE},
    {init_start,        init_text_end,   PAGE_EXEC },
    {init_rodata_start, init_rodata_end, PAGE_READ },
    {init_data_start,   init_data_end,   PAGE_WRITE},
    {lab_start,         lab_text_end,    PAGE_EXEC },
    {lab_rodata_start,  lab_rodata_end,  PAGE_READ },
    {lab_data_start,    lab_data_end,    PAGE_WRITE},
};

enum alias { AT_IMAGE, AT_WINDOW };

// Maps a run of the image where it was linked, or at the window of all RAM. There no part of it can
// be executed, and code and constants cannot be written either.
static int map_run(const u8 *first, const u8 *last, unsigned rights, enum alias alias)
{
    if (first == last)
        return OK;
    u64 physical = image_phys(first).raw;
    u64 linear = alias == AT_IMAGE ? (uintptr_t)first : PHYS_WINDOW + physical;
    if (alias == AT_WINDOW)
        rights &= ~(unsigned)PAGE_EXEC;
    return pagetable_map(&paging.table, linear, physical, (u64)(last - first), rights, MEM_WB);
}

// All pages of the part but the guard pages.
static int map_part(const struct image_part *part, enum alias alias)
{
    const u8 *run = part->first;
    const u8 *end = (const u8 *)align_up((uintptr_t)part->last, PAGE_SIZE);
    int rc = OK;
    for (const u8 *page = run; page < end && rc >= 0; page += PAGE_SIZE) {
        if (!stack_is_guard(page))
            continue;
        rc = map_run(run, page, part->rights, alias);
        run = page + PAGE_SIZE;
    }
    return rc < 0 ? rc : map_run(run, end, part->rights, alias);
}

static int map_image(enum alias alias)
{
    int rc = OK;
    for (unsigned i = 0; i < ARRAY_SIZE(image_parts) && rc >= 0; i++)
        if (image_parts[i].first < paging.image_end)
            rc = map_part(&image_parts[i], alias);
    return rc;
}

static int map_ram(u64 first, u64 end)
{
    if (first >= end)
        return OK;
    return pagetable_map(&paging.table, PHYS_WINDOW + first, first, end - first, PAGE_WRITE,
                         MEM_WB);
}

// RAM, leaving the image out: map_image has put it there with its own rights.
static int map_ram_around_image(u64 first, u64 end)
{
    u64 image_first = boot_load_base;
    u64 image_last = image_phys(paging.image_end).raw;
    if (end <= image_first || first >= image_last)
        return map_ram(first, end);
    int rc = map_ram(first, image_first);
    return rc < 0 ? rc : map_ram(image_last, end);
}

// What the CPU can address and the window can hold.
static u64 ram_limit(void)
{
    u64 window = MMIO_WINDOW - PHYS_WINDOW;
    return paging.table.phys_limit < window ? paging.table.phys_limit : window;
}

static int map_all_ram(const struct mem_range *ranges, unsigned n)
{
    u64 done = 0; // neighbours may share a page
    for (unsigned i = 0; i < n; i++) {
        u64 first = align_down(ranges[i].base, PAGE_SIZE);
        u64 end = align_up(ranges[i].base + ranges[i].size, PAGE_SIZE);
        if (first < done)
            first = done;
        if (end > ram_limit())
            end = ram_limit();
        int rc = map_ram_around_image(first, end);
        if (rc < 0)
            return rc;
        if (done < end)
            done = end;
    }
    return OK;
}

int paging_init(struct frame_pool *pool, const u8 *end, const struct mem_range *ranges, unsigned n)
{
    paging.image_end = end;
    paging.mmio_next = MMIO_WINDOW + PAGE_SIZE;
    paging.table = (struct pagetable){
        .pool = pool,
        .table_limit = SIZE_4G,
        .phys_limit = BIT(cpu_features.phys_bits),
        .nx = cpu_features.nx,
        .leaf_1g = cpu_features.pages_1g,
    };
    int rc = pagetable_init(&paging.table);
    if (rc >= 0)
        rc = map_image(AT_IMAGE);
    if (rc >= 0)
        rc = map_image(AT_WINDOW);
    if (rc >= 0)
        rc = map_all_ram(ranges, n);
    if (rc < 0) {
        log_error("paging: cannot build the host's page tables: %s", err_name(rc));
        return rc;
    }
    paging_use(paging.table.root);
    // All RAM can be reached from here on.
    paging.table.table_limit = 0;
    log_debug("paging: %u tables, %s pages, NX %s", paging.table.tables,
              cpu_features.pages_1g ? "1 GiB" : "2 MiB", cpu_features.nx ? "on" : "absent");
    return OK;
}

static void *map_in_window(hpa_t base, u64 size, enum mem_type type)
{
    u64 offset = base.raw % PAGE_SIZE;
    u64 first = base.raw - offset;
    u64 linear = paging.mmio_next;
    // A framebuffer gets large pages if it lies in the window as it does in memory.
    if (size >= SIZE_2M)
        linear = align_up(linear, SIZE_2M) + first % SIZE_2M;
    int rc = E_RANGE;
    if (size < MMIO_WINDOW_END - SIZE_2M - linear) {
        u64 length = align_up(offset + size, PAGE_SIZE);
        rc = pagetable_map(&paging.table, linear, first, length, PAGE_WRITE, type);
        // The page after it stays free as a guard, and what failed half-way is never used again.
        paging.mmio_next = linear + length + PAGE_SIZE;
    }
    if (rc < 0) {
        log_error("paging: cannot map %llu bytes at 0x%llx: %s", (unsigned long long)size,
                  (unsigned long long)base.raw, err_name(rc));
        return NULL;
    }
    return (void *)(uintptr_t)(linear + offset);
}

void *mmio_map(hpa_t base, u64 size, enum mem_type type)
{
    return map_in_window(base, size, type);
}

void *paging_map_apart(hpa_t base, u64 size)
{
    return map_in_window(base, size, MEM_WB);
}
