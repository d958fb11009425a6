# SPDX-License-Identifier: MIT
# The framebuffer console's font: Debian's console-setup-linux has it, made from the etl16 font,
# which is in the public domain.
FONT := /usr/share/consolefonts/Lat15-Fixed16.psf.gz

KOBJ += $O/k/font.o
$O/libpure.a: $O/h/font.o
$O/libfuzzed.a: $O/f/font.o

$O/font.c: tools/font.py tools/font.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,FONT,$(FONT))
	$Q$(PYTHON) tools/font.py $(FONT) > $@

$O/k/font.o: $O/font.c arch/x86_64/font.h Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(KFLAGS) -c $< -o $@

$O/h/font.o $O/f/font.o: $O/font.c arch/x86_64/font.h Makefile
	@mkdir -p $(@D)
	$(call say,HOSTCC,$<)
	$Q$(HOST_CC) $(HOST_FLAGS) $(SAN) -c $< -o $@
