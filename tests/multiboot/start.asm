; SPDX-License-Identifier: MIT
; The start of a kernel for the tests of Corbel's loaders. FORMAT is 0 for a flat image, 1 for
; Multiboot and 2 for Multiboot2; with ADDRESSES the header tells where it goes and the file is no
; ELF.
bits 32
global mb_entry
extern mb_main, mb_load_end, mb_end, mb_stack_top

section .head progbits alloc exec nowrite align=8
head:
%if FORMAT == 0
mb_entry:
        jmp     start
%endif

%ifdef ADDRESSES
%define FLAGS 0x10003
%else
%define FLAGS 3
%endif

%if FORMAT == 1
        align 4
header: dd      0x1badb002, FLAGS, 0x100000000 - 0x1badb002 - FLAGS
%ifdef ADDRESSES
        dd      header, head, mb_load_end, mb_end, mb_entry
%endif
%endif

%if FORMAT == 2
        align 8
header: dd      0xe85250d6, 0, header_end - header
        dd      0x100000000 - 0xe85250d6 - (header_end - header)
        align 8
        dw      1, 0                    ; information request: command line, map, both RSDPs
        dd      24
        dd      1, 6, 14, 15
%ifdef ADDRESSES
        align 8
        dw      2, 0
        dd      24
        dd      header, head, mb_load_end, mb_end
        align 8
        dw      3, 0
        dd      12
        dd      mb_entry
%endif
        align 8
        dw      5, 1                    ; a framebuffer if there is one
        dd      20
        dd      0, 0, 0
        align 8
        dw      0, 0
        dd      8
header_end:
%endif

section .text
%if FORMAT != 0
mb_entry:
%endif
; Before anything changes them: the segments, EFLAGS, CR0 and ESP go to mb_main as they were.
start:  mov     ecx, esp
        mov     esp, mb_stack_top
        push    ecx
        mov     ecx, cr0
        push    ecx
        pushfd
        xor     ecx, ecx
        mov     cx, ss
        push    ecx
        mov     cx, cs
        push    ecx
        push    ebx
        push    eax
        push    esp                     ; struct mb_state
        xor     ebp, ebp
        call    mb_main
        ud2
