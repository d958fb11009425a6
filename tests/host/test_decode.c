// SPDX-License-Identifier: MIT
// The decoder against Zydis, an independent disassembler, in 16-, 32- and 64-bit code: all prefixes
// with all opcodes and ModR/M bytes, all SIB bytes, and random strings. What we decode must be what
// Zydis decodes; what Zydis decodes of our instructions must not be missed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "arch/x86_64/lib/err.h"
#include "vmx/decode.h"

static const enum code_size code_sizes[] = {CODE_16, CODE_32, CODE_64};
static ZydisDecoder decoders[3];

static u64 decoded, refused; // what the comparisons saw, so that a blind test shows

static int setup(void **state)
{
    (void)state;
    ZydisDecoderInit(&decoders[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < 3; i++) // Intel's CPUs have no XOP, 3DNow! and so on to confuse us
        ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_FALSE);
    return 0;
}

static u64 random64(void)
{
    static u64 x = 0x2545f4914f6cdd1d;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

// ---- which of Zydis's instructions are ours ---------------------------------------------------

struct name {
    ZydisMnemonic mnemonic;
    enum insn_op op;
};

static const struct name names[] = {
    {ZYDIS_MNEMONIC_MOV,     INSN_MOV    },
    {ZYDIS_MNEMONIC_MOVNTI,  INSN_MOV    },
    {ZYDIS_MNEMONIC_MOVZX,   INSN_MOVZX  },
    {ZYDIS_MNEMONIC_MOVSX,   INSN_MOVSX  },
    {ZYDIS_MNEMONIC_MOVSXD,  INSN_MOVSX  },
    {ZYDIS_MNEMONIC_MOVBE,   INSN_MOVBE  },
    {ZYDIS_MNEMONIC_XCHG,    INSN_XCHG   },
    {ZYDIS_MNEMONIC_XADD,    INSN_XADD   },
    {ZYDIS_MNEMONIC_CMPXCHG, INSN_CMPXCHG},
    {ZYDIS_MNEMONIC_ADD,     INSN_ADD    },
    {ZYDIS_MNEMONIC_OR,      INSN_OR     },
    {ZYDIS_MNEMONIC_ADC,     INSN_ADC    },
    {ZYDIS_MNEMONIC_SBB,     INSN_SBB    },
    {ZYDIS_MNEMONIC_AND,     INSN_AND    },
    {ZYDIS_MNEMONIC_SUB,     INSN_SUB    },
    {ZYDIS_MNEMONIC_XOR,     INSN_XOR    },
    {ZYDIS_MNEMONIC_CMP,     INSN_CMP    },
    {ZYDIS_MNEMONIC_TEST,    INSN_TEST   },
    {ZYDIS_MNEMONIC_NOT,     INSN_NOT    },
    {ZYDIS_MNEMONIC_NEG,     INSN_NEG    },
    {ZYDIS_MNEMONIC_INC,     INSN_INC    },
    {ZYDIS_MNEMONIC_DEC,     INSN_DEC    },
    {ZYDIS_MNEMONIC_BT,      INSN_BT     },
    {ZYDIS_MNEMONIC_BTS,     INSN_BTS    },
    {ZYDIS_MNEMONIC_BTR,     INSN_BTR    },
    {ZYDIS_MNEMONIC_BTC,     INSN_BTC    },
    {ZYDIS_MNEMONIC_PUSH,    INSN_PUSH   },
    {ZYDIS_MNEMONIC_POP,     INSN_POP    },
    {ZYDIS_MNEMONIC_MOVSB,   INSN_MOVS   },
    {ZYDIS_MNEMONIC_MOVSW,   INSN_MOVS   },
    {ZYDIS_MNEMONIC_MOVSD,   INSN_MOVS   },
    {ZYDIS_MNEMONIC_MOVSQ,   INSN_MOVS   },
    {ZYDIS_MNEMONIC_CMPSB,   INSN_CMPS   },
    {ZYDIS_MNEMONIC_CMPSW,   INSN_CMPS   },
    {ZYDIS_MNEMONIC_CMPSD,   INSN_CMPS   },
    {ZYDIS_MNEMONIC_CMPSQ,   INSN_CMPS   },
    {ZYDIS_MNEMONIC_STOSB,   INSN_STOS   },
    {ZYDIS_MNEMONIC_STOSW,   INSN_STOS   },
    {ZYDIS_MNEMONIC_STOSD,   INSN_STOS   },
    {ZYDIS_MNEMONIC_STOSQ,   INSN_STOS   },
    {ZYDIS_MNEMONIC_LODSB,   INSN_LODS   },
    {ZYDIS_MNEMONIC_LODSW,   INSN_LODS   },
    {ZYDIS_MNEMONIC_LODSD,   INSN_LODS   },
    {ZYDIS_MNEMONIC_LODSQ,   INSN_LODS   },
    {ZYDIS_MNEMONIC_SCASB,   INSN_SCAS   },
    {ZYDIS_MNEMONIC_SCASW,   INSN_SCAS   },
    {ZYDIS_MNEMONIC_SCASD,   INSN_SCAS   },
    {ZYDIS_MNEMONIC_SCASQ,   INSN_SCAS   },
};

struct oracle {
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    const ZydisDecodedOperand *mem, *reg, *imm; // explicit ones; a string's memory
    unsigned mem_at;
};

static bool is_string_insn(const struct oracle *z)
{
    return z->insn.meta.category == ZYDIS_CATEGORY_STRINGOP;
}

static void find_operands(struct oracle *z)
{
    z->mem = z->reg = z->imm = NULL;
    for (unsigned i = 0; i < z->insn.operand_count; i++) {
        const ZydisDecodedOperand *op = &z->ops[i];
        bool counts = op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT ||
                      op->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 ||
                      (z->mem && !z->reg && op->visibility == ZYDIS_OPERAND_VISIBILITY_IMPLICIT);
        if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && (counts || is_string_insn(z))) {
            // MOVS lists its destination first.
            if (!z->mem || z->insn.mnemonic == ZYDIS_MNEMONIC_MOVSB ||
                (z->insn.opcode | 1) == 0xa5) {
                z->mem = op;
                z->mem_at = i;
            }
        }
        if (op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
            op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            z->reg = op;
        if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            z->imm = op;
    }
}

static enum insn_op op_of(const struct oracle *z)
{
    if (z->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || !z->mem)
        return INSN_NONE;
    bool string = is_string_insn(z);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].mnemonic != z->insn.mnemonic)
            continue;
        if ((names[i].op >= INSN_MOVS) != string)
            return INSN_NONE; // SSE's MOVSD and CMPSD
        if (z->reg && z->reg->reg.value >= ZYDIS_REGISTER_ES &&
            z->reg->reg.value <= ZYDIS_REGISTER_GS)
            return INSN_NONE; // MOV from and to segment registers
        if (names[i].op == INSN_PUSH || names[i].op == INSN_POP)
            return z->mem->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT ? names[i].op
                                                                           : INSN_NONE;
        return names[i].op;
    }
    return INSN_NONE;
}

