// SPDX-License-Identifier: MIT
#include "boot/mbi.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "boot/multiboot2.h"

struct reading {
    struct boot_info *info;
    struct why *why;
    const struct mb2_efi_mmap *efi_mmap; // used if there is no other memory map
    u32 seen;                            // bit n: tag type n was there
};

// Copies a string that ends at its terminator or at the end of its tag. False if it does not fit.
static bool copy_string(char *dst, size_t size, const char *src, size_t length)
{
    size_t i = 0;
    while (i < length && src[i] && i + 1 < size) {
        dst[i] = src[i];
        i++;
    }
    dst[i] = '\0';
    return i == length || src[i] == '\0';
}

static int take_cmdline(struct reading *r, const struct mb2_tag *tag)
{
    if (!copy_string(r->info->cmdline, BOOT_LINE_MAX, (const char *)(tag + 1),
                     tag->size - sizeof(*tag)))
        return why_set(r->why, E_NOMEM, "the command line is longer than %u characters",
                       BOOT_LINE_MAX - 1);
    return OK;
}

static int take_loader(struct reading *r, const struct mb2_tag *tag)
{
    // Only ever printed, so a long one is cut.
    copy_string(r->info->loader, sizeof(r->info->loader), (const char *)(tag + 1),
                tag->size - sizeof(*tag));
    return OK;
}

static int take_module(struct reading *r, const struct mb2_tag *tag)
{
    const struct mb2_module *from = (const struct mb2_module *)tag;
    unsigned number = r->info->nmodules + 1;
    if (number > BOOT_MODULES_MAX)
        return why_set(r->why, E_NOMEM, "there are more than %u modules", BOOT_MODULES_MAX);
    if (from->end < from->start)
        return why_set(r->why, E_FORMAT, "module %u ends at 0x%x, before its start at 0x%x", number,
                       from->end, from->start);
    struct boot_module *to = &r->info->modules[r->info->nmodules++];
    to->start = from->start;
    to->size = from->end - from->start;
    if (!copy_string(to->line, sizeof(to->line), from->string, tag->size - sizeof(*from)))
        return why_set(r->why, E_NOMEM, "the line of module %u is longer than %u characters",
                       number, BOOT_LINE_MAX - 1);
    return OK;
}

// EFI maps come in many pieces of few kinds, so what continues the last entry joins it.
static int add_memory(struct reading *r, u64 base, u64 size, enum mem_kind type)
{
    struct boot_info *info = r->info;
    struct mem_entry *last = info->nmemory ? &info->memory[info->nmemory - 1] : NULL;
    if (last && last->type == type && last->base + last->size == base &&
        last->base + last->size > last->base && base + size > base) {
        last->size += size;
        return OK;
    }
    if (info->nmemory == MEM_ENTRIES_MAX)
        return why_set(r->why, E_NOMEM, "the memory map has more than %u entries", MEM_ENTRIES_MAX);
    info->memory[info->nmemory++] = (struct mem_entry){base, size, type};
    return OK;
}

static enum mem_kind mmap_type(u32 type)
{
    switch (type) {
    case MB2_MEMORY_AVAILABLE:
        return MEM_USABLE;
    case MB2_MEMORY_ACPI:
        return MEM_ACPI_RECLAIM;
    case MB2_MEMORY_NVS:
        return MEM_NVS;
    case MB2_MEMORY_BAD:
        return MEM_BAD;
    default: // reserved, and whatever is not defined yet
        return MEM_RESERVED;
    }
}

static int take_mmap(struct reading *r, const struct mb2_tag *tag)
{
    const struct mb2_mmap *map = (const struct mb2_mmap *)tag;
    if (map->entry_size < sizeof(struct mb2_mmap_entry))
        return why_set(r->why, E_FORMAT, "the memory map's entries have %u bytes, not 24 or more",
                       map->entry_size);
    const u8 *at = (const u8 *)(map + 1);
    for (u32 left = tag->size - (u32)sizeof(*map); left >= map->entry_size;
         left -= map->entry_size, at += map->entry_size) {
        const struct mb2_mmap_entry *entry = (const struct mb2_mmap_entry *)at;
        int err = add_memory(r, entry->base, entry->length, mmap_type(entry->type));
        if (err)
            return err;
    }
    return OK;
}

static int take_efi_mmap(struct reading *r, const struct mb2_tag *tag)
{
    r->efi_mmap = (const struct mb2_efi_mmap *)tag;
    return OK;
}

