// SPDX-License-Identifier: MIT
// A set of module lines, one a line of the input; and the same bytes as a kernel file.
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/check.h"
#include "boot/mbi.h"
#include "boot/modline.h"
#include "guest/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_role(const struct module_role *role, const char *line)
{
    CHECK(role->kind <= MODULE_DISK);
    CHECK(role->vm[0] && memchr(role->vm, '\0', sizeof(role->vm)));
    CHECK(is_aligned(role->mem, PAGE_SIZE) && role->mem >= VM_MEM_MIN && role->mem <= VM_MEM_MAX);
    CHECK(role->cpus == 1);
    CHECK(!role->args[0] || (role->args > line && role->args < line + strlen(line)));
}

static void parse_lines(char *text)
{
    struct module_role roles[BOOT_MODULES_MAX];
    struct why why = {{0}};
    unsigned n = 0;
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line && n < BOOT_MODULES_MAX;
         line = strtok_r(NULL, "\n", &save)) {
        why.text[0] = '\0';
        int err = modline_parse(line, n + 1, &roles[n], &why);
        CHECK((err != 0) == (why.text[0] != '\0'));
        if (!err)
            check_role(&roles[n++], line);
    }
    why.text[0] = '\0';
    int err = modlines_check(roles, n, &why);
    CHECK((err != 0) == (why.text[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    parse_lines(text);
    free(text);

    struct image image;
    if (image_detect(data, size, &image) == 0 && image.header_size)
        CHECK(image.header_offset + (u64)image.header_size <= size);
    CHECK(image_format_name(image.format)[0]);
    return 0;
}
