// SPDX-License-Identifier: MIT
// What a CPU's VMX MSRs say, which controls come of it, and whether it can run guests.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "tests/host/vmx_machines.h"

static const struct vmx_probe *const machines[] = {&machine_skylake, &machine_haswell,
                                                   &machine_lynnfield};

// ---- the list of controls ---------------------------------------------------------------------

static void controls_are_listed_once(void **state)
{
    (void)state;
    for (unsigned a = 0; a < ctl_infos_count; a++) {
        const struct ctl_info *c = &ctl_infos[a];
        assert_in_range(c->word, CTL_PIN, CTL_ENTRY);
        assert_in_range(c->bit, 0, 31);
        assert_true(c->name[0]);
        assert_ptr_equal(ctl_name((enum ctl_word)c->word, c->bit), c->name);
        for (unsigned b = 0; b < a; b++) {
            assert_false(ctl_infos[b].word == c->word && ctl_infos[b].bit == c->bit);
            assert_false(ctl_infos[b].word == c->word && !strcmp(ctl_infos[b].name, c->name));
        }
    }
    assert_string_equal(ctl_name(CTL_PIN, 1), "reserved bit");
    assert_string_equal(ctl_name(CTL_PROC2, 29), "reserved bit");
}

// The bits that Corbel lives by: SDM volume 3, "VM-Execution Control Fields" and its neighbours.
static void controls_have_the_sdms_numbers(void **state)
{
    (void)state;
    assert_int_equal(PIN_EXT_INTR | PIN_NMI | PIN_VNMI | PIN_PREEMPTION_TIMER, 0x69);
    assert_int_equal(PROC_INTR_WINDOW | PROC_NMI_WINDOW, 0x00400004);
    assert_int_equal(PROC_TSC_OFFSETTING | PROC_HLT, 0x88);
    assert_int_equal(PROC_CR8_LOAD | PROC_CR8_STORE | PROC_TPR_SHADOW, 0x00380000);
    assert_int_equal(PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY, 0x92000000);
    assert_int_equal(PROC2_EPT | PROC2_RDTSCP | PROC2_VPID | PROC2_UNRESTRICTED, 0xaa);
    assert_int_equal(PROC2_INVPCID | PROC2_XSAVES | PROC2_WBINVD, 0x00101040);
    assert_int_equal(EXIT_HOST64 | EXIT_ACK_INTR | EXIT_SAVE_DEBUG, 0x8204);
    assert_int_equal(EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER, 0x003c0000);
    assert_int_equal(ENTRY_LOAD_DEBUG | ENTRY_IA32E | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, 0xc204);
}

// ---- decoding ---------------------------------------------------------------------------------

static struct vmx_caps decode(const struct vmx_probe *probe)
{
    struct vmx_caps caps;
    memset(&caps, 0xa5, sizeof(caps));
    vmx_caps_decode(probe, &caps);
    return caps;
}

static void a_real_machine_is_decoded(void **state)
{
    (void)state;
    struct vmx_caps c = decode(&machine_skylake);
    assert_int_equal(c.revision, 0x2b);
    assert_int_equal(c.region_size, 0x1000);
    assert_int_equal(c.region_type, 6);
    assert_false(c.region_below_4g);
    assert_true(c.io_insn_info);
    assert_true(c.true_controls);
    assert_false(c.any_error_code);
    assert_int_equal(c.ctl[CTL_PIN].must, 0x16);
    assert_int_equal(c.ctl[CTL_PIN].may, 0x7f);
    assert_int_equal(c.ctl[CTL_PROC].must, 0x04006172);
    assert_int_equal(c.ctl[CTL_PROC].may, 0xf7f9fffe);
    assert_int_equal(c.ctl[CTL_PROC2].may, 0x02177fff);
    assert_int_equal(c.ctl[CTL_PROC3].may, 0);
    assert_int_equal(c.ctl[CTL_EXIT].must, 0x00036dfb);
    assert_int_equal(c.ctl[CTL_ENTRY].must, 0x11fb);
    assert_int_equal(c.preemption_rate, 0);
    assert_true(c.exit_stores_lma);
    assert_int_equal(c.activity, 7);
    assert_int_equal(c.cr3_targets, 4);
    assert_int_equal(c.msr_list_max, 512);
    assert_true(c.insn_length_0);
    assert_true(c.ept.large_1g);
    assert_int_equal(c.maxphyaddr, 40);
    assert_int_equal(c.cr4_fixed1, 0x3727ff);
}

