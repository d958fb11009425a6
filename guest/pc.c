// SPDX-License-Identifier: MIT
// The devices of a VM, their lines and how they reach its CPU.
#include "guest/pc.h"

#include "arch/x86_64/lib/err.h"
#include "guest/vm.h"

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

static void lapic_eoi_broadcast(void *ctx, u8 vector)
{
    struct vm *vm = ctx;
    ioapic_eoi(&vm->ioapic, vector);
}

static const struct lapic_ops lapic_ops = {
    .kick = kick,
    .nmi = lapic_nmi,
    .init = lapic_init_ipi,
    .eoi = lapic_eoi_broadcast,
};

// Messages of the I/O APIC have 8 bits of destination, in x2APIC mode too; all ones is everybody.
static u32 ioapic_dest(const struct ioapic_message *message)
{
    return message->dest == 0xff ? LAPIC_BROADCAST : message->dest;
}

static bool ioapic_deliver(void *ctx, const struct ioapic_message *message)
{
    struct vm *vm = ctx;
    if (!lapic_matches(&vm->lapic, ioapic_dest(message), message->logical))
        return false;
    lapic_receive(&vm->lapic, message->mode, message->vector, message->level_triggered);
    if (message->mode == APIC_DM_EXTINT)
        kick(vm);
    return true;
}

// The PICs' INTR goes to LINT0 and to the I/O APIC; either passes it on as ExtINT, and the run loop
// acknowledges it.
static void pic_intr(void *ctx, unsigned line, bool level)
{
    struct vm *vm = ctx;
    lapic_set_lint(&vm->lapic, line, level);
    ioapic_set_irq(&vm->ioapic, PC_GSI_INTR, level);
    vm->attention |= VM_ATTENTION_EVENT;
}

// A local APIC that is software-disabled takes no ExtINT message.
static bool extint_by_ioapic(const struct vm *vm)
{
    struct ioapic_message message;
    return ioapic_extint(&vm->ioapic, PC_GSI_INTR, &message) && (vm->lapic.svr & APIC_SVR_ENABLE) &&
           lapic_matches(&vm->lapic, ioapic_dest(&message), message.logical);
}

bool vm_extint(const struct vm *vm)
{
    return pic_output(&vm->pic) && (lapic_accepts_extint(&vm->lapic) || extint_by_ioapic(vm));
}

bool vm_nmi_wired(const struct vm *vm)
{
    u32 lint0 = vm->lapic.lvt[LAPIC_LVT_LINT0];
    return (lint0 & (APIC_LVT_DELIVERY | APIC_LVT_MASKED)) == APIC_DM_NMI << 8 ||
           ioapic_uses(&vm->ioapic, APIC_DM_NMI);
}

static void power_off(void *ctx)
{
    vm_stop(ctx, VM_END_POWER_OFF, "ACPI S5");
}

static void ask_reset(void *ctx, const char *by)
{
    vm_stop(ctx, VM_END_RESET, "%s", by);
}

static void debug_exit(void *ctx, u32 status)
{
    struct vm *vm = ctx;
    if (vm->end == VM_RUNNING)
        vm->end_status = status;
    vm_stop(vm, VM_END_DEBUG_EXIT, "status %u", status);
}

// ---- the devices ------------------------------------------------------------------------------

// Which controller serves the lines is the guest's choice, by what it masks.
static void isa_set(void *ctx, unsigned line, bool level)
{
    struct vm *vm = ctx;
    pic_set_irq(&vm->pic, line, level);
    ioapic_set_irq(&vm->ioapic, line == PC_IRQ_PIT ? PC_GSI_PIT : line, level);
}

static struct irq_pin isa_irq(struct vm *vm, unsigned line)
{
    return (struct irq_pin){.set = isa_set, .ctx = vm, .line = line};
}

// The lines of the interval timer and of the clock chip go through the HPET, which may take them.
static struct irq_pin hpet_irq(struct vm *vm, unsigned line)
{
    return (struct irq_pin){.set = hpet_legacy_set, .ctx = &vm->hpet, .line = line};
}

