// SPDX-License-Identifier: MIT
// Instructions done by hand on a device's memory, from the EPT violation to the device and back:
// translation, segments, strings, steps.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "tests/host/vmx_rig.h"
#include "vmx/emulate.h"

// Exit qualification.
#define Q_READ   (BIT(0) | BIT(7) | BIT(8))
#define Q_WRITE  (BIT(1) | BIT(7) | BIT(8))
#define Q_RMW    (Q_READ | Q_WRITE)
#define Q_FETCH  (BIT(2) | BIT(7) | BIT(8))
#define Q_WALK   (BIT(0) | BIT(7))
#define Q_NMI    BIT(12)
#define Q_NO_GLA (BIT(0))

static void violation(struct vmx_rig *r, u64 qualification, u64 gpa)
{
    rig_exit(r, &(struct rig_exit){.reason = REASON_EPT_VIOLATION,
                                   .qualification = qualification,
                                   .gpa = gpa,
                                   .gla = gpa,
                                   .length = 99}); // not valid for this exit
}

// ---- accesses to a device ---------------------------------------------------------------------

struct step {
    u8 size;
    bool write;
    u16 offset;
    u64 value;
};

static void check_log(struct rig_device *d, const struct step *steps, unsigned count)
{
    assert_int_equal(d->count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(d->log[i].size, steps[i].size);
        assert_int_equal(d->log[i].write, steps[i].write);
        assert_int_equal(d->log[i].addr, d->base + steps[i].offset);
        assert_int_equal(d->log[i].value, steps[i].value);
    }
}

#define RAX 0x8877665544332211ull

static void one_access_of_each_width(void **state)
{
    // RDI is the device, RAX is above; the device's bytes are F0, F1, ...
    static const struct {
        const char *code;
        u8 length, size;
        bool write;
        u16 offset;
        u64 value, rax;
    } rows[] = {
        {"\x8a\x07",                 2, 1, false, 0,  0xf0,                  0x88776655443322f0ull},
        {"\x66\x8b\x07",             3, 2, false, 0,  0xf1f0,                0x887766554433f1f0ull},
        {"\x8b\x07",                 2, 4, false, 0,  0xf3f2f1f0,            0xf3f2f1f0ull        },
        {"\x48\x8b\x07",             3, 8, false, 0,  0xf7f6f5f4f3f2f1f0ull, 0xf7f6f5f4f3f2f1f0ull},
        {"\x8a\x67\x05",             3, 1, false, 5,  0xf5,                  0x887766554433f511ull},
        {"\x0f\xb6\x47\x02",         4, 1, false, 2,  0xf2,                  0xf2                 },
        {"\x48\x0f\xbe\x07",         4, 1, false, 0,  0xf0,                  0xfffffffffffffff0ull},
        {"\x0f\xb7\x47\x06",         4, 2, false, 6,  0xf7f6,                0xf7f6               },
        {"\x88\x07",                 2, 1, true,  0,  0x11,                  RAX                  },
        {"\x66\x89\x47\x04",         4, 2, true,  4,  0x2211,                RAX                  },
        {"\x89\x47\x0c",             3, 4, true,  12, 0x44332211,            RAX                  },
        {"\x48\x89\x07",             3, 8, true,  0,  RAX,                   RAX                  },
        {"\xc7\x07\x78\x56\x34\x12", 6, 4, true,  0,  0x12345678,            RAX                  },
        {"\xc6\x47\x03\x7f",         4, 1, true,  3,  0x7f,                  RAX                  },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        struct step step = {rows[i].size, rows[i].write, rows[i].offset, rows[i].value};
        for (unsigned b = 0; b < 16; b++)
            r->mmio.data[b] = (u8)(0xf0 + b);
        rig_code(r, (const u8 *)rows[i].code, rows[i].length);
        r->vcpu.regs[GPR_RDI] = RIG_MMIO;
        r->vcpu.regs[GPR_RAX] = RAX;
        violation(r, rows[i].write ? Q_WRITE : Q_READ, RIG_MMIO + rows[i].offset);
        assert_int_equal(r->vm.end, VM_RUNNING);
        check_log(&r->mmio, &step, 1);
        assert_int_equal(r->vcpu.regs[GPR_RAX], rows[i].rax);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + rows[i].length);
        rig_close(r);
    }
}

