# SPDX-License-Identifier: MIT
"""The list of Corbel's tests. A test is a row; adding one is adding a row."""
import dataclasses
import itertools
import pathlib
import re


@dataclasses.dataclass
class Step:
    name: str
    says: str = ""  # what passing shows
    fast: bool = False  # part of `make check`
    needs: tuple = ()  # names of steps that must have passed
    alone: bool = False  # runs before the others, in order, with both cores to itself
    timeout: int = 300  # seconds
    about: int = 0  # roughly how long it takes, in seconds: the longest are started first
    matrix: bool = False  # of `make matrix`: each machine with each CPU count and model
    sample: bool = False  # ... and of `make test` too


@dataclasses.dataclass
class Command(Step):
    """Passes if the command exits with 0. @BUILD@ is the build directory."""
    argv: tuple = ()


@dataclasses.dataclass
class Host(Step):
    """A cmocka program; each of its cases is counted."""
    program: str = ""


@dataclasses.dataclass
class Fuzz(Command):
    """A libFuzzer program for a bounded number of runs."""


@dataclasses.dataclass
class Boot(Step):
    """A boot of Corbel. Patterns are regular expressions, ^ and $ are a line's ends."""
    cmdline: str = ""
    machine: str = "bochs"  # a kvm row is left out where there is no KVM with VT-x
    cpu: str = ""
    cpus: int = 1
    firmware: str = "bios"
    media: str = "cd"
    mem: int = 512
    uart: str = "pc"
    keys: int = 0  # QEMU: how often the space bar is pressed before the screenshot
    boots: int = 1  # with end=reboot: how often the machine is to start
    video: str = ""
    image: str = ""  # a file in the build directory, booted as it is
    # (bytes, or a function of the build directory that gives bytes, or a file's name there; line)
    modules: tuple = ()
    script: str = ""  # what is said to the guest (tools/scripts.py), and what it is to answer
    ticks: int = 5_000_000_000
    status: int = 0  # what Corbel must end with
    expect: tuple = ()  # on the console, in this order
    forbid: tuple = ("CHECK failed", "^panic:")
    serial: tuple = ()  # on the serial line
    screen: tuple = ()  # on a screenshot
    selftests: int = 0  # how many self-tests must pass at least
    skips: int = 0  # how many may be skipped at most
    twice: bool = False  # a second run must be the same to the character and to the tick


FULL = "corei7_skylake_x"  # what a Boot runs on unless it says otherwise
MINIMAL = "corei5_lynnfield_750"  # EPT and VPID, no unrestricted guest
NO_EPT = "core2_penryn_t9600"
KERNEL = ("kernel-gcc",)


def make(name, says, target, *words, fast=True, about=0, timeout=600):
    return Command(name, says, fast=fast, alone=True, about=about, timeout=timeout,
                   argv=("make", "--no-print-directory", *(words or ("O=@BUILD@",)), target))


def checks():
    return [
        make("format", "every C file is in the settled format", "format-check"),
        make("layers", "no file includes what is above it", "layers"),
        make("shellcheck", "shellcheck has nothing to say", "shellcheck"),
        Command("tools", "the tools that judge the other tests judge rightly", fast=True,
                alone=True, argv=("python3", "-m", "unittest", "discover", "-s", "tests/tools")),
        make("kernel-gcc", "gcc builds the kernel and its image without a warning", "iso"),
        make("kernel-clang", "so does clang", "iso", "O=@BUILD@/clang", "CC=clang"),
        make("stick", "a stick is made, with a kernel of somebody's own", "@BUILD@/stick.img",
             fast=False),
        make("headers", "each header compiles alone, by both compilers", "headers"),
        make("host-build", "the host tests build", "host-bins"),
        make("fuzz-build", "the fuzzers build", "fuzz-bins", fast=False),
        Command("kernel-checks", "no vector registers, nothing writable and executable, a small and"
                " repeatable image", fast=True, alone=True, needs=KERNEL,
                argv=("tools/check-kernel.sh", "@BUILD@/corbel.elf", "@BUILD@/corbel.iso")),
    ]


def host_tests(top):
    return [Host(f"host/{path.stem[5:]}", "on the host, with sanitizers", fast=True,
                 needs=("host-build",), program=path.stem)
            for path in sorted((top / "tests/host").glob("test_*.c"))]


def fuzzers(top):
    return [Fuzz(f"fuzz/{path.stem[5:]}", "100,000 mutated inputs, no complaint", about=20,
                 needs=("fuzz-build",),
                 argv=(f"@BUILD@/fuzz/{path.stem}", "-runs=100000", "-seed=1",
                       "-max_total_time=60", "-verbosity=0"))
            for path in sorted((top / "tests/fuzz").glob("fuzz_*.c"))]


def comparisons():
    """Corbel's exits beside those of Debian's KVM on the same machine."""
    return [
        make("kvm-files", "Debian's KVM, and the program that runs the measuring guest in it",
             "@BUILD@/linux/kvm.cpio", fast=False),
        Command("bench-kvm", "every measurement is made under KVM too, and takes at least 4"
                " times as long there, and 5 times without mitigations", about=120, timeout=900,
                needs=(*KERNEL, "kvm-files"),
                argv=("python3", "tools/bench_kvm.py", "--build", "@BUILD@", "--check")),
    ]


