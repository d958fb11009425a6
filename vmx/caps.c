// SPDX-License-Identifier: MIT
#include "vmx/caps.h"

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/outer.h"
#include "arch/x86_64/regs/msr.h"

#define CTL(word, bit, name, text) {CTL_##word, (bit), (text)},
const struct ctl_info ctl_infos[] = {
#include "vmx/controls.def"
};
#undef CTL

const unsigned ctl_infos_count = ARRAY_SIZE(ctl_infos);

static const struct {
    const char *name;
    const char *msr; // where its allowed settings are reported
} ctl_words[CTL_WORDS] = {
    [CTL_PIN] = {"pin-based controls",                 "IA32_VMX_TRUE_PINBASED_CTLS (48DH) or 481H"},
    [CTL_PROC] = {"primary processor-based controls",
                 "IA32_VMX_TRUE_PROCBASED_CTLS (48EH) or 482H"                                     },
    [CTL_PROC2] = {"secondary processor-based controls", "IA32_VMX_PROCBASED_CTLS2 (48BH)"           },
    [CTL_PROC3] = {"tertiary processor-based controls",  "IA32_VMX_PROCBASED_CTLS3 (492H)"           },
    [CTL_EXIT] = {"VM-exit controls",                   "IA32_VMX_TRUE_EXIT_CTLS (48FH) or 483H"    },
    [CTL_ENTRY] = {"VM-entry controls",                  "IA32_VMX_TRUE_ENTRY_CTLS (490H) or 484H"   },
};

// The timer and MSR-bitmap controls and the rest of what Corbel's exit handling is built on;
// hardware that lacks a required one is refused with its name.
const struct ctl_policy ctl_policies[CTL_WORDS] = {
    [CTL_PIN] = {.required = PIN_EXT_INTR | PIN_NMI,
                 .optional = PIN_VNMI | PIN_PREEMPTION_TIMER,
                 .refused = PIN_POSTED_INTR                                                   },
    [CTL_PROC] = {.required = PROC_TSC_OFFSETTING | PROC_HLT | PROC_CR8_LOAD | PROC_CR8_STORE |
                              PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY |
                              // What CPUID hides must not work either; every CPU has these.
                              PROC_MONITOR | PROC_MWAIT | PROC_RDPMC,
                 .optional = PROC_TPR_SHADOW,
                 .refused = PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INTR_WINDOW | PROC_NMI_WINDOW |
                             PROC_MTF | PROC_TERTIARY | PROC_INVLPG | PROC_MOV_DR             },
    [CTL_PROC2] = {.required = PROC2_EPT,
                 .optional = PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD | PROC2_UNRESTRICTED |
                               PROC2_INVPCID | PROC2_XSAVES | APICV_CONTROLS,
                 .refused = PROC2_DESC_TABLE | PROC2_PML | PROC2_VMCS_SHADOWING | PROC2_EPT_VE},
    [CTL_EXIT] = {.required = EXIT_HOST64 | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER |
                              EXIT_LOAD_EFER | EXIT_SAVE_DEBUG,
                 .optional = EXIT_ACK_INTR,
                 .refused = EXIT_LOAD_PERF_GLOBAL | EXIT_SECONDARY | EXIT_SAVE_PREEMPTION     },
    [CTL_ENTRY] = {.required = ENTRY_LOAD_PAT | ENTRY_LOAD_EFER | ENTRY_LOAD_DEBUG,
                 .optional = 0,
                 .refused = ENTRY_SMM | ENTRY_DEACTIVATE_DUAL | ENTRY_LOAD_PERF_GLOBAL        },
};

const char *ctl_name(enum ctl_word word, unsigned bit)
{
    for (unsigned i = 0; i < ctl_infos_count; i++)
        if (ctl_infos[i].word == word && ctl_infos[i].bit == bit)
            return ctl_infos[i].name;
    return "reserved bit";
}

const char *ctl_word_name(enum ctl_word word)
{
    return ctl_words[word].name;
}

static struct ctl_allowed allowed_of(u64 msr)
{
    return (struct ctl_allowed){.must = (u32)msr, .may = (u32)(msr >> 32)};
}

