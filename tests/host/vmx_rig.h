// SPDX-License-Identifier: MIT
// A VM with one vCPU on a VMCS that is an array: what the exit handlers are tested on. What only
// the bare machine can do is written down here instead of done.
//
// Guest-physical memory: RAM at 0, RAM that is mapped as it is touched at RIG_LAZY, a device of
// memory at RIG_MMIO, one of ports at RIG_PORT, the VM's own devices where they always are. The
// guest is entered with paging as guest_load() builds it: the low 4 GiB lead to themselves but for
// the image's window at RIG_WINDOW.
#pragma once

#include "guest/vm.h"
#include "vmx/vcpu_internal.h"
#include "vmx/vmcs_access.h"

#define RIG_RAM_SIZE  0x80000ull // 512 KiB
#define RIG_LAZY      0x100000ull
#define RIG_LAZY_SIZE 0x8000ull
#define RIG_CODE      0x8000ull  // where RIP starts
#define RIG_STACK     0x7000ull  // where RSP starts
#define RIG_IMAGE     0x10000ull // the image, its page tables and its information page
#define RIG_WINDOW    0x400000ull
#define RIG_MMIO      0xd0000000ull
#define RIG_MMIO_SIZE 0x2000ull
#define RIG_PORT      0x300u
#define RIG_PORTS     16u
#define RIG_TSC_HZ    2000000000ull
#define RIG_START     1000000ull // host TSC
#define RIG_LAPIC_HZ  1000000000ull
#define RIG_ARCH_CAP  0x12bull // IA32_ARCH_CAPABILITIES of the host
#define RIG_MICROCODE 0x00a0000200000000ull

struct rig_options {
    const struct vmx_probe *machine; // NULL: Skylake
    u32 without;                     // enum vmx_feature
    enum image_mode mode;            // 0: IMAGE_LONG
    u64 xcr0_allowed;
    u32 missing_7_edx; // what the host lacks of CPUID.7:EDX
    bool no_x2apic;
    bool apicv; // the CPU does what it can of the local APIC; else it has no TPR shadow
};

// A device of 4 KiB registers or 16 ports: keeps what is written and remembers each access.
#define RIG_ACCESSES 128u
struct rig_device {
    struct device dev;
    u64 base;
    u8 data[RIG_MMIO_SIZE];
    struct io_access log[RIG_ACCESSES];
    unsigned count; // all of them
};

struct vmx_rig {
    u8 *bitmap;
    struct frame_pool frames;
    u64 frames_free; // before the VM was made
    struct clock clock;
    u64 now; // host TSC
    struct vmx_caps caps;
    struct vm vm;
    struct vcpu vcpu;
    struct rig_device mmio, ports;
    // What the machine was asked to do.
    u64 tsc_aux, dr6, cr2, xcr0;
    unsigned interrupts, nmis, machine_checks, loads, puts, fpu_resets, xcr0_writes, cr2_writes;
    bool entry_unsound; // what check=entry finds
    unsigned entry_checks;
    unsigned entry_reports, host_timer_arms;
    unsigned flushes;       // of the guest's linear translations
    unsigned invalidations; // of its EPT
};

// One rig at a time.
struct vmx_rig *rig_open(const struct rig_options *options);

// Destroys the VM and checks that all of its memory came back.
void rig_close(struct vmx_rig *rig);

// What the CPU writes into the VMCS at an exit.
struct rig_exit {
    u32 reason;
    u64 qualification;
    u32 length;
    u32 intr_info, intr_error;
    u32 idt_info, idt_error;
    u64 gpa, gla;
    u32 insn_info;
};

// All that was logged since rig_open(), DEBUG lines too.
const char *rig_log(void);

// Writes the exit's fields and answers it.
void rig_exit(struct vmx_rig *rig, const struct rig_exit *exit);

// The same, and what follows up to the next entry: whether there is to be one.
bool rig_turn(struct vmx_rig *rig, const struct rig_exit *exit);

// How many rules of VM entry on the controls and the guest's state the VMCS breaks.
unsigned rig_entry_violations(const struct vmx_rig *rig, bool print);

// Decides and writes what the next entry injects; while the VM runs, the CPU would enter it. Fields
// of the VM entry that it leaves alone hold what cannot be: no information, RIG_NO_ERROR,
// RIG_NO_LENGTH.
#define RIG_NO_ERROR  0xdeadbeefu
#define RIG_NO_LENGTH 0xdeadu
void rig_inject(struct vmx_rig *rig);

#define INFO(type, vector)       (INTR_INFO_VALID | (u32)(type) << 8 | (vector))
#define INFO_ERROR(type, vector) (INFO(type, vector) | INTR_INFO_ERROR_CODE)
#define INFO_FAULT(vector)       INFO(EVENT_HARDWARE_EXCEPTION, vector)
#define INFO_NMI                 INFO(EVENT_NMI, VEC_NMI)
#define INFO_SS                  INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_SS)
#define INFO_DF                  INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_DF)
#define INFO_DB                  INFO_FAULT(VEC_DB)
#define INFO_UD                  INFO_FAULT(VEC_UD)
#define INFO_GP                  INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_GP)
#define INFO_PF                  INFO_ERROR(EVENT_HARDWARE_EXCEPTION, VEC_PF)

// Guest RAM at a guest-physical address; CHECK that it is there.
void *rig_ram(struct vmx_rig *rig, u64 gpa, u64 size);

// Puts an instruction at RIP.
void rig_code(struct vmx_rig *rig, const u8 *bytes, size_t size);

// The page-directory entry of IMAGE_LONG that maps the 2 MiB around a linear address below 4 GiB.
u64 *rig_pde(struct vmx_rig *rig, u64 linear);

// The page-table entry of a linear address in the image's window.
u64 *rig_pte(struct vmx_rig *rig, u64 linear);

// The answer to CPUID of the machine the rig stands for.
struct cpuid_regs rig_cpuid(u32 leaf, u32 subleaf);