TINY64 = (
    r"^tiny: hello from 64-bit mode$",
    r"^tiny: CPUID: GenuineIntel under CorbelCorbel, highest leaf [0-9a-f]{2}$",
    r"^tiny: PIT: 10 interrupts at 100 Hz took (99|100|101) ms$",
    r"^tiny: LAPIC timer, one-shot: 5 interrupts, \d+ us$",
    r"^tiny: LAPIC timer, periodic: 5 interrupts, 1[01]\d\d us$",
    r"^tiny: LAPIC timer, TSC-deadline: 5 interrupts, 10\d\d us$",
    r"^tiny: done$",
    r"^vm tiny: stopped: debug-exit \(status 1\)$",
)
TINY32 = (r"^tiny: hello from 32-bit protected mode$",
          *TINY64[1:-1], r"^vm tiny32: stopped: debug-exit \(status 1\)$")
TINY16 = (r"^tiny: hello from real mode$", r"^tiny: CPUID: GenuineIntel$",
          r"^tiny: PIT: 10 interrupts at 100 Hz$", r"^tiny: done$",
          r"^vm tiny16: stopped: debug-exit \(status 1\)$")
TINY = (*TINY64, *TINY32, *TINY16)
NO_REAL_MODE = (*TINY64, *TINY32, r"^vm tiny16: skipped: real mode needs unrestricted guest")
# A VM with memory of its own, for which the start's memory is given back.
TINY64_VM = ((lambda build: (build / "g/tiny64.bin").read_bytes(), "kernel vm=own mem=8M"),)
GIVEN_BACK = (r"^start: nothing leads to it$", r"^image: \d+ KiB of start given back$")
HIDDEN = (r"^error: cannot run guests here: no VT-x: the outer hypervisor \(TCGTCGTCGTCG\)",
          r"^error: what to do: QEMU emulates this CPU, without VT-x: use its -accel kvm ",
          r"^corbel: done: status 3$")
FAULTLESS = ("CHECK failed", "^panic:", "^FAIL ")
NO_GUEST_TESTS = 25  # self-tests that need no VT-x
SELFTESTS = 465


def guests(top):
    """The default run, on each kind of machine that can."""
    return [
        Boot("boot/tiny", "the tiny guest in long, protected and real mode", expect=TINY, about=8,
             serial=TINY[-1:]),
        Boot("boot/tiny-minimal", "the same without unrestricted guest", cpu=MINIMAL,
             expect=NO_REAL_MODE, about=8),
        Boot("boot/tiny-host-timer", "deadlines by the host's local APIC timer",
             cmdline="without=preemption-timer", expect=TINY, about=8),
        Boot("boot/tiny-without", "every optional feature absent", about=8, expect=NO_REAL_MODE,
             cmdline=f"without={','.join(features(top))}"),
        Boot("boot/mitigations", "what guards against guests is said, and what is missing", about=8,
             expect=(r"^security: Corbel's own memory: W\^X, guard pages, WP, SMEP, SMAP; not on this"
                     " CPU: UMIP$",
                     r"^mitigations: on: registers, RSB$",
                     r"^mitigations: not needed on this CPU: BHI$",
                     r"^mitigations: needed, but the CPU has none: IBRS, IBPB, VERW, L1D$",
                     r"^security: iTLB multihit: a hostile guest may raise a machine check",
                     r"^security: always: absent EPT entries hold 0",
                     r"^security: DMA: guests have no device", *TINY64)),
        Boot("boot/security-minimal", "the same without SMEP and SMAP", cpu=MINIMAL, about=6,
             cmdline="run=caps",
             expect=(r"^security: Corbel's own memory: W\^X, guard pages, WP; not on this CPU: SMEP,"
                     " SMAP, UMIP$",)),
        Boot("boot/mitigations-off", "none is on", cmdline="mitigations=off", about=8,
             expect=(r"^mitigations: off, as the command line has it: registers, RSB$", *TINY64),
             forbid=("CHECK failed", "^panic:", "^mitigations: on")),
        Boot("boot/tiny-disk", "booted from a disk", media="disk", expect=TINY, about=8),
        Boot("boot/tiny-uefi", "UEFI and VT-x together", firmware="uefi",
             expect=TINY, about=40),
        Boot("boot/menu", "the image that `make iso` leaves, its menu untouched", about=20,
             image="corbel.iso", expect=TINY),
        Boot("boot/stick", "a kernel and a menu entry in the stick's data partition", about=10,
             image="stick.img", media="disk", needs=("stick",),
             expect=(*TINY64[:-1], r"^vm own: stopped: debug-exit \(status 1\)$")),
        Boot("boot/tiny-kvm", "on a real VT-x, nested", machine="kvm", expect=TINY64, about=8),
        Boot("boot/module", "a guest image as a module runs in memory of its own, and has what only"
                            " the start needed", about=8, cmdline="log=debug", modules=TINY64_VM,
             expect=(r"^image: .* left to guests$", *GIVEN_BACK, *TINY64[:-1],
                     r"^vm own: stopped: debug-exit \(status 1\)$")),
        Boot("boot/module-smp", "the same with other CPUs, which have forgotten the start too",
             about=12, cpus=4, cmdline="log=debug", modules=TINY64_VM,
             expect=(r"^cpus: 4 of 4 are up$", *GIVEN_BACK, *TINY64[:-1],
                     r"^corbel: done: status 0$")),
        Command("boot/bench", "every exit, and the rest, costs to the tick what tests/budgets.tsv says",
                needs=KERNEL, about=25, argv=("python3", "tools/bench.py", "--build", "@BUILD@")),
        Boot("boot/caps", "the capability report and a good verdict", cmdline="run=caps", about=6,
             expect=(r"^IA32_VMX_BASIC \(480H\)", r"offered +enable EPT \(required\)$",
                     r"^verdict: Corbel can run guests")),
    ]


