// SPDX-License-Identifier: MIT
// Model-specific registers under their SDM names: SDM volume 4, "Architectural MSRs".
#pragma once

#include "arch/x86_64/lib/bits.h"

#define IA32_TIME_STAMP_COUNTER      0x10
#define IA32_PLATFORM_ID             0x17
#define IA32_APIC_BASE               0x1b
#define IA32_FEATURE_CONTROL         0x3a
#define IA32_TSC_ADJUST              0x3b
#define IA32_SPEC_CTRL               0x48
#define IA32_PRED_CMD                0x49
#define IA32_BIOS_UPDT_TRIG          0x79
#define IA32_BIOS_SIGN_ID            0x8b
#define IA32_SMM_MONITOR_CTL         0x9b
#define MSR_PLATFORM_INFO            0xce
#define IA32_MPERF                   0xe7
#define IA32_APERF                   0xe8
#define IA32_MTRRCAP                 0xfe
#define IA32_ARCH_CAPABILITIES       0x10a
#define IA32_FLUSH_CMD               0x10b
#define IA32_SYSENTER_CS             0x174
#define IA32_SYSENTER_ESP            0x175
#define IA32_SYSENTER_EIP            0x176
#define IA32_MCG_CAP                 0x179
#define IA32_MCG_STATUS              0x17a
#define IA32_MISC_ENABLE             0x1a0
#define IA32_DEBUGCTL                0x1d9
#define IA32_MTRR_PHYSBASE0          0x200 // base and mask alternate
#define IA32_MTRR_PHYSMASK0          0x201
#define IA32_MTRR_FIX64K_00000       0x250
#define IA32_MTRR_FIX16K_80000       0x258
#define IA32_MTRR_FIX16K_A0000       0x259
#define IA32_MTRR_FIX4K_C0000        0x268 // eight, one after the other
#define IA32_PAT                     0x277
#define IA32_MTRR_DEF_TYPE           0x2ff
#define IA32_PERF_GLOBAL_CTRL        0x38f
#define IA32_VMX_BASIC               0x480
#define IA32_VMX_PINBASED_CTLS       0x481
#define IA32_VMX_PROCBASED_CTLS      0x482
#define IA32_VMX_EXIT_CTLS           0x483
#define IA32_VMX_ENTRY_CTLS          0x484
#define IA32_VMX_MISC                0x485
#define IA32_VMX_CR0_FIXED0          0x486
#define IA32_VMX_CR0_FIXED1          0x487
#define IA32_VMX_CR4_FIXED0          0x488
#define IA32_VMX_CR4_FIXED1          0x489
#define IA32_VMX_VMCS_ENUM           0x48a
#define IA32_VMX_PROCBASED_CTLS2     0x48b
#define IA32_VMX_EPT_VPID_CAP        0x48c
#define IA32_VMX_TRUE_PINBASED_CTLS  0x48d
#define IA32_VMX_TRUE_PROCBASED_CTLS 0x48e
#define IA32_VMX_TRUE_EXIT_CTLS      0x48f
#define IA32_VMX_TRUE_ENTRY_CTLS     0x490
#define IA32_VMX_VMFUNC              0x491
#define IA32_VMX_PROCBASED_CTLS3     0x492
#define IA32_VMX_EXIT_CTLS2          0x493
#define IA32_RTIT_CTL                0x570
#define IA32_S_CET                   0x6a2
#define IA32_INTERRUPT_SSP_TABLE     0x6a8
#define IA32_TSC_DEADLINE            0x6e0
#define IA32_PKRS                    0x6e1
#define IA32_X2APIC_FIRST            0x800
#define IA32_X2APIC_LAST             0x8ff
#define IA32_BNDCFGS                 0xd90
#define IA32_XSS                     0xda0
#define IA32_LBR_CTL                 0x14ce
#define IA32_EFER                    0xc0000080
#define IA32_STAR                    0xc0000081
#define IA32_LSTAR                   0xc0000082
#define IA32_CSTAR                   0xc0000083
#define IA32_FMASK                   0xc0000084
#define IA32_FS_BASE                 0xc0000100
#define IA32_GS_BASE                 0xc0000101
#define IA32_KERNEL_GS_BASE          0xc0000102
#define IA32_TSC_AUX                 0xc0000103

#define FEATURE_CONTROL_LOCK        BIT(0)
#define FEATURE_CONTROL_VMX_IN_SMX  BIT(1)
#define FEATURE_CONTROL_VMX_OUTSIDE BIT(2)

#define SPEC_CTRL_IBRS      BIT(0)
#define SPEC_CTRL_STIBP     BIT(1)
#define SPEC_CTRL_SSBD      BIT(2)
#define SPEC_CTRL_BHI_DIS_S BIT(10)
#define PRED_CMD_IBPB       BIT(0)
#define FLUSH_CMD_L1D       BIT(0)

// IA32_ARCH_CAPABILITIES: bits that say what a CPU does not suffer from, or how it is cured.
#define ARCH_CAP_RDCL_NO            BIT(0)
#define ARCH_CAP_IBRS_ALL           BIT(1)
#define ARCH_CAP_RSBA               BIT(2)
#define ARCH_CAP_SKIP_L1DFL_VMENTRY BIT(3)
#define ARCH_CAP_SSB_NO             BIT(4)
#define ARCH_CAP_MDS_NO             BIT(5)
#define ARCH_CAP_IF_PSCHANGE_MC_NO  BIT(6)
#define ARCH_CAP_TSX_CTRL           BIT(7)
#define ARCH_CAP_TAA_NO             BIT(8)
#define ARCH_CAP_SBDR_SSDP_NO       BIT(13)
#define ARCH_CAP_FBSDP_NO           BIT(14)
#define ARCH_CAP_PSDP_NO            BIT(15)
#define ARCH_CAP_FB_CLEAR           BIT(17)
#define ARCH_CAP_RRSBA              BIT(19)
#define ARCH_CAP_BHI_NO             BIT(20)
#define ARCH_CAP_PBRSB_NO           BIT(24)
#define ARCH_CAP_GDS_NO             BIT(26)
#define ARCH_CAP_RFDS_NO            BIT(27)
#define ARCH_CAP_RFDS_CLEAR         BIT(28)

#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MISC_ENABLE_TCC          BIT(3)  // automatic thermal control
#define MISC_ENABLE_PERFMON      BIT(7)  // read-only
#define MISC_ENABLE_NO_BTS       BIT(11) // read-only
#define MISC_ENABLE_NO_PEBS      BIT(12) // read-only
#define MISC_ENABLE_EIST         BIT(16)
#define MISC_ENABLE_MONITOR      BIT(18)
#define MISC_ENABLE_LIMIT_CPUID  BIT(22)
#define MISC_ENABLE_XTPR_DISABLE BIT(23)
#define MISC_ENABLE_XD_DISABLE   BIT(34)

#define DEBUGCTL_LBR BIT(0)
#define DEBUGCTL_BTF BIT(1) // single-step on branches

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define MTRRCAP_VCNT  BITS(7, 0)
#define MTRRCAP_FIX   BIT(8)
#define MTRRCAP_WC    BIT(10)
#define MTRR_DEF_TYPE BITS(7, 0)
#define MTRR_DEF_FE   BIT(10)
#define MTRR_DEF_E    BIT(11)
#define MTRR_MASK_V   BIT(11)

// PAT as Corbel sets it on every CPU: WB, WT, UC-, UC, WC, WP, UC-, UC. Entries 0-3 are those of
// reset, so WC is selected by PAT=1 alone.
#define PAT_CORBEL 0x0007050100070406ull
