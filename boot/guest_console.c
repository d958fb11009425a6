// SPDX-License-Identifier: MIT
#include "boot/guest_console.h"

#include "arch/x86_64/lib/check.h"
#include "arch/x86_64/lib/fmt.h"
#include "arch/x86_64/lib/log.h"
#include "arch/x86_64/lib/string.h"

#define FLUSH_PART 50u // of a second: what a guest leaves unfinished that long is a prompt

static struct guest_console *keyboard(const struct terminal *t)
{
    return t->count ? t->consoles[t->focus] : NULL;
}

// ---- output -------------------------------------------------------------------------------------

// Whether the last thing on the screen is this guest's own unfinished line.
static bool continues(const struct guest_console *c)
{
    return c->terminal->writing == c && log_mid_line();
}

static void show_label(const struct guest_console *c)
{
    char label[sizeof(c->vm->name) + 4];
    int length = fmt_snprintf(label, sizeof(label), "[%s] ", c->vm->name);
    if (log_mid_line())
        log_raw("\n", 1);
    log_raw(label, (size_t)length);
}

static void show(struct guest_console *c)
{
    if (!continues(c))
        show_label(c);
    log_raw(c->line, c->length);
    c->length = 0;
    c->terminal->writing = c;
    deadline_cancel(&c->vm->timers, &c->flush);
}

static void flush_fire(struct deadline *entry, u64 now)
{
    (void)now;
    show(container_of(entry, struct guest_console, flush));
}

static void end_line(struct guest_console *c)
{
    show(c);
    log_raw("\n", 1);
}

// The deadline is armed as long as anything is kept back.
static void keep_back(struct guest_console *c, char character)
{
    const struct clock *clock = c->vm->clock;
    if (c->length == 0)
        deadline_arm(&c->vm->timers, &c->flush, clock_now(clock) + clock->hz / FLUSH_PART);
    c->line[c->length++] = character;
    if (c->length == CONSOLE_LINE)
        show(c);
}

// A line ends by CR LF, LF, or by a CR that something else follows, which would write over the
// label.
static void put_labelled(struct guest_console *c, char character)
{
    bool returned = c->returned;

    c->returned = character == '\r';
    if (character == '\n') {
        end_line(c);
        return;
    }
    if (c->returned)
        return;
    if (returned && (c->length || continues(c)))
        end_line(c);
    if (continues(c))
        log_raw(&character, 1);
    else
        keep_back(c, character);
}

static void write(void *ctx, const u8 *data, size_t length)
{
    struct guest_console *c = ctx;

    if (!c->terminal)
        return;
    if (!c->terminal->config.labels) {
        log_raw((const char *)data, length);
        return;
    }
    for (size_t i = 0; i < length; i++)
        put_labelled(c, (char)data[i]);
}

// ---- input --------------------------------------------------------------------------------------

static u32 queued(const struct guest_console *c)
{
    return c->put - c->taken;
}

// Gives the guest the next bytes, at most this many.
static void feed(struct guest_console *c, u32 limit)
{
    struct terminal *t = c->terminal;
    u8 batch[UART_FIFO];
    u32 n = 0;

    for (; n < limit && n < queued(c); n++)
        batch[n] = c->input[(c->taken + n) % CONSOLE_INPUT];
    c->taken += (u32)uart_receive(&c->vm->com1, batch, n);
    if (t->waiting && queued(c) <= CONSOLE_INPUT / 2) {
        t->waiting = false;
        t->config.work();
    }
}

// A guest that takes no interrupt gets what it asks for, a byte at a time: one that only sets up
// its UART reads and clears all that is there.
static void room(void *ctx)
{
    struct guest_console *c = ctx;
    if (c->terminal && queued(c))
        feed(c, uart_listens(&c->vm->com1) ? UART_FIFO : 1);
}

static void watch_fire(struct deadline *entry, u64 now)
{
    struct guest_console *c = container_of(entry, struct guest_console, watch);
    struct terminal *t = c->terminal;
    serial_receive(t->config.input);
    deadline_arm(&c->vm->timers, entry, now + t->config.poll);
}

static void watch(struct terminal *t)
{
    struct guest_console *c = keyboard(t);
    if (c && t->config.input && t->config.poll)
        deadline_arm(&c->vm->timers, &c->watch, clock_now(c->vm->clock) + t->config.poll);
}

