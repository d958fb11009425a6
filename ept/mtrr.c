// SPDX-License-Identifier: MIT
#include "ept/mtrr.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/msr.h"

#define FIXED_END 0x100000ull

static bool type_valid(u64 type)
{
    return type <= MEM_WB && type != 2 && type != 3;
}

unsigned mtrr_count(u64 cap)
{
    u64 count = cap & MTRRCAP_VCNT;
    return count < MTRR_VARIABLE_MAX ? (unsigned)count : MTRR_VARIABLE_MAX;
}

// ---- decoding ----------------------------------------------------------------------------------

static u8 decode_type(struct mtrr_state *state, u64 value)
{
    u64 type = value & 0xff;
    if (type_valid(type))
        return (u8)type;
    state->odd |= MTRR_ODD_TYPE;
    return MEM_UC;
}

static void decode_variable(struct mtrr_state *state, u64 base, u64 mask)
{
    if (!(mask & MTRR_MASK_V))
        return;
    u64 beyond = ~(state->limit - 1);
    if ((base | mask) & beyond)
        state->odd |= MTRR_ODD_WIDTH;
    struct mtrr_variable *range = &state->variable[state->nvariable++];
    range->mask = align_down(mask, PAGE_SIZE) | beyond;
    range->value = base & range->mask & ~beyond;
    range->type = decode_type(state, base);
    // Without gaps the mask's complement is one block of low bits, so adding 1 gives a power of
    // two.
    if (!is_power_of_two(~range->mask + 1))
        state->odd |= MTRR_ODD_MASK;
}

void mtrr_decode(const struct mtrr_msrs *msrs, unsigned phys_bits, struct mtrr_state *out)
{
    *out = (struct mtrr_state){.limit = BIT(phys_bits)};
    out->enabled = msrs->def_type & MTRR_DEF_E;
    out->fixed_enabled = (msrs->def_type & MTRR_DEF_FE) && (msrs->cap & MTRRCAP_FIX);
    out->default_type = decode_type(out, msrs->def_type);
    for (unsigned i = 0; out->fixed_enabled && i < sizeof(out->fixed); i++)
        out->fixed[i] = decode_type(out, msrs->fixed[i / 8] >> (i % 8 * 8));
    for (unsigned i = 0; i < mtrr_count(msrs->cap); i++)
        decode_variable(out, msrs->base[i], msrs->mask[i]);
}

// ---- one address -------------------------------------------------------------------------------

static bool fixed_applies(const struct mtrr_state *state, u64 addr)
{
    return state->fixed_enabled && addr < FIXED_END;
}

// Which of the 88 fixed ranges holds addr, and where that range ends.
static unsigned fixed_index(u64 addr, u64 *end)
{
    unsigned shift = addr < 0x80000 ? 16 : addr < 0xc0000 ? 14 : 12;
    u64 first = addr < 0x80000 ? 0 : addr < 0xc0000 ? 0x80000 : 0xc0000;
    unsigned before = addr < 0x80000 ? 0 : addr < 0xc0000 ? 8 : 24;
    *end = align_down(addr, BIT(shift)) + BIT(shift);
    return before + (unsigned)((addr - first) >> shift);
}

static bool matches(const struct mtrr_variable *range, u64 addr)
{
    return (addr & range->mask) == range->value;
}

// The type where ranges of all the types in the set (bit n: type n) overlap.
static enum mem_type precedence(u32 types, bool *conflict)
{
    *conflict = false;
    if (is_power_of_two(types))
        return (enum mem_type)bit_lowest(types);
    if (types & BIT32(MEM_UC))
        return MEM_UC;
    if (types == (BIT32(MEM_WT) | BIT32(MEM_WB)))
        return MEM_WT;
    *conflict = true;
    return MEM_UC;
}

enum mem_type mtrr_type(const struct mtrr_state *state, u64 addr, bool *conflict)
{
    bool ignored;
    if (!conflict)
        conflict = &ignored;
    *conflict = false;
    if (!state->enabled)
        return MEM_UC;
    u64 end;
    if (fixed_applies(state, addr))
        return state->fixed[fixed_index(addr, &end)];
    u32 types = 0;
    for (unsigned i = 0; i < state->nvariable; i++) {
        if (matches(&state->variable[i], addr))
            types |= BIT32(state->variable[i].type);
    }
    return types ? precedence(types, conflict) : (enum mem_type)state->default_type;
}

// ---- stretches ---------------------------------------------------------------------------------

// The next address above addr, if any, that matches a range which addr itself does not match. Masks
// may have gaps: this counts up in the bits the mask leaves free, with the others held at the
// value.
static u64 next_match(const struct mtrr_variable *range, u64 addr, u64 none)
{
    u64 fixed = range->mask;
    unsigned top = bit_highest((addr ^ range->value) & fixed); // the first wrong bit
    u64 high = addr & ~(BIT(top) | (BIT(top) - 1));
    if (addr & BIT(top)) {
        // Too far: the lowest free 0 above it becomes 1.
        u64 room = ~(addr | fixed) & ~(BIT(top) | (BIT(top) - 1));
        if (room == 0)
            return none;
        high = align_down(addr, BIT(bit_lowest(room))) | BIT(bit_lowest(room));
    }
    return (high & ~fixed) | range->value;
}

// An address above addr up to which no range begins or ends to match.
static u64 boundary(const struct mtrr_state *state, u64 addr, u64 end)
{
    u64 at;
    if (!state->enabled)
        return end;
    if (fixed_applies(state, addr)) {
        fixed_index(addr, &at);
        return at < end ? at : end;
    }
    for (unsigned i = 0; i < state->nvariable; i++) {
        const struct mtrr_variable *range = &state->variable[i];
        // The lowest bit of the mask changes at the end of a match.
        u64 block = BIT(bit_lowest(range->mask));
        at = matches(range, addr) ? align_down(addr, block) + block : next_match(range, addr, end);
        if (at < end)
            end = at;
    }
    return end;
}

struct mtrr_region mtrr_next(const struct mtrr_state *state, u64 addr, u64 end)
{
    bool conflict, here;
    enum mem_type type = mtrr_type(state, addr, &conflict);
    u64 at = addr;
    do {
        at = boundary(state, at, end);
    } while (at < end && mtrr_type(state, at, &here) == type && here == conflict);
    return (struct mtrr_region){
        .base = addr, .size = at - addr, .type = (u8)type, .conflict = conflict};
}

bool mtrr_uniform(const struct mtrr_state *state, u64 base, u64 size, enum mem_type *type)
{
    u64 at = base;
    *type = mtrr_type(state, base, NULL);
    while (at < base + size) {
        struct mtrr_region region = mtrr_next(state, at, base + size);
        if (region.type != *type)
            return false;
        at += region.size;
    }
    return true;
}
