; SPDX-License-Identifier: MIT
; The first instructions of the other CPUs: from real mode, where a start-up IPI has them begin, to
; 64-bit mode and into the image. ap_trampoline is copied to a page below 640 KiB and finds its own
; address in CS; the boot page tables map that page at its own address and the image in its place.
; SDM volume 3, "MP Initialization Protocol Algorithm for MP Systems".

IA32_EFER   equ 0xc0000080
IA32_MISC_ENABLE equ 0x1a0
XD_DISABLE  equ 1 << (34 - 32)  ; in its upper half
CR0_START   equ 0x00000011      ; PE, ET: caches on, which INIT left off
CR0_VALUE   equ 0x80010033      ; PG, WP, NE, ET, MP, PE
CR4_VALUE   equ 0x20            ; PAE

CODE32      equ 0x08
DATA32      equ 0x10
CODE64      equ 0x18

%define AT(label) (label - ap_trampoline)

section .rodata align=16

global ap_trampoline, ap_trampoline_data, ap_trampoline_end
ap_trampoline:
bits 16
        cli
        cld
        mov     ax, cs
        mov     ds, ax
        movzx   ebx, ax
        shl     ebx, 4
        mov     dword [AT(ap_trampoline_data.alive)], 1
        lea     eax, [ebx + AT(.gdt)]
        mov     [AT(.gdtr) + 2], eax
        o32 lgdt [AT(.gdtr)]
        lea     eax, [ebx + AT(.protected)]
        mov     [AT(.far)], eax
        mov     eax, CR0_START
        mov     cr0, eax
        jmp     far dword [AT(.far)]

bits 32
.protected:
        mov     ax, DATA32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     eax, CR4_VALUE
        mov     cr4, eax
        mov     eax, [ebx + AT(ap_trampoline_data.tables)]
        mov     cr3, eax
        ; Firmware may have hidden NX on each CPU (a setup option); setting NXE would fault then.
        cmp     dword [ebx + AT(ap_trampoline_data.has_misc)], 0
        je      .nx_there
        mov     ecx, IA32_MISC_ENABLE
        rdmsr
        test    edx, XD_DISABLE
        jz      .nx_there
        and     edx, ~XD_DISABLE
        wrmsr
.nx_there:
        mov     ecx, IA32_EFER
        mov     eax, [ebx + AT(ap_trampoline_data.efer)]
        xor     edx, edx
        wrmsr
        mov     eax, CR0_VALUE
        mov     cr0, eax
        lea     eax, [ebx + AT(.long)]
        mov     [ebx + AT(.far)], eax
        mov     word [ebx + AT(.far) + 4], CODE64
        jmp     far [ebx + AT(.far)]

bits 64
.long:
        xor     eax, eax
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     rdi, [rbx + AT(ap_trampoline_data.cpu)]
        mov     rsi, [rbx + AT(ap_trampoline_data.host_tables)]
        mov     rdx, [rbx + AT(ap_trampoline_data.stack)]
        mov     rax, ap_enter
        jmp     rax

        align   8
.gdt:   dq 0
        dq 0x00cf9b000000ffff           ; 32-bit code
        dq 0x00cf93000000ffff           ; data
        dq 0x00af9b000000ffff           ; 64-bit code
.gdtr:  dw 4 * 8 - 1
        dd 0
        dw 0
.far:   dd 0
        dw CODE32
        align   8
; struct trampoline_data of smp.c
ap_trampoline_data:
.alive: dd 0
.tables: dd 0                           ; of the boot: they map the trampoline too
.efer:  dd 0
.has_misc: dd 0
.host_tables: dq 0
.stack: dq 0
.cpu:   dq 0
ap_trampoline_end:

section .text
extern ap_main
; In the image, which both sets of tables map: RDI = struct cpu, RSI = CR3, RDX = stack.
ap_enter:
        mov     cr3, rsi
        mov     rsp, rdx
        xor     ebp, ebp                ; the backtrace ends here
        call    ap_main
        ud2
