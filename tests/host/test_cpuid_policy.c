// SPDX-License-Identifier: MIT
// Which CPUID a guest sees, on made-up hosts: what is hidden, what is tied to a control, and the
// rules for leaves and subleaves that are not there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/cr.h"
#include "guest/abi.h"
#include "vmx/cpuid_policy.h"

#define AVX512   (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
#define XCR0_ALL (XCR0_X87 | XCR0_SSE | XCR0_AVX | AVX512)

// ---- hosts ------------------------------------------------------------------------------------

static u32 host_max, host_max_extended;
static u32 host_fill; // what every register of every other leaf holds
static unsigned host_calls;

static struct cpuid_regs host(u32 leaf, u32 subleaf)
{
    // As on a Skylake server: SDM volume 1, "XSAVE-Supported Features"; bit 1 of ECX: aligned.
    static const struct cpuid_regs states[] = {
        [2] = {256,  576,  0, 0},
          [3] = {64,   960,  0, 0},
          [4] = {64,   1024, 0, 0},
        [5] = {64,   1088, 0, 0},
          [6] = {512,  1152, 0, 0},
          [7] = {1024, 1664, 0, 0},
        [8] = {128,  0,    1, 0},
          [9] = {8,    2688, 0, 0},
    };
    host_calls++;
    switch (leaf) {
    case 0:
        return (struct cpuid_regs){host_max, 0x756e6547, 0x6c65746e, 0x49656e69};
    case 0x0d:
        if (subleaf >= 2)
            return subleaf < ARRAY_SIZE(states) ? states[subleaf] : (struct cpuid_regs){0};
        break;
    case 0x80000000:
        return (struct cpuid_regs){host_max_extended, 1, 2, 3};
    default:
        break;
    }
    return (struct cpuid_regs){host_fill, host_fill, host_fill, host_fill};
}

static const struct cpuid_config full = {
    .host = host,
    .rdtscp = true,
    .invpcid = true,
    .xsaves = true,
    .x2apic = true,
    .tsc_deadline = true,
    .xcr0_allowed = XCR0_ALL,
    .tsc_hz = 2600000000,
    .lapic_hz = 1000000000,
    .maxphyaddr = 46,
};

static struct cpuid_table table;

static void build(const struct cpuid_config *config)
{
    memset(&table, 0xa5, sizeof(table));
    cpuid_build(&table, config);
    assert_in_range(table.count, 1, CPUID_ENTRIES);
}

static int reset(void **state)
{
    (void)state;
    host_max = 0x1f;
    host_max_extended = 0x80000008;
    host_fill = ~0u;
    return 0;
}

static struct cpuid_regs ask(u32 leaf, u32 subleaf)
{
    static const struct cpuid_state plain = {.xcr0 = XCR0_X87};
    return cpuid_lookup(&table, leaf, subleaf, &plain);
}

static void check(struct cpuid_regs got, u32 eax, u32 ebx, u32 ecx, u32 edx)
{
    assert_int_equal(got.eax, eax);
    assert_int_equal(got.ebx, ebx);
    assert_int_equal(got.ecx, ecx);
    assert_int_equal(got.edx, edx);
}

static void check_zero(u32 leaf, u32 subleaf)
{
    check(ask(leaf, subleaf), 0, 0, 0, 0);
}

// ---- what is hidden ---------------------------------------------------------------------------

