// SPDX-License-Identifier: MIT
// What VMX this CPU has: the capability MSRs decoded, controls negotiated, and a verdict in plain
// words. Pure: the MSR values are handed in. SDM volume 3, "VMX Capability Reporting Facility".
#pragma once

#include "arch/x86_64/lib/bits.h"
#include "ept/ept.h"

enum ctl_word { CTL_PIN, CTL_PROC, CTL_PROC2, CTL_PROC3, CTL_EXIT, CTL_ENTRY, CTL_WORDS };

// PIN_EXT_INTR, PROC_HLT, PROC2_EPT, EXIT_HOST64, ENTRY_IA32E, ...
#define CTL(word, bit, name, text) word##_##name = 1u << (bit),
enum ctl_bit {
#include "vmx/controls.def"
};
#undef CTL

struct ctl_info {
    u8 word; // enum ctl_word
    u8 bit;
    const char *name; // as the SDM has it
} PACKED;
extern const struct ctl_info ctl_infos[];
extern const unsigned ctl_infos_count;

// The control's name in words, or "reserved bit".
const char *ctl_name(enum ctl_word word, unsigned bit);
// "pin-based controls", "primary processor-based controls", ...
const char *ctl_word_name(enum ctl_word word);

// Secondary controls by which the CPU virtualizes the local APIC; apicv_choose() says which of
// those that are offered go together.
#define APICV_CONTROLS (PROC2_APIC_ACCESS | PROC2_X2APIC | PROC2_APIC_REGISTER | PROC2_VIRT_INTR)

// The raw facts, read by vmx_probe_cpu() or made up by a test: IA32_VMX_BASIC (480H) to
// IA32_VMX_EXIT_CTLS2 (493H), in the order of their numbers. An MSR that the CPU does not have is
// 0.
struct vmx_msrs {
    u64 basic;
    u64 pin, proc, exit, entry; // 481H-484H
    u64 misc;
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    u64 vmcs_enum;
    u64 proc2;
    u64 ept_vpid;
    u64 true_pin, true_proc, true_exit, true_entry; // valid if basic bit 55
    u64 vmfunc;
    u64 proc3;
    u64 exit2;
};

struct vmx_probe {
    char vendor[13];         // CPUID 0
    char hypervisor[13];     // CPUID 40000000H; "" on bare metal
    bool vmx;                // CPUID.1:ECX[5]
    bool feature_control_ok; // IA32_FEATURE_CONTROL could be read
    u64 feature_control;
    u8 maxphyaddr;
    struct vmx_msrs msrs; // valid if vmx
};

struct ctl_allowed {
    u32 must; // bits that must be 1 (allowed-0 settings)
    u32 may;  // bits that may be 1 (allowed-1 settings)
};

// IA32_VMX_EPT_VPID_CAP, the VPID half.
#define EPT_VPID_INVVPID        BIT(32)
#define EPT_VPID_INVVPID_SINGLE BIT(41)
#define EPT_VPID_INVVPID_ALL    BIT(42)

// INVVPID with the one type that Corbel cannot do without where there are VPIDs.
static inline bool vmx_has_invvpid(u64 ept_vpid)
{
    return (ept_vpid & EPT_VPID_INVVPID) && (ept_vpid & EPT_VPID_INVVPID_ALL);
}

struct vmx_caps {
    u32 revision;
    u32 region_size;      // bytes
    bool region_below_4g; // VMX_BASIC[48]
    u8 region_type;       // memory type for VMXON region and VMCS
    bool io_insn_info;    // VMX_BASIC[54]: instruction information on INS and OUTS
    bool true_controls;   // VMX_BASIC[55]
    bool any_error_code;  // VMX_BASIC[56]: hardware exceptions with or without error code
    struct ctl_allowed ctl[CTL_WORDS];
    u64 proc3_may, exit2_may;
    u64 vmfunc;           // the VM functions there are
    u8 preemption_rate;   // the timer counts once every 2^rate TSC ticks
    bool exit_stores_lma; // VMX_MISC[5]
    u8 activity;          // VMX_MISC[8:6]: bit 0 HLT, 1 shutdown, 2 wait-for-SIPI
    u16 cr3_targets;
    u32 msr_list_max;   // recommended
    bool insn_length_0; // VMX_MISC[30]
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    u64 ept_vpid;
    struct ept_caps ept;
    u8 maxphyaddr;
};

