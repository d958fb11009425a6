# SPDX-License-Identifier: MIT
"""The machines Corbel is run on: Bochs, and QEMU with or without KVM.

A machine knows how to write its configuration, how to be started, which of the bytes it prints are
Corbel's, and what its own ending says about how Corbel ended.
"""
import dataclasses
import os
import pathlib
import re
import subprocess

NO_LIMIT = 1 << 62  # ticks; Bochs wants a number
FULL_CPU = "corei7_skylake_x"


class MachineError(Exception):
    """This machine cannot be started here; the text says why and what to do."""


@dataclasses.dataclass
class Spec:
    """What is to be booted, and on what."""
    image: pathlib.Path
    work: pathlib.Path  # a directory for configuration, logs and sockets
    cpu: str = ""
    cpus: int = 1
    memory: int = 512  # MiB
    firmware: str = "bios"
    media: str = "cd"
    ticks: int = 0  # 0: no limit
    screen: bool = False  # a screenshot will be asked for
    restarts: bool = False  # it is to go on after a reset
    halts: bool = False  # Corbel was told to halt at the end, not to end the machine
    bare: bool = False  # Linux itself is booted, not Corbel
    line: int = 0  # the TCP port where COM1's other end listens; 0: COM1 is only written to a file
    uart: str = "pc"  # where it is: at COM1's ports, on "pci", or where "spcr" says (QEMU only)
    stopwatch: int = 0  # Bochs: an address where time begins to be taken; 0: not at all
    real_time: bool = False  # Bochs: idle for as long as it is idle, for people at the terminal
    extra: tuple = ()


@dataclasses.dataclass
class Ending:
    """How the machine ended, by its own account."""
    what: str  # for people
    status: int | None = None  # the status the machine itself handed on
    success: bool | None = None  # or, where it cannot hand on a number, whether that was 0
    clean: bool = False  # Corbel ended it on purpose
    ticks: int | None = None
    state: str = ""  # registers, where the machine was stopped


class Bochs:
    """Bochs 2.7 as Debian packages it: with its debugger, which is what bounds a run in ticks."""
    name = "bochs"
    RC = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest={memory}, host={memory}
{firmware}
cpu: model={cpu}, count={cpus}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs={lax}
clock: sync={sync}, time0=1700000000
{media}
com1: enabled=1, {com1}
port_e9_hack: enabled=1
log: {work}/bochs.log
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
magic_break: enabled=0
speaker: enabled=0
sound: driver=dummy
"""
    BIOS = """\
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
boot: {boot}"""
    UEFI = """\
