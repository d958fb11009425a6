# SPDX-License-Identifier: MIT
"""Boot images: a GRUB configuration for one command line and its modules, and the image of it."""
import pathlib
import shutil
import subprocess

TOOLS = pathlib.Path(__file__).resolve().parent


def quoted(line):
    """The line's words so that GRUB's shell hands each on as it stands."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in line.split())


def grub_config(cmdline, modules, video):
    """modules: (file name in /boot, its line) in order. video: a gfxpayload value."""
    # multiboot2 itself sets gfxpayload to "auto", because the kernel takes a framebuffer; a mode of
    # 16 colours then makes GRUB 2.06 overrun the boot information. So the last word comes after it.
    lines = ["set timeout=0", "insmod all_video",
             f"multiboot2 /boot/corbel.elf {quoted(cmdline)}", f"set gfxpayload={video}"]
    # --nounzip: the guest's files reach Corbel as they are.
    lines += [f"module2 --nounzip /boot/{name} {quoted(line)}" for name, line in modules]
    return "\n".join(lines + ["boot", ""])


def grub_config_bare(modules, video):
    """The kernel of these modules on the machine itself, with the command line it has as a VM's."""
    files = {line.split()[0]: (name, line) for name, line in modules}
    name, line = files["kernel"]
    lines = ["set timeout=0", "insmod all_video", f"set gfxpayload={video}",
             f"linux /boot/{name} {quoted(line.partition(' -- ')[2])}"]
    if "initrd" in files:
        lines.append(f"initrd /boot/{files['initrd'][0]}")
    return "\n".join(lines + ["boot", ""])


def build(out, kernel, cmdline, modules, video, work):
    """Makes the image out; work is a directory that may be filled. kernel: None for no Corbel."""
    named = []
    files = []
    for number, (file, line) in enumerate(modules):
        name = f"{number}-{pathlib.Path(file).name}"
        shutil.copy(file, work / name)
        files.append(str(work / name))
        named.append((name, line))
    config = work / "grub.cfg"
    config.write_text(grub_config(cmdline, named, video) if kernel else
                      grub_config_bare(named, video))
    subprocess.run([TOOLS / "mkiso.sh", out, kernel or "-", config, *files], check=True)
    for file in files:
        pathlib.Path(file).unlink()
