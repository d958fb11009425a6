// SPDX-License-Identifier: MIT
// The short way of MOVs to a device's memory: that it is taken where it may be, does what the long
// way does, and is not taken where anything is different.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/vmx_rig.h"

#define Q_READ  (BIT(0) | BIT(7) | BIT(8))
#define Q_WRITE (BIT(1) | BIT(7) | BIT(8))
#define RAX     0x8877665544332211ull

static const u8 load[] = {0x8b, 0x47, 0x08};                              // MOV EAX, [RDI+8]
static const u8 store[] = {0x89, 0x47, 0x08};                             // MOV [RDI+8], EAX
static const u8 store_imm[] = {0xc7, 0x47, 0x08, 0x78, 0x56, 0x34, 0x12}; // MOV DWORD [RDI+8], ...

static void put_code(struct vmx_rig *r, u64 at, const u8 *code, size_t length)
{
    vmcs_write(VMCS_GUEST_RIP, at);
    rig_code(r, code, length);
    r->vcpu.regs[GPR_RDI] = RIG_MMIO;
    r->vcpu.regs[GPR_RAX] = RAX;
    for (unsigned b = 0; b < 16; b++)
        r->mmio.data[b] = (u8)(0xf0 + b);
}

static void violation(struct vmx_rig *r, u64 q, u64 gpa)
{
    rig_exit(r, &(struct rig_exit){
                    .reason = REASON_EPT_VIOLATION, .qualification = q, .gpa = gpa, .gla = gpa});
}

static bool remembered(const struct vmx_rig *r)
{
    for (unsigned i = 0; i < MMIO_MOVES; i++)
        if (r->vcpu.moves[i].length)
            return true;
    return false;
}

// The long way reads the paging registers; the short one does not read CR4.
static bool short_way(struct vmx_rig *r, u64 q, u64 gpa)
{
    unsigned before = fake_vmcs_reads(VMCS_GUEST_CR4);
    violation(r, q, gpa);
    return fake_vmcs_reads(VMCS_GUEST_CR4) == before;
}

// ---- what it does -----------------------------------------------------------------------------

static void check_same(const struct io_access *a, const struct io_access *b)
{
    assert_int_equal(a->space, b->space);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->write, b->write);
    assert_int_equal(a->addr, b->addr);
    assert_int_equal(a->value, b->value);
}

static void moves_give_the_same_each_time(void **state)
{
    static const struct {
        const char *code;
        u8 length;
        bool write, quick;
    } rows[] = {
        {"\x8b\x47\x08",                     3, false, true },
        {"\x48\x8b\x47\x08",                 4, false, true },
        {"\x0f\xb6\x47\x08",                 4, false, true },
        {"\x48\x0f\xb7\x47\x08",             5, false, true },
        {"\x44\x8b\x7f\x08",                 4, false, true },
        {"\x8a\x47\x08",                     3, false, false}, // AL: the rest of RAX stays
        {"\x66\x8b\x47\x08",                 4, false, false},
        {"\x8a\x67\x08",                     3, false, false}, // AH
        {"\x66\x0f\xb6\x47\x08",             5, false, false},
        {"\x0f\xbe\x47\x08",                 4, false, false}, // sign-extended
        {"\x8b\x67\x08",                     3, false, false}, // ESP
        {"\x03\x47\x08",                     3, false, false}, // ADD
        {"\x88\x47\x08",                     3, true,  true },
        {"\x66\x89\x47\x08",                 4, true,  true },
        {"\x89\x47\x08",                     3, true,  true },
        {"\x48\x89\x47\x08",                 4, true,  true },
        {"\xc6\x47\x08\x9a",                 4, true,  true },
        {"\x66\xc7\x47\x08\x34\x12",         6, true,  true },
        {"\xc7\x47\x08\x78\x56\x34\x12",     7, true,  true },
        {"\x48\xc7\x47\x08\xff\xff\xff\xff", 8, true,  true },
        {"\x88\x67\x08",                     3, true,  false}, // AH
        {"\x89\x67\x08",                     3, true,  false}, // ESP
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        u64 regs[GPR_COUNT], rsp = 0, q = rows[i].write ? Q_WRITE : Q_READ;
        for (unsigned round = 0; round < 3; round++) {
            put_code(r, RIG_CODE, (const u8 *)rows[i].code, rows[i].length);
            r->vcpu.regs[GPR_R15] = ~0ull;
            vmcs_write(VMCS_GUEST_RSP, RIG_STACK);
            bool quick = short_way(r, q, RIG_MMIO + 8);
            assert_int_equal(quick, round > 0 && rows[i].quick);
            assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + rows[i].length);
            assert_int_equal(r->mmio.count, round + 1);
            check_same(&r->mmio.log[round], &r->mmio.log[0]);
            r->vcpu.regs[GPR_RSP] = 0; // rubbish but while it is emulated
            if (round == 0) {
                memcpy(regs, r->vcpu.regs, sizeof(regs));
                rsp = vmcs_read(VMCS_GUEST_RSP);
            }
            assert_memory_equal(regs, r->vcpu.regs, sizeof(regs));
            assert_int_equal(vmcs_read(VMCS_GUEST_RSP), rsp);
        }
        rig_close(r);
    }
}

