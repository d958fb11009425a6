// SPDX-License-Identifier: MIT
// IN and OUT of every width, INS and OUTS through segments and pages.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/vmx_rig.h"

// Exit qualification: SDM volume 3, "Exit Qualification for I/O Instructions".
#define Q_IN  BIT(3)
#define Q_STR BIT(4)
#define Q_REP BIT(5)
#define Q_IMM BIT(6)

#define BURST 64u // elements before the guest is entered again

static u64 io_q(unsigned size, u16 port, u64 flags)
{
    return (u64)port << 16 | flags | (size - 1);
}

static void io_exit(struct vmx_rig *r, u64 qualification, u32 length, u32 insn_info)
{
    rig_exit(r, &(struct rig_exit){.reason = REASON_IO,
                                   .qualification = qualification,
                                   .length = length,
                                   .insn_info = insn_info});
}

// ---- IN and OUT -------------------------------------------------------------------------------

#define RAX 0x8877665544332211ull

static void in_and_out_move_al_ax_and_eax(void **state)
{
    static const struct {
        u8 size;
        u64 flags;
        u64 value; // at the port
        u64 rax;
    } rows[] = {
        {1, Q_IN,         0xf0,       0x88776655443322f0ull},
        {2, Q_IN,         0xf1f0,     0x887766554433f1f0ull},
        {4, Q_IN,         0xf3f2f1f0, 0x00000000f3f2f1f0ull},
        {1, Q_IN | Q_IMM, 0xf0,       0x88776655443322f0ull},
        {1, 0,            0x11,       RAX                  },
        {2, 0,            0x2211,     RAX                  },
        {4, Q_IMM,        0x44332211, RAX                  },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        memcpy(r->ports.data + 4, "\xf0\xf1\xf2\xf3", 4);
        r->vcpu.regs[GPR_RAX] = RAX;
        io_exit(r, io_q(rows[i].size, RIG_PORT + 4, rows[i].flags), 1 + i, 0);
        assert_int_equal(r->ports.count, 1);
        assert_int_equal(r->ports.log[0].size, rows[i].size);
        assert_int_equal(r->ports.log[0].write, !(rows[i].flags & Q_IN));
        assert_int_equal(r->ports.log[0].addr, RIG_PORT + 4);
        assert_int_equal(r->ports.log[0].value, rows[i].value);
        assert_int_equal(r->vcpu.regs[GPR_RAX], rows[i].rax);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 1 + i);
        rig_close(r);
    }
}

static void port_of_nobody_reads_as_all_ones(void **state)
{
    static const u16 ports[] = {0x0111, 0xffff, 0x0cf0};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vcpu.regs[GPR_RAX] = 0;
        io_exit(r, io_q(2, ports[i], Q_IN), 1, 0);
        assert_int_equal(r->vcpu.regs[GPR_RAX], 0xffff);
        io_exit(r, io_q(4, ports[i], Q_IN), 1, 0);
        assert_int_equal(r->vcpu.regs[GPR_RAX], 0xffffffff);
        io_exit(r, io_q(1, ports[i], 0), 1, 0);
        assert_int_equal(r->vm.bus.unclaimed[IO_PORT], 3);
        assert_int_equal(r->vm.end, VM_RUNNING);
        rig_close(r);
    }
}

static void debug_exit_ends_the_vm_after_the_instruction(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->vcpu.regs[GPR_RAX] = 0x15;
    io_exit(r, io_q(1, GUEST_EXIT_PORT, Q_IMM), 2, 0);
    assert_int_equal(r->vm.end, VM_END_DEBUG_EXIT);
    assert_int_equal(r->vm.end_status, 0x15 << 1 | 1);
    assert_true(r->vm.attention & VM_ATTENTION_STOP);
    assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
    rig_close(r);
}

// ---- INS and OUTS -----------------------------------------------------------------------------

// Instruction information: address size in bits 9:7 (0, 1, 2 for 16, 32, 64), OUTS's segment in
// 17:15.
static u32 info_of(unsigned address, unsigned segment)
{
    return address << 7 | segment << 15;
}

#define MEM 0x20000ull