// Each field from its own bits and from no others: one bit set at a time.
static void basic_and_misc_are_taken_apart(void **state)
{
    static const struct vmx_caps none;
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        struct vmx_caps c = decode(&(struct vmx_probe){.msrs.basic = BIT(bit)});
        assert_int_equal(c.revision, bit <= 30 ? BIT(bit) : 0);
        assert_int_equal(c.region_size, bit >= 32 && bit <= 44 ? BIT(bit - 32) : 0);
        assert_int_equal(c.region_below_4g, bit == 48);
        assert_int_equal(c.region_type, bit >= 50 && bit <= 53 ? BIT(bit - 50) : 0);
        assert_int_equal(c.io_insn_info, bit == 54);
        assert_int_equal(c.true_controls, bit == 55);
        assert_int_equal(c.any_error_code, bit == 56);

        c = decode(&(struct vmx_probe){.msrs.misc = BIT(bit)});
        assert_int_equal(c.preemption_rate, bit <= 4 ? BIT(bit) : 0);
        assert_int_equal(c.exit_stores_lma, bit == 5);
        assert_int_equal(c.activity, bit >= 6 && bit <= 8 ? BIT(bit - 6) : 0);
        assert_int_equal(c.cr3_targets, bit >= 16 && bit <= 24 ? BIT(bit - 16) : 0);
        assert_int_equal(c.msr_list_max, bit >= 25 && bit <= 27 ? 512 * (BIT(bit - 25) + 1) : 512);
        assert_int_equal(c.insn_length_0, bit == 30);
    }
    struct vmx_caps c = decode(&(struct vmx_probe){0});
    c.msr_list_max = 0;
    assert_memory_equal(&c.ctl, &none.ctl, sizeof(c.ctl));
}

static void preemption_timer_rates(void **state)
{
    static const u8 rates[] = {0, 5, 7, 31};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        struct vmx_probe p = machine_skylake;
        p.msrs.misc = (p.msrs.misc & ~0x1full) | rates[i];
        assert_int_equal(decode(&p).preemption_rate, rates[i]);
    }
}

static void true_controls_are_used_where_there_are_any(void **state)
{
    (void)state;
    struct vmx_probe p = {
        .msrs = {.pin = 0x1100000001,
                 .proc = 0x2200000002,
                 .exit = 0x4400000004,
                 .entry = 0x8800000008,
                 .true_pin = 0xaa00000010,
                 .true_proc = 0xbb00000020,
                 .true_exit = 0xcc00000040,
                 .true_entry = 0xdd00000080}
    };
    static const u32 plain[] = {0x1, 0x11, 0x2, 0x22, 0x4, 0x44, 0x8, 0x88};
    static const u32 real[] = {0x10, 0xaa, 0x20, 0xbb, 0x40, 0xcc, 0x80, 0xdd};
    static const u8 words[] = {CTL_PIN, CTL_PROC, CTL_EXIT, CTL_ENTRY};
    for (unsigned has = 0; has < 2; has++) {
        p.msrs.basic = has ? BIT(55) : 0;
        struct vmx_caps c = decode(&p);
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(c.ctl[words[i]].must, (has ? real : plain)[2 * i]);
            assert_int_equal(c.ctl[words[i]].may, (has ? real : plain)[2 * i + 1]);
        }
    }
}

// A word that another must activate counts only where it can be.
static void secondary_words_need_their_switch(void **state)
{
    (void)state;
    struct vmx_probe p = machine_skylake;
    p.msrs.proc3 = 0x1f;
    p.msrs.true_proc |= (u64)PROC_TERTIARY << 32;
    struct vmx_caps c = decode(&p);
    assert_int_equal(c.proc3_may, 0x1f);
    assert_int_equal(c.ctl[CTL_PROC3].may, 0x1f);
    p.msrs.true_proc &= ~((u64)(PROC_TERTIARY | PROC_SECONDARY) << 32);
    c = decode(&p);
    assert_int_equal(c.ctl[CTL_PROC2].may, 0);
    assert_int_equal(c.ctl[CTL_PROC3].may, 0);
    assert_int_equal(c.proc3_may, 0);
    assert_int_equal(c.ept_vpid, 0);
    assert_false(c.ept.walk_4);
}

