// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/cpu_features.h"

// Leaf numbers as the fake CPU keeps them: basic, hypervisor and extended ones.
static struct cpuid_regs basic[0x17], hypervisor, extended[9];

// A leaf the CPU does not have gives other data on some CPUs; here all ones, so that believing it
// shows.
static struct cpuid_regs fake(u32 leaf, u32 subleaf)
{
    assert_int_equal(subleaf, 0);
    if (leaf == 0x40000000)
        return hypervisor;
    if (leaf <= basic[0].eax && leaf < ARRAY_SIZE(basic))
        return basic[leaf];
    u32 index = leaf - 0x80000000u;
    if (index < ARRAY_SIZE(extended) && (index == 0 || leaf <= extended[0].eax))
        return extended[index];
    return (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
}

// A CPU with every leaf and no feature.
static int setup(void **state)
{
    (void)state;
    memset(basic, 0, sizeof(basic));
    memset(extended, 0, sizeof(extended));
    memset(&hypervisor, 0, sizeof(hypervisor));
    basic[0] = (struct cpuid_regs){0x16, 0x756e6547, 0x6c65746e, 0x49656e69};
    extended[0].eax = 0x80000008;
    extended[8].eax = 0x3028;
    return 0;
}

static struct cpu_features decode(void)
{
    struct cpu_features f;
    memset(&f, 0x5a, sizeof(f));
    cpu_features_decode(&f, fake);
    return f;
}

static void the_vendor(void **state)
{
    (void)state;
    struct cpu_features f = decode();
    assert_string_equal(f.vendor, "GenuineIntel");
    assert_true(f.intel);
    assert_int_equal(f.max_leaf, 0x16);
    assert_int_equal(f.max_ext_leaf, 0x80000008);
    basic[0] = (struct cpuid_regs){0x16, 0x68747541, 0x444d4163, 0x69746e65};
    f = decode();
    assert_string_equal(f.vendor, "AuthenticAMD");
    assert_false(f.intel);
}

static void family_model_stepping(void **state)
{
    (void)state;
    static const struct {
        u32 signature;
        u16 family, model;
        u8 stepping;
    } cpus[] = {
        {0x00050654, 6,    0x55, 4 }, // Skylake-X
        {0x000106e5, 6,    0x1e, 5 }, // Lynnfield
        {0x00000f4a, 15,   4,    10},
        {0x00100f43, 0x10, 4,    3 },
        {0x000f0543, 5,    4,    3 }, // no extended model outside families 6 and 15
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
        basic[1].eax = cpus[i].signature;
        struct cpu_features f = decode();
        assert_int_equal(f.family, cpus[i].family);
        assert_int_equal(f.model, cpus[i].model);
        assert_int_equal(f.stepping, cpus[i].stepping);
    }
}

static void the_brand_without_its_blanks(void **state)
{
    (void)state;
    char text[48];
    memset(text, 0, sizeof(text));
    strcpy(text, "      Intel(R) Core(TM) i7-7800X CPU @ 3.50GHz");
    memcpy(&extended[2], text, sizeof(text));
    assert_string_equal(decode().brand, "Intel(R) Core(TM) i7-7800X CPU @ 3.50GHz");
    // All 48 bytes used and no end among them.
    memset(&extended[2], 'x', sizeof(text));
    assert_int_equal(strlen(decode().brand), 48);
    memset(&extended[2], ' ', sizeof(text));
    assert_string_equal(decode().brand, "");
    extended[0].eax = 0x80000003;
    memset(&extended[2], 'x', sizeof(text));
    assert_string_equal(decode().brand, "");
}

// Each bit alone sets its flag and no other.
static void each_bit_has_its_flag(void **state)
{
    (void)state;
#define ROW(word, bit, field)                                                                      \
    {                                                                                              \
        &word, bit, offsetof(struct cpu_features, field)                                           \
    }
    const struct {
        u32 *word;
        u32 bit;
        size_t flag;
    } bits[] = {
        ROW(basic[1].ecx, CPUID_1_ECX_VMX, vmx),
        ROW(basic[1].ecx, CPUID_1_ECX_PCID, pcid),
        ROW(basic[1].ecx, CPUID_1_ECX_X2APIC, x2apic),
        ROW(basic[1].ecx, CPUID_1_ECX_TSC_DEADLINE, tsc_deadline),
        ROW(basic[1].ecx, CPUID_1_ECX_XSAVE, xsave),
        ROW(basic[1].edx, CPUID_1_EDX_FPU, fpu),
        ROW(basic[1].edx, CPUID_1_EDX_FXSR, fxsr),
        ROW(basic[1].edx, CPUID_1_EDX_MCE, mce),
        ROW(basic[1].edx, CPUID_1_EDX_PAT, pat),
        ROW(basic[1].edx, CPUID_1_EDX_APIC, apic),
        ROW(basic[7].ebx, CPUID_7_EBX_FSGSBASE, fsgsbase),
        ROW(basic[7].ebx, CPUID_7_EBX_TSC_ADJUST, tsc_adjust),
        ROW(basic[7].ebx, CPUID_7_EBX_SMEP, smep),
        ROW(basic[7].ebx, CPUID_7_EBX_SMAP, smap),
        ROW(basic[7].ebx, CPUID_7_EBX_INVPCID, invpcid),
        ROW(basic[7].ecx, CPUID_7_ECX_UMIP, umip),
        ROW(basic[7].ecx, CPUID_7_ECX_LA57, la57),
        ROW(extended[1].edx, CPUID_80000001_EDX_NX, nx),
        ROW(extended[1].edx, CPUID_80000001_EDX_PAGE1GB, pages_1g),
        ROW(extended[1].edx, CPUID_80000001_EDX_RDTSCP, rdtscp),
        ROW(extended[7].edx, CPUID_80000007_EDX_INVARIANT_TSC, invariant_tsc),
    };
#undef ROW
    struct cpu_features none = decode();
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
        *bits[i].word = bits[i].bit;
        struct cpu_features f = decode();
        *bits[i].word = 0;
        bool *flag = (bool *)((char *)&f + bits[i].flag);
        assert_true(*flag);
        *flag = false;
        assert_memory_equal(&f, &none, sizeof(f));
        // And all the others of the same register do not set it.
        *bits[i].word = ~bits[i].bit;
        f = decode();
        *bits[i].word = 0;
        assert_false(*flag);
    }
}

