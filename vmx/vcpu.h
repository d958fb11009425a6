// SPDX-License-Identifier: MIT
// A virtual CPU and the way of an exit: vcpu_run() enters the guest; answer() and finish() of the
// vCPU answer what brought it out and make it ready to enter again.
#pragma once

#include "arch/x86_64/lib/err.h"
#include "guest/vm.h"
#include "vmx/caps.h"
#include "vmx/cpuid_policy.h"
#include "vmx/events.h"
#include "vmx/guest_mtrr.h"
#include "vmx/mitigations.h"
#include "vmx/mmio.h"

// General registers by their encoding in instructions.
enum gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    GPR_COUNT
};

#define EXIT(number, name, text, handler, needs) REASON_##name = (number),
enum exit_reason {
#include "vmx/exit_reasons.def"
    REASON_COUNT
};
#undef EXIT

// Which further exit fields are read before a reason's handler; the others hold what an earlier
// exit left.
enum exit_needs {
    NEED_Q = 1u << 0,   // exit qualification
    NEED_L = 1u << 1,   // instruction length: read at every exit, but valid only for these
    NEED_I = 1u << 2,   // interruption information and error code
    NEED_V = 1u << 3,   // IDT-vectoring information and error code
    NEED_A = 1u << 4,   // guest-physical and guest-linear address
    NEED_N = 1u << 5,   // instruction information
    NEED_OWN = 1u << 6, // the handler reads them itself
};

#define EXIT_READS 5u // fields that enter.asm reads

struct exit_info {
    // enter.asm reads these at every exit, in this order and eight bytes each.
    u32 reason;           // basic, bits 15:0
    u32 length;           // bytes
    u32 interruptibility; // as the exit saved it; what changes the VMCS's changes this too
    u32 none;
    u64 rip, rflags; // as the exit saved them
    // See enum exit_needs.
    u64 qualification;
    gpa_t gpa;
    gva_t gla;
    u32 intr_info, intr_error;
    u32 insn_info;
};

// What a handler wants done next; the run loop does it, and it alone moves RIP.
enum exit_action {
    ACT_SKIP,         // the instruction is done; 0, as OK is
    ACT_RESUME,       // the same instruction again, or the state is as it should be
    ACT_REPEAT,       // an element of a repeated instruction is done, and more are to come
    ACT_FAULT,        // vcpu->exception is to be delivered; RIP stays
    ACT_IDLE,         // the instruction is done and the vCPU waits for an event
    ACT_STOP,         // vm_stop has been called
    ACT_GP = E_FAULT, // the instruction is #GP(0)
};
_Static_assert((int)ACT_SKIP == OK, "what an MSR's function returns is an action");

struct vcpu;
typedef enum exit_action (*exit_handler)(struct vcpu *vcpu, const struct exit_info *exit);

struct exit_row {
    const char *name;
    exit_handler handler; // NULL: the VM is stopped with a report
    u32 needs;            // enum exit_needs
};

extern const struct exit_row exit_table[REASON_COUNT];

// "CPUID", ... or "unknown reason".
const char *exit_reason_name(u32 reason);

// MSRs of the guest that exits do not switch: loaded while the vCPU is current.
enum switched_msr {
    SWITCHED_STAR,
    SWITCHED_LSTAR,
    SWITCHED_CSTAR,
    SWITCHED_FMASK,
    SWITCHED_KERNEL_GS_BASE,
    SWITCHED_TSC_AUX,
    SWITCHED_COUNT
};

// The guest's speculation control: see msr.h.
struct vcpu_spec {
    u64 ctrl;               // IA32_SPEC_CTRL, valid while the guest is out; its low 32 bits alone
    u64 ctrl_legal;         // its bits that the guest's CPUID offers; 0: the guest has no such MSR
    bool ctrl_passed;       // the guest uses it: the CPU's own is switched at entry and exit
    bool arch_capabilities; // IA32_ARCH_CAPABILITIES is there
};

// An MSR that the guest has used: how often, and who answers for it, with OK or E_FAULT for #GP(0).
#define MSR_SLOTS 64u
struct msr_slot {
    int (*read)(struct vcpu *vcpu, u32 msr, u64 *value);
    int (*write)(struct vcpu *vcpu, u32 msr, u64 value);
    u64 count; // 0: the slot is free
    u32 msr;
};

// Why vcpu_run() has returned.
enum vcpu_pause {
    VCPU_ENDED, // the VM has; why is in vm->end
    VCPU_IDLE,  // in HLT with nothing to deliver
    VCPU_YIELD, // VM_ATTENTION_YIELD was set; it is clear again
};

// The CPU's part in the local APIC: see apicv.h.
struct apicv {
    hpa_t page;         // the virtual-APIC page; 0: it has none
    hpa_t access_page;  // that xAPIC accesses are known by; 0: they are EPT violations
    u32 controls;       // those of APICV_CONTROLS that are used, each in its mode
    u32 mode;           // of these, the one for the mode that the guest has it in
    u32 threshold;      // as in the VMCS
    u64 eoi_exit[4];    // as in the VMCS
    bool access_mapped; // access_page is where the guest has its local APIC
};