void vmx_caps_decode(const struct vmx_probe *probe, struct vmx_caps *caps);

// The first capability MSR in which two CPUs differ, as hybrid ones may; 0 if there is none.
u32 vmx_msrs_difference(const struct vmx_msrs *a, const struct vmx_msrs *b);
// Its value.
u64 vmx_msrs_value(const struct vmx_msrs *msrs, u32 msr);

// Features of the CPU that Corbel can do without, FEATURE_UNRESTRICTED and so on: a bit each.
#define CONTROL(name, text, word, control) FEATURE_INDEX_##name,
#define CAPABILITY(name, text, msr, bits)  FEATURE_INDEX_##name,
#define HOST(name, text)                   FEATURE_INDEX_##name,
enum feature_index {
#include "vmx/features.def"
    FEATURE_COUNT
};
#undef CONTROL
#undef CAPABILITY
#undef HOST
#define CONTROL(name, text, word, control) FEATURE_##name = 1u << FEATURE_INDEX_##name,
#define CAPABILITY(name, text, msr, bits)  FEATURE_##name = 1u << FEATURE_INDEX_##name,
#define HOST(name, text)                   FEATURE_##name = 1u << FEATURE_INDEX_##name,
enum feature {
#include "vmx/features.def"
};
#undef CONTROL
#undef CAPABILITY
#undef HOST
_Static_assert(FEATURE_COUNT <= 32, "a set of features is a u32");

// Its word of `without=` on the command line; index is below FEATURE_COUNT.
const char *feature_word(unsigned index);

// Takes features (a set of enum feature) out of what the CPU reports, as if it did not have them.
void vmx_probe_without(struct vmx_probe *probe, u32 features);

// Which controls a VMCS is to have.
struct ctl_policy {
    u32 required; // the VM cannot run without
    u32 optional; // set where offered
    u32 refused;  // must be 0: a CPU that forces one cannot run the VM
};

// value = required | what is offered of optional | what the CPU forces. missing and forced tell
// what stands in the way; E_UNSUPP if either is not 0.
struct ctl_outcome {
    u32 value;
    u32 missing; // required, not offered
    u32 forced;  // refused, but must be 1
};
int ctl_negotiate(const struct ctl_allowed *allowed, const struct ctl_policy *policy,
                  struct ctl_outcome *out);

// Corbel's policy, one row a word (CTL_PROC3 is never activated).
extern const struct ctl_policy ctl_policies[CTL_WORDS];

// Whether this CPU can run guests, and if not, why.
enum vmx_verdict_kind {
    VMX_READY,      // IA32_FEATURE_CONTROL is locked with VMX on
    VMX_UNLOCKED,   // ready once IA32_FEATURE_CONTROL is set and locked, which Corbel may do
    VMX_NOT_INTEL,  // AMD and Hygon have SVM
    VMX_ABSENT,     // no VMX bit on a bare machine
    VMX_HIDDEN,     // no VMX bit under an outer hypervisor
    VMX_LOCKED_OFF, // locked by firmware
    VMX_SMX_ONLY,   // only inside SMX operation (TXT)
    VMX_NO_EPT,     // no EPT, or not the kind needed
    VMX_NO_CONTROL, // a required control is missing or a refused one forced
};

struct vmx_verdict {
    enum vmx_verdict_kind kind;
    char why[160];    // one line: what is missing
    char advice[200]; // one line: what to do
};

static inline bool vmx_verdict_ok(const struct vmx_verdict *verdict)
{
    return verdict->kind == VMX_READY || verdict->kind == VMX_UNLOCKED;
}

// caps is read only where probe->vmx.
void vmx_judge(const struct vmx_probe *probe, const struct vmx_caps *caps,
               struct vmx_verdict *verdict);

// The whole report, a line at a time.
void vmx_caps_report(const struct vmx_probe *probe, const struct vmx_caps *caps,
                     const struct vmx_verdict *verdict, void (*line)(void *ctx, const char *text),
                     void *ctx);
