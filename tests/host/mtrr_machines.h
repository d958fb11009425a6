// SPDX-License-Identifier: MIT
// MTRRs of machines, and an independent reading of the rules for them, one page at a time.
#pragma once

#include <string.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/regs/msr.h"
#include "ept/mtrr.h"

#define E_BIT    0x800ull
#define FE_BIT   0x400ull
#define SIZE_64G (64 * SIZE_1G)
#define SIZE_1T  (1024 * SIZE_1G)

// Registers as a machine shows them. The pairs are base and mask with their low bits. Where there
// is a project and a number, they are what that issue of its tracker has.
struct machine {
    const char *name;
    unsigned phys_bits;
    u64 def_type;
    u64 fixed[11]; // used with FE
    u64 pairs[40][2];
};

static const struct machine machines[] = {
  // Bochs and QEMU with SeaBIOS, 3 GiB below the hole: default WB, the hole UC.
    {.name = "hole",
     .phys_bits = 40,
     .def_type = 0xc06,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505},
     .pairs = {{0xc0000000, 0xffc0000800}}},
 // A desktop with default UC: 2 GiB WB, its top 16 MiB UC, 4 to 8 GiB WB.
    {.name = "default UC",
     .phys_bits = 36,
     .def_type = 0xc00,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0x0000000000000000, 0x0606060606060606,
               0x0505050505050505, 0x0606060605050505, 0, 0, 0x0606060606060606, 0x0606060606060606,
               0x0606060606060606},
     .pairs = {{0x000000006, 0xf80000800}, {0x07f000000, 0xfff000800}, {0x100000006, 0xf00000800}}},
 // A laptop with 39 bits: WB by default, overlapping UC ranges in the hole, a WC framebuffer.
    {.name = "overlapping UC",
     .phys_bits = 39,
     .def_type = 0xc06,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0, 0, 0, 0, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505, 0x0505050505050505},
     .pairs = {{0x80000000, 0x7f80000800},
               {0x7c000000, 0x7ffc000800},
               {0x7b000000, 0x7fff000800},
               {0xf0000000, 0x7ff0000800},
               {0x4000000001, 0x7ff0000800}}},
 // A server with many ranges, memory above 4 GiB with UC device memory at the top.
    {.name = "server",
     .phys_bits = 46,
     .def_type = 0xc06,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505},
     .pairs = {{0x80000000, 0x3fff80000800},
               {0x380000000000, 0x3f8000000800},
               {0x7ff00004, 0x3ffffff00800},
               {0x7fe00004, 0x3ffffff00800},
               {0x100000005, 0x3ffff0000800},
               {0x200000001, 0x3ffff0000000}, // not valid
               {0x300000004, 0x3ffff0000800},
               {0x300000006, 0x3ffff8000800},
               {0x400000006, 0x3ffc00000800},
               {0x440000000, 0x3fffc0000800}}},
 // Fixed ranges of four types, none of the rest.
    {.name = "fixed only",
     .phys_bits = 36,
     .def_type = 0xc00,
     .fixed = {0x0006050401060600, 0x0001040506000104, 0x0605040100060504, 0x0102030405060700,
               0x0600060006000600, 0, 0x0404040404040404, 1, 4, 5, 6}                                                          },
 // MTRRs off: everything is UC whatever else is written there.
    {.name = "disabled",
     .phys_bits = 39,
     .def_type = 0x406,
     .fixed = {0x0606060606060606},
     .pairs = {{0x000000006, 0x7f80000800}}},
 // FE clear: the variable ranges count below 1 MiB too.
    {.name = "fixed off",
     .phys_bits = 39,
     .def_type = 0x806,
     .fixed = {0},
     .pairs = {{0x000000005, 0x7ffff80800}, {0x000c0004, 0x7fffff0800}}},
 // A mask written for 36 bits on a CPU of 39: the range repeats every 64 GiB.
    {.name = "short mask",
     .phys_bits = 39,
     .def_type = 0x806,
     .pairs = {{0xc0000000, 0x0fc0000800}}                                                                                        },
 // Masks with gaps, as the manual allows.
    {.name = "gaps",
     .phys_bits = 36,
     .def_type = 0x806,
     .pairs = {{0x000000004, 0xf55555000 | E_BIT},
               {0x010000000, 0xf90000800},
               {0x200000005, 0xf00400800}}                                                                                   },
 // A desktop with 16.5 GiB, its memory put together from powers of two.
    {.name = "16.5 GiB (zfsonlinux/mountall#7)",
     .phys_bits = 36,
     .def_type = 0xc00,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0x0505050505050505, 0x0505050505050505,
               0x0000000005050505, 0, 0, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505},
     .pairs = {{0x000000006, 0xc00000800},
               {0x400000006, 0xff0000800},
               {0x410000006, 0xff8000800},
               {0x418000006, 0xffc000800},
               {0x41c000006, 0xffe000800},
               {0x41e000006, 0xfff000800},
               {0x0e0000000, 0xfe0000800}}},
 // A desktop with 12 GiB, all but two of its ten pairs in use.
    {.name = "12 GiB (OpenSSD-OpenChannelSSD#2)",
     .phys_bits = 36,
     .def_type = 0xc00,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0x0505050505050505, 0x0505050505050505, 0,
               0, 0x0505050505050505, 0x0505050505050505, 0x0505050505050505, 0x0505050505050505},
     .pairs = {{0x000000006, 0xe00000800},
               {0x200000006, 0xf00000800},
               {0x300000006, 0xff0000800},
               {0x310000006, 0xff8000800},
               {0x318000006, 0xffc000800},
               {0x31c000006, 0xffe000800},
               {0x31e000006, 0xfff000800},
               {0x0e0000000, 0xfe0000800}}},
 // A laptop, write-back by default; the last pair makes the upper half of its space uncached.
    {.name = "39 bits, half of them uncached (linux-surface#398)",
     .phys_bits = 39,
     .def_type = 0xc06,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505, 0x0505050505050505, 0x0505050505050505,
               0x0505050505050505, 0x0505050505050505},
     .pairs = {{0x00c0000000, 0x7fc0000800},
               {0x00a0000000, 0x7fe0000800},
               {0x0098000000, 0x7ff8000800},
               {0x0094000000, 0x7ffc000800},
               {0x0092000000, 0x7ffe000800},
               {0x0091000000, 0x7fff000800},
               {0x4000000000, 0x4000000800}}},
 // coreboot, with the framebuffer write-combining. (The log ends before the sixth pair.)
    {.name = "coreboot with a framebuffer (Dasharo/coreboot#402)",
     .phys_bits = 39,
     .def_type = 0xc00,
     .fixed = {0x0606060606060606, 0x0606060606060606, 0, 0x0606060606060606, 0x0606060606060606,
               0x0606060606060606, 0x0606060606060606, 0x0606060606060606, 0x0606060606060606,
               0x0606060606060606, 0x0606060606060606},
     .pairs = {{0x0000000006, 0x7f80000800},
               {0x007b000000, 0x7fff000800},
               {0x007c000000, 0x7ffc000800},
               {0x0080000001, 0x7ff0000800},
               {0x0100000006, 0x7f00000800}}},
 // All memory, by a mask of nothing.
    {.name = "all of it",                                                                             .phys_bits = 36,                                               .def_type = 0x800,                                                                                  .pairs = {{0x6, 0x800}}                                                           },
};

