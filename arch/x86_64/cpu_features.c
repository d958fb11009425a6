// SPDX-License-Identifier: MIT
#include "arch/x86_64/cpu_features.h"

#include "arch/x86_64/lib/string.h"

typedef struct cpuid_regs (*cpuid_fn)(u32 leaf, u32 subleaf);

#define EXTENDED_BASE    0x80000000u
#define PHYS_BITS_UNTOLD 36 // SDM: where leaf 80000008H is missing and PAE is there
#define ARCH_PHYS_BITS   52

static void put_words(char *text, const u32 *words, unsigned count)
{
    memcpy(text, words, count * sizeof(words[0]));
    text[count * sizeof(words[0])] = 0;
}

static void decode_identity(struct cpu_features *f, u32 signature)
{
    u32 family = (u32)bits_get(signature, 11, 8);
    u32 model = (u32)bits_get(signature, 7, 4);
    if (family == 6 || family == 15)
        model |= (u32)bits_get(signature, 19, 16) << 4;
    if (family == 15)
        family += (u32)bits_get(signature, 27, 20);
    f->family = (u16)family;
    f->model = (u16)model;
    f->stepping = (u8)bits_get(signature, 3, 0);
}

static void decode_brand(struct cpu_features *f, cpuid_fn read)
{
    u32 words[12];
    for (u32 i = 0; i < 3; i++) {
        struct cpuid_regs r = read(EXTENDED_BASE + 2 + i, 0);
        memcpy(&words[i * 4], &r, sizeof(r));
    }
    char text[49];
    put_words(text, words, 12);
    // The string is right-justified on older CPUs.
    const char *first = text;
    while (*first == ' ')
        first++;
    str_copy(f->brand, sizeof(f->brand), first);
}

static void decode_leaf_1(struct cpu_features *f, cpuid_fn read)
{
    struct cpuid_regs r = read(1, 0);
    decode_identity(f, r.eax);
    f->apic_id = r.ebx >> 24;
    f->vmx = r.ecx & CPUID_1_ECX_VMX;
    f->pcid = r.ecx & CPUID_1_ECX_PCID;
    f->x2apic = r.ecx & CPUID_1_ECX_X2APIC;
    f->tsc_deadline = r.ecx & CPUID_1_ECX_TSC_DEADLINE;
    f->xsave = r.ecx & CPUID_1_ECX_XSAVE;
    f->fpu = r.edx & CPUID_1_EDX_FPU;
    f->fxsr = r.edx & CPUID_1_EDX_FXSR;
    f->mce = r.edx & CPUID_1_EDX_MCE;
    f->pat = r.edx & CPUID_1_EDX_PAT;
    f->apic = r.edx & CPUID_1_EDX_APIC;
    if (r.ecx & CPUID_1_ECX_HYPERVISOR)
        outer_read(&f->outer, read);
}

static void decode_leaf_7(struct cpu_features *f, cpuid_fn read)
{
    struct cpuid_regs r = read(7, 0);
    f->fsgsbase = r.ebx & CPUID_7_EBX_FSGSBASE;
    f->tsc_adjust = r.ebx & CPUID_7_EBX_TSC_ADJUST;
    f->smep = r.ebx & CPUID_7_EBX_SMEP;
    f->smap = r.ebx & CPUID_7_EBX_SMAP;
    f->invpcid = r.ebx & CPUID_7_EBX_INVPCID;
    f->umip = r.ecx & CPUID_7_ECX_UMIP;
    f->la57 = r.ecx & CPUID_7_ECX_LA57;
}

// Leaf 15H gives the TSC as a ratio of a crystal whose frequency some CPUs leave out; then the TSC
// is not told exactly and only leaf 16H's round number is left.
static void decode_tsc(struct cpu_features *f, cpuid_fn read)
{
    if (f->max_leaf >= 0x15) {
        struct cpuid_regs r = read(0x15, 0);
        if (r.eax) // where another of the three is missing, the result is 0 by itself
            f->tsc_hz = (u64)r.ecx * r.ebx / r.eax;
    }
    if (f->max_leaf >= 0x16)
        f->tsc_hz_nominal = (read(0x16, 0).eax & 0xffff) * 1000000ull;
}

static void decode_extended(struct cpu_features *f, cpuid_fn read)
{
    u32 max = read(EXTENDED_BASE, 0).eax;
    f->max_ext_leaf = max >= EXTENDED_BASE && max <= EXTENDED_BASE + 0xffff ? max : 0;
    f->phys_bits = PHYS_BITS_UNTOLD;
    f->linear_bits = 48;
    if (f->max_ext_leaf >= EXTENDED_BASE + 1) {
        struct cpuid_regs r = read(EXTENDED_BASE + 1, 0);
        f->nx = r.edx & CPUID_80000001_EDX_NX;
        f->pages_1g = r.edx & CPUID_80000001_EDX_PAGE1GB;
        f->rdtscp = r.edx & CPUID_80000001_EDX_RDTSCP;
    }
    if (f->max_ext_leaf >= EXTENDED_BASE + 4)
        decode_brand(f, read);
    if (f->max_ext_leaf >= EXTENDED_BASE + 7)
        f->invariant_tsc = read(EXTENDED_BASE + 7, 0).edx & CPUID_80000007_EDX_INVARIANT_TSC;
    if (f->max_ext_leaf >= EXTENDED_BASE + 8) {
        u32 eax = read(EXTENDED_BASE + 8, 0).eax;
        u32 bits = eax & 0xff;
        f->phys_bits = (u8)(bits < 32               ? PHYS_BITS_UNTOLD
                            : bits > ARCH_PHYS_BITS ? ARCH_PHYS_BITS
                                                    : bits);
        f->linear_bits = (u8)(eax >> 8);
    }
}

void cpu_features_decode(struct cpu_features *features, cpuid_fn read)
{
    struct cpu_features *f = features;
    memset(f, 0, sizeof(*f));
    struct cpuid_regs r = read(0, 0);
    f->max_leaf = r.eax;
    put_words(f->vendor, (u32[]){r.ebx, r.edx, r.ecx}, 3);
    f->intel = strcmp(f->vendor, "GenuineIntel") == 0;
    if (f->max_leaf >= 1)
        decode_leaf_1(f, read);
    if (f->max_leaf >= 7)
        decode_leaf_7(f, read);
    if (f->max_leaf >= 0xb) {
        struct cpuid_regs topology = read(0xb, 0);
        if (topology.ebx & 0xffff)
            f->apic_id = topology.edx;
    }
    if (f->xsave && f->max_leaf >= 0xd) {
        struct cpuid_regs state = read(0xd, 0);
        f->xcr0_allowed = (u64)state.edx << 32 | state.eax;
    }
    decode_tsc(f, read);
    decode_extended(f, read);
}
