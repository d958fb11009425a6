// SPDX-License-Identifier: MIT
// The RTC's calendar against the C library's, in BCD and binary, by 12 hours and 24; what happens
// to fields that make no sense; the distance to the alarm against a search second by second.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "devices/rtc_time.h"
#include "tests/host/device_rig.h"

#define DAY        86400ull
#define FROM_1970  0ull
#define UNTIL_2100 4102444800ull

static const u8 formats[] = {RTC_B_24H, RTC_B_24H | RTC_B_BINARY, 0, RTC_B_BINARY};

static u8 number(u8 format, int value)
{
    return (u8)(format & RTC_B_BINARY ? value : value / 10 * 16 + value % 10);
}

static u8 hour_number(u8 format, int hour)
{
    static const u8 of_12[] = {12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    if (format & RTC_B_24H)
        return number(format, hour);
    return number(format, of_12[hour % 12]) | (hour >= 12 ? 0x80 : 0);
}

static void assert_shows(const u8 *memory, u64 seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    u8 format = memory[RTC_B];
    assert_non_null(gmtime_r(&t, &tm));
    assert_int_equal(memory[RTC_SECONDS], number(format, tm.tm_sec));
    assert_int_equal(memory[RTC_MINUTES], number(format, tm.tm_min));
    assert_int_equal(memory[RTC_HOURS], hour_number(format, tm.tm_hour));
    assert_int_equal(memory[RTC_WEEKDAY], tm.tm_wday + 1);
    assert_int_equal(memory[RTC_DAY], number(format, tm.tm_mday));
    assert_int_equal(memory[RTC_MONTH], number(format, tm.tm_mon + 1));
    assert_int_equal(memory[RTC_YEAR], number(format, tm.tm_year % 100));
    assert_int_equal(memory[RTC_CENTURY], number(format, tm.tm_year / 100 + 19));
    u64 back;
    assert_true(rtc_time_get(memory, &back));
    assert_true(back == seconds);
}

static void each_day_from_1970_to_2099_is_the_librarys(void **state)
{
    (void)state;
    for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = formats[f]}, counted[RTC_BYTES] = {[RTC_B] = formats[f]};
        rtc_time_set(counted, FROM_1970);
        for (u64 day = FROM_1970; day < UNTIL_2100; day += DAY) {
            u64 second = day / DAY * 7919 % DAY;
            rtc_time_set(memory, day + second);
            assert_shows(memory, day + second);
            assert_shows(counted, day);
            rtc_time_advance(counted, DAY);
        }
    }
}

static void each_second_of_two_days_is_the_librarys(void **state)
{
    (void)state;
    u64 leap_day = 951782400; // 29 February 2000
    for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = formats[f]};
        rtc_time_set(memory, leap_day);
        for (u64 t = leap_day; t < leap_day + 2 * DAY; t++) {
            assert_shows(memory, t);
            rtc_time_advance(memory, 1);
        }
    }
}

static void any_span_at_once_is_the_librarys(void **state)
{
    (void)state;
    u64 seed = 1;
    for (unsigned i = 0; i < 200000; i++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = formats[i % 4]};
        u64 a = (u64)rig_random(&seed) << 1 | (i >> 2 & 1);
        u64 span = (u64)rig_random(&seed) << (rig_random(&seed) % 6);
        rtc_time_set(memory, a);
        rtc_time_advance(memory, span);
        assert_shows(memory, a + span);
    }
}

static void days_and_dates_are_each_others_inverse(void **state)
{
    (void)state;
    u64 days = 0, year;
    u32 month, day;
    rtc_date(0, &year, &month, &day);
    assert_true(year == 0 && month == 3 && day == 1);
    while (year < 10000) {
        assert_true(rtc_days(year, month, day) == days);
        u64 year_before = year;
        u32 month_before = month, day_before = day;
        rtc_date(++days, &year, &month, &day);
        bool next = year == year_before && month == month_before && day == day_before + 1;
        bool first = day == 1 && (month == month_before + 1 ? year == year_before
                                                            : month == 1 && month_before == 12 &&
                                                                  year == year_before + 1);
        assert_true(next || first);
    }
    assert_int_equal(days, 3652365); // 10,000 years from 1 January 0, without its first 60 days
}

