// SPDX-License-Identifier: MIT
// SDM volume 2, "CPUID"; what is not named in a mask is hidden.
#include "vmx/cpuid_policy.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "guest/abi.h"

enum leaf_kind {
    LEAF_MASK, // the host's answer, masked
    LEAF_SUBS, // the same for subleaves 0..last
    LEAF_ZERO, // there, but says nothing
};

struct leaf_row {
    u32 leaf;
    u8 kind; // enum leaf_kind
    u8 last; // LEAF_SUBS
    struct cpuid_regs mask;
};

#define ALL 0xffffffffu

// What is shown where the host has it.
#define SHOWN_1_ECX                                                                                \
    (CPUID_1_ECX_SSE3 | CPUID_1_ECX_PCLMULQDQ | CPUID_1_ECX_SSSE3 | CPUID_1_ECX_FMA |              \
     CPUID_1_ECX_CX16 | CPUID_1_ECX_PCID | CPUID_1_ECX_SSE4_1 | CPUID_1_ECX_SSE4_2 |               \
     CPUID_1_ECX_MOVBE | CPUID_1_ECX_POPCNT | CPUID_1_ECX_AES | CPUID_1_ECX_XSAVE |                \
     CPUID_1_ECX_AVX | CPUID_1_ECX_F16C | CPUID_1_ECX_RDRAND)
#define SHOWN_1_EDX                                                                                \
    (CPUID_1_EDX_FPU | CPUID_1_EDX_VME | CPUID_1_EDX_DE | CPUID_1_EDX_PSE | CPUID_1_EDX_TSC |      \
     CPUID_1_EDX_MSR | CPUID_1_EDX_PAE | CPUID_1_EDX_MCE | CPUID_1_EDX_CX8 | CPUID_1_EDX_APIC |    \
     CPUID_1_EDX_SEP | CPUID_1_EDX_MTRR | CPUID_1_EDX_PGE | CPUID_1_EDX_MCA | CPUID_1_EDX_CMOV |   \
     CPUID_1_EDX_PAT | CPUID_1_EDX_PSE36 | CPUID_1_EDX_CLFSH | CPUID_1_EDX_MMX |                   \
     CPUID_1_EDX_FXSR | CPUID_1_EDX_SSE | CPUID_1_EDX_SSE2 | CPUID_1_EDX_SS)

// Instructions on registers that are in the state of AVX or of AVX-512.
#define AVX_7_ECX (BIT32(9) /* VAES */ | BIT32(10) /* VPCLMULQDQ */)
#define AVX512_7_EBX                                                                               \
    (CPUID_7_EBX_AVX512F | CPUID_7_EBX_AVX512DQ | BIT32(21) /* IFMA */ | BIT32(28) /* CD */ |      \
     BIT32(30) /* BW */ | BIT32(31) /* VL */)
#define AVX512_7_ECX                                                                               \
    (BIT32(1) /* VBMI */ | BIT32(6) /* VBMI2 */ | BIT32(11) /* VNNI */ | BIT32(12) /* BITALG */ |  \
     BIT32(14) /* VPOPCNTDQ */)

#define SHOWN_7_EBX                                                                                \
    (CPUID_7_EBX_FSGSBASE | CPUID_7_EBX_BMI1 | CPUID_7_EBX_AVX2 | CPUID_7_EBX_FDP_EXCPTN |         \
     CPUID_7_EBX_SMEP | CPUID_7_EBX_BMI2 | CPUID_7_EBX_ERMS | CPUID_7_EBX_INVPCID |                \
     CPUID_7_EBX_FPU_CS_DS | CPUID_7_EBX_RDSEED | CPUID_7_EBX_ADX | CPUID_7_EBX_SMAP |             \
     CPUID_7_EBX_CLFLUSHOPT | CPUID_7_EBX_CLWB | CPUID_7_EBX_SHA | AVX512_7_EBX)
#define SHOWN_7_ECX                                                                                \
    (CPUID_7_ECX_UMIP | BIT32(8) /* GFNI */ | CPUID_7_ECX_RDPID | AVX_7_ECX | AVX512_7_ECX)
#define SHOWN_7_EDX                                                                                \
    (BIT32(4) /* FSRM */ | CPUID_7_EDX_MD_CLEAR | CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP |           \
     CPUID_7_EDX_L1D_FLUSH | CPUID_7_EDX_ARCH_CAP | CPUID_7_EDX_SSBD)

#define SHOWN_80000001_ECX                                                                         \
    (CPUID_80000001_ECX_LAHF | CPUID_80000001_ECX_LZCNT | CPUID_80000001_ECX_PREFETCHW)
