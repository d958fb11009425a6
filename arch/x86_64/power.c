// SPDX-License-Identifier: MIT
#include "arch/x86_64/power.h"

#include "arch/x86_64/insn.h"

#define BOCHS_PORT      0x8900
#define QEMU_EXIT_PORT  0xf4
#define RESET_CONTROL   0xcf9 // PCI chipsets: bit 1 hard reset, bit 2 on its rising edge
#define KBC_COMMAND     0x64
#define KBC_BUSY        0x02
#define KBC_PULSE_RESET 0xfe
#define SETTLE_POLLS    100000u // reads of a port, about a microsecond each

static struct {
    struct reset_register reg;
    volatile u8 *memory; // of reg, if it lies there
    bool have_reg;
} power;

INIT void power_set_reset(const struct reset_register *reg, volatile u8 *memory)
{
    power.reg = *reg;
    power.memory = memory;
    power.have_reg = reg->space == RESET_PORT || power.memory;
}

// No clock is needed, nor trusted, at the end.
static void settle(void)
{
    for (unsigned i = 0; i < SETTLE_POLLS; i++)
        inb(KBC_COMMAND);
}

static void reset_by_fadt(void)
{
    if (!power.have_reg)
        return;
    if (power.memory)
        *power.memory = power.reg.value;
    else
        outb((u16)power.reg.address, power.reg.value);
    settle();
}

static void reset_by_chipset(void)
{
    outb(RESET_CONTROL, 0x02);
    outb(RESET_CONTROL, 0x06);
    settle();
}

static void reset_by_keyboard(void)
{
    for (unsigned i = 0; i < SETTLE_POLLS && (inb(KBC_COMMAND) & KBC_BUSY); i++)
        ;
    outb(KBC_COMMAND, KBC_PULSE_RESET);
    settle();
}

NORETURN static void triple_fault(void)
{
    struct table_register nothing = {0, 0};
    lidt(&nothing);
    ud2();
}

void emulator_exit(int status)
{
    const char *word = status == 0 ? "D" : "Shutdown";
    for (; *word; word++)
        outb(BOCHS_PORT, (u8)*word);
    outl(QEMU_EXIT_PORT, (u32)status);
}

NORETURN void machine_end(enum end_how how)
{
    cli();
    if (how == END_RESET) {
        reset_by_fadt();
        reset_by_chipset();
        reset_by_keyboard();
        triple_fault();
    }
    for (;;)
        hlt();
}
