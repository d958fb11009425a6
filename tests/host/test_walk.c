// SPDX-License-Identifier: MIT
// The guest page walk against an oracle written here from the SDM: every combination of rights at
// every level with every kind of access and every control bit; every reserved bit one by one;
// random trees for the addresses. Then the helpers built on it, and segmentation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/pte.h"
#include "vmx/walk.h"

// ---- guest memory: a few cells at any guest-physical address ----------------------------------

#define CELLS 16u

struct cell {
    u64 gpa;
    u64 value;
};

struct memory {
    struct cell cells[CELLS];
    unsigned count;
    unsigned loads, exchanges;
    unsigned width; // what the entries' size must be
    int fail_load;  // an error every load gives
    unsigned spoil; // so many exchanges find the entry changed
};

static struct cell *find(struct memory *m, u64 gpa)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->cells[i].gpa == gpa)
            return &m->cells[i];
    return NULL;
}

static void put(struct memory *m, u64 gpa, u64 value)
{
    m->cells[m->count++] = (struct cell){gpa, value};
}

static int load(void *ctx, gpa_t gpa, unsigned size, u64 *value)
{
    struct memory *m = ctx;
    struct cell *cell = find(m, gpa.raw);
    m->loads++;
    if (m->fail_load)
        return m->fail_load;
    if (!cell || size != m->width)
        fail_msg("load of %u at %llx", size, (unsigned long long)gpa.raw);
    *value = cell->value;
    return OK;
}

static int exchange(void *ctx, gpa_t gpa, unsigned size, u64 old, u64 new)
{
    struct memory *m = ctx;
    struct cell *cell = find(m, gpa.raw);
    m->exchanges++;
    if (m->spoil) {
        m->spoil--;
        return E_EXIST;
    }
    if (!cell || size != m->width || cell->value != old)
        fail_msg("exchange of %u at %llx", size, (unsigned long long)gpa.raw);
    cell->value = new;
    return OK;
}

static struct guest_memory interface_of(struct memory *m)
{
    return (struct guest_memory){.ctx = m, .load = load, .exchange = exchange};
}

// ---- a tree of one path -----------------------------------------------------------------------

enum mode { TWO_LEVEL, PAE, FOUR_LEVEL };

static const unsigned levels_of[] = {2, 3, 4};

// A path to one page: entries[1] is the last level's, as in the SDM's numbering from the page up.
struct path {
    enum mode mode;
    unsigned last; // the level that maps the page: 1, or 2 or 3 for a large one
    u64 linear;
    u64 entries[5];
    u64 addrs[5]; // guest-physical addresses of the entries
    u64 frame;    // where the page is
};

// Bits of each level's index, as a table: the SDM's "Linear-Address Translation" figures.
static unsigned index_of(enum mode mode, unsigned level, u64 linear)
{
    if (mode == TWO_LEVEL)
        return (unsigned)(level == 2 ? linear >> 22 & 0x3ff : linear >> 12 & 0x3ff);
    if (mode == PAE && level == 3)
        return (unsigned)(linear >> 30 & 3);
    static const unsigned shift[] = {0, 12, 21, 30, 39};
    return (unsigned)(linear >> shift[level] & 0x1ff);
}

static u64 page_size_of(enum mode mode, unsigned last)
{
    static const u64 sizes[] = {0, 4096, 2 << 20, 1 << 30};
    return mode == TWO_LEVEL && last == 2 ? 4 << 20 : sizes[last];
}

static u64 link_of(const struct path *p, unsigned level, u64 target)
{
    if (p->mode == TWO_LEVEL && level == 2 && p->last == 2)
        return (target & 0xffc00000) | (target >> 32 & 0xff) << 13;
    return target;
}

// Gives the entries their addresses; flags[level] are the bits besides.
static void build(struct path *p, struct guest_paging *g, struct memory *m, const u64 *tables,
                  const u64 *flags)
{
    m->count = 0;
    m->width = p->mode == TWO_LEVEL ? 4 : 8;
    unsigned top = levels_of[p->mode];
    g->cr3 = tables[top];
    for (unsigned level = top; level >= p->last; level--) {
        p->addrs[level] = tables[level] + index_of(p->mode, level, p->linear) * m->width;
        u64 target = level == p->last ? p->frame : tables[level - 1];
        p->entries[level] = link_of(p, level, target) | flags[level];
        put(m, p->addrs[level], p->entries[level]);
    }
}

static struct guest_paging paging_for(enum mode mode)
{
    return (struct guest_paging){
        .cr0 = CR0_PE | CR0_PG,
        .cr4 = CR4_PSE | (mode == TWO_LEVEL ? 0 : CR4_PAE),
        .efer = mode == FOUR_LEVEL ? EFER_LME | EFER_LMA : 0,
        .maxphyaddr = 40,
        .page1gb = true,
    };
}

// ---- the oracle for rights --------------------------------------------------------------------

