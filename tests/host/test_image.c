// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/err.h"
#include "guest/abi.h"
#include "guest/image.h"

static u8 file[40000];
static struct image image;

static void start(void)
{
    memset(file, 0x90, sizeof(file));
}

static void put32(u32 at, u32 value)
{
    memcpy(file + at, &value, 4);
}

// Looks at exactly size bytes, so that the sanitizer sees one too many.
static int detect(u64 size)
{
    u8 *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, file, size);
    memset(&image, 0xee, sizeof(image));
    int err = image_detect(copy, size, &image);
    free(copy);
    return err;
}

static void put_mb1(u32 at, u32 flags)
{
    put32(at, 0x1badb002);
    put32(at + 4, flags);
    put32(at + 8, 0u - 0x1badb002 - flags);
}

static void put_mb2(u32 at, u32 length)
{
    put32(at, 0xe85250d6);
    put32(at + 4, 0);
    put32(at + 8, length);
    put32(at + 12, 0u - 0xe85250d6 - length);
}

static void put_linux(u8 sectors)
{
    file[0x1f1] = sectors;
    file[0x1fe] = 0x55;
    file[0x1ff] = 0xaa;
    file[0x200] = 0xeb;
    file[0x201] = 0x6a;
    memcpy(file + 0x202, "HdrS", 4);
}

static void flat_and_empty(void **state)
{
    (void)state;
    start();
    assert_int_equal(detect(0), E_TRUNC);
    for (u64 size = 1; size < 700; size++) {
        assert_int_equal(detect(size), OK);
        assert_int_equal(image.format, FORMAT_FLAT);
        assert_false(image.elf);
        assert_int_equal(image.header_size, 0);
    }
    assert_int_equal(detect(sizeof(file)), OK);
    assert_int_equal(image.format, FORMAT_FLAT);
}

static void bzimages(void **state)
{
    (void)state;
    static const struct {
        u8 sectors;
        u64 setup;
    } rows[] = {
        {0,  5 * 512 },
        {1,  2 * 512 },
        {39, 40 * 512},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        start();
        put_linux(rows[i].sectors);
        assert_int_equal(detect(rows[i].setup + 1), OK);
        assert_int_equal(image.format, FORMAT_BZIMAGE);
        assert_int_equal(image.header_offset, 0x1f1);
        assert_int_equal(image.header_offset + image.header_size, 0x26c);
        assert_int_equal(detect(rows[i].setup), E_TRUNC);
        assert_int_equal(image.format, FORMAT_BZIMAGE);
        assert_int_equal(detect(0x206), E_TRUNC);
        assert_int_equal(detect(0x205), OK); // the magic is cut: not known as one
        assert_int_equal(image.format, FORMAT_FLAT);
    }
    static const u32 marks[] = {0x1fe, 0x1ff, 0x202, 0x205};
    for (unsigned i = 0; i < ARRAY_SIZE(marks); i++) {
        start();
        put_linux(4);
        file[marks[i]] ^= 1;
        assert_int_equal(detect(sizeof(file)), OK);
        assert_int_equal(image.format, FORMAT_FLAT);
    }
}

static void multiboot_kernels(void **state)
{
    (void)state;
    static const struct {
        u32 flags, size;
    } rows[] = {
        {0,       12},
        {3,       12},
        {0x10003, 32},
        {4,       48},
        {0x10007, 48},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        for (u32 at = 0; at <= 8192 - 12; at += (8192 - 12) / 5) {
            start();
            put_mb1(at, rows[i].flags);
            assert_int_equal(detect(at + rows[i].size), OK);
            assert_int_equal(image.format, FORMAT_MULTIBOOT);
            assert_false(image.elf);
            assert_int_equal(image.header_offset, at);
            assert_int_equal(image.header_size, rows[i].size);
            if (rows[i].size > 12) {
                assert_int_equal(detect(at + rows[i].size - 1), E_TRUNC);
                assert_int_equal(image.format, FORMAT_MULTIBOOT);
            }
            assert_int_equal(detect(at + 11), OK);
            assert_int_equal(image.format, FORMAT_FLAT);
        }
    }
}

