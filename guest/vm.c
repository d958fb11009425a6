// SPDX-License-Identifier: MIT
#include "guest/vm.h"

#include "arch/x86_64/lib/bits.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/phys.h"
#include "arch/x86_64/lib/string.h"

const char *vm_end_name(enum vm_end_kind kind)
{
    static const char *const names[] = {
        [VM_RUNNING] = "running",
        [VM_END_DEBUG_EXIT] = "debug-exit",
        [VM_END_TRIPLE_FAULT] = "triple fault",
        [VM_END_HALTED] = "halted for ever",
        [VM_END_UNHANDLED] = "unhandled exit",
        [VM_END_ENTRY_FAILED] = "VM entry failed",
        [VM_END_EMULATION] = "cannot be emulated",
        [VM_END_EPT] = "EPT",
        [VM_END_TEST] = "stopped by a test",
    };
    return names[kind];
}

void vm_stop(struct vm *vm, enum vm_end_kind kind, const char *format, ...)
{
    va_list args;

    vm->attention |= VM_ATTENTION_STOP;
    if (vm->end != VM_RUNNING)
        return;
    vm->end = kind;
    va_start(args, format);
    fmt_vsnprintf(vm->end_text, sizeof(vm->end_text), format, args);
    va_end(args);
}

// ---- how devices reach the vCPU ---------------------------------------------------------------

static void kick(void *ctx)
{
    struct vm *vm = ctx;
    vm->attention |= VM_ATTENTION_EVENT;
}

static void lapic_nmi(void *ctx)
{
    struct vm *vm = ctx;
    vm->nmi_requested = true;
    vm->attention |= VM_ATTENTION_EVENT;
}

// INIT to the only CPU there is, by itself: it would wait for a start-up IPI that nobody sends.
static void lapic_init_ipi(void *ctx)
{
    vm_stop(ctx, VM_END_UNHANDLED, "INIT: the guest reset its only CPU");
}

static const struct lapic_ops lapic_ops = {
    .kick = kick,
    .nmi = lapic_nmi,
    .init = lapic_init_ipi,
};

// The PIC's INTR goes to LINT0, which passes it on as ExtINT; the run loop acknowledges it.
static void pic_intr(void *ctx, unsigned line, bool level)
{
    struct vm *vm = ctx;
    lapic_set_lint(&vm->lapic, line, level);
    vm->attention |= VM_ATTENTION_EVENT;
}

static void debug_exit(void *ctx, u32 status)
{
    struct vm *vm = ctx;
    if (vm->end == VM_RUNNING)
        vm->end_status = status;
    vm_stop(vm, VM_END_DEBUG_EXIT, "status %u", status);
}

// ---- life -------------------------------------------------------------------------------------

static struct irq_pin isa_irq(struct vm *vm, unsigned line)
{
    return (struct irq_pin){.set = pic_set_irq, .ctx = &vm->pic, .line = line};
}

static void init_devices(struct vm *vm, const struct vm_config *config)
{
    struct lapic_config lapic = {
        .bsp = true,
        .x2apic = config->x2apic,
        .tsc_deadline = config->tsc_deadline,
        .timer_hz = config->lapic_hz,
        .clock = vm->clock,
        .queue = &vm->timers,
        .ops = &lapic_ops,
        .ctx = vm,
    };
    struct irq_pin intr = {.set = pic_intr, .ctx = vm, .line = 0};

    lapic_init(&vm->lapic, &lapic);
    pic_init(&vm->pic, intr);
    pit_init(&vm->pit, vm->clock, &vm->timers, isa_irq(vm, 0));
    uart_init(&vm->com1, &(struct uart_config){.name = "com1",
                                               .port = UART_COM1,
                                               .clock = vm->clock,
                                               .queue = &vm->timers,
                                               .irq = isa_irq(vm, 4),
                                               .out = config->console});
    debug_exit_init(&vm->debug_exit, debug_exit, vm);
    post_init(&vm->post);
}

static int attach_devices(struct vm *vm)
{
    int err = bus_attach(&vm->bus, &vm->lapic.dev, IO_MEM, APIC_DEFAULT_BASE, PAGE_SIZE);
    if (err == OK)
        err = pic_attach(&vm->pic, &vm->bus);
    if (err == OK)
        err = pit_attach(&vm->pit, &vm->bus);
    if (err == OK)
        err = uart_attach(&vm->com1, &vm->bus);
    if (err == OK)
        err = debug_exit_attach(&vm->debug_exit, &vm->bus);
    if (err == OK)
        err = post_attach(&vm->post, &vm->bus);
    return err;
}