static struct vmx_rig *open_with(const u8 *code, size_t length, u64 q)
{
    struct vmx_rig *r = rig_open(NULL);
    put_code(r, RIG_CODE, code, length);
    violation(r, q, RIG_MMIO + 8);
    assert_true(remembered(r));
    put_code(r, RIG_CODE, code, length);
    return r;
}

static void resume_flag_is_cleared_and_a_step_taken(void **state)
{
    static const u64 flags[] = {0, RFLAGS_RF, RFLAGS_TF, RFLAGS_RF | RFLAGS_TF};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        struct vmx_rig *r = open_with(load, sizeof(load), Q_READ);
        vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | flags[i]);
        assert_true(short_way(r, Q_READ, RIG_MMIO + 8));
        assert_int_equal(vmcs_read(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | (flags[i] & RFLAGS_TF));
        assert_int_equal(r->vcpu.exception.valid, (flags[i] & RFLAGS_TF) != 0);
        rig_close(r);
    }
}

// ---- where it is not taken --------------------------------------------------------------------

static void other_bytes_at_the_same_place_are_decoded(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(load, sizeof(load), Q_READ);
    put_code(r, RIG_CODE, store_imm, sizeof(store_imm));
    assert_false(short_way(r, Q_WRITE, RIG_MMIO + 8));
    assert_int_equal(r->mmio.log[1].value, 0x12345678);
    for (u32 i = 3; i < sizeof(store_imm); i++) { // another immediate each time
        u8 code[sizeof(store_imm)];
        memcpy(code, store_imm, sizeof(code));
        code[i] ^= 0x40;
        put_code(r, RIG_CODE, code, sizeof(code));
        assert_false(short_way(r, Q_WRITE, RIG_MMIO + 8));
        assert_int_equal(r->mmio.log[i - 1].value, 0x12345678 ^ 0x40u << (i - 3) * 8);
    }
    rig_close(r);
}

// The same linear address leads to other code after the guest has changed its tables.
static void code_is_looked_for_in_the_tables(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    u64 rip = RIG_WINDOW + 0x100;
    put_code(r, RIG_CODE, load, sizeof(load));
    memcpy(rig_ram(r, RIG_CODE + 0x100, sizeof(load)), load, sizeof(load));
    memcpy(rig_ram(r, RIG_CODE + 0x1100, sizeof(store)), store, sizeof(store));
    u64 *pte = rig_pte(r, rip);
    u64 low = *pte & 0xfff;
    for (unsigned i = 0; i < 4; i++) {
        *pte = (RIG_CODE + (i % 2) * PAGE_SIZE) | low;
        vmcs_write(VMCS_GUEST_RIP, rip);
        violation(r, i % 2 ? Q_WRITE : Q_READ, RIG_MMIO + 8);
        assert_int_equal(r->mmio.count, i + 1);
        assert_int_equal(r->mmio.log[i].write, i % 2);
    }
    rig_close(r);
}