static void outs_sends_what_ins_brings(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 4; size *= 2) {
        for (unsigned in = 0; in < 2; in++) {
            struct vmx_rig *r = rig_open(NULL);
            u8 *mem = rig_ram(r, MEM, 8);
            memcpy(mem, "\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7", 8);
            memcpy(r->ports.data, "\xf0\xf1\xf2\xf3", 4);
            r->vcpu.regs[in ? GPR_RDI : GPR_RSI] = MEM;
            r->vcpu.regs[GPR_RCX] = 5; // not looked at
            io_exit(r, io_q(size, RIG_PORT, Q_STR | (in ? Q_IN : 0)), 1, info_of(2, SEG_DS));
            assert_int_equal(r->ports.count, 1);
            assert_int_equal(r->ports.log[0].size, size);
            assert_memory_equal(mem, r->ports.data, size);
            assert_int_equal(mem[size], 0xa0 + size);
            assert_int_equal(mem[0], in ? 0xf0 : 0xa0);
            assert_int_equal(r->vcpu.regs[in ? GPR_RDI : GPR_RSI], MEM + size);
            assert_int_equal(r->vcpu.regs[GPR_RCX], 5);
            assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 1);
            rig_close(r);
        }
    }
}

static void direction_flag_goes_down(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    memcpy(rig_ram(r, MEM, 8), "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_DF);
    r->vcpu.regs[GPR_RSI] = MEM + 4;
    r->vcpu.regs[GPR_RCX] = 3;
    io_exit(r, io_q(2, RIG_PORT, Q_STR | Q_REP), 2, info_of(2, SEG_DS));
    assert_int_equal(r->ports.count, 3);
    assert_int_equal(r->ports.log[0].value, 0x0605);
    assert_int_equal(r->ports.log[1].value, 0x0403);
    assert_int_equal(r->ports.log[2].value, 0x0201);
    assert_int_equal(r->vcpu.regs[GPR_RSI], MEM - 2);
    assert_int_equal(r->vcpu.regs[GPR_RCX], 0);
    rig_close(r);
}

static void count_of_zero_does_nothing(void **state)
{
    static const struct {
        u8 address;
        u64 rcx;
        bool nothing;
    } rows[] = {
        {2, 0,                     true },
        {2, 0x100000000ull,        false},
        {1, 0x100000000ull,        true },
        {1, 0x10000,               false},
        {0, 0xffffffffffff0000ull, true },
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vcpu.regs[GPR_RDI] = MEM;
        r->vcpu.regs[GPR_RCX] = rows[i].rcx;
        io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_REP | Q_IN), 2, info_of(rows[i].address, 0));
        assert_int_equal(r->ports.count == 0, rows[i].nothing);
        if (rows[i].nothing) {
            assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
            assert_int_equal(r->vcpu.regs[GPR_RCX], rows[i].rcx);
            assert_int_equal(r->vcpu.regs[GPR_RDI], MEM);
        }
        rig_close(r);
    }
}

static void long_string_stops_for_breath(void **state)
{
    static const u32 counts[] = {1, BURST - 1, BURST, BURST + 1, 2 * BURST + 5};
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        struct vmx_rig *r = rig_open(NULL);
        u32 left = counts[i], done = 0;
        for (u32 k = 0; k < counts[i]; k++)
            *(u8 *)rig_ram(r, MEM + k, 1) = (u8)k;
        r->vcpu.regs[GPR_RSI] = MEM;
        r->vcpu.regs[GPR_RCX] = left;
        while (left) {
            u32 now = left < BURST ? left : BURST;
            assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
            io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_REP), 2, info_of(2, SEG_DS));
            left -= now;
            done += now;
            assert_int_equal(r->vcpu.regs[GPR_RCX], left);
            assert_int_equal(r->vcpu.regs[GPR_RSI], MEM + done);
            assert_int_equal(r->ports.count, done);
            assert_int_equal(r->ports.data[0], (u8)(done - 1));
            // Between two elements RF keeps a breakpoint on the instruction from coming again.
            assert_int_equal(!!(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_RF), left != 0);
        }
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + 2);
        rig_close(r);
    }
}

static void single_step_stops_at_each_element(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    r->vcpu.regs[GPR_RDI] = MEM;
    r->vcpu.regs[GPR_RCX] = 3;
    for (unsigned i = 1; i <= 3; i++) {
        io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_REP | Q_IN), 2, info_of(2, 0));
        assert_int_equal(r->ports.count, i);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), i == 3 ? RIG_CODE + 2 : RIG_CODE);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_DB);
    }
    rig_close(r);
}