// ---- comparison -------------------------------------------------------------------------------

static u8 number_of(ZydisRegister reg, unsigned *bits, bool *high)
{
    *high = false;
    *bits = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
        *high = true;
        return (u8)(reg - ZYDIS_REGISTER_AH);
    }
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
        return (u8)(reg - ZYDIS_REGISTER_SPL + 4);
    return (u8)ZydisRegisterGetId(reg);
}

static const char *compare_address_register(u8 got, ZydisRegister want, unsigned address_size)
{
    unsigned bits;
    bool high;
    if (want == ZYDIS_REGISTER_NONE)
        return got == INSN_NO_REG ? NULL : "register too many";
    u8 number = number_of(want, &bits, &high);
    if (bits != address_size * 8)
        return "address register's size";
    return got == number ? NULL : "address register";
}

static const char *compare_memory(const struct insn *got, const struct oracle *z)
{
    const ZydisDecodedOperandMem *mem = &z->mem->mem;
    bool rip = mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP;
    if (z->mem->size != got->mem_size * 8u)
        return "memory operand's size";
    if (z->insn.address_width != got->address_size * 8u)
        return "address size";
    if (rip != got->mem.rip_relative)
        return "RIP-relative";
    const char *bad = compare_address_register(got->mem.base, rip ? ZYDIS_REGISTER_NONE : mem->base,
                                               got->address_size);
    if (!bad)
        bad = compare_address_register(got->mem.index, mem->index, got->address_size);
    if (bad)
        return bad;
    // Zydis has scale 0 for "no index", and for BX+SI.
    u8 scale = mem->scale ? mem->scale : 1;
    if (scale != got->mem.scale)
        return "scale";
    if ((u64)mem->disp.value != got->mem.disp)
        return "displacement";
    if (mem->segment != ZYDIS_REGISTER_ES + got->mem.segment)
        return "segment";
    return NULL;
}

