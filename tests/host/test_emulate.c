// SPDX-License-Identifier: MIT
// The emulator against the CPU this test runs on: random instructions of the supported set run
// natively in a frame that loads and stores all registers and flags, and emulated on a copy; both
// must leave the same registers, flags and memory. By hand: what 64-bit code cannot show, faults,
// and long repetitions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>
#include <sys/mman.h>

#include "arch/x86_64/lib/err.h"
#include "vmx/alu.h"
#include "vmx/emulate.h"

#define SCRATCH_SIZE 8192u

// All of it below 2 GiB, so that 32-bit addresses and RIP-relative ones reach it.
struct arena {
    u8 code[4096];
    u64 host_rsp;
    u64 rflags;
    u64 gpr[16];
    u8 padding[4096 - 18 * 8];
    u8 scratch[SCRATCH_SIZE];
};

static struct arena *arena;

static int setup(void **state)
{
    (void)state;
    void *p = mmap(NULL, sizeof(struct arena), PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    arena = p;
    return 0;
}

static u64 random64(void)
{
    static u64 x = 0x9e3779b97f4a7c15;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

// ---- the native frame -------------------------------------------------------------------------

struct emitter {
    size_t at;
};

static void emit(struct emitter *e, const char *bytes, size_t count)
{
    memcpy(arena->code + e->at, bytes, count);
    e->at += count;
}

// opcode with the 64-bit register reg and the RIP-relative memory at where.
static void emit_rip(struct emitter *e, u8 opcode, unsigned reg, const u64 *where)
{
    u8 bytes[7] = {(u8)(0x48 | (reg >> 3) << 2), opcode, (u8)((reg & 7) << 3 | 5)};
    s32 disp = (s32)((const u8 *)where - (arena->code + e->at + 7));
    memcpy(bytes + 3, &disp, 4);
    emit(e, (const char *)bytes, 7);
}

static void emit_prologue(struct emitter *e)
{
    emit(e, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10); // push rbx rbp r12 r13 r14 r15
    emit_rip(e, 0x89, 4, &arena->host_rsp);
    emit_rip(e, 0xff, 6, &arena->rflags); // push
    emit(e, "\x9d", 1);                   // popfq
    for (unsigned reg = 0; reg < 16; reg++)
        emit_rip(e, 0x8b, reg, &arena->gpr[reg]);
}

static void emit_epilogue(struct emitter *e)
{
    for (unsigned reg = 0; reg < 16; reg++)
        emit_rip(e, 0x89, reg, &arena->gpr[reg]);
    emit_rip(e, 0x8b, 4, &arena->host_rsp);
    emit(e, "\x9c", 1);                                              // pushfq
    emit_rip(e, 0x8f, 0, &arena->rflags);                            // pop
    emit(e, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xfc\xc3", 12); // ..., cld, ret
}

static void run_native(const u8 *bytes, size_t length)
{
    struct emitter e = {0};
    emit_prologue(&e);
    emit(&e, (const char *)bytes, length);
    emit_epilogue(&e);
    void (*frame)(void);
    void *code = arena->code;
    memcpy(&frame, &code, sizeof(frame));
    frame();
}

// Where in the code the instruction goes.
static size_t frame_head(void)
{
    struct emitter e = {0};
    emit_prologue(&e);
    return e.at;
}

// ---- the emulated side ------------------------------------------------------------------------

struct guest {
    struct emulate_cpu cpu;
    u64 gpr[16];
    u8 scratch[SCRATCH_SIZE];
    unsigned accesses;
    unsigned fail_at; // the access that faults, from 1; 0 = none
    u64 promised;     // read with ACCESS_WRITE and not written yet
    u64 read_only;    // read without
    bool broken;      // read without and then written
};

static u8 *locate(struct guest *g, u64 linear, unsigned size)
{
    u64 base = (u64)(uintptr_t)arena->scratch;
    if (linear < base || linear + size > base + SCRATCH_SIZE)
        fail_msg("access at %llx", (unsigned long long)linear);
    return g->scratch + (linear - base);
}

static int fails(struct guest *g, u64 linear, struct event *fault)
{
    if (++g->accesses != g->fail_at)
        return OK;
    *fault = event_page_fault(0, linear);
    return E_FAULT;
}

static int guest_read(void *ctx, gva_t gva, unsigned size, unsigned access, u64 *value,
                      struct event *fault)
{
    struct guest *g = ctx;
    *value = 0;
    memcpy(value, locate(g, gva.raw, size), size);
    *(access & ACCESS_WRITE ? &g->promised : &g->read_only) = gva.raw;
    return fails(g, gva.raw, fault);
}

static int guest_write(void *ctx, gva_t gva, unsigned size, u64 value, struct event *fault)
{
    struct guest *g = ctx;
    if (g->promised && g->promised != gva.raw)
        fail_msg("read for writing at %llx, written at %llx", (unsigned long long)g->promised,
                 (unsigned long long)gva.raw);
    if (fails(g, gva.raw, fault) < 0)
        return E_FAULT;
    if (low_bytes(value, size) != value)
        fail_msg("more than %u bytes written", size);
    g->broken |= gva.raw == g->read_only;
    g->promised = 0;
    memcpy(locate(g, gva.raw, size), &value, size);
    return OK;
}

static void guest_segment(void *ctx, enum vmcs_segment which, struct guest_segment *out)
{
    (void)ctx, (void)out;
    fail_msg("segment %u asked for in 64-bit mode", which);
}

// The guest in the state the arena is in.
static void guest_init(struct guest *g)
{
    memcpy(g->gpr, arena->gpr, sizeof(g->gpr));
    memcpy(g->scratch, arena->scratch, SCRATCH_SIZE);
    g->accesses = g->fail_at = 0;
    g->promised = g->read_only = 0;
    g->broken = false;
    g->cpu = (struct emulate_cpu){
        .mode = GUEST_64BIT,
        .gpr = g->gpr,
        .rip = (u64)(uintptr_t)arena->code + frame_head(),
        .rflags = arena->rflags,
        .ctx = g,
        .segment = guest_segment,
        .read = guest_read,
        .write = guest_write,
    };
}

// ---- random instructions ----------------------------------------------------------------------

static const u8 one_byte[] = {0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12,
                              0x13, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x21, 0x22, 0x23, 0x28, 0x29,
                              0x2a, 0x2b, 0x30, 0x31, 0x32, 0x33, 0x38, 0x39, 0x3a, 0x3b, 0x63,
                              0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b,
                              0x8f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab,
                              0xac, 0xad, 0xae, 0xaf, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff};
static const u8 two_byte[] = {0xa3, 0xab, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7,
                              0xba, 0xbb, 0xbe, 0xbf, 0xc0, 0xc1, 0xc3};

static u64 runs[INSN_SCAS + 1]; // how often each was compared

// Bytes that insn_decode() takes, or false.
static bool make_insn(u8 bytes[16], struct insn *insn)
{
    u64 dice = random64(), tail[2] = {random64(), random64()};
    size_t at = 0;
    static const u8 segments[] = {0x26, 0x2e, 0x36, 0x3e};
    if ((dice & 0x7) == 0)
        bytes[at++] = 0x66;
    if ((dice & 0x70) == 0)
        bytes[at++] = 0x67;
    if ((dice & 0x700) == 0)
        bytes[at++] = dice & 0x800 ? 0xf2 : 0xf3;
    if ((dice & 0x7000) == 0)
        bytes[at++] = 0xf0;
    if ((dice & 0x70000) == 0)
        bytes[at++] = segments[dice >> 20 & 3];
    if (dice & 0x400000)
        bytes[at++] = (u8)(0x40 | (dice >> 24 & 15));
    unsigned pick = (unsigned)(dice >> 32);
    if ((dice & 0x30000000) == 0) {
        bytes[at++] = 0x0f;
        bytes[at++] = two_byte[pick % sizeof(two_byte)];
        if ((dice >> 60) == 0) { // MOVBE
            bytes[at - 1] = 0x38;
            bytes[at++] = 0xf0 | (pick & 1);
        }
    } else {
        bytes[at++] = one_byte[pick % sizeof(one_byte)];
    }
    memcpy(bytes + at, tail, 16 - at);
    if (insn_decode(bytes, 15, CODE_64, insn) != OK)
        return false;
    // CPUs differ in how much this one reads.
    return !(insn->op == INSN_MOVSX && insn->mem_size == 2 && insn->operand_size == 2);
}

// Overwrites the displacement, which a disassembler finds.
static void patch_disp(u8 *bytes, u64 disp)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction insn;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, 15, &insn)));
    memcpy(bytes + insn.raw.disp.offset, &disp, insn.raw.disp.size / 8);
}