// ---- address sizes ----------------------------------------------------------------------------

static void registers_are_as_wide_as_the_address_size(void **state)
{
    static const struct {
        u8 address;
        u64 rsi, rcx, want_rsi, want_rcx;
    } rows[] = {
        {2, MEM,                      2,                     MEM + 2,               0},
 // A 32-bit register that is written clears its upper half.
        {1, 0xaaaaaaaa00000000 | MEM, 0xbbbbbbbb00000002ull, MEM + 2,               0},
 // A 16-bit one leaves what is above.
        {0, 0xaaaaaaaaaaaa4000ull,    0xbbbbbbbbbbbb0002ull, 0xaaaaaaaaaaaa4002ull,
         0xbbbbbbbbbbbb0000ull                                                       },
        {0, 0xffff,                   2,                     1,                     0}, // wraps
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vcpu.regs[GPR_RSI] = rows[i].rsi;
        r->vcpu.regs[GPR_RCX] = rows[i].rcx;
        *(u8 *)rig_ram(r, 0, 1) = 0x77;
        io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_REP), 3, info_of(rows[i].address, SEG_DS));
        assert_int_equal(r->vm.end, VM_RUNNING);
        assert_int_equal(r->vcpu.regs[GPR_RSI], rows[i].want_rsi);
        assert_int_equal(r->vcpu.regs[GPR_RCX], rows[i].want_rcx);
        assert_int_equal(r->ports.count, 2);
        if (rows[i].rsi == 0xffff)
            assert_int_equal(r->ports.data[0], 0x77);
        rig_close(r);
    }
}

// ---- segments, as the CPU tells them or as the prefixes do ------------------------------------

// Each segment but CS has its own page, marked with its number.
static void set_bases(struct vmx_rig *r)
{
    for (u32 i = SEG_ES; i <= SEG_GS; i++) {
        if (i == SEG_CS)
            continue;
        vmcs_write((enum vmcs_field)VMCS_GUEST_BASE(i), MEM + 0x1000 * i);
        *(u8 *)rig_ram(r, MEM + 0x1000 * i + 8, 1) = (u8)(0xe0 + i);
    }
}

static const struct {
    enum image_mode mode;
    const char *code;
    u8 length, address, segment; // as the CPU tells them
    u8 want;                     // what the port gets
} operands[] = {
    {IMAGE_PROTECTED, "\x6e",         1, 1, SEG_DS, 0xe0 + SEG_DS},
    {IMAGE_PROTECTED, "\x26\x6e",     2, 1, SEG_ES, 0xe0 + SEG_ES},
    {IMAGE_PROTECTED, "\x36\x6e",     2, 1, SEG_SS, 0xe0 + SEG_SS},
    {IMAGE_PROTECTED, "\x3e\x6e",     2, 1, SEG_DS, 0xe0 + SEG_DS},
    {IMAGE_PROTECTED, "\x64\x6e",     2, 1, SEG_FS, 0xe0 + SEG_FS},
    {IMAGE_PROTECTED, "\x65\x6e",     2, 1, SEG_GS, 0xe0 + SEG_GS},
    {IMAGE_PROTECTED, "\x64\x65\x6e", 3, 1, SEG_GS, 0xe0 + SEG_GS}, // the last one counts
    {IMAGE_PROTECTED, "\x67\x6e",     2, 0, SEG_DS, 0xe0 + SEG_DS},
    {IMAGE_PROTECTED, "\x67\x26\x6e", 3, 0, SEG_ES, 0xe0 + SEG_ES},
    {IMAGE_REAL,      "\x6e",         1, 0, SEG_DS, 0xe0 + SEG_DS},
    {IMAGE_REAL,      "\x67\x6e",     2, 1, SEG_DS, 0xe0 + SEG_DS},
    {IMAGE_REAL,      "\x36\x6e",     2, 0, SEG_SS, 0xe0 + SEG_SS},
 // In 64-bit mode only FS and GS have a base; here the others lead to 8, where 5A stands.
    {IMAGE_LONG,      "\x6e",         1, 2, SEG_DS, 0x5a         },
    {IMAGE_LONG,      "\x64\x6e",     2, 2, SEG_FS, 0xe0 + SEG_FS},
    {IMAGE_LONG,      "\x65\x67\x6e", 3, 1, SEG_GS, 0xe0 + SEG_GS},
    {IMAGE_LONG,      "\x26\x6e",     2, 2, SEG_ES, 0x5a         },
    {IMAGE_LONG,      "\x64\x2e\x6e", 3, 2, SEG_FS, 0xe0 + SEG_FS},
};

