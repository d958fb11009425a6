// SPDX-License-Identifier: MIT
// What the files of the guest's MSRs share.
#pragma once

#include "vmx/vcpu.h"

// OK, or E_FAULT for #GP(0).
typedef int (*msr_read_fn)(struct vcpu *v, u32 msr, u64 *value);
typedef int (*msr_write_fn)(struct vcpu *v, u32 msr, u64 value);

// Lets the guest's RDMSR, its WRMSR or both through to the CPU's own register: one that
// vcpu_load() or vcpu_run() switches, or that holds nothing.
void msr_pass(struct vcpu *v, u32 msr, bool read, bool write);

// Makes both exit again.
void msr_intercept(struct vcpu *v, u32 msr);

// ---- speculation control: SDM volume 4, "IA32_SPEC_CTRL", "IA32_ARCH_CAPABILITIES" --------------

// What the guest has of it, by its CPUID: sets v->spec. After a reset the guest's IA32_SPEC_CTRL is
// 0 and not passed through; IA32_PRED_CMD and IA32_FLUSH_CMD, which hold nothing, are.
void msr_spec_reset(struct vcpu *v);

int msr_read_spec_ctrl(struct vcpu *v, u32 msr, u64 *value);
int msr_write_spec_ctrl(struct vcpu *v, u32 msr, u64 value);
int msr_read_arch_capabilities(struct vcpu *v, u32 msr, u64 *value);