// Gives the address registers, or the displacement, the values that make target the address.
static bool aim(u8 *bytes, struct insn *insn, u64 target)
{
    const struct insn_mem *mem = &insn->mem;
    u64 *gpr = arena->gpr;
    if (mem->base != INSN_NO_REG) {
        if (mem->base == mem->index)
            return false;
        u64 index = mem->index == INSN_NO_REG ? 0 : gpr[mem->index] * mem->scale;
        u64 base = target - mem->disp - index;
        // With 32-bit addresses the upper half is noise.
        gpr[mem->base] = insn->address_size == 4 ? (u32)base | (random64() << 32) : base;
        return true;
    }
    if (mem->index != INSN_NO_REG)
        gpr[mem->index] = 0;
    u64 next = (u64)(uintptr_t)arena->code + frame_head() + insn->length;
    patch_disp(bytes, mem->rip_relative ? target - next : target);
    return insn_decode(bytes, 15, CODE_64, insn) == OK;
}

static void aim_string(const struct insn *insn, u64 source, u64 target)
{
    u64 noise = insn->address_size == 4 ? random64() << 32 : 0;
    arena->gpr[6] = source | noise;
    arena->gpr[7] = target | noise;
    if (insn->repeat != REPEAT_NONE)
        arena->gpr[1] = (random64() & 31) | noise;
}