static void vpid_is_there_only_if_it_can_be_flushed(void **state)
{
    static const struct {
        u64 missing;
        bool vpid;
    } rows[] = {
        {0,       true },
        {BIT(40), true }, // single address
        {BIT(41), true }, // single context: all will do
        {BIT(42), false},
        {BIT(32), false},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_probe p = machine_skylake;
        p.msrs.ept_vpid &= ~rows[i].missing;
        assert_int_equal(!!(decode(&p).ctl[CTL_PROC2].may & PROC2_VPID), rows[i].vpid);
    }
}

// ---- without= ---------------------------------------------------------------------------------

static struct vmx_caps decode_without(const struct vmx_probe *machine, u32 features)
{
    struct vmx_probe probe = *machine;
    vmx_probe_without(&probe, features);
    return decode(&probe);
}

// Each optional control has its word, which takes this control and nothing else; and Corbel does
// without.
static void each_optional_control_can_be_taken_away(void **state)
{
    (void)state;
    for (unsigned n = 0; n < CTL_WORDS * 32; n++) {
        enum ctl_word word = (enum ctl_word)(n / 32);
        u32 bit = BIT32(n % 32);
        if (!(ctl_policies[word].optional & bit))
            continue;
        unsigned words = 0;
        for (unsigned i = 0; i < FEATURE_COUNT; i++) {
            struct vmx_caps c = decode_without(&machine_skylake, BIT32(i));
            if (c.ctl[word].may & bit)
                continue;
            words++;
            c.ctl[word].may |= bit;
            struct vmx_caps whole = decode(&machine_skylake);
            assert_memory_equal(&c, &whole, sizeof(c));
        }
        if (words != 1)
            fail_msg("%u words of without= for \"%s\"", words, ctl_name(word, n % 32));
    }
}

static void no_feature_is_missed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        struct vmx_probe p = machine_skylake;
        vmx_probe_without(&p, BIT32(i));
        if (BIT32(i) != FEATURE_TSC_DEADLINE) // which is not VMX's
            assert_memory_not_equal(&p, &machine_skylake, sizeof(p));
        struct vmx_caps c = decode(&p);
        struct vmx_verdict v;
        vmx_judge(&p, &c, &v);
        assert_int_equal(v.kind, VMX_READY);
    }
    struct vmx_probe p = machine_skylake;
    vmx_probe_without(&p, 0);
    assert_memory_equal(&p, &machine_skylake, sizeof(p));
    vmx_probe_without(&p, ~0u);
    assert_int_equal(decode(&p).ctl[CTL_PIN].may & (PIN_VNMI | PIN_PREEMPTION_TIMER), 0);
    p = machine_skylake; // a CPU of before the TRUE MSRs
    p.msrs.basic &= ~BIT(55);
    vmx_probe_without(&p, FEATURE_VNMI);
    assert_false(decode(&p).ctl[CTL_PIN].may & PIN_VNMI);
}

// A control that the CPU forces stays: the CPU would not enter without.
static void what_is_forced_stays(void **state)
{
    (void)state;
    struct vmx_probe p = machine_skylake;
    p.msrs.proc2 |= PROC2_WBINVD;
    struct vmx_caps c = decode_without(&p, FEATURE_WBINVD_EXITING);
    assert_true(c.ctl[CTL_PROC2].must & PROC2_WBINVD);
}

static void features_outside_the_controls(void **state)
{
    (void)state;
    struct vmx_caps c = decode_without(&machine_skylake, FEATURE_EPT_1G);
    assert_true(c.ept.large_2m && !c.ept.large_1g);
    c = decode_without(&machine_skylake, FEATURE_EPT_2M);
    assert_false(c.ept.large_2m || c.ept.large_1g);
    c = decode_without(&machine_skylake, FEATURE_INVEPT_SINGLE);
    assert_true(!c.ept.invept_single && c.ept.invept_all);
    c = decode_without(&machine_skylake, FEATURE_INVVPID_SINGLE);
    assert_false(c.ept_vpid & EPT_VPID_INVVPID_SINGLE);
    assert_true(c.ctl[CTL_PROC2].may & PROC2_VPID);
    c = decode_without(&machine_skylake, FEATURE_STRING_IO_INFO);
    assert_false(c.io_insn_info);
}

// ---- negotiation ------------------------------------------------------------------------------