struct combined {
    bool user, write, nx;
};

static u32 oracle_code(const struct guest_paging *g, enum mode mode, unsigned access, u32 cause)
{
    bool user = g->cpl == 3 && !(access & ACCESS_IMPLICIT);
    bool fetch_shown = (g->cr4 & CR4_SMEP) || (mode != TWO_LEVEL && (g->efer & EFER_NXE));
    return cause | (access & ACCESS_WRITE ? 2 : 0) | (user ? 4 : 0) |
           ((access & ACCESS_FETCH) && fetch_shown ? 16 : 0);
}

// SDM, "Determination of Access Rights", sentence by sentence.
static bool oracle_allows(const struct guest_paging *g, enum mode mode, unsigned access,
                          struct combined r)
{
    bool nxe = mode != TWO_LEVEL && (g->efer & EFER_NXE), wp = g->cr0 & CR0_WP;
    bool smap = g->cr4 & CR4_SMAP, smep = g->cr4 & CR4_SMEP, ac = g->rflags & RFLAGS_AC;
    bool implicit = access & ACCESS_IMPLICIT;
    if (g->cpl == 3 && !implicit) { // user-mode accesses
        if (!r.user)
            return false; // to supervisor-mode addresses
        if (access & ACCESS_FETCH)
            return !nxe || !r.nx;
        if (access & ACCESS_WRITE)
            return r.write;
        return true;
    }
    if (access & ACCESS_FETCH) {
        if (r.user && smep)
            return false;
        return !nxe || !r.nx;
    }
    bool smap_ok = !r.user || !smap || (ac && !implicit);
    if (access & ACCESS_WRITE)
        return smap_ok && (!wp || r.write);
    return smap_ok;
}

static const unsigned kinds[] = {ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH,
                                 ACCESS_READ | ACCESS_IMPLICIT, ACCESS_WRITE | ACCESS_IMPLICIT};

static void expect_flags(const struct path *p, struct memory *m, bool success, bool write)
{
    for (unsigned level = levels_of[p->mode]; level >= p->last; level--) {
        u64 want = p->entries[level];
        if (success && !(p->mode == PAE && level == 3))
            want |= 0x20 | (write && level == p->last ? 0x40 : 0);
        u64 got = find(m, p->addrs[level])->value;
        if (got != want)
            fail_msg("level %u: entry %llx, not %llx", level, (unsigned long long)got,
                     (unsigned long long)want);
    }
}

static void expect_fault(const struct path *p, const struct walk_result *r, int err, u32 code)
{
    if (err != E_FAULT || !r->fault.valid || r->fault.vector != 14 || r->fault.type != 3 ||
        r->fault.error_code != code || !r->fault.has_cr2 || r->fault.cr2 != p->linear)
        fail_msg("mode %u last %u: err %d vector %u code %x, not %x", p->mode, p->last, err,
                 r->fault.vector, r->fault.error_code, code);
}

static void expect_page(const struct path *p, const struct walk_result *r, int err)
{
    u64 size = page_size_of(p->mode, p->last);
    u64 gpa = p->frame | (p->linear & (size - 1));
    if (err != OK || r->fault.valid || r->gpa.raw != gpa || r->page_size != size)
        fail_msg("mode %u last %u: err %d gpa %llx, not %llx", p->mode, p->last, err,
                 (unsigned long long)r->gpa.raw, (unsigned long long)gpa);
}

static void try_access(const struct guest_paging *g, struct path *p, struct memory *m,
                       unsigned access, bool present, struct combined rights)
{
    for (unsigned i = 0; i < m->count; i++) // as built
        m->cells[i].value = p->entries[levels_of[p->mode] - i];
    struct guest_memory memory = interface_of(m);
    struct walk_result r;
    int err = guest_walk(g, &memory, GVA(p->linear), access, &r);
    bool allowed = present && oracle_allows(g, p->mode, access, rights);
    if (allowed)
        expect_page(p, &r, err);
    else
        expect_fault(p, &r, err, oracle_code(g, p->mode, access, present ? 1 : 0));
    expect_flags(p, m, allowed, access & ACCESS_WRITE);
}

// All control bits and accesses for the tree as it stands.
static void try_all_accesses(struct guest_paging g, struct path *p, struct memory *m, bool present,
                             struct combined rights)
{
    u64 cr4 = g.cr4, efer = g.efer, cr0 = g.cr0;
    for (unsigned c = 0; c < 64; c++) {
        g.cr0 = cr0 | (c & 1 ? CR0_WP : 0);
        g.cr4 = cr4 | (c & 2 ? CR4_SMEP : 0) | (c & 4 ? CR4_SMAP : 0);
        g.efer = efer | (c & 8 ? EFER_NXE : 0);
        g.rflags = RFLAGS_FIXED | (c & 16 ? RFLAGS_AC : 0);
        g.cpl = c & 32 ? 3 : 0;
        // A set NX bit is reserved without NXE: tried by the reserved-bit test.
        if (rights.nx && !(g.efer & EFER_NXE))
            continue;
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
            try_access(&g, p, m, kinds[k], present, rights);
    }
}