static void read_modify_write_reads_then_writes(void **state)
{
    static const struct step steps[] = {
        {4, false, 8, 0x0f0f0f0f},
        {4, true,  8, 0x0f0f0f10},
    };
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    memset(r->mmio.data, 0x0f, 16);
    rig_code(r, (const u8 *)"\x83\x47\x08\x01", 4); // ADD DWORD [RDI+8], 1
    r->vcpu.regs[GPR_RDI] = RIG_MMIO;
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_CF | RFLAGS_ZF | RFLAGS_DF);
    violation(r, Q_RMW, RIG_MMIO + 8);
    check_log(&r->mmio, steps, 2);
    // 0F0F0F10H: AF (a carry out of bit 3), no parity, no zero, no carry.
    assert_int_equal(vmcs_read(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_DF | RFLAGS_AF);
    rig_close(r);
}

static void access_that_crosses_pages_goes_byte_by_byte(void **state)
{
    static const struct step reads[] = {
        {1, false, 0xffd,  0xa0},
        {1, false, 0xffe,  0xa1},
        {1, false, 0xfff,  0xa2},
        {1, false, 0x1000, 0xa3},
    };
    static const struct step writes[] = {
        {1, true, 0xfff,  0x11},
        {1, true, 0x1000, 0x22},
    };
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    memcpy(r->mmio.data + 0xffd, "\xa0\xa1\xa2\xa3", 4);
    rig_code(r, (const u8 *)"\x8b\x07", 2);
    r->vcpu.regs[GPR_RDI] = RIG_MMIO + 0xffd;
    violation(r, Q_READ, RIG_MMIO + 0xffd);
    check_log(&r->mmio, reads, 4);
    assert_int_equal(r->vcpu.regs[GPR_RAX], 0xa3a2a1a0);

    r->mmio.count = 0;
    rig_code(r, (const u8 *)"\x66\x89\x07", 3);
    r->vcpu.regs[GPR_RDI] = RIG_MMIO + 0xfff;
    r->vcpu.regs[GPR_RAX] = RAX;
    violation(r, Q_WRITE, RIG_MMIO + 0xfff);
    check_log(&r->mmio, writes, 2);
    rig_close(r);
}

// The second page of the access is not there: neither page is touched.
static void fault_on_the_second_page_comes_before_any_access(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    u64 edge = align_up(RIG_MMIO + 1, SIZE_2M);
    *rig_pde(r, edge) = 0;
    rig_code(r, (const u8 *)"\x89\x07", 2);
    r->vcpu.regs[GPR_RDI] = edge - 2;
    violation(r, Q_WRITE, edge - 2);
    assert_int_equal(r->vm.bus.unclaimed[IO_MEM], 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), PFEC_W);
    assert_int_equal(r->cr2, edge);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    rig_close(r);
}

static void nobody_there_reads_as_all_ones(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rig_code(r, (const u8 *)"\x8b\x07\x89\x07", 4);
    r->vcpu.regs[GPR_RDI] = 0xc0000010;
    violation(r, Q_READ, 0xc0000010);
    assert_int_equal(r->vcpu.regs[GPR_RAX], 0xffffffff);
    violation(r, Q_WRITE, 0xc0000010);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 4);
    assert_int_equal(r->vm.bus.unclaimed[IO_MEM], 2);
    assert_int_equal(r->vm.end, VM_RUNNING);
    rig_close(r);
}

static void local_apic_page_is_a_device(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rig_code(r, (const u8 *)"\x89\x87\x80\x00\x00\x00", 6); // MOV [RDI+80H], EAX: TPR
    r->vcpu.regs[GPR_RDI] = APIC_DEFAULT_BASE;
    r->vcpu.regs[GPR_RAX] = 0x30;
    violation(r, Q_WRITE, APIC_DEFAULT_BASE + 0x80);
    assert_int_equal(lapic_get_tpr(&r->vm.lapic), 0x30);
    rig_close(r);
}

