// SPDX-License-Identifier: MIT
// Boot information of any bytes, then everything that is made of it: the map, the reserved ranges,
// the free ones and the pool.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "boot/mbi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touches_no(const struct mem_range *free, unsigned n, const struct mem_range *taken)
{
    for (unsigned i = 0; i < n; i++) {
        u64 end = taken->base + taken->size < taken->base ? ~0ull : taken->base + taken->size;
        CHECK(taken->size == 0 || end <= free[i].base ||
              taken->base >= free[i].base + free[i].size);
    }
}

static void use_memory(const struct boot_info *info)
{
    static struct memmap map;
    struct mem_range reserved[BOOT_RESERVED_MAX], ranges[FRAME_RANGES], pool;
    CHECK(memmap_build(&map, info->memory, info->nmemory) == 0);
    unsigned nreserved =
        boot_reserved(info, (struct mem_range){0x200000, 0x234567}, 0x10000, 0x9fc00, reserved);
    u64 lost;
    unsigned n = memmap_free(&map, reserved, nreserved, ranges, FRAME_RANGES, &lost);
    CHECK(n <= FRAME_RANGES && (lost == 0 || n == FRAME_RANGES));
    for (unsigned i = 0; i < nreserved; i++)
        touches_no(ranges, n, &reserved[i]);
    for (unsigned i = 0; i < info->nmemory; i++) {
        const struct mem_entry *entry = &info->memory[i];
        if (entry->type != MEM_USABLE)
            touches_no(ranges, n, &(struct mem_range){entry->base, entry->size});
    }
    if (memmap_carve(ranges, &n, FRAME_RANGES, 0x1000000, 0x434567, &pool) == 0)
        touches_no(ranges, n, &pool);
    CHECK(n <= FRAME_RANGES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct boot_info info;
    struct why why = {{0}};
    // With a right total size more of the input is reached; half of the inputs get one.
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    if (size >= 8 && data[7] & 1) {
        uint32_t total = (uint32_t)size;
        memcpy(copy, &total, sizeof(total));
    }
    int err = mbi_parse(copy, size, &info, &why);
    free(copy);
    CHECK((err != 0) == (why.text[0] != '\0'));
    if (!err)
        use_memory(&info);
    return 0;
}
