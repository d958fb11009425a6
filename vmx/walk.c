// SPDX-License-Identifier: MIT
#include "vmx/walk.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/regs/pte.h"

#define LEVELS_MAX   4u
#define WALK_RETRIES 8u

// SDM volume 3, "Paging Modes and Control Bits".
struct paging_mode {
    u8 levels;
    u8 index_bits;
    u8 entry_size; // bytes
    u64 root_mask; // the address in CR3
};

static const struct paging_mode mode_32bit = {2, 10, 4, BITS(31, 12)};
static const struct paging_mode mode_pae = {3, 9, 8, BITS(31, 5)};
static const struct paging_mode mode_4level = {4, 9, 8, BITS(51, 12)};

struct walk_step {
    gpa_t gpa;
    u64 entry;
    bool has_flags; // a PAE PDPTE has neither rights nor an accessed flag
};

struct walk_state {
    const struct guest_paging *paging;
    const struct guest_memory *memory;
    const struct paging_mode *mode;
    u64 linear;
    unsigned access;
    bool user_access;
    // The rights of all levels together.
    bool user, writable, no_execute;
    struct walk_step steps[LEVELS_MAX]; // from the root
    unsigned nsteps;
};

static const struct paging_mode *mode_of(const struct guest_paging *paging)
{
    if (paging->efer & EFER_LMA)
        return &mode_4level;
    return paging->cr4 & CR4_PAE ? &mode_pae : &mode_32bit;
}

static bool nx_enabled(const struct walk_state *w)
{
    return w->mode != &mode_32bit && (w->paging->efer & EFER_NXE);
}

// SDM volume 3, "Page-Fault Exceptions". cause is PFEC_P, PFEC_P | PFEC_R or 0.
static int page_fault(const struct walk_state *w, u32 cause, struct walk_result *out)
{
    u32 code = cause;
    if (w->access & ACCESS_WRITE)
        code |= PFEC_W;
    if (w->user_access)
        code |= PFEC_U;
    if ((w->access & ACCESS_FETCH) && (nx_enabled(w) || (w->paging->cr4 & CR4_SMEP)))
        code |= PFEC_I;
    out->fault = event_page_fault(code, w->linear);
    return E_FAULT;
}

static bool maps_page(const struct walk_state *w, unsigned level, u64 entry)
{
    if (level == 1)
        return true;
    if (!(entry & PTE_PS))
        return false;
    if (level == 2)
        return w->mode != &mode_32bit || (w->paging->cr4 & CR4_PSE);
    return level == 3 && w->mode == &mode_4level && w->paging->page1gb;
}

static u64 reserved_32bit(const struct walk_state *w, unsigned level, bool page)
{
    if (level == 1 || !page)
        return 0;
    // PSE-36: bits 20:13 hold address bits 39:32, as many as the CPU has.
    unsigned width = w->paging->maxphyaddr < 40 ? w->paging->maxphyaddr : 40;
    return BITS(21, width - 19);
}

// The bits that must be 0 in a present entry. SDM volume 3, "PAE Paging" and "4-Level Paging and
// 5-Level Paging", the figures of the entries' formats.
static u64 reserved_bits(const struct walk_state *w, unsigned level, bool page)
{
    if (w->mode == &mode_32bit)
        return reserved_32bit(w, level, page);
    unsigned width = w->paging->maxphyaddr;
    if (w->mode == &mode_pae && level == 3)
        return BITS(63, width) | BITS(2, 1) | BITS(8, 5);

    u64 reserved = BITS(w->mode == &mode_pae ? 62 : 51, width);
    if (!nx_enabled(w))
        reserved |= PTE_NX;
    if (page && level > 1)
        reserved |= BITS(level == 2 ? 20 : 29, 13);
    if (!page && level > 2)
        reserved |= PTE_PS;
    return reserved;
}