static inline struct mtrr_state decode(const struct machine *machine)
{
    struct mtrr_msrs msrs = {.cap = MTRRCAP_FIX | 40, .def_type = machine->def_type};
    memcpy(msrs.fixed, machine->fixed, sizeof(msrs.fixed));
    for (unsigned i = 0; i < 40; i++) {
        msrs.base[i] = machine->pairs[i][0];
        msrs.mask[i] = machine->pairs[i][1];
    }
    struct mtrr_state state;
    mtrr_decode(&msrs, machine->phys_bits, &state);
    return state;
}

// ---- an independent reading of the rules, one page at a time -----------------------------------

static inline unsigned oracle_fixed(const struct machine *machine, u64 addr)
{
    u64 at = 0;
    for (unsigned i = 0;; i++) {
        u64 size = i < 8 ? 0x10000 : i < 24 ? 0x4000 : 0x1000;
        if (addr < at + size)
            return (u8)(machine->fixed[i / 8] >> (i % 8 * 8));
        at += size;
    }
}

static inline unsigned mtrr_oracle(const struct machine *machine, u64 addr, bool *conflict)
{
    bool seen[8] = {false};
    unsigned kinds = 0;
    *conflict = false;
    if (!(machine->def_type & E_BIT))
        return MEM_UC;
    if ((machine->def_type & FE_BIT) && addr < 0x100000) {
        unsigned type = oracle_fixed(machine, addr);
        return type == 2 || type == 3 || type > 6 ? MEM_UC : type;
    }
    for (unsigned i = 0; i < 40; i++) {
        u64 mask = machine->pairs[i][1];
        if (!(mask & E_BIT))
            continue;
        mask &= (1ull << machine->phys_bits) - 0x1000;
        if ((addr & mask) == (machine->pairs[i][0] & mask)) {
            kinds += !seen[machine->pairs[i][0] & 7];
            seen[machine->pairs[i][0] & 7] = true;
        }
    }
    for (unsigned type = 0; kinds == 1 && type < 8; type++) {
        if (seen[type])
            return type;
    }
    if (kinds == 0)
        return machine->def_type & 0xff;
    if (kinds == 2 && seen[MEM_WT] && seen[MEM_WB])
        return MEM_WT;
    *conflict = !seen[MEM_UC];
    return MEM_UC;
}