INIT static void init_devices(struct vm *vm, const struct vm_config *config)
{
    struct lapic_config lapic = {
        .bsp = true,
        .x2apic = config->x2apic,
        .tsc_deadline = config->tsc_deadline,
        .eoi_suppress = true,
        .timer_hz = config->lapic_hz,
        .clock = vm->clock,
        .queue = &vm->timers,
        .ops = &lapic_ops,
        .ctx = vm,
    };
    struct irq_pin intr = {.set = pic_intr, .ctx = vm, .line = 0};

    lapic_init(&vm->lapic, &lapic);
    ioapic_init(&vm->ioapic, &(struct ioapic_config){PC_IOAPIC_ID, ioapic_deliver, vm});
    pic_init(&vm->pic, intr);
    const struct hpet_config hpet = {
        .clock = vm->clock,
        .queue = &vm->timers,
        .routes = PC_GSI_HPET,
        .inputs = {.set = ioapic_set_irq, .ctx = &vm->ioapic},
        .legacy = { isa_irq(vm, PC_IRQ_PIT),                  isa_irq(vm, PC_IRQ_RTC)},
    };
    hpet_init(&vm->hpet, &hpet);
    pit_init(&vm->pit, vm->clock, &vm->timers, hpet_irq(vm, HPET_LEGACY_PIT));
    uart_init(&vm->com1, &(struct uart_config){.name = "com1",
                                               .port = UART_COM1,
                                               .clock = vm->clock,
                                               .queue = &vm->timers,
                                               .irq = isa_irq(vm, PC_IRQ_COM1),
                                               .out = config->console});
    const struct rtc_config rtc = {
        .clock = vm->clock,
        .queue = &vm->timers,
        .irq = hpet_irq(vm, HPET_LEGACY_RTC),
        .epoch = config->epoch,
        .epoch_ticks = config->epoch_ticks,
    };
    rtc_init(&vm->rtc, &rtc);
    const struct pm_config pm = {
        .base = PC_PM_BASE,
        .soft_off = PC_SLEEP_S5,
        .clock = vm->clock,
        .queue = &vm->timers,
        .sci = isa_irq(vm, PC_IRQ_SCI),
        .power_off = power_off,
        .ctx = vm,
    };
    pm_init(&vm->pm, &pm);
    reset_init(&vm->reset, (struct reset_pin){ask_reset, vm});
    pci_init(&vm->pci, &vm->reset.dev);
    i8042_init(&vm->i8042, (struct reset_pin){ask_reset, vm}, isa_irq(vm, PC_IRQ_KEYBOARD));
    debug_exit_init(&vm->debug_exit, debug_exit, vm);
    post_init(&vm->post);
}

INIT static int attach_devices(struct vm *vm)
{
    int err = bus_attach(&vm->bus, &vm->lapic.dev, IO_MEM, APIC_DEFAULT_BASE, PAGE_SIZE);
    if (err == OK)
        err = ioapic_attach(&vm->ioapic, &vm->bus);
    if (err == OK)
        err = pic_attach(&vm->pic, &vm->bus);
    if (err == OK)
        err = pit_attach(&vm->pit, &vm->bus);
    if (err == OK)
        err = uart_attach(&vm->com1, &vm->bus);
    if (err == OK)
        err = rtc_attach(&vm->rtc, &vm->bus);
    if (err == OK)
        err = hpet_attach(&vm->hpet, &vm->bus);
    if (err == OK)
        err = pm_attach(&vm->pm, &vm->bus);
    if (err == OK)
        err = reset_attach(&vm->reset, &vm->bus);
    if (err == OK)
        err = pci_attach(&vm->pci, &vm->bus);
    if (err == OK)
        err = i8042_attach(&vm->i8042, &vm->bus);
    if (err == OK)
        err = debug_exit_attach(&vm->debug_exit, &vm->bus);
    if (err == OK)
        err = post_attach(&vm->post, &vm->bus);
    return err;
}

INIT int vm_init_devices(struct vm *vm, const struct vm_config *config)
{
    bus_init(&vm->bus);
    init_devices(vm, config);
    return attach_devices(vm);
}

// What firmware finds out at power-on and leaves in CMOS memory.
static void tell_memory_size(struct vm *vm)
{
    u64 low_end = 0, high = 0;
    for (u32 i = 0; i < vm->nram; i++) {
        const struct vm_ram *ram = &vm->ram[i];
        if (ram->gpa.raw < PC_ABOVE_4G)
            low_end = ram->gpa.raw + ram->size;
        else
            high += ram->size;
    }
    rtc_set_memory_size(&vm->rtc, low_end, high);
}

void vm_reset_devices(struct vm *vm)
{
    bus_reset(&vm->bus);
    tell_memory_size(vm);
    lapic_virtual_wire(&vm->lapic);
}