static u64 page_base(const struct walk_state *w, unsigned level, u64 entry, unsigned shift)
{
    if (w->mode == &mode_32bit && level == 2)
        return (entry & BITS(31, 22)) | bits_get(entry, 20, 13) << 32;
    return entry & BITS(51, shift);
}

static int load_entry(struct walk_state *w, unsigned level, u64 table, u64 index)
{
    struct walk_step *step = &w->steps[w->nsteps++];
    step->gpa = GPA(table + index * w->mode->entry_size);
    step->has_flags = !(w->mode == &mode_pae && level == 3);
    if (!step->has_flags && w->paging->pdptes) {
        step->entry = w->paging->pdptes[index];
        return OK;
    }
    return w->memory->load(w->memory->ctx, step->gpa, w->mode->entry_size, &step->entry);
}

static void combine_rights(struct walk_state *w, u64 entry)
{
    w->user &= (entry & PTE_U) != 0;
    w->writable &= (entry & PTE_W) != 0;
    w->no_execute |= (entry & PTE_NX) != 0;
}

// From the root down to the entry that maps the page.
static int descend(struct walk_state *w, struct walk_result *out)
{
    u64 table = w->paging->cr3 & w->mode->root_mask;
    for (unsigned level = w->mode->levels;; level--) {
        unsigned shift = PAGE_SHIFT + w->mode->index_bits * (level - 1);
        u64 index = bits_get(w->linear, shift + w->mode->index_bits - 1, shift);
        int err = load_entry(w, level, table, index);
        if (err < 0)
            return err;
        const struct walk_step *step = &w->steps[w->nsteps - 1];
        bool page = maps_page(w, level, step->entry);
        if (!(step->entry & PTE_P))
            return page_fault(w, 0, out);
        if (step->entry & reserved_bits(w, level, page))
            return page_fault(w, PFEC_P | PFEC_R, out);
        if (step->has_flags)
            combine_rights(w, step->entry);
        if (page) {
            out->page_size = BIT(shift);
            out->gpa =
                GPA(page_base(w, level, step->entry, shift) | (w->linear & (BIT(shift) - 1)));
            return OK;
        }
        table = step->entry & BITS(51, 12);
    }
}

// SDM volume 3, "Determination of Access Rights".
static bool access_allowed(const struct walk_state *w)
{
    const struct guest_paging *paging = w->paging;
    bool write = w->access & ACCESS_WRITE;
    if (w->access & ACCESS_FETCH) {
        if (nx_enabled(w) && w->no_execute)
            return false;
        return w->user_access ? w->user : !(w->user && (paging->cr4 & CR4_SMEP));
    }
    if (w->user_access)
        return w->user && (!write || w->writable);
    bool overrides_smap = !(w->access & ACCESS_IMPLICIT) && (paging->rflags & RFLAGS_AC);
    if (w->user && (paging->cr4 & CR4_SMAP) && !overrides_smap)
        return false;
    return !write || w->writable || !(paging->cr0 & CR0_WP);
}

// Sets the accessed flag in each entry used and the dirty flag in the last. E_EXIST if one of them
// is no longer what was walked.
static int set_flags(const struct walk_state *w)
{
    for (unsigned i = 0; i < w->nsteps; i++) {
        const struct walk_step *step = &w->steps[i];
        u64 flagged = step->entry | PTE_A;
        if (i + 1 == w->nsteps && (w->access & ACCESS_WRITE))
            flagged |= PTE_D;
        if (!step->has_flags || flagged == step->entry)
            continue;
        int err = w->memory->exchange(w->memory->ctx, step->gpa, w->mode->entry_size, step->entry,
                                      flagged);
        if (err < 0)
            return err;
    }
    return OK;
}

static int walk_once(struct walk_state *w, struct walk_result *out)
{
    w->user = w->writable = true;
    w->no_execute = false;
    w->nsteps = 0;
    int err = descend(w, out);
    if (err < 0)
        return err;
    if (!access_allowed(w))
        return page_fault(w, PFEC_P, out);
    return w->memory->exchange ? set_flags(w) : OK;
}