static void stack_of_push_and_pop_is_moved(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    memcpy(r->mmio.data, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    rig_code(r, (const u8 *)"\xff\x37", 2); // PUSH QWORD [RDI]
    r->vcpu.regs[GPR_RDI] = RIG_MMIO;
    r->vcpu.regs[GPR_RSP] = 0x1234567; // stale: RSP is in the VMCS
    violation(r, Q_READ, RIG_MMIO);
    assert_int_equal(vmcs_read(VMCS_GUEST_RSP), RIG_STACK - 8);
    assert_int_equal(*(u64 *)rig_ram(r, RIG_STACK - 8, 8), 0x0807060504030201ull);
    rig_close(r);
}

static void rsp_is_an_address_register_too(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rig_code(r, (const u8 *)"\x8b\x04\x24", 3); // MOV EAX, [RSP]
    r->mmio.data[4] = 0x77;
    vmcs_write(VMCS_GUEST_RSP, RIG_MMIO + 4);
    violation(r, Q_READ, RIG_MMIO + 4);
    assert_int_equal(r->vcpu.regs[GPR_RAX], 0x77);
    assert_int_equal(vmcs_read(VMCS_GUEST_RSP), RIG_MMIO + 4);
    rig_close(r);
}

// ---- segments and modes -----------------------------------------------------------------------

static void segment_limit_is_checked_in_protected_mode(void **state)
{
    static const struct {
        const char *code;
        u8 length;
        u16 offset;
        u32 info; // 0: done
    } rows[] = {
        {"\x8b\x07",     2, 0,     0      },
        {"\x8b\x07",     2, 0xffc, 0      },
        {"\x8b\x07",     2, 0xffd, INFO_GP},
        {"\x36\x8b\x07", 3, 0xffc, 0      },
        {"\x36\x8b\x07", 3, 0xfff, INFO_SS},
        {"\x8a\x07",     2, 0xfff, 0      },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
        rig_code(r, (const u8 *)rows[i].code, rows[i].length);
        vmcs_write(VMCS_GUEST_DS_LIMIT, RIG_MMIO + 0xfff);
        vmcs_write(VMCS_GUEST_SS_LIMIT, RIG_MMIO + 0xfff);
        // What is above EDI is not looked at.
        r->vcpu.regs[GPR_RDI] = 0x5500000000000000ull | (RIG_MMIO + rows[i].offset);
        violation(r, Q_READ, RIG_MMIO + rows[i].offset);
        assert_int_equal(r->mmio.count, rows[i].info ? 0 : 1);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + (rows[i].info ? 0 : rows[i].length));
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), rows[i].info);
        rig_close(r);
    }
}

static void real_mode_uses_sixteen_bits(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_REAL});
    rig_code(r, (const u8 *)"\xa1\x34\x12", 3); // MOV AX, [1234H]
    vmcs_write(VMCS_GUEST_DS_BASE, 0xa0000);
    r->vcpu.regs[GPR_RAX] = 0x12340000;
    violation(r, Q_NO_GLA, 0xa1234);
    assert_int_equal(r->vcpu.regs[GPR_RAX], 0x1234ffff);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 3);
    rig_close(r);
}

// ---- what the CPU has translated already ------------------------------------------------------

// The exit tells where the read went; a write needs the right to write as well.
static void exit_address_serves_only_the_kind_of_access_it_was_for(void **state)
{
    static const struct {
        const char *code;
        u64 qualification;
        u32 info; // 0: done at the exit's address
    } rows[] = {
        {"\x8b\x07", Q_READ,       0      }, // MOV EAX, [RDI]
        {"\x8b\x07", Q_WRITE,      0      },
        {"\x89\x07", Q_WRITE,      0      }, // MOV [RDI], EAX
        {"\x89\x07", Q_READ,       INFO_PF},
        {"\x21\x07", Q_RMW,        0      }, // AND [RDI], EAX
        {"\x21\x07", Q_READ,       INFO_PF},
 // Without a linear address there is nothing to go by: the guest's tables decide.
        {"\x89\x07", Q_NO_GLA | 2, INFO_PF},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        *rig_pde(r, RIG_MMIO) &= ~PTE_W;
        rig_code(r, (const u8 *)rows[i].code, 2);
        r->vcpu.regs[GPR_RDI] = RIG_MMIO;
        violation(r, rows[i].qualification, RIG_MMIO);
        assert_int_equal(r->mmio.count > 0, rows[i].info == 0);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), rows[i].info);
        if (rows[i].info) {
            assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), PFEC_P | PFEC_W);
            assert_int_equal(r->cr2, RIG_MMIO);
        }
        rig_close(r);
    }
}

// The guest's tables lead elsewhere by now; what the CPU saw counts.
static void exit_address_is_used_as_the_cpu_saw_it(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    *rig_pde(r, RIG_MMIO) = 0;
    r->mmio.data[0x10] = 0x5a;
    rig_code(r, (const u8 *)"\x8a\x07", 2);
    r->vcpu.regs[GPR_RDI] = RIG_MMIO + 0x10;
    violation(r, Q_READ, RIG_MMIO + 0x10);
    assert_int_equal((u8)r->vcpu.regs[GPR_RAX], 0x5a);
    rig_close(r);
}

// ---- string instructions ----------------------------------------------------------------------