// A state in which the instruction stays in the scratch area.
static bool prepare(u8 *bytes, struct insn *insn)
{
    static const u64 rflags_random = RFLAGS_STATUS | RFLAGS_DF;
    u64 middle = (u64)(uintptr_t)arena->scratch + SCRATCH_SIZE / 2;
    u64 target = middle + (random64() & 63);
    bool bit = insn->op >= INSN_BT && insn->op <= INSN_BTC;
    if (insn->lock || insn->op == INSN_XCHG)
        target &= ~7ull; // no split locks on the machine the test runs on
    for (unsigned reg = 0; reg < 16; reg++)
        arena->gpr[reg] = random64() >> (random64() & 63);
    arena->rflags = RFLAGS_FIXED | RFLAGS_IF | (random64() & rflags_random);

    if (insn->op >= INSN_MOVS) {
        aim_string(insn, target + 512, target);
        return true;
    }
    if (bit && insn->src == OPERAND_REG) {
        if (insn->reg == insn->mem.base || insn->reg == insn->mem.index)
            return false;
        u64 number = (u64)((s64)(random64() & 0x1fff) - 0x1000);
        u64 noise = insn->operand_size == 8 ? 0 : random64() << insn->operand_size * 8;
        arena->gpr[insn->reg] = low_bytes(number, insn->operand_size) | noise;
    }
    if (insn->op == INSN_PUSH || insn->op == INSN_POP) {
        // An address based on RSP has to leave the stack in reach.
        bool near = insn->mem.index == INSN_NO_REG && insn->mem.disp + 128 < 256;
        if (insn->mem.base == 4 && (!near || insn->address_size == 4))
            return false;
        arena->gpr[4] = middle + 1024;
    }
    return aim(bytes, insn, target);
}