static const char *compare_operands(const struct insn *got, const struct oracle *z)
{
    if (is_string_insn(z))
        return got->dst == OPERAND_NONE && got->src == OPERAND_NONE ? NULL : "string operands";
    bool mem_first = z->mem_at == 0;
    if ((mem_first ? got->dst : got->src) != OPERAND_MEM)
        return "place of memory";
    enum insn_operand other = mem_first ? got->src : got->dst;
    enum insn_operand want = z->imm ? OPERAND_IMM : z->reg ? OPERAND_REG : OPERAND_NONE;
    if (got->op == INSN_CMPXCHG) // the accumulator, which Zydis shows, is not encoded
        want = OPERAND_REG;
    return other == want ? NULL : "other operand";
}

static const char *compare_register(const struct insn *got, const struct oracle *z)
{
    unsigned bits;
    bool high;
    if (is_string_insn(z) || z->imm || !z->reg)
        return got->reg == INSN_NO_REG ? NULL : "a register where none is";
    const ZydisDecodedOperand *reg = z->reg;
    if (got->op == INSN_CMPXCHG)
        reg = &z->ops[1];
    u8 number = number_of(reg->reg.value, &bits, &high);
    if (bits != got->operand_size * 8u)
        return "operand size";
    return number == got->reg && high == got->reg_high ? NULL : "register";
}

static const char *compare_immediate(const struct insn *got, const struct oracle *z)
{
    if (!z->imm)
        return NULL;
    // Zydis's raw bytes, extended here.
    unsigned bits = z->insn.raw.imm[0].size;
    u64 want = (u64)((s64)(z->insn.raw.imm[0].value.u << (64 - bits)) >> (64 - bits));
    return got->imm == want ? NULL : "immediate";
}

