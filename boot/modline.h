// SPDX-License-Identifier: MIT
// What a boot module is: the line that the menu gives it, docs/boot.md "Modules".
#pragma once

#include "boot/why.h"

enum module_kind { MODULE_KERNEL, MODULE_INITRD, MODULE_FIRMWARE, MODULE_DISK };

#define VM_NAME_SIZE 16u // with its terminator

struct module_role {
    unsigned number; // 1 is the first module, as messages count
    enum module_kind kind;
    char vm[VM_NAME_SIZE];
    u64 mem;          // bytes of guest memory; kernel and firmware only
    unsigned cpus;    // kernel and firmware only
    const char *args; // the guest's command line, inside the line given; kernel only, else ""
};

#define VM_MEM_DEFAULT (256ull << 20)
#define VM_MEM_MIN     (1ull << 20)
#define VM_MEM_MAX     (1ull << 40)

// Reads the terminated line of module number. E_INVAL (E_UNSUPP for more CPUs than this version
// gives a VM) names in why the module, the word and what was expected.
MUST_CHECK int modline_parse(const char *line, unsigned number, struct module_role *role,
                             struct why *why);

// Whether n roles make whole VMs: each has one kernel or one firmware, at most one initrd and that
// only with a kernel, and no module belongs to a VM that is not there. E_INVAL (E_EXIST for what is
// there twice) names in why the module and the VM.
MUST_CHECK int modlines_check(const struct module_role *roles, unsigned n, struct why *why);