// A host that has every bit there is.
static void hidden_features_stay_hidden(void **state)
{
    static const struct {
        u32 leaf;
        char reg;
        u32 bits;
    } rows[] = {
        {1,          'c', CPUID_1_ECX_VMX | CPUID_1_ECX_SMX | CPUID_1_ECX_MONITOR   },
        {1,          'c', CPUID_1_ECX_PDCM | CPUID_1_ECX_DTES64 | CPUID_1_ECX_DS_CPL},
        {1,          'c', CPUID_1_ECX_EIST | CPUID_1_ECX_TM2 | CPUID_1_ECX_SDBG     },
        {1,          'c', CPUID_1_ECX_CNXT_ID | CPUID_1_ECX_XTPR | CPUID_1_ECX_DCA  },
        {1,          'd', CPUID_1_EDX_DS | CPUID_1_EDX_ACPI | CPUID_1_EDX_HTT       },
        {1,          'd', CPUID_1_EDX_TM | CPUID_1_EDX_PBE                          },
        {7,          'b', CPUID_7_EBX_SGX | CPUID_7_EBX_MPX | CPUID_7_EBX_PT        },
        {7,          'b', CPUID_7_EBX_RDT_M | CPUID_7_EBX_RDT_A                     },
        {7,          'b', CPUID_7_EBX_HLE | CPUID_7_EBX_RTM                         },
        {7,          'c', CPUID_7_ECX_CET_SS | CPUID_7_ECX_LA57 | CPUID_7_ECX_PKS   },
        {7,          'c', CPUID_7_ECX_WAITPKG | CPUID_7_ECX_PKU | CPUID_7_ECX_OSPKE },
        {7,          'd', CPUID_7_EDX_CET_IBT | BIT32(30)                           }, // IA32_CORE_CAPABILITIES
        {7,          'd', BIT32(22) | BIT32(24) | BIT32(25)                         }, // AMX
        {7,          'd', BIT32(11) | BIT32(13)                                     }, // TSX
        {0x80000001, 'd', ~(u32)(BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29))   },
        {0x80000007, 'd', ~CPUID_80000007_EDX_INVARIANT_TSC                         },
    };
    (void)state;
    build(&full);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_regs r = ask(rows[i].leaf, 0);
        u32 value = rows[i].reg == 'b' ? r.ebx : rows[i].reg == 'c' ? r.ecx : r.edx;
        assert_int_equal(value & rows[i].bits, 0);
    }
    check_zero(0x05, 0);                    // MONITOR
    check_zero(0x0a, 0);                    // performance counters
    check_zero(0x09, 0);                    // DCA
    check_zero(0x12, 0);                    // SGX
    check_zero(0x14, 0);                    // PT
    check_zero(0x10, 1);                    // RDT
    check(ask(0x06, 0), BIT32(2), 0, 0, 0); // the timer runs on in deep sleep, and no more
    check_zero(0x07, 1);
    check_zero(0x80000005, 0);
}

// A feature the host lacks is not made up, but for what Corbel emulates.
static void nothing_is_invented(void **state)
{
    (void)state;
    host_fill = 0;
    build(&full);
    struct cpuid_regs r = ask(1, 0);
    check(r, 0, 1 << 16, CPUID_1_ECX_HYPERVISOR | CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE, 0);
    check(ask(6, 0), CPUID_6_EAX_ARAT, 0, 0, 0);
    check(ask(7, 0), 0, CPUID_7_EBX_TSC_ADJUST, 0, 0);
    check_zero(0x80000001, 0);
    check_zero(0x80000007, 0);
}

// ---- what is tied to something ----------------------------------------------------------------

static u32 feature(u32 leaf, u32 subleaf, char reg)
{
    struct cpuid_regs r = ask(leaf, subleaf);
    return reg == 'a' ? r.eax : reg == 'b' ? r.ebx : reg == 'c' ? r.ecx : r.edx;
}

static void a_feature_is_shown_only_with_what_makes_it_work(void **state)
{
    static const struct {
        u32 leaf, subleaf;
        char reg;
        u32 bits;
        size_t switched; // offset of the bool in struct cpuid_config
    } rows[] = {
        {0x80000001, 0, 'd', CPUID_80000001_EDX_RDTSCP, offsetof(struct cpuid_config, rdtscp)      },
        {7,          0, 'c', CPUID_7_ECX_RDPID,         offsetof(struct cpuid_config, rdtscp)      },
        {7,          0, 'b', CPUID_7_EBX_INVPCID,       offsetof(struct cpuid_config, invpcid)     },
        {0xd,        1, 'a', BIT32(3),                  offsetof(struct cpuid_config, xsaves)      },
        {1,          0, 'c', CPUID_1_ECX_X2APIC,        offsetof(struct cpuid_config, x2apic)      },
        {1,          0, 'c', CPUID_1_ECX_TSC_DEADLINE,  offsetof(struct cpuid_config, tsc_deadline)},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_config config = full;
        build(&config);
        u32 with = feature(rows[i].leaf, rows[i].subleaf, rows[i].reg);
        assert_int_equal(with & rows[i].bits, rows[i].bits);
        *(bool *)((u8 *)&config + rows[i].switched) = false;
        build(&config);
        assert_int_equal(feature(rows[i].leaf, rows[i].subleaf, rows[i].reg), with & ~rows[i].bits);
    }
}

