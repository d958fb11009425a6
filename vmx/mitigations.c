// SPDX-License-Identifier: MIT
#include "vmx/mitigations.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/regs/cpuid.h"
#include "arch/x86_64/regs/msr.h"

// The deepest return stack buffer there is. After enhanced IBRS one call is enough; they come in
// twos.
#define RSB_DEPTH   32u
#define PBRSB_CALLS 2u

static const char *const names[MITIGATION_COUNT] = {
    [MITIGATE_REGISTERS] = "registers",
    [MITIGATE_RSB] = "RSB",
    [MITIGATE_IBRS] = "IBRS",
    [MITIGATE_BHI] = "BHI",
    [MITIGATE_IBPB] = "IBPB",
    [MITIGATE_VERW] = "VERW",
    [MITIGATE_L1D] = "L1D",
};

static bool has(const struct mitigation_cpu *cpu, u64 capability)
{
    return cpu->arch_capabilities & capability;
}

// MDS, TAA, MMIO stale data and RFDS leave data in buffers that VERW overwrites. Of the last two
// only the cure tells which CPUs have them.
static bool needs_verw(const struct mitigation_cpu *cpu)
{
    bool taa = (cpu->leaf7_ebx & CPUID_7_EBX_RTM) && !has(cpu, ARCH_CAP_TAA_NO);
    return !has(cpu, ARCH_CAP_MDS_NO) || taa || has(cpu, ARCH_CAP_FB_CLEAR | ARCH_CAP_RFDS_CLEAR);
}

static bool needed(const struct mitigation_cpu *cpu, enum mitigation which)
{
    switch (which) {
    case MITIGATE_RSB:
        // Enhanced IBRS guards the host's returns too, but for the first one: post-barrier RSB.
        return !has(cpu, ARCH_CAP_IBRS_ALL) || !has(cpu, ARCH_CAP_PBRSB_NO);
    case MITIGATE_BHI:
        // Plain IBRS leaves nothing that the history could choose from.
        return has(cpu, ARCH_CAP_IBRS_ALL) && !has(cpu, ARCH_CAP_BHI_NO);
    case MITIGATE_VERW:
        return needs_verw(cpu);
    case MITIGATE_L1D:
        // L1TF. The second says that an outer hypervisor flushes it.
        return !has(cpu, ARCH_CAP_RDCL_NO) && !has(cpu, ARCH_CAP_SKIP_L1DFL_VMENTRY);
    default:
        return true;
    }
}

static bool offered(const struct mitigation_cpu *cpu, enum mitigation which)
{
    switch (which) {
    case MITIGATE_IBRS:
    case MITIGATE_IBPB:
        return cpu->leaf7_edx & CPUID_7_EDX_IBRS;
    case MITIGATE_VERW:
        return (cpu->leaf7_edx & CPUID_7_EDX_MD_CLEAR) ||
               has(cpu, ARCH_CAP_FB_CLEAR | ARCH_CAP_RFDS_CLEAR);
    case MITIGATE_L1D:
        return cpu->leaf7_edx & CPUID_7_EDX_L1D_FLUSH;
    default:
        return true; // they are instructions only
    }
}

static enum mitigation_state state(const struct mitigation_cpu *cpu, enum mitigation which,
                                   bool off)
{
    if (!needed(cpu, which))
        return MITIGATION_NOT_NEEDED;
    if (!offered(cpu, which))
        return MITIGATION_MISSING;
    return off ? MITIGATION_OFF : MITIGATION_ON;
}

// Where the CPU cannot leave the history out, instructions overwrite it, on the same way as the
// return stack buffer.
static void guard_history(const struct mitigation_cpu *cpu, struct mitigations *m)
{
    if (cpu->leaf7_2_edx & CPUID_7_2_EDX_BHI_CTRL) {
        m->spec_ctrl |= SPEC_CTRL_BHI_DIS_S;
        return;
    }
    m->history = true;
    m->rsb_calls = m->rsb_calls ? m->rsb_calls : PBRSB_CALLS;
}

static void add_command(struct mitigations *m, u32 msr, u64 value)
{
    m->commands[m->command_count++] = (struct msr_command){msr, value};
}

void mitigations_decide(const struct mitigation_cpu *cpu, bool off, struct mitigations *out)
{
    bool enhanced = has(cpu, ARCH_CAP_IBRS_ALL);

    *out = (struct mitigations){.spec_msr = IA32_SPEC_CTRL};
    for (unsigned i = 0; i < MITIGATION_COUNT; i++)
        out->state[i] = state(cpu, (enum mitigation)i, off);
    if (mitigated(out, MITIGATE_IBRS))
        out->spec_ctrl |= SPEC_CTRL_IBRS;
    // Without the enhanced kind it is the write that keeps older branches out, even if the bit was
    // set before: Intel, "Indirect Branch Restricted Speculation".
    out->spec_each = mitigated(out, MITIGATE_IBRS) && !enhanced;
    if (mitigated(out, MITIGATE_RSB))
        out->rsb_calls = enhanced ? PBRSB_CALLS : RSB_DEPTH;
    if (mitigated(out, MITIGATE_BHI))
        guard_history(cpu, out);
    if (mitigated(out, MITIGATE_IBPB))
        add_command(out, IA32_PRED_CMD, PRED_CMD_IBPB);
    // Not at each entry: until another vCPU becomes current the host handles this one's VM only,
    // and what it has in the cache of its own is of no use to a guest.
    if (mitigated(out, MITIGATE_L1D))
        add_command(out, IA32_FLUSH_CMD, FLUSH_CMD_L1D);
}

static void log_those(const struct mitigations *m, enum mitigation_state state, const char *intro)
{
    char list[80];
    size_t length = 0;

    for (unsigned i = 0; i < MITIGATION_COUNT; i++)
        if (m->state[i] == state)
            length += (size_t)fmt_snprintf(list + length, sizeof(list) - length, "%s%s",
                                           length ? ", " : "", names[i]);
    if (length)
        log_info("mitigations: %s: %s", intro, list);
}

void mitigations_log(const struct mitigations *m)
{
    log_those(m, MITIGATION_ON, "on");
    log_those(m, MITIGATION_OFF, "off, as the command line has it");
    log_those(m, MITIGATION_NOT_NEEDED, "not needed on this CPU");
    log_those(m, MITIGATION_MISSING, "needed, but the CPU has none");
}
