// SPDX-License-Identifier: MIT
// VMX operation on the CPUs that run no guests.
#pragma once

#include "vmx/hypervisor.h"

// Enters VMX operation on every CPU that is up but this one, which has entered it already. A CPU
// that cannot, or whose capability MSRs differ from this one's, is named in the log; it stays up
// and takes no part.
void vmx_enable_others(struct hypervisor *hv);

// Leaves VMX operation everywhere: before a reset, which VMX operation blocks (SDM volume 3,
// "Behavior in VMX Operation" of INIT), and before power-off. A CPU that does not answer is gone
// without.
void vmx_disable_everywhere(void);

// INVEPT of eptp on those of the CPUs in cpus, a bit for each by its id, that are not this one, and
// waits for it. Bits above 63 stand for nobody: guests run on the first CPUs.
void vmx_shoot_down(const struct vmx_caps *caps, u64 eptp, u64 cpus);
