// SPDX-License-Identifier: MIT
// Ports F4H (the VM's end) and 80H (the POST code).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "devices/debug_exit.h"
#include "devices/post.h"
#include "tests/host/device_rig.h"

struct ended {
    unsigned times;
    u32 status;
};

static void on_exit_port(void *ctx, u32 status)
{
    struct ended *ended = ctx;
    ended->times++;
    ended->status = status;
}

static void writes_of_each_width_end_the_vm(void **state)
{
    (void)state;
    struct rig rig;
    struct debug_exit port;
    struct ended ended = {0};
    rig_init(&rig, 1000);
    debug_exit_init(&port, on_exit_port, &ended);
    assert_int_equal(debug_exit_attach(&port, &rig.bus), OK);

    static const struct {
        u16 port;
        u8 size;
        u32 value, status;
    } cases[] = {
        {0xf4, 1, 0x10,       0x21      },
        {0xf4, 1, 0,          1         },
        {0xf4, 1, 0xff,       0x1ff     },
        {0xf4, 2, 0x1234,     0x2469    },
        {0xf4, 4, 0x12345678, 0x2468acf1},
        {0xf4, 4, 0x80000000, 1         },
        {0xf5, 1, 3,          7         },
        {0xf6, 2, 0x8000,     0x10001   },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        rig_out(&rig, cases[i].port, cases[i].size, cases[i].value);
        assert_int_equal(ended.times, i + 1);
        assert_int_equal(ended.status, cases[i].status);
    }
    assert_int_equal(rig.bus.unclaimed[IO_PORT], 0);
}

static void reads_give_zero_and_end_nothing(void **state)
{
    (void)state;
    struct rig rig;
    struct debug_exit port;
    struct ended ended = {0};
    rig_init(&rig, 1000);
    debug_exit_init(&port, on_exit_port, &ended);
    assert_int_equal(debug_exit_attach(&port, &rig.bus), OK);
    assert_int_equal(rig_in(&rig, 0xf4, 1), 0);
    assert_int_equal(rig_in(&rig, 0xf4, 2), 0);
    assert_int_equal(rig_in(&rig, 0xf4, 4), 0);
    bus_reset(&rig.bus);
    assert_int_equal(ended.times, 0);
    // Past its four ports nobody answers.
    rig_out(&rig, 0xf6, 4, 1);
    rig_out(&rig, 0xf8, 1, 1);
    assert_int_equal(ended.times, 0);
    assert_int_equal(rig.bus.unclaimed[IO_PORT], 2);
}

static void post_code_reads_back(void **state)
{
    (void)state;
    struct rig rig;
    struct post post;
    rig_init(&rig, 1000);
    post_init(&post);
    assert_int_equal(post_attach(&post, &rig.bus), OK);
    assert_int_equal(inb(&rig, 0x80), 0);
    outb(&rig, 0x80, 0xa5);
    assert_int_equal(inb(&rig, 0x80), 0xa5);
    assert_int_equal(post.code, 0xa5);
    bus_reset(&rig.bus);
    assert_int_equal(inb(&rig, 0x80), 0);
    // A word does not fit the one port: it reaches nobody.
    rig_out(&rig, 0x80, 2, 0x1111);
    assert_int_equal(post.code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_of_each_width_end_the_vm),
        cmocka_unit_test(reads_give_zero_and_end_nothing),
        cmocka_unit_test(post_code_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
