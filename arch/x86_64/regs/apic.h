// SPDX-License-Identifier: MIT
// The local APIC's registers: SDM volume 3, "Advanced Programmable Interrupt Controller (APIC)".
// Offsets are those of the xAPIC page; the x2APIC MSR is 800H + offset/16.
#pragma once

#include "arch/x86_64/lib/bits.h"

#define APIC_DEFAULT_BASE 0xfee00000ull

#define APIC_ID        0x020
#define APIC_VERSION   0x030
#define APIC_TPR       0x080
#define APIC_APR       0x090
#define APIC_PPR       0x0a0
#define APIC_EOI       0x0b0
#define APIC_RRD       0x0c0
#define APIC_LDR       0x0d0
#define APIC_DFR       0x0e0
#define APIC_SVR       0x0f0
#define APIC_ISR       0x100 // eight registers, 10H apart
#define APIC_TMR       0x180
#define APIC_IRR       0x200
#define APIC_ESR       0x280
#define APIC_LVT_CMCI  0x2f0
#define APIC_ICR_LOW   0x300
#define APIC_ICR_HIGH  0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_THERM 0x330
#define APIC_LVT_PERF  0x340
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_LVT_ERROR 0x370
#define APIC_TMICT     0x380 // timer initial count
#define APIC_TMCCT     0x390 // timer current count
#define APIC_TDCR      0x3e0 // timer divide configuration
#define APIC_SELF_IPI  0x3f0 // x2APIC only

#define APIC_SVR_VECTOR       0xffu
#define APIC_SVR_ENABLE       BIT32(8)
#define APIC_SVR_FOCUS        BIT32(9)
#define APIC_SVR_EOI_SUPPRESS BIT32(12)

#define APIC_LVT_VECTOR   0xffu
#define APIC_LVT_DELIVERY BITS(10, 8)
#define APIC_LVT_STATUS   BIT32(12)
#define APIC_LVT_POLARITY BIT32(13)
#define APIC_LVT_RIRR     BIT32(14)
#define APIC_LVT_LEVEL    BIT32(15)
#define APIC_LVT_MASKED   BIT32(16)
#define APIC_LVT_MODE     BITS(18, 17)

enum apic_timer_mode { APIC_TIMER_ONESHOT, APIC_TIMER_PERIODIC, APIC_TIMER_TSC_DEADLINE };

enum apic_delivery {
    APIC_DM_FIXED = 0,
    APIC_DM_LOWEST = 1,
    APIC_DM_SMI = 2,
    APIC_DM_NMI = 4,
    APIC_DM_INIT = 5,
    APIC_DM_STARTUP = 6,
    APIC_DM_EXTINT = 7,
};

#define APIC_ICR_DEST_LOGICAL BIT32(11)
#define APIC_ICR_PENDING      BIT32(12)
#define APIC_ICR_ASSERT       BIT32(14)
#define APIC_ICR_LEVEL        BIT32(15)
#define APIC_ICR_SHORTHAND    BITS(19, 18) // 0 none, 1 self, 2 all, 3 all but self

#define APIC_ESR_SEND_CHECKSUM BIT32(0)
#define APIC_ESR_RECV_CHECKSUM BIT32(1)
#define APIC_ESR_SEND_ACCEPT   BIT32(2)
#define APIC_ESR_RECV_ACCEPT   BIT32(3)
#define APIC_ESR_REDIRECTABLE  BIT32(4)
#define APIC_ESR_SEND_ILLEGAL  BIT32(5)
#define APIC_ESR_RECV_ILLEGAL  BIT32(6)
#define APIC_ESR_ILLEGAL_REG   BIT32(7)

// IA32_APIC_BASE.
#define APIC_BASE_BSP    BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
