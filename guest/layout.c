// SPDX-License-Identifier: MIT
#include "guest/layout.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "guest/guest_memory.h"

int layout_add(const struct vm *vm, struct layout *layout, const struct boot_file *file,
               struct layout_segment s)
{
    if (!s.memory_size)
        return OK;
    if (s.file_size > s.memory_size)
        return kernel_refuse(vm, E_FORMAT, "the segment at %llxH has %llu bytes for %llu of memory",
                             (ull)s.at, (ull)s.file_size, (ull)s.memory_size);
    if (s.offset > file->size || s.file_size > file->size - s.offset)
        return kernel_refuse(
            vm, E_TRUNC,
            "truncated: the segment at %llxH has %llu bytes from %llu on, the file "
            "%llu in all",
            (ull)s.at, (ull)s.file_size, (ull)s.offset, (ull)file->size);
    if (layout->count == LAYOUT_SEGMENTS)
        return kernel_refuse(vm, E_FORMAT, "more than %u segments", LAYOUT_SEGMENTS);
    layout->segments[layout->count++] = s;
    return OK;
}

int layout_add_addresses(const struct vm *vm, struct layout *layout, const struct boot_file *file,
                         const struct layout_addresses *a)
{
    u64 before = a->header - a->load; // of the header, in memory as in the file

    if (a->load > a->header || before > a->header_offset)
        return kernel_refuse(
            vm, E_FORMAT,
            "its header at %llu in the file goes to %llxH, what is loaded starts at "
            "%llxH",
            (ull)a->header_offset, (ull)a->header, (ull)a->load);
    u64 offset = a->header_offset - before;
    u64 load_end = a->load_end ? a->load_end : a->load + (file->size - offset);
    u64 end = a->bss_end ? a->bss_end : load_end;
    if (load_end < a->load || end < load_end)
        return kernel_refuse(vm, E_FORMAT,
                             "it is loaded from %llxH to %llxH, its memory ends at %llxH",
                             (ull)a->load, (ull)load_end, (ull)end);
    return layout_add(vm, layout, file,
                      (struct layout_segment){.at = a->load,
                                              .memory_size = end - a->load,
                                              .offset = offset,
                                              .file_size = load_end - a->load});
}

static bool overlap(const struct layout_segment *s, u64 at, u64 size)
{
    return s->at < at ? at - s->at < s->memory_size : s->at - at < size;
}

bool layout_overlaps(const struct layout *layout, u64 at, u64 size)
{
    for (unsigned i = 0; i < layout->count; i++)
        if (overlap(&layout->segments[i], at, size))
            return true;
    return false;
}

static bool is_free_ram(const struct pc_memory *memory, const struct layout_segment *s)
{
    for (unsigned i = 0; i < memory->nmap; i++) {
        const struct e820_entry *e = &memory->map[i];
        if (e->type == E820_RAM && s->at >= e->base && s->at - e->base < e->size)
            return s->at < SIZE_4G && s->memory_size <= e->size - (s->at - e->base);
    }
    return false;
}

static int check_segment(const struct vm *vm, const struct layout *layout, unsigned i,
                         const struct pc_memory *memory)
{
    const struct layout_segment *s = &layout->segments[i];

    if (!is_free_ram(memory, s))
        return kernel_refuse(vm, E_RANGE,
                             "too little memory: its %llu KiB at %llxH are not all free RAM, which "
                             "ends at %llxH",
                             (ull)align_up(s->memory_size, 1024) >> 10, (ull)s->at,
                             (ull)memory->low_end);
    for (unsigned j = 0; j < i; j++)
        if (overlap(&layout->segments[j], s->at, s->memory_size))
            return kernel_refuse(vm, E_FORMAT, "its segments at %llxH and %llxH overlap",
                                 (ull)layout->segments[j].at, (ull)s->at);
    return OK;
}

int layout_check(const struct vm *vm, const struct layout *layout, const struct pc_memory *memory)
{
    for (unsigned i = 0; i < layout->count; i++) {
        int err = check_segment(vm, layout, i, memory);
        if (err)
            return err;
    }
    if (!layout_overlaps(layout, layout->entry, 1))
        return kernel_refuse(vm, E_FORMAT, "its entry %llxH is in none of its %u segments",
                             (ull)layout->entry, layout->count);
    return OK;
}

u64 layout_start(const struct layout *layout)
{
    u64 start = ~0ull;
    for (unsigned i = 0; i < layout->count; i++)
        if (layout->segments[i].at < start)
            start = layout->segments[i].at;
    return start;
}

u64 layout_end(const struct layout *layout)
{
    u64 end = 0;
    for (unsigned i = 0; i < layout->count; i++) {
        const struct layout_segment *s = &layout->segments[i];
        if (s->at + s->memory_size > end)
            end = s->at + s->memory_size;
    }
    return end;
}

int layout_write(struct vm *vm, const struct layout *layout, const struct boot_file *file)
{
    for (unsigned i = 0; i < layout->count; i++) {
        const struct layout_segment *s = &layout->segments[i];
        int err = guest_write(vm, GPA(s->at), file->data + s->offset, s->file_size);
        if (err == OK)
            err = guest_clear(vm, GPA(s->at + s->file_size), s->memory_size - s->file_size);
        if (err)
            return kernel_refuse(vm, err, "the VM lacks RAM that its memory map has");
    }
    return OK;
}
