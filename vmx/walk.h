// SPDX-License-Identifier: MIT
// The guest's own paging, done by hand: from a guest-linear to a guest-physical address with the
// rights, reserved bits, accessed and dirty flags the CPU would see to. SDM volume 3, "Paging".
// 5-level paging and protection keys are not offered to guests and not walked.
#pragma once

#include "vmx/segment.h"

struct guest_paging {
    u64 cr0, cr3, cr4, efer, rflags;
    const u64 *pdptes; // PAE paging: the VMCS's four PDPTEs; NULL = read them where CR3 points
    u8 cpl;
    u8 maxphyaddr; // 32 to 52, the guest's CPUID.80000008H:EAX[7:0]
    bool page1gb;  // the guest's CPUID offers 1-GByte pages
};

// Guest-physical memory. Each gives OK or a negative error, which ends the walk and is returned.
struct guest_memory {
    void *ctx;
    // One aligned load of size bytes (4 or 8).
    int (*load)(void *ctx, gpa_t gpa, unsigned size, u64 *value);
    // One atomic compare-and-exchange of size bytes; E_EXIST if the memory is not old. NULL: walk
    // without touching accessed and dirty flags, as a debugger does.
    int (*exchange)(void *ctx, gpa_t gpa, unsigned size, u64 old, u64 new);
    // Copies within one page to the buffer, or from it if write is set. Only for walk_copy().
    int (*copy)(void *ctx, gpa_t gpa, void *buf, size_t size, bool write);
};

struct walk_result {
    gpa_t gpa;
    u64 page_size;      // bytes; PAGE_SIZE while paging is off
    struct event fault; // #PF, or #GP for an address that is not canonical
};

// Translates gva for an access of the given kind (enum access, CPL from paging). Accessed flags
// and, for a write, the dirty flag are set as the last step. E_FAULT: the guest takes out->fault.
// E_UNSUPP: 5-level paging. E_TIMEOUT: the tables kept changing underneath; run the guest's
// instruction again. Otherwise what the memory callbacks return.
MUST_CHECK int guest_walk(const struct guest_paging *paging, const struct guest_memory *memory,
                          gva_t gva, unsigned access, struct walk_result *out);

// Copies size bytes between buf and guest-linear memory, across pages; ACCESS_WRITE in access is
// towards the guest. A write that faults anywhere writes nothing; a read or fetch has *done bytes
// in buf when it faults, so a short instruction before a bad page can still be decoded. Errors as
// guest_walk().
MUST_CHECK int walk_copy(const struct guest_paging *paging, const struct guest_memory *memory,
                         gva_t gva, void *buf, size_t size, unsigned access, size_t *done,
                         struct event *fault);

// Reads the INSTRUCTION_LENGTH_MAX bytes at rip in cs into buf, or as many as can be: then E_FAULT,
// with *fault what fetching byte *done raises. Raise it only if the instruction does not end
// before.
MUST_CHECK int walk_fetch(const struct guest_paging *paging, const struct guest_memory *memory,
                          enum guest_mode mode, const struct guest_segment *cs, u64 rip, u8 *buf,
                          size_t *done, struct event *fault);
