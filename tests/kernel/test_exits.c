// SPDX-License-Identifier: MIT
// Exits that end a VM or that need both sides.
#include "arch/x86_64/lib/string.h"
#include "boot/lab.h"

SELFTEST(exits, triple_fault_stops_the_vm, NEEDS_VMX)
{
    static const u8 code[] = {0x0f, 0x0b}; // UD2 with no IDT
    struct lab lab;
    if (!lab_open(t, &lab, "triple"))
        return;
    if (lab_code(t, &lab, IMAGE_LONG, code, sizeof(code))) {
        lab_run(&lab);
        if (lab.vm->end != VM_END_TRIPLE_FAULT)
            selftest_fail(t, "%s: %s", vm_end_name(lab.vm->end), lab.vm->end_text);
    }
    lab_close(&lab);
}
