// SPDX-License-Identifier: MIT
// The decoder and the emulator on whatever a guest may put at RIP: the first bytes give mode,
// registers and how memory behaves, the rest is the instruction.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/err.h"
#include "vmx/emulate.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct fuzz_guest {
    u64 seed;
    unsigned accesses;
};

static void expect(bool cond)
{
    if (!cond)
        abort();
}

static u64 next(struct fuzz_guest *g)
{
    g->seed = g->seed * 6364136223846793005u + 1442695040888963407u;
    return g->seed >> 13;
}

static void segment(void *ctx, enum vmcs_segment which, struct guest_segment *out)
{
    struct fuzz_guest *g = ctx;
    expect(which <= SEG_GS);
    *out = (struct guest_segment){
        .base = next(g) & 3 ? 0 : next(g),
        .limit = next(g) & 3 ? 0xffffffff : (u32)next(g),
        .ar = next(g) & 3 ? 0xc093 : (u32)next(g) & 0x1ffff,
    };
}

static int access(struct fuzz_guest *g, unsigned size, struct event *fault)
{
    expect(size == 1 || size == 2 || size == 4 || size == 8);
    g->accesses++;
    if (next(g) % 64)
        return OK;
    *fault = event_page_fault(0, 0);
    return E_FAULT;
}

static int mem_read(void *ctx, gva_t gva, unsigned size, unsigned how, u64 *value,
                    struct event *fault)
{
    (void)gva;
    expect((how & ~(unsigned)ACCESS_WRITE) == 0);
    *value = low_bytes(next(ctx), size);
    return access(ctx, size, fault);
}

static int mem_write(void *ctx, gva_t gva, unsigned size, u64 value, struct event *fault)
{
    (void)gva;
    expect(low_bytes(value, size) == value);
    return access(ctx, size, fault);
}

static void run(const struct insn *insn, enum code_size size, struct fuzz_guest *g)
{
    u64 gpr[16];
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = next(g) >> (next(g) & 31);
    struct emulate_cpu cpu = {
        .mode = size == CODE_64 ? GUEST_64BIT
                : next(g) & 1   ? GUEST_PROTECTED
                                : GUEST_REAL,
        .gpr = gpr,
        .rip = next(g),
        .rflags = next(g),
        .ctx = g,
        .segment = segment,
        .read = mem_read,
        .write = mem_write,
    };
    u64 rip = cpu.rip, system_flags = cpu.rflags & ~0x8d5ull;
    struct event fault;
    int err = emulate(&cpu, insn, &fault);
    expect(err == OK || err == EMULATE_MORE || err == E_FAULT);
    expect(fault.valid == (err == E_FAULT));
    expect(cpu.rip == rip && (cpu.rflags & ~0x8d5ull) == system_flags);
    expect(g->accesses <= 2 * EMULATE_ITERATIONS);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const enum code_size sizes[] = {CODE_16, CODE_32, CODE_64};
    struct fuzz_guest g = {0};
    if (size < 4)
        return 0;
    memcpy(&g.seed, data, 3);
    enum code_size code = sizes[data[3] % 3];
    struct insn insn;
    int err = insn_decode(data + 4, size - 4, code, &insn);
    if (err < 0) {
        expect(err == E_TRUNC || err == E_FORMAT || err == E_RANGE || err == E_UNSUPP);
        expect(err != E_TRUNC || size - 4 < 15);
        return 0;
    }
    expect(insn.length >= 1 && insn.length <= 15 && insn.length <= size - 4);
    struct insn again;
    expect(insn_decode(data + 4, insn.length, code, &again) == OK);
    expect(insn_decode(data + 4, insn.length - 1u, code, &again) == E_TRUNC);
    run(&insn, code, &g);
    return 0;
}