static void multiboot2_kernels(void **state)
{
    (void)state;
    static const u32 places[] = {0, 8, 4096, 32768 - 16};
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        start();
        memcpy(file, "\177ELF", 4);
        put_mb2(places[i], 24);
        if (places[i] == 0)
            continue; // over the ELF's own magic: cannot be both
        assert_int_equal(detect(places[i] + 24), OK);
        assert_int_equal(image.format, FORMAT_MULTIBOOT2);
        assert_true(image.elf);
        assert_int_equal(image.header_offset, places[i]);
        assert_int_equal(image.header_size, 24);
        assert_int_equal(detect(places[i] + 23), E_TRUNC);
        assert_int_equal(image.format, FORMAT_MULTIBOOT2);
    }
    static const u32 lengths[] = {0, 15, 0xffffffff, sizeof(file) - 63};
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        start();
        put_mb2(64, lengths[i]);
        assert_int_equal(detect(sizeof(file)), E_TRUNC);
        assert_int_equal(image.format, FORMAT_MULTIBOOT2);
    }
}

static void headers_out_of_place_do_not_count(void **state)
{
    (void)state;
    static const u32 mb1_places[] = {2, 101, 8192 - 8, 8192, 9000};
    for (unsigned i = 0; i < ARRAY_SIZE(mb1_places); i++) {
        start();
        put_mb1(mb1_places[i], 0);
        assert_int_equal(detect(sizeof(file)), OK);
        assert_int_equal(image.format, FORMAT_FLAT);
    }
    static const u32 mb2_places[] = {4, 100, 32768 - 8, 32768, 36000};
    for (unsigned i = 0; i < ARRAY_SIZE(mb2_places); i++) {
        start();
        put_mb2(mb2_places[i], 16);
        assert_int_equal(detect(sizeof(file)), OK);
        assert_int_equal(image.format, FORMAT_FLAT);
    }
    start();
    put_mb1(64, 0);
    file[72] ^= 1; // checksum
    put_mb2(128, 16);
    file[140] ^= 1;
    put32(256, 0); // adds up, but has no magic
    put32(260, 0);
    put32(264, 0);
    put32(268, 0);
    assert_int_equal(detect(sizeof(file)), OK);
    assert_int_equal(image.format, FORMAT_FLAT);
}

static void order_of_formats(void **state)
{
    (void)state;
    start();
    put_mb1(512 * 3, 0);
    assert_int_equal(detect(sizeof(file)), OK);
    assert_int_equal(image.format, FORMAT_MULTIBOOT);
    put_mb2(512 * 4, 16);
    assert_int_equal(detect(sizeof(file)), OK);
    assert_int_equal(image.format, FORMAT_MULTIBOOT2);
    put_linux(4);
    assert_int_equal(detect(sizeof(file)), OK);
    assert_int_equal(image.format, FORMAT_BZIMAGE);
    u64 magic = GUEST_MAGIC;
    memcpy(file, &magic, sizeof(magic));
    assert_int_equal(detect(sizeof(file)), OK);
    assert_int_equal(image.format, FORMAT_CORBEL);
}

static void corbel_and_bare_elf(void **state)
{
    (void)state;
    start();
    memcpy(file, "UGTCrbel", 8);
    assert_int_equal(detect(sizeof(struct guest_image)), OK);
    assert_int_equal(image.format, FORMAT_CORBEL);
    assert_int_equal(detect(sizeof(struct guest_image) - 1), E_TRUNC);
    assert_int_equal(image.format, FORMAT_CORBEL);
    assert_int_equal(detect(7), OK);
    assert_int_equal(image.format, FORMAT_FLAT);

    start();
    memcpy(file, "\177ELF", 4);
    assert_int_equal(detect(52), OK);
    assert_int_equal(image.format, FORMAT_ELF);
    assert_true(image.elf);
    assert_int_equal(detect(51), E_TRUNC);
    assert_int_equal(detect(4), E_TRUNC);
    assert_int_equal(detect(3), OK);
    assert_int_equal(image.format, FORMAT_FLAT);
}

static void names(void **state)
{
    (void)state;
    for (unsigned a = 0; a <= FORMAT_ELF; a++) {
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(image_format_name((enum image_format)a),
                                    image_format_name((enum image_format)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_and_empty),
        cmocka_unit_test(bzimages),
        cmocka_unit_test(multiboot_kernels),
        cmocka_unit_test(multiboot2_kernels),
        cmocka_unit_test(headers_out_of_place_do_not_count),
        cmocka_unit_test(order_of_formats),
        cmocka_unit_test(corbel_and_bare_elf),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
