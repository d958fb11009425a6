// SPDX-License-Identifier: MIT
// The guest's MTRRs: what firmware left in them, and what they take.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/regs/msr.h"
#include "guest/pc.h"
#include "vmx/guest_mtrr.h"

static struct guest_mtrr mtrr;

static u64 get(u32 msr)
{
    u64 value = 0x5a5a;
    assert_int_equal(guest_mtrr_read(&mtrr, msr, &value), OK);
    return value;
}

// ---- after a reset ----------------------------------------------------------------------------

// Read as a guest does, and judged by the rules of the hardware.
static void decode(unsigned phys_bits, struct mtrr_state *out)
{
    struct mtrr_msrs msrs = {.cap = get(IA32_MTRRCAP), .def_type = get(IA32_MTRR_DEF_TYPE)};
    assert_int_equal(mtrr_count(msrs.cap), GUEST_MTRR_VARIABLE);
    for (u32 i = 0; i < mtrr_count(msrs.cap); i++) {
        msrs.base[i] = get(IA32_MTRR_PHYSBASE0 + 2 * i);
        msrs.mask[i] = get(IA32_MTRR_PHYSMASK0 + 2 * i);
    }
    for (unsigned i = 0; i < MTRR_FIXED_MSRS; i++)
        msrs.fixed[i] = get(mtrr_fixed_msr(i));
    mtrr_decode(&msrs, phys_bits, out);
}

static void firmware_left_the_types_of_the_memory_map(void **state)
{
    static const struct {
        u64 base, end;
        enum mem_type type;
    } map[] = {
        {0,              PC_VGA,         MEM_WB},
        {PC_VGA,         PC_BIOS,        MEM_UC},
        {PC_BIOS,        PC_LOW_RAM_END, MEM_WB}, // the ACPI tables are read as RAM
        {PC_LOW_RAM_END, PC_ABOVE_4G,    MEM_UC},
        {PC_ABOVE_4G,    BIT(36),        MEM_WB},
    };
    (void)state;
    for (unsigned bits = 36; bits <= 52; bits += 2) {
        struct mtrr_state decoded;
        memset(&mtrr, 0xa5, sizeof(mtrr));
        guest_mtrr_reset(&mtrr, bits);
        decode(bits, &decoded);
        assert_true(decoded.enabled && decoded.fixed_enabled);
        assert_int_equal(decoded.odd, 0);
        for (unsigned i = 0; i < ARRAY_SIZE(map); i++) {
            enum mem_type type;
            assert_true(mtrr_uniform(&decoded, map[i].base, map[i].end - map[i].base, &type));
            assert_int_equal(type, map[i].type);
        }
        // Linux: "your BIOS has configured an incorrect mask" where a bit of the width is missing.
        assert_int_equal(get(IA32_MTRR_PHYSMASK0), (BIT(bits) - SIZE_1G) | MTRR_MASK_V);
    }
}

// ---- which there are, and what they take ------------------------------------------------------

enum kind { NONE, BASE, MASK, FIXED, DEFAULT };

static enum kind kind_of(u32 msr)
{
    if (msr >= 0x200 && msr <= 0x20f)
        return msr & 1 ? MASK : BASE;
    if (msr == 0x250 || msr == 0x258 || msr == 0x259 || (msr >= 0x268 && msr <= 0x26f))
        return FIXED;
    return msr == 0x2ff ? DEFAULT : NONE;
}

static bool type_legal(u64 type)
{
    return type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
}

static bool legal(enum kind kind, unsigned phys_bits, u64 value)
{
    u64 address = (BIT(phys_bits) - 1) & ~0xfffull;
    switch (kind) {
    case BASE:
        return (value & ~(address | 0xff)) == 0 && type_legal(value & 0xff);
    case MASK:
        return (value & ~(address | 0x800)) == 0;
    case DEFAULT:
        return (value & ~0xcffull) == 0 && type_legal(value & 0xff);
    case FIXED:
        for (unsigned i = 0; i < 64; i += 8)
            if (!type_legal(value >> i & 0xff))
                return false;
        return true;
    default:
        return false;
    }
}

static void try(u32 msr, unsigned phys_bits, u64 value)
{
    u64 before = 0, after = 0;
    bool there = guest_mtrr_read(&mtrr, msr, &before) == OK;
    bool ok = legal(kind_of(msr), phys_bits, value);
    if (guest_mtrr_write(&mtrr, phys_bits, msr, value) != (ok ? OK : E_FAULT))
        fail_msg("MSR %x, %u bits, value %llx", msr, phys_bits, (unsigned long long)value);
    if (there) {
        assert_int_equal(guest_mtrr_read(&mtrr, msr, &after), OK);
        assert_int_equal(after, ok ? value : before);
    }
}

static void each_takes_its_own_bits_and_types(void **state)
{
    (void)state;
    for (unsigned bits = 36; bits <= 52; bits += 8) {
        guest_mtrr_reset(&mtrr, bits);
        for (u32 msr = 0x1f0; msr < 0x310; msr++) {
            for (unsigned bit = 0; bit < 64; bit++)
                try(msr, bits, BIT(bit));
            for (u64 value = 0; value < 0x100; value++)
                for (unsigned byte = 0; byte < 64; byte += 8)
                    try(msr, bits, value << byte);
            try(msr, bits, ~0ull);
            try(msr, bits, 0);
        }
    }
}

// A write to one changes no other.
static void each_is_a_register_of_its_own(void **state)
{
    (void)state;
    guest_mtrr_reset(&mtrr, 40);
    for (u32 msr = 0; msr < 0x2000; msr++)
        if (kind_of(msr))
            assert_int_equal(guest_mtrr_write(&mtrr, 40, msr, 0), OK);
    for (u32 msr = 0; msr < 0x2000; msr++) {
        if (!kind_of(msr))
            continue;
        u64 value = kind_of(msr) == MASK ? MTRR_MASK_V : MEM_WC;
        assert_int_equal(guest_mtrr_write(&mtrr, 40, msr, value), OK);
        for (u32 other = 0; other < 0x2000; other++)
            if (kind_of(other))
                assert_int_equal(get(other), other == msr ? value : 0);
        assert_int_equal(guest_mtrr_write(&mtrr, 40, msr, 0), OK);
    }
}

static void no_other_number_is_one(void **state)
{
    (void)state;
    guest_mtrr_reset(&mtrr, 40);
    for (u64 msr = 0; msr < 0x4010; msr++) {
        u32 number = (u32)(msr < 0x2000 ? msr : msr < 0x4000 ? 0xbfffe000 + msr : msr - 0x4010);
        u64 value = 77;
        bool readable = kind_of(number) || number == IA32_MTRRCAP;
        assert_int_equal(guest_mtrr_read(&mtrr, number, &value), readable ? OK : E_FAULT);
        assert_int_equal(readable || value == 77, true);
        if (!kind_of(number))
            assert_int_equal(guest_mtrr_write(&mtrr, 40, number, 0), E_FAULT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(firmware_left_the_types_of_the_memory_map),
        cmocka_unit_test(each_takes_its_own_bits_and_types),
        cmocka_unit_test(each_is_a_register_of_its_own),
        cmocka_unit_test(no_other_number_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