// IA32_VMX_BASIC, IA32_VMX_MISC and the control words: SDM volume 3, "Basic VMX Information",
// "Miscellaneous Data", "VM-Execution Controls".
void vmx_caps_decode(const struct vmx_probe *probe, struct vmx_caps *caps)
{
    const struct vmx_msrs *m = &probe->msrs;
    bool true_controls = m->basic & BIT(55);

    memset(caps, 0, sizeof(*caps));
    caps->revision = (u32)bits_get(m->basic, 30, 0);
    caps->region_size = (u32)bits_get(m->basic, 44, 32);
    caps->region_below_4g = m->basic & BIT(48);
    caps->region_type = (u8)bits_get(m->basic, 53, 50);
    caps->io_insn_info = m->basic & BIT(54);
    caps->true_controls = true_controls;
    caps->any_error_code = m->basic & BIT(56);

    caps->ctl[CTL_PIN] = allowed_of(true_controls ? m->true_pin : m->pin);
    caps->ctl[CTL_PROC] = allowed_of(true_controls ? m->true_proc : m->proc);
    caps->ctl[CTL_EXIT] = allowed_of(true_controls ? m->true_exit : m->exit);
    caps->ctl[CTL_ENTRY] = allowed_of(true_controls ? m->true_entry : m->entry);
    // The MSRs of words that must first be activated mean something only if that is offered.
    if (caps->ctl[CTL_PROC].may & PROC_SECONDARY)
        caps->ctl[CTL_PROC2] = allowed_of(m->proc2);
    if (caps->ctl[CTL_PROC].may & PROC_TERTIARY)
        caps->proc3_may = m->proc3;
    caps->ctl[CTL_PROC3].may = (u32)caps->proc3_may;
    if (caps->ctl[CTL_EXIT].may & EXIT_SECONDARY)
        caps->exit2_may = m->exit2;
    if (caps->ctl[CTL_PROC2].may & PROC2_VMFUNC)
        caps->vmfunc = m->vmfunc;

    caps->preemption_rate = (u8)bits_get(m->misc, 4, 0);
    caps->exit_stores_lma = m->misc & BIT(5);
    caps->activity = (u8)bits_get(m->misc, 8, 6);
    caps->cr3_targets = (u16)bits_get(m->misc, 24, 16);
    caps->msr_list_max = 512u * ((u32)bits_get(m->misc, 27, 25) + 1);
    caps->insn_length_0 = m->misc & BIT(30);
    caps->cr0_fixed0 = m->cr0_fixed0;
    caps->cr0_fixed1 = m->cr0_fixed1;
    caps->cr4_fixed0 = m->cr4_fixed0;
    caps->cr4_fixed1 = m->cr4_fixed1;
    if (caps->ctl[CTL_PROC2].may & (PROC2_EPT | PROC2_VPID))
        caps->ept_vpid = m->ept_vpid;
    // A VPID whose translations nothing can flush is of no use.
    if (!vmx_has_invvpid(caps->ept_vpid))
        caps->ctl[CTL_PROC2].may &= ~(u32)PROC2_VPID;
    caps->ept = ept_caps_decode(caps->ept_vpid);
    caps->maxphyaddr = probe->maxphyaddr;
}

// ---- features that are taken away --------------------------------------------------------------