struct vcpu {
    // What enter.asm touches comes first.
    u64 regs[GPR_COUNT]; // RSP is in the VMCS
    struct exit_info exit;
    // exit_answer() and exit_finish(), or the two with care.
    enum exit_action (*answer)(struct vcpu *vcpu);
    struct vcpu *(*finish)(struct vcpu *vcpu, enum exit_action action);
    u32 launched;
    u32 rsb_calls;  // that fill the return stack buffer, where it is filled
    u32 history;    // not 0: the history of branches is overwritten, where that is filled
    u32 spec_msr;   // IA32_SPEC_CTRL
    u32 way;        // set of enum way: the loop it runs in
    u32 spec_stays; // a value of it that an exit or entry need not change; ~0: none
    // What these MSRs of the host hold.
    u64 host_spec_ctrl, host_arch_capabilities, host_microcode, host_misc_enable;

    u32 halted; // in HLT
    struct vm *vm;
    const struct vmx_caps *caps;
    const struct mitigations *mitigations;
    // Decides what enters the guest with the next entry; clears VM_ATTENTION_EVENT. vcpu_inject(),
    // or the one of apicv.h for what the CPU does of it.
    void (*inject)(struct vcpu *vcpu);
    enum vcpu_pause pause;

    struct event vectored;  // cut short by the last exit
    struct event exception; // raised by a handler
    bool nmi;               // waits
    bool nmi_blocked;       // inject_decision.nmi_blocked of the last decision
    s32 held;               // inject_decision.held of the last decision
    u32 proc_ctls;          // as in the VMCS
    u64 tsc_offset;         // guest TSC = host TSC + this

    bool has_preemption_timer, has_virtual_nmis, has_ack_on_exit, unrestricted;
    u8 preemption_rate; // the preemption timer counts once every 2^rate ticks; as in vm->timers
    hpa_t vmcs, io_bitmap_a, io_bitmap_b, msr_bitmap;
    struct apicv apicv;
    u16 vpid;
    bool loaded; // this VMCS is current on this CPU

    u64 cr0_mask, cr4_mask; // bits the guest does not own
    u64 cr4_allowed;        // bits the guest's CPUID has
    bool page1gb;           // which it offers
    struct guest_mtrr mtrr;
    struct vcpu_spec spec;
    u32 unknown_msrs; // accesses that were #GP
    u64 tsc_adjust, misc_enable;
    u64 xcr0, xcr0_allowed;
    u64 pdptes[4];                      // for a walk of PAE paging
    struct mmio_move moves[MMIO_MOVES]; // by RIP % MMIO_MOVES
    const struct vm_ram *recent_ram;    // where ram_at() found something last
    struct cpuid_table cpuid;

    // What exits do not switch, valid while the vCPU is not loaded.
    u64 cr2;
    u64 dr[4], dr6; // DR7 is in the VMCS
    u64 switched[SWITCHED_COUNT];
    hpa_t fpu; // FXSAVE or XSAVE area, a page

    u64 exits[REASON_COUNT]; // how often each reason came
    struct msr_slot
        msrs[MSR_SLOTS];       // from number % MSR_SLOTS on; those that find no place are not kept
    struct msr_slot other_msr; // the latest of those
    // For self-tests: sees each exit before the table and may answer it instead (return true).
    bool (*hook)(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action);
    void *hook_ctx;
};

// Makes a vCPU for vm with its VMCS and bitmaps from frames; the CPU must be in VMX operation, its
// IA32_SPEC_CTRL as the mitigations want it, and they must stay. E_NOMEM, or E_UNSUPP if a control
// is missing (logged by name).
MUST_CHECK int vcpu_init(struct vcpu *vcpu, struct vm *vm, const struct vmx_caps *caps,
                         const struct mitigations *mitigations, struct frame_pool *frames);
void vcpu_destroy(struct vcpu *vcpu, struct frame_pool *frames);

// Has the vCPU, which is not loaded, guarded in another way than vcpu_init() was told;
// host_spec_ctrl is what the host's spec_msr holds.
void vcpu_guard(struct vcpu *vcpu, const struct mitigations *mitigations, u64 host_spec_ctrl);

// Sets the state a guest starts in: all registers, control registers, segments. E_UNSUPP if the
// mode needs unrestricted guest and the CPU has none.
MUST_CHECK int vcpu_start(struct vcpu *vcpu, const struct guest_start *start);

// Runs the guest, whose vCPU is loaded, until there is a reason to do something else.
enum vcpu_pause vcpu_run(struct vcpu *vcpu);

// Makes the vCPU's VMCS current and loads what exits do not switch; vcpu_put is the reverse.
void vcpu_load(struct vcpu *vcpu);
void vcpu_put(struct vcpu *vcpu);

// Raises an exception in the guest, for the next entry. A second one on top of the first, or on top
// of an event that the exit cut short, is combined when it is injected.
void vcpu_raise(struct vcpu *vcpu, struct event event);

// An NMI for the guest.
void vcpu_nmi(struct vcpu *vcpu);

// Prints all there is to know about the state the guest is in: reason, qualification, registers,
// code bytes, EPT walk.
void vcpu_report(struct vcpu *vcpu, const struct exit_info *exit);
