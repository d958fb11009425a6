// SPDX-License-Identifier: MIT
#include "guest/image.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "guest/abi.h"
#include "guest/le.h"

struct file {
    const u8 *data;
    u64 size;
};

static bool is_corbel(const struct file *file)
{
    u64 magic = GUEST_MAGIC;
    return file->size >= sizeof(magic) && memcmp(file->data, &magic, sizeof(magic)) == 0;
}

// ---- Linux ------------------------------------------------------------------------------------
// Offsets of the setup header: "The Real-Mode Kernel Header".
#define SETUP_SECTS  0x1f1u
#define BOOT_FLAG    0x1feu
#define SETUP_JUMP   0x201u // the second byte of a short jump over the header, hence its length
#define HEADER_MAGIC 0x202u
#define HEADER_START 0x1f1u
#define SECTOR       512u

static bool is_bzimage(const struct file *file)
{
    return file->size >= HEADER_MAGIC + 4 && file->data[BOOT_FLAG] == 0x55 &&
           file->data[BOOT_FLAG + 1] == 0xaa && memcmp(file->data + HEADER_MAGIC, "HdrS", 4) == 0;
}

static int bzimage(const struct file *file, struct image *image)
{
    u32 sectors = file->data[SETUP_SECTS];
    // 0 means 4, for what was there before the field; the boot sector comes on top.
    u64 setup_size = ((sectors ? sectors : 4) + 1) * SECTOR;
    image->header_offset = HEADER_START;
    image->header_size = HEADER_MAGIC + file->data[SETUP_JUMP] - HEADER_START;
    return file->size > setup_size ? OK : E_TRUNC;
}

// ---- Multiboot --------------------------------------------------------------------------------
#define MB1_MAGIC     0x1badb002u
#define MB1_SEARCH    8192u
#define MB1_ADDRESSES (1u << 16) // flag: address fields are there
#define MB1_VIDEO     (1u << 2)  // flag: video fields are there, behind the address fields
#define MB2_MAGIC     0xe85250d6u
#define MB2_SEARCH    32768u

// Where the 32-bit words of a header with this magic add up to 0; the file's size if nowhere.
static u64 find_header(const struct file *file, u64 search, u32 align, u32 magic, u32 words)
{
    u64 end = file->size < search ? file->size : search;
    for (u64 at = 0; at + words * 4 <= end; at += align) {
        u32 sum = 0;
        for (u32 i = 0; i < words; i++)
            sum += le32(file->data + at + i * 4);
        if (le32(file->data + at) == magic && sum == 0)
            return at;
    }
    return file->size;
}

static int multiboot2(const struct file *file, u64 at, struct image *image)
{
    image->header_offset = (u32)at;
    image->header_size = le32(file->data + at + 8);
    return image->header_size >= 16 && image->header_size <= file->size - at ? OK : E_TRUNC;
}

static int multiboot(const struct file *file, u64 at, struct image *image)
{
    u32 flags = le32(file->data + at + 4);
    image->header_offset = (u32)at;
    image->header_size = flags & MB1_VIDEO ? 48 : flags & MB1_ADDRESSES ? 32 : 12;
    return image->header_size <= file->size - at ? OK : E_TRUNC;
}

// ---- all --------------------------------------------------------------------------------------
#define ELF32_HEADER 52u

int image_detect(const void *data, u64 size, struct image *image)
{
    struct file file = {data, size};
    *image = (struct image){.format = FORMAT_FLAT};
    if (size == 0)
        return E_TRUNC;
    if (is_corbel(&file)) {
        image->format = FORMAT_CORBEL;
        return size >= sizeof(struct guest_image) ? OK : E_TRUNC;
    }
    if (is_bzimage(&file)) {
        image->format = FORMAT_BZIMAGE;
        return bzimage(&file, image);
    }
    image->elf = size >= 4 && memcmp(data, "\177ELF", 4) == 0;
    u64 at = find_header(&file, MB2_SEARCH, 8, MB2_MAGIC, 4);
    if (at < size) {
        image->format = FORMAT_MULTIBOOT2;
        return multiboot2(&file, at, image);
    }
    at = find_header(&file, MB1_SEARCH, 4, MB1_MAGIC, 3);
    if (at < size) {
        image->format = FORMAT_MULTIBOOT;
        return multiboot(&file, at, image);
    }
    if (image->elf) {
        image->format = FORMAT_ELF;
        return size >= ELF32_HEADER ? OK : E_TRUNC;
    }
    return OK;
}

const char *image_format_name(enum image_format format)
{
    static const char *const names[] = {
        [FORMAT_FLAT] = "flat image",
        [FORMAT_CORBEL] = "Corbel guest image",
        [FORMAT_BZIMAGE] = "bzImage",
        [FORMAT_MULTIBOOT] = "Multiboot kernel",
        [FORMAT_MULTIBOOT2] = "Multiboot2 kernel",
        [FORMAT_ELF] = "ELF without a Multiboot header",
    };
    return (unsigned)format < ARRAY_SIZE(names) ? names[format] : "unknown image";
}
