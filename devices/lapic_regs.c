// SPDX-License-Identifier: MIT
// The local APIC's registers as the guest reaches them. A register's index is its MSR less 800H,
// and its offset in the xAPIC page divided by 16.
#include "devices/lapic_parts.h"

#include "arch/x86_64/lib/err.h"

#define INDEX(offset) ((offset) >> 4)
#define X2APIC_MSRS   0x800u
#define BASE_MODE     (APIC_BASE_ENABLE | APIC_BASE_X2APIC)

#define LVT_COMMON (APIC_LVT_VECTOR | APIC_LVT_MASKED)
#define LVT_SENSOR (LVT_COMMON | (u32)APIC_LVT_DELIVERY)
#define LVT_LINT   (LVT_SENSOR | APIC_LVT_POLARITY | APIC_LVT_LEVEL)

#define ICR_LOW_BITS                                                                               \
    (0xffu | (u32)BITS(10, 8) | APIC_ICR_DEST_LOGICAL | APIC_ICR_ASSERT | APIC_ICR_LEVEL |         \
     (u32)APIC_ICR_SHORTHAND)

// ---- what both modes share ----------------------------------------------------------------------

// The bits software can set in a register that both modes write alike; 0 for any other register.
static u32 writable_bits(const struct lapic *lapic, u32 index)
{
    switch (index) {
    case INDEX(APIC_TPR):
        return 0xff;
    case INDEX(APIC_SVR):
        return APIC_SVR_VECTOR | APIC_SVR_ENABLE | APIC_SVR_FOCUS |
               (lapic->config.eoi_suppress ? APIC_SVR_EOI_SUPPRESS : 0);
    case INDEX(APIC_LVT_TIMER):
        return LVT_COMMON | BIT32(17) | (lapic->config.tsc_deadline ? BIT32(18) : 0);
    case INDEX(APIC_LVT_THERM):
    case INDEX(APIC_LVT_PERF):
        return LVT_SENSOR;
    case INDEX(APIC_LVT_LINT0):
    case INDEX(APIC_LVT_LINT1):
        return LVT_LINT;
    case INDEX(APIC_LVT_ERROR):
        return LVT_COMMON;
    case INDEX(APIC_TMICT):
        return ~0u;
    case INDEX(APIC_TDCR):
        return 0xb;
    default:
        return 0;
    }
}

// Read-only bits within those registers: writing them as they were read is no mistake.
static u32 status_bits(u32 index)
{
    switch (index) {
    case INDEX(APIC_LVT_TIMER):
    case INDEX(APIC_LVT_THERM):
    case INDEX(APIC_LVT_PERF):
    case INDEX(APIC_LVT_ERROR):
        return APIC_LVT_STATUS;
    case INDEX(APIC_LVT_LINT0):
    case INDEX(APIC_LVT_LINT1):
        return APIC_LVT_STATUS | APIC_LVT_RIRR;
    default:
        return 0;
    }
}

// While the APIC is software-disabled the mask bits are held at 1: "Local APIC State After It Has
// Been Software Disabled".
static void write_svr(struct lapic *lapic, u32 value)
{
    lapic_recall(lapic);
    lapic->svr = value;
    if (!(value & APIC_SVR_ENABLE))
        for (unsigned i = 0; i < LAPIC_LVTS; i++)
            lapic->lvt[i] |= APIC_LVT_MASKED;
    lapic_update(lapic);
}

static void write_lvt(struct lapic *lapic, u32 entry, u32 value)
{
    if (!(lapic->svr & APIC_SVR_ENABLE))
        value |= APIC_LVT_MASKED;
    if (entry == LAPIC_LVT_TIMER)
        lapic_timer_write_lvt(lapic, value);
    else if (entry == LAPIC_LVT_LINT0 || entry == LAPIC_LVT_LINT1)
        lapic_lint_write_lvt(lapic, entry - LAPIC_LVT_LINT0, value);
    else
        lapic->lvt[entry] = value;
}