// After boot services ended: UEFI specification, "Memory Type Usage after ExitBootServices()".
static enum mem_kind efi_type(u32 type)
{
    switch (type) {
    case EFI_LOADER_CODE:
    case EFI_LOADER_DATA:
    case EFI_BOOT_SERVICES_CODE:
    case EFI_BOOT_SERVICES_DATA:
    case EFI_CONVENTIONAL:
        return MEM_USABLE;
    case EFI_ACPI_RECLAIM:
        return MEM_ACPI_RECLAIM;
    case EFI_ACPI_NVS:
        return MEM_NVS;
    case EFI_UNUSABLE:
        return MEM_BAD;
    default:
        return MEM_RESERVED;
    }
}

static int use_efi_mmap(struct reading *r)
{
    const struct mb2_efi_mmap *map = r->efi_mmap;
    if (map->descr_size < sizeof(struct efi_memory_descriptor))
        return why_set(r->why, E_FORMAT,
                       "the EFI memory map's descriptors have %u bytes, not 40 or more",
                       map->descr_size);
    r->info->memory_from_efi = true;
    const u8 *at = (const u8 *)(map + 1);
    for (u32 left = map->tag.size - (u32)sizeof(*map); left >= map->descr_size;
         left -= map->descr_size, at += map->descr_size) {
        const struct efi_memory_descriptor *entry = (const struct efi_memory_descriptor *)at;
        u64 size = entry->pages > ~0ull >> PAGE_SHIFT ? ~0ull : entry->pages << PAGE_SHIFT;
        int err = add_memory(r, entry->physical_start, size, efi_type(entry->type));
        if (err)
            return err;
    }
    return OK;
}

static int take_framebuffer(struct reading *r, const struct mb2_tag *tag)
{
    static const enum boot_framebuffer_kind kinds[] = {
        [MB2_FRAMEBUFFER_INDEXED] = BOOT_FB_INDEXED,
        [MB2_FRAMEBUFFER_RGB] = BOOT_FB_RGB,
        [MB2_FRAMEBUFFER_EGA_TEXT] = BOOT_FB_EGA_TEXT,
    };
    const struct mb2_framebuffer *from = (const struct mb2_framebuffer *)tag;
    if (from->kind >= ARRAY_SIZE(kinds))
        return OK; // a kind to come: as if there were none
    struct boot_framebuffer *to = &r->info->framebuffer;
    to->kind = kinds[from->kind];
    to->address = from->address;
    to->pitch = from->pitch;
    to->width = from->width;
    to->height = from->height;
    to->bpp = from->bpp;
    if (to->kind != BOOT_FB_RGB)
        return OK;
    const struct mb2_rgb *rgb = (const struct mb2_rgb *)(from + 1);
    if (tag->size < sizeof(*from) + sizeof(*rgb))
        return why_set(r->why, E_TRUNC, "the framebuffer tag has %u bytes, too few for RGB",
                       tag->size);
    to->red = (struct boot_channel){rgb->red_position, rgb->red_size};
    to->green = (struct boot_channel){rgb->green_position, rgb->green_size};
    to->blue = (struct boot_channel){rgb->blue_position, rgb->blue_size};
    return OK;
}

static int take_efi32(struct reading *r, const struct mb2_tag *tag)
{
    u32 table;
    memcpy(&table, tag + 1, sizeof(table));
    // A mixed-mode loader may give both; the wider pointer is the firmware's own.
    if (r->info->efi_bits == 64)
        return OK;
    r->info->efi_system_table = table;
    r->info->efi_bits = 32;
    return OK;
}

static int take_efi64(struct reading *r, const struct mb2_tag *tag)
{
    memcpy(&r->info->efi_system_table, tag + 1, sizeof(u64));
    r->info->efi_bits = 64;
    return OK;
}

static int take_rsdp(struct reading *r, const struct mb2_tag *tag)
{
    if (tag->type == MB2_TAG_ACPI_OLD && r->seen & BIT32(MB2_TAG_ACPI_NEW))
        return OK;
    u32 size = tag->size - (u32)sizeof(*tag);
    r->info->rsdp_size = size < BOOT_RSDP_MAX ? size : BOOT_RSDP_MAX;
    memcpy(r->info->rsdp, tag + 1, r->info->rsdp_size);
    return OK;
}

static int refuse_boot_services(struct reading *r, const struct mb2_tag *tag)
{
    (void)tag;
    return why_set(r->why, E_UNSUPP, "the boot loader left the EFI boot services running");
}

static int take_load_base(struct reading *r, const struct mb2_tag *tag)
{
    u32 base;
    memcpy(&base, tag + 1, sizeof(base));
    r->info->load_base = base;
    r->info->has_load_base = true;
    return OK;
}

struct tag_rule {
    u32 type;
    u32 least; // bytes, header included
    int (*take)(struct reading *r, const struct mb2_tag *tag);
    const char *name;
};