static void short_way_is_for_its_own_access_alone(void **state)
{
    static const struct {
        u64 q, gpa;
    } rows[] = {
        {Q_WRITE, RIG_MMIO + 8            }, // of a load
        {BIT(0),  RIG_MMIO + 8            }, // no linear address
        {Q_READ,  RIG_MMIO + PAGE_SIZE - 2}, // across pages
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = open_with(load, sizeof(load), Q_READ);
        r->vcpu.regs[GPR_RDI] = rows[i].gpa - 8;
        assert_false(short_way(r, rows[i].q, rows[i].gpa));
        rig_close(r);
    }
}

// The CPU tells of the page that is not RAM: its first byte is where the operand's rest lies.
static void operand_that_begins_in_ram_is_split_each_time(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    u64 in_ram = RIG_WINDOW, device = RIG_WINDOW + PAGE_SIZE;
    u32 *ram = rig_ram(r, RIG_CODE + 2 * PAGE_SIZE - 4, 4);
    *rig_pte(r, in_ram) = (RIG_CODE + PAGE_SIZE) | 3;
    *rig_pte(r, device) = RIG_MMIO | 3;
    for (unsigned round = 0; round < 3; round++) {
        r->mmio.count = 0;
        put_code(r, RIG_CODE, store, sizeof(store));
        r->vcpu.regs[GPR_RDI] = device - 3 - 8;
        *ram = 0;
        rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                       .qualification = Q_WRITE,
                                       .gpa = RIG_MMIO,
                                       .gla = device});
        assert_int_equal(*ram, (u32)RAX << 8);
        assert_int_equal(r->mmio.count, 1);
        assert_int_equal(r->mmio.log[0].size, 1);
        assert_int_equal(r->mmio.log[0].value, 0x44);
    }
    rig_close(r);
}

static void end_of_a_page_and_other_modes_take_the_long_way(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    u64 rip = RIG_CODE + PAGE_SIZE - sizeof(load);
    for (unsigned i = 0; i < 2; i++) {
        put_code(r, rip, load, sizeof(load));
        assert_false(short_way(r, Q_READ, RIG_MMIO + 8));
    }
    rig_close(r);

    r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
    for (unsigned i = 0; i < 2; i++) {
        put_code(r, RIG_CODE, load, sizeof(load));
        assert_false(short_way(r, Q_READ, RIG_MMIO + 8));
        assert_false(remembered(r));
    }
    rig_close(r);

    // Compatibility mode, with what 64-bit mode left behind: 48H is another instruction there.
    r = open_with((const u8 *)"\x48\x8b\x47\x08", 4, Q_READ);
    vmcs_write(VMCS_GUEST_CS_AR, AR_CODE32);
    assert_false(short_way(r, Q_READ, RIG_MMIO + 8));
    rig_close(r);
}

static void event_that_is_cut_short_stops_the_vm(void **state)
{
    (void)state;
    struct vmx_rig *r = open_with(load, sizeof(load), Q_READ);
    rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                   .qualification = Q_READ,
                                   .gpa = RIG_MMIO + 8,
                                   .gla = RIG_MMIO + 8,
                                   .idt_info = INFO_NMI});
    assert_int_equal(r->vm.end, VM_END_EMULATION);
    assert_int_equal(r->mmio.count, 1);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_give_the_same_each_time),
        cmocka_unit_test(resume_flag_is_cleared_and_a_step_taken),
        cmocka_unit_test(other_bytes_at_the_same_place_are_decoded),
        cmocka_unit_test(code_is_looked_for_in_the_tables),
        cmocka_unit_test(short_way_is_for_its_own_access_alone),
        cmocka_unit_test(operand_that_begins_in_ram_is_split_each_time),
        cmocka_unit_test(end_of_a_page_and_other_modes_take_the_long_way),
        cmocka_unit_test(event_that_is_cut_short_stops_the_vm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