static const char *compare_prefixes(const struct insn *got, const struct oracle *z)
{
    ZydisInstructionAttributes a = z->insn.attributes;
    bool lock = a & ZYDIS_ATTRIB_HAS_LOCK;
    if (lock != got->lock)
        return "LOCK";
    enum insn_repeat repeat = REPEAT_NONE;
    if (is_string_insn(z)) {
        if (a & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
            repeat = REPEAT_REP;
        if (a & ZYDIS_ATTRIB_HAS_REPNE)
            repeat = REPEAT_REPNE;
    }
    return repeat == got->repeat ? NULL : "repeat prefix";
}

static const char *compare(const struct insn *got, const struct oracle *z, enum insn_op op)
{
    if (got->op != op)
        return "operation";
    if (got->length != z->insn.length)
        return "length";
    // For these Zydis gives the real width in the operand only.
    bool by_operand =
        op == INSN_PUSH || op == INSN_POP || z->insn.mnemonic == ZYDIS_MNEMONIC_MOVNTI;
    unsigned width = by_operand ? z->mem->size : z->insn.operand_width;
    if (got->operand_size * 8u != width)
        return "operand size";
    const char *bad = compare_memory(got, z);
    if (!bad)
        bad = compare_operands(got, z);
    if (!bad)
        bad = compare_register(got, z);
    if (!bad)
        bad = compare_immediate(got, z);
    if (!bad)
        bad = compare_prefixes(got, z);
    return bad;
}

// Where Zydis 4.0 and the SDM part ways, and the decoder is with the SDM.
static bool zydis_is_wrong(const struct insn *got, const struct oracle *z)
{
    // With a 4-byte address size and REX.B, a SIB byte without a base gets R13D.
    if (z->mem->mem.base == ZYDIS_REGISTER_R13D && z->insn.raw.sib.base == 5 &&
        z->insn.raw.modrm.mod == 0)
        return got->mem.base == INSN_NO_REG && got->length == z->insn.length;
    // MOVSXD with an operand size of 16 reads 32 bits, as AMD's CPUs do.
    return z->insn.mnemonic == ZYDIS_MNEMONIC_MOVSXD && got->operand_size == 2 &&
           got->mem_size == 2 && got->length == z->insn.length;
}

static void complain(const u8 *bytes, size_t count, enum code_size size, const char *what)
{
    char text[64] = "";
    for (size_t i = 0; i < count && i < 15; i++)
        snprintf(text + 3 * i, sizeof(text) - 3 * i, "%02x ", bytes[i]);
    fail_msg("%u-bit %s: %s", size, text, what);
}

// Every way of cutting the instruction short asks for more.
static void check_truncation(const u8 *bytes, size_t length, enum code_size size)
{
    struct insn insn;
    for (size_t count = 0; count < length; count++)
        if (insn_decode(bytes, count, size, &insn) != E_TRUNC)
            complain(bytes, count, size, "cut short and not noticed");
}

static void check(const u8 *bytes, size_t count, unsigned mode)
{
    struct oracle z;
    struct insn got;
    enum code_size size = code_sizes[mode];
    int err = insn_decode(bytes, count, size, &got);
    ZyanStatus status = ZydisDecoderDecodeFull(&decoders[mode], bytes, count, &z.insn, z.ops);
    enum insn_op op = INSN_NONE;
    if (ZYAN_SUCCESS(status)) {
        find_operands(&z);
        op = op_of(&z);
    }
    if (err == OK) {
        decoded++;
        if (op == INSN_NONE)
            complain(bytes, count, size, "decoded, and Zydis does not");
        const char *bad = compare(&got, &z, op);
        if (bad && !zydis_is_wrong(&got, &z))
            complain(bytes, count, size, bad);
        if (decoded % 64 == 0)
            check_truncation(bytes, got.length, size);
        return;
    }
    refused++;
    if (op != INSN_NONE)
        complain(bytes, count, size, "one of ours, refused");
    if ((err == E_FORMAT || err == E_RANGE) && ZYAN_SUCCESS(status))
        complain(bytes, count, size, "called undefined, and Zydis knows it");
    if (err == E_TRUNC && ZYAN_SUCCESS(status))
        complain(bytes, count, size, "called too short, and Zydis has enough");
}

// ---- systematic -------------------------------------------------------------------------------

// No prefix is 0, so strings do.
static const char *const prefix_sets[] = {
    "",         "\x66",     "\x67",     "\x66\x67", "\x26",     "\x2e",     "\x36",
    "\x3e",     "\x64",     "\x65",     "\x64\x2e", "\x26\x65", "\xf0",     "\xf2",
    "\xf3",     "\xf2\xf3", "\xf3\xf2", "\xf0\x66", "\xf3\x66", "\xf2\x66", "\xf0\xf2",
    "\x40",     "\x41",     "\x42",     "\x44",     "\x48",     "\x4f",     "\x66\x48",
    "\x48\x66", "\x67\x4d", "\xf0\x48", "\xf3\x48", "\x41\x48", "\x4f\x64", "\x66\x41\x65"};

// prefixes, then opcode, then ModR/M and SIB, then anything.
static void check_sequence(const char *prefixes, const char *opcode, size_t opcode_length,
                           unsigned modrm, unsigned sib, unsigned mode)
{
    u8 bytes[24];
    size_t at = strlen(prefixes);
    memcpy(bytes, prefixes, at);
    memcpy(bytes + at, opcode, opcode_length);
    at += opcode_length;
    bytes[at++] = (u8)modrm;
    bytes[at++] = (u8)sib;
    u64 tail[2] = {random64(), random64()};
    memcpy(bytes + at, tail, 24 - 8 - at < 8 ? 8 : 24 - 8 - at);
    check(bytes, 15, mode);
}

static void every_opcode(const char *escape)
{
    char opcode[3];
    size_t escape_length = strlen(escape);
    memcpy(opcode, escape, escape_length);
    for (unsigned set = 0; set < ARRAY_SIZE(prefix_sets); set++)
        for (unsigned byte = 0; byte < 256; byte++)
            for (unsigned modrm = 0; modrm < 256; modrm++)
                for (unsigned mode = 0; mode < 3; mode++) {
                    opcode[escape_length] = (char)byte;
                    check_sequence(prefix_sets[set], opcode, escape_length + 1, modrm,
                                   (unsigned)random64() & 0xff, mode);
                }
}

static void every_one_byte_opcode(void **state)
{
    (void)state;
    every_opcode("");
}

static void every_0f_opcode(void **state)
{
    (void)state;
    every_opcode("\x0f");
}

static void every_0f38_opcode(void **state)
{
    (void)state;
    every_opcode("\x0f\x38");
}

static void every_modrm_and_sib(void **state)
{
    (void)state;
    static const char *const opcodes[] = {"\x8b", "\x80", "\xc7", "\x0f\xb6"};
    for (unsigned set = 0; set < ARRAY_SIZE(prefix_sets); set++)
        for (unsigned n = 0; n < ARRAY_SIZE(opcodes) * 3; n++)
            for (unsigned modrm = 4; modrm < 0xc0; modrm += 8)
                for (unsigned sib = 0; sib < 256; sib++)
                    check_sequence(prefix_sets[set], opcodes[n / 3], strlen(opcodes[n / 3]), modrm,
                                   sib, n % 3);
}

// ---- random -----------------------------------------------------------------------------------

static void random_strings(void **state)
{
    (void)state;
    static const u8 legacy[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    for (unsigned n = 0; n < 3000000; n++) {
        u64 words[2] = {random64(), random64()};
        u8 bytes[16];
        memcpy(bytes, words, sizeof(bytes));
        u64 dice = random64();
        // Half of them begin with up to 15 prefixes, a quarter with an 0F after those.
        unsigned count = dice & 1 ? (unsigned)(dice >> 8) % (dice & 2 ? 15 : 4) : 0;
        for (unsigned i = 0; i < count; i++, dice = random64())
            bytes[i] = dice & 8 ? legacy[(dice >> 8) % sizeof(legacy)] : 0x40 | (dice >> 4 & 15);
        if (dice & 4 && count < 15)
            bytes[count] = 0x0f;
        check(bytes, 1 + (random64() % 15), n % 3);
        check(bytes, 15, n % 3);
    }
}

static void fifteen_bytes_and_no_more(void **state)
{
    (void)state;
    u8 bytes[20];
    struct insn insn;
    for (unsigned prefixes = 0; prefixes < 16; prefixes++) {
        memset(bytes, 0x2e, sizeof(bytes));
        bytes[prefixes] = 0x8b; // mov eax, [rbx]
        bytes[prefixes + 1] = 0x03;
        int want = prefixes + 2 <= 15 ? OK : E_RANGE;
        assert_int_equal(insn_decode(bytes, sizeof(bytes), CODE_64, &insn), want);
        if (want == OK)
            assert_int_equal(insn.length, prefixes + 2);
    }
    assert_int_equal(insn_decode(bytes, 14, CODE_64, &insn), E_TRUNC);
    assert_int_equal(insn_decode(bytes, 0, CODE_64, &insn), E_TRUNC);
}

// Forms outside the set, by name, so that a change of the set is a decision.
static void refusals(void **state)
{
    (void)state;
    static const struct {
        u8 bytes[6];
        int err;
    } cases[] = {
        {"\x8b\xc3",         E_UNSUPP}, // mov eax, ebx
        {"\xf0\x8b\x03",     E_FORMAT}, // lock mov
        {"\xf0\x39\x03",     E_FORMAT}, // lock cmp
        {"\xf0\x0f\xa3\x03", E_FORMAT}, // lock bt
        {"\xc6\x0b\x00",     E_FORMAT}, // C6 /1
        {"\xfe\x13",         E_FORMAT}, // FE /2
        {"\xff\x13",         E_UNSUPP}, // call [rbx]
        {"\xff\x3b",         E_FORMAT}, // FF /7
        {"\x0f\xba\x03\x01", E_FORMAT}, // 0F BA /0
        {"\x82\x03\x01",     E_FORMAT}, // not in 64-bit mode
        {"\x0f\x10\x03",     E_UNSUPP}, // movups
        {"\xf7\x23",         E_UNSUPP}, // mul dword [rbx]
        {"\x90",             E_UNSUPP},
    };
    struct insn insn;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (insn_decode(cases[i].bytes, sizeof(cases[i].bytes), CODE_64, &insn) != cases[i].err)
            fail_msg("case %zu", i);
}

static void enough_was_seen(void **state)
{
    (void)state;
    print_message("%llu decoded alike, %llu refused alike\n", (unsigned long long)decoded,
                  (unsigned long long)refused);
    assert_true(decoded > 1000000);
    assert_true(refused > 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(fifteen_bytes_and_no_more),
        cmocka_unit_test(every_one_byte_opcode),
        cmocka_unit_test(every_0f_opcode),
        cmocka_unit_test(every_0f38_opcode),
        cmocka_unit_test(every_modrm_and_sib),
        cmocka_unit_test(random_strings),
        cmocka_unit_test(enough_was_seen),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
