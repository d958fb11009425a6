// SPDX-License-Identifier: MIT
#include "guest/memory_map.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "guest/le.h"
#include "guest/pc.h"

static void add_ram(struct pc_memory *m, u64 from, u64 to)
{
    if (to > from)
        m->ram[m->nram++] = (struct pc_range){GPA(from), to - from};
}

static void add_map(struct pc_memory *m, u64 from, u64 to, enum e820_type type)
{
    if (to > from)
        m->map[m->nmap++] = (struct e820_entry){from, to - from, type};
}

INIT int pc_memory_init(struct pc_memory *m, u64 size)
{
    if (size < PC_MEMORY_MIN || size > PC_MEMORY_MAX || !is_aligned(size, PAGE_SIZE))
        return E_INVAL;
    *m = (struct pc_memory){
        .low_end = size < PC_LOW_RAM_END ? size : PC_LOW_RAM_END,
        .high_end = PC_ABOVE_4G,
    };
    m->high_end += size - m->low_end;

    add_ram(m, 0, PC_VGA);
    // The map below does not offer the place of ROMs. It is RAM nevertheless: some kernels search
    // it word by word, and each would be a VM exit.
    add_ram(m, PC_ROMS, m->low_end);
    add_ram(m, PC_ABOVE_4G, m->high_end);

    add_map(m, 0, PC_EBDA, E820_RAM);
    add_map(m, PC_EBDA, PC_VGA, E820_RESERVED);
    add_map(m, PC_BIOS, PC_HIGH_RAM, E820_RESERVED);
    add_map(m, PC_HIGH_RAM, m->low_end, E820_RAM);
    add_map(m, PC_IOAPIC, PC_IOAPIC + PAGE_SIZE, E820_RESERVED);
    add_map(m, PC_HPET, PC_HPET + PAGE_SIZE, E820_RESERVED);
    add_map(m, PC_LAPIC, PC_LAPIC + PAGE_SIZE, E820_RESERVED);
    add_map(m, PC_ABOVE_4G, m->high_end, E820_RAM);
    return OK;
}

#define BDA      0x400u
#define BDA_COM1 0x00u // word: port of the first serial line
#define BDA_EBDA 0x0eu // word: segment of the extended BIOS data area
#define BDA_BASE 0x13u // word: KiB of memory from 0 on
#define BDA_SIZE 0x100u

int pc_write_bios_data(struct vm *vm)
{
    u8 *bda = vm_ptr(vm, GPA(BDA), BDA_SIZE);
    if (!bda)
        return E_RANGE;
    put_le16(bda + BDA_COM1, UART_COM1);
    put_le16(bda + BDA_EBDA, (u16)(PC_EBDA >> 4));
    put_le16(bda + BDA_BASE, (u16)(PC_EBDA >> 10));
    return OK;
}
