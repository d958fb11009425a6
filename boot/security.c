// SPDX-License-Identifier: MIT
#include "boot/security.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"

// As the registers have them: what is said is what is on. Without NX data could be executed.
void security_tell_host(void)
{
    const u64 cr4 = read_cr4();
    const struct {
        const char *name;
        bool on;
    } list[] = {
        {"W^X",         rdmsr(IA32_EFER) & EFER_NXE},
        {"guard pages", true                       },
        {"WP",          read_cr0() & CR0_WP        },
        {"SMEP",        cr4 & CR4_SMEP             },
        {"SMAP",        cr4 & CR4_SMAP             },
        {"UMIP",        cr4 & CR4_UMIP             },
    };
    char on[64] = "", lacking[64] = "";
    size_t n = 0, m = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        if (list[i].on)
            n += (size_t)fmt_snprintf(on + n, sizeof(on) - n, "%s%s", n ? ", " : "", list[i].name);
        else
            m += (size_t)fmt_snprintf(lacking + m, sizeof(lacking) - m, "%s%s",
                                      m ? ", " : "; not on this CPU: ", list[i].name);
    log_info("security: Corbel's own memory: %s%s", on, lacking);
}

static void read_cpu(struct mitigation_cpu *cpu)
{
    *cpu = (struct mitigation_cpu){0};
    if (cpu_features.max_leaf < 7)
        return;
    struct cpuid_regs seven = cpuid(7, 0);
    cpu->leaf7_ebx = seven.ebx;
    cpu->leaf7_edx = seven.edx;
    if (seven.eax >= 2)
        cpu->leaf7_2_edx = cpuid(7, 2).edx;
    if (seven.edx & CPUID_7_EDX_ARCH_CAP)
        cpu->arch_capabilities = rdmsr(IA32_ARCH_CAPABILITIES);
}

// Guests get executable large pages: mapping all by 4 KiB costs every one of them. On a CPU that
// does not say IF_PSCHANGE_MC_NO a hostile guest can use them to raise a machine check (iTLB
// multihit), which the user should know.
static void tell_of_large_pages(const struct mitigation_cpu *cpu)
{
    if (cpu->arch_capabilities & ARCH_CAP_IF_PSCHANGE_MC_NO)
        log_info("security: iTLB multihit: this CPU does not have it");
    else
        log_info("security: iTLB multihit: a hostile guest may raise a machine check, for guests "
                 "have executable large pages and this CPU does not report IF_PSCHANGE_MC_NO");
}

void security_start(const struct options *options, struct hypervisor *hv)
{
    struct mitigations *m = &hv->mitigations;
    struct mitigation_cpu cpu;

    read_cpu(&cpu);
    mitigations_decide(&cpu, options->mitigations_off, m);
    if (m->spec_ctrl)
        wrmsr(IA32_SPEC_CTRL, rdmsr(IA32_SPEC_CTRL) | m->spec_ctrl);
    mitigations_log(m);
    tell_of_large_pages(&cpu);
    log_info("security: always: absent EPT entries hold 0, an exit without a handler stops its VM "
             "alone, other CPUs run no guest");
    log_info("security: DMA: guests have no device of the machine; no IOMMU is used, so a device "
             "that firmware left busy could write anywhere");
}
