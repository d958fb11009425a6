// SPDX-License-Identifier: MIT
// Building 4-level page tables for the host: SDM volume 3, "4-Level Paging and 5-Level Paging".
// Pure: works on tables in memory and never touches CR3 or a TLB. Who takes a mapping away has
// every CPU forget it.
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/pte.h"

// All pages can be read by the supervisor; none by a user.
enum page_rights { PAGE_READ = 0, PAGE_WRITE = 1u << 0, PAGE_EXEC = 1u << 1 };

struct pagetable {
    hpa_t root; // the PML4
    struct frame_pool *pool;
    u64 table_limit; // tables lie below this host-physical address; 0: anywhere
    u64 phys_limit;  // first host-physical address past MAXPHYADDR
    bool nx;         // execute-disable is there and on
    bool leaf_1g;    // 1 GiB pages are there
    u32 tables;      // frames in use, the root included
};

// What one address is mapped to.
struct page_mapping {
    hpa_t at; // of this very address
    u64 size; // bytes of the page it lies in
    bool write;
    bool exec;
    enum mem_type type; // what its PAT entry says, with PAT_CORBEL
};

// Starts an empty table of a frame from pool. The other fields must be set by the caller before;
// the tables are reached through phys_ptr. E_NOMEM.
int pagetable_init(struct pagetable *pt);

// Maps [linear, linear+size) to [physical, physical+size) with the largest pages that alignment
// allows. type is WB, WT, UC or WC. All three numbers are multiples of 4 KiB. E_INVAL if one is
// not, or if rights or type are not among those; E_RANGE if the range is empty, wraps, is not
// canonical or passes MAXPHYADDR; E_EXIST if some of it is mapped already; E_NOMEM. The latter two
// leave what was mapped until then.
int pagetable_map(struct pagetable *pt, u64 linear, u64 physical, u64 size, unsigned rights,
                  enum mem_type type);

// Whether linear is mapped below root, and to what.
bool pagetable_lookup(hpa_t root, u64 linear, struct page_mapping *out);

// Takes 4 KiB pages out: [linear, linear+size), whole pages. E_NOENT at the first that is not
// mapped, or by a larger page; those before it are taken out.
int pagetable_withdraw(hpa_t root, u64 linear, u64 size);

// Lets 4 KiB pages that are mapped be written. E_NOENT as above.
int pagetable_make_writable(hpa_t root, u64 linear, u64 size);
