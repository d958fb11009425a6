// SPDX-License-Identifier: MIT
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/check.h"
#include "boot/cmdline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct options options;
    struct why why = {{0}};
    char *line = malloc(size + 1);
    CHECK(line != NULL);
    memcpy(line, data, size);
    line[size] = '\0';
    int err = cmdline_parse(line, &options, &why);
    CHECK((err != 0) == (why.text[0] != '\0'));
    CHECK(memchr(options.test, '\0', sizeof(options.test)) != NULL);
    CHECK(options.run <= RUN_LOG && options.log <= LOG_DEBUG && options.end <= END_EMULATOR);
    free(line);
    return 0;
}
