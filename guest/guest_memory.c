// SPDX-License-Identifier: MIT
#include "guest/guest_memory.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"

// Bytes of RAM from gpa to the end of its region, at most size; 0 if it is not RAM.
static u64 piece(const struct vm *vm, gpa_t gpa, u64 size)
{
    const struct vm_ram *r = vm_find_ram(vm, gpa);
    u64 left = r ? r->size - (gpa.raw - r->gpa.raw) : 0;
    return left < size ? left : size;
}

bool guest_is_ram(const struct vm *vm, gpa_t gpa, u64 size)
{
    while (size) {
        u64 n = piece(vm, gpa, size);
        if (!n)
            return false;
        gpa.raw += n;
        size -= n;
    }
    return true;
}

int guest_write(struct vm *vm, gpa_t gpa, const void *data, u64 size)
{
    const u8 *from = data;

    if (!guest_is_ram(vm, gpa, size))
        return E_RANGE;
    while (size) {
        u64 n = piece(vm, gpa, size);
        memcpy(vm_ptr(vm, gpa, n), from, n);
        from += n;
        gpa.raw += n;
        size -= n;
    }
    return OK;
}

int guest_clear(struct vm *vm, gpa_t gpa, u64 size)
{
    if (!guest_is_ram(vm, gpa, size))
        return E_RANGE;
    while (size) {
        u64 n = piece(vm, gpa, size);
        memset(vm_ptr(vm, gpa, n), 0, n);
        gpa.raw += n;
        size -= n;
    }
    return OK;
}
