// SPDX-License-Identifier: MIT
// A guest that does anything at all to the interrupt controllers, the timer and the serial port,
// while time passes and input arrives. Nothing may leave its bounds, and time must go on.
#include "arch/x86_64/lib/check.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/uart.h"
#include "tests/host/device_rig.h"

struct machine {
    struct rig rig;
    struct pic pic;
    struct pit pit;
    struct uart uart;
};

static void machine_init(struct machine *m)
{
    rig_init(&m->rig, 3000000000);
    pic_init(&m->pic, rig_pin(&m->rig));
    pit_init(&m->pit, &m->rig.clock, &m->rig.queue, (struct irq_pin){pic_set_irq, &m->pic, 0});
    uart_init(&m->uart, &(struct uart_config){
                            .name = "com1",
                            .port = UART_COM1,
                            .clock = &m->rig.clock,
                            .queue = &m->rig.queue,
                            .irq = {pic_set_irq, &m->pic, 4}
    });
    CHECK(pic_attach(&m->pic, &m->rig.bus) == 0 && pit_attach(&m->pit, &m->rig.bus) == 0 &&
          uart_attach(&m->uart, &m->rig.bus) == 0);
}

static void one_step(struct machine *m, const uint8_t *step)
{
    static const u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x40, 0x41, 0x42, 0x43, 0x61};
    u32 what = step[0] >> 5;
    u16 port = step[0] % 18u < 10 ? ports[step[0] % 18u] : (u16)(UART_COM1 + step[0] % 8u);
    switch (what) {
    case 0:
        rig_in(&m->rig, port, (u8)(1u << step[1] % 3));
        break;
    case 1:
        // A moment, or for ever: the deadlines are served once, however late.
        m->rig.now += (u64)step[1] << (step[2] % 48);
        deadline_run(&m->rig.queue, m->rig.now);
        CHECK(deadline_next(&m->rig.queue) > m->rig.now);
        break;
    case 2:
        CHECK(uart_receive(&m->uart, (const u8 *)"0123456789abcdef", step[1] % 17) <= 16);
        break;
    case 3:
        pic_set_irq(&m->pic, step[1], step[2] & 1);
        break;
    case 4:
        pic_ack(&m->pic);
        break;
    default:
        rig_out(&m->rig, port, (u8)(1u << step[0] / 18 % 3), (u32)step[1] | (u32)step[2] << 8);
    }
    CHECK(pic_output(&m->pic) == m->rig.irq.level);
    CHECK(m->uart.count <= UART_FIFO && uart_room(&m->uart) <= UART_FIFO);
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
