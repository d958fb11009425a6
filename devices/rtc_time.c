// SPDX-License-Identifier: MIT
#include "devices/rtc_time.h"

#define DAY_SECONDS 86400u
#define HOURS_PM    0x80u

// ---- the calendar -------------------------------------------------------------------------------
// Years are counted from March, so that the leap day comes last and the months before it have the
// same lengths every year: 31 30 31 30 31, twice, and the rest, which is 153 days in five months.

#define DAYS_1970 719468u // from 1 March of the year 0 to 1 January 1970

static u64 days_before_year(u64 year)
{
    return year * 365 + year / 4 - year / 100 + year / 400;
}

u64 rtc_days(u64 year, u32 month, u32 day)
{
    // January and February belong to the year before, which the year 0 has not.
    u64 from_march = month > 2 ? month - 3 : month + 9;
    u64 march_year = month > 2 ? year + 400 : year + 399;
    return days_before_year(march_year) - days_before_year(400) + (from_march * 153 + 2) / 5 + day -
           1;
}

void rtc_date(u64 days, u64 *year, u32 *month, u32 *day)
{
    u64 march_year = days / 146097 * 400 + days % 146097 * 400 / 146097;
    // That can be one too low, for the leap days are not spread evenly over 400 years.
    if (days_before_year(march_year + 1) <= days)
        march_year++;
    u32 day_of_year = (u32)(days - days_before_year(march_year));
    u32 from_march = (day_of_year * 5 + 2) / 153;
    *day = day_of_year - (from_march * 153 + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = march_year + (*month <= 2);
}

static u32 month_length(u64 year, u32 month)
{
    u64 next = month == 12 ? rtc_days(year + 1, 1, 1) : rtc_days(year, month + 1, 1);
    return (u32)(next - rtc_days(year, month, 1));
}

// ---- how a number is written --------------------------------------------------------------------

static u32 decode(const u8 *memory, u8 byte)
{
    return memory[RTC_B] & RTC_B_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
}

static u8 encode(const u8 *memory, u32 value)
{
    return (u8)(memory[RTC_B] & RTC_B_BINARY ? value : value / 10 << 4 | value % 10);
}

static u32 decode_hour(const u8 *memory, u8 byte)
{
    if (memory[RTC_B] & RTC_B_24H)
        return decode(memory, byte);
    return decode(memory, byte & 0x7f) % 12 + (byte & HOURS_PM ? 12 : 0);
}

static u8 encode_hour(const u8 *memory, u32 hour)
{
    if (memory[RTC_B] & RTC_B_24H)
        return encode(memory, hour);
    u8 of_12 = encode(memory, hour % 12 ? hour % 12 : 12);
    return of_12 | (hour >= 12 ? HOURS_PM : 0);
}

// ---- counting -----------------------------------------------------------------------------------

static void put_date(u8 *memory, u64 days)
{
    u64 year;
    u32 month, day;
    rtc_date(days, &year, &month, &day);
    memory[RTC_DAY] = encode(memory, day);
    memory[RTC_MONTH] = encode(memory, month);
    memory[RTC_YEAR] = encode(memory, (u32)(year % 100));
    memory[RTC_CENTURY] = encode(memory, (u32)(year / 100 % 100));
}

static u32 within(u32 value, u32 low, u32 high)
{
    return value < low ? low : value > high ? high : value;
}

static void advance_days(u8 *memory, u64 days)
{
    u32 year = decode(memory, memory[RTC_CENTURY]) * 100 + decode(memory, memory[RTC_YEAR]);
    u32 month = within(decode(memory, memory[RTC_MONTH]), 1, 12);
    u32 day = within(decode(memory, memory[RTC_DAY]), 1, month_length(year, month));
    u32 weekday = decode(memory, memory[RTC_WEEKDAY]);
    memory[RTC_WEEKDAY] = (u8)((weekday + 6 + days) % 7 + 1);
    put_date(memory, rtc_days(year, month, day) + days);
}

void rtc_time_advance(u8 *memory, u64 seconds)
{
    u64 carry = decode(memory, memory[RTC_SECONDS]) + seconds;
    memory[RTC_SECONDS] = encode(memory, (u32)(carry % 60));
    if ((carry /= 60) == 0)
        return;
    carry += decode(memory, memory[RTC_MINUTES]);
    memory[RTC_MINUTES] = encode(memory, (u32)(carry % 60));
    if ((carry /= 60) == 0)
        return;
    carry += decode_hour(memory, memory[RTC_HOURS]);
    memory[RTC_HOURS] = encode_hour(memory, (u32)(carry % 24));
    if ((carry /= 24) != 0)
        advance_days(memory, carry);
}

void rtc_time_set(u8 *memory, u64 seconds)
{
    u64 days = seconds / DAY_SECONDS;
    u32 second = (u32)(seconds % DAY_SECONDS);
    memory[RTC_SECONDS] = encode(memory, second % 60);
    memory[RTC_MINUTES] = encode(memory, second / 60 % 60);
    memory[RTC_HOURS] = encode_hour(memory, second / 3600);
    memory[RTC_WEEKDAY] = (u8)((days + 4) % 7 + 1); // 1 January 1970 was a Thursday
    put_date(memory, DAYS_1970 + days);
}

bool rtc_time_get(const u8 *memory, u64 *seconds)
{
    u32 of_century = decode(memory, memory[RTC_YEAR]);
    u32 year = decode(memory, memory[RTC_CENTURY]) * 100 + of_century;
    u32 month = decode(memory, memory[RTC_MONTH]), day = decode(memory, memory[RTC_DAY]);
    u32 hour = decode_hour(memory, memory[RTC_HOURS]);
    u32 minute = decode(memory, memory[RTC_MINUTES]), second = decode(memory, memory[RTC_SECONDS]);
    if (year < 1970 || of_century > 99 || month < 1 || month > 12 || day < 1 ||
        day > month_length(year, month) || hour > 23 || minute > 59 || second > 59)
        return false;
    u64 days = rtc_days(year, month, day) - DAYS_1970;
    *seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    return true;
}

// ---- the alarm ----------------------------------------------------------------------------------

enum { ANY = 0x100, NEVER }; // beside the values of a field

static u32 wanted(const u8 *memory, enum rtc_register alarm, u32 modulus)
{
    u8 byte = memory[alarm];
    if (byte >= RTC_ALARM_ANY)
        return ANY;
    bool hour = alarm == RTC_HOURS_ALARM;
    u32 value = hour ? decode_hour(memory, byte) : decode(memory, byte);
    // The chip compares bytes, so one that the time never shows never matches.
    u8 shown = hour ? encode_hour(memory, value) : encode(memory, value);
    return value < modulus && shown == byte ? value : NEVER;
}

// The first second from `at` on at which a field, which is so many seconds long, has this value: at
// itself, or when the field next begins to have it.
static u32 forward(u32 at, u32 want, u32 length, u32 modulus)
{
    u32 value = at / length % modulus;
    if (want == ANY || want == value)
        return at;
    return (at / length + (want + modulus - value) % modulus) * length;
}

u32 rtc_time_to_alarm(const u8 *memory)
{
    u32 hour = wanted(memory, RTC_HOURS_ALARM, 24);
    u32 minute = wanted(memory, RTC_MINUTES_ALARM, 60);
    u32 second = wanted(memory, RTC_SECONDS_ALARM, 60);
    if (hour == NEVER || minute == NEVER || second == NEVER)
        return 0;
    u32 now = decode_hour(memory, memory[RTC_HOURS]) * 3600 +
              decode(memory, memory[RTC_MINUTES]) * 60 + decode(memory, memory[RTC_SECONDS]);
    // Going forward in one field can carry into the one above, which then has to go on in its turn,
    // but that leaves those below at 0, from where they carry no more: four rounds at most.
    u32 at = now + 1, before;
    do {
        before = at;
        at = forward(at, hour, 3600, 24);
        at = forward(at, minute, 60, 60);
        at = forward(at, second, 1, 60);
    } while (at != before);
    return at - now;
}