def selftests():
    return [
        Boot("boot/selftest", "the self-tests on a full CPU, twice the same", fast=True, twice=True,
             cmdline="run=selftest", selftests=SELFTESTS, skips=10, forbid=FAULTLESS, about=30),
        Boot("boot/selftest-no-ept", "those that need no VT-x, the others skipped by name",
             cpu=NO_EPT, cmdline="run=selftest", selftests=NO_GUEST_TESTS, skips=500,
             expect=(r"^SKIP exits\.\S+: needs VMX$",), forbid=FAULTLESS, about=6),
        *(Boot(f"boot/selftest{name}-kvm", f"the self-tests on a real VT-x, nested, {cpus} CPU",
               machine="kvm", cpus=cpus, cmdline="run=selftest", selftests=SELFTESTS - 20,
               skips=40, forbid=FAULTLESS, about=30) for name, cpus in (("", 1), ("-4", 4))),
        Boot("boot/selftest-qemu", "the same in QEMU under BIOS", machine="qemu",
             cmdline="run=selftest", selftests=NO_GUEST_TESTS, skips=500,
             expect=(r"^SKIP exits\.\S+: needs VMX$",), forbid=FAULTLESS, about=6),
        Boot("boot/selftest-qemu-uefi", "the same in QEMU under UEFI", machine="qemu",
             firmware="uefi", cmdline="run=selftest", selftests=NO_GUEST_TESTS, skips=500,
             expect=(r"^SKIP exits\.\S+: needs VMX$",), forbid=FAULTLESS, about=10),
    ]


def echo(*names):
    """Modules: the guest that says back what is typed."""
    return tuple((lambda build: (build / "g/echo64.bin").read_bytes(), f"kernel vm={name} mem=8M")
                 for name in names)


def terminals():
    """What is typed at the serial port reaches the VMs, and what they say is told apart."""
    return [
        Boot("boot/paste", "several KiB pasted at once to a guest that is often deaf", about=8,
             script="paste", cmdline="console=e9", modules=echo("echo"), forbid=("were lost",),
             expect=(r"^input: serial port 3f8, by interrupt$", r"^input: Ctrl-\] ends the VM$")),
        Boot("boot/paste-one-line", "the same where input, log and guest share one serial line,"
             " and interrupts are not acknowledged by exits", about=12, script="paste",
             cmdline="without=ack-on-exit,preemption-timer", modules=echo("echo"),
             forbid=("were lost",)),
        Boot("boot/paste-polled", "the same where no interrupt is known: Bochs shows Corbel no"
             " ACPI tables under UEFI", firmware="uefi", about=45, script="paste",
             cmdline="console=e9", modules=echo("echo"), forbid=("were lost",),
             expect=(r"^input: serial port 3f8, looked at 1000 times a second$",)),
        Boot("boot/keyboard", "two VMs, lines told apart, the keyboard given on", about=10,
             script="keyboard", cmdline="console=e9", modules=echo("one", "two"),
             forbid=("were lost", r"^.+\[(one|two)\] ")),
        Boot("boot/leave", "Ctrl-] ends the VMs, and not as a failure", about=8, script="leave",
             cmdline="console=e9", modules=echo("echo"), expect=(r"^corbel: done: status 0$",)),
        Boot("boot/input-none", "without input a guest that waits for it has ended", about=6,
             cmdline="input=none", modules=echo("echo"), status=1, forbid=("^input:",),
             expect=(r"^echo: ready$", r"^vm echo: stopped: .*nothing left that could wake it")),
    ]


