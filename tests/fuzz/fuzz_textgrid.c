// SPDX-License-Identifier: MIT
// A guest's console text on the screen and in the log's ring: any bytes, in any pieces, on a grid
// of any size.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/textgrid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct textgrid grid;
static char tail[LOG_RING_SIZE];

static void draw(void *screen, u32 column, u32 row, u8 character)
{
    CHECK(screen == &grid);
    CHECK(column < grid.columns && row < grid.rows);
    CHECK(character >= ' ' && character <= TEXTGRID_UNKNOWN);
}

static void check_all_is_shown(void)
{
    for (u32 row = 0; row < grid.rows; row++)
        for (u32 column = 0; column < grid.columns; column++)
            CHECK(grid.shown[row][column] == grid.cells[row][column]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    textgrid_init(&grid, data[0], data[1] % 32);
    size_t piece = data[2] % 16 + 1u;
    data += 3;
    size -= 3;
    while (size) {
        size_t n = size < piece ? size : piece;
        textgrid_write(&grid, (const char *)data, n);
        log_raw((const char *)data, n);
        textgrid_show(&grid, draw, &grid);
        check_all_is_shown();
        data += n;
        size -= n;
    }
    CHECK(log_ring_tail(tail, piece * 100) <= piece * 100);
    return 0;
}
