// SPDX-License-Identifier: MIT
// The real-time clock of a PC with its CMOS memory (Motorola MC146818 datasheet; the century at 32H
// and the memory sizes as BIOSes keep them). It has a battery: reset clears its interrupt enables
// and flags, not its time or memory.
//
// The divider chain counts 32.768 kHz from a tick of the clock, and all else follows from where it
// is: each second an update, the periodic flag at each multiple of the chosen rate's period.
// Nothing is served to keep time: registers are brought up to date when somebody looks, and the one
// deadline is the next event whose interrupt is enabled and not pending yet.
//
// An update takes no time. UIP is up for the RTC_UIP_MICROSECONDS before it, the time that the
// datasheet leaves software to finish reading; on the chip, the update follows and takes 2 ms more.
//
// Port 70H, which cannot be read, gives all ones.
//
// Not locked: the caller holds whatever serialises a VM's devices.
#pragma once

#include "devices/bus.h"
#include "devices/rtc_time.h"

#define RTC_PORT             0x70u
#define RTC_HZ               32768u
#define RTC_UIP_MICROSECONDS 244u

struct rtc_config {
    const struct clock *clock;    // at RTC_HZ or faster
    struct deadline_queue *queue; // with room for one deadline
    struct irq_pin irq;           // IRQ 8
    u64 epoch;                    // seconds from the beginning of 1970 (UTC) ...
    u64 epoch_ticks;              // ... at this tick of the clock, which is not in the future
};

struct rtc {
    struct device dev;
    struct rtc_config config;
    struct deadline event;
    u64 chain;       // ticks at which the divider chain was at 0; may lie before the clock's tick 0
    u64 updates;     // how many of the chain's seconds have been dealt with
    u64 periods;     // and how many periods of the periodic interrupt
    u8 index;        // what port 71H reaches
    bool nmi_masked; // port 70H bit 7, as written
    bool line;       // what irq was last set to
    u8 memory[RTC_BYTES];
};

// The time starts as the configuration says, in BCD and 24 hours, with the periodic rate at 1024 Hz
// and all interrupts disabled, as a BIOS leaves it.
void rtc_init(struct rtc *rtc, const struct rtc_config *config);

// Claims 70H-71H; bus_attach's errors.
int rtc_attach(struct rtc *rtc, struct bus *bus);

// Puts the memory's size where a BIOS does, with the checksum over 10H-2DH: where RAM below 4 GiB
// ends, and how much there is from there on, in bytes.
void rtc_set_memory_size(struct rtc *rtc, u64 low_end, u64 high);
