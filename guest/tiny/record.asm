; SPDX-License-Identifier: MIT
; The record at the start of a guest program's image (struct guest_image); the linker script knows
; the numbers. MODE is given on the command line.
extern guest_entry, program_start, program_stack_top, program_image_size, program_memory_size
extern program_tests, program_tests_end

section .record progbits alloc noexec nowrite align=16
        dq 0x6c65627243544755
        dd MODE
        dd program_start
        dd guest_entry
        dd program_stack_top
        dd program_image_size
        dd program_memory_size
        dd program_tests
        dd program_tests_end