static void one_bit_in_every_circumstance(void **state)
{
    static const struct {
        bool must, may, required, optional, refused;
        int err;
        bool value, missing, forced;
    } rows[] = {
        {0, 0, 0, 0, 0, OK,       0, 0, 0},
        {0, 1, 0, 0, 0, OK,       0, 0, 0},
        {1, 1, 0, 0, 0, OK,       1, 0, 0},
        {0, 0, 0, 1, 0, OK,       0, 0, 0},
        {0, 1, 0, 1, 0, OK,       1, 0, 0},
        {1, 1, 0, 1, 0, OK,       1, 0, 0},
        {0, 0, 1, 0, 0, E_UNSUPP, 1, 1, 0},
        {0, 1, 1, 0, 0, OK,       1, 0, 0},
        {1, 1, 1, 0, 0, OK,       1, 0, 0},
        {0, 0, 0, 0, 1, OK,       0, 0, 0},
        {0, 1, 0, 0, 1, OK,       0, 0, 0},
        {1, 1, 0, 0, 1, E_UNSUPP, 1, 0, 1},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        for (unsigned bit = 0; bit < 32; bit += 31) {
            struct ctl_allowed allowed = {(u32)rows[i].must << bit, (u32)rows[i].may << bit};
            struct ctl_policy policy = {(u32)rows[i].required << bit, (u32)rows[i].optional << bit,
                                        (u32)rows[i].refused << bit};
            struct ctl_outcome out;
            assert_int_equal(ctl_negotiate(&allowed, &policy, &out), rows[i].err);
            assert_int_equal(out.value, (u32)rows[i].value << bit);
            assert_int_equal(out.missing, (u32)rows[i].missing << bit);
            assert_int_equal(out.forced, (u32)rows[i].forced << bit);
        }
    }
}

// No bit is asked for and refused at once, and none is asked for that has no name.
static void policies_make_sense(void **state)
{
    (void)state;
    for (unsigned word = 0; word < CTL_WORDS; word++) {
        const struct ctl_policy *p = &ctl_policies[word];
        assert_int_equal(p->required & p->refused, 0);
        assert_int_equal(p->optional & p->refused, 0);
        assert_int_equal(p->required & p->optional, 0);
        for (unsigned bit = 0; bit < 32; bit++)
            if ((p->required | p->optional | p->refused) & BIT32(bit))
                assert_string_not_equal(ctl_name((enum ctl_word)word, bit), "reserved bit");
    }
}

static void outcome_is_one_the_cpu_takes(void **state)
{
    (void)state;
    for (unsigned m = 0; m < ARRAY_SIZE(machines); m++) {
        struct vmx_caps c = decode(machines[m]);
        for (unsigned word = 0; word < CTL_WORDS; word++) {
            struct ctl_outcome out;
            assert_int_equal(ctl_negotiate(&c.ctl[word], &ctl_policies[word], &out), OK);
            assert_int_equal(c.ctl[word].must & ~out.value, 0);
            assert_int_equal(out.value & ~c.ctl[word].may, 0);
            assert_int_equal(ctl_policies[word].required & ~out.value, 0);
        }
    }
}

// ---- the verdict ------------------------------------------------------------------------------

static struct vmx_verdict judge(const struct vmx_probe *probe)
{
    struct vmx_caps caps = decode(probe);
    struct vmx_verdict v;
    memset(&v, 0xa5, sizeof(v));
    vmx_judge(probe, &caps, &v);
    assert_int_equal(vmx_verdict_ok(&v), v.kind == VMX_READY || v.kind == VMX_UNLOCKED);
    assert_non_null(memchr(v.why, 0, sizeof(v.why)));
    assert_true(v.why[0]);
    assert_true(v.advice[0]);
    return v;
}

static void machines_that_can(void **state)
{
    (void)state;
    for (unsigned m = 0; m < ARRAY_SIZE(machines); m++)
        assert_int_equal(judge(machines[m]).kind, VMX_READY);
}

// SDM volume 3, "Enabling and Entering VMX Operation": all eight combinations.
static void feature_control_decides(void **state)
{
    static const enum vmx_verdict_kind kinds[8] = {
        VMX_UNLOCKED, VMX_LOCKED_OFF, VMX_UNLOCKED, VMX_SMX_ONLY,
        VMX_UNLOCKED, VMX_READY,      VMX_UNLOCKED, VMX_READY,
    };
    (void)state;
    for (u64 value = 0; value < 8; value++) {
        struct vmx_probe p = machine_skylake;
        p.feature_control = value | 0xff00; // SENTER and others: of no matter
        assert_int_equal(judge(&p).kind, kinds[value]);
    }
    struct vmx_probe p = machine_skylake;
    p.feature_control_ok = false;
    struct vmx_verdict v = judge(&p);
    assert_int_equal(v.kind, VMX_LOCKED_OFF);
    assert_string_equal(v.why, "IA32_FEATURE_CONTROL cannot be read");
}