static void fill_scratch(void)
{
    u64 kind = random64() & 3, all = random64();
    for (size_t i = 0; i < SCRATCH_SIZE; i += 8) {
        u64 word = kind == 0 ? 0 : kind == 1 ? all : random64();
        memcpy(arena->scratch + i, &word, 8);
    }
}

// For the comparisons to succeed now and then.
static void favour_equality(const struct insn *insn)
{
    u64 word;
    if (random64() & 1)
        return;
    memcpy(&word, arena->scratch, 8); // all words are the same half of the time
    bool addressed = insn->mem.base == 0 || insn->mem.index == 0;
    if ((insn->op == INSN_CMPXCHG || insn->op == INSN_SCAS) && !addressed)
        arena->gpr[0] = word;
}

// Flags that the SDM leaves undefined, on which CPUs differ.
static u64 undefined_flags(enum insn_op op)
{
    switch (op) {
    case INSN_AND:
    case INSN_OR:
    case INSN_XOR:
    case INSN_TEST:
        return RFLAGS_AF;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    default:
        return 0;
    }
}

static void complain(const u8 *bytes, const struct insn *insn, const char *what)
{
    char text[64] = "";
    for (unsigned i = 0; i < insn->length; i++)
        snprintf(text + 3 * i, sizeof(text) - 3 * i, "%02x ", bytes[i]);
    fail_msg("%s: op %u: %s", text, insn->op, what);
}

static void compare(const u8 *bytes, const struct insn *insn, const struct guest *g)
{
    for (unsigned reg = 0; reg < 16; reg++)
        if (g->gpr[reg] != arena->gpr[reg]) {
            print_error("r%u is %llx, not %llx\n", reg, (unsigned long long)g->gpr[reg],
                        (unsigned long long)arena->gpr[reg]);
            complain(bytes, insn, "register");
        }
    u64 known = ~undefined_flags(insn->op);
    if ((g->cpu.rflags & known) != (arena->rflags & known)) {
        print_error("flags are %llx, not %llx\n", (unsigned long long)g->cpu.rflags,
                    (unsigned long long)arena->rflags);
        complain(bytes, insn, "flags");
    }
    if (memcmp(g->scratch, arena->scratch, SCRATCH_SIZE))
        complain(bytes, insn, "memory");
    bool two_operands = insn->op >= INSN_PUSH; // which may be the same
    if (g->broken && !two_operands)
        complain(bytes, insn, "written where it was read only");
    if (g->promised)
        complain(bytes, insn, "read for writing and not written");
}

static bool next_case(u8 bytes[16], struct insn *insn)
{
    if (!make_insn(bytes, insn) || !prepare(bytes, insn))
        return false;
    fill_scratch();
    favour_equality(insn);
    return true;
}

static void as_the_cpu_does(void **state)
{
    (void)state;
    static struct guest g;
    for (unsigned n = 0; n < 400000;) {
        u8 bytes[16];
        struct insn insn;
        struct event fault;
        if (!next_case(bytes, &insn))
            continue;
        guest_init(&g);
        run_native(bytes, insn.length);
        if (emulate(&g.cpu, &insn, &fault) != OK)
            complain(bytes, &insn, "not done");
        compare(bytes, &insn, &g);
        runs[insn.op]++;
        n++;
    }
    for (unsigned op = INSN_MOV; op <= INSN_SCAS; op++)
        if (runs[op] < 500)
            fail_msg("op %u was compared %llu times only", op, (unsigned long long)runs[op]);
}

