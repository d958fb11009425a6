// SPDX-License-Identifier: MIT
// Reading the host's clock chip, which the RTC model plays here: in each of its formats, at each
// phase of its second, disturbed, broken and absent.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "boot/wallclock.h"
#include "devices/rtc.h"
#include "tests/host/device_rig.h"

#define HZ    1000000u
#define EPOCH 1709164799ull // 28 February 2024, 23:59:59

// A port takes a microsecond.
static struct {
    struct rig rig;
    struct rtc rtc;
    unsigned accesses;
    unsigned delay_at; // the access before which a second passes; 0: none
    bool delay_always; // one passes before each look at the seconds
    u8 stuck;          // what reads give instead, if it is not 0
} host;

static void pass(u16 port, u8 index)
{
    host.rig.now++;
    host.accesses++;
    if (host.accesses == host.delay_at || (host.delay_always && port == 0x71 && index == 0))
        host.rig.now += HZ;
}

static u8 host_in(u16 port)
{
    pass(port, host.rtc.index);
    return host.stuck ? host.stuck : inb(&host.rig, port);
}

static void host_out(u16 port, u8 value)
{
    pass(port, value);
    outb(&host.rig, port, value);
}

static const struct port_io ports = {.in8 = host_in, .out8 = host_out};

// A chip whose second began `into` microseconds ago.
static void power_on(u8 format, u64 into)
{
    memset(&host, 0, sizeof(host));
    rig_init(&host.rig, HZ);
    host.rig.now = 5 * HZ + into;
    rtc_init(&host.rtc, &(struct rtc_config){.clock = &host.rig.clock,
                                             .queue = &host.rig.queue,
                                             .epoch = EPOCH - 5});
    assert_int_equal(rtc_attach(&host.rtc, &host.rig.bus), OK);
    host.rtc.memory[RTC_B] = format;
    rtc_time_set(host.rtc.memory, EPOCH);
    host.rtc.memory[RTC_CENTURY] = 0xee; // another firmware's
}

// What is read is the time at the tick that goes with it, to a second.
static void assert_right(struct wallclock wall)
{
    u64 since = (wall.ticks - 5 * HZ) / HZ;
    assert_true(wall.ticks <= host.rig.now);
    assert_in_range(wall.seconds + 1, EPOCH + since, EPOCH + since + 1);
    assert_true(host.rig.irq.calls == 0);
}

static void reads_each_format_at_each_phase(void **state)
{
    (void)state;
    static const u8 formats[] = {RTC_B_24H, RTC_B_24H | RTC_B_BINARY, 0, RTC_B_BINARY};
    for (u64 into = 0; into < HZ; into += into < HZ - 400 ? 9973 : 1) {
        power_on(formats[into % 4], into);
        assert_right(wallclock_read(&ports, &host.rig.clock));
        assert_in_range(host.accesses, 18, 600);
    }
}

// However long it is held up and wherever, the bytes are of one second.
static void bytes_of_two_seconds_are_never_mixed(void **state)
{
    (void)state;
    for (unsigned at = 1; at < 40; at++) {
        power_on(RTC_B_24H, 1000);
        host.delay_at = at;
        assert_right(wallclock_read(&ports, &host.rig.clock));
    }
}

static void gives_up_on_what_shows_no_time(void **state)
{
    (void)state;
    static const u8 stuck[] = {0xff, 0x80, 0x7f, 0x26};
    for (size_t i = 0; i < ARRAY_SIZE(stuck); i++) {
        power_on(RTC_B_24H, 0);
        host.stuck = stuck[i];
        struct wallclock wall = wallclock_read(&ports, &host.rig.clock);
        assert_int_equal(wall.seconds, 0);
        assert_int_equal(wall.ticks, 0);
        assert_in_range(host.accesses, 1, 20001);
    }
    power_on(RTC_B_24H, 0);
    host.delay_always = true; // it never shows the same second twice
    assert_int_equal(wallclock_read(&ports, &host.rig.clock).seconds, 0);
    assert_in_range(host.accesses, 18, 200);
    power_on(RTC_B_24H, 0);
    host.rtc.memory[RTC_MONTH] = 0; // the battery was empty
    assert_int_equal(wallclock_read(&ports, &host.rig.clock).seconds, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_each_format_at_each_phase),
        cmocka_unit_test(bytes_of_two_seconds_are_never_mixed),
        cmocka_unit_test(gives_up_on_what_shows_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