#define SHOWN_80000001_EDX                                                                         \
    (CPUID_80000001_EDX_SYSCALL | CPUID_80000001_EDX_NX | CPUID_80000001_EDX_PAGE1GB |             \
     CPUID_80000001_EDX_RDTSCP | CPUID_80000001_EDX_LM)

// Those of LEAF_ZERO that say something are filled in by fill_own().
INIT_CONST static const struct leaf_row rows[] = {
    {0x00,       LEAF_MASK, 0, {ALL, ALL, ALL, ALL}                          },
    {0x01,       LEAF_MASK, 0, {ALL, 0x0000ff00u, SHOWN_1_ECX, SHOWN_1_EDX}  },
    {0x02,       LEAF_MASK, 0, {ALL, ALL, ALL, ALL}                          },
    {0x04,       LEAF_SUBS, 3, {0x000003ffu, ALL, ALL, ALL}                  },
    {0x05,       LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x06,       LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x07,       LEAF_SUBS, 0, {0, SHOWN_7_EBX, SHOWN_7_ECX, SHOWN_7_EDX}    },
    {0x09,       LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x0a,       LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x0b,       LEAF_SUBS, 1, {0, 0, 0, 0}                                  },
    {0x0d,       LEAF_SUBS, 9, {ALL, ALL, ALL, ALL}                          },
    {0x15,       LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x16,       LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x40000000, LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x40000010, LEAF_ZERO, 0, {0, 0, 0, 0}                                  },
    {0x80000000, LEAF_MASK, 0, {ALL, 0, 0, 0}                                },
    {0x80000001, LEAF_MASK, 0, {0, 0, SHOWN_80000001_ECX, SHOWN_80000001_EDX}},
    {0x80000002, LEAF_MASK, 0, {ALL, ALL, ALL, ALL}                          },
    {0x80000003, LEAF_MASK, 0, {ALL, ALL, ALL, ALL}                          },
    {0x80000004, LEAF_MASK, 0, {ALL, ALL, ALL, ALL}                          },
    {0x80000006, LEAF_MASK, 0, {0, 0, ALL, 0}                                },
    {0x80000007, LEAF_MASK, 0, {0, 0, 0, CPUID_80000007_EDX_INVARIANT_TSC}   },
    {0x80000008, LEAF_MASK, 0, {0xffffu, 0, 0, 0}                            },
};

static void clear_unless(u32 *reg, bool keep, u32 bits)
{
    if (!keep)
        *reg &= ~bits;
}

// Feature bits that are only as good as a control, a device or another bit.
static void tie_features(struct cpuid_entry *e, const struct cpuid_config *c)
{
    struct cpuid_regs *r = &e->regs;
    bool avx = c->xcr0_allowed & XCR0_AVX;
    bool avx512 = c->xcr0_allowed & XCR0_OPMASK;

    switch (e->leaf) {
    case 0x01:
        r->ebx |= 1u << 16 | c->apic_id << 24; // one logical processor
        r->ecx |= CPUID_1_ECX_HYPERVISOR;
        r->ecx |=
            (c->x2apic ? CPUID_1_ECX_X2APIC : 0) | (c->tsc_deadline ? CPUID_1_ECX_TSC_DEADLINE : 0);
        clear_unless(&r->ecx, c->xcr0_allowed != 0, CPUID_1_ECX_XSAVE);
        clear_unless(&r->ecx, avx, CPUID_1_ECX_AVX | CPUID_1_ECX_FMA | CPUID_1_ECX_F16C);
        break;
    case 0x07:
        r->ebx |= CPUID_7_EBX_TSC_ADJUST; // emulated
        clear_unless(&r->ebx, c->invpcid, CPUID_7_EBX_INVPCID);
        clear_unless(&r->ebx, avx, CPUID_7_EBX_AVX2);
        clear_unless(&r->ebx, avx512, AVX512_7_EBX);
        clear_unless(&r->ecx, avx, AVX_7_ECX);
        clear_unless(&r->ecx, avx512, AVX512_7_ECX);
        clear_unless(&r->ecx, c->rdtscp, CPUID_7_ECX_RDPID);
        break;
    case 0x80000001:
        clear_unless(&r->edx, c->rdtscp, CPUID_80000001_EDX_RDTSCP);
        break;
    default:
        break;
    }
}

// Leaf DH: SDM volume 1, "Enumeration of CPU Support for XSAVE Instructions and XSAVE-Supported
// Features". EBX of subleaf 0 depends on XCR0 and is computed at each CPUID.
static void fill_xsave(struct cpuid_entry *e, const struct cpuid_config *c)
{
    if (e->subleaf == 0) {
        e->regs.eax = (u32)c->xcr0_allowed;
        e->regs.edx = (u32)(c->xcr0_allowed >> 32);
    } else if (e->subleaf == 1) {
        // XSAVEOPT, XSAVEC and XGETBV with ECX=1; no supervisor state.
        e->regs = (struct cpuid_regs){e->regs.eax & (c->xsaves ? 0xfu : 0x7u), 0, 0, 0};
    } else if (!(c->xcr0_allowed & BIT(e->subleaf))) {
        e->regs = (struct cpuid_regs){0, 0, 0, 0};
    }
}