// A fault at any access leaves all as it was, but for whole iterations of a repetition.
static void faults_change_nothing(void **state)
{
    (void)state;
    static struct guest g, before;
    unsigned faults = 0;
    for (unsigned n = 0; n < 100000; n++) {
        u8 bytes[16];
        struct insn insn;
        struct event fault;
        if (!next_case(bytes, &insn))
            continue;
        guest_init(&g);
        before = g;
        g.fail_at = 1 + (random64() & 1);
        int err = emulate(&g.cpu, &insn, &fault);
        if (err == OK)
            continue;
        faults++;
        if (err != E_FAULT || !fault.valid || fault.vector != VEC_PF)
            complain(bytes, &insn, "the fault is lost");
        bool whole = insn.repeat != REPEAT_NONE && g.fail_at > 1;
        if (!whole &&
            (memcmp(g.gpr, before.gpr, sizeof(g.gpr)) || g.cpu.rflags != before.cpu.rflags))
            complain(bytes, &insn, "a fault changed registers or flags");
        if (!whole && memcmp(g.scratch, before.scratch, SCRATCH_SIZE))
            complain(bytes, &insn, "a fault changed memory");
    }
    assert_true(faults > 10000);
}

// ---- by hand ----------------------------------------------------------------------------------

// A 16- or 32-bit guest: flat memory of 64 KiB at linear 10000H, segments of the test's choice.
struct small {
    struct emulate_cpu cpu;
    u64 gpr[16];
    struct guest_segment segments[6];
    u64 last_gva;
    unsigned last_size;
    u64 last_value, give;
};

static int small_read(void *ctx, gva_t gva, unsigned size, unsigned access, u64 *value,
                      struct event *fault)
{
    struct small *s = ctx;
    (void)access, (void)fault;
    s->last_gva = gva.raw;
    s->last_size = size;
    *value = low_bytes(s->give, size);
    return OK;
}

static int small_write(void *ctx, gva_t gva, unsigned size, u64 value, struct event *fault)
{
    struct small *s = ctx;
    (void)fault;
    s->last_gva = gva.raw;
    s->last_size = size;
    s->last_value = value;
    return OK;
}

static void small_segment(void *ctx, enum vmcs_segment which, struct guest_segment *out)
{
    struct small *s = ctx;
    *out = s->segments[which];
}

static void small_init(struct small *s, enum guest_mode mode)
{
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < 6; i++)
        s->segments[i] = (struct guest_segment){
            .base = 0x10000 * (i + 1), .limit = 0xffff, .ar = mode == GUEST_REAL ? 0x93 : 0xc093};
    s->cpu = (struct emulate_cpu){
        .mode = mode,
        .gpr = s->gpr,
        .rflags = RFLAGS_FIXED,
        .ctx = s,
        .segment = small_segment,
        .read = small_read,
        .write = small_write,
    };
}

static int run_small(struct small *s, enum code_size size, const char *bytes, size_t count,
                     struct event *fault)
{
    struct insn insn;
    assert_int_equal(insn_decode((const u8 *)bytes, count, size, &insn), OK);
    assert_int_equal(insn.length, count);
    return emulate(&s->cpu, &insn, fault);
}

#define RUN(size, bytes) run_small(&s, size, bytes, sizeof(bytes) - 1, &fault)

static void sixteen_bit_addresses(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_REAL);
    s.give = 0x1234;
    s.gpr[3] = 0xabcdf000;                          // BX
    s.gpr[6] = 0x12342000;                          // SI
    assert_int_equal(RUN(CODE_16, "\x8b\x00"), OK); // mov ax, [bx+si]: wraps at 64 KiB
    assert_int_equal(s.last_gva, 0x41000);
    assert_int_equal(s.last_size, 2);
    assert_int_equal(s.gpr[0], 0x1234);
    s.gpr[5] = 0x10;                                    // BP: the stack segment
    assert_int_equal(RUN(CODE_16, "\x89\x46\xfe"), OK); // mov [bp-2], ax
    assert_int_equal(s.last_gva, 0x3000e);
    assert_int_equal(RUN(CODE_16, "\x26\x89\x46\xfe"), OK); // mov es:[bp-2], ax
    assert_int_equal(s.last_gva, 0x1000e);
    s.gpr[5] = 1;
    assert_int_equal(RUN(CODE_16, "\x8b\x46\xfe"), E_FAULT); // FFFF: past the limit of SS
    assert_int_equal(fault.vector, VEC_SS);
    assert_int_equal(RUN(CODE_16, "\xa1\xff\xff"), E_FAULT);
    assert_int_equal(fault.vector, VEC_GP);
    assert_int_equal(RUN(CODE_16, "\xa0\xff\xff"), OK);
    assert_int_equal(s.last_gva, 0x4ffff);
}