romimage: file=/usr/share/ovmf/OVMF.fd
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
pci: enabled=1, chipset=i440fx, slot1=pcivga
vga: extension=vbe"""
    ORDERS = ("c",)  # what its debugger is told to do for the run
    # The debugger prints on standard output too. Its words end and begin with these lines.
    PREFACE_END = re.compile(rb"^Time breakpoint inserted\. Delta = \d+$")
    EPILOGUE = re.compile(rb"^(.*?)(\(\d+\) Caught time breakpoint|Next at t=\d+)$")
    # What may be the beginning of such a line, its rest not having come yet.
    BEGINNING = re.compile(rb"(\((\d(\)(\..*| (C(a(u.*)?)?)?)?)?)?"
                           rb"|N(e(x(t( (a(t( t.*)?)?)?)?)?)?)?)$")
    # Where a CPU shut down. It ends the run if it is the machine's own; a guest's goes on in Corbel.
    SHUTDOWN = re.compile(rb"^(.*?)(\(\d+\)\.\[\d+\] \[0x.*)$")

    def __init__(self, spec):
        if spec.media == "usb":
            raise MachineError("Bochs has no BIOS that boots from USB; use --machine qemu")
        if spec.uart != "pc":
            raise MachineError("Bochs has COM1 to COM4 only; use --machine qemu")
        if spec.memory > 2048:
            raise MachineError("Bochs has at most 2048 MiB of memory")
        self.spec = spec
        self.epilogue = None
        self.shutdown = b""
        self.preface = True

    def command(self):
        spec = self.spec
        disk = spec.media == "disk"
        media = "ata0-master: " + (f"type=disk, path={spec.image}, mode=flat" if disk else
                                   f"type=cdrom, path={spec.image}, status=inserted")
        firmware = (self.UEFI if spec.firmware == "uefi" else
                    self.BIOS.format(boot="disk" if disk else "cdrom"))
        com1 = (f"mode=socket-client, dev=127.0.0.1:{spec.line}" if spec.line else
                f"mode=file, dev={spec.work}/serial.txt")
        # OVMF and Linux read MSRs that Bochs lacks (IA32_PLATFORM_ID, IA32_MISC_ENABLE) and die of
        # the #GP.
        lax = int(spec.bare or spec.firmware == "uefi")
        text = self.RC.format(memory=spec.memory, firmware=firmware, cpu=spec.cpu or FULL_CPU,
                              cpus=spec.cpus, media=media, lax=lax, com1=com1, work=spec.work,
                              sync="slowdown" if spec.real_time else "none")
        text += "".join(line + "\n" for line in spec.extra)
        (spec.work / "bochs.rc").write_text(text)
        script = [f"sba {spec.ticks or NO_LIMIT}", *self.ORDERS, "r", "sreg", "creg", "q"]
        orders = "\n".join(script).format(stopwatch=spec.stopwatch)
        (spec.work / "bochs.dbg").write_text(orders + "\n")
        return ["bochs", "-q", "-rc", str(spec.work / "bochs.dbg"), "-f",
                str(spec.work / "bochs.rc")]

    def sift(self, line):
        """The part of a line of output, complete or not, that Corbel wrote."""
        if self.preface:
            self.preface = not self.PREFACE_END.match(line.rstrip(b"\n"))
            return b""
        if self.epilogue is None:
            match = self.SHUTDOWN.match(line.rstrip(b"\n"))
            if match:
                self.shutdown = match.group(2) + b"\n"
                return match.group(1)
            match = self.EPILOGUE.match(line.rstrip(b"\n"))
            if not match:
                return line
            self.epilogue = match.group(2) + b"\n"
            return match.group(1)
        self.epilogue += line
        return b""

    def withheld(self, piece):
        """How many of the last bytes of an incomplete line may be the debugger's next words."""
        if self.preface or self.epilogue is not None:
            return len(piece)
        match = self.BEGINNING.search(piece)
        return len(match.group(0)) if match else 0

    @staticmethod
    def default_video(firmware):
        """GRUB's gfxpayload. Bochs' screen server knows text and 8-bit modes only, OVMF only wider
        ones: so no screen with that."""
        return "keep" if firmware == "uefi" else "text"

    def rfb_port(self):
        """Where the screen is served, once it is."""
        try:
            log = (self.spec.work / "bochs.log").read_text(errors="replace")
        except FileNotFoundError:
            return None
        match = re.search(r"listening for connections on port (\d+)", log)
        return int(match.group(1)) if match else None

    def ending(self, returncode, stderr):
        epilogue = (self.epilogue or self.shutdown).decode(errors="replace")
        where = re.search(r"Next at t=(\d+)|\.\[(\d+)\] \[0x", epilogue)
        ticks = int(where.group(1) or where.group(2)) if where else None
        last_words = re.search(r"Bochs is exiting with the following message:\n(.*)", stderr)
        if "Shutdown port: shutdown requested" in stderr:
            return Ending("ended through port 8900H", success=False, clean=True, ticks=ticks)
        if "Caught time breakpoint" in epilogue:
            return Ending("stopped at the limit of ticks", ticks=ticks, state=epilogue)
        if returncode == 0 and epilogue.startswith("Next at t="):
            # A 'D' to port 8900H: into the debugger, whose script then quits.
            return Ending("ended through port 8900H", success=True, clean=True, ticks=ticks)
        if last_words:
            return Ending(f"Bochs stopped: {last_words.group(1)}", ticks=ticks, state=epilogue)
        tail = "\n".join(stderr.splitlines()[-5:])
        return Ending(f"Bochs failed (exit {returncode}): {tail}")

    def resets(self):
        log = (self.spec.work / "bochs.log").read_text(errors="replace")
        return log.count("bx_pc_system_c::Reset(HARDWARE) called") - 1  # it begins with one


