// SPDX-License-Identifier: MIT
// The VM-entry rules at the edges of what they allow: each width of an address, each bit of a
// limit, and what is not looked at.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/entry_machine.h"

// Which rules the machine violates, as " C8 S21".
static const char *broken(const struct machine *m)
{
    static char text[256];
    struct entry_rule_set set;

    entry_rule_set_check(&m->state, &set);
    text[0] = '\0';
    rule_set_for_each (i, &set)
        if (strlen(text) < 240)
            strcat(strcat(text, " "), entry_rules[i].id);
    return text;
}

static void judged(u32 field, u64 value, u8 linear_bits, const char *expected)
{
    struct machine m;
    make(&m, LONG);
    m.state.linear_bits = linear_bits;
    set(&m, field, value);
    if (strcmp(broken(&m), expected))
        fail_msg("%s = %llx with %u bits: broken:%s, expected:%s", vmcs_field_name(field),
                 (unsigned long long)value, linear_bits, broken(&m), expected);
}

// ---- addresses --------------------------------------------------------------------------------

static const struct {
    u32 field;
    const char *rule;
} canonical_fields[] = {
    {VMCS_HOST_SYSENTER_ESP,  " H7" },
    {VMCS_HOST_FS_BASE,       " H30"},
    {VMCS_HOST_IDTR_BASE,     " H34"},
    {VMCS_GUEST_SYSENTER_EIP, " G14"},
    {VMCS_GUEST_TR_BASE,      " S7" },
    {VMCS_GUEST_FS_BASE,      " S8" },
    {VMCS_GUEST_GDTR_BASE,    " D1" },
};

static void canonical_at_each_width(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(canonical_fields); i++) {
        u32 field = canonical_fields[i].field;
        const char *rule = canonical_fields[i].rule;
        for (u8 width = 48; width <= 57; width = (u8)(width + 9)) {
            judged(field, 0, width, "");
            judged(field, BITS(width - 2, 0), width, "");
            judged(field, BITS(63, width - 1), width, "");
            judged(field, ~0ull, width, "");
            judged(field, BIT(width - 1), width, rule);
            judged(field, BITS(63, width), width, rule);
            judged(field, BIT(width), width, rule);
            judged(field, BIT(63), width, rule);
            judged(field, BITS(62, width - 1), width, rule);
        }
    }
}

// Where a width is none, every address is right, and nothing shifts by 64 or more.
static void widths_that_are_none(void **state)
{
    (void)state;
    judged(VMCS_GUEST_FS_BASE, BIT(63), 64, "");
    judged(VMCS_GUEST_FS_BASE, BIT(62), 64, "");
    judged(VMCS_GUEST_FS_BASE, BIT(62), 200, "");
    judged(VMCS_GUEST_FS_BASE, BIT(62), 0, " R2"); // which has no bit to spare
    judged(VMCS_GUEST_RIP, BIT(62), 64, "");
    judged(VMCS_GUEST_RIP, BIT(62), 255, "");
    judged(VMCS_GUEST_FS_BASE, BIT(62), 63, " S8");
}

// The host's RIP goes by the paging that the exit turns on, whatever the CPU could.
static void host_rip_by_la57(void **state)
{
    (void)state;
    for (unsigned la57 = 0; la57 < 2; la57++) {
        unsigned width = la57 ? 57 : 48;
        const struct {
            u64 rip;
            const char *broken;
        } rows[] = {
            {BITS(width - 2, 0),            ""},
            {BIT(width - 2),              ""             },
            {BITS(63,              width - 1),        ""},
            {BIT(width - 1),            " A9"                 },
            {BITS(63,width)," A9"},
            {BITS(62,           width - 1),                          " A9"},
            {BIT(63),        " A9"},
            {BIT(width),              " A9"                    },
        };
        for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
            for (u8 cpu = 48; cpu <= 57; cpu = (u8)(cpu + 9)) {
                struct machine m;
                make(&m, LONG);
                m.state.linear_bits = cpu;
                if (la57)
                    *field_of(&m, VMCS_HOST_CR4) |= CR4_LA57;
                set(&m, VMCS_HOST_RIP, rows[i].rip);
                if (strcmp(broken(&m), rows[i].broken))
                    fail_msg("LA57 %u, RIP %llx:%s", la57, (unsigned long long)rows[i].rip,
                             broken(&m));
            }
        }
    }
}

