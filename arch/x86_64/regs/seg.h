// SPDX-License-Identifier: MIT
// Segment selectors, descriptors and access rights: SDM volume 3, "Segment Descriptors"; the rights
// as a VMCS holds them: "Guest Register State".
#pragma once

#include "arch/x86_64/lib/bits.h"

#define SEL_RPL   BITS(1, 0)
#define SEL_TI    BIT(2)
#define SEL_INDEX BITS(15, 3)

#define AR_TYPE_SHIFT 0
#define AR_TYPE       BITS(3, 0)
#define AR_TYPE_TSS16 3u // busy
#define AR_S          BIT32(4)
#define AR_DPL_SHIFT  5
#define AR_DPL        BITS(6, 5)
#define AR_P          BIT32(7)
#define AR_AVL        BIT32(12)
#define AR_L          BIT32(13)
#define AR_DB         BIT32(14)
#define AR_G          BIT32(15)
#define AR_UNUSABLE   BIT32(16)

// Whole access-rights words that guests start with.
#define AR_CODE64   0xa09bu // 64-bit code, execute/read, accessed, DPL 0
#define AR_CODE32   0xc09bu // 32-bit code, 4 KiB granularity
#define AR_CODE16   0x009bu // real-mode code
#define AR_DATA32   0xc093u // read/write data, 32-bit, 4 KiB granularity
#define AR_DATA16   0x0093u // real-mode data
#define AR_TSS_BUSY 0x008bu // busy 32- or 64-bit TSS
#define AR_LDT      0x0082u
