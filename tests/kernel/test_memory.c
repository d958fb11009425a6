// SPDX-License-Identifier: MIT
// The frame pools as the machine has them, and that VMs give back what they take.
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"

SNIPPET(read_at_rsi);

// ---- the pools ---------------------------------------------------------------------------------

SELFTEST(memory, pools_are_what_the_map_says, NEEDS_NOTHING)
{
    const struct hypervisor *hv = &hypervisor;
    u64 frames = 0;
    EXPECT(hv->host.total && hv->host.free && hv->host.free <= hv->host.total);
    EXPECT(hv->guest.total && hv->guest.free == hv->guest.total); // no VM is there
    for (unsigned i = 0; i < hv->nram; i++)
        frames += hv->ram[i].size >> PAGE_SHIFT;
    EXPECT_EQ(hv->guest.total, frames);
    // All of the host's pool is Corbel's own, so no guest gets it.
    for (unsigned i = 0; i < hv->host.nranges; i++) {
        u64 first = hv->host.ranges[i].first << PAGE_SHIFT;
        u64 end = first + (hv->host.ranges[i].count << PAGE_SHIFT);
        EXPECT(first >= hv->own[1].base && end <= hv->own[1].base + hv->own[1].size);
    }
}

static bool overlap(struct mem_range a, struct mem_range b)
{
    return a.base < b.base + b.size && b.base < a.base + a.size;
}

SELFTEST(memory, pools_do_not_share_a_frame, NEEDS_NOTHING)
{
    const struct hypervisor *hv = &hypervisor;
    for (unsigned i = 0; i < hv->guest.nranges; i++) {
        struct mem_range range = {hv->guest.ranges[i].first << PAGE_SHIFT,
                                  hv->guest.ranges[i].count << PAGE_SHIFT};
        for (unsigned k = 0; k < ARRAY_SIZE(hv->own); k++)
            EXPECT(!overlap(range, hv->own[k]));
        EXPECT(range.base >= 0x1000); // page 0 is nobody's
    }
}

SELFTEST(memory, first_mib_of_firmware_is_not_handed_out, NEEDS_NOTHING)
{
    for (u64 at = 0xa0000; at < 0x100000; at += PAGE_SIZE) {
        EXPECT(!frame_is_free(&hypervisor.guest, HPA(at)));
        EXPECT(!frame_is_free(&hypervisor.host, HPA(at)));
    }
}

// Every frame of the host's pool, each with its own address in it: the list runs through the
// frames. Returns how many there were.
#define NONE (~0ull)

static u64 take_all(struct frame_pool *pool, u64 *list, u64 keep)
{
    u64 count = 0;
    hpa_t frame;
    *list = NONE;
    while (pool->free > keep && frame_alloc(pool, 1, PAGE_SIZE, 0, &frame) == OK) {
        u64 *memory = phys_ptr(frame);
        memory[0] = *list;
        memory[1] = frame.raw;
        *list = frame.raw;
        count++;
    }
    return count;
}

// Whether each still held its address.
static bool give_all(struct frame_pool *pool, u64 list)
{
    bool whole = true;
    while (list != NONE) {
        u64 *memory = phys_ptr(HPA(list)), next = memory[0];
        whole = whole && memory[1] == list;
        frame_free(pool, HPA(list), 1);
        list = next;
    }
    return whole;
}

SELFTEST(memory, host_pool_can_be_emptied, NEEDS_NOTHING)
{
    struct frame_pool *pool = &hypervisor.host;
    u64 before = pool->free, list;
    hpa_t frame;
    u64 count = take_all(pool, &list, 0);
    int none = frame_alloc(pool, 1, PAGE_SIZE, 0, &frame);
    u64 left = pool->free;
    bool whole = give_all(pool, list);
    EXPECT_EQ(count, before);
    EXPECT_EQ(none, E_NOMEM);
    EXPECT_EQ(left, 0);
    EXPECT(whole); // each frame is RAM, and another one than the rest
    EXPECT_EQ(pool->free, before);
}

SELFTEST(memory, alignment_and_limit_are_kept, NEEDS_NOTHING)
{
    static const u64 aligns[] = {PAGE_SIZE, 4 * PAGE_SIZE, SIZE_2M};
    for (unsigned i = 0; i < ARRAY_SIZE(aligns); i++) {
        struct frame_pool *pool = &hypervisor.guest;
        u64 before = pool->free;
        hpa_t at;
        EXPECT_EQ(frame_alloc(pool, 513, aligns[i], 0x8000000, &at), OK);
        EXPECT_EQ(pool->free, before - 513);
        EXPECT(is_aligned(at.raw, aligns[i]));
        EXPECT(at.raw + 513 * PAGE_SIZE <= 0x8000000);
        for (u64 k = 0; k < 513; k++)
            EXPECT(!frame_is_free(pool, HPA(at.raw + k * PAGE_SIZE)));
        frame_free(pool, at, 513);
        EXPECT(frame_is_free(pool, at));
        EXPECT_EQ(pool->free, before);
    }
}

