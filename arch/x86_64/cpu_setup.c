// SPDX-License-Identifier: MIT
// The one state that each CPU is put into.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/traps.h"

bool cpu_unhide_features(void)
{
    const u64 hiding = MISC_ENABLE_LIMIT_CPUID | MISC_ENABLE_XD_DISABLE;
    u64 misc;
    if (!rdmsr_safe(IA32_MISC_ENABLE, &misc) || !(misc & hiding))
        return false;
    return wrmsr_safe(IA32_MISC_ENABLE, misc & ~hiding);
}

// Every CPU with VT-x has leaf 4: where it is missing, the highest leaf has been limited.
void cpu_read_features(void)
{
    cpu_features_decode(&cpu_features, cpuid);
    bool complete = cpu_features.nx && cpu_features.max_leaf >= 4;
    if (!complete && cpu_features.intel && cpu_unhide_features())
        cpu_features_decode(&cpu_features, cpuid);
}

u64 cpu_host_cr0(void)
{
    return CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
}

u64 cpu_host_cr4(const struct cpu_features *features)
{
    u64 cr4 = CR4_PAE;
    if (features->mce)
        cr4 |= CR4_MCE;
    // Corbel uses no vector registers itself; the guests' state is saved with FXSAVE or XSAVE.
    if (features->fxsr)
        cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (features->xsave)
        cr4 |= CR4_OSXSAVE;
    if (features->umip)
        cr4 |= CR4_UMIP;
    if (features->smep)
        cr4 |= CR4_SMEP;
    if (features->smap)
        cr4 |= CR4_SMAP;
    return cr4;
}

void cpu_setup(void)
{
    // NXE comes before any table with bit 63 is loaded, else that bit is a reserved one.
    wrmsr(IA32_EFER, EFER_LME | EFER_LMA | (cpu_features.nx ? EFER_NXE : 0));
    write_cr0(cpu_host_cr0());
    write_cr4(cpu_host_cr4(&cpu_features));
    if (cpu_features.xsave)
        xsetbv(0, XCR0_X87 | XCR0_SSE);
    if (cpu_features.pat)
        wrmsr(IA32_PAT, PAT_CORBEL);
    // Nothing is cached in the TLB under the old PAT, CR4 or EFER after this.
    write_cr3(read_cr3());
}
