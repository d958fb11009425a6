// SPDX-License-Identifier: MIT
#include "boot/lab.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/regs/pte.h"
#include "boot/machine.h"
#include "vmx/sched.h"

extern const u8 tests64_image[], tests64_image_end[];

// As tests/guest/tests.h has it.
struct guest_test_row {
    char name[64];
    u64 run;
    u64 flags;
};
#define ROW_PART  1u
#define ROW_XAPIC 2u
#define ROW_EXACT 4u

#define STATUS_PASSED (0x10u << 1 | 1)

static const struct guest_image *record(void)
{
    return (const void *)tests64_image;
}

static const struct guest_test_row *rows(u32 *count)
{
    const struct guest_image *r = record();
    *count = (r->tests_end - r->tests) / (u32)sizeof(struct guest_test_row);
    return (const void *)(tests64_image + (r->tests - r->link_base));
}

// ---- a lab ------------------------------------------------------------------------------------

static void keep_output(void *ctx, const u8 *data, size_t length)
{
    struct lab *lab = ctx;
    for (size_t i = 0; i < length && lab->out_length + 1 < sizeof(lab->out); i++)
        lab->out[lab->out_length++] = (char)data[i];
    lab->out[lab->out_length] = 0;
}

static bool lab_make(struct selftest_ctx *t, struct lab *lab, const char *name, bool no_x2apic)
{
    const struct cell_config config = {
        .name = name, .console = {.write = keep_output, .ctx = lab},
             .no_x2apic = no_x2apic
    };

    memset(lab, 0, sizeof(*lab));
    if (cell_create(&hypervisor, &config, &lab->cell) != OK) {
        selftest_fail(t, "the VM cannot be made");
        return false;
    }
    lab->vm = &lab->cell->vm;
    lab->vcpu = &lab->cell->vcpu;
    if (vm_alloc_ram(lab->vm, GPA(0), LAB_RAM, false) != OK ||
        vm_alloc_ram(lab->vm, GPA(LAB_LAZY), LAB_LAZY_SIZE, true) != OK) {
        selftest_fail(t, "no memory for the VM");
        lab_close(lab);
        return false;
    }
    vm_reset_devices(lab->vm);
    return true;
}

bool lab_open(struct selftest_ctx *t, struct lab *lab, const char *name)
{
    return lab_make(t, lab, name, false);
}

void lab_close(struct lab *lab)
{
    cell_destroy(lab->cell);
    lab->cell = NULL;
}

static bool load_row(struct selftest_ctx *t, struct lab *lab, u32 index)
{
    struct guest_info info;
    struct guest_start start;

    cell_guest_info(lab->cell, &info);
    info.test = index;
    info.scratch = LAB_SCRATCH;
    info.scratch_size = LAB_RAM - LAB_SCRATCH;
    info.base = LAB_IMAGE;
    CHECK(LAB_IMAGE + guest_image_footprint(record()) <= LAB_SCRATCH);
    if (guest_load(lab->vm, tests64_image, (u64)(tests64_image_end - tests64_image), GPA(LAB_IMAGE),
                   &info, &start) != OK ||
        vcpu_start(lab->vcpu, &start) != OK) {
        selftest_fail(t, "the test program cannot be loaded");
        return false;
    }
    return true;
}

bool lab_load(struct selftest_ctx *t, struct lab *lab, const char *name)
{
    u32 count;
    const struct guest_test_row *row = rows(&count);

    for (u32 i = 0; i < count; i++)
        if (!strcmp(row[i].name, name))
            return load_row(t, lab, i);
    selftest_fail(t, "the test program has no %s", name);
    return false;
}

// ---- a few bytes of code ----------------------------------------------------------------------

#define TABLES (LAB_SCRATCH)

// 2 MiB or 4 MiB pages over the low 4 GiB, in the scratch area.
static u64 identity_tables(struct lab *lab, enum image_mode mode)
{
    u64 *table = vm_ptr(lab->vm, GPA(TABLES), 6 * PAGE_SIZE);
    memset(table, 0, 6 * PAGE_SIZE);
    if (mode == IMAGE_PROTECTED) {
        u32 *pd = (u32 *)table;
        for (u32 i = 0; i < 1024; i++)
            pd[i] = i << 22 | (u32)(PTE_P | PTE_W | PTE_U | PTE_PS);
        return TABLES;
    }
    table[0] = (TABLES + PAGE_SIZE) | PTE_P | PTE_W | PTE_U;
    for (u64 i = 0; i < 4; i++)
        table[512 + i] = (TABLES + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W | PTE_U;
    for (u64 i = 0; i < 2048; i++)
        table[1024 + i] = i << 21 | PTE_P | PTE_W | PTE_U | PTE_PS;
    return TABLES;
}

bool lab_code(struct selftest_ctx *t, struct lab *lab, enum image_mode mode, const u8 *code,
              size_t length)
{
    struct guest_start start = {.mode = mode, .rip = LAB_CODE, .rsp = LAB_CODE};

    memcpy(vm_ptr(lab->vm, GPA(LAB_CODE), length), code, length);
    if (mode != IMAGE_REAL)
        start.cr3 = identity_tables(lab, mode);
    if (vcpu_start(lab->vcpu, &start) != OK) {
        selftest_fail(t, "the vCPU cannot start in this mode");
        return false;
    }
    return true;
}

// ---- running ----------------------------------------------------------------------------------

void lab_run(struct lab *lab)
{
    cell_run(lab->cell);
}

bool lab_run_passes(struct selftest_ctx *t, struct lab *lab)
{
    lab_run(lab);
    const struct vm *vm = lab->vm;
    if (vm->end == VM_END_DEBUG_EXIT && vm->end_status == STATUS_PASSED)
        return true;
    if (vm->end == VM_END_DEBUG_EXIT)
        selftest_fail(t, "%s", lab->out_length ? lab->out : vm->end_text);
    else
        selftest_fail(t, "%s: %s", vm_end_name(vm->end), vm->end_text);
    return false;
}

static void run_row(struct selftest_ctx *t)
{
    u32 count;
    const struct guest_test_row *row = &rows(&count)[t->arg];
    struct lab lab;

    if ((row->flags & ROW_EXACT) && cpu_features.outer.signature[0]) {
        selftest_skip(t, "an outer hypervisor takes time of its own");
        return;
    }
    if (!lab_make(t, &lab, "lab", row->flags & ROW_XAPIC))
        return;
    if (load_row(t, &lab, t->arg))
        lab_run_passes(t, &lab);
    lab_close(&lab);
}

#define ROWS_MAX 320u

struct selftest_set lab_guest_tests(void)
{
    static struct selftest list[ROWS_MAX];
    u32 count, n = 0;
    const struct guest_test_row *row = rows(&count);

    for (u32 i = 0; i < count; i++) {
        if (row[i].flags & ROW_PART)
            continue;
        CHECK(n < ROWS_MAX);
        list[n++] =
            (struct selftest){.name = row[i].name, .run = run_row, .needs = NEEDS_VMX, .arg = i};
    }
    return (struct selftest_set){list, list + n};
}