static void sixteen_bit_strings(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_REAL);
    s.gpr[0] = 0xdddd55aa;
    s.gpr[1] = 0x30002;                             // CX is 2
    s.gpr[7] = 0x1fffc;                             // DI is FFFC
    assert_int_equal(RUN(CODE_16, "\xf3\xab"), OK); // rep stosw
    assert_int_equal(s.gpr[1], 0x30000);
    assert_int_equal(s.gpr[7], 0x10000);
    assert_int_equal(s.last_gva, 0x1fffe);
    assert_int_equal(s.last_value, 0x55aa);
    s.gpr[1] = 0x2;
    s.gpr[7] = 0xfffd; // the second word passes the limit
    assert_int_equal(RUN(CODE_16, "\xf3\xab"), E_FAULT);
    assert_int_equal(fault.vector, VEC_GP);
    assert_int_equal(s.gpr[1], 1);
    assert_int_equal(s.gpr[7], 0xffff);
}

static void stack_operands(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_REAL);
    s.give = 0xbeef;
    s.gpr[4] = 0x70000;                                     // SP is 0: wraps
    assert_int_equal(RUN(CODE_16, "\xff\x36\x34\x12"), OK); // push word [1234]
    assert_int_equal(s.gpr[4], 0x7fffe);
    assert_int_equal(s.last_gva, 0x3fffe);
    assert_int_equal(s.last_value, 0xbeef);
    assert_int_equal(RUN(CODE_16, "\x66\x8f\x06\x34\x12"), E_FAULT); // pop dword at FFFE
    assert_int_equal(fault.vector, VEC_SS);
    assert_int_equal(s.gpr[4], 0x7fffe);
    assert_int_equal(RUN(CODE_16, "\x8f\x06\x34\x12"), OK);
    assert_int_equal(s.gpr[4], 0x70000);
    assert_int_equal(s.last_gva, 0x41234);

    small_init(&s, GUEST_PROTECTED);
    s.gpr[4] = 0x1000;
    assert_int_equal(RUN(CODE_32, "\xff\x35\x80\x00\x00\x00"), OK); // push dword [80]
    assert_int_equal(s.gpr[4], 0xffc);
    assert_int_equal(s.last_size, 4);
    assert_int_equal(RUN(CODE_32, "\x8f\x04\x24"), OK); // pop dword [esp]: the new ESP
    assert_int_equal(s.gpr[4], 0x1000);
    assert_int_equal(s.last_gva, 0x31000);
}

static void rights_of_segments(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_PROTECTED);
    s.segments[SEG_DS].ar = 0xc091; // read-only
    assert_int_equal(RUN(CODE_32, "\x8b\x03"), OK);
    assert_int_equal(RUN(CODE_32, "\x89\x03"), E_FAULT);
    assert_int_equal(fault.vector, VEC_GP);
    assert_int_equal(RUN(CODE_32, "\x01\x03"), E_FAULT); // add [ebx], eax
    assert_int_equal(RUN(CODE_32, "\x03\x03"), OK);
    assert_int_equal(RUN(CODE_32, "\x3b\x03"), OK);
    assert_int_equal(RUN(CODE_32, "\x39\x03"), OK); // cmp [ebx], eax
    assert_int_equal(RUN(CODE_32, "\x0f\xa3\x03"), OK);
    assert_int_equal(RUN(CODE_32, "\x0f\xab\x03"), E_FAULT);
}