static void century_and_its_end(void **state)
{
    (void)state;
    u8 memory[RTC_BYTES] = {[RTC_B] = RTC_B_24H};
    rtc_time_set(memory, UNTIL_2100 - 1);
    assert_int_equal(memory[RTC_CENTURY], 0x20);
    rtc_time_advance(memory, 1);
    assert_int_equal(memory[RTC_CENTURY], 0x21);
    assert_int_equal(memory[RTC_YEAR], 0x00);
    rtc_time_advance(memory, 59 * DAY); // 2100 has no leap day
    assert_int_equal(memory[RTC_MONTH], 0x03);
    assert_int_equal(memory[RTC_DAY], 0x01);
    rtc_time_set(memory, 253402300799); // the last second of 9999
    rtc_time_advance(memory, 1);
    assert_int_equal(memory[RTC_CENTURY], 0x00);
    assert_int_equal(memory[RTC_YEAR], 0x00);
    assert_int_equal(memory[RTC_MONTH], 0x01);
}

static void fields_stand_until_one_carries_into_them(void **state)
{
    (void)state;
    // 31 February, as between two of a guest's writes, at an hour that is none.
    u8 memory[RTC_BYTES] = {
        [RTC_B] = RTC_B_24H,  [RTC_SECONDS] = 0x10,    [RTC_MINUTES] = 0x20, [RTC_HOURS] = 0x23,
        [RTC_WEEKDAY] = 3,    [RTC_DAY] = 0x31,        [RTC_MONTH] = 0x02,   [RTC_YEAR] = 0x23,
        [RTC_CENTURY] = 0x20, [RTC_HOURS_ALARM] = 0xaa};
    memory[RTC_HOURS] = 0x1f;
    rtc_time_advance(memory, 2000);
    assert_int_equal(memory[RTC_HOURS], 0x1f);
    memory[RTC_HOURS] = 0x23;
    assert_int_equal(memory[RTC_MINUTES], 0x53);
    assert_int_equal(memory[RTC_SECONDS], 0x30);
    assert_int_equal(memory[RTC_DAY], 0x31);
    assert_int_equal(memory[RTC_MONTH], 0x02);
    rtc_time_advance(memory, 390);
    assert_int_equal(memory[RTC_HOURS], 0x00);
    assert_int_equal(memory[RTC_DAY], 0x01);
    assert_int_equal(memory[RTC_MONTH], 0x03);
    assert_int_equal(memory[RTC_WEEKDAY], 4);
    assert_int_equal(memory[RTC_HOURS_ALARM], 0xaa);
}

// Whatever the bytes are, a day later they are a date.
static void nonsense_becomes_a_date(void **state)
{
    (void)state;
    u64 seed = 3;
    for (unsigned i = 0; i < 100000; i++) {
        u8 memory[RTC_BYTES];
        for (unsigned b = 0; b < RTC_BYTES; b++)
            memory[b] = (u8)rig_random(&seed);
        u8 format = memory[RTC_B];
        rtc_time_advance(memory, DAY + rig_random(&seed));
        u64 year, again;
        u32 month = 0, day = 0;
        for (int m = 1; m <= 12; m++)
            month = memory[RTC_MONTH] == number(format, m) ? (u32)m : month;
        for (int d = 1; d <= 31; d++)
            day = memory[RTC_DAY] == number(format, d) ? (u32)d : day;
        assert_true(month != 0 && day != 0);
        assert_in_range(memory[RTC_WEEKDAY], 1, 7);
        for (year = 0; memory[RTC_YEAR] != number(format, (int)year % 100) ||
                       memory[RTC_CENTURY] != number(format, (int)(year / 100));
             year++)
            assert_true(year < 10000);
        u32 same_month, same_day;
        rtc_date(rtc_days(year ? year : 10000, month, day), &again, &same_month, &same_day);
        assert_true(same_month == month && same_day == day);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const struct {
        u8 field, value;
    } wrong[] = {
        {RTC_SECONDS, 0x60},
        {RTC_MINUTES, 0x60},
        {RTC_HOURS,   0x24},
        {RTC_DAY,     0x00},
        {RTC_DAY,     0x30},
        {RTC_MONTH,   0x00},
        {RTC_MONTH,   0x13},
        {RTC_CENTURY, 0x18},
        {RTC_YEAR,    0xa4},
    };
    u64 seconds = 5;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = RTC_B_24H};
        rtc_time_set(memory, 951782400); // 29 February 2000
        memory[wrong[i].field] = wrong[i].value;
        assert_false(rtc_time_get(memory, &seconds));
        assert_int_equal(seconds, 5);
    }
    u8 nothing[RTC_BYTES];
    memset(nothing, 0xff, sizeof(nothing)); // no chip there
    assert_false(rtc_time_get(nothing, &seconds));
}

// ---- the alarm ----------------------------------------------------------------------------------

static bool matches(const u8 *memory)
{
    for (u32 field = RTC_SECONDS; field <= RTC_HOURS; field += 2)
        if (memory[field + 1] < 0xc0 && memory[field + 1] != memory[field])
            return false;
    return true;
}

