// SPDX-License-Identifier: MIT
// The CPU's part in the guest's local APIC, where it offers one: SDM volume 3, "APIC Virtualization
// and Virtual Interrupts". Each control is used where it is offered, and everything has its way in
// software where it is not:
//
// - "use TPR shadow": CR8 is the virtual-APIC page's TPR. The CPU exits when the guest lowers it so
//   far that the interrupt that waits may come (the TPR threshold).
// - "virtualize x2APIC mode", "virtualize APIC accesses": so are MSR 808H, and TPR of the page at
//   FEE00000H, each in its mode.
// - "virtual-interrupt delivery": the CPU keeps IRR and ISR too, delivers what Corbel adds to IRR
// and
//   tells it by the guest interrupt status, and does EOI and interrupts to oneself. It exits only
//   at the EOI of level-triggered interrupts.
// - "APIC-register virtualization", only with the former: the other registers are read in the page,
//   and writes of xAPIC's come when they are done.
//
// What the page holds is devices/lapic_virtual.c's matter. Nothing here is locked: the CPU that
// runs the vCPU calls it.
#pragma once

#include "vmx/vcpu.h"

// Of the controls negotiated for a VMCS, leaves those of the local APIC that go together and with
// what proc, the primary controls', says must be; takes CR8 exits away where TPR is shadowed.
// "Checks on VM-Execution Control Fields". values[CTL_PROC2] has both PROC2_X2APIC and
// PROC2_APIC_ACCESS if both are to be used, each in its time.
void apicv_choose(const struct ctl_allowed *proc, u32 values[CTL_WORDS]);

// Sets up the vCPU, whose VMCS is current and whose pages for this are allocated and zeroed, for
// the controls chosen. Its vcpu->inject does what is left for Corbel to do.
void apicv_start(struct vcpu *vcpu, const u32 values[CTL_WORDS]);

// After the MSR bitmap was set up anew: which control is on, where the APIC-access page lies, which
// MSRs of the local APIC exit. vcpu->inject follows every change of the guest's from then on. The
// VMCS is current.
void apicv_set_mode(struct vcpu *vcpu);