int guest_walk(const struct guest_paging *paging, const struct guest_memory *memory, gva_t gva,
               unsigned access, struct walk_result *out)
{
    *out = (struct walk_result){.page_size = PAGE_SIZE};
    bool long_mode = paging->efer & EFER_LMA;
    u64 linear = long_mode ? gva.raw : (u32)gva.raw;
    if (!(paging->cr0 & CR0_PG)) {
        out->gpa = GPA(linear);
        return OK;
    }
    if (long_mode && (paging->cr4 & CR4_LA57))
        return E_UNSUPP;
    if (!is_canonical(linear)) {
        out->fault = event_exception(VEC_GP, 0);
        return E_FAULT;
    }
    struct walk_state w = {
        .paging = paging,
        .memory = memory,
        .mode = mode_of(paging),
        .linear = linear,
        .access = access,
        .user_access = paging->cpl == 3 && !(access & ACCESS_IMPLICIT),
    };
    // Another CPU of the guest may edit an entry between its load and its flags.
    for (unsigned i = 0; i < WALK_RETRIES; i++) {
        int err = walk_once(&w, out);
        if (err != E_EXIST)
            return err;
    }
    return E_TIMEOUT;
}

// How much of size starting at gva lies in its 4-KByte page.
static size_t page_part(gva_t gva, size_t size)
{
    size_t room = PAGE_SIZE - (size_t)(gva.raw & (PAGE_SIZE - 1));
    return size < room ? size : room;
}

static int walk_all(const struct guest_paging *paging, const struct guest_memory *memory, gva_t gva,
                    size_t size, unsigned access, struct event *fault)
{
    while (size) {
        struct walk_result page;
        int err = guest_walk(paging, memory, gva, access, &page);
        *fault = page.fault;
        if (err < 0)
            return err;
        size_t part = page_part(gva, size);
        gva.raw += part;
        size -= part;
    }
    return OK;
}

int walk_copy(const struct guest_paging *paging, const struct guest_memory *memory, gva_t gva,
              void *buf, size_t size, unsigned access, size_t *done, struct event *fault)
{
    bool write = access & ACCESS_WRITE;
    *done = 0;
    *fault = (struct event){0};
    if (write && page_part(gva, size) != size) {
        int err = walk_all(paging, memory, gva, size, access, fault);
        if (err < 0)
            return err;
    }
    while (*done < size) {
        struct walk_result page;
        gva_t at = GVA(gva.raw + *done);
        int err = guest_walk(paging, memory, at, access, &page);
        *fault = page.fault;
        if (err < 0)
            return err;
        size_t part = page_part(at, size - *done);
        err = memory->copy(memory->ctx, page.gpa, (u8 *)buf + *done, part, write);
        if (err < 0)
            return err;
        *done += part;
    }
    return OK;
}

// How many of the bytes at rip, which is within the limit, are; 64-bit mode has no limit.
static size_t fetchable(enum guest_mode mode, const struct guest_segment *cs, u64 rip)
{
    u64 room = cs->limit - rip + 1;
    if (mode == GUEST_64BIT || room >= INSTRUCTION_LENGTH_MAX)
        return INSTRUCTION_LENGTH_MAX;
    return (size_t)room;
}

int walk_fetch(const struct guest_paging *paging, const struct guest_memory *memory,
               enum guest_mode mode, const struct guest_segment *cs, u64 rip, u8 *buf, size_t *done,
               struct event *fault)
{
    u64 linear;
    *done = 0;
    int err = segment_linear(mode, SEG_CS, cs, rip, 1, ACCESS_FETCH, &linear, fault);
    if (err < 0)
        return err;
    size_t size = fetchable(mode, cs, rip);
    err = walk_copy(paging, memory, GVA(linear), buf, size, ACCESS_FETCH, done, fault);
    if (err < 0 || size == INSTRUCTION_LENGTH_MAX)
        return err;
    *fault = event_exception(VEC_GP, 0);
    return E_FAULT;
}