INIT u64 cpuid_crystal_hz(u64 tsc_hz)
{
    while (tsc_hz >> 32)
        tsc_hz /= 2;
    return tsc_hz;
}

// TSC = crystal * EBX / EAX, with the LAPIC timer's clock for the crystal ECX, which is what system
// software takes it for. In lowest terms: some multiplies EBX with the crystal's kHz in 32 bits.
static void fill_clocks(struct cpuid_regs *r, u64 tsc_hz, u64 crystal_hz)
{
    if (tsc_hz % crystal_hz == 1)
        tsc_hz--; // cpuid_crystal_hz() has halved an odd number
    u64 a = tsc_hz, b = crystal_hz;
    while (b) {
        u64 rest = a % b;
        a = b;
        b = rest;
    }
    *r = (struct cpuid_regs){(u32)(crystal_hz / a), (u32)(tsc_hz / a), (u32)crystal_hz, 0};
}

// What a CPU with 57 bits has without LA57, which is hidden.
static u32 linear_bits(u32 eax)
{
    u32 host = eax >> 8 & 0xff;
    return host < 48 ? host : 48;
}

static void fill_own(struct cpuid_entry *e, const struct cpuid_config *c)
{
    switch (e->leaf) {
    case 0x06:
        // The emulated timer runs whatever the CPU does. No MPERF and APERF, no thermal sensor.
        e->regs.eax = CPUID_6_EAX_ARAT;
        break;
    case 0x0b:
        // Thread, then core; one of each, so that no bit of the APIC ID tells them apart.
        e->regs = (struct cpuid_regs){0, 1, (e->subleaf + 1) << 8 | e->subleaf, c->apic_id};
        break;
    case 0x0d:
        fill_xsave(e, c);
        break;
    case 0x15:
        fill_clocks(&e->regs, c->tsc_hz, c->lapic_hz);
        break;
    case 0x16:
        e->regs =
            (struct cpuid_regs){(u32)(c->tsc_hz / 1000000), (u32)(c->tsc_hz / 1000000), 100, 0};
        break;
    case 0x40000000:
        e->regs.eax = 0x40000010;
        memcpy(&e->regs.ebx, CPUID_SIGNATURE, 12);
        break;
    case 0x40000010:
        e->regs = (struct cpuid_regs){(u32)(c->tsc_hz / 1000), (u32)(c->lapic_hz / 1000), 0, 0};
        break;
    case 0x80000008:
        e->regs.eax = linear_bits(e->regs.eax) << 8 | c->maxphyaddr;
        break;
    default:
        tie_features(e, c);
        break;
    }
}

static struct cpuid_regs masked(struct cpuid_regs r, struct cpuid_regs m)
{
    return (struct cpuid_regs){r.eax & m.eax, r.ebx & m.ebx, r.ecx & m.ecx, r.edx & m.edx};
}

// The host has the leaf: basic and extended ranges each tell their highest.
static bool host_has(const struct cpuid_config *c, u32 leaf)
{
    if (leaf >= 0x40000000 && leaf < 0x80000000)
        return true; // Corbel's own
    return leaf <= c->host(leaf & 0x80000000u, 0).eax;
}

INIT void cpuid_build(struct cpuid_table *table, const struct cpuid_config *config)
{
    memset(table, 0, sizeof(*table));
    for (u32 i = 0; i < CPUID_READY; i++)
        table->ready.leaf[i] = i ^ 1; // whose place is another: there is no answer yet
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct leaf_row *row = &rows[i];
        // The frequency leaves are Corbel's own knowledge: there even where the host has none.
        bool own = row->leaf == 0x15 || row->leaf == 0x16;
        if (!own && !host_has(config, row->leaf))
            continue;
        if (row->leaf == 0x0d && !config->xcr0_allowed)
            continue;
        u32 last = row->kind == LEAF_SUBS ? row->last : 0;
        for (u32 sub = 0; sub <= last && table->count < CPUID_ENTRIES; sub++) {
            struct cpuid_entry *e = &table->entries[table->count++];
            *e = (struct cpuid_entry){.leaf = row->leaf, .subleaf = sub};
            if (row->kind != LEAF_ZERO)
                e->regs = masked(config->host(row->leaf, sub), row->mask);
            fill_own(e, config);
            if (sub == 0 && row->leaf < CPUID_DIRECT)
                table->direct[row->leaf] = (u8)table->count;
            if (row->leaf < 0x40000000)
                table->max_basic = row->leaf;
            else if (row->leaf >= 0x80000000)
                table->max_extended = row->leaf;
        }
    }
    // The highest leaves are ours, not the host's: what lies above does not exist here.
    for (u32 i = 0; i < table->count; i++) {
        if (table->entries[i].leaf == 0)
            table->entries[i].regs.eax = table->max_basic;
        else if (table->entries[i].leaf == 0x80000000)
            table->entries[i].regs.eax = table->max_extended;
    }
}

