// SPDX-License-Identifier: MIT
#include "guest/kernel.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "guest/image.h"

int kernel_refuse(const struct vm *vm, int err, const char *format, ...)
{
    char text[200];
    va_list args;

    va_start(args, format);
    fmt_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_error("vm %s: kernel: %s", vm->name, text);
    return err;
}

int kernel_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start)
{
    struct image image;

    int err = image_detect(boot->kernel.data, boot->kernel.size, &image);
    if (err)
        return kernel_refuse(vm, err, "truncated: %llu bytes end inside the header of a %s",
                             (ull)boot->kernel.size, image_format_name(image.format));
    switch (image.format) {
    case FORMAT_BZIMAGE:
        return linux_load(vm, boot, start);
    case FORMAT_MULTIBOOT:
        return multiboot1_load(vm, boot, image.header_offset, start);
    case FORMAT_MULTIBOOT2:
        return multiboot2_load(vm, boot, image.header_offset, start);
    case FORMAT_FLAT:
        return flat_load(vm, boot, start);
    default:
        return kernel_refuse(vm, E_UNSUPP, "%s: not a kernel that can be started",
                             image_format_name(image.format));
    }
}
