// SPDX-License-Identifier: MIT
#include "vmx/guest_mtrr.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/msr.h"
#include "guest/pc.h"

#define BYTES(type) ((type)*0x0101010101010101ull)

static bool type_legal(u64 type)
{
    return type <= MEM_WB && type != 2 && type != 3;
}

// The registers lie in four runs of numbers; NULL for a number in none of them.
static u64 *find(struct guest_mtrr *m, u32 msr)
{
    u32 pair = msr - IA32_MTRR_PHYSBASE0;
    if (pair < ARRAY_SIZE(m->variable))
        return &m->variable[pair];
    if (msr == IA32_MTRR_DEF_TYPE)
        return &m->def_type;
    for (unsigned i = 0; i < MTRR_FIXED_MSRS; i++)
        if (msr == mtrr_fixed_msr(i))
            return &m->fixed[i];
    return NULL;
}

void guest_mtrr_reset(struct guest_mtrr *mtrr, unsigned phys_bits)
{
    memset(mtrr, 0, sizeof(*mtrr));
    mtrr->def_type = MTRR_DEF_E | MTRR_DEF_FE | MEM_WB;
    for (unsigned i = 0; i < MTRR_FIXED_MSRS; i++)
        mtrr->fixed[i] = BYTES((u64)MEM_WB);
    // A0000H-BFFFFH is one register; C0000H-DFFFFH, where a PC has the ROMs of cards, are four.
    _Static_assert(PC_VGA == 0xa0000 && PC_BIOS == 0xe0000, "the ranges below are these");
    mtrr->fixed[2] = BYTES((u64)MEM_UC);
    for (unsigned i = 3; i < 7; i++)
        mtrr->fixed[i] = BYTES((u64)MEM_UC);
    // From the end of low RAM to 4 GiB, the local APIC among it.
    mtrr->variable[0] = PC_LOW_RAM_END | MEM_UC;
    mtrr->variable[1] =
        (~(PC_ABOVE_4G - PC_LOW_RAM_END - 1) & BITS(phys_bits - 1, 0)) | MTRR_MASK_V;
}

int guest_mtrr_read(struct guest_mtrr *mtrr, u32 msr, u64 *value)
{
    if (msr == IA32_MTRRCAP) {
        *value = GUEST_MTRR_VARIABLE | MTRRCAP_FIX | MTRRCAP_WC;
        return OK;
    }
    const u64 *reg = find(mtrr, msr);
    if (!reg)
        return E_FAULT;
    *value = *reg;
    return OK;
}

static bool fixed_legal(u64 value)
{
    for (unsigned i = 0; i < 8; i++)
        if (!type_legal(value >> 8 * i & 0xff))
            return false;
    return true;
}

static bool legal(u64 address, u32 msr, u64 value)
{
    if (msr == IA32_MTRR_DEF_TYPE)
        return !(value & ~(MTRR_DEF_TYPE | MTRR_DEF_FE | MTRR_DEF_E)) &&
               type_legal(value & MTRR_DEF_TYPE);
    if (msr - IA32_MTRR_PHYSBASE0 >= 2 * GUEST_MTRR_VARIABLE)
        return fixed_legal(value);
    if (msr & 1)
        return !(value & ~(address | MTRR_MASK_V));
    return !(value & ~(address | MTRR_DEF_TYPE)) && type_legal(value & MTRR_DEF_TYPE);
}

int guest_mtrr_write(struct guest_mtrr *mtrr, unsigned phys_bits, u32 msr, u64 value)
{
    u64 *reg = find(mtrr, msr);
    if (!reg || !legal(BITS(phys_bits - 1, PAGE_SHIFT), msr, value))
        return E_FAULT;
    *reg = value;
    return OK;
}