// Bit n of levels: P, W, U and NX, four a level.
static void try_rights(enum mode mode, unsigned last, unsigned bits)
{
    static const u64 tables[] = {0, 0x11000, 0x12000, 0x13000, 0x14000};
    struct path p = {.mode = mode, .last = last, .linear = 0x40201abc, .frame = 0x80000000};
    struct guest_paging g = paging_for(mode);
    struct memory m = {0};
    struct combined rights = {true, true, false};
    u64 flags[5] = {0};
    bool present = true;
    for (unsigned level = levels_of[mode]; level >= last; level--, bits >>= 4) {
        bool pdpte = mode == PAE && level == 3;
        flags[level] = bits & 1 ? PTE_P : 0;
        present &= bits & 1;
        if (level == last && last > 1)
            flags[level] |= PTE_PS;
        if (pdpte)
            continue; // no rights of its own
        flags[level] |= (bits & 2 ? PTE_W : 0) | (bits & 4 ? PTE_U : 0) | (bits & 8 ? PTE_NX : 0);
        rights.write &= bits >> 1 & 1;
        rights.user &= bits >> 2 & 1;
        rights.nx |= bits >> 3 & 1;
    }
    if (mode == TWO_LEVEL) { // bit 63 does not exist
        for (unsigned level = 1; level <= 2; level++)
            flags[level] &= ~PTE_NX;
        rights.nx = false;
    }
    build(&p, &g, &m, tables, flags);
    try_all_accesses(g, &p, &m, present, rights);
}

static void every_combination_of_rights(void **state)
{
    (void)state;
    static const struct {
        enum mode mode;
        unsigned last, levels;
    } shapes[] = {
        {TWO_LEVEL,  1, 2},
        {TWO_LEVEL,  2, 1},
        {PAE,        1, 3},
        {PAE,        2, 2},
        {FOUR_LEVEL, 1, 4},
        {FOUR_LEVEL, 2, 3},
        {FOUR_LEVEL, 3, 2}
    };
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
        for (unsigned bits = 0; bits < 1u << 4 * shapes[i].levels; bits++)
            try_rights(shapes[i].mode, shapes[i].last, bits);
}

// ---- reserved bits ----------------------------------------------------------------------------

// The SDM's tables "Format of a ... Entry", as ranges that must be 0. width is MAXPHYADDR.
static bool oracle_reserved(enum mode mode, unsigned level, bool page, unsigned bit, unsigned width,
                            bool nxe, bool page1gb)
{
    if (mode == TWO_LEVEL) {
        unsigned m = width < 40 ? width : 40;
        return level == 2 && page && bit <= 21 && bit >= m - 19;
    }
    if (mode == PAE && level == 3)
        return bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= width;
    if (bit == 63)
        return !nxe;
    if (bit >= width && (mode == PAE || bit <= 51))
        return true;
    if (bit == 7 && (level == 4 || (level == 3 && !page1gb)))
        return true;
    if (page && level == 3)
        return bit >= 13 && bit <= 29;
    return page && level == 2 && bit >= 13 && bit <= 20;
}

// Sets one bit in one level's entry: a reserved one faults with RSVD, any other does not.
static void try_bit(struct path p, struct guest_paging g, unsigned level, unsigned bit)
{
    static const u64 tables[] = {0, 0x11000, 0x12000, 0x13000, 0x14000};
    u64 flags[5] = {0};
    struct memory m = {0};
    for (unsigned l = p.last; l <= levels_of[p.mode]; l++)
        flags[l] = PTE_P | (p.mode == PAE && l == 3 ? 0 : PTE_W | PTE_U);
    if (p.last > 1)
        flags[p.last] |= PTE_PS;
    build(&p, &g, &m, tables, flags);
    struct cell *cell = find(&m, p.addrs[level]);
    cell->value ^= 1ull << bit;
    bool page = level == p.last;
    bool want =
        oracle_reserved(p.mode, level, page, bit, g.maxphyaddr, g.efer & EFER_NXE, g.page1gb);

    // An address bit leads elsewhere: give all of memory there.
    struct guest_memory memory = interface_of(&m);
    struct walk_result r;
    bool link = !page && bit >= 12 && bit < 52 && !want && !(p.mode == TWO_LEVEL && bit >= 32);
    if (link || bit == 0)
        return; // other tests' business
    if (bit == 7 && level > 1 && page)
        return; // no large page any more
    if (bit == 7 && !page && !want && (level == 2 || level == 3))
        return; // a large page now
    int err = guest_walk(&g, &memory, GVA(p.linear), ACCESS_WRITE, &r);
    if (want)
        expect_fault(&p, &r, err, oracle_code(&g, p.mode, ACCESS_WRITE, 1 | 8));
    else if (err != OK && !(err == E_FAULT && r.fault.error_code == 3 && (bit == 1 || bit == 63)))
        fail_msg("mode %u last %u level %u bit %u: err %d code %x", p.mode, p.last, level, bit, err,
                 r.fault.error_code);
}