class Stopwatch(Bochs):
    """Bochs, telling in ticks when an address is first executed and when an XCHG BX, BX is then.

    The breakpoint makes Bochs slower until it is hit, but takes no ticks.
    """
    ORDERS = ("lb {stopwatch:#x}", "c", "d 1", "c", "c")
    STOP = re.compile(rb"^(.*?)(\(0\) (Breakpoint \d+,|Magic breakpoint|\[0x).*|Next at t=(\d+))$")

    def __init__(self, spec):
        super().__init__(dataclasses.replace(spec, extra=(*spec.extra, "magic_break: enabled=1")))
        self.stops = []  # ticks

    def sift(self, line):
        match = None if self.preface else self.STOP.match(line.rstrip(b"\n"))
        if not match or (match.group(4) and len(self.stops) == 2):
            return super().sift(line)
        if match.group(4):
            self.stops.append(int(match.group(4)))
        return match.group(1)


class Qemu:
    """QEMU. Without KVM it has no VT-x: good for showing how Corbel refuses."""
    name = "qemu"
    MEDIA = {
        "cd": ["-drive", "if=none,id=medium,format=raw,media=cdrom,readonly=on,file={image}",
               "-device", "ide-cd,drive=medium,bootindex=0"],
        "disk": ["-drive", "if=none,id=medium,format=raw,snapshot=on,file={image}",
                 "-device", "ide-hd,drive=medium,bootindex=0"],
        "usb": ["-drive", "if=none,id=medium,format=raw,snapshot=on,file={image}",
                "-device", "qemu-xhci", "-device", "usb-storage,drive=medium,bootindex=0"],
    }

    UART = {
        "pc": ["-device", "isa-serial,index=0,chardev=serial"],
        # Behind a bridge, so that it takes more than a look at bus 0.
        "pci": ["-device", "pci-bridge,id=behind,chassis_nr=1",
                "-device", "pci-serial,bus=behind,addr=4,chardev=serial"],
        "spcr": ["-device", "isa-serial,iobase={spcr_port:#x},irq=3,chardev=serial",
                 "-acpitable", "sig=SPCR,rev=2,data={work}/spcr"],
    }
    SPCR_PORT = 0x5f8  # where nobody would look

    def __init__(self, spec, kvm=False):
        self.spec = spec
        self.kvm = kvm
        if kvm:
            self.name = "kvm"
            require_kvm()

    def command(self):
        spec = self.spec
        line = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-vga", "std",
                *([] if spec.restarts else ["-no-reboot"]),
                "-m", str(spec.memory), "-smp", str(spec.cpus),
                "-rtc", "base=2023-11-14T22:13:20",
                "-chardev", "stdio,id=e9,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=e9",
                "-chardev", (f"socket,id=serial,host=127.0.0.1,port={spec.line}" if spec.line else
                             f"file,id=serial,path={spec.work}/serial.txt"),
                "-qmp", f"unix:{spec.work}/qmp,server=on,wait=off"]
        if not spec.halts:
            line += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        if self.kvm:
            line += ["-machine", "q35,accel=kvm", "-cpu", spec.cpu or "host,+vmx"]
        else:
            line += ["-machine", "q35,accel=tcg", "-cpu", spec.cpu or "max"]
        if spec.firmware == "uefi":
            line += ["-bios", "/usr/share/ovmf/OVMF.fd"]
        line += [word.format(image=spec.image) for word in self.MEDIA[spec.media]]
        line += [word.format(work=spec.work, spcr_port=self.SPCR_PORT)
                 for word in self.UART[spec.uart]]
        (spec.work / "spcr").write_bytes(spcr_body(self.SPCR_PORT))
        return line + [word for words in spec.extra for word in words.split()]

    def sift(self, line):
        return line

    @staticmethod
    def withheld(_):
        return 0

    def resets(self):
        """Without -no-reboot nothing tells, and the last word has to do; with it QEMU ends."""
        return NO_LIMIT if self.spec.restarts else 0

    @staticmethod
    def default_video(firmware):
        """GRUB's gfxpayload. UEFI has no text mode."""
        return "auto" if firmware == "uefi" else "text"

    def ending(self, returncode, stderr):
        if returncode > 0 and returncode & 1 and not stderr.strip():
            status = returncode >> 1
            return Ending("ended through port F4H", status=status, clean=True)
        if returncode == 0:
            return Ending("the machine was reset or switched off")
        tail = "\n".join(stderr.splitlines()[-5:])
        return Ending(f"QEMU failed (exit {returncode}): {tail}")


