; SPDX-License-Identifier: MIT
; guest/dsdt.asl as iasl compiled it.
section .blobs progbits alloc noexec nowrite align=16
global dsdt_aml, dsdt_aml_end
dsdt_aml: incbin "dsdt.aml"
dsdt_aml_end:

section .note.GNU-stack noalloc noexec nowrite progbits
