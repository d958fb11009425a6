// SPDX-License-Identifier: MIT
// What the files of the run loop and the exit handlers share.
#pragma once

#include "vmx/entry_rules.h"
#include "vmx/vcpu.h"
#include "vmx/walk.h"

// Decides what is injected with the next entry and writes it to the VMCS; takes the vCPU out of HLT
// if an event wakes it. Clears VM_ATTENTION_EVENT.
void vcpu_inject(struct vcpu *vcpu);

// The same where the local APIC has none, or the CPU delivers those.
void vcpu_inject_others(struct vcpu *vcpu);

// Which MSRs the guest reads and writes without an exit from the start: SDM volume 3, "MSR-Bitmap
// Address".
void msr_bitmap_init(struct vcpu *vcpu);

// The guest's MSRs as a PC's firmware leaves them, but for those that are switched; the vCPU is
// loaded.
void vcpu_reset_msrs(struct vcpu *vcpu);

// x87, SSE and extended state as after reset.
void vcpu_reset_fpu(struct vcpu *vcpu);

// XCR0 of the guest, which is the CPU's own while the vCPU is loaded. The value has been checked.
void vcpu_set_xcr0(struct vcpu *vcpu, u64 value);

// CR2 of the guest, likewise.
void vcpu_set_cr2(struct vcpu *vcpu, u64 value);

// Forgets what the CPU has cached of the guest's linear addresses, as it would itself at some MOVs
// to CR0 and CR4. VM exits and entries leave it in place: SDM volume 3, "Information That May Be
// Cached".
void vcpu_flush_tlb(const struct vcpu *vcpu);

// Sets bits in the guest's DR6, which is the CPU's own while the vCPU is loaded.
void vcpu_merge_dr6(struct vcpu *vcpu, u64 bits);

// The guest's IA32_TSC_AUX.
u64 vcpu_tsc_aux(const struct vcpu *vcpu);

// For a vCPU without preemption timer: has the host's timer end the guest's turn.
void vcpu_arm_host_timer(const struct vcpu *vcpu);

// Looks at what is due and at what wants attention, injects, and arms the timer for the next entry.
// The vCPU, or NULL if it is not to be entered: vcpu->pause says why.
struct vcpu *vcpu_prepare(struct vcpu *vcpu);

// What enter.asm calls after an exit, one after the other. exit_answer() counts the exit in
// vcpu->exit and calls its handler; exit_finish() does what the handler wants done and prepares the
// next entry, as vcpu_prepare(). Those with care are for a vCPU with a hook or without a preemption
// timer.
enum exit_action exit_answer(struct vcpu *vcpu);
enum exit_action exit_answer_with_care(struct vcpu *vcpu);
struct vcpu *exit_finish(struct vcpu *vcpu, enum exit_action action);
struct vcpu *exit_finish_with_care(struct vcpu *vcpu, enum exit_action action);

// Reads these fields of the exit (a set of enum exit_needs) into vcpu->exit and vcpu->vectored.
void exit_read_fields(struct vcpu *vcpu, u32 needs);

// Does what a handler wants done.
void exit_act(struct vcpu *vcpu, enum exit_action action);

// An external interrupt that an exit reported is the host's: runs its handler.
void vcpu_host_interrupt(struct vcpu *vcpu, const struct exit_info *exit);

// An NMI or machine check that an exit reported is the host's.
void vcpu_host_nmi(void);
void vcpu_host_machine_check(void);

// The guest's memory and paging for instruction fetch and string I/O, filled from the VMCS.
void vcpu_paging(struct vcpu *vcpu, struct guest_paging *out);
void vcpu_memory(struct vcpu *vcpu, struct guest_memory *out);
void vcpu_segment(u32 which, struct guest_segment *out);
enum guest_mode vcpu_mode(const struct vcpu *vcpu);

// The INSTRUCTION_LENGTH_MAX bytes at RIP; *done are in buf even if the rest faults. As
// walk_fetch().
int vcpu_fetch(struct vcpu *vcpu, u8 *buf, size_t *done, struct event *fault);

// RSP included.
u64 vcpu_read_gpr(const struct vcpu *vcpu, unsigned reg);
void vcpu_write_gpr(struct vcpu *vcpu, unsigned reg, u64 value);

// CR0 and CR4 as the guest sees them.
u64 vcpu_guest_cr0(const struct vcpu *vcpu);
u64 vcpu_guest_cr4(const struct vcpu *vcpu);

// What the VMCS's guest CR4 is for the value a guest wants: with what VMX operation demands.
u64 vmx_cr4_real(const struct vcpu *vcpu, u64 value);

// #DB with these causes (bits 3-0, BD and BS of DR6), and what its delivery does to DR6, DR7 and
// IA32_DEBUGCTL: SDM volume 3, "Debug Exceptions" and "Single-Stepping on Branches".
void vcpu_debug(struct vcpu *vcpu, u64 causes);

// Fills in what entry_check() needs to know of this CPU and has it read the current VMCS; what
// there is to say of the entry itself is the caller's. The place for the values is one for all.
void entry_state_init(struct entry_state *state, const struct vmx_caps *caps);

// Judges the current VMCS, which is this vCPU's, by the rules of VM entry, as entry_check().
unsigned entry_judge(const struct vcpu *vcpu, entry_violation_fn violation, void *ctx);

// For check=entry: stops the VM with a report, and returns false, if any rule is violated.
bool entry_sound(struct vcpu *vcpu);

// Logs each rule that it violates.
void entry_report(const struct vcpu *vcpu);

// Stops the VM with a report: an exit for which Corbel has no answer.
enum exit_action exit_unhandled(struct vcpu *vcpu, const struct exit_info *exit);

// #GP(0), #UD.
enum exit_action raise_gp(struct vcpu *vcpu);
enum exit_action raise_ud(struct vcpu *vcpu);

// Every handler named in exit_reasons.def.
enum exit_action exit_exception(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_external_interrupt(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_triple_fault(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_interrupt_window(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_nmi_window(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_cpuid(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_undefined(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_hlt(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_invd(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_rdpmc(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_rdtsc(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_rdtscp(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_vmcall(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_cr_access(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_io(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_rdmsr(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_wrmsr(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_ept_violation(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_ept_misconfig(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_tpr_below(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_apic_access(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_virtual_eoi(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_apic_write(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_preemption_timer(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_wbinvd(struct vcpu *vcpu, const struct exit_info *exit);
enum exit_action exit_xsetbv(struct vcpu *vcpu, const struct exit_info *exit);
