// SPDX-License-Identifier: MIT
#include "boot/wallclock.h"

#include "arch/x86_64/lib/log.h"
#include "devices/rtc.h"

enum {
    CENTURY = 20,
    CENTURY_BCD = 0x20,
    A_UIP = 0x80,
    UIP_READS = 10000, // a port takes at least half a microsecond, an update 2.2 milliseconds
    TRIES = 3,
};

static u8 read(const struct port_io *ports, u8 index)
{
    ports->out8(RTC_PORT, index);
    return ports->in8(RTC_PORT + 1);
}

static bool wait_for_update(const struct port_io *ports)
{
    for (unsigned i = 0; i < UIP_READS; i++)
        if (!(read(ports, RTC_A) & A_UIP))
            return true;
    return false;
}

// The time's bytes, all of the same second. False if the chip never rests: it is not there.
static bool read_time(const struct port_io *ports, u8 *memory)
{
    static const u8 fields[] = {RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY,
                                RTC_MONTH,   RTC_YEAR,    RTC_B};

    for (unsigned try = 0; try < TRIES; try++) {
        if (!wait_for_update(ports))
            return false;
        for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
            memory[fields[i]] = read(ports, fields[i]);
        // A system management interrupt may have taken long in between.
        if (read(ports, RTC_SECONDS) == memory[RTC_SECONDS])
            return true;
    }
    return false;
}

static void say(u64 seconds)
{
    u8 bcd[RTC_BYTES] = {[RTC_B] = RTC_B_24H};
    rtc_time_set(bcd, seconds);
    log_info("time: %02x%02x-%02x-%02x %02x:%02x:%02x by the real-time clock", bcd[RTC_CENTURY],
             bcd[RTC_YEAR], bcd[RTC_MONTH], bcd[RTC_DAY], bcd[RTC_HOURS], bcd[RTC_MINUTES],
             bcd[RTC_SECONDS]);
}

struct wallclock wallclock_read(const struct port_io *ports, const struct clock *clock)
{
    u8 memory[RTC_BYTES] = {0};
    struct wallclock wall = {0};

    if (read_time(ports, memory)) {
        memory[RTC_CENTURY] = memory[RTC_B] & RTC_B_BINARY ? CENTURY : CENTURY_BCD;
        if (rtc_time_get(memory, &wall.seconds))
            wall.ticks = clock_now(clock);
    }
    if (wall.seconds)
        say(wall.seconds);
    else
        log_warn("time: the real-time clock shows none: VMs start at the beginning of 1970");
    return wall;
}
