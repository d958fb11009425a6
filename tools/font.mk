# SPDX-License-Identifier: MIT
# The framebuffer console's fonts, which Debian's console-setup-linux has. The small one is made from
# the etl16 font, which is in the public domain. The large one, for wide screens, is Terminus Font,
# Copyright (c) 2010 Dimitar Toshkov Zhekov, with Reserved Font Name "Terminus Font", under the SIL
# Open Font License, Version 1.1.
FONT_SMALL := /usr/share/consolefonts/Lat15-Fixed16.psf.gz
FONT_LARGE := /usr/share/consolefonts/Lat15-TerminusBold32x16.psf.gz

KOBJ += $O/k/font.o
$O/libpure.a: $O/h/font.o
$O/libfuzzed.a: $O/f/font.o

$O/font.c: tools/font.py tools/font.mk | $O/.packages-build
	@mkdir -p $(@D)
	$(call say,FONT,$(FONT_SMALL) $(FONT_LARGE))
	$Q$(PYTHON) tools/font.py font_small=$(FONT_SMALL) font_large=$(FONT_LARGE) > $@

$O/k/font.o: $O/font.c arch/x86_64/font.h Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(KFLAGS) -c $< -o $@
	$Qobjcopy --prefix-alloc-sections=.init $@

$O/h/font.o $O/f/font.o: $O/font.c arch/x86_64/font.h Makefile
	@mkdir -p $(@D)
	$(call say,HOSTCC,$<)
	$Q$(HOST_CC) $(HOST_FLAGS) $(SAN) -c $< -o $@