def spcr_body(port):
    """ACPI's Serial Port Console Redirection Table after its header: a 16550 at this I/O port."""
    address = bytes((1, 8, 0, 1)) + port.to_bytes(8, "little")
    return bytes(4) + address + bytes(28)


RELOAD = "sudo modprobe -r kvm_intel && sudo modprobe kvm_intel nested=1 ept=1"
KEEP = "echo 'options kvm_intel nested=1' | sudo tee /etc/modprobe.d/kvm-nested.conf"


def cpu_facts(root):
    """The CPU's vendor and its flags."""
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return "", set()
    vendor = re.search(r"^vendor_id\s*: (.*)$", text, re.M)
    flags = re.search(r"^flags\s*:(.*)$", text, re.M)
    return vendor.group(1) if vendor else "", set(flags.group(1).split()) if flags else set()


def no_vmx(vendor, flags):
    """Why /proc/cpuinfo shows no VT-x, and what to do."""
    if vendor in ("AuthenticAMD", "HygonGenuine"):
        return (f"this CPU is from {vendor}: Corbel needs Intel's VT-x, and AMD-V is another thing;"
                " use MACHINE=bochs")
    if "hypervisor" in flags:
        return ("this computer is itself a VM, and its host hands no VT-x on (no vmx in"
                " /proc/cpuinfo): turn nested virtualization on there, or use MACHINE=bochs")
    return ("this CPU shows no VT-x (no vmx in /proc/cpuinfo): look for \"Intel Virtualization"
            " Technology\" in the firmware setup, or use MACHINE=bochs")


def kvm_trouble(root=pathlib.Path("/"), access=os.access):
    """What keeps KVM from running a hypervisor here, with the command that mends it; or ""."""
    vendor, flags = cpu_facts(root)
    if "vmx" not in flags:
        return no_vmx(vendor, flags)
    device = root / "dev/kvm"
    if not device.exists():
        return ("there is no /dev/kvm; load KVM:  sudo modprobe kvm_intel nested=1  (\"Operation not"
                " supported\": VT-x is turned off in the firmware setup)")
    if not access(device, os.R_OK | os.W_OK):
        return ("/dev/kvm may not be used by you:  sudo usermod -aG kvm $USER  and log in again")
    for name, what in (("nested", "does not hand VT-x on to its guests"),
                       ("ept", "does without EPT, and so do its guests")):
        parameter = root / "sys/module/kvm_intel/parameters" / name
        if parameter.exists() and parameter.read_text().strip() not in ("Y", "1"):
            return f"KVM {what}; turn that on:  {RELOAD}  (for ever:  {KEEP})"
    return ""


def kvm_usable():
    return not kvm_trouble()


def require_kvm():
    trouble = kvm_trouble()
    if trouble:
        raise MachineError(trouble)


def resolve(name):
    """auto is KVM where that works, else Bochs."""
    if name == "auto":
        return "kvm" if kvm_usable() else "bochs"
    return name


def choose(name, spec):
    """The machine of this name."""
    name = resolve(name)
    if name == "bochs":
        return Stopwatch(spec) if spec.stopwatch else Bochs(spec)
    return Qemu(spec, kvm=name == "kvm")


def symbolize(kernel, state):
    """'name+offset (file:line)' for the RIP in a register dump, where the kernel has one for it."""
    match = re.search(r"\brip: ([0-9a-f_]+)|\bRIP=([0-9a-f]+)", state)
    if not match or not kernel:
        return ""
    address = (match.group(1) or match.group(2)).replace("_", "")
    try:
        out = subprocess.run(["addr2line", "-f", "-e", str(kernel), address], text=True,
                             capture_output=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return ""
    if not out or out[0] == "??":
        return f"RIP {address} is not in {kernel.name}"
    return f"RIP {address} is in {out[0]} ({os.path.relpath(out[1].split(' ')[0])})"
