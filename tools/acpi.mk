# SPDX-License-Identifier: MIT
# The guests' DSDT: guest/dsdt.asl by iasl, embedded by guest/dsdt.asm. Included by Makefile.
$O/g/dsdt.aml: guest/dsdt.asl tools/acpi.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,IASL,$<)
	$Qiasl -we -vs -p $(@:.aml=) $< >$@.log || { cat $@.log; exit 1; }

$O/k/guest/dsdt.asm.o: $O/g/dsdt.aml
$O/libpure.a: $O/h/guest/dsdt.asm.o
$O/libfuzzed.a: $O/f/guest/dsdt.asm.o

$O/h/guest/dsdt.asm.o $O/f/guest/dsdt.asm.o: guest/dsdt.asm $O/g/dsdt.aml
	@mkdir -p $(@D)
	$Q$(NASM) -f elf64 -w+all -Werror -I$O/g/ $< -o $@
