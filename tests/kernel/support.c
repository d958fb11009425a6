// SPDX-License-Identifier: MIT
#include "tests/kernel/support.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/err.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"
#include "tests/guest/calls.h"
#include "vmx/vmcs_access.h"

void with_lab(struct selftest_ctx *t, lab_body body)
{
    struct lab lab;
    if (!lab_open(t, &lab, "lab"))
        return;
    body(t, &lab);
    lab_close(&lab);
}

bool lab_snippet(struct selftest_ctx *t, struct lab *lab, enum image_mode mode,
                 const struct lab_snippet *code)
{
    return lab_code(t, lab, mode, code->start, (size_t)(code->end - code->start));
}

bool contains(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text; text++)
        if (!strncmp(text, part, length))
            return true;
    return length == 0;
}

// ---- the log -----------------------------------------------------------------------------------

static struct {
    char text[4096];
    size_t length;
} heard;

static void hear(const char *text, size_t length)
{
    size_t room = sizeof(heard.text) - 1 - heard.length;
    size_t n = length < room ? length : room;
    memcpy(heard.text + heard.length, text, n);
    heard.length += n;
    heard.text[heard.length] = 0;
}

void log_quietly(void)
{
    heard.length = 0;
    heard.text[0] = 0;
    log_set_sink(hear, false);
}

void log_normally(void)
{
    log_set_sink(console_write, false);
}

void run_quietly(struct lab *lab)
{
    log_quietly();
    lab_run(lab);
    log_normally();
}

bool said(const char *text)
{
    return contains(heard.text, text);
}

// ---- a lab's state -----------------------------------------------------------------------------

bool ended(struct selftest_ctx *t, const struct lab *lab, enum vm_end_kind kind, const char *text)
{
    const struct vm *vm = lab->vm;
    if (vm->end == kind && contains(vm->end_text, text))
        return true;
    selftest_fail(t, "ended by \"%s: %s\", not \"%s: ...%s\"", vm_end_name(vm->end), vm->end_text,
                  vm_end_name(kind), text);
    return false;
}

u64 lab_peek(struct lab *lab, enum vmcs_field field)
{
    vcpu_load(lab->vcpu);
    u64 value = vmcs_read(field);
    vcpu_put(lab->vcpu);
    return value;
}

void lab_poke(struct lab *lab, enum vmcs_field field, u64 value)
{
    vcpu_load(lab->vcpu);
    vmcs_write(field, value);
    vcpu_put(lab->vcpu);
}

u64 exits_of_all_kinds(const struct vcpu *vcpu)
{
    u64 sum = 0;
    for (unsigned i = 0; i < REASON_COUNT; i++)
        sum += vcpu->exits[i];
    return sum;
}

_Static_assert(LAZY == LAB_LAZY && LAZY_SIZE == LAB_LAZY_SIZE, "as the guest believes");

static bool answer(struct vcpu *vcpu, const struct exit_info *exit, enum exit_action *action)
{
    u64 arg = vcpu->regs[GPR_RBX];
    if (exit->reason != REASON_VMCALL)
        return false;
    switch (vcpu->regs[GPR_RAX]) {
    case CALL_FORGET:
        vcpu->regs[GPR_RAX] = (u64)ept_unmap(&vcpu->vm->ept, GPA(arg), PAGE_SIZE);
        break;
    case CALL_SPLIT:
        vcpu->regs[GPR_RAX] = (u64)ept_protect(&vcpu->vm->ept, GPA(arg), PAGE_SIZE, EPT_R);
        vcpu->regs[GPR_RAX] |= (u64)ept_protect(&vcpu->vm->ept, GPA(arg), PAGE_SIZE, EPT_RWX);
        break;
    case CALL_IRQ:
        pic_set_irq(&vcpu->vm->pic, (unsigned)arg, true);
        break;
    case CALL_NMI:
        vcpu_nmi(vcpu);
        break;
    default:
        return false;
    }
    *action = ACT_SKIP;
    return true;
}

void answer_calls(struct lab *lab)
{
    lab->vcpu->hook = answer;
}

// ---- the FIFO ----------------------------------------------------------------------------------

struct fifo fifo;

_Static_assert(sizeof(fifo.bytes) == FIFO_SIZE, "as the guest believes");

static void fifo_reset(struct device *dev)
{
    (void)dev;
    fifo.head = fifo.held = fifo.accesses = 0;
}

static void fifo_data(struct io_access *io)
{
    fifo.accesses++;
    if (!io->write)
        io->value = 0;
    for (unsigned i = 0; i < io->size; i++) {
        if (io->write && fifo.held < FIFO_SIZE) {
            fifo.bytes[(fifo.head + fifo.held++) % FIFO_SIZE] = (u8)(io->value >> 8 * i);
        } else if (!io->write && fifo.held) {
            io->value |= (u64)fifo.bytes[fifo.head] << 8 * i;
            fifo.head = (fifo.head + 1) % FIFO_SIZE;
            fifo.held--;
        }
    }
}

static enum io_result fifo_access(struct device *dev, struct io_access *io)
{
    (void)dev;
    if (io->addr == FIFO_DATA)
        fifo_data(io);
    else if (!io->write)
        io->value = io->addr == FIFO_HELD ? fifo.held : fifo.accesses;
    return IO_DONE;
}

void add_fifo(struct lab *lab)
{
    static const struct device_ops ops = {.reset = fifo_reset, .access = fifo_access};
    fifo.dev = (struct device){"fifo", &ops};
    fifo_reset(&fifo.dev);
    CHECK(bus_attach(&lab->vm->bus, &fifo.dev, IO_PORT, FIFO_DATA, 4) == OK);
    CHECK(bus_attach(&lab->vm->bus, &fifo.dev, IO_PORT, FIFO_HELD, 8) == OK);
}
