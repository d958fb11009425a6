// SPDX-License-Identifier: MIT
// The host machine as it is set up: what may not be written or executed faults, traps arrive and
// can be survived, and time passes.
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/host_lapic.h"
#include "arch/x86_64/idt.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/selftest.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs/apic.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "arch/x86_64/stacks.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/tsc.h"

#define RET 0xc3

#define EXPECT_FAULT(probe, want_vector, want_error)                                               \
    do {                                                                                           \
        struct probe_result result_ = (probe);                                                     \
        EXPECT_EQ(result_.vector, want_vector);                                                    \
        EXPECT_EQ(result_.error, want_error);                                                      \
    } while (0)
// A page that is not there. QEMU's TCG reads before it writes, and faults as for a read.
#define EXPECT_NO_PAGE(addr)                                                                       \
    do {                                                                                           \
        struct probe_result result_ = probe_write(addr);                                           \
        EXPECT_EQ(result_.vector, VEC_PF);                                                         \
        EXPECT_EQ(result_.error & ~(u64)PFEC_W, 0);                                                \
    } while (0)
#define EXPECT_NO_FAULT(probe) EXPECT_EQ((probe).vector, PROBE_NO_FAULT)

static u8 data_ret[16] = {RET};
static const u8 rodata_ret[16] = {RET};

static void return_at_once(u64 arg)
{
    (void)arg;
}

// The byte below an address that ends something.
static const u8 *below(const u8 *end)
{
    return (const u8 *)((uintptr_t)end - 1);
}

static const u8 *some_text(void)
{
    return (const u8 *)(uintptr_t)return_at_once;
}

// The same byte through the window on all RAM.
static u8 *alias_of(const void *image_addr)
{
    return phys_ptr(image_phys(image_addr));
}

