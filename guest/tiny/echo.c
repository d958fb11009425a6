// SPDX-License-Identifier: MIT
// A guest that says back what it is told: the boot tests' other side of a terminal. Each byte that
// comes by COM1 is echoed by the interrupt's handler. After each line the program is deaf, with
// interrupts off, for longer than a UART's FIFO lasts. Ctrl-D ends it.
#include "guest/tiny/rt.h"

#define PIC1     0x20
#define PIC2     0xa0
#define IRQ_BASE 0x20
#define COM1     0x3f8
#define COM1_IRQ 4

#define CTRL_D  4
#define DEAF_MS 3u

void guest_main(const struct guest_info *info);

static volatile u32 received, lines, sum;
static volatile bool ended;

// One for each byte and its place, so that two that changed places are seen.
static void note(u8 byte)
{
    received++;
    sum = (sum << 1 | sum >> 31) ^ byte;
    lines += byte == '\n';
    ended |= byte == CTRL_D;
}

static void on_uart(struct rt_frame *frame)
{
    (void)frame;
    while (inb(COM1 + 5) & 1) {
        u8 byte = inb(COM1);
        note(byte);
        if (byte != CTRL_D)
            rt_putc((char)byte);
    }
    outb(PIC1, 0x20);
}

static void set_up(void)
{
    static const struct {
        u16 port;
        u8 value;
    } words[] = {
        {PIC1,     0x11                  },
        {PIC1 + 1, IRQ_BASE              },
        {PIC1 + 1, 4                     },
        {PIC1 + 1, 1                     },
        {PIC1 + 1, (u8) ~(1u << COM1_IRQ)},
        {PIC2 + 1, 0xff                  },
        {COM1 + 3, 0x03                  }, // 8N1
        {COM1 + 2, 0xc7                  }, // FIFO, interrupt at 14 bytes
        {COM1 + 4, 0x0b                  }, // DTR, RTS, interrupt let out
        {COM1 + 1, 0x01                  }, // received data
    };
    rt_set_handler(IRQ_BASE + COM1_IRQ, on_uart);
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        outb(words[i].port, words[i].value);
}

static void be_deaf(void)
{
    u64 end = rdtsc() + rt_div(rt_info->tsc_hz, 1000 / DEAF_MS);
    while (rdtsc() < end)
        ;
}

void guest_main(const struct guest_info *info)
{
    u32 seen = 0;

    rt_init(info);
    set_up();
    rt_print("echo: ready\n");
    while (!ended) {
        sti_hlt_cli();
        if (lines != seen)
            be_deaf();
        seen = lines;
    }
    rt_print("echo: ");
    rt_print_u64(received);
    rt_print(" bytes, sum ");
    rt_print_hex(sum, 8);
    rt_print("\n");
    rt_exit(0);
}