static void outs_takes_the_segment_it_is_told(void **state)
{
    (void)state;
    for (unsigned told = 0; told < 2; told++) {
        for (unsigned i = 0; i < ARRAY_SIZE(operands); i++) {
            struct vmx_rig *r = rig_open(&(struct rig_options){.mode = operands[i].mode});
            r->caps.io_insn_info = told;
            rig_code(r, (const u8 *)operands[i].code, operands[i].length);
            set_bases(r);
            *(u8 *)rig_ram(r, 8, 1) = 0x5a;
            // Above the address size stands what must not count; 64-bit addresses have nothing.
            r->vcpu.regs[GPR_RSI] = 8 | (operands[i].address == 0   ? 0x12340000
                                         : operands[i].address == 1 ? 0x1200000000ull
                                                                    : 0);
            io_exit(r, io_q(1, RIG_PORT, Q_STR), operands[i].length,
                    told ? info_of(operands[i].address, operands[i].segment) : ~0u);
            if (r->ports.count != 1 || r->ports.data[0] != operands[i].want)
                fail_msg("row %u, told %u: %x", i, told, r->ports.data[0]);
            assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE + operands[i].length);
            rig_close(r);
        }
    }
}

// INS stores through ES whatever prefix stands before it.
static void ins_is_not_overridden(void **state)
{
    (void)state;
    for (unsigned told = 0; told < 2; told++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
        r->caps.io_insn_info = told;
        rig_code(r, (const u8 *)"\x65\x6c", 2);
        set_bases(r);
        r->ports.data[0] = 0x99;
        r->vcpu.regs[GPR_RDI] = 8;
        io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_IN), 2, info_of(1, SEG_GS));
        assert_int_equal(*(u8 *)rig_ram(r, MEM + 0x1000 * SEG_ES + 8, 1), 0x99);
        assert_int_equal(*(u8 *)rig_ram(r, MEM + 0x1000 * SEG_GS + 8, 1), 0xe0 + SEG_GS);
        rig_close(r);
    }
}

static void code_segment_gives_the_address_size(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
    r->caps.io_insn_info = false;
    vmcs_write(VMCS_GUEST_CS_AR, AR_CODE16);
    rig_code(r, (const u8 *)"\x6e", 1);
    r->vcpu.regs[GPR_RSI] = 0xffff;
    io_exit(r, io_q(1, RIG_PORT, Q_STR), 1, 0);
    assert_int_equal(r->vcpu.regs[GPR_RSI], 0);
    rig_close(r);
    // Real mode with a descriptor of 32-bit code left behind.
    r = rig_open(&(struct rig_options){.mode = IMAGE_REAL});
    r->caps.io_insn_info = false;
    vmcs_write(VMCS_GUEST_CS_AR, AR_CODE16 | AR_DB);
    rig_code(r, (const u8 *)"\x6e", 1);
    r->vcpu.regs[GPR_RSI] = 0xffff;
    io_exit(r, io_q(1, RIG_PORT, Q_STR), 1, 0);
    assert_int_equal(r->vcpu.regs[GPR_RSI], 0x10000);
    rig_close(r);
}

#define AR_DATA (AR_DATA32 & ~AR_G) // limits in bytes