// A register that has writable_bits(); value is cut down to them.
static void write_shared(struct lapic *lapic, u32 index, u32 value)
{
    switch (index) {
    case INDEX(APIC_TPR):
        lapic_set_tpr(lapic, (u8)value);
        break;
    case INDEX(APIC_SVR):
        write_svr(lapic, value);
        break;
    case INDEX(APIC_TMICT):
        lapic_timer_write_initial(lapic, value);
        break;
    case INDEX(APIC_TDCR):
        lapic_timer_write_divide(lapic, value);
        break;
    default:
        write_lvt(lapic, index - INDEX(APIC_LVT_TIMER), value);
    }
}

// Reading ESR gives what this latched: "Error Handling".
static void latch_errors(struct lapic *lapic)
{
    lapic->esr = lapic->errors;
    lapic->errors = 0;
}

static u32 set_word(const u64 *set, u32 index)
{
    return (u32)(set[index / 2] >> (index % 2 * 32));
}

static u32 isr_word(const struct lapic *lapic, u32 index)
{
    u32 word = 0;
    for (u8 vector = lapic->isr_high; vector != 0; vector = lapic->isr_below[vector >> 4])
        if (vector / 32 == index)
            word |= BIT32(vector % 32);
    return word;
}

// "Task and Processor Priorities". Where the classes are equal the low bits are model-specific;
// here they are TPR's.
static u32 ppr(const struct lapic *lapic)
{
    u32 in_service = lapic->isr_high & 0xf0;
    return (lapic->tpr & 0xf0u) >= in_service ? lapic->tpr : in_service;
}

// A register that both modes read alike; false if there is none.
static bool read_shared(const struct lapic *lapic, u32 index, u32 *value)
{
    switch (index) {
    case INDEX(APIC_VERSION):
        *value = lapic_version(lapic);
        return true;
    case INDEX(APIC_TPR):
        *value = lapic->tpr;
        return true;
    case INDEX(APIC_PPR):
        *value = ppr(lapic);
        return true;
    case INDEX(APIC_SVR):
        *value = lapic->svr;
        return true;
    case INDEX(APIC_ESR):
        *value = lapic->esr;
        return true;
    case INDEX(APIC_TMICT):
        *value = lapic->timer.initial;
        return true;
    case INDEX(APIC_TMCCT):
        *value = lapic_timer_count_at(lapic, clock_now(lapic->config.clock));
        return true;
    case INDEX(APIC_TDCR):
        *value = lapic->timer.tdcr;
        return true;
    }
    if (index >= INDEX(APIC_LVT_TIMER) && index <= INDEX(APIC_LVT_ERROR))
        *value = lapic->lvt[index - INDEX(APIC_LVT_TIMER)];
    else if (index >= INDEX(APIC_ISR) && index < INDEX(APIC_TMR))
        *value = isr_word(lapic, index - INDEX(APIC_ISR));
    else if (index >= INDEX(APIC_TMR) && index < INDEX(APIC_IRR))
        *value = set_word(lapic->tmr, index - INDEX(APIC_TMR));
    else if (index >= INDEX(APIC_IRR) && index < INDEX(APIC_ESR))
        *value = set_word(lapic->irr, index - INDEX(APIC_IRR));
    else
        return false;
    return true;
}

// ---- xAPIC mode ---------------------------------------------------------------------------------

static u32 page_read(struct lapic *lapic, u32 index)
{
    u32 value = 0;
    switch (index) {
    case INDEX(APIC_ID):
        return lapic_id(lapic) << 24;
    case INDEX(APIC_LDR):
        return lapic->ldr;
    case INDEX(APIC_DFR):
        return lapic->dfr;
    case INDEX(APIC_ICR_LOW):
        return (u32)lapic->icr;
    case INDEX(APIC_ICR_HIGH):
        return (u32)(lapic->icr >> 32);
    case INDEX(APIC_APR): // not there since the Pentium 4, and not an error
    case INDEX(APIC_RRD):
    case INDEX(APIC_EOI):
        return 0;
    }
    if (!read_shared(lapic, index, &value))
        lapic_error(lapic, APIC_ESR_ILLEGAL_REG);
    return value;
}

// Writes to a register that is read-only go nowhere; to one that is not there, they are an error.
static void page_write_other(struct lapic *lapic, u32 index, u32 value)
{
    u32 writable = writable_bits(lapic, index);
    u32 unused;
    if (writable)
        write_shared(lapic, index, value & writable);
    else if (index != INDEX(APIC_ID) && index != INDEX(APIC_APR) && index != INDEX(APIC_RRD) &&
             !read_shared(lapic, index, &unused))
        lapic_error(lapic, APIC_ESR_ILLEGAL_REG);
}