static void every_reserved_bit(void **state)
{
    (void)state;
    static const u8 widths[] = {32, 36, 39, 40, 46, 52};
    for (unsigned mode = TWO_LEVEL; mode <= FOUR_LEVEL; mode++)
        for (unsigned last = 1; last <= (mode == FOUR_LEVEL ? 3u : 2u); last++)
            for (unsigned n = 0; n < 64 * 4 * ARRAY_SIZE(widths) * 4; n++) {
                unsigned bit = n & 63, level = (n >> 6 & 3) + 1, flags = n >> 8 & 3;
                struct guest_paging g = paging_for(mode);
                g.maxphyaddr = widths[n >> 10];
                g.efer |= flags & 1 ? EFER_NXE : 0;
                g.cr0 |= CR0_WP;
                g.page1gb = last == 3 || (flags & 2);
                struct path p = {.mode = mode, .last = last, .linear = 0x40201abc, .frame = 0};
                if (level < last || level > levels_of[mode] || (mode == TWO_LEVEL && bit > 31))
                    continue;
                try_bit(p, g, level, bit);
            }
}

// An entry that is not present means nothing else.
static void not_present_has_no_reserved_bits(void **state)
{
    (void)state;
    static const u64 tables[] = {0, 0x11000, 0x12000, 0x13000, 0x14000};
    for (unsigned level = 1; level <= 4; level++) {
        struct path p = {.mode = FOUR_LEVEL, .last = 1, .linear = 0x1000, .frame = 0x5000};
        struct guest_paging g = paging_for(FOUR_LEVEL);
        struct memory m = {0};
        u64 flags[5] = {0, PTE_P, PTE_P, PTE_P, PTE_P};
        flags[level] = ~PTE_P;
        build(&p, &g, &m, tables, flags);
        struct guest_memory memory = interface_of(&m);
        struct walk_result r;
        expect_fault(&p, &r, guest_walk(&g, &memory, GVA(p.linear), ACCESS_READ, &r), 0);
    }
}

static void large_page_without_its_feature(void **state)
{
    (void)state;
    static const u64 tables[] = {0, 0x11000, 0x12000, 0x13000, 0x14000};
    struct memory m = {0};
    struct guest_memory memory = interface_of(&m);
    struct walk_result r;
    u64 flags[5] = {0, PTE_P, PTE_P | PTE_PS, PTE_P, PTE_P};

    // 32-bit paging without CR4.PSE: bit 7 of a PDE is ignored.
    struct path p = {.mode = TWO_LEVEL, .last = 1, .linear = 0x12345678, .frame = 0x7000};
    struct guest_paging g = paging_for(TWO_LEVEL);
    g.cr4 = 0;
    build(&p, &g, &m, tables, flags);
    expect_page(&p, &r, guest_walk(&g, &memory, GVA(p.linear), ACCESS_READ, &r));

    // PAE paging does not ask for it.
    struct path pae = {.mode = PAE, .last = 2, .linear = 0x12345678, .frame = 0x600000};
    struct guest_paging gp = paging_for(PAE);
    gp.cr4 = CR4_PAE;
    build(&pae, &gp, &m, tables, flags);
    expect_page(&pae, &r, guest_walk(&gp, &memory, GVA(pae.linear), ACCESS_READ, &r));

    // A 1-GByte page that the CPU does not have.
    struct path gb = {.mode = FOUR_LEVEL, .last = 3, .linear = 0x12345678, .frame = 0};
    struct guest_paging gg = paging_for(FOUR_LEVEL);
    gg.page1gb = false;
    flags[3] |= PTE_PS;
    build(&gb, &gg, &m, tables, flags);
    expect_fault(&gb, &r, guest_walk(&gg, &memory, GVA(gb.linear), ACCESS_READ, &r),
                 PFEC_P | PFEC_R);
}

// ---- addresses --------------------------------------------------------------------------------