// As a hybrid CPU's two kinds of cores may.
static void the_msr_in_which_cpus_differ_is_named(void **state)
{
    (void)state;
    const struct vmx_msrs *boot = &machine_skylake.msrs;
    struct vmx_msrs other = *boot;
    assert_int_equal(vmx_msrs_difference(&other, boot), 0);
    other.exit2 = 1;
    assert_int_equal(vmx_msrs_difference(&other, boot), 0x493);
    other.misc ^= 1;
    assert_int_equal(vmx_msrs_difference(&other, boot), 0x485);
    assert_int_equal(vmx_msrs_value(&other, 0x485), other.misc);
    other.basic++;
    assert_int_equal(vmx_msrs_difference(&other, boot), 0x480);
    assert_int_equal(vmx_msrs_value(boot, 0x48c), boot->ept_vpid);
    assert_int_equal(vmx_msrs_value(boot, 0x490), boot->true_entry);
}

static void machines_without_vmx(void **state)
{
    static const struct {
        const char *vendor, *hypervisor;
        enum vmx_verdict_kind kind;
        const char *why, *advice;
    } rows[] = {
        {"AuthenticAMD", "",             VMX_NOT_INTEL, "AuthenticAMD",     "Intel CPU"            },
        {"HygonGenuine", "",             VMX_NOT_INTEL, "HygonGenuine",     "Intel CPU"            },
        {"GenuineIntel", "",             VMX_ABSENT,    "does not have it", "firmware setup"       },
        {"GenuineIntel", "KVMKVMKVM",    VMX_HIDDEN,    "(KVMKVMKVM)",      "nested=1"             },
        {"GenuineIntel", "Microsoft Hv", VMX_HIDDEN,    "(Microsoft Hv)",   "Set-VMProcessor"      },
        {"GenuineIntel", "unknown",      VMX_HIDDEN,    "(unknown)",        "nested virtualization"},
        {"AuthenticAMD", "TCGTCGTCGTCG", VMX_HIDDEN,    "(TCGTCGTCGTCG)",   "-accel kvm"           },
        {"AuthenticAMD", "Microsoft Hv", VMX_NOT_INTEL, "AuthenticAMD",     "Intel CPU"            },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_probe p = {0};
        strcpy(p.vendor, rows[i].vendor);
        strcpy(p.hypervisor, rows[i].hypervisor);
        // Nothing of this may count without the CPUID bit.
        p.msrs = machine_skylake.msrs;
        p.feature_control = 5;
        struct vmx_verdict v = judge(&p);
        assert_int_equal(v.kind, rows[i].kind);
        assert_non_null(strstr(v.why, rows[i].why));
        assert_non_null(strstr(v.advice, rows[i].advice));
    }
    assert_int_equal(judge(&machine_ryzen).kind, VMX_NOT_INTEL);
}

static void firmwares_switch_comes_before_what_is_missing(void **state)
{
    (void)state;
    struct vmx_probe p = machine_penryn;
    p.feature_control = 1;
    assert_int_equal(judge(&p).kind, VMX_LOCKED_OFF);
}

static void ept_must_be_there_and_usable(void **state)
{
    static const struct {
        u64 missing;
        const char *why;
    } rows[] = {
        {BIT(6),            "a page-walk length of 4"     },
        {BIT(14),           "write-back paging structures"},
        {BIT(20),           "INVEPT is not offered"       },
        {BIT(26),           "INVEPT of all contexts"      }, // VMXON is followed by one
        {BIT(25),           NULL                          },
        {BIT(16) | BIT(17), NULL                          },
        {BIT(0) | BIT(21),  NULL                          },
    };
    (void)state;
    struct vmx_verdict v = judge(&machine_penryn);
    assert_int_equal(v.kind, VMX_NO_EPT);
    assert_non_null(strstr(v.why, "\"enable EPT\""));
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_probe p = machine_skylake;
        p.msrs.ept_vpid &= ~rows[i].missing;
        v = judge(&p);
        assert_int_equal(v.kind, rows[i].why ? VMX_NO_EPT : VMX_READY);
        if (rows[i].why)
            assert_non_null(strstr(v.why, rows[i].why));
    }
    struct vmx_probe p = machine_skylake;
    p.msrs.true_proc &= ~((u64)PROC_SECONDARY << 32);
    v = judge(&p);
    assert_int_equal(v.kind, VMX_NO_EPT);
    assert_non_null(strstr(v.why, "activate secondary controls"));
}