static const struct tag_rule rules[] = {
    {MB2_TAG_CMDLINE,           8,                              take_cmdline,         "command line"     },
    {MB2_TAG_LOADER_NAME,       8,                              take_loader,          "boot loader name" },
    {MB2_TAG_MODULE,            sizeof(struct mb2_module),      take_module,          "module"           },
    {MB2_TAG_MMAP,              sizeof(struct mb2_mmap),        take_mmap,            "memory map"       },
    {MB2_TAG_FRAMEBUFFER,       sizeof(struct mb2_framebuffer), take_framebuffer,     "framebuffer"      },
    {MB2_TAG_EFI32,             12,                             take_efi32,           "EFI system table" },
    {MB2_TAG_EFI64,             16,                             take_efi64,           "EFI system table" },
    {MB2_TAG_ACPI_OLD,          8 + 20,                         take_rsdp,            "ACPI 1.0 RSDP"    },
    {MB2_TAG_ACPI_NEW,          8 + 36,                         take_rsdp,            "ACPI 2.0 RSDP"    },
    {MB2_TAG_EFI_MMAP,          sizeof(struct mb2_efi_mmap),    take_efi_mmap,        "EFI memory map"   },
    {MB2_TAG_EFI_BOOT_SERVICES, 8,                              refuse_boot_services, "EFI boot services"},
    {MB2_TAG_LOAD_BASE,         12,                             take_load_base,       "load base"        },
};

// A tag that lies wholly inside the boot information; types that nobody asked for are passed over.
static int take_tag(struct reading *r, const struct mb2_tag *tag)
{
    const struct tag_rule *rule = NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
        if (rules[i].type == tag->type)
            rule = &rules[i];
    }
    if (!rule)
        return OK;
    if (tag->size < rule->least)
        return why_set(r->why, E_TRUNC, "boot information: the %s tag has %u bytes, not %u or more",
                       rule->name, tag->size, rule->least);
    if (r->seen & BIT32(rule->type) && rule->type != MB2_TAG_MODULE)
        return why_set(r->why, E_FORMAT, "boot information: there are two %s tags", rule->name);
    int err = rule->take(r, tag);
    r->seen |= BIT32(rule->type);
    return err;
}

static int take_all(struct reading *r, const u8 *data, u32 total)
{
    u64 at = sizeof(struct mb2_info);
    while (at + sizeof(struct mb2_tag) <= total) {
        const struct mb2_tag *tag = (const struct mb2_tag *)(data + at);
        if (tag->size < sizeof(*tag) || tag->size > total - at)
            return why_set(
                r->why, E_TRUNC, "boot information: tag %u at offset %llu has %u bytes of %llu",
                tag->type, (unsigned long long)at, tag->size, (unsigned long long)(total - at));
        if (tag->type == MB2_TAG_END)
            return OK;
        int err = take_tag(r, tag);
        if (err)
            return err;
        at = align_up(at + tag->size, MB2_TAG_ALIGN);
    }
    return why_set(r->why, E_TRUNC, "boot information: %u bytes without an end tag", total);
}

int mbi_parse(const void *data, size_t max, struct boot_info *info, struct why *why)
{
    memset(info, 0, sizeof(*info));
    struct reading r = {.info = info, .why = why};
    const struct mb2_info *header = data;
    if (max < sizeof(*header) || header->total_size > max || header->total_size < sizeof(*header))
        return why_set(why, E_TRUNC, "boot information: %u bytes are not between 8 and %zu",
                       max < sizeof(*header) ? 0 : header->total_size, max);
    info->size = header->total_size;
    int err = take_all(&r, data, info->size);
    if (!err && !(r.seen & BIT32(MB2_TAG_MMAP)) && r.efi_mmap)
        err = use_efi_mmap(&r);
    if (!err && info->nmemory == 0)
        err = why_set(why, E_NOENT, "the boot loader gave no memory map");
    return err;
}

// An EBDA lies at the top of the 640 KiB; anything else in its place is no segment of one.
#define EBDA_LOWEST 0x60000ull
#define LOW_END     0xa0000ull
#define LOW_1M      0x100000ull

unsigned boot_reserved(const struct boot_info *info, struct mem_range image, u64 mbi, u64 ebda,
                       struct mem_range out[BOOT_RESERVED_MAX])
{
    const struct boot_framebuffer *fb = &info->framebuffer;
    u64 low = ebda >= EBDA_LOWEST && ebda < LOW_END ? ebda : LOW_END;
    unsigned n = 0;
    out[n++] = (struct mem_range){0, PAGE_SIZE};
    out[n++] = (struct mem_range){low, LOW_1M - low};
    out[n++] = image;
    out[n++] = (struct mem_range){mbi, info->size};
    if (fb->kind != BOOT_FB_NONE)
        out[n++] = (struct mem_range){fb->address, (u64)fb->pitch * fb->height};
    for (unsigned i = 0; i < info->nmodules; i++)
        out[n++] = (struct mem_range){info->modules[i].start, info->modules[i].size};
    return n;
}
