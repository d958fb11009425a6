// SPDX-License-Identifier: MIT
// A guest that does anything at all to the clock chip, the power management block, the PCI bridge,
// the reset registers and the keyboard controller, while time passes. Nothing may leave its bounds,
// lines must say what the registers say, and time must go on.
#include "arch/x86_64/lib/check.h"
#include "devices/i8042.h"
#include "devices/pci.h"
#include "devices/pm.h"
#include "devices/reset.h"
#include "devices/rtc.h"
#include "tests/host/device_rig.h"

#define FOREVER (1ull << 62) // ticks: 48 years

struct machine {
    struct rig rig;
    struct pm pm;
    struct reset reset;
    struct pci pci;
    struct rtc rtc;
    struct i8042 kbc;
    struct rig_line sci, irq1, irq8;
    unsigned ends;
};

static void on_power_off(void *ctx)
{
    ((struct machine *)ctx)->ends++;
}

static void on_reset(void *ctx, const char *by)
{
    CHECK(by[0] != 0);
    ((struct machine *)ctx)->ends++;
}

static struct irq_pin pin(struct rig_line *line)
{
    return (struct irq_pin){.set = rig_line_set, .ctx = line};
}

static void machine_init(struct machine *m)
{
    *m = (struct machine){0};
    rig_init(&m->rig, 3000000000);
    pm_init(&m->pm, &(struct pm_config){.base = 0x600,
                                        .soft_off = 5,
                                        .clock = &m->rig.clock,
                                        .queue = &m->rig.queue,
                                        .sci = pin(&m->sci),
                                        .power_off = on_power_off,
                                        .ctx = m});
    reset_init(&m->reset, (struct reset_pin){on_reset, m});
    pci_init(&m->pci, &m->reset.dev);
    i8042_init(&m->kbc, (struct reset_pin){on_reset, m}, pin(&m->irq1));
    rtc_init(&m->rtc, &(struct rtc_config){.clock = &m->rig.clock,
                                           .queue = &m->rig.queue,
                                           .irq = pin(&m->irq8),
                                           .epoch = 1700000000});
    struct bus *bus = &m->rig.bus;
    CHECK(pm_attach(&m->pm, bus) == 0 && reset_attach(&m->reset, bus) == 0 &&
          pci_attach(&m->pci, bus) == 0 && i8042_attach(&m->kbc, bus) == 0 &&
          rtc_attach(&m->rtc, bus) == 0);
}

// A moment, or for ever: the deadlines are served once, however late.
static void pass(struct machine *m, u64 ticks)
{
    m->rig.now += ticks < FOREVER - m->rig.now ? ticks : FOREVER - m->rig.now;
    deadline_run(&m->rig.queue, m->rig.now);
    CHECK(deadline_next(&m->rig.queue) > m->rig.now);
}

static u16 port_of(u8 byte)
{
    static const u16 ports[] = {0x60, 0x64, 0x92, 0xcf9};
    if (byte < 64)
        return (u16)(0x70 + (byte & 1));
    if (byte < 128)
        return (u16)(0x600 + byte % 12);
    return byte < 192 ? (u16)(0xcf8 + byte % 8) : ports[byte % 4];
}

// Reading PM1_STS and PM1_EN changes nothing; register C of the clock chip would be cleared.
static void check_lines(struct machine *m)
{
    u64 events = rig_in(&m->rig, 0x600, 4);
    CHECK(m->sci.level == ((events & events >> 16 & 0x721) != 0));
    CHECK(m->irq8.level == ((m->rtc.memory[RTC_B] & m->rtc.memory[RTC_C] & 0x70) != 0));
    CHECK(m->irq1.level == m->kbc.line && m->sci.level == m->pm.line);
}

static void one_step(struct machine *m, const uint8_t *step)
{
    u16 port = port_of(step[1]);
    u8 size = (u8)(1u << step[0] / 8 % 3);
    u64 value = (u64)step[2] * 0x01010101u;
    unsigned ends = m->ends;
    switch (step[0] % 8) {
    case 0:
    case 1:
        CHECK(rig_in(&m->rig, port, size) <= 0xffffffff);
        CHECK(m->ends == ends); // reading ends nothing
        break;
    case 2:
        pass(m, (u64)step[1] << (step[2] % 54));
        break;
    case 3:
        pm_power_button(&m->pm);
        break;
    case 4: // a byte of the clock chip
        rig_out(&m->rig, 0x70, 2, (u64)step[2] << 8 | step[1]);
        break;
    case 5: // a register of some PCI function
        rig_out(&m->rig, 0xcf8, 4, 0x80000000u | (u32)step[1] << (step[2] % 24));
        break;
    default:
        rig_out(&m->rig, port, size, value & (size == 4 ? 0xffffffffu : (1u << size * 8) - 1));
        CHECK(m->ends <= ends + 4); // one a byte at most
    }
    if (step[0] == 0xff)
        bus_reset(&m->rig.bus);
    check_lines(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machine;
    machine_init(&machine);
    for (; size >= 3; data += 3, size -= 3)
        one_step(&machine, data);
    return 0;
}
