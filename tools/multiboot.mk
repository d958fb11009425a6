# SPDX-License-Identifier: MIT
# Small kernels for the tests of the loaders: Multiboot, Multiboot2 and flat, ELF of both classes
# and by addresses. tests/multiboot has the one source. Included by Makefile.
MB_NAMES := mb1-elf32 mb1-elf64 mb1-addresses mb2-elf32 mb2-elf64 mb2-addresses flat
MB_LD    := -nostdlib -static -Wl,-m,elf_i386 -Wl,--build-id=none -Wl,-z,noexecstack \
            -Wl,-z,max-page-size=0x1000 -Wl,--no-warn-rwx-segments -T tests/multiboot/kernel.ld

$O/g/mb/start-mb1.o: MB_DEFINES := -DFORMAT=1
$O/g/mb/start-mb2.o: MB_DEFINES := -DFORMAT=2
$O/g/mb/start-mb1-addresses.o: MB_DEFINES := -DFORMAT=1 -DADDRESSES
$O/g/mb/start-mb2-addresses.o: MB_DEFINES := -DFORMAT=2 -DADDRESSES
$O/g/mb/start-flat.o: MB_DEFINES := -DFORMAT=0
$O/g/mb/start-%.o: tests/multiboot/start.asm tools/multiboot.mk | $O/.packages-build
	@mkdir -p $(@D)
	$Q$(NASM) -f elf32 -w+all -Werror $(MB_DEFINES) $< -o $@

$O/g/mb/%.elf: $O/g/mb/start-%.o $O/g/32/tests/multiboot/main.o tests/multiboot/kernel.ld
	$Q$(CC) -m32 $(MB_LD) -o $@ $(filter %.o,$^)

$O/g/mb1-elf32 $O/g/mb2-elf32: $O/g/%-elf32: $O/g/mb/%.elf
	$Qcp $< $@
$O/g/mb1-elf64 $O/g/mb2-elf64: $O/g/%-elf64: $O/g/mb/%.elf
	$Qobjcopy -O elf64-x86-64 $< $@
$O/g/mb1-addresses $O/g/mb2-addresses $O/g/flat: $O/g/%: $O/g/mb/%.elf
	$Qobjcopy -O binary $< $@

kernel iso: $(MB_NAMES:%=$O/g/%)