static void segment_limits_and_types_fault(void **state)
{
    static const struct {
        u64 flags;
        u32 limit, ar;
        u8 segment;
        u32 info;
    } rows[] = {
        {0,    11,   AR_DATA,           SEG_DS, 0      },
        {0,    10,   AR_DATA,           SEG_DS, INFO_GP},
        {0,    10,   AR_DATA,           SEG_SS, INFO_SS},
        {0,    0xff, AR_UNUSABLE,       SEG_DS, INFO_GP},
        {Q_IN, 0xff, AR_CODE32 & ~AR_G, SEG_ES, INFO_GP}, // code
        {Q_IN, 11,   AR_DATA,           SEG_ES, 0      },
        {Q_IN, 10,   AR_DATA,           SEG_ES, INFO_GP},
        {Q_IN, 0xff, AR_DATA & ~2u,     SEG_ES, INFO_GP}, // read-only
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vmx_rig *r = rig_open(&(struct rig_options){.mode = IMAGE_PROTECTED});
        vmcs_write((enum vmcs_field)VMCS_GUEST_LIMIT(rows[i].segment), rows[i].limit);
        vmcs_write((enum vmcs_field)VMCS_GUEST_AR(rows[i].segment), rows[i].ar);
        r->vcpu.regs[GPR_RSI] = r->vcpu.regs[GPR_RDI] = 8;
        io_exit(r, io_q(4, RIG_PORT, Q_STR | rows[i].flags), 1, info_of(1, rows[i].segment));
        assert_int_equal(r->ports.count, rows[i].info ? 0 : 1);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), rows[i].info);
        rig_close(r);
    }
}

static void address_that_is_not_canonical_faults(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->vcpu.regs[GPR_RSI] = 0x800000000000ull;
    io_exit(r, io_q(1, RIG_PORT, Q_STR), 1, info_of(2, SEG_DS));
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_GP);
    assert_int_equal(r->ports.count, 0);
    rig_close(r);
}

// ---- pages ------------------------------------------------------------------------------------

#define EDGE (RIG_WINDOW + 0x31000) // pages of the window that lead to RAM

static void fault_in_the_middle_keeps_what_is_done(void **state)
{
    (void)state;
    for (unsigned in = 0; in < 2; in++) {
        struct vmx_rig *r = rig_open(NULL);
        u64 *index = &r->vcpu.regs[in ? GPR_RDI : GPR_RSI];
        *rig_pte(r, EDGE) = 0;
        *index = EDGE - 6;
        r->vcpu.regs[GPR_RCX] = 10;
        io_exit(r, io_q(2, RIG_PORT, Q_STR | Q_REP | (in ? Q_IN : 0)), 2, info_of(2, SEG_DS));
        // A byte read from the port could not be put back: nothing is read for the bad element.
        assert_int_equal(r->ports.count, 3);
        assert_int_equal(r->vcpu.regs[GPR_RCX], 7);
        assert_int_equal(*index, EDGE);
        assert_int_equal(vmcs_read(VMCS_GUEST_RIP), RIG_CODE);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
        assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), in ? PFEC_W : 0);
        assert_int_equal(r->cr2, EDGE);
        rig_close(r);
    }
}

static void element_across_two_pages(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    // The second page of the element leads somewhere else.
    *rig_pte(r, EDGE) = 0x50000 | PTE_P | PTE_W;
    memcpy(r->ports.data, "\x11\x22\x33\x44", 4);
    r->vcpu.regs[GPR_RDI] = EDGE - 1;
    io_exit(r, io_q(4, RIG_PORT, Q_STR | Q_IN), 1, info_of(2, 0));
    assert_int_equal(*(u8 *)rig_ram(r, RIG_IMAGE + 0x30fff, 1), 0x11);
    assert_memory_equal(rig_ram(r, 0x50000, 3), "\x22\x33\x44", 3);
    r->vcpu.regs[GPR_RSI] = EDGE - 1;
    memset(r->ports.data, 0, 4);
    io_exit(r, io_q(4, RIG_PORT, Q_STR), 1, info_of(2, SEG_DS));
    assert_memory_equal(r->ports.data, "\x11\x22\x33\x44", 4);
    rig_close(r);
}

static void fault_on_the_second_page_reads_no_port(void **state)
{
    (void)state;
    for (unsigned in = 0; in < 2; in++) {
        struct vmx_rig *r = rig_open(NULL);
        *rig_pte(r, EDGE) = 0;
        *(u8 *)rig_ram(r, RIG_IMAGE + 0x30fff, 1) = 0x5a;
        r->vcpu.regs[GPR_RDI] = r->vcpu.regs[GPR_RSI] = EDGE - 1;
        io_exit(r, io_q(4, RIG_PORT, Q_STR | (in ? Q_IN : 0)), 1, info_of(2, SEG_DS));
        assert_int_equal(r->ports.count, 0);
        assert_int_equal(*(u8 *)rig_ram(r, RIG_IMAGE + 0x30fff, 1), 0x5a);
        rig_inject(r);
        assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
        assert_int_equal(r->cr2, EDGE);
        rig_close(r);
    }
}