#define CONTROL(name, text, word, control)                                                         \
    {text, CTL_##word, word##_##control, offsetof(struct vmx_msrs, basic), 0},
#define CAPABILITY(name, text, msr, bits) {text, 0, 0, offsetof(struct vmx_msrs, msr), (bits)},
#define HOST(name, text)                  {text, 0, 0, offsetof(struct vmx_msrs, basic), 0},
static const struct {
    const char *word;
    u8 controls; // enum ctl_word
    u32 control;
    u16 msr; // where in struct vmx_msrs
    u64 bits;
} features[FEATURE_COUNT] = {
#include "vmx/features.def"
};
#undef CONTROL
#undef CAPABILITY
#undef HOST

const char *feature_word(unsigned index)
{
    return features[index].word;
}

// Takes it out of the allowed 1-settings of the MSRs of either kind.
static void take_control(struct vmx_msrs *m, enum ctl_word word, u32 control)
{
    u64 *const msrs[][2] = {
        [CTL_PIN] = {&m->pin,   &m->true_pin  },
          [CTL_PROC] = {&m->proc,  &m->true_proc },
        [CTL_PROC2] = {&m->proc2, &m->proc2     },
          [CTL_EXIT] = {&m->exit,  &m->true_exit },
        [CTL_ENTRY] = {&m->entry, &m->true_entry},
    };
    for (unsigned i = 0; i < 2; i++)
        *msrs[word][i] &= ~((u64)control << 32);
}

void vmx_probe_without(struct vmx_probe *probe, u32 taken)
{
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if (!(taken & BIT32(i)))
            continue;
        take_control(&probe->msrs, (enum ctl_word)features[i].controls, features[i].control);
        *(u64 *)((u8 *)&probe->msrs + features[i].msr) &= ~features[i].bits;
    }
}

u64 vmx_msrs_value(const struct vmx_msrs *msrs, u32 msr)
{
    return ((const u64 *)msrs)[msr - IA32_VMX_BASIC];
}

u32 vmx_msrs_difference(const struct vmx_msrs *a, const struct vmx_msrs *b)
{
    _Static_assert(sizeof(*a) == (IA32_VMX_EXIT_CTLS2 - IA32_VMX_BASIC + 1) * sizeof(u64),
                   "one value each");
    for (u32 msr = IA32_VMX_BASIC; msr <= IA32_VMX_EXIT_CTLS2; msr++)
        if (vmx_msrs_value(a, msr) != vmx_msrs_value(b, msr))
            return msr;
    return 0;
}

int ctl_negotiate(const struct ctl_allowed *allowed, const struct ctl_policy *policy,
                  struct ctl_outcome *out)
{
    out->missing = policy->required & ~allowed->may;
    out->forced = policy->refused & allowed->must;
    out->value = policy->required | (policy->optional & allowed->may) | allowed->must;
    return out->missing || out->forced ? E_UNSUPP : OK;
}

// ---- the verdict ------------------------------------------------------------------------------

static void verdict_set(struct vmx_verdict *v, enum vmx_verdict_kind kind, const char *why,
                        const char *advice)
{
    v->kind = kind;
    str_copy(v->why, sizeof(v->why), why);
    str_copy(v->advice, sizeof(v->advice), advice);
}

// CPUID.1:ECX[5] is clear. QEMU's TCG may call its CPU an AMD one; any other hypervisor's CPU is of
// the vendor that the host's is.
static void judge_absent(const struct vmx_probe *p, struct vmx_verdict *v)
{
    bool intel = !strcmp(p->vendor, "GenuineIntel") || !strcmp(p->hypervisor, OUTER_TCG);

    if (!intel) {
        verdict_set(v, VMX_NOT_INTEL, "", "Corbel needs an Intel CPU with VT-x and EPT");
        fmt_snprintf(v->why, sizeof(v->why),
                     "no VT-x: the CPU is from %s, and AMD-V is not supported", p->vendor);
    } else if (p->hypervisor[0]) {
        verdict_set(v, VMX_HIDDEN, "", outer_nesting(p->hypervisor));
        fmt_snprintf(v->why, sizeof(v->why), "no VT-x: the outer hypervisor (%s) does not offer it",
                     p->hypervisor);
    } else {
        verdict_set(v, VMX_ABSENT, "no VT-x: this CPU does not have it",
                    "use a CPU with Intel VT-x and EPT, or look for \"Intel Virtualization "
                    "Technology\" in the firmware setup, which can hide it");
    }
}

