// SPDX-License-Identifier: MIT
// A virtual machine as its devices and its memory see it: everything but the CPU.
#pragma once

#include "arch/x86_64/lib/deadline.h"
#include "arch/x86_64/lib/frame.h"
#include "devices/bus.h"
#include "devices/debug_exit.h"
#include "devices/hpet.h"
#include "devices/i8042.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pci.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/pm.h"
#include "devices/post.h"
#include "devices/reset.h"
#include "devices/rtc.h"
#include "devices/uart.h"
#include "ept/ept.h"
#include "guest/abi.h"

#define VM_RAM_REGIONS 64u
#define VM_DEADLINES   24u

// Why a VM is no longer running.
enum vm_end_kind {
    VM_RUNNING,
    VM_END_DEBUG_EXIT, // by port F4H, with a status
    VM_END_POWER_OFF,  // the guest turned its machine off
    VM_END_RESET,      // the guest asked for a reset
    VM_END_TRIPLE_FAULT,
    VM_END_HALTED,       // HLT with nothing that could wake it
    VM_END_UNHANDLED,    // an exit Corbel does not handle
    VM_END_ENTRY_FAILED, // the CPU refused the VM entry
    VM_END_EMULATION,    // an instruction that touches a device and cannot be emulated
    VM_END_EPT,          // EPT misconfiguration, or a right it does not have
    VM_END_LEFT,         // the user ended it from the console
    VM_END_TEST,         // a self-test asked for it
};

const char *vm_end_name(enum vm_end_kind kind);

// Guest-physical RAM and where it lies.
struct vm_ram {
    gpa_t gpa;
    hpa_t hpa;
    u64 size;   // bytes
    u8 type;    // enum mem_type
    bool lazy;  // mapped page by page as it is touched, rather than at once
    bool owned; // its frames go back to the pool when the VM is destroyed
};

// Set in vm.attention, which the run loop looks at before each entry.
enum vm_attention {
    VM_ATTENTION_EVENT = 1u << 0, // something may be to be injected
    VM_ATTENTION_STOP = 1u << 1,  // the VM has ended
    VM_ATTENTION_YIELD = 1u << 2, // the run loop is to return: others wait
    VM_ATTENTION_CHECK = 1u << 3, // check=entry: stays set, and says nothing of the VM
};

struct vm {
    char name[16];
    u32 attention;      // enum vm_attention
    bool nmi_requested; // by the local APIC; the vCPU takes it
    enum vm_end_kind end;
    u32 end_status;    // VM_END_DEBUG_EXIT: what the guest wrote, as (v << 1) | 1
    char end_text[96]; // what there is to say more

    struct frame_pool *frames;         // for RAM of its own
    struct vm_ram ram[VM_RAM_REGIONS]; // sorted by guest-physical address, disjoint
    u32 nram;
    struct ept ept;

    const struct clock *clock;
    struct deadline_queue timers;
    struct deadline *heap[VM_DEADLINES];

    struct bus bus;
    struct lapic lapic;
    struct ioapic ioapic;
    struct pic pic;
    struct pit pit;
    struct rtc rtc;
    struct hpet hpet;
    struct pm pm;
    struct reset reset;
    struct pci pci;
    struct i8042 i8042;
    struct uart com1;
    struct debug_exit debug_exit;
    struct post post;
};

struct vm_config {
    const char *name;
    const struct clock *clock;
    struct frame_pool *frames;
    const struct ept_config *ept;
    struct chardev console; // what COM1 sends
    u64 lapic_hz;
    u64 epoch, epoch_ticks; // the time of day: seconds from the beginning of 1970 at that tick
    bool x2apic;            // offered to the guest
    bool tsc_deadline;
};

// Makes a VM without memory: devices at power-on, an empty EPT. Errors of ept_init and bus_attach.
MUST_CHECK int vm_init(struct vm *vm, const struct vm_config *config);

// The part of vm_init that makes the devices and connects them (guest/pc.c). bus_attach's errors.
MUST_CHECK int vm_init_devices(struct vm *vm, const struct vm_config *config);

