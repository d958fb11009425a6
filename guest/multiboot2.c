// SPDX-License-Identifier: MIT
// Multiboot2 kernels: Multiboot2 specification 2.0, "The layout of Multiboot2 header" and "Boot
// information format".
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "guest/elf.h"
#include "guest/le.h"
#include "guest/multiboot.h"

// ---- header -----------------------------------------------------------------------------------

#define ARCHITECTURE      4u
#define HEADER_LENGTH     8u
#define HEADER_SIZE       16u
#define ARCHITECTURE_I386 0u

enum header_tag {
    TAG_END = 0,
    TAG_REQUEST = 1,
    TAG_ADDRESS = 2,
    TAG_ENTRY = 3,
    TAG_CONSOLE = 4,
    TAG_FRAMEBUFFER = 5,
    TAG_ALIGN = 6,
    TAG_EFI_SERVICES = 7,
    TAG_EFI32_ENTRY = 8,
    TAG_EFI64_ENTRY = 9,
    TAG_RELOCATABLE = 10,
};

#define TAG_SIZE             8u       // type, flags, size
#define TAG_OPTIONAL         BIT32(0) // flags
#define INFO_KNOWN           21u      // the last type of boot information that there is
#define CONSOLE_MUST         BIT32(0) // console flags
#define LOAD_ADDR_FILE_START (~0u)    // load_addr: the file from its beginning

struct header {
    const u8 *addresses; // the tag, or NULL
    u32 entry;
    bool has_entry;
    bool relocatable;
};

struct tag {
    const u8 *data;
    u32 type, size;
    bool required;
};

static u32 tag_min_size(u32 type)
{
    switch (type) {
    case TAG_ADDRESS:
    case TAG_RELOCATABLE:
        return 24;
    case TAG_ENTRY:
    case TAG_CONSOLE:
        return 12;
    default:
        return TAG_SIZE;
    }
}

// A type that is known may be absent all the same, where the machine has nothing of the kind.
static int check_request(const struct vm *vm, const struct tag *tag)
{
    for (u32 at = TAG_SIZE; at + 4 <= tag->size; at += 4) {
        u32 type = le32(tag->data + at);
        if (type > INFO_KNOWN)
            return kernel_refuse(vm, E_UNSUPP,
                                 "Multiboot2: it requires unknown boot information, type %u", type);
    }
    return OK;
}

static int refuse_tag(const struct vm *vm, const struct tag *tag)
{
    static const char *const names[] = {
        [TAG_CONSOLE] = "a screen, and the VM has none",
        [TAG_FRAMEBUFFER] = "a framebuffer, and the VM has no screen",
        [TAG_EFI_SERVICES] = "EFI boot services, and the VM has no firmware",
    };
    const char *name = tag->type < ARRAY_SIZE(names) ? names[tag->type] : NULL;

    if (name)
        return kernel_refuse(vm, E_UNSUPP, "Multiboot2: it requires %s", name);
    return kernel_refuse(vm, E_UNSUPP, "Multiboot2: it requires an unknown feature, header tag %u",
                         tag->type);
}

static int read_tag(const struct vm *vm, const struct tag *tag, struct header *header)
{
    switch (tag->type) {
    case TAG_REQUEST:
        return tag->required ? check_request(vm, tag) : OK;
    case TAG_ADDRESS:
        header->addresses = tag->data;
        return OK;
    case TAG_ENTRY:
        header->entry = le32(tag->data + TAG_SIZE);
        header->has_entry = true;
        return OK;
    case TAG_CONSOLE:
        return tag->required && (le32(tag->data + TAG_SIZE) & CONSOLE_MUST) ? refuse_tag(vm, tag)
                                                                            : OK;
    case TAG_RELOCATABLE:
        header->relocatable = true;
        return OK;
    case TAG_ALIGN:       // modules always are on pages
    case TAG_EFI32_ENTRY: // of no meaning without EFI
    case TAG_EFI64_ENTRY:
        return OK;
    default:
        return tag->required ? refuse_tag(vm, tag) : OK;
    }
}

// at and end are offsets in the file, in which the whole header is: image_detect() has looked.
static int read_header(const struct vm *vm, const u8 *file, u64 at, struct header *header)
{
    u64 end = at + le32(file + at + HEADER_LENGTH);

    if (le32(file + at + ARCHITECTURE) != ARCHITECTURE_I386)
        return kernel_refuse(vm, E_UNSUPP, "Multiboot2: it is for architecture %u, not a PC",
                             le32(file + at + ARCHITECTURE));
    for (at += HEADER_SIZE; at + TAG_SIZE <= end;) {
        struct tag tag = {
            .data = file + at,
            .type = le16(file + at),
            .size = le32(file + at + 4),
            .required = !(le16(file + at + 2) & TAG_OPTIONAL),
        };
        if (tag.type == TAG_END)
            return OK;
        if (tag.size < tag_min_size(tag.type) || tag.size > end - at)
            return kernel_refuse(vm, E_FORMAT, "Multiboot2: header tag %u has a size of %u bytes",
                                 tag.type, tag.size);
        int err = read_tag(vm, &tag, header);
        if (err)
            return err;
        at += align_up(tag.size, 8);
    }
    return kernel_refuse(vm, E_FORMAT, "Multiboot2: its header has no end tag");
}