static u64 random64(void)
{
    static u64 x = 0x9e3779b97f4a7c15;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static void random_trees(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 200000; n++) {
        enum mode mode = n % 3;
        unsigned last = (unsigned)(random64() % (mode == FOUR_LEVEL ? 3 : 2)) + 1;
        struct guest_paging g = paging_for(mode);
        g.maxphyaddr = (u8)(32 + random64() % 21);
        u64 tables[5], flags[5];
        u64 mask = mode == TWO_LEVEL ? 0xfffff000 : ((1ull << g.maxphyaddr) - 1) & ~0xfffull;
        for (unsigned level = 1; level <= 4; level++) {
            tables[level] = ((random64() & mask) & ~0xf000ull) | level << 12; // none twice
            flags[level] = PTE_P | (level == last && last > 1 ? PTE_PS : 0);
            if (mode != PAE || level != 3)
                flags[level] |= random64() & (PTE_W | PTE_U | PTE_A | PTE_D | 0xe18);
        }
        if (mode == PAE) {
            tables[3] = (random64() & 0xfffffe00) | (random64() & 0x1e0);
            tables[3] = (tables[3] & ~0xf000ull) | 0x3000;
        }
        u64 size = page_size_of(mode, last);
        struct path p = {.mode = mode, .last = last, .linear = random64()};
        p.linear = mode == FOUR_LEVEL ? (u64)((s64)(p.linear << 16) >> 16) : (u32)p.linear;
        unsigned frame_width = mode != TWO_LEVEL   ? g.maxphyaddr
                               : last == 1         ? 32
                               : g.maxphyaddr > 40 ? 40
                                                   : g.maxphyaddr;
        p.frame = random64() & ((1ull << frame_width) - 1) & ~(size - 1);
        struct memory m = {0};
        build(&p, &g, &m, tables, flags);
        g.cr3 |= mode == PAE ? random64() & 0x1f : random64() & 0xfff;
        if (mode == FOUR_LEVEL)
            g.cr3 |= 1ull << 63; // as a MOV to CR3 with PCIDs may leave it in a register image
        struct guest_memory memory = interface_of(&m);
        struct walk_result r;
        // Bits above 31 are not part of a linear address outside IA-32e mode.
        u64 gva = mode == FOUR_LEVEL ? p.linear : p.linear | random64() << 32;
        expect_page(&p, &r, guest_walk(&g, &memory, GVA(gva), ACCESS_READ, &r));
        expect_flags(&p, &m, true, false);
        if (m.loads != levels_of[mode] - last + 1)
            fail_msg("%u loads", m.loads);
    }
}

static void pdptes_of_the_vmcs(void **state)
{
    (void)state;
    static const u64 tables[] = {0, 0x11000, 0x12000, 0x13000};
    u64 flags[5] = {0, PTE_P, PTE_P, PTE_P};
    struct path p = {.mode = PAE, .last = 1, .linear = 0xc0201abc, .frame = 0x5000};
    struct guest_paging g = paging_for(PAE);
    struct memory m = {0};
    build(&p, &g, &m, tables, flags);
    find(&m, p.addrs[3])->value = 0; // memory has changed since CR3 was loaded
    u64 pdptes[4] = {0, 0, 0, p.entries[3]};
    g.pdptes = pdptes;
    struct guest_memory memory = interface_of(&m);
    struct walk_result r;
    expect_page(&p, &r, guest_walk(&g, &memory, GVA(p.linear), ACCESS_READ, &r));
    assert_int_equal(m.loads, 2);
    pdptes[3] = 0;
    expect_fault(&p, &r, guest_walk(&g, &memory, GVA(p.linear), ACCESS_READ, &r), 0);
}

static void no_paging_and_refusals(void **state)
{
    (void)state;
    struct memory m = {.fail_load = E_RANGE};
    struct guest_memory memory = interface_of(&m);
    struct guest_paging g = {.cr0 = CR0_PE, .maxphyaddr = 36};
    struct walk_result r;
    assert_int_equal(guest_walk(&g, &memory, GVA(0x1fee00020), ACCESS_WRITE, &r), OK);
    assert_int_equal(r.gpa.raw, 0xfee00020);
    assert_int_equal(r.page_size, PAGE_SIZE);

    g = paging_for(FOUR_LEVEL);
    assert_int_equal(guest_walk(&g, &memory, GVA(0x1000), ACCESS_READ, &r),
                     E_RANGE); // the callback's
    assert_int_equal(guest_walk(&g, &memory, GVA(0x0000800000000000), ACCESS_READ, &r), E_FAULT);
    assert_int_equal(r.fault.vector, VEC_GP);
    assert_int_equal(guest_walk(&g, &memory, GVA(0xffff7fffffffffff), ACCESS_READ, &r), E_FAULT);
    g.cr4 |= CR4_LA57;
    assert_int_equal(guest_walk(&g, &memory, GVA(0x1000), ACCESS_READ, &r), E_UNSUPP);
}

static void entries_changing_underneath(void **state)
{
    (void)state;
    static const u64 tables[] = {0, 0x11000, 0x12000, 0x13000, 0x14000};
    u64 flags[5] = {0, PTE_P, PTE_P, PTE_P, PTE_P};
    struct path p = {.mode = FOUR_LEVEL, .last = 1, .linear = 0x1000, .frame = 0x5000};
    struct guest_paging g = paging_for(FOUR_LEVEL);
    struct memory m = {.spoil = 3};
    build(&p, &g, &m, tables, flags);
    struct guest_memory memory = interface_of(&m);
    struct walk_result r;
    expect_page(&p, &r, guest_walk(&g, &memory, GVA(p.linear), ACCESS_WRITE, &r));
    expect_flags(&p, &m, true, true);
    assert_int_equal(m.exchanges, 3 + 4);

    build(&p, &g, &m, tables, flags);
    m.spoil = 1000000;
    assert_int_equal(guest_walk(&g, &memory, GVA(p.linear), ACCESS_WRITE, &r), E_TIMEOUT);
    assert_true(m.spoil > 999000);

    memory.exchange = NULL; // the debugger's walk
    expect_page(&p, &r, guest_walk(&g, &memory, GVA(p.linear), ACCESS_WRITE, &r));
    expect_flags(&p, &m, false, false);
}