int vm_init(struct vm *vm, const struct vm_config *config)
{
    memset(vm, 0, sizeof(*vm));
    str_copy(vm->name, sizeof(vm->name), config->name);
    vm->clock = config->clock;
    vm->frames = config->frames;
    deadline_queue_init(&vm->timers, vm->heap, VM_DEADLINES);
    bus_init(&vm->bus);
    init_devices(vm, config);
    int err = attach_devices(vm);
    if (err)
        return err;
    return ept_init(&vm->ept, config->ept);
}

void vm_destroy(struct vm *vm)
{
    ept_destroy(&vm->ept);
    for (u32 i = 0; i < vm->nram; i++)
        if (vm->ram[i].owned)
            frame_free(vm->frames, vm->ram[i].hpa, vm->ram[i].size >> PAGE_SHIFT);
    vm->nram = 0;
}

void vm_reset_devices(struct vm *vm)
{
    bus_reset(&vm->bus);
    lapic_virtual_wire(&vm->lapic);
}

// ---- memory -----------------------------------------------------------------------------------

int vm_note_ram(struct vm *vm, struct vm_ram ram)
{
    const struct vm_ram *last = vm->nram ? &vm->ram[vm->nram - 1] : NULL;

    if (vm->nram == VM_RAM_REGIONS) {
        log_error("vm %s: more than %u regions of RAM", vm->name, VM_RAM_REGIONS);
        return E_NOMEM;
    }
    if (!ram.size || !is_aligned(ram.gpa.raw | ram.hpa.raw | ram.size, PAGE_SIZE) ||
        ram.gpa.raw + ram.size < ram.gpa.raw)
        return E_INVAL;
    if (last && ram.gpa.raw < last->gpa.raw + last->size)
        return E_EXIST;
    vm->ram[vm->nram++] = ram;
    return OK;
}

static struct ept_attr ram_attr(const struct vm_ram *ram)
{
    return (struct ept_attr){.rights = EPT_R | EPT_W | EPT_X, .type = ram->type};
}

int vm_add_ram(struct vm *vm, struct vm_ram ram)
{
    int err = vm_note_ram(vm, ram);
    if (err == OK && !ram.lazy) {
        err = ept_map(&vm->ept, ram.gpa, ram.hpa, ram.size, ram_attr(&ram));
        if (err)
            vm->nram--;
    }
    return err;
}

int vm_alloc_ram(struct vm *vm, gpa_t gpa, u64 size, bool lazy)
{
    struct vm_ram ram = {.gpa = gpa, .size = size, .type = MEM_WB, .lazy = lazy, .owned = true};
    // Aligned alike on both sides, so that large leaves fit.
    u64 align = size >= SIZE_2M && is_aligned(gpa.raw, SIZE_2M) ? SIZE_2M : PAGE_SIZE;

    int err = frame_alloc(vm->frames, size >> PAGE_SHIFT, align, 0, &ram.hpa);
    if (err) {
        log_error("vm %s: no %llu KiB of memory", vm->name, (unsigned long long)(size >> 10));
        return err;
    }
    memset(phys_ptr(ram.hpa), 0, size);
    err = vm_add_ram(vm, ram);
    if (err)
        frame_free(vm->frames, ram.hpa, size >> PAGE_SHIFT);
    return err;
}

const struct vm_ram *vm_find_ram(const struct vm *vm, gpa_t gpa)
{
    u32 low = 0, high = vm->nram;
    while (low < high) {
        u32 mid = (low + high) / 2;
        const struct vm_ram *r = &vm->ram[mid];
        if (gpa.raw < r->gpa.raw)
            high = mid;
        else if (gpa.raw - r->gpa.raw >= r->size)
            low = mid + 1;
        else
            return r;
    }
    return NULL;
}

void *vm_ptr(const struct vm *vm, gpa_t gpa, u64 length)
{
    const struct vm_ram *r = vm_find_ram(vm, gpa);
    if (!r)
        return NULL;
    u64 offset = gpa.raw - r->gpa.raw;
    if (length > r->size - offset)
        return NULL;
    return phys_ptr(HPA(r->hpa.raw + offset));
}

int vm_fill(struct vm *vm, gpa_t gpa)
{
    const struct vm_ram *r = vm_find_ram(vm, gpa);
    if (!r || !r->lazy)
        return E_NOENT;
    u64 offset = align_down(gpa.raw - r->gpa.raw, PAGE_SIZE);
    return ept_map(&vm->ept, GPA(r->gpa.raw + offset), HPA(r->hpa.raw + offset), PAGE_SIZE,
                   ram_attr(r));
}
