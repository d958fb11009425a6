// SPDX-License-Identifier: MIT
// Extended page tables: SDM volume 3, "The Extended Page Table Mechanism (EPT)".
//
// A struct ept is one guest-physical address space: four levels of tables, reached through
// phys_ptr. All functions that change it expect the owner to hold it alone (one lock a VM); the
// processors that run the guest may walk it at any time, so each entry is written with one store
// and a table is complete before it is linked. What is not mapped is an entry of exactly 0: no
// address is left in it for a speculative load to follow (L1 terminal fault).
//
// Caches of the hardware: ops.invalidate is called, before the function returns and before any
// table frame is given back, by every change that took a right away, changed a type or split a
// large leaf (SDM "Operations that Invalidate Cached Mappings"). Mapping what was not present and
// adding rights owe none; a processor may then still report one EPT violation that is no longer
// true, and its handler just enters again. It is called once for a request, more often only where
// one request frees more than EPT_RETIRE_BATCH tables.
#pragma once

#include "arch/x86_64/lib/frame.h"
#include "arch/x86_64/lib/types.h"
#include "arch/x86_64/regs/pte.h"
#include "ept/entry.h"

// What IA32_VMX_EPT_VPID_CAP says about EPT: SDM volume 3, "VPID and EPT Capabilities".
struct ept_caps {
    bool execute_only;   // bit 0
    bool walk_4;         // bit 6
    bool walk_5;         // bit 7
    bool tables_uc;      // bit 8
    bool tables_wb;      // bit 14
    bool large_2m;       // bit 16
    bool large_1g;       // bit 17
    bool invept;         // bit 20
    bool accessed_dirty; // bit 21
    bool violation_info; // bit 22: qualification bits 11:9 are defined
    bool shadow_stack;   // bit 23
    bool invept_single;  // bit 25
    bool invept_all;     // bit 26
};

struct ept_caps ept_caps_decode(u64 msr);

// The name of the first feature that Corbel cannot do without and this CPU lacks, or NULL.
const char *ept_caps_lacking(const struct ept_caps *caps);

// What the owner of an address space provides; all three are required.
struct ept_ops {
    // One 4 KiB frame of RAM below the physical-address width, its contents of no matter. A
    // negative error if there is none.
    int (*alloc_table)(void *ctx, hpa_t *out);
    void (*free_table)(void *ctx, hpa_t table);
    // INVEPT for this address space on every processor that ran it, done when it returns.
    void (*invalidate)(void *ctx);
};

struct ept_config {
    struct ept_caps caps;
    unsigned phys_bits; // MAXPHYADDR, 32 to 52
    // Executable pages are mapped by 4 KiB leaves only: on processors without
    // IA32_ARCH_CAPABILITIES.IF_PSCHANGE_MC_NO a guest that changes page sizes under its own feet
    // can wedge the CPU through an executable large page (iTLB multihit).
    bool no_large_exec;
    const struct ept_ops *ops;
    void *ctx;
};

struct ept_stats {
    u64 tables;               // frames held, the root among them
    u64 leaves[EPT_PDPT + 1]; // present now, by enum ept_level
    u64 writes;               // entries written since ept_init
    u64 splits;               // large leaves split since then
    u64 invalidations;        // calls of ops.invalidate since then
};

struct ept {
    struct ept_config config;
    u64 gpa_limit; // the end of the guest-physical addresses that can be mapped, bytes
    u64 hpa_limit; // 2^MAXPHYADDR
    hpa_t root;
    struct ept_stats stats;
};

// How a range is mapped. IPAT stays 0: the guest's PAT counts too.
struct ept_attr {
    u8 rights;   // enum ept_rights
    u8 type;     // enum mem_type, as the MTRRs give it for the host-physical address
    u8 max_leaf; // the largest leaf to use, enum ept_level; 0 = as large as it goes
};

#define EPT_RETIRE_BATCH 64u

// An empty address space. E_UNSUPP if the capabilities lack what ept_caps_lacking names, E_INVAL
// for a width outside 32-52, else the allocator's error.
MUST_CHECK int ept_init(struct ept *ept, const struct ept_config *config);

// Gives every table back, after one invalidation. No processor may be running it.
void ept_destroy(struct ept *ept);

// The EPT pointer for the VMCS: SDM volume 3, "Extended-Page-Table Pointer (EPTP)". Accessed and
// dirty flags stay off: with them each guest page walk counts as a write to its page tables.
u64 ept_eptp(const struct ept *ept);

// Maps [gpa, gpa+size) to [hpa, hpa+size), bytes, with the largest leaves that alignment, size, the
// capabilities and attr allow; the first 2 MiB of guest-physical addresses always with 4 KiB
// leaves, since fixed-range MTRRs can give each of those pages a type of its own. E_INVAL: size 0,
// misaligned, no rights, W without R, X alone where the CPU has no execute-only pages, a type that
// is none. E_RANGE: a byte at or above MAXPHYADDR or 2^48. E_EXIST: a byte is mapped already.
// E_NOMEM or what the allocator said. After an error nothing of the request is mapped and no table
// more is held than before.
MUST_CHECK int ept_map(struct ept *ept, gpa_t gpa, hpa_t hpa, u64 size, struct ept_attr attr);

// Unmaps [gpa, gpa+size), bytes, splitting large leaves at the ends; what is not mapped there is
// passed over. Tables left empty are freed. E_INVAL, E_RANGE as for ept_map; E_NOMEM if a split
// needs a table and there is none: then all is mapped as it was, perhaps with smaller leaves.
MUST_CHECK int ept_unmap(struct ept *ept, gpa_t gpa, u64 size);