// ---- copying ----------------------------------------------------------------------------------

// Guest RAM of eight pages for copies: a page table at 0, pages 1 to 7 scattered behind it.
static u8 ram[8 * 4096];

static int ram_load(void *ctx, gpa_t gpa, unsigned size, u64 *value)
{
    (void)ctx;
    *value = 0;
    memcpy(value, ram + gpa.raw, size);
    return OK;
}

static int ram_exchange(void *ctx, gpa_t gpa, unsigned size, u64 old, u64 new)
{
    (void)ctx, (void)old;
    memcpy(ram + gpa.raw, &new, size);
    return OK;
}

static int ram_copy(void *ctx, gpa_t gpa, void *buf, size_t size, bool write)
{
    (void)ctx;
    assert_true((gpa.raw & 0xfff) + size <= 0x1000);
    assert_true(gpa.raw + size <= sizeof(ram));
    if (write)
        memcpy(ram + gpa.raw, buf, size);
    else
        memcpy(buf, ram + gpa.raw, size);
    return OK;
}

static const struct guest_memory ram_memory = {
    .load = ram_load, .exchange = ram_exchange, .copy = ram_copy};

// Linear 400000H on: pages 5, 3 and 7 writable, 4 read-only, then nothing.
static struct guest_paging ram_paging(void)
{
    static const u32 ptes[] = {0x5003, 0x3003, 0x7003, 0x4001};
    u32 pde = 0x1003;
    memset(ram, 0, sizeof(ram));
    memcpy(ram + 4, &pde, 4);
    memcpy(ram + 0x1000, ptes, sizeof(ptes));
    return (struct guest_paging){.cr0 = CR0_PE | CR0_PG | CR0_WP, .maxphyaddr = 36};
}

static void copies_across_pages(void **state)
{
    (void)state;
    struct guest_paging g = ram_paging();
    static u8 out[0x2800], in[0x2800];
    size_t done;
    struct event fault;
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (u8)(i * 7 + i / 256);
    assert_int_equal(
        walk_copy(&g, &ram_memory, GVA(0x400123), out, sizeof(out), ACCESS_WRITE, &done, &fault),
        OK);
    assert_int_equal(done, sizeof(out));
    assert_memory_equal(ram + 0x5123, out, 0xedd);
    assert_memory_equal(ram + 0x3000, out + 0xedd, 0x1000);
    assert_memory_equal(ram + 0x7000, out + 0x1edd, sizeof(out) - 0x1edd);
    assert_int_equal(
        walk_copy(&g, &ram_memory, GVA(0x400123), in, sizeof(in), ACCESS_READ, &done, &fault), OK);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(walk_copy(&g, &ram_memory, GVA(0x10), in, 0, ACCESS_READ, &done, &fault), OK);
}

static void a_write_that_faults_writes_nothing(void **state)
{
    (void)state;
    struct guest_paging g = ram_paging();
    u8 bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    size_t done;
    struct event fault;
    assert_int_equal(
        walk_copy(&g, &ram_memory, GVA(0x402ffc), bytes, 8, ACCESS_WRITE, &done, &fault), E_FAULT);
    assert_int_equal(done, 0);
    assert_int_equal(fault.vector, VEC_PF);
    assert_int_equal(fault.cr2, 0x403000);
    assert_int_equal(fault.error_code, PFEC_P | PFEC_W);
    assert_int_equal(ram[0x7ffc], 0);
    // Up to the edge it goes.
    assert_int_equal(
        walk_copy(&g, &ram_memory, GVA(0x402ff8), bytes, 8, ACCESS_WRITE, &done, &fault), OK);
    assert_int_equal(ram[0x7fff], 8);
}

static void a_read_that_faults_gives_what_there_was(void **state)
{
    (void)state;
    struct guest_paging g = ram_paging();
    u8 bytes[16] = {0};
    size_t done;
    struct event fault;
    ram[0x4fff] = 0xc3;
    assert_int_equal(
        walk_copy(&g, &ram_memory, GVA(0x403ffd), bytes, 15, ACCESS_FETCH, &done, &fault), E_FAULT);
    assert_int_equal(done, 3);
    assert_int_equal(bytes[2], 0xc3);
    assert_int_equal(fault.cr2, 0x404000);
    assert_int_equal(fault.error_code, 0);
}

