// SPDX-License-Identifier: MIT
// EPT as the CPU sees it: rights, misconfigurations, lazy pages, and what a guest cannot reach.
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/apic.h"
#include "boot/machine.h"
#include "tests/kernel/support.h"

SNIPPET(read_at_rsi);
SNIPPET(write_at_rsi);
SNIPPET(call_rsi);

#define PAGE 0xb000ull // of the lab's RAM, otherwise unused
#define HOLE 0x300000ull
#define RET  0xc3u

// ---- rights ------------------------------------------------------------------------------------

// What the hook saw; it gives the page all rights and lets the guest go on.
static struct {
    unsigned count;
    u64 qualification, gpa, gla;
} seen;

static bool give_rights(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    if (exit->reason != REASON_EPT_VIOLATION)
        return false;
    seen.count++;
    seen.qualification = exit->qualification;
    seen.gpa = exit->gpa.raw;
    seen.gla = exit->gla.raw;
    if (ept_protect(&vcpu->vm->ept, GPA(PAGE), PAGE_SIZE, EPT_RWX) != OK)
        return false;
    *action = ACT_RESUME;
    return true;
}

// The guest does this to the page while it has these rights: exactly one exit, for this access.
static void expect_violation(struct selftest_ctx *t, struct lab *lab,
                             const struct lab_snippet *code, unsigned rights, unsigned access)
{
    memset(&seen, 0, sizeof(seen));
    memset(vm_ptr(lab->vm, GPA(PAGE), PAGE_SIZE), RET, PAGE_SIZE);
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, code));
    EXPECT_EQ(ept_protect(&lab->vm->ept, GPA(PAGE), PAGE_SIZE, rights), OK);
    lab->vcpu->hook = give_rights;
    lab->vcpu->regs[GPR_RSI] = PAGE + 0x108;
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    EXPECT_EQ(lab->vcpu->regs[GPR_RBX], 1); // it went on behind the access
    EXPECT_EQ(seen.count, 1);
    EXPECT_EQ(seen.qualification & 7, access);
    EXPECT_EQ(seen.qualification >> 3 & 7, rights);
    EXPECT_EQ(seen.qualification >> 7 & 3, 3); // linear address valid, the access itself
    EXPECT_EQ(seen.gpa, PAGE + 0x108);
    EXPECT_EQ(seen.gla, PAGE + 0x108);
}

LAB_TEST(ept, write_needs_w, NEEDS_VMX)
{
    expect_violation(t, lab, &write_at_rsi, EPT_R | EPT_X, EPT_W);
}

LAB_TEST(ept, fetch_needs_x, NEEDS_VMX)
{
    expect_violation(t, lab, &call_rsi, EPT_R | EPT_W, EPT_X);
}

LAB_TEST(ept, read_needs_r, NEEDS_VMX)
{
    if (!hypervisor.caps.ept.execute_only) {
        selftest_skip(t, "needs execute-only translations");
        return;
    }
    expect_violation(t, lab, &read_at_rsi, EPT_X, EPT_R);
}

// What has the right runs through.
static void expect_no_violation(struct selftest_ctx *t, const struct lab_snippet *code,
                                unsigned rights)
{
    struct lab lab;
    if (t->failed || !lab_open(t, &lab, "rights"))
        return;
    memset(vm_ptr(lab.vm, GPA(PAGE), PAGE_SIZE), RET, PAGE_SIZE);
    if (ept_protect(&lab.vm->ept, GPA(PAGE), PAGE_SIZE, rights) != OK)
        selftest_fail(t, "ept_protect");
    if (lab_snippet(t, &lab, IMAGE_LONG, code)) {
        lab.vcpu->regs[GPR_RSI] = PAGE;
        lab_run(&lab);
        if (ended(t, &lab, VM_END_DEBUG_EXIT, "") && lab.vcpu->exits[REASON_EPT_VIOLATION])
            selftest_fail(t, "a violation with rights %u", rights);
    }
    lab_close(&lab);
}

SELFTEST(ept, rights_that_are_there_suffice, NEEDS_VMX)
{
    expect_no_violation(t, &read_at_rsi, EPT_R);
    expect_no_violation(t, &write_at_rsi, EPT_R | EPT_W);
    expect_no_violation(t, &call_rsi, EPT_R | EPT_X);
    if (hypervisor.caps.ept.execute_only)
        expect_no_violation(t, &call_rsi, EPT_X);
}

LAB_TEST(ept, right_that_is_missing_stops_the_vm, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &write_at_rsi));
    EXPECT_EQ(ept_protect(&lab->vm->ept, GPA(PAGE), PAGE_SIZE, EPT_R), OK);
    lab->vcpu->regs[GPR_RSI] = PAGE;
    run_quietly(lab);
    ended(t, lab, VM_END_EPT, "guest-physical b000");
    EXPECT(said("EPT violation: "));
}