SELFTEST(memory, what_cannot_be_had_is_refused, NEEDS_NOTHING)
{
    struct frame_pool *pool = &hypervisor.guest;
    u64 before = pool->free;
    hpa_t at = HPA(1);
    EXPECT_EQ(frame_alloc(pool, pool->total + 1, PAGE_SIZE, 0, &at), E_NOMEM);
    EXPECT_EQ(frame_alloc(pool, 1, PAGE_SIZE, 0x1000, &at), E_NOMEM);
    EXPECT_EQ(frame_alloc(pool, 0, PAGE_SIZE, 0, &at), E_INVAL);
    EXPECT_EQ(frame_alloc(pool, 1, PAGE_SIZE + 1, 0, &at), E_INVAL);
    EXPECT_EQ(pool->free, before);
}

// ---- VMs ---------------------------------------------------------------------------------------

SELFTEST(memory, vm_gives_back_every_frame, NEEDS_VMX)
{
    u64 host = hypervisor.host.free, guest = hypervisor.guest.free;
    struct lab lab;
    EXPECT(lab_open(t, &lab, "frames"));
    u64 taken = guest - hypervisor.guest.free;
    EXPECT(hypervisor.host.free < host);
    // Tables more are needed for lazy pages and for splits.
    if (lab_snippet(t, &lab, IMAGE_LONG, &read_at_rsi)) {
        lab.vcpu->regs[GPR_RSI] = LAB_LAZY + 0x1000;
        lab_run(&lab);
        ended(t, &lab, VM_END_DEBUG_EXIT, "");
        if (ept_protect(&lab.vm->ept, GPA(0x5000), PAGE_SIZE, EPT_R) != OK)
            selftest_fail(t, "ept_protect");
    }
    lab_close(&lab);
    EXPECT_EQ(taken, (LAB_RAM + LAB_LAZY_SIZE) >> PAGE_SHIFT);
    EXPECT_EQ(hypervisor.host.free, host);
    EXPECT_EQ(hypervisor.guest.free, guest);
}

SELFTEST(memory, two_vms_share_no_frame, NEEDS_VMX)
{
    struct lab one, two;
    u64 host = hypervisor.host.free, guest = hypervisor.guest.free;
    EXPECT(lab_open(t, &one, "one"));
    if (!lab_open(t, &two, "two")) {
        lab_close(&one);
        return;
    }
    for (unsigned i = 0; i < one.vm->nram; i++)
        for (unsigned k = 0; k < two.vm->nram; k++) {
            struct mem_range a = {one.vm->ram[i].hpa.raw, one.vm->ram[i].size};
            struct mem_range b = {two.vm->ram[k].hpa.raw, two.vm->ram[k].size};
            if (overlap(a, b))
                selftest_fail(t, "RAM at %llx is in both", (unsigned long long)a.base);
        }
    // Gone in the order they came.
    lab_close(&one);
    lab_close(&two);
    EXPECT_EQ(hypervisor.host.free, host);
    EXPECT_EQ(hypervisor.guest.free, guest);
}

SELFTEST(memory, next_vm_finds_nothing_of_the_last, NEEDS_VMX)
{
    struct lab lab;
    EXPECT(lab_open(t, &lab, "last"));
    u64 *ram = vm_ptr(lab.vm, GPA(0), LAB_RAM);
    u64 *first = ram;
    for (u64 i = 0; i < LAB_RAM / 8; i += 64)
        ram[i] = 0x5ec7e75ec7e75ec7;
    lab_close(&lab);
    EXPECT(lab_open(t, &lab, "next"));
    ram = vm_ptr(lab.vm, GPA(0), LAB_RAM);
    u64 found = 0;
    for (u64 i = 0; i < LAB_RAM / 8; i += 64)
        found += ram[i] != 0;
    lab_close(&lab);
    EXPECT_EQ(found, 0);
    EXPECT(ram == first); // the same frames, else this shows nothing
}

// With so many frames left of the host's pool: whether the VM was made.
static bool made_with(u64 frames)
{
    const struct cell_config config = {.name = "small"};
    struct frame_pool *pool = &hypervisor.host;
    struct cell *cell;
    u64 list;
    take_all(pool, &list, frames);
    bool made = cell_create(&hypervisor, &config, &cell) == OK;
    if (made)
        cell_destroy(cell);
    give_all(pool, list);
    return made;
}

// Wherever it runs out of memory, what it had is given back.
SELFTEST(memory, vm_that_cannot_be_made_leaves_nothing, NEEDS_VMX)
{
    u64 before = hypervisor.host.free, frames = 0;
    bool made = false;
    log_quietly();
    for (; !made && frames < 64; frames++) {
        made = made_with(frames);
        if (hypervisor.host.free != before)
            break;
    }
    log_normally();
    EXPECT_EQ(hypervisor.host.free, before);
    EXPECT(made);
    EXPECT(frames > 5); // the VM, the VMCS, two I/O bitmaps, the MSR bitmap, an EPT root
    EXPECT(said("cannot be made: E_NOMEM"));
}

SELFTEST(memory, vm_without_room_for_its_ram_says_so, NEEDS_VMX)
{
    struct lab lab;
    u64 host = hypervisor.host.free, guest = hypervisor.guest.free;
    EXPECT(lab_open(t, &lab, "large"));
    log_quietly();
    int err = vm_alloc_ram(lab.vm, GPA(0x100000000), hypervisor.guest.total << PAGE_SHIFT, false);
    log_normally();
    lab_close(&lab);
    EXPECT_EQ(err, E_NOMEM);
    EXPECT(said("no"));
    EXPECT_EQ(hypervisor.host.free, host);
    EXPECT_EQ(hypervisor.guest.free, guest);
}
