// SPDX-License-Identifier: MIT
// A file without a header: its bytes go to 1 MiB, its first byte is its entry, and it is entered as
// a Multiboot kernel is, boot information included, so that a plain binary needs no more than an
// origin.
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "guest/multiboot.h"

// Anything might be code, but a file that starts like these was meant for something else, and a
// guest that runs off into it says nothing.
static const struct known {
    u32 offset;
    u32 size;
    const char *bytes;
    const char *what;
} known[] = {
    {0x202, 4, "HdrS",             "wrong magic: a Linux setup header, but no 55AAH at 1FEH"    },
    {0x1fe, 2, "\x55\xaa",         "wrong magic: a boot sector, but no Linux's \"HdrS\" at 202H"},
    {0,     2, "MZ",               "an EFI or DOS program, not a kernel that can be started"    },
    {0,     6, "070701",           "a cpio archive: an initial RAM disk rather than a kernel"   },
    {0,     2, "\x1f\x8b",         "a gzip file, not a kernel"                                  },
    {0,     6, "\xfd\x37zXZ\0",    "an xz file, not a kernel"                                   },
    {0,     4, "\x28\xb5\x2f\xfd", "a zstd file, not a kernel"                                  },
};

static int check_code(const struct vm *vm, const struct boot_file *file)
{
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        const struct known *k = &known[i];
        if (file->size >= k->offset + k->size &&
            memcmp(file->data + k->offset, k->bytes, k->size) == 0)
            return kernel_refuse(vm, E_FORMAT, "%s", k->what);
    }
    return OK;
}

int flat_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start)
{
    struct multiboot mb = {.vm = vm, .boot = boot, .layout = {.entry = PC_HIGH_RAM}};
    const struct layout_segment all = {
        .at = PC_HIGH_RAM,
        .memory_size = boot->kernel.size,
        .file_size = boot->kernel.size,
    };

    int err = check_code(vm, &boot->kernel);
    if (err == OK)
        err = layout_add(vm, &mb.layout, &boot->kernel, all);
    if (err == OK)
        err = multiboot_place(&mb);
    if (err)
        return err;
    multiboot1_write_info(&mb);
    multiboot_start(&mb, MULTIBOOT1_BOOTED, start);
    return OK;
}
