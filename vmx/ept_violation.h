// SPDX-License-Identifier: MIT
// Exit qualification of an EPT violation: SDM volume 3, "Exit Qualification for EPT Violations".
#pragma once

#include "arch/x86_64/lib/bits.h"

#define EPTV_READ          BIT(0)
#define EPTV_WRITE         BIT(1)
#define EPTV_FETCH         BIT(2)
#define EPTV_GLA_VALID     BIT(7)
#define EPTV_FINAL         BIT(8) // not an access to a paging-structure entry
#define EPTV_NMI_UNBLOCKED BIT(12)