// The guest's RIP may have its highest bit differ from those above it, but those are all the same.
static void guest_rip_above_the_width(void **state)
{
    (void)state;
    for (u8 width = 48; width <= 57; width = (u8)(width + 9)) {
        judged(VMCS_GUEST_RIP, BITS(width - 1, 0), width, "");
        judged(VMCS_GUEST_RIP, BITS(63, width), width, "");
        judged(VMCS_GUEST_RIP, ~0ull, width, "");
        for (unsigned bit = width; bit < 64; bit++) {
            judged(VMCS_GUEST_RIP, BIT(bit), width, " R2");
            judged(VMCS_GUEST_RIP, ~BIT(bit), width, " R2");
        }
    }
}

static void ssp_above_the_width(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        struct machine m;
        make(&m, LONG);
        *field_of(&m, VMCS_ENTRY_CTLS) |= ENTRY_LOAD_CET;
        set(&m, VMCS_GUEST_SSP, BIT(bit));
        assert_string_equal(broken(&m), bit < 2 ? " R8" : bit < 48 ? "" : " R9");
        set(&m, VMCS_GUEST_SSP, BITS(63, 2) & ~BIT(bit));
        assert_string_equal(broken(&m), bit < 48 ? "" : " R9");
    }
}

// ---- limits -----------------------------------------------------------------------------------

static const struct {
    u32 seg;
    u32 ar;
    const char *bytes, *pages;
} limited[] = {
    {SEG_CS,   0xa09b & ~AR_G, " S32", " S33"},
    {SEG_SS,   0xc093 & ~AR_G, " S34", " S35"},
    {SEG_DS,   0xc093 & ~AR_G, " S34", " S35"},
    {SEG_GS,   0xc093 & ~AR_G, " S34", " S35"},
    {SEG_TR,   AR_TSS_BUSY,    " S43", " S44"},
    {SEG_LDTR, AR_LDT,         " S51", " S52"},
};

static void limited_segment(unsigned row, u32 limit, bool granular, const char *expected)
{
    struct machine m;
    u32 seg = limited[row].seg;
    make(&m, LONG);
    set(&m, VMCS_GUEST_AR(seg), limited[row].ar | (granular ? AR_G : 0));
    set(&m, VMCS_GUEST_LIMIT(seg), limit);
    if (strcmp(broken(&m), expected))
        fail_msg("%s limit %x, G %u: broken:%s, expected:%s", segment_names[seg], limit, granular,
                 broken(&m), expected);
}

// G = 1 needs each of bits 11:0 set, and G = 0 each of bits 31:20 clear; the others are free.
static void each_bit_of_a_limit(void **state)
{
    (void)state;
    for (unsigned row = 0; row < ARRAY_SIZE(limited); row++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            limited_segment(row, ~BIT32(bit), true, bit < 12 ? limited[row].bytes : "");
            limited_segment(row, BIT32(bit), false, bit < 20 ? "" : limited[row].pages);
        }
        limited_segment(row, 0xfff, true, "");
        limited_segment(row, 0, true, limited[row].bytes);
        limited_segment(row, 0xfffff, false, "");
    }
}

// In virtual-8086 mode there is one limit, and rules on others are silent.
static void virtual_8086_limits(void **state)
{
    (void)state;
    for (u32 seg = SEG_ES; seg <= SEG_GS; seg++) {
        struct machine m;
        make(&m, V86);
        *field_of(&m, VMCS_GUEST_AR(seg)) |= AR_G;
        set(&m, VMCS_GUEST_LIMIT(seg), 0x1234);
        assert_string_equal(broken(&m), " S5 S6");
        set(&m, VMCS_GUEST_AR(seg), 0xf3);
        set(&m, VMCS_GUEST_LIMIT(seg), 0xffff0000);
        assert_string_equal(broken(&m), " S5");
    }
}

// ---- VTPR -------------------------------------------------------------------------------------

static u32 asked; // how often memory was read

static bool all_zero(void *ctx, hpa_t address, void *buf, u32 size)
{
    (void)ctx;
    (void)address;
    asked++;
    memset(buf, 0, size);
    return true;
}

static const char *with_threshold(u64 page)
{
    struct machine m;
    make(&m, LONG);
    m.state.memory = all_zero;
    asked = 0;
    *field_of(&m, VMCS_PROC_CTLS) |= PROC_TPR_SHADOW;
    set(&m, VMCS_VIRTUAL_APIC_ADDR, page);
    set(&m, VMCS_TPR_THRESHOLD, 1);
    return broken(&m);
}

