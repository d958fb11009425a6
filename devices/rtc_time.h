// SPDX-License-Identifier: MIT
// The time of day, the date and the alarm as the MC146818 keeps them: bytes 0-9 of its memory and
// the century at 32H, in BCD or binary, hours by 12 or 24, as register B says. The functions take
// that memory; none looks at a clock.
//
// A field is changed only when the one below it carries into it, so what software wrote stays until
// then, valid or not; a value out of range then carries as if it had counted there. The calendar is
// the Gregorian one, in which the chip's own rule (each fourth year) is right from 1901 to 2099.
#pragma once

#include "arch/x86_64/lib/types.h"

#define RTC_BYTES 128u

enum rtc_register {
    RTC_SECONDS = 0x00,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_WEEKDAY, // 1 is Sunday
    RTC_DAY,
    RTC_MONTH,
    RTC_YEAR, // of the century
    RTC_A,
    RTC_B,
    RTC_C,
    RTC_D,
    RTC_CENTURY = 0x32,
};

// Register B.
enum {
    RTC_B_DST = 0x01, // accepted and without effect, as in chips of today
    RTC_B_24H = 0x02,
    RTC_B_BINARY = 0x04,
    RTC_B_SQUARE_WAVE = 0x08,
    RTC_B_UIE = 0x10, // interrupt enables: the flags' bits in register C
    RTC_B_AIE = 0x20,
    RTC_B_PIE = 0x40,
    RTC_B_SET = 0x80, // no updates
};

#define RTC_ALARM_ANY 0xc0u // an alarm byte from here on matches every value

// Sets time, date and weekday to so many seconds after the beginning of 1970.
void rtc_time_set(u8 *memory, u64 seconds);

// The opposite: false, and seconds as it was, if what the memory shows is no time from 1970 on.
bool rtc_time_get(const u8 *memory, u64 *seconds);

// Counts seconds on.
void rtc_time_advance(u8 *memory, u64 seconds);

// In how many seconds, 1 to 86,400, the time will next match the alarm; 0 if never.
u32 rtc_time_to_alarm(const u8 *memory);

// Days from 1 March of the year 0 (Gregorian, proleptic) to a date, and back. Month from 1, day
// from 1; a date before then is a large number. A year is below 2^32.
u64 rtc_days(u64 year, u32 month, u32 day);
void rtc_date(u64 days, u64 *year, u32 *month, u32 *day);