// Gives all of [gpa, gpa+size) these rights, the type unchanged. E_NOENT if a byte of it is not
// mapped (nothing is changed), the other errors as for ept_unmap. Leaves are not merged again.
MUST_CHECK int ept_protect(struct ept *ept, gpa_t gpa, u64 size, unsigned rights);

// The same for the memory type, the rights unchanged.
MUST_CHECK int ept_retype(struct ept *ept, gpa_t gpa, u64 size, enum mem_type type);

// Where gpa leads, if it is mapped with all the rights in need (enum ept_rights): its host-physical
// address, and in left (if not NULL) the bytes from there to the end of its leaf. E_NOENT if it is
// not mapped, E_FAULT if it is with fewer rights; out is set then too.
MUST_CHECK int ept_translate(const struct ept *ept, gpa_t gpa, unsigned need, hpa_t *out,
                             u64 *left);

struct ept_leaf {
    gpa_t gpa;
    hpa_t hpa;
    u64 size; // bytes
    u8 level; // enum ept_level
    struct ept_attr attr;
};

// The leaf that contains from, else the next above it. false if there is none.
bool ept_next_leaf(const struct ept *ept, gpa_t from, struct ept_leaf *out);

enum ept_verdict { EPT_MAPPED, EPT_NOT_PRESENT, EPT_MISCONFIGURED };

// Why an entry is one that the hardware refuses: SDM volume 3, "EPT Misconfigurations".
enum ept_rule {
    EPT_RULE_NONE,
    EPT_RULE_WRITE_ONLY,   // W without R
    EPT_RULE_EXECUTE_ONLY, // X alone, which this CPU does not have
    EPT_RULE_RESERVED,     // a reserved bit of an entry that references a table
    EPT_RULE_WIDTH,        // an address bit at or above MAXPHYADDR
    EPT_RULE_LARGE,        // a page size that this CPU does not have
    EPT_RULE_ALIGN,        // a large page's address is not aligned to its size
    EPT_RULE_TYPE,         // memory type 2, 3 or 7
};

const char *ept_rule_name(enum ept_rule rule);

// The rule that a present entry of this level breaks, or EPT_RULE_NONE.
enum ept_rule ept_entry_check(const struct ept_config *config, u64 entry, unsigned level);

struct ept_walk {
    gpa_t gpa;
    u64 entries[EPT_PML4]; // as read, the PML4E first
    unsigned depth;        // how many were read; 0 if gpa is at or above the limit
    enum ept_verdict verdict;
    enum ept_rule rule; // EPT_MISCONFIGURED: what the last entry breaks
    u8 level;           // enum ept_level of the last entry read
    u8 rights;          // of all the entries together
    // EPT_MAPPED only:
    u8 type;
    bool ipat;
    hpa_t hpa; // where gpa itself leads
};

// The walk the hardware would do for gpa, with its verdict.
void ept_walk(const struct ept *ept, gpa_t gpa, struct ept_walk *out);

// ---- dumps -------------------------------------------------------------------------------------

// Receives one line, without a newline.
typedef void (*ept_line_fn)(void *ctx, const char *text);

// "UC", "WC", "WT", "WP", "WB", or "??".
const char *ept_type_name(unsigned type);

// One line a range that is mapped alike, then one with the totals.
void ept_dump(const struct ept *ept, ept_line_fn line, void *ctx);

// A walk's entries and its verdict: at most five lines.
void ept_dump_walk(const struct ept_walk *walk, ept_line_fn line, void *ctx);

// An EPT violation's qualification in words: SDM volume 3, "Exit Qualification for EPT Violations".
// Always terminates; returns the length the whole text would have.
int ept_violation_describe(char *buf, size_t size, u64 qualification);

// ---- identity maps -----------------------------------------------------------------------------

struct mtrr_state;

// A stretch of device memory that a guest is given as it is.
struct ept_window {
    struct mem_range range; // bytes, rounded outwards to pages
    u8 rights;              // enum ept_rights; devices are not executed
};

// A guest that sees the machine's own memory at the machine's own addresses.
struct ept_identity_map {
    const struct mem_range *ram; // sorted, disjoint; rounded inwards to pages
    unsigned nram;
    const struct ept_window *windows; // disjoint from RAM and each other
    unsigned nwindows;
    const struct mem_range *excluded; // Corbel's own, in any order; rounded outwards to pages
    unsigned nexcluded;
    hpa_t lapic; // this host's local APIC page, never mapped
    const struct mtrr_state *mtrr;
};

// Maps RAM with all rights and the windows with theirs, each with the type its MTRRs give, less
// what is excluded and the local APIC's page; everything else stays unmapped. Errors of ept_map,
// logged; the address space is then half built and fit for ept_destroy only.
MUST_CHECK int ept_identity(struct ept *ept, const struct ept_identity_map *what);

// A leaf that reaches memory it must not.
struct ept_offence {
    struct ept_leaf leaf;
    struct mem_range excluded;
};

// Goes through every leaf. E_EXIST, with the first offender, if a byte of an excluded range can be
// reached; a range's partial pages count, as leaves are whole ones.
MUST_CHECK int ept_verify_excluded(const struct ept *ept, const struct mem_range *excluded,
                                   unsigned n, struct ept_offence *first);