SELFTEST(host, text_runs_and_is_not_written, NEEDS_NOTHING)
{
    EXPECT_NO_FAULT(probe_exec(some_text()));
    EXPECT_NO_FAULT(probe_read(some_text()));
    EXPECT_FAULT(probe_write(some_text()), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_FAULT(probe_write(text_start), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_FAULT(probe_write(below(text_end)), VEC_PF, PFEC_P | PFEC_W);
}

SELFTEST(host, rodata_is_neither_written_nor_executed, NEEDS_NOTHING)
{
    EXPECT_NO_FAULT(probe_read(rodata_ret));
    EXPECT_FAULT(probe_write(rodata_ret), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_FAULT(probe_write(rodata_start), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_FAULT(probe_write(below(rodata_end)), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_FAULT(probe_exec(rodata_ret), VEC_PF, PFEC_P | PFEC_I);
}

SELFTEST(host, data_is_not_executed, NEEDS_NOTHING)
{
    EXPECT_NO_FAULT(probe_write(data_ret));
    EXPECT_FAULT(probe_exec(data_ret), VEC_PF, PFEC_P | PFEC_I);
}

SELFTEST(host, stack_is_not_executed, NEEDS_NOTHING)
{
    volatile u8 code[16] = {RET};
    EXPECT_NO_FAULT(probe_write(code));
    EXPECT_FAULT(probe_exec(code), VEC_PF, PFEC_P | PFEC_I);
}

SELFTEST(host, window_alias_of_the_image_keeps_its_rights, NEEDS_NOTHING)
{
    EXPECT_EQ(*alias_of(some_text()), *some_text());
    EXPECT_FAULT(probe_write(alias_of(some_text())), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_FAULT(probe_exec(alias_of(some_text())), VEC_PF, PFEC_P | PFEC_I);
    EXPECT_EQ(*alias_of(rodata_ret), RET);
    EXPECT_FAULT(probe_write(alias_of(rodata_ret)), VEC_PF, PFEC_P | PFEC_W);
    EXPECT_EQ(*alias_of(data_ret), RET);
    EXPECT_NO_FAULT(probe_write(alias_of(data_ret)));
    EXPECT_FAULT(probe_exec(alias_of(data_ret)), VEC_PF, PFEC_P | PFEC_I);
    EXPECT_NO_PAGE(alias_of(boot_stack_guard));
}

SELFTEST(host, no_page_of_the_image_is_written_and_executed, NEEDS_NOTHING)
{
    unsigned executable = 0, writable = 0;
    for (const u8 *page = image_start; page < image_end; page += PAGE_SIZE) {
        struct page_mapping m, alias;
        if (!paging_lookup(page, &m)) {
            EXPECT(stack_is_guard(page));
            EXPECT(!paging_lookup(alias_of(page), &alias));
            continue;
        }
        EXPECT(!(m.write && m.exec));
        EXPECT_EQ(m.exec, page < text_end || (page >= init_start && page < init_text_end) ||
                              (page >= lab_start && page < lab_text_end));
        EXPECT_EQ(m.write, (page >= data_start && page < data_end) ||
                               (page >= init_data_start && page < init_data_end) ||
                               page >= lab_data_start);
        EXPECT_EQ(m.at.raw, image_phys(page).raw);
        EXPECT(paging_lookup(alias_of(page), &alias));
        EXPECT(!alias.exec);
        EXPECT_EQ(alias.write, m.write);
        EXPECT_EQ(alias.at.raw, m.at.raw);
        executable += m.exec;
        writable += m.write;
    }
    EXPECT(executable > 0);
    EXPECT(writable > 0);
}

SELFTEST(host, low_half_is_not_mapped, NEEDS_NOTHING)
{
    static const u64 addresses[] = {0, 8, 0xfff, 0x1000, 0x100000, 0x200000, 0x7fffffffffff};
    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
        EXPECT_FAULT(probe_read((const void *)addresses[i]), VEC_PF, 0);
        EXPECT_FAULT(probe_exec((const void *)addresses[i]), VEC_PF, PFEC_I);
    }
    EXPECT_FAULT(probe_read((const void *)boot_load_base), VEC_PF, 0);
}

SELFTEST(host, every_stack_has_a_guard_page, NEEDS_NOTHING)
{
    EXPECT_FAULT(probe_read(boot_stack_guard), VEC_PF, 0);
    EXPECT_NO_PAGE(below(boot_stack));
    EXPECT_NO_FAULT(probe_write(boot_stack));
    EXPECT_NO_FAULT(probe_write(below(boot_stack_top)));
    for (unsigned ist = IST_NONE + 1; ist < IST_END; ist++) {
        u8 *top = ist_stack_top(this_cpu()->id, ist);
        EXPECT_NO_FAULT(probe_write(top - 1));
        EXPECT_NO_FAULT(probe_write(top - IST_STACK_SIZE));
        EXPECT_NO_PAGE(top - IST_STACK_SIZE - 1);
        EXPECT_FAULT(probe_read(top - IST_STACK_SIZE - PAGE_SIZE), VEC_PF, 0);
    }
}

// The page fault of the push cannot be delivered on the same stack: the double fault has its own.
SELFTEST(host, stack_overflow_is_a_double_fault, NEEDS_NOTHING)
{
    EXPECT_NO_FAULT(probe_stack(boot_stack + 1024));
    EXPECT_FAULT(probe_stack(boot_stack), VEC_DF, 0);
    EXPECT_FAULT(probe_stack(ist_stack_top(0, IST_NMI) - IST_STACK_SIZE), VEC_DF, 0);
}

SELFTEST(host, interrupt_stacks_are_apart, NEEDS_NOTHING)
{
    const struct tss *tss = &this_cpu()->tss;
    for (unsigned i = 0; i < IST_END - 1; i++) {
        EXPECT(tss->ist[i] % 16 == 0);
        EXPECT(tss->ist[i] > (uintptr_t)data_start && tss->ist[i] <= (uintptr_t)data_end);
        for (unsigned k = 0; k < i; k++) {
            u64 apart =
                tss->ist[i] > tss->ist[k] ? tss->ist[i] - tss->ist[k] : tss->ist[k] - tss->ist[i];
            EXPECT(apart >= sizeof(struct ist_stack));
        }
    }
    EXPECT_EQ(str(), SEL_HOST_TSS);
}

static u8 wanted_ist(unsigned vector)
{
    return vector == VEC_DF    ? IST_DF
           : vector == VEC_NMI ? IST_NMI
           : vector == VEC_MC  ? IST_MC
           : vector == VEC_DB  ? IST_DB
                               : IST_NONE;
}

SELFTEST(host, idt_has_256_valid_gates, NEEDS_NOTHING)
{
    struct table_register idtr = sidt();
    EXPECT_EQ(idtr.limit >= IDT_GATES * sizeof(struct idt_gate) - 1, true);
    const struct idt_gate *idt = (const struct idt_gate *)idtr.base;
    for (unsigned vector = 0; vector < IDT_GATES; vector++) {
        const struct idt_gate *gate = &idt[vector];
        u64 entry = (u64)gate->offset_high << 32 | (u64)gate->offset_mid << 16 | gate->offset_low;
        EXPECT_EQ(gate->rights, IDT_RIGHTS_INTGATE);
        EXPECT_EQ(gate->selector, read_cs());
        EXPECT_EQ(gate->ist, wanted_ist(vector));
        EXPECT(entry >= (uintptr_t)text_start && entry < (uintptr_t)text_end);
    }
}

SELFTEST(host, control_registers_are_ours, NEEDS_NOTHING)
{
    EXPECT_EQ(read_cr0(), cpu_host_cr0());
    EXPECT_EQ(read_cr4() & ~CR4_VMXE, cpu_host_cr4(&cpu_features));
    EXPECT_EQ(!!(read_cr4() & CR4_SMEP), cpu_features.smep);
    EXPECT_EQ(!!(read_cr4() & CR4_SMAP), cpu_features.smap);
    EXPECT_EQ(!!(read_cr4() & CR4_UMIP), cpu_features.umip);
    EXPECT(read_cr0() & CR0_WP);
    EXPECT(cpu_features.nx);
    EXPECT_EQ(rdmsr(IA32_EFER), EFER_LME | EFER_LMA | EFER_NXE);
    EXPECT_EQ(rdmsr(IA32_PAT), PAT_CORBEL);
    EXPECT_EQ(read_cr3(), paging_cr3());
    EXPECT_EQ(read_rflags() & RFLAGS_IF, 0);
}

static void undefined_instruction(u64 arg)
{
    (void)arg;
    ud2();
}

static void breakpoint(u64 arg)
{
    (void)arg;
    __asm__ volatile("int3");
}

static void divide_by(u64 divisor)
{
    u64 low = 1, high = 0;
    __asm__ volatile("divq %2" : "+a"(low), "+d"(high) : "r"(divisor));
}

static void load_ds(u64 selector)
{
    __asm__ volatile("movw %w0, %%ds" : : "r"(selector));
}

static void set_trap_flag(u64 arg)
{
    (void)arg;
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop" : : : "memory", "cc");
}

SELFTEST(host, exceptions_are_survived, NEEDS_NOTHING)
{
    EXPECT_FAULT(probe_call(undefined_instruction, 0), VEC_UD, 0);
    EXPECT_FAULT(probe_call(breakpoint, 0), VEC_BP, 0);
    EXPECT_FAULT(probe_call(divide_by, 0), VEC_DE, 0);
    EXPECT_NO_FAULT(probe_call(divide_by, 1));
    EXPECT_FAULT(probe_call(set_trap_flag, 0), VEC_DB, 0);
    // Not canonical, and a selector past the table: #GP without and with an error code.
    EXPECT_FAULT(probe_read((const void *)0x8000000000000000ull), VEC_GP, 0);
    EXPECT_FAULT(probe_call(load_ds, 0x1238), VEC_GP, 0x1238);
    EXPECT_EQ(read_ds(), SEL_HOST_DS);
    EXPECT_EQ(read_rflags() & (RFLAGS_TF | RFLAGS_IF), 0);
}

SELFTEST(host, faults_of_msr_accesses_are_reported, NEEDS_NOTHING)
{
    u64 value = 0;
    EXPECT(rdmsr_safe(IA32_PAT, &value));
    EXPECT_EQ(value, PAT_CORBEL);
    if (wrmsr_safe(IA32_PAT, ~0ull)) { // there, but not with this value
        wrmsr(IA32_PAT, PAT_CORBEL);
        selftest_skip(t, "this machine takes any value for IA32_PAT");
        return;
    }
    EXPECT_EQ(rdmsr(IA32_PAT), PAT_CORBEL);
    EXPECT(wrmsr_safe(IA32_KERNEL_GS_BASE, 0xffff812345678123));
    EXPECT_EQ(rdmsr(IA32_KERNEL_GS_BASE), 0xffff812345678123);
    wrmsr(IA32_KERNEL_GS_BASE, 0);
}

SELFTEST(host, missing_msrs_are_reported, NEEDS_NOTHING)
{
    u64 value = 0x1122334455667788;
    if (rdmsr_safe(0x12345678, &value)) {
        selftest_skip(t, "this machine answers for MSRs that do not exist");
        return;
    }
    EXPECT_EQ(value, 0x1122334455667788);
    EXPECT(!wrmsr_safe(0x12345678, 0));
}

SELFTEST(host, nmi_is_counted_and_returns, NEEDS_NOTHING)
{
    u64 before = this_cpu()->nmis;
    raise_nmi();
    raise_nmi();
    EXPECT_EQ(this_cpu()->nmis, before + 2);
}

// tests/kernel/test_host.asm: loads fourteen registers from in, takes an NMI, stores them
// to out.
void registers_across_nmi(const u64 in[14], u64 out[14]);

SELFTEST(host, traps_keep_every_register, NEEDS_NOTHING)
{
    u64 in[14], out[14] = {0};
    for (unsigned i = 0; i < ARRAY_SIZE(in); i++)
        in[i] = 0x0123456789abcdef * (i + 1);
    registers_across_nmi(in, out);
    for (unsigned i = 0; i < ARRAY_SIZE(in); i++)
        EXPECT_EQ(out[i], in[i]);
}

static u8 seen_vector;
static unsigned seen_count;

// Lets what is pending, or on its way from this APIC to itself, come in: some microseconds.
static void take_interrupts(void)
{
    for (unsigned i = 0; i < 200; i++)
        __asm__ volatile("sti; nop; cli");
}

static void note_vector(u8 vector)
{
    seen_vector = vector;
    seen_count++;
    host_lapic_eoi();
}

// Whether a self-IPI of this vector comes as this vector, once.
static bool vector_arrives(u8 vector)
{
    trap_handler_fn before = trap_handler(vector);
    seen_vector = 0;
    seen_count = 0;
    trap_set_handler(vector, note_vector);
    host_lapic_self_ipi(vector);
    take_interrupts();
    trap_set_handler(vector, before);
    return seen_vector == vector && seen_count == 1;
}

// All but the spurious one: sent as a fixed interrupt it would be in service, and Bochs ignores the
// EOI for that vector.
SELFTEST(host, every_interrupt_vector_arrives, NEEDS_NOTHING)
{
    for (unsigned vector = TRAP_FIRST_INTERRUPT; vector < VECTOR_SPURIOUS; vector++)
        if (!vector_arrives((u8)vector)) {
            selftest_fail(t, "vector 0x%x came %u times, last as 0x%x", vector, seen_count,
                          seen_vector);
            return;
        }
}

SELFTEST(host, stray_interrupts_are_counted_and_ended, NEEDS_NOTHING)
{
    u64 before = host_lapic_strays();
    trap_interrupt(0x91); // as if acknowledged by a VM exit, with nothing in service
    EXPECT_EQ(host_lapic_strays(), before + 1);
    host_lapic_self_ipi(0x92);
    take_interrupts();
    EXPECT_EQ(host_lapic_strays(), before + 2);
    // A spurious interrupt comes as this does, with nothing in service.
    __asm__ volatile("int %0" : : "i"(VECTOR_SPURIOUS));
    EXPECT_EQ(host_lapic_strays(), before + 3);
    for (u32 word = 0; word < 8; word++)
        EXPECT_EQ(host_lapic_read(APIC_ISR + word * 16), 0);
}

SELFTEST(host, interrupt_sources_are_masked, NEEDS_NOTHING)
{
    EXPECT(host_lapic_read(APIC_SVR) & APIC_SVR_ENABLE);
    EXPECT_EQ(host_lapic_read(APIC_TPR), 0);
    EXPECT(host_lapic_read(APIC_LVT_LINT0) & APIC_LVT_MASKED);
    EXPECT(host_lapic_read(APIC_LVT_LINT1) & APIC_LVT_MASKED);
    EXPECT(host_lapic_read(APIC_LVT_ERROR) & APIC_LVT_MASKED);
    EXPECT_EQ(host_lapic_x2(), (rdmsr(IA32_APIC_BASE) & APIC_BASE_X2APIC) != 0);
    EXPECT_EQ(host_lapic_id(), this_cpu()->apic_id);
    EXPECT_EQ(host_lapic_id(), cpu_features.apic_id);
    EXPECT_EQ(inb(0x21), 0xff);
    EXPECT_EQ(inb(0xa1), 0xff);
}

SELFTEST(host, device_memory_is_uncached_and_not_executed, NEEDS_NOTHING)
{
    hpa_t where = HPA(image_phys(data_ret).raw);
    u8 *uc = mmio_map(where, 1, MEM_UC);
    u8 *wc = mmio_map(where, 2 * PAGE_SIZE, MEM_WC);
    EXPECT(uc && wc && uc != wc);
    EXPECT_EQ(*uc, RET);
    EXPECT_FAULT(probe_exec(uc), VEC_PF, PFEC_P | PFEC_I);
    struct page_mapping m;
    EXPECT(paging_lookup(uc, &m));
    EXPECT_EQ(m.at.raw, where.raw);
    EXPECT_EQ(m.type, MEM_UC);
    EXPECT(m.write && !m.exec);
    EXPECT(paging_lookup(wc + PAGE_SIZE, &m));
    EXPECT_EQ(m.at.raw, where.raw + PAGE_SIZE);
    EXPECT_EQ(m.type, MEM_WC);
    // The next page is a guard.
    EXPECT(!paging_lookup(uc + PAGE_SIZE, &m));
    EXPECT(!paging_lookup(wc + 3 * PAGE_SIZE, &m));
}

SELFTEST(host, large_device_memory_has_large_pages, NEEDS_NOTHING)
{
    // Nothing there is touched.
    u8 *fb = mmio_map(HPA(0xe0123000), 3 * SIZE_2M, MEM_WC);
    EXPECT(fb);
    struct page_mapping m;
    EXPECT(paging_lookup(fb, &m));
    EXPECT_EQ(m.at.raw, 0xe0123000);
    EXPECT_EQ(m.size, PAGE_SIZE);
    EXPECT(paging_lookup(fb + SIZE_2M, &m));
    EXPECT_EQ(m.size, SIZE_2M);
    EXPECT_EQ(m.type, MEM_WC);
    EXPECT_EQ(m.at.raw, 0xe0123000 + SIZE_2M);
    // What no address bus has is refused, and leaves the window usable.
    EXPECT(!mmio_map(HPA(BIT(cpu_features.phys_bits)), 1, MEM_UC));
    EXPECT(!mmio_map(HPA(0), ~0ull, MEM_UC));
    EXPECT(!mmio_map(HPA(~0ull), 2, MEM_UC));
    EXPECT(mmio_map(HPA(0xe0123000), 1, MEM_UC));
}

// Under an outer hypervisor the CPU may be away for any time: how late something is says nothing.
static bool exact_time(void)
{
    return !cpu_features.outer.signature[0];
}

SELFTEST(host, clock_goes_forward, NEEDS_NOTHING)
{
    EXPECT(host_clock.hz >= 1000000 && host_clock.hz < 100000000000ull);
    u64 last = clock_now(&host_clock);
    for (unsigned i = 0; i < 1000; i++) {
        u64 now = clock_now(&host_clock);
        EXPECT(now >= last);
        last = now;
    }
    u64 before = clock_now(&host_clock);
    tsc_spin_us(100);
    u64 took = clock_now(&host_clock) - before;
    EXPECT(took >= host_clock.hz / 10000);
    EXPECT(!exact_time() || took < host_clock.hz / 10);
}

// Waits at most 100 ms for one more timer interrupt than before, and longer where time is shared.
static bool timer_comes(u64 before)
{
    u64 give_up = clock_now(&host_clock) + (exact_time() ? host_clock.hz / 10 : host_clock.hz * 10);
    while (timer_fired() == before && clock_now(&host_clock) < give_up)
        __asm__ volatile("sti; nop; cli");
    return timer_fired() == before + 1;
}

SELFTEST(host, timer_fires_when_due, NEEDS_NOTHING)
{
    u64 before = timer_fired();
    u64 due = clock_now(&host_clock) + host_clock.hz / 1000;
    timer_arm(due);
    EXPECT(timer_comes(before));
    u64 now = clock_now(&host_clock);
    // One-shot mode counts at a rate that is measured.
    EXPECT(now + host_clock.hz / 1000000 >= due);
    EXPECT(!exact_time() || now < due + host_clock.hz / 100);
    // And once only.
    before = timer_fired();
    u64 until = clock_now(&host_clock) + host_clock.hz / 500;
    while (clock_now(&host_clock) < until)
        __asm__ volatile("sti; nop; cli");
    EXPECT_EQ(timer_fired(), before);
}

SELFTEST(host, timer_wakes_from_hlt, NEEDS_NOTHING)
{
    u64 before = timer_fired();
    u64 due = clock_now(&host_clock) + host_clock.hz / 1000;
    timer_arm(due);
    sti_hlt_cli();
    EXPECT_EQ(timer_fired(), before + 1);
    EXPECT(clock_now(&host_clock) + host_clock.hz / 1000000 >= due);
}

SELFTEST(host, timer_fires_at_once_for_the_past, NEEDS_NOTHING)
{
    u64 before = timer_fired();
    timer_arm(0);
    EXPECT(timer_comes(before));
    before = timer_fired();
    timer_arm(clock_now(&host_clock) - 1000);
    EXPECT(timer_comes(before));
}

SELFTEST(host, timer_disarmed_stays_quiet, NEEDS_NOTHING)
{
    u64 millisecond = host_clock.hz / 1000, before, due;
    // Where time is shared, it may be due before it is disarmed: then it comes, and proves nothing.
    do {
        take_interrupts();
        before = timer_fired();
        due = clock_now(&host_clock) + 2 * millisecond;
        timer_arm(due);
        timer_disarm();
    } while (clock_now(&host_clock) + millisecond > due);
    while (clock_now(&host_clock) < due + millisecond)
        __asm__ volatile("sti; nop; cli");
    EXPECT_EQ(timer_fired(), before);
}