def refusals():
    """A machine that cannot run guests is told so, on the serial line and on the screen."""
    rows = [
        Boot("boot/crash", "the crash screen, from a real page fault", cmdline="run=crash",
             status=4, forbid=(), about=5,
             expect=(r"#PF page fault \(vector 14, error code 0003", r"^backtrace$",
                     r" run_mode\+0x", r" kmain\+0x"),
             serial=(r"Corbel has crashed",), screen=(r"#PF page fault", r"kmain\+0x")),
        Boot("boot/crash-early", "a crash before there is memory or a console is on the screen too",
             machine="qemu", video="1024x768x32", cmdline="run=crash-early", status=4, forbid=(),
             about=5, expect=(r"^Corbel 0.1\S*, CPU \d", r"^panic: run=crash-early", r" kmain\+0x"),
             serial=(r"Corbel has crashed",), screen=(r"Corbel has crashed", r"kmain\+0x")),
        Boot("boot/refuse-no-ept", "a CPU without EPT is refused", cpu=NO_EPT, status=3, about=6,
             expect=(r"^error: cannot run guests here: no EPT: the control \"enable EPT\"",),
             serial=(r"no EPT: the control \"enable EPT\" is not offered",),
             screen=(r"cannot run guests here: no EPT",)),
        *(Boot(f"boot/caps-qemu-{firmware}", "the capability report where there is no VT-x, and what"
               " the machine calls itself", machine="qemu", firmware=firmware,
               cmdline="run=caps", status=3, about=6,
               expect=(r"^machine: QEMU, Standard PC \(Q35 .*, version pc-q35\S*; firmware \S+ of ",
                       r"^map: 000000100000-[0-9a-f]{12} usable$",
                       r"^mtrr: 000000100000-00007fffffff WB$" if firmware == "uefi" else
                       r"^mtrr: 000000100000-0000bfffffff WB$", r"VMX no$", r"^verdict: no guests here: no VT-x"))
          for firmware in ("bios", "uefi")),
    ]
    for uart, name in (("pci", r"[0-9a-f]+ \(PCI 01:04\.0\)"), ("spcr", r"5f8 \(SPCR\)")):
        rows.append(Boot(f"boot/uart-{uart}", "the only serial port is not where a PC has one",
                         machine="qemu", uart=uart, cmdline="run=caps", status=3, about=6,
                         expect=(rf"^console: serial port {name}, port e9", r"^verdict: ",
                                 rf"^serial port {name}: the console's$"),
                         serial=(r"^verdict: no guests here", r"^corbel: done: status 3")))
    for firmware in ("bios", "uefi"):
        for media in ("cd", "usb", "disk"):
            for cpus in (1, 4):
                up = (r"^cpus: 4 of 4 are up$",) if cpus == 4 else ()
                rows.append(Boot(f"boot/refuse-qemu-{firmware}-{media}-{cpus}",
                                 f"no VT-x, QEMU, {firmware.upper()}, {media}, {cpus} CPUs",
                                 machine="qemu", firmware=firmware, media=media, cpus=cpus,
                                 status=3, expect=(*up, *HIDDEN), serial=HIDDEN,
                                 screen=(r"cannot run guests here: no VT-x",
                                         r"corbel: done: status 3"), about=8))
        rows.append(Boot(f"boot/stick-{firmware}", "that stick in QEMU", machine="qemu", about=12,
                         firmware=firmware, media="usb", image="stick.img", needs=("stick",),
                         status=3, expect=(r"^error: cannot run guests here: no VT-x",)))
        rows.append(Boot(f"boot/menu-{firmware}", "the image that `make iso` leaves, its menu"
                         " untouched", machine="qemu", firmware=firmware, image="corbel.iso",
                         status=3, expect=HIDDEN, about=12,
                         screen=(r"cannot run guests here: no VT-x",)))
    return rows


KEPT = (r"^error: no log of a run before this one was found in memory$",
        r"^corbel: done: status 1$", r"^Corbel \d",
        r"^log: \d+ lines of the run before are kept .* the last is: corbel: done: status 1$",
        r"^\| Corbel \d", r"^\| error: no log of a run before", r"^\| corbel: done: status 1$",
        r"^corbel: done: status 0$")


def pages():
    """The results on the screen of a machine without a serial port."""
    def page(name, says, **more):
        return Boot(f"boot/pages{name}", says, machine="qemu", about=8,
                    cmdline="run=selftest test=exits*.* end=halt", **more)

    return [
        page("", "what failed and the results come first, text screen",
             screen=(r"^warning: tests that need VT-x are skipped", r"^\.\.\.$",
                     r"^0 passed, 0 failed, \d+ skipped$", r"^corbel: done: status 0$",
                     r"^-- page 1 of \d+, turned by a key, or by itself$")),
        Boot("boot/no-memory", "too little memory to start with is told on the screen too, before"
             " the final page tables", machine="qemu", mem=8, video="1024x768x32", status=2,
             about=5, expect=(r"^error: no memory: Corbel needs \d+ KiB",
                              r"^map: 000000100000-[0-9a-f]{12} usable$",
                              r"^corbel: done: status 2$"),
             screen=(r"^error: no memory: Corbel needs \d+ KiB", r"^corbel: done: status 2$")),
        page("-key", "a key turns the page, framebuffer", firmware="uefi", keys=1,
             screen=(r"^Corbel \d", r"^cpu: ", r"^-- page 2 of \d+, a key turns it$")),
    ]