// Input that waited for room in another VM's queue has room in this one's.
static void give_keyboard(struct terminal *t, unsigned index)
{
    t->focus = index;
    watch(t);
    t->config.work();
    if (t->config.input && t->config.labels)
        log_info("vm %s: has the keyboard", keyboard(t)->vm->name);
}

static void next_keyboard(struct terminal *t)
{
    struct guest_console *c = keyboard(t);
    deadline_cancel(&c->vm->timers, &c->watch);
    give_keyboard(t, (t->focus + 1) % t->count);
}

static void leave(struct terminal *t)
{
    for (unsigned i = 0; i < t->count; i++)
        vm_stop(t->consoles[i]->vm, VM_END_LEFT, "Ctrl-]");
}

static void take(struct terminal *t, u8 byte)
{
    struct guest_console *c = keyboard(t);
    if (byte == KEY_LEAVE)
        leave(t);
    else if (byte == KEY_NEXT && t->config.labels)
        next_keyboard(t);
    else
        c->input[c->put++ % CONSOLE_INPUT] = byte;
}

static void report_overruns(struct terminal *t)
{
    u32 overruns = t->config.input->input->overruns;
    if (overruns != t->overruns)
        log_warn("input: characters were lost: the serial port was overrun %u times", overruns);
    t->overruns = overruns;
}

// What does not fit into the guest's queue stays with the serial port, which makes the other side
// wait. The way out is not to wait with it.
void terminal_poll(void *context)
{
    struct terminal *t = context;
    int byte = 0;

    if (!t->config.input || !t->count)
        return;
    serial_receive(t->config.input);
    report_overruns(t);
    while (queued(keyboard(t)) < CONSOLE_INPUT && (byte = serial_read(t->config.input)) >= 0)
        take(t, (u8)byte);
    t->waiting = byte >= 0;
    if (t->waiting && serial_holds(t->config.input, KEY_LEAVE))
        leave(t);
    for (unsigned i = 0; i < t->count; i++)
        if (uart_listens(&t->consoles[i]->vm->com1))
            room(t->consoles[i]);
}

// ---- life ---------------------------------------------------------------------------------------

INIT void terminal_init(struct terminal *terminal, const struct terminal_config *config)
{
    memset(terminal, 0, sizeof(*terminal));
    terminal->config = *config;
}

INIT struct chardev guest_console_chardev(struct guest_console *console)
{
    return (struct chardev){.write = write, .ctx = console, .room = room};
}

INIT void guest_console_attach(struct guest_console *console, struct terminal *terminal,
                               struct vm *vm)
{
    CHECK(terminal->count < TERMINAL_VMS);
    memset(console, 0, sizeof(*console));
    console->terminal = terminal;
    console->vm = vm;
    console->flush.fire = flush_fire;
    console->watch.fire = watch_fire;
    terminal->consoles[terminal->count++] = console;
    if (terminal->count == 1)
        watch(terminal);
}

static unsigned index_of(const struct terminal *t, const struct guest_console *console)
{
    unsigned index = 0;
    while (t->consoles[index] != console)
        index++;
    return index;
}

static void forget(struct terminal *t, unsigned index)
{
    t->count--;
    for (unsigned i = index; i < t->count; i++)
        t->consoles[i] = t->consoles[i + 1];
    if (index < t->focus)
        t->focus--;
    else if (index == t->focus && t->count)
        give_keyboard(t, index % t->count);
}

void guest_console_detach(struct guest_console *console)
{
    struct terminal *t = console->terminal;

    if (!t)
        return;
    if (console->length)
        end_line(console);
    deadline_cancel(&console->vm->timers, &console->watch);
    forget(t, index_of(t, console));
    if (t->writing == console)
        t->writing = NULL;
    console->terminal = NULL;
}

INIT void terminal_announce(const struct terminal *terminal)
{
    if (!terminal->config.input || !terminal->count)
        return;
    log_info("input: Ctrl-] ends %s", terminal->config.labels
                                          ? "all VMs, Ctrl-\\ gives the keyboard to the next one"
                                          : "the VM");
    if (terminal->config.labels)
        log_info("vm %s: has the keyboard", keyboard(terminal)->vm->name);
}
