; SPDX-License-Identifier: MIT
; The guest programs, as the build made them.
section .blobs progbits alloc noexec nowrite align=16

%macro blob 2
        align 16
global %1, %1_end
%1:     incbin %2
%1_end:
%endmacro

        blob tiny64_image, "tiny64.bin"
        blob tiny32_image, "tiny32.bin"
        blob tiny16_image, "tiny16.bin"
        blob tests64_image, "tests64.bin"
        blob bench64_image, "bench64.bin"