static void fetching_an_instruction(void **state)
{
    (void)state;
    struct guest_paging g = ram_paging();
    struct guest_segment cs = {.base = 0x400000, .limit = 0x1009, .ar = AR_CODE32};
    u8 bytes[15];
    size_t done;
    struct event fault;
    ram[0x3009] = 0x99;
    assert_int_equal(walk_fetch(&g, &ram_memory, GUEST_PROTECTED, &cs, 0xffb, bytes, &done, &fault),
                     OK);
    assert_int_equal(done, 15);
    assert_int_equal(bytes[14], 0x99);
    assert_int_equal(walk_fetch(&g, &ram_memory, GUEST_PROTECTED, &cs, 0xffc, bytes, &done, &fault),
                     E_FAULT);
    assert_int_equal(done, 14);
    assert_int_equal(fault.vector, VEC_GP);
    assert_int_equal(
        walk_fetch(&g, &ram_memory, GUEST_PROTECTED, &cs, 0x100a, bytes, &done, &fault), E_FAULT);
    assert_int_equal(done, 0);
    assert_int_equal(fault.vector, VEC_GP);
    cs.limit = 0xffffffff;
    assert_int_equal(
        walk_fetch(&g, &ram_memory, GUEST_PROTECTED, &cs, 0x3ffe, bytes, &done, &fault), E_FAULT);
    assert_int_equal(done, 2);
    assert_int_equal(fault.vector, VEC_PF);
    // 64-bit mode: neither base nor limit.
    cs.limit = 0;
    assert_int_equal(walk_fetch(&g, &ram_memory, GUEST_64BIT, &cs, 0x400ffb, bytes, &done, &fault),
                     OK);
    assert_int_equal(bytes[14], 0x99);
}

// ---- segments ---------------------------------------------------------------------------------

struct segment_case {
    enum guest_mode mode;
    enum vmcs_segment which;
    u64 base;
    u32 limit, ar;
    u64 offset, size;
    unsigned access;
    int vector; // -1: no fault
    u64 linear;
};