// The eight combinations of lock and enable bits: SDM volume 3, "Enabling and Entering VMX
// Operation".
static bool judge_feature_control(const struct vmx_probe *p, struct vmx_verdict *v)
{
    static const char firmware[] = "enable \"Intel Virtualization Technology\" (VT-x, VMX) in the "
                                   "firmware setup, then power the machine off fully";
    u64 fc = p->feature_control;

    if (!p->feature_control_ok) {
        verdict_set(v, VMX_LOCKED_OFF, "IA32_FEATURE_CONTROL cannot be read", firmware);
        return false;
    }
    if (!(fc & FEATURE_CONTROL_LOCK)) {
        verdict_set(v, VMX_UNLOCKED, "VT-x is there and not locked by firmware", "nothing to do");
        return true;
    }
    if (fc & FEATURE_CONTROL_VMX_OUTSIDE) {
        verdict_set(v, VMX_READY, "VT-x is there and enabled by firmware", "nothing to do");
        return true;
    }
    if (fc & FEATURE_CONTROL_VMX_IN_SMX)
        verdict_set(v, VMX_SMX_ONLY, "firmware allows VT-x only inside SMX operation (Intel TXT)",
                    "turn Intel TXT off in the firmware setup, leave VT-x on, then power the "
                    "machine off fully");
    else
        verdict_set(v, VMX_LOCKED_OFF, "VT-x is disabled and locked by firmware", firmware);
    return false;
}

static bool judge_controls(const struct vmx_probe *p, const struct vmx_caps *caps,
                           struct vmx_verdict *v)
{
    const char *advice = p->hypervisor[0]
                             ? "the outer hypervisor hides it: give the guest a fuller CPU model"
                             : "this CPU is too old for Corbel";

    for (unsigned word = 0; word < CTL_WORDS; word++) {
        struct ctl_outcome out;
        if (ctl_negotiate(&caps->ctl[word], &ctl_policies[word], &out) == OK)
            continue;
        u32 bad = out.missing ? out.missing : out.forced;
        unsigned bit = bit_lowest(bad);
        bool ept = word == CTL_PROC2 && (out.missing & PROC2_EPT);
        bool secondary = word == CTL_PROC && (out.missing & PROC_SECONDARY);
        verdict_set(v, ept || secondary ? VMX_NO_EPT : VMX_NO_CONTROL, "", advice);
        if (ept || secondary)
            fmt_snprintf(v->why, sizeof(v->why), "no EPT: the control \"%s\" is not offered (%s)",
                         ctl_name((enum ctl_word)word, bit), ctl_words[word].msr);
        else
            fmt_snprintf(v->why, sizeof(v->why), "the control \"%s\" %s (%s, bit %u)",
                         ctl_name((enum ctl_word)word, bit),
                         out.missing ? "is not offered" : "cannot be turned off",
                         ctl_words[word].msr, bit);
        return false;
    }
    return true;
}

static bool judge_ept(const struct vmx_probe *p, const struct vmx_caps *caps, struct vmx_verdict *v)
{
    static const struct {
        u64 bits;
        const char *name;
    } needed[] = {
        {BIT(6),  "a page-walk length of 4"     },
        {BIT(14), "write-back paging structures"},
        {BIT(20), "INVEPT"                      },
        {BIT(26), "INVEPT of all contexts"      },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
        if ((caps->ept_vpid & needed[i].bits) == needed[i].bits)
            continue;
        verdict_set(v, VMX_NO_EPT, "",
                    p->hypervisor[0] ? "give the guest a fuller CPU model"
                                     : "this CPU is too old for Corbel");
        fmt_snprintf(v->why, sizeof(v->why),
                     "no usable EPT: %s is not offered (IA32_VMX_EPT_VPID_CAP, 48CH)",
                     needed[i].name);
        return false;
    }
    return true;
}

void vmx_judge(const struct vmx_probe *probe, const struct vmx_caps *caps,
               struct vmx_verdict *verdict)
{
    struct vmx_verdict enabled;

    memset(verdict, 0, sizeof(*verdict));
    if (!probe->vmx) {
        judge_absent(probe, verdict);
        return;
    }
    // Firmware's switch first: what it hides may come back with it.
    if (!judge_feature_control(probe, &enabled)) {
        *verdict = enabled;
        return;
    }
    if (judge_controls(probe, caps, verdict) && judge_ept(probe, caps, verdict))
        *verdict = enabled;
}
