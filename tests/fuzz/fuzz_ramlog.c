// SPDX-License-Identifier: MIT
// The log in memory after a restart: text written in any pieces comes back, and memory that has
// changed since, anywhere, never yields more than printable lines of what was there.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/ramlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static u8 area[RAMLOG_BYTES];
static char line[200];

static void read_all(size_t room)
{
    struct ramlog_old old;
    u64 bytes = 0;
    if (!ramlog_find(area, &old))
        return;
    while (ramlog_next_line(&old, line, room)) {
        CHECK(strlen(line) < room);
        for (const char *at = line; *at; at++)
            CHECK(*at >= ' ' && *at < 0x7f);
        CHECK(++bytes <= RAMLOG_TEXT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ramlog log;
    if (size < 8)
        return 0;
    size_t room = data[0] % sizeof(line) + 1;
    unsigned rounds = data[1] % 64 + 1u; // so that the ring wraps
    size_t piece = data[2] + 1u, at = data[3] | (size_t)data[4] << 8 | (size_t)(data[5] & 1) << 16;
    memset(area, data[6], sizeof(area));
    read_all(room);
    ramlog_start(&log, area, data[7], NULL);
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < size; i += piece)
            ramlog_write(&log, (const char *)data + i, size - i < piece ? size - i : piece);
    struct ramlog_old old;
    CHECK(ramlog_find(area, &old));
    CHECK(old.run == data[7]);
    read_all(room);
    // Memory that did not survive as it was.
    area[at % 64] ^= data[1];
    read_all(room);
    area[(at * 31) % sizeof(area)] ^= data[2];
    read_all(room);
    return 0;
}