static void page_write(struct lapic *lapic, u32 index, u32 value)
{
    switch (index) {
    case INDEX(APIC_EOI):
        lapic_eoi(lapic);
        break;
    case INDEX(APIC_LDR):
        lapic->ldr = value & 0xff000000;
        break;
    case INDEX(APIC_DFR):
        lapic->dfr = value | 0x0fffffff;
        break;
    case INDEX(APIC_ESR):
        latch_errors(lapic);
        break;
    case INDEX(APIC_ICR_LOW):
        lapic->icr = bits_set(lapic->icr, 31, 0, value & ICR_LOW_BITS);
        lapic_send_ipi(lapic);
        break;
    case INDEX(APIC_ICR_HIGH):
        lapic->icr = bits_set(lapic->icr, 63, 32, value & 0xff000000);
        break;
    default:
        page_write_other(lapic, index, value);
    }
}

// The page's copies after a write to a register. The timer's is frequent, and changes no other.
static void copy_written(struct lapic *lapic, u32 offset)
{
    if (offset == APIC_TMICT)
        lapic_copy_initial_count(lapic);
    else
        lapic_copy_registers(lapic);
}

// There is no page in this mode, or the CPU has a part in it.
NOINLINE static enum io_result access_closed_page(struct lapic *lapic, struct io_access *io)
{
    if ((lapic->base & BASE_MODE) != APIC_BASE_ENABLE)
        return IO_UNCLAIMED;
    lapic_recall_for(lapic, io->addr & 0xff0);
    lapic->page_open = true;
    lapic_page_access(&lapic->dev, io);
    lapic->page_open = false;
    if (io->write)
        copy_written(lapic, io->addr & 0xff0);
    return IO_DONE;
}

enum io_result lapic_page_access(struct device *dev, struct io_access *io)
{
    struct lapic *lapic = container_of(dev, struct lapic, dev);
    u32 index = (u32)bits_get(io->addr, 11, 4);
    u32 byte = io->addr & 0xf;
    if (unlikely(!lapic->page_open))
        return access_closed_page(lapic, io);
    if (io->write) {
        if (byte == 0 && io->size == 4)
            page_write(lapic, index, (u32)io->value);
        return IO_DONE;
    }
    io->value = 0;
    if (byte + io->size <= 4)
        io->value = low_bytes(page_read(lapic, index) >> (byte * 8), io->size);
    return IO_DONE;
}

// ---- x2APIC mode --------------------------------------------------------------------------------

static int read_x2apic(const struct lapic *lapic, u32 index, u64 *value)
{
    u32 low;
    switch (index) {
    case INDEX(APIC_ID):
        *value = lapic_id(lapic);
        return OK;
    case INDEX(APIC_LDR):
        *value = lapic_x2apic_ldr(lapic);
        return OK;
    case INDEX(APIC_ICR_LOW):
        *value = lapic->icr;
        return OK;
    }
    if (!read_shared(lapic, index, &low))
        return E_FAULT;
    *value = low;
    return OK;
}

int lapic_msr_read(struct lapic *lapic, u32 msr, u64 *value)
{
    if (unlikely(!lapic_in_x2apic(lapic)))
        return E_FAULT;
    if (unlikely(!lapic->msrs_open))
        lapic_recall_for(lapic, (msr - X2APIC_MSRS) << 4);
    return read_x2apic(lapic, msr - X2APIC_MSRS, value);
}

// The delivery-status bit is gone in x2APIC mode; Intel's processors ignore it rather than fault.
static int write_icr(struct lapic *lapic, u64 value)
{
    if (value & ~(u64)(ICR_LOW_BITS | APIC_ICR_PENDING) & BITS(31, 0))
        return E_FAULT;
    lapic->icr = value & ~(u64)APIC_ICR_PENDING;
    lapic_send_ipi(lapic);
    return OK;
}