static void vector_features_go_with_their_state(void **state)
{
    const u32 avx_1c = CPUID_1_ECX_AVX | CPUID_1_ECX_FMA | CPUID_1_ECX_F16C;
    const u32 wide_7b =
        CPUID_7_EBX_AVX512F | CPUID_7_EBX_AVX512DQ | BIT32(21) | BIT32(28) | BIT32(30) | BIT32(31);
    const u32 wide_7c = BIT32(1) | BIT32(6) | BIT32(11) | BIT32(12) | BIT32(14);
    static const struct {
        u64 xcr0;
        bool xsave, avx, avx512;
    } rows[] = {
        {0,                              false, false, false},
        {XCR0_X87 | XCR0_SSE,            true,  false, false},
        {XCR0_X87 | XCR0_SSE | XCR0_AVX, true,  true,  false},
        {XCR0_ALL,                       true,  true,  true },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_config config = full;
        config.xcr0_allowed = rows[i].xcr0;
        build(&config);
        struct cpuid_regs one = ask(1, 0), seven = ask(7, 0);
        assert_int_equal(!!(one.ecx & CPUID_1_ECX_XSAVE), rows[i].xsave);
        assert_int_equal(one.ecx & avx_1c, rows[i].avx ? avx_1c : 0);
        assert_int_equal(!!(seven.ebx & CPUID_7_EBX_AVX2), rows[i].avx);
        assert_int_equal(seven.ecx & (BIT32(9) | BIT32(10)), rows[i].avx ? 0x600 : 0);
        assert_int_equal(seven.ebx & wide_7b, rows[i].avx512 ? wide_7b : 0);
        assert_int_equal(seven.ecx & wide_7c, rows[i].avx512 ? wide_7c : 0);
    }
}

static void osxsave_mirrors_cr4_where_there_is_xsave(void **state)
{
    static const struct {
        u64 cr4, xcr0;
        bool shown;
    } rows[] = {
        {0,                     XCR0_ALL, false},
        {CR4_OSXSAVE,           XCR0_ALL, true },
        {CR4_OSXSAVE | CR4_PAE, 0,        false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_config config = full;
        config.xcr0_allowed = rows[i].xcr0;
        build(&config);
        struct cpuid_state now = {.cr4 = rows[i].cr4};
        struct cpuid_regs r = cpuid_lookup(&table, 1, 0, &now);
        assert_int_equal(!!(r.ecx & CPUID_1_ECX_OSXSAVE), rows[i].shown);
    }
}

static void an_apic_that_is_off_is_not_shown(void **state)
{
    (void)state;
    build(&full);
    struct cpuid_state on = {.cr4 = 0}, off = {.apic_off = true};
    struct cpuid_regs with = cpuid_lookup(&table, 1, 0, &on);
    struct cpuid_regs without = cpuid_lookup(&table, 1, 0, &off);
    assert_true(with.edx & CPUID_1_EDX_APIC);
    check(without, with.eax, with.ebx, with.ecx, with.edx & ~CPUID_1_EDX_APIC);
}

// ---- one CPU of one thread --------------------------------------------------------------------

static void topology_is_one_thread(void **state)
{
    struct cpuid_config config = full;
    (void)state;
    config.apic_id = 5;
    build(&config);
    struct cpuid_regs r = ask(1, 0);
    assert_int_equal(r.ebx, 5u << 24 | 1 << 16 | 0xff00);
    check(ask(0xb, 0), 0, 1, 0x100, 5);
    check(ask(0xb, 1), 0, 1, 0x201, 5);
    check(ask(0xb, 2), 0, 0, 2, 5);
    check(ask(0xb, 0xabcdef12), 0, 0, 0x12, 5);
    // Each cache is this CPU's alone.
    for (u32 sub = 0; sub < 4; sub++)
        assert_int_equal(ask(4, sub).eax, 0x3ff);
    check_zero(4, 4);
}

// ---- leaf DH ----------------------------------------------------------------------------------

static void leaf_d_tells_sizes(void **state)
{
    static const struct {
        u64 allowed, xcr0;
        u32 size, compact, max;
    } rows[] = {
        {XCR0_ALL, XCR0_X87,                       576,  576,  2688},
        {XCR0_ALL, XCR0_X87 | XCR0_SSE,            576,  576,  2688},
        {XCR0_ALL, XCR0_X87 | XCR0_SSE | XCR0_AVX, 832,  832,  2688},
 // Standard: each state at its own place. Compacted: without the holes.
        {XCR0_ALL, XCR0_ALL,                       2688, 2432, 2688},
        {7,        7,                              832,  832,  832 },
        {3,        3,                              576,  576,  576 },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_config config = full;
        config.xcr0_allowed = rows[i].allowed;
        build(&config);
        struct cpuid_state now = {.xcr0 = rows[i].xcr0};
        check(cpuid_lookup(&table, 0xd, 0, &now), (u32)rows[i].allowed, rows[i].size, rows[i].max,
              0);
        check(cpuid_lookup(&table, 0xd, 1, &now), 0xf, rows[i].compact, 0, 0);
    }
}

static void leaf_d_has_the_states_that_are_allowed(void **state)
{
    struct cpuid_config config = full;
    (void)state;
    config.xcr0_allowed = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    build(&config);
    check(ask(0xd, 2), 256, 576, 0, 0);
    for (u32 sub = 3; sub < 70; sub++)
        check_zero(0xd, sub);
    build(&full);
    check(ask(0xd, 5), 64, 1088, 0, 0);
    check(ask(0xd, 7), 1024, 1664, 0, 0);
    check_zero(0xd, 3); // MPX
    check_zero(0xd, 8); // PT, a supervisor state
    check_zero(0xd, 9); // PKRU
    check_zero(0xd, 0xffffffff);
    config.xcr0_allowed = 0;
    build(&config);
    check_zero(0xd, 0);
    check_zero(0xd, 1);
}

// A state that asks for alignment gets it in the compacted format.
static struct cpuid_regs host_aligned(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r = host(leaf, subleaf);
    if (leaf == 0xd && subleaf == 5)
        r.eax = 8;
    if (leaf == 0xd && subleaf == 6)
        r.ecx |= BIT32(1);
    return r;
}

static void compacted_states_are_aligned_where_they_ask(void **state)
{
    struct cpuid_config config = full;
    (void)state;
    config.host = host_aligned;
    build(&config);
    struct cpuid_state now = {.xcr0 = XCR0_ALL};
    // 576 + 256 + 8, aligned to 896, + 512 + 1024.
    assert_int_equal(cpuid_lookup(&table, 0xd, 1, &now).ebx, 896 + 512 + 1024);
}

static void without_a_compacted_format_its_size_is_not_told(void **state)
{
    (void)state;
    host_fill = 1; // XSAVEOPT alone
    build(&full);
    check(ask(0xd, 1), 1, 0, 0, 0);
}

// ---- the ends of the ranges -------------------------------------------------------------------

static void highest_leaves_are_corbels_own(void **state)
{
    static const u32 maxima[] = {0x01, 0x07, 0x0b, 0x0d, 0x14, 0x16, 0x1f, 0x24};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(maxima); i++) {
        host_max = maxima[i];
        build(&full);
        assert_int_equal(ask(0, 0).eax, 0x16); // the clocks are always told
        assert_int_equal(ask(0, 0).ebx, 0x756e6547);
        assert_int_equal(ask(0x80000000, 0).eax, 0x80000008);
        assert_int_equal(ask(0x80000000, 0).ebx, 0);
        // What lies between and the host has not.
        if (maxima[i] < 7)
            check_zero(7, 0);
        if (maxima[i] < 0xd)
            check_zero(0xd, 0);
    }
    host_max_extended = 0x80000004;
    build(&full);
    assert_int_equal(ask(0x80000000, 0).eax, 0x80000004);
}