static void fs_and_gs_in_64_bit_mode(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_64BIT);
    s.segments[SEG_GS].base = 0xffff888000000000;
    s.gpr[3] = 0x40;
    assert_int_equal(RUN(CODE_64, "\x65\x48\x8b\x03"), OK);
    assert_int_equal(s.last_gva, 0xffff888000000040);
    assert_int_equal(RUN(CODE_64, "\x48\x8b\x03"), OK);
    assert_int_equal(s.last_gva, 0x40);
    s.gpr[3] = 0x800000000000;
    assert_int_equal(RUN(CODE_64, "\x48\x8b\x03"), E_FAULT);
    assert_int_equal(fault.vector, VEC_GP);
    s.gpr[5] = 0x800000000000;
    assert_int_equal(RUN(CODE_64, "\x48\x8b\x45\x00"), E_FAULT);
    assert_int_equal(fault.vector, VEC_SS);
    s.cpu.rip = 0xfffffffffffffff0; // RIP-relative wraps
    assert_int_equal(RUN(CODE_64, "\x8b\x05\x10\x00\x00\x00"), OK);
    assert_int_equal(s.last_gva, 6);
    assert_int_equal(s.cpu.rip, 0xfffffffffffffff0);
}

static void long_repetitions_stop_and_go_on(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_64BIT);
    s.gpr[1] = 600;
    s.gpr[7] = 0x1000;
    assert_int_equal(RUN(CODE_64, "\xf3\xab"), EMULATE_MORE);
    assert_int_equal(s.gpr[1], 600 - EMULATE_ITERATIONS);
    assert_int_equal(s.gpr[7], 0x1000 + 4 * EMULATE_ITERATIONS);
    assert_int_equal(RUN(CODE_64, "\xf3\xab"), EMULATE_MORE);
    assert_int_equal(RUN(CODE_64, "\xf3\xab"), OK);
    assert_int_equal(s.gpr[1], 0);
    assert_int_equal(s.gpr[7], 0x1000 + 4 * 600);
    assert_int_equal(s.last_gva, 0x1000 + 4 * 599);

    s.gpr[1] = ~0ull; // no guest holds the host
    assert_int_equal(RUN(CODE_64, "\xf3\xac"), EMULATE_MORE);
    assert_int_equal(s.gpr[1], ~0ull - EMULATE_ITERATIONS);

    s.gpr[1] = EMULATE_ITERATIONS;
    assert_int_equal(RUN(CODE_64, "\xf3\xac"), OK);

    s.gpr[1] = 3;
    s.cpu.rflags |= RFLAGS_TF;
    assert_int_equal(RUN(CODE_64, "\xf3\xa4"), EMULATE_MORE);
    assert_int_equal(s.gpr[1], 2);
    assert_int_equal(RUN(CODE_64, "\xf3\xa4"), EMULATE_MORE);
    assert_int_equal(RUN(CODE_64, "\xf3\xa4"), OK);
}

static void what_is_not_an_instruction_is_refused(void **state)
{
    (void)state;
    struct small s;
    struct event fault;
    small_init(&s, GUEST_64BIT);
    struct insn insn = {.op = INSN_NONE};
    assert_int_equal(emulate(&s.cpu, &insn, &fault), E_UNSUPP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_bit_addresses),
        cmocka_unit_test(sixteen_bit_strings),
        cmocka_unit_test(stack_operands),
        cmocka_unit_test(rights_of_segments),
        cmocka_unit_test(fs_and_gs_in_64_bit_mode),
        cmocka_unit_test(long_repetitions_stop_and_go_on),
        cmocka_unit_test(what_is_not_an_instruction_is_refused),
        cmocka_unit_test(as_the_cpu_does),
        cmocka_unit_test(faults_change_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