static u64 *msr_of(struct vmx_msrs *m, enum ctl_word word)
{
    switch (word) {
    case CTL_PIN:
        return &m->true_pin;
    case CTL_PROC:
        return &m->true_proc;
    case CTL_PROC2:
        return &m->proc2;
    case CTL_EXIT:
        return &m->true_exit;
    default:
        return &m->true_entry;
    }
}

// Every required control missing, every refused one forced, one at a time, each named.
static void each_bad_control_is_named(void **state)
{
    static const u8 words[] = {CTL_PIN, CTL_PROC, CTL_PROC2, CTL_EXIT, CTL_ENTRY};
    unsigned tried = 0;
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(words) * 32; i++) {
        enum ctl_word word = (enum ctl_word)words[i / 32];
        u32 bit = BIT32(i % 32);
        const struct ctl_policy *policy = &ctl_policies[word];
        if (!((policy->required | policy->refused) & bit))
            continue;
        struct vmx_probe p = machine_skylake;
        u64 *msr = msr_of(&p.msrs, word);
        if (policy->required & bit)
            *msr &= ~((u64)bit << 32 | bit);
        else
            *msr |= (u64)bit << 32 | bit;
        struct vmx_verdict v = judge(&p);
        bool ept =
            (word == CTL_PROC2 && bit == PROC2_EPT) || (word == CTL_PROC && bit == PROC_SECONDARY);
        assert_int_equal(v.kind, ept ? VMX_NO_EPT : VMX_NO_CONTROL);
        assert_non_null(strstr(v.why, ctl_name(word, i % 32)));
        assert_non_null(
            strstr(v.why, policy->required & bit ? "is not offered" : "cannot be turned off"));
        assert_string_equal(v.advice, "this CPU is too old for Corbel");
        strcpy(p.hypervisor, "KVMKVMKVM");
        assert_non_null(strstr(judge(&p).advice, "the outer hypervisor hides it"));
        tried++;
    }
    assert_true(tried > 30);
}

static void optional_controls_are_no_ones_trouble(void **state)
{
    (void)state;
    struct vmx_probe p = machine_skylake;
    for (unsigned word = 0; word < CTL_WORDS; word++)
        if (word != CTL_PROC3)
            *msr_of(&p.msrs, (enum ctl_word)word) &= ~((u64)ctl_policies[word].optional << 32);
    assert_int_equal(judge(&p).kind, VMX_READY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_listed_once),
        cmocka_unit_test(controls_have_the_sdms_numbers),
        cmocka_unit_test(a_real_machine_is_decoded),
        cmocka_unit_test(basic_and_misc_are_taken_apart),
        cmocka_unit_test(preemption_timer_rates),
        cmocka_unit_test(true_controls_are_used_where_there_are_any),
        cmocka_unit_test(secondary_words_need_their_switch),
        cmocka_unit_test(vpid_is_there_only_if_it_can_be_flushed),
        cmocka_unit_test(each_optional_control_can_be_taken_away),
        cmocka_unit_test(no_feature_is_missed),
        cmocka_unit_test(what_is_forced_stays),
        cmocka_unit_test(features_outside_the_controls),
        cmocka_unit_test(one_bit_in_every_circumstance),
        cmocka_unit_test(policies_make_sense),
        cmocka_unit_test(outcome_is_one_the_cpu_takes),
        cmocka_unit_test(machines_that_can),
        cmocka_unit_test(feature_control_decides),
        cmocka_unit_test(the_msr_in_which_cpus_differ_is_named),
        cmocka_unit_test(machines_without_vmx),
        cmocka_unit_test(firmwares_switch_comes_before_what_is_missing),
        cmocka_unit_test(ept_must_be_there_and_usable),
        cmocka_unit_test(each_bad_control_is_named),
        cmocka_unit_test(optional_controls_are_no_ones_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