static void segments(void **state)
{
    (void)state;
    enum { RD = ACCESS_READ, WR = ACCESS_WRITE, EX = ACCESS_FETCH };
    const u32 rw = 0xc093, ro = 0xc091, down32 = 0xc097, down16 = 0x0097, code = 0xc09b,
              code_xo = 0xc099, null = 0x10000;
    static const enum guest_mode R = GUEST_REAL, P = GUEST_PROTECTED, L = GUEST_64BIT;
    const struct segment_case cases[] = {
        {P, SEG_DS, 0,                  0xffffffff, rw,      0xfee00300,         4, WR, -1,     0xfee00300        },
        {P, SEG_DS, 0x1000,             0xffff,     rw,      0xfffc,             4, WR, -1,     0x10ffc           },
        {P, SEG_DS, 0x1000,             0xffff,     rw,      0xfffd,             4, WR, VEC_GP, 0                 },
        {P, SEG_DS, 0x1000,             0xffff,     rw,      0xffff,             1, RD, -1,     0x10fff           },
        {P, SEG_DS, 0x1000,             0xffff,     rw,      0x10000,            1, RD, VEC_GP, 0                 },
        {P, SEG_SS, 0x1000,             0xffff,     rw,      0x10000,            1, RD, VEC_SS, 0                 },
        {P, SEG_DS, 0,                  0xffffffff, rw,      0xffffffff,         1, RD, -1,     0xffffffff        },
        {P, SEG_DS, 0,                  0xffffffff, rw,      0xffffffff,         2, RD, VEC_GP, 0                 },
        {P, SEG_DS, 0xffffff00,         0xffffffff, rw,      0x200,              4, RD, -1,     0x100             },
        {P, SEG_DS, 0,                  0xffffffff, ro,      0,                  1, WR, VEC_GP, 0                 },
        {P, SEG_DS, 0,                  0xffffffff, ro,      0,                  1, RD, -1,     0                 },
        {P, SEG_CS, 0,                  0xffffffff, code,    8,                  1, RD, -1,     8                 },
        {P, SEG_CS, 0,                  0xffffffff, code,    8,                  1, WR, VEC_GP, 0                 },
        {P, SEG_CS, 0,                  0xffffffff, code_xo, 8,                  1, RD, VEC_GP, 0                 },
        {P, SEG_CS, 0,                  0xffffffff, code_xo, 8,                  1, EX, -1,     8                 },
        {P, SEG_CS, 0,                  0xfff,      code,    0x1000,             1, EX, VEC_GP, 0                 },
        {P, SEG_ES, 0,                  0xffffffff, null,    0,                  1, RD, VEC_GP, 0                 },
        {P, SEG_SS, 0,                  0xfff,      down32,  0xfff,              1, RD, VEC_SS, 0                 },
        {P, SEG_SS, 0,                  0xfff,      down32,  0x1000,             1, RD, -1,     0x1000            },
        {P, SEG_SS, 0,                  0xfff,      down32,  0xffffffff,         1, WR, -1,     0xffffffff        },
        {P, SEG_SS, 0,                  0xfff,      down32,  0xffffffff,         2, WR, VEC_SS, 0                 },
        {P, SEG_SS, 0,                  0xfff,      down16,  0xffff,             1, WR, -1,     0xffff            },
        {P, SEG_SS, 0,                  0xfff,      down16,  0xffff,             2, WR, VEC_SS, 0                 },
        {P, SEG_SS, 0,                  0xfff,      down16,  0x10000,            1, WR, VEC_SS, 0                 },
        {R, SEG_DS, 0xa0000,            0xffff,     0x93,    0xfffe,             2, WR, -1,     0xafffe           },
        {R, SEG_DS, 0xa0000,            0xffff,     0x93,    0xffff,             2, WR, VEC_GP, 0                 },
        {R, SEG_SS, 0xa0000,            0xffff,     0x93,    0xffff,             2, WR, VEC_SS, 0                 },
        {R, SEG_CS, 0xf0000,            0xffff,     0x9b,    0x10,               2, WR, -1,     0xf0010           },
        {R, SEG_DS, 0xffff0,            0xffff,     0x93,    0xffff,             1, RD, -1,     0x10ffef          },
        {R, SEG_DS, 0,                  0xffffffff, 0x93,    0xfee00000,         4, RD, -1,     0xfee00000        }, // unreal mode
        {L, SEG_DS, 0x1234,             0,          null,    0xfee00000,         8, WR, -1,     0xfee00000        },
        {L, SEG_CS, 0x1234,             0,          code,    0x10,               8, WR, -1,     0x10              },
        {L, SEG_FS, 0x1234,             0,          null,    0x10,               8, WR, -1,     0x1244            },
        {L, SEG_GS, 0xffff800000000000, 0,          rw,      0x10,               8, WR, -1,     0xffff800000000010},
        {L, SEG_DS, 0,                  0,          rw,      0x800000000000,     1, RD, VEC_GP, 0                 },
        {L, SEG_SS, 0,                  0,          rw,      0x800000000000,     1, RD, VEC_SS, 0                 },
        {L, SEG_DS, 0,                  0,          rw,      0x7fffffffffff,     1, RD, -1,     0x7fffffffffff    },
        {L, SEG_DS, 0,                  0,          rw,      0x7fffffffffff,     2, RD, VEC_GP, 0                 },
        {L, SEG_GS, 0x7fffffffffff,     0,          rw,      1,                  1, RD, VEC_GP, 0                 },
        {L, SEG_DS, 0,                  0,          rw,      0xffff800000000000, 8, RD, -1,     0xffff800000000000},
        {L, SEG_DS, 0,                  0,          rw,      0xffff7fffffffffff, 8, RD, VEC_GP, 0                 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct segment_case *c = &cases[i];
        struct guest_segment seg = {.base = c->base, .limit = c->limit, .ar = c->ar};
        struct event fault = {0};
        u64 linear = 0;
        int err =
            segment_linear(c->mode, c->which, &seg, c->offset, c->size, c->access, &linear, &fault);
        bool right = c->vector < 0 ? err == OK && linear == c->linear && !fault.valid
                                   : err == E_FAULT && fault.vector == c->vector && fault.valid &&
                                         fault.error_code == 0;
        if (!right)
            fail_msg("case %zu: err %d vector %d linear %llx", i, err, fault.vector,
                     (unsigned long long)linear);
    }
}

static void modes(void **state)
{
    (void)state;
    assert_int_equal(guest_mode_of(0, 0, 2, AR_CODE64), GUEST_REAL);
    assert_int_equal(guest_mode_of(CR0_PE, 0, 2 | RFLAGS_VM, 0xf3), GUEST_REAL);
    assert_int_equal(guest_mode_of(CR0_PE, 0, 2, AR_CODE64), GUEST_PROTECTED);
    assert_int_equal(guest_mode_of(CR0_PE, EFER_LMA, 2, AR_CODE32), GUEST_PROTECTED);
    assert_int_equal(guest_mode_of(CR0_PE, EFER_LMA, 2, AR_CODE64), GUEST_64BIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_paging_and_refusals),
        cmocka_unit_test(pdptes_of_the_vmcs),
        cmocka_unit_test(large_page_without_its_feature),
        cmocka_unit_test(random_trees),
        cmocka_unit_test(every_reserved_bit),
        cmocka_unit_test(not_present_has_no_reserved_bits),
        cmocka_unit_test(entries_changing_underneath),
        cmocka_unit_test(copies_across_pages),
        cmocka_unit_test(a_write_that_faults_writes_nothing),
        cmocka_unit_test(a_read_that_faults_gives_what_there_was),
        cmocka_unit_test(fetching_an_instruction),
        cmocka_unit_test(modes),
        cmocka_unit_test(segments),
        cmocka_unit_test(every_combination_of_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