static void repeated_string_stops_for_breath(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    const u32 count = EMULATE_ITERATIONS + 44;
    for (u32 i = 0; i < 4 * count; i++)
        r->mmio.data[i] = (u8)(i * 7);
    rig_code(r, (const u8 *)"\xf3\xa5", 2); // REP MOVSD
    r->vcpu.regs[GPR_RSI] = RIG_MMIO;
    r->vcpu.regs[GPR_RDI] = 0x20000;
    r->vcpu.regs[GPR_RCX] = count;
    violation(r, Q_READ, RIG_MMIO);
    assert_int_equal(r->vcpu.regs[GPR_RCX], 44);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
    assert_int_equal(r->mmio.count, EMULATE_ITERATIONS);
    assert_false(r->vcpu.exception.valid);
    violation(r, Q_READ, RIG_MMIO + 4 * EMULATE_ITERATIONS);
    assert_int_equal(r->vcpu.regs[GPR_RCX], 0);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
    assert_memory_equal(rig_ram(r, 0x20000, 4 * count), r->mmio.data, 4 * count);
    rig_close(r);
}

static void single_step_stops_at_each_element(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    rig_code(r, (const u8 *)"\xf3\xaa", 2); // REP STOSB
    r->vcpu.regs[GPR_RDI] = RIG_MMIO;
    r->vcpu.regs[GPR_RCX] = 3;
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    for (unsigned i = 1; i <= 3; i++) {
        r->dr6 = DR6_INIT;
        violation(r, Q_WRITE, RIG_MMIO + i - 1);
        assert_int_equal(r->mmio.count, i);
        assert_int_equal(r->vcpu.regs[GPR_RCX], 3 - i);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), i == 3 ? RIG_CODE + 2 : RIG_CODE);
        assert_int_equal(r->dr6, DR6_INIT | DR6_BS);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_DB);
    }
    rig_close(r);
}

static void fault_in_the_middle_of_a_string_keeps_what_is_done(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    *rig_pte(r, RIG_WINDOW + 0x31000) = 0;
    rig_code(r, (const u8 *)"\xf3\xa4", 2); // REP MOVSB
    r->vcpu.regs[GPR_RSI] = RIG_MMIO;
    r->vcpu.regs[GPR_RDI] = RIG_WINDOW + 0x31000 - 2;
    r->vcpu.regs[GPR_RCX] = 5;
    violation(r, Q_READ, RIG_MMIO);
    assert_int_equal(r->vcpu.regs[GPR_RCX], 3);
    assert_int_equal(r->vcpu.regs[GPR_RDI], RIG_WINDOW + 0x31000);
    assert_int_equal(r->vcpu.regs[GPR_RSI], RIG_MMIO + 2);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
    assert_int_equal(r->cr2, RIG_WINDOW + 0x31000);
    rig_close(r);
}

static void string_writes_lazy_ram_that_is_not_mapped_yet(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->mmio.data[0] = 0x42;
    rig_code(r, (const u8 *)"\xa4", 1); // MOVSB
    r->vcpu.regs[GPR_RSI] = RIG_MMIO;
    r->vcpu.regs[GPR_RDI] = RIG_LAZY + 5;
    violation(r, Q_READ, RIG_MMIO);
    assert_int_equal(*(u8 *)rig_ram(r, RIG_LAZY + 5, 1), 0x42);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 1);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_access_of_each_width),
        cmocka_unit_test(read_modify_write_reads_then_writes),
        cmocka_unit_test(access_that_crosses_pages_goes_byte_by_byte),
        cmocka_unit_test(fault_on_the_second_page_comes_before_any_access),
        cmocka_unit_test(nobody_there_reads_as_all_ones),
        cmocka_unit_test(local_apic_page_is_a_device),
        cmocka_unit_test(stack_of_push_and_pop_is_moved),
        cmocka_unit_test(rsp_is_an_address_register_too),
        cmocka_unit_test(segment_limit_is_checked_in_protected_mode),
        cmocka_unit_test(real_mode_uses_sixteen_bits),
        cmocka_unit_test(exit_address_serves_only_the_kind_of_access_it_was_for),
        cmocka_unit_test(exit_address_is_used_as_the_cpu_saw_it),
        cmocka_unit_test(repeated_string_stops_for_breath),
        cmocka_unit_test(single_step_stops_at_each_element),
        cmocka_unit_test(fault_in_the_middle_of_a_string_keeps_what_is_done),
        cmocka_unit_test(string_writes_lazy_ram_that_is_not_mapped_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