// Gives back all memory of the VM; its guest-physical space is empty and its EPT gone afterwards.
void vm_destroy(struct vm *vm);

// Adds RAM, mapped with all rights at once or (lazy) as it is touched. Regions are added in order
// of guest-physical address, whole pages. E_NOMEM, E_INVAL, E_EXIST (not in order), ept_map's
// errors.
MUST_CHECK int vm_add_ram(struct vm *vm, struct vm_ram ram);

// The same with frames of the pool, cleared, write-back, in as many pieces as it takes. E_NOMEM
// (logged); what could be had stays with the VM, not cleared.
MUST_CHECK int vm_alloc_ram(struct vm *vm, gpa_t gpa, u64 size, bool lazy);

// Clears the RAM that is the VM's own, as power-on does.
void vm_clear_ram(struct vm *vm);

// The same in pieces of at most so many bytes, for a VM beside others: a piece at a call, from
// *done bytes on, which starts as 0 and moves. Whether nothing was left to clear.
bool vm_clear_ram_piece(struct vm *vm, u64 *done, u64 most);

// Tells the VM of RAM that ept_identity() has mapped already.
MUST_CHECK int vm_note_ram(struct vm *vm, struct vm_ram ram);

// The host's pointer to length bytes of guest RAM at gpa, or NULL if any of it is not RAM of this
// VM. The only way by which anything in Corbel touches a guest's memory.
void *vm_ptr(const struct vm *vm, gpa_t gpa, u64 length);

// Maps the page of a lazy region that gpa lies in. E_NOENT if it lies in none; E_EXIST if it is
// mapped already; E_NOMEM.
MUST_CHECK int vm_fill(struct vm *vm, gpa_t gpa);

// The region of RAM that holds gpa, or NULL.
const struct vm_ram *vm_find_ram(const struct vm *vm, gpa_t gpa);

// Ends the VM; the first reason given is kept.
void vm_stop(struct vm *vm, enum vm_end_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);

// Makes a VM that has ended one that runs again; its devices, memory and vCPU are the caller's to
// start anew.
void vm_revive(struct vm *vm);

// Whether the PICs' interrupt waits for the CPU, by LINT0 or by the I/O APIC: pic_ack() is due when
// the CPU takes interrupts.
bool vm_extint(const struct vm *vm);

// Whether a device may raise an NMI, by LINT0 or by the I/O APIC.
bool vm_nmi_wired(const struct vm *vm);

// All devices to their power-on state.
void vm_reset_devices(struct vm *vm);

// A vCPU's start state, from a loader: SDM volume 3, "Processor State After Reset" in spirit. What
// is not given is 0.
struct guest_start {
    enum image_mode mode;
    bool unpaged; // IMAGE_PROTECTED: CR0.PG is clear, which needs unrestricted guest
    u64 rip, rsp;
    u64 rax, rbx;
    u64 rsi;      // Linux: struct boot_params
    u64 rdi;      // Corbel's own images: struct guest_info
    u64 cr3;      // guest-physical; 0 in real mode and without paging
    u16 selector; // real mode: of all segments
    gpa_t gdt;    // with gdt_size: a descriptor table in guest memory; CS = cs, DS, ES, SS... = ds
    u16 gdt_size; // bytes; 0: GDTR is empty, and selectors are those that programs choose
                  // themselves
    u16 cs, ds;
};

// Checks an image's record: E_TRUNC if it ends too early, E_FORMAT if it is none.
MUST_CHECK int guest_image_check(const void *image, u64 size);

// Bytes of guest memory, page-aligned, that an image takes with its page tables and info page.
u64 guest_image_footprint(const struct guest_image *record);

// Puts an image into guest RAM at base (page-aligned; real mode: below 1 MiB, with footprint bytes
// from there), builds its page tables behind it and says how to start it. All memory is reached at
// its own address except the image's linked range, which leads to base. E_RANGE if the footprint is
// not all RAM, and guest_image_check's errors.
MUST_CHECK int guest_load(struct vm *vm, const void *image, u64 size, gpa_t base,
                          const struct guest_info *info, struct guest_start *start);
