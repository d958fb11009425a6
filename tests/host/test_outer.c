// SPDX-License-Identifier: MIT
// Outer hypervisors: who they are by their CPUID leaves, and what is to be done there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/outer.h"

static struct {
    struct cpuid_regs first, second, timing;
    bool asked_timing;
} leaves;

static struct cpuid_regs read_leaf(u32 leaf, u32 subleaf)
{
    assert_int_equal(subleaf, 0);
    switch (leaf) {
    case 0x40000000:
        return leaves.first;
    case 0x40000100:
        return leaves.second;
    case 0x40000010:
        leaves.asked_timing = true;
        return leaves.timing;
    default:
        fail_msg("leaf %x", leaf);
        return (struct cpuid_regs){0};
    }
}

static struct cpuid_regs signed_by(const char *signature, u32 max)
{
    char text[12] = {0};
    u32 words[3];
    memcpy(text, signature, strlen(signature));
    memcpy(words, text, sizeof(words));
    return (struct cpuid_regs){max, words[0], words[1], words[2]};
}

static struct outer look(void)
{
    struct outer outer;
    memset(&outer, 0x5a, sizeof(outer));
    outer_read(&outer, read_leaf);
    return outer;
}

// What each is known to answer, and a word of what is to be done.
static const struct {
    const char *signature;
    const char *advice;
} hypervisors[] = {
    {"KVMKVMKVM",    "modprobe kvm_intel nested=1"    },
    {"Linux KVM Hv", "modprobe kvm_intel nested=1"    },
    {"TCGTCGTCGTCG", "-accel kvm -cpu host"           },
    {"Microsoft Hv", "-ExposeVirtualizationExtensions"},
    {"VMwareVMware", "vhv.enable"                     },
    {"XenVMMXenVMM", "nestedhvm=1"                    },
    {"VBoxVBoxVBox", "--nested-hw-virt on"            },
    {"prl hyperv  ", "nested virtualization"          },
    {" lrpepyh  vr", "nested virtualization"          },
    {"bhyve bhyve ", "no VT-x for its guests"         },
    {"ACRNACRNACRN", "no VT-x for its guests"         },
    {"HAXMHAXMHAXM", "no VT-x for its guests"         },
    {"OpenBSDVMM58", "no VT-x for its guests"         },
    {"CorbelCorbel", "no VT-x for its guests"         },
    {"QNXQVMBSQG",   "if it has that"                 },
};

static void each_is_recognised_and_has_its_advice(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(hypervisors); i++) {
        memset(&leaves, 0, sizeof(leaves));
        leaves.first = signed_by(hypervisors[i].signature, 0x40000001);
        struct outer outer = look();
        assert_string_equal(outer.signature, hypervisors[i].signature);
        assert_int_equal(outer.tsc_hz, 0);
        const char *advice = outer_nesting(outer.signature);
        assert_non_null(strstr(advice, hypervisors[i].advice));
        assert_in_range(strlen(advice), 20, 150);
    }
}

// KVM's and Xen's Hyper-V enlightenments, as Windows guests get them.
static void a_pose_as_hyper_v_is_seen_through(void **state)
{
    (void)state;
    static const char *const behind[] = {"KVMKVMKVM", "XenVMMXenVMM"};
    for (unsigned i = 0; i < ARRAY_SIZE(behind); i++) {
        memset(&leaves, 0, sizeof(leaves));
        leaves.first = signed_by("Microsoft Hv", 0x40000005);
        leaves.second = signed_by(behind[i], 0x40000101);
        assert_string_equal(look().signature, behind[i]);
    }
    // Hyper-V itself: nothing there, or the highest basic leaf's data.
    leaves.second = (struct cpuid_regs){7, 0x64, 0x64, 0};
    assert_string_equal(look().signature, "Microsoft Hv");
    leaves.second = signed_by("SomeoneElse!", 0x40000101);
    assert_string_equal(look().signature, "Microsoft Hv");
}

static void a_hypervisor_without_a_name_is_one_all_the_same(void **state)
{
    (void)state;
    static const struct cpuid_regs rows[] = {
        {0,          0,          0,          0   }, // no leaf
        {0x16,       0x64,       0x64,       0   }, // the highest basic leaf's data
        {~0u,        ~0u,        ~0u,        ~0u },
        {0x40000001, 0x4b4d564b, 0x1b5b314d, 0x4d}, // an escape sequence for the console
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        memset(&leaves, 0, sizeof(leaves));
        leaves.first = rows[i];
        assert_string_equal(look().signature, "unknown");
        assert_int_equal(look().tsc_hz, 0);
    }
    assert_non_null(strstr(outer_nesting("unknown"), "nested virtualization"));
    // All twelve bytes used.
    leaves.first = signed_by("TCGTCGTCGTCG", 0x40000001);
    assert_int_equal(strlen(look().signature), 12);
}

static void the_tsc_as_the_hypervisor_tells_it(void **state)
{
    (void)state;
    static const struct {
        const char *signature;
        u32 max;
        bool believed;
    } rows[] = {
        {"VMwareVMware", 0x40000010, true },
        {"KVMKVMKVM",    0x40000010, true },
        {"KVMKVMKVM",    0x40000001, false},
        {"KVMKVMKVM",    0,          false}, // KVM's old way to say 40000001H
        {"VMwareVMware", 0xffffffff, false},
        {"TCGTCGTCGTCG", 0x40000010, false},
        {"Microsoft Hv", 0x40000010, false}, // another meaning
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        memset(&leaves, 0, sizeof(leaves));
        leaves.first = signed_by(rows[i].signature, rows[i].max);
        leaves.timing.eax = 4200000; // kHz: beyond 32 bits in Hz
        assert_int_equal(look().tsc_hz, rows[i].believed ? 4200000000ull : 0);
        assert_int_equal(leaves.asked_timing, rows[i].believed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_recognised_and_has_its_advice),
        cmocka_unit_test(a_pose_as_hyper_v_is_seen_through),
        cmocka_unit_test(a_hypervisor_without_a_name_is_one_all_the_same),
        cmocka_unit_test(the_tsc_as_the_hypervisor_tells_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