// SDM volume 2: above the highest basic or extended leaf, the data of the highest basic one.
static void leaf_above_the_highest_gives_the_highest_basic_one(void **state)
{
    static const u32 leaves[] = {0x17,       0x20,       0x3fffffff, 0x40000100,
                                 0x7fffffff, 0x80000009, 0x80000100, 0xffffffff};
    (void)state;
    build(&full);
    struct cpuid_regs last = ask(0x16, 0);
    assert_int_equal(last.eax, 2600);
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
        check(ask(leaves[i], 0), last.eax, last.ebx, last.ecx, last.edx);
}

static void subleaves_are_ignored_where_there_are_none(void **state)
{
    static const u32 leaves[] = {0, 1, 2, 6, 0x15, 0x16, 0x40000000, 0x80000001, 0x80000008};
    static const u32 subs[] = {1, 2, 0x40, 0xffffffff};
    (void)state;
    build(&full);
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        struct cpuid_regs r = ask(leaves[i], 0);
        for (unsigned k = 0; k < ARRAY_SIZE(subs); k++)
            check(ask(leaves[i], subs[k]), r.eax, r.ebx, r.ecx, r.edx);
    }
}

static void every_leaf_and_subleaf_can_be_asked_for(void **state)
{
    (void)state;
    build(&full);
    unsigned calls = host_calls;
    for (u32 leaf = 0; leaf < 0x60; leaf++)
        for (u32 sub = 0; sub < 0x60; sub++) {
            ask(leaf, sub);
            ask(0x40000000 + leaf, sub);
            ask(0x80000000 + leaf, sub);
            ask(leaf, 0u - sub);
        }
    assert_int_equal(host_calls, calls); // the CPU is asked once, when the table is made
}