// 0 if not within a day.
static u32 search(const u8 *from)
{
    u8 memory[RTC_BYTES];
    memcpy(memory, from, sizeof(memory));
    for (u32 seconds = 1; seconds <= DAY; seconds++) {
        rtc_time_advance(memory, 1);
        if (matches(memory))
            return seconds;
    }
    return 0;
}

static u8 alarm_byte(u64 *seed, const u8 *memory, int modulus)
{
    u32 kind = rig_random(seed) % 8;
    if (kind < 3)
        return (u8)(0xc0 + rig_random(seed) % 64);
    if (kind == 3 && rig_random(seed) % 4 == 0)
        return (u8)rig_random(seed);
    int value = (int)(rig_random(seed) % (u32)modulus);
    return modulus == 24 ? hour_number(memory[RTC_B], value) : number(memory[RTC_B], value);
}

static void alarm_comes_when_a_search_finds_it(void **state)
{
    (void)state;
    u64 seed = 11;
    unsigned found = 0;
    for (unsigned i = 0; i < 400; i++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = formats[i % 4]};
        rtc_time_set(memory, rig_random(&seed));
        memory[RTC_SECONDS_ALARM] = alarm_byte(&seed, memory, 60);
        memory[RTC_MINUTES_ALARM] = alarm_byte(&seed, memory, 60);
        memory[RTC_HOURS_ALARM] = alarm_byte(&seed, memory, 24);
        u32 want = search(memory);
        found += want != 0;
        assert_int_equal(rtc_time_to_alarm(memory), want);
    }
    assert_in_range(found, 300, 399);
}

static void alarm_at_this_second_is_a_day_away(void **state)
{
    (void)state;
    for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = formats[f]};
        rtc_time_set(memory, 45296);
        memory[RTC_SECONDS_ALARM] = memory[RTC_SECONDS];
        memory[RTC_MINUTES_ALARM] = memory[RTC_MINUTES];
        memory[RTC_HOURS_ALARM] = memory[RTC_HOURS];
        assert_int_equal(rtc_time_to_alarm(memory), DAY);
        memory[RTC_HOURS_ALARM] = 0xff;
        assert_int_equal(rtc_time_to_alarm(memory), 3600);
        memory[RTC_MINUTES_ALARM] = 0xc0;
        assert_int_equal(rtc_time_to_alarm(memory), 60);
        memory[RTC_SECONDS_ALARM] = 0xe5;
        assert_int_equal(rtc_time_to_alarm(memory), 1);
    }
}

// Bytes that the time never shows: out of range, digits that are none, hours of the other format.
static void alarms_that_never_match(void **state)
{
    (void)state;
    static const struct {
        u8 format, field, value;
    } never[] = {
        {RTC_B_24H,                RTC_SECONDS_ALARM, 0x60},
        {RTC_B_24H,                RTC_MINUTES_ALARM, 0x0a},
        {RTC_B_24H,                RTC_HOURS_ALARM,   0x24},
        {RTC_B_24H,                RTC_HOURS_ALARM,   0x81},
        {0,                        RTC_HOURS_ALARM,   0x00},
        {0,                        RTC_HOURS_ALARM,   0x13},
        {0,                        RTC_HOURS_ALARM,   0x80},
        {RTC_B_BINARY,             RTC_HOURS_ALARM,   13  },
        {RTC_B_BINARY | RTC_B_24H, RTC_SECONDS_ALARM, 60  },
        {RTC_B_BINARY | RTC_B_24H, RTC_HOURS_ALARM,   24  },
    };
    for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
        u8 memory[RTC_BYTES] = {[RTC_B] = never[i].format};
        rtc_time_set(memory, 0);
        memory[RTC_SECONDS_ALARM] = memory[RTC_MINUTES_ALARM] = memory[RTC_HOURS_ALARM] = 0xff;
        assert_int_equal(rtc_time_to_alarm(memory), 1);
        memory[never[i].field] = never[i].value;
        assert_int_equal(rtc_time_to_alarm(memory), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_day_from_1970_to_2099_is_the_librarys),
        cmocka_unit_test(each_second_of_two_days_is_the_librarys),
        cmocka_unit_test(any_span_at_once_is_the_librarys),
        cmocka_unit_test(days_and_dates_are_each_others_inverse),
        cmocka_unit_test(century_and_its_end),
        cmocka_unit_test(fields_stand_until_one_carries_into_them),
        cmocka_unit_test(nonsense_becomes_a_date),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(alarm_comes_when_a_search_finds_it),
        cmocka_unit_test(alarm_at_this_second_is_a_day_away),
        cmocka_unit_test(alarms_that_never_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