static void leaves_that_are_not_there_are_not_believed(void **state)
{
    (void)state;
    basic[0].eax = 1;
    extended[0].eax = 0;
    struct cpu_features f = decode();
    assert_false(f.smep || f.smap || f.umip || f.nx || f.pages_1g || f.invariant_tsc);
    assert_int_equal(f.tsc_hz, 0);
    assert_int_equal(f.tsc_hz_nominal, 0);
    assert_int_equal(f.phys_bits, 36);
    assert_int_equal(f.linear_bits, 48);
    assert_int_equal(f.max_ext_leaf, 0);
    assert_string_equal(f.brand, "");
    // CPUs without extended leaves may give anything for the first one.
    extended[0].eax = 0x12345678;
    assert_int_equal(decode().max_ext_leaf, 0);
    extended[0].eax = 0xffffffff;
    assert_int_equal(decode().max_ext_leaf, 0);
    basic[0].eax = 0;
    basic[1].ecx = ~0u;
    assert_false(decode().vmx);
}

static void address_widths(void **state)
{
    (void)state;
    struct cpu_features f = decode();
    assert_int_equal(f.phys_bits, 40);
    assert_int_equal(f.linear_bits, 48);
    extended[8].eax = 0x3934;
    f = decode();
    assert_int_equal(f.phys_bits, 52);
    assert_int_equal(f.linear_bits, 57);
    // What no page-table entry could hold, and what no 64-bit CPU has.
    extended[8].eax = 0x30ff;
    assert_int_equal(decode().phys_bits, 52);
    extended[8].eax = 0;
    assert_int_equal(decode().phys_bits, 36);
}

static void the_tsc_as_told(void **state)
{
    (void)state;
    // 24 MHz crystal, ratio 292 / 2.
    basic[0x15] = (struct cpuid_regs){2, 292, 24000000, 0};
    basic[0x16].eax = 3500;
    struct cpu_features f = decode();
    assert_int_equal(f.tsc_hz, 3504000000ull);
    assert_int_equal(f.tsc_hz_nominal, 3500000000ull);
    // Each of the three numbers may be missing.
    for (unsigned i = 0; i < 3; i++) {
        basic[0x15] =
            (struct cpuid_regs){i == 0 ? 0 : 2, i == 1 ? 0 : 292, i == 2 ? 0 : 24000000, 0};
        assert_int_equal(decode().tsc_hz, 0);
    }
    basic[0x15] = (struct cpuid_regs){2, 292, 24000000, 0};
    basic[0].eax = 0x15;
    assert_int_equal(decode().tsc_hz_nominal, 0);
    basic[0].eax = 0x14;
    assert_int_equal(decode().tsc_hz, 0);
    // 64-bit arithmetic.
    basic[0].eax = 0x16;
    basic[0x15] = (struct cpuid_regs){1, 1000, 0xffffffff, 0};
    assert_int_equal(decode().tsc_hz, 0xffffffffull * 1000);
}

static void apic_id(void **state)
{
    (void)state;
    basic[1].ebx = 0x12345678;
    assert_int_equal(decode().apic_id, 0x12);
    // Leaf 0BH counts only where it names a level.
    basic[0xb] = (struct cpuid_regs){0, 0, 0, 0x345};
    assert_int_equal(decode().apic_id, 0x12);
    basic[0xb].ebx = 2;
    assert_int_equal(decode().apic_id, 0x345);
    basic[0].eax = 0xa;
    assert_int_equal(decode().apic_id, 0x12);
}

static void the_outer_hypervisor(void **state)
{
    (void)state;
    hypervisor = (struct cpuid_regs){0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d};
    assert_string_equal(decode().outer.signature, "");
    basic[1].ecx = CPUID_1_ECX_HYPERVISOR;
    assert_string_equal(decode().outer.signature, "KVMKVMKVM");
}

static void xcr0_needs_xsave(void **state)
{
    (void)state;
    basic[0xd] = (struct cpuid_regs){0xe7, 0, 0, 0x80000000};
    assert_int_equal(decode().xcr0_allowed, 0);
    basic[1].ecx = CPUID_1_ECX_XSAVE;
    assert_int_equal(decode().xcr0_allowed, 0x80000000000000e7ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_vendor, setup),
        cmocka_unit_test_setup(family_model_stepping, setup),
        cmocka_unit_test_setup(the_brand_without_its_blanks, setup),
        cmocka_unit_test_setup(each_bit_has_its_flag, setup),
        cmocka_unit_test_setup(leaves_that_are_not_there_are_not_believed, setup),
        cmocka_unit_test_setup(address_widths, setup),
        cmocka_unit_test_setup(the_tsc_as_told, setup),
        cmocka_unit_test_setup(apic_id, setup),
        cmocka_unit_test_setup(the_outer_hypervisor, setup),
        cmocka_unit_test_setup(xcr0_needs_xsave, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