// ---- Corbel's own leaves ----------------------------------------------------------------------

static void hypervisor_leaves(void **state)
{
    char signature[13] = {0};
    (void)state;
    build(&full);
    struct cpuid_regs r = ask(0x40000000, 0);
    assert_int_equal(r.eax, 0x40000010);
    memcpy(signature, &r.ebx, 4);
    memcpy(signature + 4, &r.ecx, 4);
    memcpy(signature + 8, &r.edx, 4);
    assert_string_equal(signature, CPUID_SIGNATURE);
    check(ask(0x40000010, 0), 2600000, 1000000, 0, 0); // kHz
    check_zero(0x40000001, 0);
    check_zero(0x4000000f, 0);
    check_zero(0x40000011, 0);
    check_zero(0x400000ff, 0);
}

// TSC = crystal * EBX / EAX, and the crystal is the LAPIC timer's clock. Linux computes both from
// it, in 32 bits and kHz, and wants no calibration then.
static void clock_leaves(void **state)
{
    static const u64 rates[] = {100000000,  999999000,  2593906123, 2600000000,
                                3999000000, 4294967295, 4400000000, 4400000001};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        struct cpuid_config config = full;
        config.tsc_hz = rates[i];
        config.lapic_hz = cpuid_crystal_hz(rates[i]);
        build(&config);
        struct cpuid_regs r = ask(0x15, 0);
        assert_int_equal((u64)r.ecx * r.ebx / r.eax, rates[i] >> 32 ? rates[i] & ~1ull : rates[i]);
        assert_int_equal(r.ecx, config.lapic_hz);
        assert_int_equal(r.ecx / 1000 * r.ebx / r.eax, rates[i] / 1000);
        check(ask(0x16, 0), (u32)(rates[i] / 1000000), (u32)(rates[i] / 1000000), 100, 0);
    }
}

static void clocks_of_any_ratio_are_in_lowest_terms(void **state)
{
    static const struct {
        u64 tsc, lapic;
        u32 eax, ebx;
    } rows[] = {
        {100000000,  1000000000, 10,         1         },
        {2600000000, 1000000000, 5,          13        },
        {2400000000, 24000000,   1,          100       },
        {2593906123, 1000000000, 1000000000, 2593906123},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_config config = full;
        config.tsc_hz = rows[i].tsc;
        config.lapic_hz = rows[i].lapic;
        build(&config);
        check(ask(0x15, 0), rows[i].eax, rows[i].ebx, (u32)rows[i].lapic, 0);
    }
}

static void address_widths(void **state)
{
    (void)state;
    host_fill = 0x3027;
    build(&full);
    check(ask(0x80000008, 0), 0x302e, 0, 0, 0); // the linear width is the CPU's
    host_fill = 0x392e;
    build(&full);
    check(ask(0x80000008, 0), 0x302e, 0, 0, 0); // of one with LA57, which is not shown
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(hidden_features_stay_hidden, reset),
        cmocka_unit_test_setup(nothing_is_invented, reset),
        cmocka_unit_test_setup(a_feature_is_shown_only_with_what_makes_it_work, reset),
        cmocka_unit_test_setup(vector_features_go_with_their_state, reset),
        cmocka_unit_test_setup(osxsave_mirrors_cr4_where_there_is_xsave, reset),
        cmocka_unit_test_setup(an_apic_that_is_off_is_not_shown, reset),
        cmocka_unit_test_setup(topology_is_one_thread, reset),
        cmocka_unit_test_setup(leaf_d_tells_sizes, reset),
        cmocka_unit_test_setup(leaf_d_has_the_states_that_are_allowed, reset),
        cmocka_unit_test_setup(compacted_states_are_aligned_where_they_ask, reset),
        cmocka_unit_test_setup(without_a_compacted_format_its_size_is_not_told, reset),
        cmocka_unit_test_setup(highest_leaves_are_corbels_own, reset),
        cmocka_unit_test_setup(leaf_above_the_highest_gives_the_highest_basic_one, reset),
        cmocka_unit_test_setup(subleaves_are_ignored_where_there_are_none, reset),
        cmocka_unit_test_setup(every_leaf_and_subleaf_can_be_asked_for, reset),
        cmocka_unit_test_setup(hypervisor_leaves, reset),
        cmocka_unit_test_setup(clock_leaves, reset),
        cmocka_unit_test_setup(clocks_of_any_ratio_are_in_lowest_terms, reset),
        cmocka_unit_test_setup(address_widths, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
