// SPDX-License-Identifier: MIT
// The capability report: every VMX MSR with its bits by name.
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/regs/msr.h"
#include "vmx/caps.h"
#include "vmx/vmcs.h"

struct out {
    void (*line)(void *ctx, const char *text);
    void *ctx;
};

static void say(const struct out *o, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(const struct out *o, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    o->line(o->ctx, text);
}

static const char *yes_no(bool value)
{
    return value ? "yes" : "no";
}

static void report_word(const struct out *o, const struct vmx_caps *caps, enum ctl_word word)
{
    const struct ctl_allowed *a = &caps->ctl[word];

    say(o, "%s: must be 1 %08x, may be 1 %08x", ctl_word_name(word), a->must, a->may);
    for (unsigned i = 0; i < ctl_infos_count; i++) {
        const struct ctl_info *c = &ctl_infos[i];
        if (c->word != word)
            continue;
        u32 bit = BIT32(c->bit);
        const struct ctl_policy *p = &ctl_policies[word];
        say(o, "  %2u %-9s %s%s", c->bit,
            a->must & bit  ? "forced"
            : a->may & bit ? "offered"
                           : "absent",
            c->name,
            p->required & bit   ? " (required)"
            : p->optional & bit ? " (used if offered)"
                                : "");
    }
}

static void report_basic(const struct out *o, const struct vmx_probe *p, const struct vmx_caps *c)
{
    const struct vmx_msrs *m = &p->msrs;

    say(o, "IA32_FEATURE_CONTROL (3AH) %016llx: lock %s, VMX inside SMX %s, VMX outside SMX %s",
        (unsigned long long)p->feature_control, yes_no(p->feature_control & FEATURE_CONTROL_LOCK),
        yes_no(p->feature_control & FEATURE_CONTROL_VMX_IN_SMX),
        yes_no(p->feature_control & FEATURE_CONTROL_VMX_OUTSIDE));
    say(o, "IA32_VMX_BASIC (480H) %016llx: revision %08x, region %u bytes%s, memory type %u",
        (unsigned long long)m->basic, c->revision, c->region_size,
        c->region_below_4g ? " below 4 GiB" : "", c->region_type);
    say(o,
        "  dual-monitor treatment %s, INS/OUTS information %s, TRUE controls %s, "
        "any error code %s",
        yes_no(m->basic & BIT(49)), yes_no(c->io_insn_info), yes_no(c->true_controls),
        yes_no(c->any_error_code));
    say(o, "IA32_VMX_MISC (485H) %016llx: preemption timer every 2^%u ticks, LMA saved %s",
        (unsigned long long)m->misc, c->preemption_rate, yes_no(c->exit_stores_lma));
    say(o, "  activity states: HLT %s, shutdown %s, wait-for-SIPI %s; CR3 targets %u, MSR list %u",
        yes_no(c->activity & BIT(0)), yes_no(c->activity & BIT(1)), yes_no(c->activity & BIT(2)),
        c->cr3_targets, c->msr_list_max);
    say(o,
        "  PT in VMX %s, SMBASE readable %s, SMI unblock %s, VMWRITE any field %s, "
        "zero-length injection %s",
        yes_no(m->misc & BIT(14)), yes_no(m->misc & BIT(15)), yes_no(m->misc & BIT(28)),
        yes_no(m->misc & BIT(29)), yes_no(c->insn_length_0));
    say(o, "IA32_VMX_CR0_FIXED0/1 (486H/487H) %016llx %016llx", (unsigned long long)m->cr0_fixed0,
        (unsigned long long)m->cr0_fixed1);
    say(o, "IA32_VMX_CR4_FIXED0/1 (488H/489H) %016llx %016llx", (unsigned long long)m->cr4_fixed0,
        (unsigned long long)m->cr4_fixed1);
    say(o, "IA32_VMX_VMCS_ENUM (48AH) %016llx: highest index %u", (unsigned long long)m->vmcs_enum,
        (unsigned)bits_get(m->vmcs_enum, 9, 1));
    say(o, "IA32_VMX_PINBASED_CTLS (481H) %016llx, TRUE (48DH) %016llx", (unsigned long long)m->pin,
        (unsigned long long)m->true_pin);
    say(o, "IA32_VMX_PROCBASED_CTLS (482H) %016llx, TRUE (48EH) %016llx",
        (unsigned long long)m->proc, (unsigned long long)m->true_proc);
    say(o, "IA32_VMX_EXIT_CTLS (483H) %016llx, TRUE (48FH) %016llx", (unsigned long long)m->exit,
        (unsigned long long)m->true_exit);
    say(o, "IA32_VMX_ENTRY_CTLS (484H) %016llx, TRUE (490H) %016llx", (unsigned long long)m->entry,
        (unsigned long long)m->true_entry);
    say(o,
        "IA32_VMX_PROCBASED_CTLS2 (48BH) %016llx, CTLS3 (492H) %016llx, EXIT_CTLS2 (493H) "
        "%016llx",
        (unsigned long long)m->proc2, (unsigned long long)m->proc3, (unsigned long long)m->exit2);
}

static void report_ept(const struct out *o, const struct vmx_probe *p, const struct vmx_caps *c)
{
    static const struct {
        u8 bit;
        const char *name;
    } names[] = {
        {0,  "execute-only translations"           },
        {6,  "page-walk length 4"                  },
        {7,  "page-walk length 5"                  },
        {8,  "uncacheable paging structures"       },
        {14, "write-back paging structures"        },
        {16, "2 MiB pages"                         },
        {17, "1 GiB pages"                         },
        {20, "INVEPT"                              },
        {21, "accessed and dirty flags"            },
        {22, "advanced exit information"           },
        {23, "supervisor shadow-stack control"     },
        {25, "INVEPT single-context"               },
        {26, "INVEPT all-context"                  },
        {32, "INVVPID"                             },
        {40, "INVVPID individual-address"          },
        {41, "INVVPID single-context"              },
        {42, "INVVPID all-context"                 },
        {43, "INVVPID single-context, globals kept"},
    };
    say(o, "IA32_VMX_EPT_VPID_CAP (48CH) %016llx", (unsigned long long)c->ept_vpid);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        say(o, "  %2u %-9s %s", names[i].bit,
            c->ept_vpid & BIT(names[i].bit) ? "offered" : "absent", names[i].name);
    say(o, "IA32_VMX_VMFUNC (491H) %016llx: EPTP switching %s", (unsigned long long)p->msrs.vmfunc,
        yes_no(p->msrs.vmfunc & BIT(0)));
}

void vmx_caps_report(const struct vmx_probe *probe, const struct vmx_caps *caps,
                     const struct vmx_verdict *verdict, void (*line)(void *ctx, const char *text),
                     void *ctx)
{
    struct out o = {line, ctx};

    say(&o, "vendor %s, outer hypervisor %s, physical addresses %u bits, VMX %s", probe->vendor,
        probe->hypervisor[0] ? probe->hypervisor : "none", probe->maxphyaddr, yes_no(probe->vmx));
    if (probe->vmx) {
        report_basic(&o, probe, caps);
        for (unsigned word = 0; word < CTL_WORDS; word++)
            report_word(&o, caps, (enum ctl_word)word);
        report_ept(&o, probe, caps);
    }
    say(&o, "verdict: %s: %s", vmx_verdict_ok(verdict) ? "Corbel can run guests" : "no guests here",
        verdict->why);
    say(&o, "what to do: %s", verdict->advice);
}
