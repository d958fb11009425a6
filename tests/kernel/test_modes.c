// SPDX-License-Identifier: MIT
// Exits from protected and real mode, and the ways between modes. The code is in lab_code.asm.
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/cr.h"
#include "arch/x86_64/regs/msr.h"
#include "tests/kernel/support.h"

SNIPPET(protected_basics);
SNIPPET(protected_strings);
SNIPPET(protected_segments);
SNIPPET(to_long_and_back);
SNIPPET(to_pae_and_back);
SNIPPET(real_basics);
SNIPPET(real_interrupts);
SNIPPET(real_to_long);

#define RESULTS 0x6000u // lab_code.asm

static u8 *ram(struct lab *lab, u64 gpa)
{
    return vm_ptr(lab->vm, GPA(gpa), 4);
}

static u32 result32(struct lab *lab, unsigned offset)
{
    u32 value;
    memcpy(&value, ram(lab, RESULTS + offset), sizeof(value));
    return value;
}

// Runs the code, which must end by itself.
static bool runs(struct selftest_ctx *t, struct lab *lab, enum image_mode mode,
                 const struct lab_snippet *code)
{
    if (!lab_snippet(t, lab, mode, code))
        return false;
    lab_run(lab);
    return ended(t, lab, VM_END_DEBUG_EXIT, "");
}

// The next byte of the FIFO, or -1.
static int fifo_next(void)
{
    if (!fifo.held)
        return -1;
    fifo.held--;
    return fifo.bytes[fifo.head++ % sizeof(fifo.bytes)];
}

static bool fifo_gives(const char *text)
{
    for (; *text; text++)
        if (fifo_next() != (u8)*text)
            return false;
    return true;
}

static void expect_basics(struct selftest_ctx *t, struct lab *lab)
{
    EXPECT_EQ(result32(lab, 0), 0x62726f43); // "Corb"
    EXPECT_EQ(result32(lab, 4), 0x1122333c); // AL alone was read
    EXPECT_EQ(result32(lab, 8), 8);
    EXPECT_EQ(result32(lab, 12), 0xfee00900);
}

LAB_TEST(modes, protected_mode_exits, NEEDS_VMX)
{
    EXPECT(runs(t, lab, IMAGE_PROTECTED, &protected_basics));
    expect_basics(t, lab);
}

LAB_TEST(modes, device_memory_in_32_and_16_bit_code, NEEDS_VMX)
{
    memcpy(ram(lab, RESULTS), "\x43\x6f", 2);
    EXPECT(runs(t, lab, IMAGE_PROTECTED, &protected_basics));
    u32 version = result32(lab, 16);
    EXPECT_EQ(version & 0xff, 0x14);
    EXPECT_EQ(result32(lab, 20), 0x20); // TPR, a byte of it
    EXPECT_EQ(result32(lab, 24), 0xffff6f43);
    EXPECT_EQ(result32(lab, 28), 0xffffffff); // nobody there
    EXPECT_EQ(result32(lab, 32), 0x0000ffff);
    EXPECT_EQ(result32(lab, 36), 0x20);
    EXPECT_EQ(result32(lab, 40), version & 0xffff);
}

LAB_TEST(modes, string_addresses_of_16_bits_wrap, NEEDS_VMX)
{
    add_fifo(lab);
    memcpy(ram(lab, 0xfffe), "ab", 2);
    memcpy(ram(lab, 0), "cd", 2);
    memcpy(ram(lab, 0x10000), "ef", 2);
    EXPECT(runs(t, lab, IMAGE_PROTECTED, &protected_strings));
    EXPECT_EQ(result32(lab, 0), 0x12340002);
    EXPECT_EQ(result32(lab, 4), 0xabcd0000);
    EXPECT(!memcmp(ram(lab, 0xffc), "abcd", 4)); // by REP INSW
    EXPECT_EQ(result32(lab, 8), 0x77771000);
    EXPECT_EQ(result32(lab, 12), 0x88880000);
    EXPECT_EQ(result32(lab, 16), 0x12340001);
    EXPECT_EQ(result32(lab, 20), 0xabcd0000);
    EXPECT_EQ(result32(lab, 24), 0x00010002);
    EXPECT(fifo_gives("bcef"));
}

// In the order of code_protected_segments.
static void expect_segment_fault(struct selftest_ctx *t, unsigned which, u8 vector, u32 done)
{
    struct lab lab;
    if (t->failed || !lab_open(t, &lab, "segments"))
        return;
    add_fifo(&lab);
    if (lab_snippet(t, &lab, IMAGE_PROTECTED, &protected_segments)) {
        lab.vcpu->regs[GPR_RBX] = which;
        lab_run(&lab);
        const u64 *regs = lab.vcpu->regs;
        if (lab.vm->end != VM_END_DEBUG_EXIT || regs[GPR_RAX] != vector || regs[GPR_RDI] ||
            fifo.held != done)
            selftest_fail(t, "case %u: %s, vector %llu, error %llx, %u elements", which,
                          vm_end_name(lab.vm->end), (unsigned long long)regs[GPR_RAX],
                          (unsigned long long)regs[GPR_RDI], fifo.held);
    }
    lab_close(&lab);
}

