// SPDX-License-Identifier: MIT
// Control registers, RFLAGS, debug registers and XCR0: SDM volume 3, "Control Registers" and
// "EFLAGS Register"; volume 1, "XCR0".
#pragma once

#include "arch/x86_64/lib/bits.h"

#define CR0_PE BIT(0)  // protection enable
#define CR0_MP BIT(1)  // monitor coprocessor
#define CR0_EM BIT(2)  // emulation
#define CR0_TS BIT(3)  // task switched
#define CR0_ET BIT(4)  // extension type
#define CR0_NE BIT(5)  // numeric error
#define CR0_WP BIT(16) // write protect
#define CR0_AM BIT(18) // alignment mask
#define CR0_NW BIT(29) // not write-through
#define CR0_CD BIT(30) // cache disable
#define CR0_PG BIT(31) // paging

#define CR3_PWT BIT(3)
#define CR3_PCD BIT(4)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_SMXE       BIT(14)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_KL         BIT(19)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)
#define CR4_CET        BIT(23)
#define CR4_PKS        BIT(24)
#define CR4_UINTR      BIT(25)

#define RFLAGS_CF    BIT(0)
#define RFLAGS_FIXED BIT(1) // always 1
#define RFLAGS_PF    BIT(2)
#define RFLAGS_AF    BIT(4)
#define RFLAGS_ZF    BIT(6)
#define RFLAGS_SF    BIT(7)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_IF    BIT(9)
#define RFLAGS_DF    BIT(10)
#define RFLAGS_OF    BIT(11)
#define RFLAGS_IOPL  BITS(13, 12)
#define RFLAGS_NT    BIT(14)
#define RFLAGS_RF    BIT(16)
#define RFLAGS_VM    BIT(17)
#define RFLAGS_AC    BIT(18)
#define RFLAGS_VIF   BIT(19)
#define RFLAGS_VIP   BIT(20)
#define RFLAGS_ID    BIT(21)

#define DR6_INIT 0xffff0ff0ull
#define DR6_BD   BIT(13)
#define DR6_BS   BIT(14)
#define DR6_BT   BIT(15)
#define DR6_RTM  BIT(16)
#define DR7_INIT 0x400ull
#define DR7_GD   BIT(13)

#define XCR0_X87       BIT(0)
#define XCR0_SSE       BIT(1)
#define XCR0_AVX       BIT(2)
#define XCR0_BNDREGS   BIT(3)
#define XCR0_BNDCSR    BIT(4)
#define XCR0_OPMASK    BIT(5)
#define XCR0_ZMM_HI256 BIT(6)
#define XCR0_HI16_ZMM  BIT(7)
#define XCR0_PKRU      BIT(9)

// Exception vectors: SDM volume 3, "Protected-Mode Exceptions and Interrupts".
enum vector {
    VEC_DE = 0,
    VEC_DB = 1,
    VEC_NMI = 2,
    VEC_BP = 3,
    VEC_OF = 4,
    VEC_BR = 5,
    VEC_UD = 6,
    VEC_NM = 7,
    VEC_DF = 8,
    VEC_CSO = 9, // coprocessor segment overrun
    VEC_TS = 10,
    VEC_NP = 11,
    VEC_SS = 12,
    VEC_GP = 13,
    VEC_PF = 14,
    VEC_MF = 16,
    VEC_AC = 17,
    VEC_MC = 18,
    VEC_XM = 19,
    VEC_VE = 20,
    VEC_CP = 21,
};

// Page-fault error code.
#define PFEC_P  BIT32(0)
#define PFEC_W  BIT32(1)
#define PFEC_U  BIT32(2)
#define PFEC_R  BIT32(3) // reserved bit set
#define PFEC_I  BIT32(4) // instruction fetch
#define PFEC_PK BIT32(5)