LAB_TEST(ept, page_walk_needs_rights_too, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &read_at_rsi));
    u64 pml4 = lab_peek(lab, VMCS_GUEST_CR3);
    EXPECT_EQ(ept_unmap(&lab->vm->ept, GPA(pml4), PAGE_SIZE), OK);
    run_quietly(lab);
    ended(t, lab, VM_END_EPT, "");
    EXPECT_EQ(lab->vcpu->exit.gpa.raw, pml4);
    EXPECT_EQ(lab->vcpu->exit.gla.raw, LAB_CODE);
    EXPECT_EQ(lab->vcpu->exit.qualification >> 7 & 3, 1); // not the access itself
    EXPECT(lab->vcpu->exit.qualification & EPT_R);
}

// ---- entries that are wrong --------------------------------------------------------------------

// The entry of this level that leads to gpa.
static u64 *entry_of(const struct ept *ept, u64 gpa, unsigned level)
{
    u64 *table = phys_ptr(ept->root);
    for (unsigned at = EPT_PML4; at > level; at--)
        table = phys_ptr(HPA(table[ept_index(gpa, at)] & EPT_ADDR));
    return &table[ept_index(gpa, level)];
}

static void expect_misconfiguration(struct selftest_ctx *t, unsigned level, u64 clear, u64 set)
{
    struct lab lab;
    if (t->failed || !lab_open(t, &lab, "misconfig"))
        return;
    if (lab_snippet(t, &lab, IMAGE_LONG, &read_at_rsi)) {
        u64 *entry = entry_of(&lab.vm->ept, LAB_LAZY, level);
        lab.vcpu->regs[GPR_RSI] = LAB_LAZY;
        if (level == EPT_PT && vm_fill(lab.vm, GPA(LAB_LAZY)) != OK)
            selftest_fail(t, "vm_fill");
        entry = entry_of(&lab.vm->ept, LAB_LAZY, level);
        u64 old = *entry;
        *entry = (old & ~clear) | set;
        run_quietly(&lab);
        *entry = old;
        ended(t, &lab, VM_END_EPT, "misconfigured");
        if (lab.vcpu->exits[REASON_EPT_MISCONFIG] != 1 || lab.vcpu->exit.gpa.raw != LAB_LAZY ||
            !said("EPT misconfiguration"))
            selftest_fail(t, "bits %llx at level %u are not reported", (unsigned long long)set,
                          level);
    }
    lab_close(&lab);
}

SELFTEST(ept, misconfiguration_stops_the_vm, NEEDS_VMX)
{
    unsigned width = hypervisor.caps.maxphyaddr;
    expect_misconfiguration(t, EPT_PT, EPT_R, EPT_W);                  // W without R
    expect_misconfiguration(t, EPT_PT, EPT_R, EPT_W | EPT_X);          //
    expect_misconfiguration(t, EPT_PT, EPT_TYPE, 2 << EPT_TYPE_SHIFT); // no such type
    expect_misconfiguration(t, EPT_PT, EPT_TYPE, 3 << EPT_TYPE_SHIFT);
    expect_misconfiguration(t, EPT_PT, EPT_TYPE, 7 << EPT_TYPE_SHIFT);
    if (width < 52)
        expect_misconfiguration(t, EPT_PT, 0, BIT(width));
    if (!hypervisor.caps.ept.execute_only)
        expect_misconfiguration(t, EPT_PT, EPT_R | EPT_W, EPT_X);
}

// ---- what is nothing ---------------------------------------------------------------------------

static void expect_stop_in_hole(struct selftest_ctx *t, struct lab *lab, const char *text)
{
    run_quietly(lab);
    ended(t, lab, VM_END_EMULATION, text);
    EXPECT(said("not present"));
}

LAB_TEST(ept, code_outside_of_ram_stops_the_vm, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &call_rsi));
    lab->vcpu->regs[GPR_RSI] = HOLE;
    expect_stop_in_hole(t, lab, "code in memory that is none at guest-physical 300000");
}

LAB_TEST(ept, page_tables_outside_of_ram_stop_the_vm, NEEDS_VMX)
{
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &read_at_rsi));
    u64 *pml4 = vm_ptr(lab->vm, GPA(lab_peek(lab, VMCS_GUEST_CR3)), PAGE_SIZE);
    pml4[1] = HOLE | PTE_P | PTE_W;
    lab->vcpu->regs[GPR_RSI] = 1ull << 39;
    expect_stop_in_hole(t, lab, "page tables in memory that is none at guest-physical 300000");
}