SELFTEST(modes, strings_keep_to_their_segments, NEEDS_VMX)
{
    expect_segment_fault(t, 1, VEC_GP, 8); // up to the limit
    expect_segment_fault(t, 2, VEC_GP, 0); // read-only
    expect_segment_fault(t, 3, VEC_GP, 0); // null
    expect_segment_fault(t, 4, VEC_SS, 0); // the stack's limit
}

// ---- between modes -----------------------------------------------------------------------------

static void expect_long_and_back(struct selftest_ctx *t, struct lab *lab, u64 with)
{
    EXPECT(lab_snippet(t, lab, IMAGE_PROTECTED, &to_long_and_back));
    lab->vcpu->regs[GPR_RBX] = with;
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    EXPECT_EQ(result32(lab, 0), 0);
    EXPECT_EQ(result32(lab, 4), EFER_LME | EFER_LMA);
    EXPECT_EQ(result32(lab, 8), 0x9abcdef0);
    EXPECT_EQ(result32(lab, 12), 0x12345678);
    EXPECT_EQ(result32(lab, 16) & (CR0_PG | CR0_CD | CR0_PE), CR0_PG | CR0_PE | with);
    EXPECT_EQ(result32(lab, 24), EFER_LME);
    EXPECT_EQ(result32(lab, 28) & (CR0_PG | CR0_CD | CR0_PE), CR0_PE);
    EXPECT_EQ(lab_peek(lab, VMCS_ENTRY_CTLS) & ENTRY_IA32E, 0);
}

LAB_TEST(modes, long_mode_and_back, NEEDS_UNRESTRICTED)
{
    expect_long_and_back(t, lab, 0);
    EXPECT_EQ(lab->vcpu->exits[REASON_CR_ACCESS], 0); // the CPU does it all
}

// CD changes with PG, so that Corbel does it.
LAB_TEST(modes, long_mode_and_back_emulated, NEEDS_UNRESTRICTED)
{
    expect_long_and_back(t, lab, CR0_CD);
    EXPECT_EQ(lab->vcpu->exits[REASON_CR_ACCESS], 2);
}

static void expect_pae(struct selftest_ctx *t, struct lab *lab, u64 with)
{
    add_fifo(lab);
    EXPECT(lab_snippet(t, lab, IMAGE_PROTECTED, &to_pae_and_back));
    lab->vcpu->regs[GPR_RBX] = with;
    lab_run(lab);
    EXPECT(ended(t, lab, VM_END_DEBUG_EXIT, ""));
    EXPECT(!memcmp(ram(lab, RESULTS), to_pae_and_back.start, 4));
    EXPECT_EQ(fifo.held, 8);
    EXPECT(!memcmp(fifo.bytes, to_pae_and_back.start, 8));
}

LAB_TEST(modes, pae_paging, NEEDS_UNRESTRICTED)
{
    expect_pae(t, lab, 0);
    // The last were loaded by CR4.
    EXPECT_EQ(lab_peek(lab, VMCS_GUEST_PDPTE0), 0x14001);
}

LAB_TEST(modes, pae_paging_emulated, NEEDS_UNRESTRICTED)
{
    expect_pae(t, lab, CR0_CD);
    EXPECT(lab->vcpu->exits[REASON_CR_ACCESS] >= 2);
}

// ---- real mode ---------------------------------------------------------------------------------

LAB_TEST(modes, real_mode_exits, NEEDS_UNRESTRICTED)
{
    add_fifo(lab);
    EXPECT(runs(t, lab, IMAGE_REAL, &real_basics));
    expect_basics(t, lab);
    EXPECT_EQ(result32(lab, 16), 0x12340002);
    EXPECT_EQ(result32(lab, 20), 0xabcd0000);
    EXPECT(!memcmp(ram(lab, 0x20010), "abcd", 4));
    EXPECT_EQ(fifo.held, 0);
    EXPECT_EQ(fifo.accesses, 6);
}

LAB_TEST(modes, real_mode_interrupts_and_device_memory, NEEDS_UNRESTRICTED)
{
    EXPECT(runs(t, lab, IMAGE_REAL, &real_interrupts));
    EXPECT_EQ(result32(lab, 0) & 0xff, 0x14);
    EXPECT_EQ(result32(lab, 4), 1);                        // after STI, not before
    EXPECT_EQ(result32(lab, 8), 1 << 16 | (LAB_CODE - 6)); // #GP pushes no error code here
    EXPECT_EQ(result32(lab, 12) & 0xffff, 1);
}

LAB_TEST(modes, real_mode_to_long_mode, NEEDS_UNRESTRICTED)
{
    EXPECT(runs(t, lab, IMAGE_REAL, &real_to_long));
    EXPECT_EQ(lab->vcpu->regs[GPR_R8], 0x123456789abcdef0);
    EXPECT_EQ(lab->vcpu->regs[GPR_RAX], EFER_LME | EFER_LMA);
    EXPECT(lab_peek(lab, VMCS_ENTRY_CTLS) & ENTRY_IA32E);
}