// Bytes of the XSAVE area for the features in xcr0: the end of the highest one, or (compacted) one
// behind the other. SDM volume 1, "Standard Format of XSAVE Area" and "Compacted Format".
static u32 xsave_size(const struct cpuid_table *table, u32 first, u64 xcr0, bool compacted)
{
    u32 size = 512 + 64; // legacy region and header
    for (u32 i = first; i < table->count && table->entries[i].leaf == 0x0d; i++) {
        const struct cpuid_entry *e = &table->entries[i];
        if (e->subleaf < 2 || !(xcr0 & BIT(e->subleaf)))
            continue;
        bool aligned = e->regs.ecx & BIT32(1);
        if (compacted)
            size = (u32)align_up(size, aligned ? 64 : 1) + e->regs.eax;
        else if (e->regs.ebx + e->regs.eax > size)
            size = e->regs.ebx + e->regs.eax;
    }
    return size;
}

// Index of the first entry of a leaf, or count.
static u32 find_leaf(const struct cpuid_table *table, u32 leaf)
{
    if (leaf < CPUID_DIRECT)
        return table->direct[leaf] ? table->direct[leaf] - 1u : table->count;
    u32 low = 0, high = table->count;
    while (low < high) {
        u32 mid = (low + high) / 2;
        if (table->entries[mid].leaf < leaf)
            low = mid + 1;
        else
            high = mid;
    }
    return low < table->count && table->entries[low].leaf == leaf ? low : table->count;
}

// What is above the highest answers as the highest basic leaf.
static u32 leaf_in_range(const struct cpuid_table *table, u32 leaf)
{
    bool hypervisor = leaf >= 0x40000000 && leaf <= 0x400000ff;
    if (!hypervisor && leaf > (leaf & 0x80000000u ? table->max_extended : table->max_basic))
        return table->max_basic;
    return leaf;
}

// The others ignore ECX.
static bool has_subleaves(u32 leaf)
{
    return leaf == 0x04 || leaf == 0x07 || leaf == 0x0b || leaf == 0x0d;
}

struct cpuid_regs cpuid_answer(struct cpuid_table *table, u32 leaf, u32 subleaf,
                               const struct cpuid_state *state)
{
    struct cpuid_regs r = cpuid_lookup(table, leaf, subleaf, state);
    struct cpuid_ready *ready = &table->ready;
    u32 slot = leaf % CPUID_READY, real = leaf_in_range(table, leaf);

    if (real == 0x01 || has_subleaves(real)) // 01H and 0DH depend on state
        return r;
    ready->leaf[slot] = leaf;
    ready->eax[slot] = r.eax;
    ready->ebx[slot] = r.ebx;
    ready->ecx[slot] = r.ecx;
    ready->edx[slot] = r.edx;
    return r;
}

struct cpuid_regs cpuid_lookup(const struct cpuid_table *table, u32 leaf, u32 subleaf,
                               const struct cpuid_state *state)
{
    leaf = leaf_in_range(table, leaf);
    u32 index = find_leaf(table, leaf);
    if (index == table->count)
        return (struct cpuid_regs){0, 0, 0, 0};
    if (has_subleaves(leaf) && subleaf) {
        if (subleaf >= table->count - index || table->entries[index + subleaf].leaf != leaf) {
            struct cpuid_regs none = {0, 0, 0, 0};
            if (leaf == 0x0b) {
                none.ecx = subleaf & 0xff;
                none.edx = table->entries[index].regs.edx;
            }
            return none;
        }
        index += subleaf;
    }
    struct cpuid_regs r = table->entries[index].regs;
    if (leaf == 0x01 && (state->cr4 & CR4_OSXSAVE) && (r.ecx & CPUID_1_ECX_XSAVE))
        r.ecx |= CPUID_1_ECX_OSXSAVE;
    if (leaf == 0x01 && state->apic_off)
        r.edx &= ~CPUID_1_EDX_APIC;
    if (leaf == 0x0d && subleaf <= 1) {
        u32 first = index - subleaf;
        if (subleaf == 0)
            r.ecx = xsave_size(table, first, ~0ull, false);
        if (subleaf == 0 || (r.eax & BIT32(1)))
            r.ebx = xsave_size(table, first, state->xcr0, subleaf == 1);
    }
    return r;
}
