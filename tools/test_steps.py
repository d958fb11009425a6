# SPDX-License-Identifier: MIT
"""The list of Corbel's tests. A test is a row; adding one is adding a row."""
import dataclasses
import pathlib


@dataclasses.dataclass
class Step:
    name: str
    says: str = ""  # what passing shows
    fast: bool = False  # part of `make check`
    needs: tuple = ()  # names of steps that must have passed
    alone: bool = False  # runs before the others, in order, with both cores to itself
    timeout: int = 300  # seconds
    about: int = 0  # roughly how long it takes, in seconds: the longest are started first


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
    video: str = ""
    image: str = ""  # a file in the build directory, booted as it is
    modules: tuple = ()  # (bytes, or function of the build directory that gives bytes; line)
    ticks: int = 5_000_000_000
    status: int = 0  # what Corbel must end with
    expect: tuple = ()  # on the console, in this order
    forbid: tuple = ("CHECK failed", "^panic:")
    serial: tuple = ()  # on the serial line
    screen: tuple = ()  # on a screenshot
    selftests: int = 0  # how many self-tests must pass at least
    skips: int = 0  # how many may be skipped at most
    twice: bool = False  # a second run must be the same to the character and to the tick


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
                alone=True, argv=("python3", "tests/tools/test_tools.py")),
        make("kernel-gcc", "gcc builds the kernel and its image without a warning", "iso"),
        make("kernel-clang", "so does clang", "iso", "O=@BUILD@/clang", "CC=clang"),
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


def boots():
    return [
    ]


def all_steps(top):
    steps = checks() + host_tests(pathlib.Path(top)) + fuzzers(pathlib.Path(top)) + boots()
    for step in steps:
        if isinstance(step, Boot) and not step.needs:
            step.needs = KERNEL
    return steps