def restarts():
    """What a warm restart leaves in memory."""
    def kept(name, says, **more):
        more = {"cmdline": "run=log end=reboot", "expect": KEPT, **more}
        return Boot(f"boot/log-{name}", says, boots=2, **more)

    return [
        kept("kept", "the log of the run before is found after a restart", about=12),
        kept("kept-uefi", "so under UEFI", machine="qemu", firmware="uefi", about=10),
        kept("crash", "and it holds a crash", machine="qemu", cmdline="run=crash end=reboot",
             status=4, forbid=(), about=6,
             expect=(r"Corbel has crashed", r"^corbel: done: status 4$",
                     r"^log: \d+ lines .* the last is: corbel: done: status 4$")),
    ]


def bad_input():
    def refused(name, says, line, cmdline="", **more):
        return Boot(f"boot/bad-{name}", says, cmdline=cmdline, status=2, about=5,
                    expect=(line, r"^corbel: done: status 2$"), **more)

    return [
        refused("word", "an unknown word is named", r"^error: .*colour", "colour=blue"),
        refused("value", "so is a wrong value", r"^error: .*run=.*dance", "run=dance"),
        refused("test", "no such self-test", r"^error: test=nothing\.\*: no self-test",
                "run=selftest test=nothing.*"),
        refused("role", "a module of no role", r"^error: module 1\b.*kernle",
                modules=((b"x" * 4096, "kernle vm=a"),)),
        refused("truncated", "a module that is cut off", r"^error: .*truncated|guest image: \d+",
                modules=((lambda build: (build / "g/tiny64.bin").read_bytes()[:600],
                          "kernel vm=a mem=8M"),)),
        Boot("boot/bad-memory", "too little memory for a VM", status=2, about=5,
             modules=((lambda build: (build / "g/tiny64.bin").read_bytes(),
                       "kernel vm=a mem=4G"),),
             expect=(r"^error: vm a: mem=4096M is more than the \d+ MiB that are free$",
                     r"^corbel: done: status 2$")),
    ]


# ---- loaders ----------------------------------------------------------------------------------

def in_order(*patterns):
    """One pattern for several, each after the one before."""
    return "(?s:.*?)".join(patterns)


def anywhere(*patterns):
    """One pattern for several that may come in any order, from the text's start."""
    return r"\A" + "".join(f"(?=(?s:.*?){pattern})" for pattern in patterns)


def built(name):
    return lambda build: (build / name).read_bytes()


INITRD = bytes(range(250)) * 20
LOADED = ("mb1-elf32", "mb1-elf64", "mb1-addresses", "mb2-elf32", "mb2-elf64", "mb2-addresses",
          "flat")


def loaded(vm):
    """What tests/multiboot says in a VM of 8 MiB with INITRD, beside other VMs."""
    def say(text):
        return rf"^\[{vm}\] mb: {text}$"
    second = vm.startswith("mb2")
    memory = [say("memory 27f 1c00")]
    given = [say(f"command line I am {vm}"), say("loader Corbel"),
             say(f"module initrd {len(INITRD):x} sum {sum(INITRD):x}")]
    mapped = [say(line) for line in ("map 0 9fc00 1", "map 9fc00 400 2", "map e0000 20000 2",
                                     "map 100000 700000 1", "map fec00000 1000 2",
                                     "map fed00000 1000 2", "map fee00000 1000 2")]
    return in_order(say(f"magic {'36d76289' if second else '2badb002'}, stack [0-9a-f]+"),
                    *(given + memory if second else memory + given), *mapped, say("RSDP of 14"),
                    *([say("RSDP of 24")] if second else []), say("done"),
                    rf"^vm {vm}: stopped: debug-exit \(status 1\)$")