// UD2 with the IDT, and then the stack, where nothing is.
LAB_TEST(ept, idt_outside_of_ram_stops_the_vm, NEEDS_VMX)
{
    static const u8 ud2[] = {0x0f, 0x0b};
    EXPECT(lab_code(t, lab, IMAGE_LONG, ud2, sizeof(ud2)));
    lab_poke(lab, VMCS_GUEST_IDTR_BASE, HOLE);
    lab_poke(lab, VMCS_GUEST_IDTR_LIMIT, 0xfff);
    expect_stop_in_hole(t, lab, "an event is delivered through memory that is none");
    EXPECT_EQ(lab->vcpu->exit.gpa.raw, HOLE + VEC_UD * 16);
}

LAB_TEST(ept, instruction_that_is_not_emulated_stops_the_vm, NEEDS_VMX)
{
    static const u8 code[] = {0x0f, 0xae, 0x06}; // FXSAVE [RSI]
    EXPECT(lab_code(t, lab, IMAGE_LONG, code, sizeof(code)));
    lab_poke(lab, VMCS_GUEST_CR4, lab_peek(lab, VMCS_GUEST_CR4) | CR4_OSFXSR);
    lab->vcpu->regs[GPR_RSI] = HOLE;
    run_quietly(lab);
    ended(t, lab, VM_END_EMULATION, "not emulated at guest-physical 300");
    EXPECT(said("code at rip: 0f ae 06"));
}

LAB_TEST(io, ins_to_device_memory_stops_the_vm, NEEDS_VMX)
{
    static const u8 code[] = {0x6c}; // INSB
    EXPECT(lab_code(t, lab, IMAGE_LONG, code, sizeof(code)));
    lab->vcpu->regs[GPR_RDI] = HOLE;
    lab->vcpu->regs[GPR_RDX] = 0x80;
    run_quietly(lab);
    ended(t, lab, VM_END_EMULATION, "INS at port 80H: its memory is not RAM");
}

// ---- lazy pages, splits ------------------------------------------------------------------------

LAB_TEST(ept, lazy_page_costs_one_exit, NEEDS_VMX)
{
    EXPECT(lab_load(t, lab, t->name));
    struct ept_stats before = lab->vm->ept.stats;
    EXPECT(lab_run_passes(t, lab));
    EXPECT_EQ(lab->vcpu->exits[REASON_EPT_VIOLATION], 16);
    EXPECT_EQ(lab->vm->ept.stats.leaves[EPT_PT], before.leaves[EPT_PT] + 16);
    for (u64 i = 0; i < 16; i++)
        EXPECT_EQ(((u64 *)vm_ptr(lab->vm, GPA(LAB_LAZY + i * PAGE_SIZE), PAGE_SIZE))[2], i);
}

LAB_TEST(ept, page_tables_in_lazy_memory, NEEDS_VMX)
{
    answer_calls(lab);
    if (lab_load(t, lab, t->name))
        lab_run_passes(t, lab);
}

LAB_TEST(ept, split_leaves_lead_to_the_same_memory, NEEDS_VMX)
{
    struct ept_walk walk;
    EXPECT_EQ(vm_alloc_ram(lab->vm, GPA(0x800000), 0x400000, false), OK);
    ept_walk(&lab->vm->ept, GPA(0x801000), &walk);
    EXPECT_EQ(walk.level, hypervisor.caps.ept.large_2m ? EPT_PD : EPT_PT);
    answer_calls(lab);
    EXPECT(lab_load(t, lab, t->name));
    u64 splits = lab->vm->ept.stats.splits;
    EXPECT(lab_run_passes(t, lab));
    EXPECT_EQ(lab->vm->ept.stats.splits, splits + hypervisor.caps.ept.large_2m);
    ept_walk(&lab->vm->ept, GPA(0x801000), &walk);
    EXPECT_EQ(walk.level, EPT_PT);
    ept_walk(&lab->vm->ept, GPA(0xa01000), &walk); // the next one is whole
    EXPECT_EQ(walk.level, hypervisor.caps.ept.large_2m ? EPT_PD : EPT_PT);
    EXPECT_EQ(lab->vcpu->exits[REASON_EPT_VIOLATION], 0);
}

