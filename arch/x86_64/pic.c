// SPDX-License-Identifier: MIT
#include "arch/x86_64/pic.h"

#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/traps.h"

#define PIC_MASTER 0x20 // command; the next port is data
#define PIC_SLAVE  0xa0
#define ICW1_INIT  0x11 // edge-triggered, cascaded, with ICW4
#define ICW4_8086  0x01
#define CASCADE    2 // the slave is on the master's line 2

#define IOAPIC_SELECT      0x00
#define IOAPIC_WINDOW      0x10
#define IOAPIC_VERSION     0x01
#define IOAPIC_REDIRECTION 0x10 // two registers an entry
#define IOAPIC_MAX_ENTRIES 240u
#define IOAPIC_MASKED      BIT32(16)

void pic_silence(void)
{
    outb(PIC_MASTER, ICW1_INIT);
    outb(PIC_SLAVE, ICW1_INIT);
    outb(PIC_MASTER + 1, PIC_VECTOR_BASE);
    outb(PIC_SLAVE + 1, PIC_VECTOR_BASE + 8);
    outb(PIC_MASTER + 1, 1u << CASCADE);
    outb(PIC_SLAVE + 1, CASCADE);
    outb(PIC_MASTER + 1, ICW4_8086);
    outb(PIC_SLAVE + 1, ICW4_8086);
    outb(PIC_MASTER + 1, 0xff);
    outb(PIC_SLAVE + 1, 0xff);
    for (unsigned line = 0; line < 16; line++)
        trap_set_handler((u8)(PIC_VECTOR_BASE + line), trap_ignore);
}

static u32 ioapic_read(volatile u8 *registers, u32 index)
{
    *(volatile u32 *)(registers + IOAPIC_SELECT) = index;
    return *(volatile u32 *)(registers + IOAPIC_WINDOW);
}

static void ioapic_write(volatile u8 *registers, u32 index, u32 value)
{
    *(volatile u32 *)(registers + IOAPIC_SELECT) = index;
    *(volatile u32 *)(registers + IOAPIC_WINDOW) = value;
}

// 0 if nothing answers there.
static u32 ioapic_entries(volatile u8 *registers)
{
    u32 entries = (ioapic_read(registers, IOAPIC_VERSION) >> 16 & 0xff) + 1;
    return entries > IOAPIC_MAX_ENTRIES ? 0 : entries;
}

int ioapic_silence(hpa_t base)
{
    volatile u8 *registers = mmio_map(base, PAGE_SIZE, MEM_UC);
    if (!registers)
        return E_NOMEM;
    u32 entries = ioapic_entries(registers);
    if (!entries) {
        log_warn("ioapic: nothing at 0x%llx", (unsigned long long)base.raw);
        return E_NOENT;
    }
    // Masked and edge-triggered: that also ends a level interrupt firmware left unacknowledged.
    for (u32 i = 0; i < entries; i++)
        ioapic_write(registers, IOAPIC_REDIRECTION + 2 * i, IOAPIC_MASKED);
    return OK;
}

int ioapic_route(hpa_t base, u32 pin, u64 entry)
{
    volatile u8 *registers = mmio_map(base, PAGE_SIZE, MEM_UC);
    if (!registers)
        return E_NOMEM;
    if (pin >= ioapic_entries(registers)) {
        log_warn("ioapic: 0x%llx has no pin %u", (unsigned long long)base.raw, pin);
        return E_RANGE;
    }
    // The half with the mask last: until then the pin is silent, or sends as before.
    ioapic_write(registers, IOAPIC_REDIRECTION + 2 * pin + 1, (u32)(entry >> 32));
    ioapic_write(registers, IOAPIC_REDIRECTION + 2 * pin, (u32)entry);
    return OK;
}