def bzimage(version=0x20f, flags=0x7f, init_size=0x400000, cmdline=2047, size=4096):
    """The first bytes of a Linux kernel, with nothing that could run behind them."""
    data = bytearray(size)
    for at, width, value in ((0x1f1, 1, 1), (0x1f4, 4, 3072 // 16), (0x1fe, 2, 0xaa55),
                             (0x200, 2, 0x6aeb), (0x206, 2, version), (0x211, 1, 1),
                             (0x22c, 4, 0x7fffffff), (0x230, 4, 0x200000), (0x234, 1, 1),
                             (0x236, 2, flags), (0x238, 4, cmdline), (0x258, 8, 0x1000000),
                             (0x260, 4, init_size)):
        data[at:at + width] = value.to_bytes(width, "little")
    data[0x202:0x206] = b"HdrS"
    return bytes(data)


def multiboot(flags):
    words = (0x1badb002, flags, -(0x1badb002 + flags) & 0xffffffff)
    return b"".join(word.to_bytes(4, "little") for word in words) + bytes(4096)


BAD_KERNELS = (  # name, kernel, its line, what is said of it
    ("cut", bzimage()[:4000], "mem=32M", r"truncated: 4000 bytes, its header says 4096"),
    ("magic", bzimage()[:0x205] + b"s" + bzimage()[0x206:], "mem=2M",
     r"wrong magic: a boot sector, but no Linux's \"HdrS\" at 202H"),
    ("swapped", b"070701" + bytes(4096), "mem=2M", r"a cpio archive: an initial RAM disk .*"),
    ("old", bzimage(version=0x20b), "mem=32M", r"boot protocol 2\.11 is too old: 2\.12 is .*"),
    ("narrow", bzimage(flags=0x7e), "mem=32M", r"no 64-bit entry: a 32-bit Linux is not supported"),
    ("small", bzimage(init_size=17 << 20), "mem=32M",
     r"too little memory: it needs 17408 KiB from 1000000H on, RAM ends at 2000000H"),
    ("disk", bzimage(init_size=(16 << 20) - 4096), "mem=32M",
     r"the initrd of 4 KiB does not fit between the kernel's end at 1fff000H and 2000000H"),
    ("words", bzimage(cmdline=10), "mem=32M -- console=ttyS0",
     r"the command line has 13 characters, it takes 10"),
    ("video", multiboot(4), "mem=2M",
     r"Multiboot: it requires a video mode, and the VM has no screen"),
    ("neither", multiboot(0), "mem=2M", r"not an ELF file, and no addresses in its header"),
    ("elf", b"\x7fELF" + bytes(4096), "mem=2M", r"ELF without a Multiboot header: not a kernel .*"),
)


# 32-bit code that counts its starts in CMOS memory, which a reset leaves alone, and resets the VM by
# port CF9H; the 40th time it exits.
RESETS = bytes.fromhex("b060 e670 e471 fec0 e671 3c28 7308 66baf90c b006 ee f4 b000 e6f4")


def loaders():
    bad = [(kernel, f"kernel vm={vm} {line}") for vm, kernel, line, _ in BAD_KERNELS]
    said = [line for vm, _, _, text in BAD_KERNELS
            for line in (rf"^error: vm {vm}: kernel: {text}$", rf"^error: vm {vm}: not started: ")]
    good = ((built("g/flat"), "kernel vm=flat mem=8M -- I am flat"), (INITRD, "initrd vm=flat"))
    return [
        Boot("boot/multiboot", "Multiboot and Multiboot2, ELF of both classes and by addresses, and"
             " a flat image, side by side", about=9, expect=(anywhere(*map(loaded, LOADED)),),
             modules=tuple(module for vm in LOADED for module in (
                 (built(f"g/{vm}"), f"kernel vm={vm} mem=8M -- I am {vm}"),
                 (INITRD, f"initrd vm={vm}"))), forbid=("BAD", "CHECK failed", "^panic:")),
        Boot("boot/multiboot-minimal", "refused by name without unrestricted guest", cpu=MINIMAL,
             about=7, status=2, modules=good, expect=(
                 r"^error: vm flat: a guest without paging needs unrestricted guest; this CPU has"
                 r" none$", r"^error: vm flat: not started: E_UNSUPP$")),
        Boot("boot/resets", "a VM that resets itself without end says so a few times, and the one"
             " beside it goes on", about=9, modules=((RESETS, "kernel vm=again mem=4M"), *good),
             expect=(*(r"^vm again: reset: port CF9H$",) * 8, r"^\(8 like this so far",
                     r"^vm again: starts with", r"^\(16 like this", r"^\(32 like this",
                     r"^vm again: stopped: debug-exit \(status 1\)$", r"^corbel: done: status 0$"),
             forbid=(r"\((?!8 |16 |32 )\d+ like this", "CHECK failed", "^panic:")),
        Boot("boot/bad-kernels", "each kernel that cannot be started is named, the other VM starts",
             about=9, status=2, modules=(*bad, (bytes(4097), "initrd vm=disk"), *good),
             expect=(*said, r"mb: command line I am flat$", r"mb: done$",
                     r"^vm flat: stopped: debug-exit \(status 1\)$")),
        Boot("boot/corbel-in-corbel", "Corbel as a guest of Corbel finds its whole PC", about=9,
             status=1, modules=((built("corbel.elf"),
                                 "kernel vm=inner mem=64M -- console=serial run=caps end=halt"),),
             expect=(r"^vm inner: starts with 64 MiB", r"^Corbel [0-9]\S*: booted by Corbel$",
                     r"^memory: 63 MiB usable", r"^acpi: 1 CPU, 1 I/O APIC, PM timer at a port",
                     r"^time: \d{4}-\d\d-\d\d", r"outer hypervisor CorbelCorbel",
                     r"^verdict: no guests here: no VT-x: the outer hypervisor \(CorbelCorbel\)",
                     r"^corbel: done: status 3$", r"^vm inner: stopped: halted for ever",
                     r"^corbel: done: status 1$")),
    ]


LINUX_CPU = "broadwell_ult"  # the model with the least for Linux to complain about
SHORT = "console=ttyS0 quiet cryptomgr.notests"  # for a boot that is not what is tested
INITRAMFS = "linux/initramfs.cpio"


def linux_vm(name, mem, append, kernel="cloud", initrd=INITRAMFS):
    return ((f"linux/{kernel}/vmlinuz", f"kernel vm={name} mem={mem}M -- {append}"),
            (initrd, f"initrd vm={name}"))


def linux():
    """Debian's kernels as they are, and its installer."""
    def boot(name, says, modules, mem=512, **more):
        more.setdefault("cpu", LINUX_CPU)
        return Boot(f"linux/{name}", says, modules=modules, cmdline="console=e9", media="disk",
                    mem=mem, ticks=0, needs=("kernel-gcc", "linux-files"), **more)

    restarted = (r"^vm linux: starts with", r"^vm linux: reset: ", r"^vm linux: starts with",
                 r"^vm linux: stopped: powered off", r"^corbel: done: status 0$")
    return [
        make("linux-files", "Debian's kernels and installer are downloaded", "linux-files",
             fast=False),
        boot("cloud", "Debian's cloud kernel, driven from its shell, then reboot and poweroff",
             linux_vm("linux", 256, "console=ttyS0"), script="shell", expect=restarted, about=90,
             timeout=600),
        boot("generic", "the same with the generic kernel", script="shell", expect=restarted,
             modules=linux_vm("linux", 512, "console=ttyS0", "generic"), mem=800, about=240,
             timeout=1200),
        boot("full-cpu", "on the CPU model with everything: XSAVES, AVX-512, a leaf 15H that is"
             " wrong", linux_vm("linux", 256, SHORT), cpu="", script="clocks", about=30),
        boot("minimal", "without unrestricted guest, x2APIC and TSC-deadline timer in the host",
             linux_vm("linux", 256, SHORT), cpu=MINIMAL, script="clocks", about=30),
        boot("one-shot", "the 8254 through the I/O APIC, and the local APIC's one-shot timer",
             linux_vm("linux", 256, SHORT + " lapic=notscdeadline"), script="one_shot", about=30),
        boot("two", "two VMs side by side, a reboot of one, labelled lines",
             (*linux_vm("a", 256, SHORT), *linux_vm("b", 256, SHORT)), mem=800, script="two",
             about=50, timeout=600,
             expect=(r"^vm a: reset: ", r"^vm a: stopped: powered off",
                     r"^vm b: stopped: powered off", r"^corbel: done: status 0$")),
        boot("refused", "a kernel that is cut off, too little memory, an initrd that does not fit:"
             " each is named, and the other VM runs", script="beside", status=2, about=30, mem=600,
             modules=(*linux_vm("good", 256, SHORT),
                      (lambda build: built("linux/cloud/vmlinuz")(build)[:1 << 20],
                       "kernel vm=cut mem=64M"),
                      ("linux/cloud/vmlinuz", "kernel vm=small mem=24M"),
                      *linux_vm("full", 80, SHORT, initrd=bytes(24 << 20))),
             expect=(r"^error: vm cut: kernel: truncated: 1048576 bytes, its header says \d+",
                     r"^error: vm cut: not started", r"^error: vm small: kernel: too little memory",
                     r"^error: vm small: not started",
                     r"^error: vm full: kernel: the initrd of 24576 KiB does not fit",
                     r"^error: vm full: not started", r"^vm good: stopped: powered off")),
        boot("installer", "the Debian installer to its first question", script="installer",
             modules=linux_vm("linux", 1024, "console=ttyS0", "installer",
                              "linux/installer/initrd.gz"), mem=1400, about=300,
             timeout=1500, expect=(r"^vm linux: stopped: left",)),
        Command("linux/bench", "a boot costs at most 3% more than on the bare machine", about=80,
                timeout=900, needs=("kernel-gcc", "linux-files"),
                argv=("python3", "tools/bench_linux.py", "@BUILD@", "@BUILD@/bench-linux.tsv",
                      "1.03")),
    ]


def entry_rules(top):
    """The names of all rules of VM entry, in their order."""
    text = "".join((pathlib.Path(top) / "vmx" / f"entry_{part}.def").read_text()
                   for part in ("controls", "guest"))
    return re.findall(r"^(?:SEGMENT_)?RULE\((\w+),", text, re.M)


def enforced_rules(top, model):
    """Those on the VMCS that run=grade found this CPU to enforce."""
    lines = (pathlib.Path(top) / "tests/grade" / f"{model}.tsv").read_text().splitlines()
    other = {line.split("\t")[0] for line in lines}
    return [rule for rule in entry_rules(top) if rule not in other and not rule.startswith("E")]


def broken(*rules):
    """What the console shows of guests that violate one of these rules each."""
    return tuple(line for rule in rules for line in (
        rf"^break={rule}: ", r"^  the VMCS violates 1 of the rules", rf"^  {rule}: ",
        r"^vm tiny: stopped: VM entry failed",
        rf"^break={rule}: the entry failed; the report names this rule and no other$"))


def entries(top):
    """VM entry: the rules that the checker knows against those of the CPU."""
    rules = enforced_rules(top, FULL)
    assert len(rules) >= 60
    return [
        *(Command(f"grade/{model}", "each rule of VM entry broken by itself: the CPU does as"
                  " predicted, or why not is known", needs=KERNEL, about=12,
                  argv=("python3", "tools/grade.py", "--build", "@BUILD@", "--check", model))
          for model in (FULL, MINIMAL, "tigerlake")),
        Boot("boot/break", f"{len(rules)} rules of VM entry: a guest that violates one is reported"
             " with this rule and no other", cmdline=f"console=e9 break={','.join(rules)}", status=1,
             about=12, expect=broken(*rules)),
        Boot("boot/break-minimal", "the same for a few without unrestricted guest", cpu=MINIMAL,
             cmdline="break=C8,H7,S24,T2", status=1, about=8,
             expect=broken("C8", "H7", "S24", "T2")),
        Boot("boot/check-entry", "every VMCS is judged before it is entered, and all are sound",
             cmdline="console=e9 check=entry", about=8,
             expect=(r"^vm tiny: stopped: debug-exit \(status 1\)$",
                     r"^vm tiny32: stopped: debug-exit \(status 1\)$",
                     r"^vm tiny16: stopped: debug-exit \(status 1\)$")),
        Boot("boot/bad-rule", "a rule of VM entry that there is not", cmdline="break=C8,C99",
             status=2, about=5, expect=(r'^error: .*"break=C8,C99": expected break=',)),
        Boot("boot/bad-break", "rules that cannot be broken here, each with the reason", status=2,
             cmdline="break=C6,C8,E3,N5,H29,G7", about=5, forbid=(r"^tiny: ", "CHECK failed"),
             expect=(r"^error: break=E3: .*not on the VMCS", r"^error: break=C6: .*not offer",
                     r"^error: break=N5: .*Bochs panics", r"^error: break=H29: .*IA-32e mode",
                     r"^error: break=G7: .*does not check it")),
    ]


def features(top):
    """What a CPU or an outer hypervisor may lack: the words of without=."""
    text = (pathlib.Path(top) / "vmx/features.def").read_text()
    return re.findall(r'^(?:CONTROL|CAPABILITY|HOST)\(\w+, "([^"]+)"', text, re.M)


# Of the matrix, those that `make test` runs: each place with each model, and each CPU count with
# each model. (cd, 1, full) is boot/selftest.
SAMPLE = (("cd", 2, "minimal"), ("disk", 1, "minimal"), ("disk", 4, "full"), ("uefi", 2, "full"),
          ("uefi", 4, "minimal"))
PLACES = {"cd": dict(media="cd"), "disk": dict(media="disk"), "uefi": dict(firmware="uefi")}


def machines(top):
    """The self-tests on every machine that can be emulated, and without each feature that one can
    lack."""
    rows = []
    for place, cpus, model in itertools.product(PLACES, (1, 2, 4), ("full", "minimal")):
        # Bochs shows no ACPI tables under UEFI, so the other CPUs are not known there.
        up = (rf"^cpus: {cpus} of {cpus} are up$", rf"^cpus: {cpus} in VMX operation$")
        rows.append(Boot(f"matrix/{place}-{cpus}-{model}", f"the self-tests: Bochs, {place}, {cpus}"
                         f" CPU{'s' * (cpus > 1)}, {model} model", cpus=cpus,
                         cpu=MINIMAL if model == "minimal" else "",
                         cmdline="run=selftest console=e9", selftests=SELFTESTS - 10, skips=20,
                         expect=up if cpus > 1 and place != "uefi" else (), forbid=FAULTLESS,
                         ticks=0, about=40 if cpus > 1 or place == "uefi" else 15, timeout=900,
                         matrix=True, sample=(place, cpus, model) in SAMPLE, **PLACES[place]))
    for absent in (*features(top), "all"):
        rows.append(Boot(f"boot/without-{absent}", f"the self-tests without {absent}", about=15,
                         cmdline="run=selftest console=e9 without=" +
                         (",".join(features(top)) if absent == "all" else absent),
                         expect=(r"^without: \w",), selftests=SELFTESTS - 20,
                         skips=25 if absent == "all" else 20,
                         forbid=FAULTLESS))
    rows.append(Boot("boot/smp-x2apic", "4 CPUs in x2APIC mode, which firmware did not turn on",
                     cpus=4, cmdline="run=selftest test=smp.* apic=x2apic", selftests=7,
                     forbid=FAULTLESS, about=15, expect=(r"^apic: x2APIC mode turned on$",
                                                         r"^cpus: 4 of 4 are up$")))
    rows.append(Boot("boot/smp-255", "as many CPUs as an xAPIC can tell apart, with stacks for all",
                     machine="qemu", cpus=255, mem=1024, status=3, about=15,
                     expect=(r"^acpi: 255 CPUs", r"^cpus: 255 of 255 are up$")))
    rows.append(Boot("boot/smp-uefi", "2 CPUs under UEFI, where Bochs leaves VT-x unlocked and"
                     " shows no ACPI tables: guests run on the one that is known", cpus=2,
                     firmware="uefi", expect=TINY, about=60))
    rows.append(Boot("boot/smp-crash", "a crash stops the other CPUs and leaves VMX operation",
                     cpus=4, cmdline="run=crash", status=4, forbid=(), about=10,
                     expect=(r"^cpus: 4 of 4 are up$", r"#PF page fault", r"^backtrace$")))
    return rows


def boots(top):
    return (guests(top) + loaders() + linux() + terminals() + selftests() + refusals() +
            machines(top) + bad_input())


def all_steps(top):
    steps = checks() + host_tests(pathlib.Path(top)) + fuzzers(pathlib.Path(top)) + \
        entries(top) + boots(top) + restarts() + pages() + comparisons()
    for step in steps:
        if isinstance(step, Boot) and not step.needs:
            step.needs = KERNEL
    return steps