static int layout_by_addresses(struct multiboot *mb, u64 header_offset, const struct header *header)
{
    const u8 *tag = header->addresses;
    struct layout_addresses a = {
        .header_offset = header_offset,
        .header = le32(tag + 8),
        .load = le32(tag + 12),
        .load_end = le32(tag + 16),
        .bss_end = le32(tag + 20),
    };

    if (!header->has_entry)
        return kernel_refuse(mb->vm, E_FORMAT, "Multiboot2: an address tag without an entry tag");
    if (a.load == LOAD_ADDR_FILE_START)
        a.load = a.header - header_offset;
    return layout_add_addresses(mb->vm, &mb->layout, &mb->boot->kernel, &a);
}

static int make_layout(struct multiboot *mb, u64 header_offset, const struct header *header)
{
    int err = header->addresses ? layout_by_addresses(mb, header_offset, header)
                                : elf_layout(mb->vm, &mb->boot->kernel, &mb->layout);
    if (err == OK && header->has_entry)
        mb->layout.entry = header->entry;
    return err;
}

// ---- boot information -------------------------------------------------------------------------

enum info_tag {
    INFO_END = 0,
    INFO_CMDLINE = 1,
    INFO_LOADER = 2,
    INFO_MODULE = 3,
    INFO_MEMORY = 4,
    INFO_MMAP = 6,
    INFO_ACPI_OLD = 14,
    INFO_ACPI_NEW = 15,
    INFO_LOAD_BASE = 21,
};

#define MMAP_ENTRY    24u
#define RSDP_SIZE_OLD 20u
#define RSDP_SIZE     36u

// A tag with size bytes behind type and size, which are written; gives those bytes.
static u8 *add_tag(struct multiboot *mb, u32 type, u32 size)
{
    u8 *tag = multiboot_take(mb, TAG_SIZE + size, 8, NULL);
    put_le32(tag, type);
    put_le32(tag + 4, TAG_SIZE + size);
    return tag + TAG_SIZE;
}

static void add_text(struct multiboot *mb, u32 type, const char *text)
{
    u32 size = (u32)strlen(text) + 1;
    memcpy(add_tag(mb, type, size), text, size);
}

static void add_module(struct multiboot *mb)
{
    u32 size = (u32)sizeof(MULTIBOOT_MODULE);
    u8 *data = add_tag(mb, INFO_MODULE, 8 + size);

    put_le32(data, (u32)mb->module_at);
    put_le32(data + 4, (u32)(mb->module_at + mb->boot->initrd.size));
    memcpy(data + 8, MULTIBOOT_MODULE, size);
}

static void add_memory(struct multiboot *mb)
{
    const struct pc_memory *memory = mb->boot->memory;
    u8 *data = add_tag(mb, INFO_MEMORY, 8);

    put_le32(data, MULTIBOOT_MEM_LOWER);
    put_le32(data + 4, multiboot_mem_upper(mb));

    data = add_tag(mb, INFO_MMAP, 8 + memory->nmap * MMAP_ENTRY);
    put_le32(data, MMAP_ENTRY);
    put_le32(data + 4, 0); // version
    for (unsigned i = 0; i < memory->nmap; i++)
        memcpy(data + 8 + i * MMAP_ENTRY, &memory->map[i], sizeof(memory->map[i]));
}

// Copies of the RSDP: as ACPI 1.0 knows it, and whole.
static void add_rsdp(struct multiboot *mb)
{
    const void *rsdp = mb->boot->rsdp.raw ? vm_ptr(mb->vm, mb->boot->rsdp, RSDP_SIZE) : NULL;
    if (!rsdp)
        return;
    memcpy(add_tag(mb, INFO_ACPI_OLD, RSDP_SIZE_OLD), rsdp, RSDP_SIZE_OLD);
    memcpy(add_tag(mb, INFO_ACPI_NEW, RSDP_SIZE), rsdp, RSDP_SIZE);
}

static void write_info(struct multiboot *mb, const struct header *header)
{
    u8 *fixed = multiboot_take(mb, 8, 8, NULL);

    add_text(mb, INFO_CMDLINE, mb->boot->cmdline);
    add_text(mb, INFO_LOADER, MULTIBOOT_LOADER);
    if (mb->module_at)
        add_module(mb);
    add_memory(mb);
    add_rsdp(mb);
    if (header->relocatable)
        put_le32(add_tag(mb, INFO_LOAD_BASE, 4), (u32)layout_start(&mb->layout));
    add_tag(mb, INFO_END, 0);
    put_le32(fixed, mb->used);
}

int multiboot2_load(struct vm *vm, const struct kernel_boot *boot, u64 header_offset,
                    struct guest_start *start)
{
    struct multiboot mb = {.vm = vm, .boot = boot};
    struct header header = {0};

    int err = read_header(vm, boot->kernel.data, header_offset, &header);
    if (err == OK)
        err = make_layout(&mb, header_offset, &header);
    if (err == OK)
        err = multiboot_place(&mb);
    if (err)
        return err;
    write_info(&mb, &header);
    multiboot_start(&mb, MULTIBOOT2_BOOTED, start);
    return OK;
}