LAB_TEST(ept, leaves_have_the_memory_type_asked_for, NEEDS_VMX)
{
    struct ept_walk walk;
    ept_walk(&lab->vm->ept, GPA(PAGE), &walk);
    EXPECT_EQ(walk.verdict, EPT_MAPPED);
    EXPECT_EQ(walk.type, MEM_WB);
    EXPECT_EQ(walk.rights, EPT_RWX);
    EXPECT(!walk.ipat); // the guest's PAT counts
    EXPECT_EQ(walk.hpa.raw, phys_addr(vm_ptr(lab->vm, GPA(PAGE), 1)).raw);
    EXPECT_EQ(ept_retype(&lab->vm->ept, GPA(PAGE), PAGE_SIZE, MEM_UC), OK);
    ept_walk(&lab->vm->ept, GPA(PAGE), &walk);
    EXPECT_EQ(walk.type, MEM_UC);
    EXPECT_EQ(walk.entries[3] & EPT_TYPE, 0);
    // Nothing that Corbel maps is one the hardware refuses, and a guest runs with it.
    EXPECT_EQ(walk.rule, EPT_RULE_NONE);
    EXPECT(lab_snippet(t, lab, IMAGE_LONG, &read_at_rsi));
    lab->vcpu->regs[GPR_RSI] = PAGE;
    lab_run(lab);
    ended(t, lab, VM_END_DEBUG_EXIT, "");
}

LAB_TEST(ept, what_is_not_mapped_is_an_entry_of_zero, NEEDS_VMX)
{
    EXPECT_EQ(ept_unmap(&lab->vm->ept, GPA(PAGE), PAGE_SIZE), OK);
    EXPECT_EQ(*entry_of(&lab->vm->ept, PAGE, EPT_PT), 0);
    EXPECT_EQ(*entry_of(&lab->vm->ept, APIC_DEFAULT_BASE, EPT_PDPT), 0);
}

// ---- what a guest cannot reach -----------------------------------------------------------------

// No leaf leads to Corbel's image, its pool, or the host's local APIC.
static void expect_own_memory_unreachable(struct selftest_ctx *t, const struct ept *ept)
{
    struct ept_leaf leaf;
    for (u64 from = 0; ept_next_leaf(ept, GPA(from), &leaf); from = leaf.gpa.raw + leaf.size)
        for (unsigned i = 0; i <= ARRAY_SIZE(hypervisor.own); i++) {
            const struct mem_range lapic = {APIC_DEFAULT_BASE, PAGE_SIZE};
            const struct mem_range *own =
                i < ARRAY_SIZE(hypervisor.own) ? &hypervisor.own[i] : &lapic;
            if (leaf.hpa.raw < own->base + own->size && own->base < leaf.hpa.raw + leaf.size)
                selftest_fail(t, "guest-physical %llx leads to %llx",
                              (unsigned long long)leaf.gpa.raw, (unsigned long long)leaf.hpa.raw);
        }
}

SELFTEST(ept, identity_map_leaves_corbel_out, NEEDS_VMX)
{
    const struct cell_config config = {.name = "identity"};
    struct cell *cell;
    EXPECT_EQ(cell_create(&hypervisor, &config, &cell), OK);
    int err = cell_map_identity(cell);
    hpa_t hpa;
    u64 reachable = 0;
    expect_own_memory_unreachable(t, &cell->vm.ept);
    for (unsigned i = 0; i < ARRAY_SIZE(hypervisor.own); i++) {
        const struct mem_range *own = &hypervisor.own[i];
        for (u64 at = own->base & ~(PAGE_SIZE - 1); at < own->base + own->size; at += PAGE_SIZE)
            reachable += ept_translate(&cell->vm.ept, GPA(at), EPT_R, &hpa, NULL) != E_NOENT;
    }
    // And the rest of RAM is there, at its own addresses.
    u64 there = 0, astray = 0;
    struct ept_leaf leaf;
    for (u64 from = 0; ept_next_leaf(&cell->vm.ept, GPA(from), &leaf);
         from = leaf.gpa.raw + leaf.size) {
        there += leaf.size >> PAGE_SHIFT;
        astray += leaf.gpa.raw != leaf.hpa.raw || leaf.attr.rights != EPT_RWX;
    }
    cell_destroy(cell);
    EXPECT_EQ(err, OK);
    EXPECT_EQ(reachable, 0);
    EXPECT_EQ(astray, 0);
    EXPECT_EQ(there, hypervisor.guest.total);
}

LAB_TEST(ept, lab_leaves_corbel_out, NEEDS_VMX)
{
    expect_own_memory_unreachable(t, &lab->vm->ept);
}

LAB_TEST(ept, local_apic_is_the_guests_own, NEEDS_VMX)
{
    static const u32 regs[] = {APIC_TPR,  APIC_SVR,       APIC_LVT_ERROR,
                               APIC_TDCR, APIC_LVT_TIMER, APIC_TMICT};
    u32 before[ARRAY_SIZE(regs)];
    hpa_t hpa;
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        before[i] = host_lapic_read(regs[i]);
    EXPECT_EQ(ept_translate(&lab->vm->ept, GPA(APIC_DEFAULT_BASE), EPT_R, &hpa, NULL), E_NOENT);
    EXPECT(lab_load(t, lab, t->name));
    EXPECT(lab_run_passes(t, lab));
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        EXPECT_EQ(host_lapic_read(regs[i]), before[i]);
}