static int write_self_ipi(struct lapic *lapic, u64 value)
{
    if (value > 0xff)
        return E_FAULT;
    if (value < LAPIC_FIRST_VECTOR)
        lapic_error(lapic, APIC_ESR_SEND_ILLEGAL | APIC_ESR_RECV_ILLEGAL);
    else
        lapic_set_irq(lapic, (u8)value, false);
    return OK;
}

static int write_other(struct lapic *lapic, u32 index, u64 value)
{
    u32 writable = writable_bits(lapic, index);
    if (writable == 0 || (value & ~(u64)(writable | status_bits(index))))
        return E_FAULT;
    // 11b in the timer's mode field is reserved as a whole.
    if (index == INDEX(APIC_LVT_TIMER) && bits_get(value, 18, 17) == 3)
        return E_FAULT;
    write_shared(lapic, index, (u32)value & writable);
    return OK;
}

// These MSRs are not there in this mode, or the CPU has a part in them.
NOINLINE static int write_closed_msr(struct lapic *lapic, u32 msr, u64 value)
{
    u32 offset = (msr - X2APIC_MSRS) << 4;
    if (!lapic_in_x2apic(lapic))
        return E_FAULT;
    lapic_recall_for(lapic, offset);
    lapic->msrs_open = true;
    int err = lapic_msr_write(lapic, msr, value);
    lapic->msrs_open = false;
    copy_written(lapic, offset);
    return err;
}

int lapic_msr_write(struct lapic *lapic, u32 msr, u64 value)
{
    if (unlikely(!lapic->msrs_open))
        return write_closed_msr(lapic, msr, value);
    if (msr == X2APIC_MSRS + INDEX(APIC_EOI) && value == 0) {
        lapic_eoi(lapic);
        return OK;
    }
    switch (msr - X2APIC_MSRS) {
    case INDEX(APIC_ESR):
        if (value != 0)
            return E_FAULT;
        latch_errors(lapic);
        return OK;
    case INDEX(APIC_TMICT):
        if (value > ~0u)
            return E_FAULT;
        lapic_timer_write_initial(lapic, (u32)value);
        return OK;
    case INDEX(APIC_ICR_LOW):
        return write_icr(lapic, value);
    case INDEX(APIC_SELF_IPI):
        return write_self_ipi(lapic, value);
    default: // and EOI of anything but 0
        return write_other(lapic, msr - X2APIC_MSRS, value);
    }
}

void lapic_page_written(struct lapic *lapic, u32 offset)
{
    struct io_access io = {
        .space = IO_MEM, .size = 4, .write = true, .addr = APIC_DEFAULT_BASE + offset};
    io.value = lapic->cpu.page[offset / 4];
    if (lapic_in_x2apic(lapic))
        (void)write_closed_msr(lapic, X2APIC_MSRS + INDEX(offset), io.value);
    else
        (void)access_closed_page(lapic, &io);
}

// ---- IA32_APIC_BASE -----------------------------------------------------------------------------

// "x2APIC State Transitions".
static bool transition_exists(u64 from, u64 to)
{
    if (from == to || to == 0)
        return true;
    if (to == APIC_BASE_ENABLE)
        return from == 0;
    return to == BASE_MODE && from == APIC_BASE_ENABLE;
}

static void enter_mode(struct lapic *lapic, u64 mode)
{
    lapic_recall(lapic);
    lapic->base = bits_set(lapic->base, 11, 10, mode >> 10);
    if (mode == BASE_MODE) { // "State Changes From xAPIC Mode to x2APIC Mode"
        lapic->icr = bits_get(lapic->icr, 31, 0);
    } else if (mode == 0) {
        lapic_reset_registers(lapic);
        lapic_pins_to_cpu(lapic);
    }
    lapic_update(lapic);
}

int lapic_base_write(struct lapic *lapic, u64 value)
{
    u64 from = lapic->base & BASE_MODE;
    u64 to = value & BASE_MODE;
    if ((value & ~(BASE_MODE | APIC_BASE_BSP)) != APIC_DEFAULT_BASE)
        return E_FAULT;
    if ((to & APIC_BASE_X2APIC) && !lapic->config.x2apic)
        return E_FAULT;
    if (!transition_exists(from, to))
        return E_FAULT;
    if (from != to)
        enter_mode(lapic, to);
    lapic->base = value;
    return OK;
}