static void ins_into_a_read_only_page_faults(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    *rig_pte(r, EDGE) &= ~PTE_W;
    r->vcpu.regs[GPR_RDI] = EDGE;
    io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_IN), 1, info_of(2, 0));
    assert_int_equal(r->ports.count, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
    assert_int_equal(vmcs_read(VMCS_ENTRY_ERROR_CODE), PFEC_P | PFEC_W);
    rig_close(r);
}

static void string_in_lazy_ram_needs_no_mapping(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->ports.data[0] = 0x66;
    r->vcpu.regs[GPR_RDI] = RIG_LAZY + 9;
    io_exit(r, io_q(1, RIG_PORT, Q_STR | Q_IN), 1, info_of(2, 0));
    assert_int_equal(*(u8 *)rig_ram(r, RIG_LAZY + 9, 1), 0x66);
    rig_close(r);
}

static void string_on_a_devices_memory_stops_the_vm(void **state)
{
    (void)state;
    for (unsigned in = 0; in < 2; in++) {
        struct vmx_rig *r = rig_open(NULL);
        r->vcpu.regs[GPR_RDI] = r->vcpu.regs[GPR_RSI] = RIG_MMIO;
        io_exit(r, io_q(1, 0x3f8, Q_STR | (in ? Q_IN : 0)), 1, info_of(2, SEG_DS));
        assert_int_equal(r->vm.end, VM_END_EMULATION);
        assert_string_equal(r->vm.end_text, in ? "INS at port 3f8H: its memory is not RAM"
                                               : "OUTS at port 3f8H: its memory is not RAM");
        rig_close(r);
    }
}

// Without the CPU's help the prefixes are read where RIP points; if they cannot be, that is a
// fault.
static void prefixes_that_cannot_be_fetched_fault(void **state)
{
    (void)state;
    struct vmx_rig *r = rig_open(NULL);
    r->caps.io_insn_info = false;
    *rig_pte(r, EDGE) = 0;
    vmcs_write(VMCS_GUEST_RIP, EDGE - 1);
    r->vcpu.regs[GPR_RSI] = MEM;
    io_exit(r, io_q(1, RIG_PORT, Q_STR), 2, 0);
    assert_int_equal(r->ports.count, 0);
    rig_inject(r);
    assert_int_equal(vmcs_read(VMCS_ENTRY_INTR_INFO), INFO_PF);
    assert_int_equal(r->cr2, EDGE);
    // One that ends before the bad page is read in full.
    *(u8 *)rig_ram(r, RIG_IMAGE + 0x30fff, 1) = 0x6e;
    io_exit(r, io_q(1, RIG_PORT, Q_STR), 1, 0);
    assert_int_equal(r->ports.count, 1);
    rig_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_and_out_move_al_ax_and_eax),
        cmocka_unit_test(port_of_nobody_reads_as_all_ones),
        cmocka_unit_test(debug_exit_ends_the_vm_after_the_instruction),
        cmocka_unit_test(outs_sends_what_ins_brings),
        cmocka_unit_test(direction_flag_goes_down),
        cmocka_unit_test(count_of_zero_does_nothing),
        cmocka_unit_test(long_string_stops_for_breath),
        cmocka_unit_test(single_step_stops_at_each_element),
        cmocka_unit_test(registers_are_as_wide_as_the_address_size),
        cmocka_unit_test(outs_takes_the_segment_it_is_told),
        cmocka_unit_test(ins_is_not_overridden),
        cmocka_unit_test(code_segment_gives_the_address_size),
        cmocka_unit_test(segment_limits_and_types_fault),
        cmocka_unit_test(address_that_is_not_canonical_faults),
        cmocka_unit_test(fault_in_the_middle_keeps_what_is_done),
        cmocka_unit_test(element_across_two_pages),
        cmocka_unit_test(fault_on_the_second_page_reads_no_port),
        cmocka_unit_test(ins_into_a_read_only_page_faults),
        cmocka_unit_test(string_in_lazy_ram_needs_no_mapping),
        cmocka_unit_test(string_on_a_devices_memory_stops_the_vm),
        cmocka_unit_test(prefixes_that_cannot_be_fetched_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
