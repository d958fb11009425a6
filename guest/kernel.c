// SPDX-License-Identifier: MIT
#include "guest/kernel.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "guest/image.h"

int kernel_load(struct vm *vm, const struct kernel_boot *boot, struct guest_start *start)
{
    struct image image;

    int err = image_detect(boot->kernel.data, boot->kernel.size, &image);
    if (err) {
        log_error("vm %s: truncated: %llu bytes end inside the header of a %s", vm->name,
                  (unsigned long long)boot->kernel.size, image_format_name(image.format));
        return err;
    }
    if (image.format == FORMAT_BZIMAGE)
        return linux_load(vm, boot, start);
    log_error("vm %s: a %s cannot be loaded by this version", vm->name,
              image_format_name(image.format));
    return E_UNSUPP;
}