// A virtual-APIC page that is none is not read, and nothing is said of what would be in it.
static void vtpr_is_read_where_it_may_be(void **state)
{
    (void)state;
    assert_string_equal(with_threshold(0x5000), " C17");
    assert_true(asked > 0);
    for (unsigned bit = 0; bit < 64; bit++) {
        bool page = bit >= 12 && bit < 39;
        assert_string_equal(with_threshold(BIT(bit)), page ? " C17" : bit < 12 ? " C14" : " C15");
        assert_int_equal(asked > 0, page);
    }
}

static void vtpr_is_the_upper_half_of_a_byte(void **state)
{
    (void)state;
    for (unsigned vtpr = 0; vtpr < 256; vtpr++) {
        for (unsigned threshold = 0; threshold < 16; threshold++) {
            struct machine m;
            make(&m, LONG);
            *field_of(&m, VMCS_PROC_CTLS) |= PROC_TPR_SHADOW;
            set(&m, VMCS_VIRTUAL_APIC_ADDR, ARENA);
            set(&m, VMCS_TPR_THRESHOLD, threshold);
            memset(m.arena, vtpr >> 4 ? 0 : 0xff, 0x100); // what lies around it
            m.arena[0x80] = (u8)vtpr;
            assert_string_equal(broken(&m), threshold > vtpr >> 4 ? " C17" : "");
        }
    }
}

// ---- places -----------------------------------------------------------------------------------

// Each field has a place of its own, and the segments' lie side by side.
static void slots_are_apart(void **state)
{
    (void)state;
    static u32 owner[ENTRY_SLOTS];
    for (unsigned i = 0; i < vmcs_fields_count; i++) {
        u32 slot = ENTRY_SLOT(vmcs_fields[i].encoding);
        assert_in_range(slot, 0, ENTRY_SLOTS - 1);
        if (owner[slot])
            fail_msg("%s has the place of %s", vmcs_fields[i].name, vmcs_field_name(owner[slot]));
        owner[slot] = vmcs_fields[i].encoding ? vmcs_fields[i].encoding : 0x10000;
    }
    for (u32 seg = 0; seg < SEG_COUNT; seg++) {
        assert_int_equal(ENTRY_SLOT(VMCS_GUEST_AR(seg)), ENTRY_SLOT(VMCS_GUEST_ES_AR) + seg);
        assert_int_equal(ENTRY_SLOT(VMCS_GUEST_SEL(seg)), ENTRY_SLOT(VMCS_GUEST_ES_SEL) + seg);
        assert_int_equal(ENTRY_SLOT(VMCS_GUEST_BASE(seg)), ENTRY_SLOT(VMCS_GUEST_ES_BASE) + seg);
        assert_int_equal(ENTRY_SLOT(VMCS_GUEST_LIMIT(seg)), ENTRY_SLOT(VMCS_GUEST_ES_LIMIT) + seg);
    }
}

// The words of a report and the set name the same rules.
static void words_and_set_agree(void **state)
{
    (void)state;
    u64 seed = 88172645463325252ull;
    for (unsigned round = 0; round < 500; round++) {
        struct machine m;
        struct entry_rule_set set, empty = {0};
        unsigned n = 0;
        make(&m, (enum baseline)(round % BASELINES));
        for (unsigned k = 0; k < 3; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            m.values[seed % vmcs_fields_count] ^= BIT(seed >> 32 & 63);
        }
        unsigned count = entry_check(&m.state, NULL, NULL);
        entry_rule_set_check(&m.state, &set);
        rule_set_for_each (i, &set)
            n++;
        assert_true(n <= count);
        assert_int_equal(n == 0, count == 0);
        assert_int_equal(entry_rule_set_empty(&set), !memcmp(&set, &empty, sizeof(set)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_at_each_width),
        cmocka_unit_test(widths_that_are_none),
        cmocka_unit_test(host_rip_by_la57),
        cmocka_unit_test(guest_rip_above_the_width),
        cmocka_unit_test(ssp_above_the_width),
        cmocka_unit_test(each_bit_of_a_limit),
        cmocka_unit_test(virtual_8086_limits),
        cmocka_unit_test(vtpr_is_read_where_it_may_be),
        cmocka_unit_test(vtpr_is_the_upper_half_of_a_byte),
        cmocka_unit_test(slots_are_apart),
        cmocka_unit_test(words_and_set_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
