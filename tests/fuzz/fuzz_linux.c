// SPDX-License-Identifier: MIT
// The bzImage loader on any setup header: the header's bytes are the input's, the magic as a rule
// right. What is accepted must fit the VM.
#include <stdlib.h>

#include "guest/guest_memory.h"
#include "guest/kernel.h"
#include "guest/le.h"
#include "tests/host/guest_ram.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define HEADER     0x1f1u
#define HEADER_END 0x290u
#define FILE_MAX   8192u
#define MEMORY     (24ull << 20)

static struct guest_ram g;

// A plausible file in the first bytes of which the input has its way.
static u64 make_file(u8 *file, const u8 **data, size_t *size)
{
    u64 length = FILE_MAX;

    memset(file, 0x90, FILE_MAX);
    memset(file + HEADER, 0, HEADER_END - HEADER);
    file[0x1f1] = 4;
    put_le32(file + 0x1f4, 0x100);
    put_le16(file + 0x206, 0x20f);
    file[0x211] = 1;
    put_le32(file + 0x22c, 0x7fffffff);
    put_le32(file + 0x230, 0x200000);
    file[0x234] = 1;
    put_le16(file + 0x236, 1);
    put_le32(file + 0x238, 255);
    put_le64(file + 0x258, 0x1000000);
    put_le32(file + 0x260, 0x100000);
    memcpy(file + 0x202, "HdrS", 4);
    // Patches: where, how much to add.
    while (*size >= 3 && (*data)[0] != 0xff) {
        file[HEADER + (*data)[0] % (HEADER_END - HEADER)] ^= (*data)[1];
        *data += 2;
        *size -= 2;
    }
    if (*size >= 3) {
        length = le16(*data + 1) % (FILE_MAX + 1);
        *data += 3;
        *size -= 3;
    }
    return length;
}

static void check(const struct kernel_boot *boot, const struct guest_start *start)
{
    u8 params[4096];

    CHECK(start->mode == IMAGE_LONG && start->gdt_size > start->ds);
    CHECK(start->rip >= 0x100200 && guest_is_ram(&g.vm, GPA(start->rip), 1));
    CHECK(guest_ram_read(&g, start->rsi, params, sizeof(params)));
    u64 initrd = le32(params + 0x218);
    CHECK(le32(params + 0x21c) == boot->initrd.size);
    if (boot->initrd.size) {
        CHECK(initrd % 4096 == 0 && initrd > start->rip);
        CHECK(initrd + boot->initrd.size <= g.memory.low_end);
        CHECK(guest_ram_holds(&g, initrd, boot->initrd.data, boot->initrd.size));
    }
    CHECK(guest_ram_holds(&g, le32(params + 0x228), boot->cmdline, strlen(boot->cmdline) + 1));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    u8 file[FILE_MAX];
    struct guest_start start;

    if (!g.arena)
        guest_ram_open(&g, MEMORY, 1 << 20);
    guest_ram_forget_log();
    u64 length = make_file(file, &data, &size);
    u8 *copy = malloc(length ? length : 1); // no longer, so that a byte too many is seen
    u8 *tail = malloc(size ? size : 1);
    CHECK(copy && tail);
    memcpy(copy, file, length);
    memcpy(tail, data, size);
    const struct kernel_boot boot = {
        .kernel = {copy, length},
        .initrd = {tail, size  },
        .cmdline = "quiet",
        .memory = &g.memory,
    };
    int err = linux_load(&g.vm, &boot, &start);
    if (err == OK)
        check(&boot, &start);
    else
        CHECK(strstr(guest_ram_log, "error: vm rig: kernel: "));
    free(copy);
    free(tail);
    return 0;
}
