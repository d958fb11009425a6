; SPDX-License-Identifier: MIT
; Small programs for lab_code(): each is copied to LAB_CODE and entered at its start, with all
; registers 0 but for RSP and what the test sets. What they find they leave in registers or at
; RESULTS; a write to port F4H ends the VM.

LAB_CODE equ 0x8000
RESULTS  equ 0x6000
FIFO     equ 0x5000             ; tests/guest/calls.h
EFER     equ 0xc0000080
FMASK    equ 0xc0000084
APIC     equ 0xfee00000

section .rodata

%macro code 2                   ; name, bits
global code_%1, code_%1_end
align 16
bits %2
code_%1:
%xdefine start code_%1
%endmacro

%macro end 1
code_%1_end:
%endmacro

%define AT(label) (LAB_CODE + (label) - start)

%macro finish 0
        out     0xf4, al
%%stop: jmp     %%stop
%endmacro

; The descriptors, by these selectors.
CODE32 equ 0x08
DATA32 equ 0x10
CODE64 equ 0x18
CODE16 equ 0x20
LIMITED equ 0x28                 ; data, 4 KiB
RDONLY equ 0x30                 ; data, read-only
TASK   equ 0x38                 ; a TSS at RESULTS

%macro tables 0
align 8
.gdt:   dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
        dq 0x008f9b000000ffff, 0x0040930000000fff, 0x00cf91000000ffff, 0x0000890060000067
.gdtr:  dw $ - .gdt - 1
        dd AT(.gdt)
%endmacro

; ---- 64-bit ------------------------------------------------------------------------------------

code read_at_rsi, 64
        mov     rax, [rsi]
        mov     ebx, 1
        finish
end read_at_rsi

; RSI: the ticks that a thousand CPUIDs take.
code cpuid_ticks, 64
        mov     r8d, 1000
        rdtsc
        shl     rdx, 32
        lea     rdi, [rax + rdx]
.next:  cpuid
        dec     r8d
        jnz     .next
        rdtsc
        shl     rdx, 32
        lea     rsi, [rax + rdx]
        sub     rsi, rdi
        finish
end cpuid_ticks

; RBP: IA32_FMASK as it is, then RDI goes there; RSI: as it is after ten exits, or the first time that
; it is not RDI.
code keep_fmask, 64
        mov     ecx, FMASK
        rdmsr
        mov     ebp, eax
        mov     eax, edi
        wrmsr
        mov     r8d, 10
.next:  cpuid
        mov     ecx, FMASK
        rdmsr
        mov     esi, eax
        cmp     esi, edi
        jne     .done
        dec     r8d
        jnz     .next
.done:  finish
end keep_fmask

code write_at_rsi, 64
        mov     [rsi], rdi
        mov     ebx, 1
        finish
end write_at_rsi

code call_rsi, 64
        call    rsi
        mov     ebx, 1
        finish
end call_rsi

code halt, 64
        hlt
end halt

code halt_open, 64
        sti
        hlt
end halt_open

; Each of these exits once.
code exit_once_each, 64
        mov     eax, 1
        cpuid
        mov     ecx, 0x1b
        rdmsr
        wrmsr
        vmcall
        wbinvd
        mov     rax, cr8
        mov     cr8, rax
        mov     ecx, APIC
        mov     eax, [rcx + 0x30]
        finish
end exit_once_each

; And none of these does.
code exit_never, 64
        rdtsc
        mov     rax, cr3
        mov     cr3, rax
        mov     rax, cr0
        bts     eax, 3
        mov     cr0, rax
        clts
        mov     rax, cr4
        bts     eax, 7
        mov     cr4, rax
        invlpg  [rsi]
        mov     rax, dr7
        mov     dr7, rax
        sgdt    [rsp - 16]
        sidt    [rsp - 16]
        pushfq
        popfq
        pause
        mov     ecx, 0xc0000102
        rdmsr
        wrmsr
        cli
        sti
        finish
end exit_never

code rdtsc_and_rdtscp, 64
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        mov     rsi, rax
        rdtscp
        mov     edi, ecx
        shl     rdx, 32
        or      rax, rdx
        finish
end rdtsc_and_rdtscp

; Adds until RDI is 0, with interrupts let in; registers tell if one of them was disturbed.
code spin_open, 64
        sti
.again: add     rsi, 3
        dec     rdi
        jnz     .again
        cli
        finish
end spin_open

%macro get_them 0
        mov     rax, dr0
        mov     rbx, dr3
        mov     rcx, dr6
        mov     rdx, cr2
        movq    rsi, xmm0
        movq    rdi, xmm15
%endmacro

; Registers that are not in the VMCS. The VM stops between the two halves.
code set_registers, 64
        mov     rax, 0x1234567812345678
        mov     dr0, rax
        mov     dr3, rax
        mov     cr2, rax
        movq    xmm0, rax
        movq    xmm15, rax
        mov     eax, 0xffff4ff0
        mov     dr6, rax
        out     0xf4, al
        get_them
        finish
end set_registers

code get_registers, 64
        get_them
        finish
end get_registers

; ---- 32-bit ------------------------------------------------------------------------------------

code task_switch, 32
        lgdt    [AT(.gdtr)]
        jmp     TASK:0
        tables
end task_switch

code paging_off, 32
        mov     eax, cr0
        btr     eax, 31
        mov     cr0, eax
        finish
end paging_off

code protected_basics, 32
        mov     eax, 0x40000000
        cpuid
        mov     [RESULTS], ebx
        mov     eax, 0x1122333c
        out     0x80, al
        mov     al, 0
        in      al, 0x80
        mov     [RESULTS + 4], eax
        mov     eax, 0x43524201
        mov     ebx, 7
        vmcall
        mov     [RESULTS + 8], eax
        mov     ecx, 0x1b
        rdmsr
        mov     [RESULTS + 12], eax
        ; Device memory, in several forms.
        mov     eax, [APIC + 0x30]
        mov     [RESULTS + 16], eax
        mov     dword [APIC + 0x80], 0x20
        mov     ecx, APIC
        movzx   eax, byte [ecx + 0x80]
        mov     [RESULTS + 20], eax
        or      eax, -1
        a16 mov ax, [0x6000]            ; 16-bit operand, 16-bit address, RAM
        mov     [RESULTS + 24], eax
        mov     eax, [0x300000]
        mov     [RESULTS + 28], eax
        xor     eax, eax
        mov     ax, [0x300000]
        mov     [RESULTS + 32], eax
        ; A 16-bit code segment with addresses of 32 bits.
        lgdt    [AT(.gdtr)]
        jmp     CODE16:AT(.short)
bits 16
.short: mov     eax, [dword APIC + 0x80]
        mov     [RESULTS + 36], eax
        mov     ax, [dword APIC + 0x30]
        mov     [RESULTS + 40], ax
        finish
bits 32
        tables
end protected_basics

; Addresses of 16 bits wrap at 64 KiB and leave the upper halves alone.
code protected_strings, 32
        mov     edx, FIFO
        mov     esi, 0x1234fffe
        mov     ecx, 0xabcd0004
        a16 rep outsb
        mov     [RESULTS], esi
        mov     [RESULTS + 4], ecx
        mov     edi, 0x77770ffc
        mov     ecx, 0x88880002
        a16 rep insw
        mov     [RESULTS + 8], edi
        mov     [RESULTS + 12], ecx
        ; In 16-bit code they are the default.
        lgdt    [AT(.gdtr)]
        jmp     CODE16:AT(.short)
bits 16
.short: mov     esi, 0x1234ffff
        mov     ecx, 0xabcd0002
        rep outsb
        mov     [RESULTS + 16], esi
        mov     [RESULTS + 20], ecx
        mov     esi, 0x00010000
        mov     ecx, 2
        a32 rep outsb
        mov     [RESULTS + 24], esi
        finish
bits 32
        tables
end protected_strings

; What segments forbid: past the limit, read-only, null. EBX picks the case; the handlers leave
; vector and error code.
code protected_segments, 32
        lgdt    [AT(.gdtr)]
        lidt    [AT(.idtr)]
        mov     edx, FIFO
        mov     eax, LIMITED
        mov     ds, eax
        mov     es, eax
        cmp     ebx, 1
        je      .short
        cmp     ebx, 2
        je      .readonly
        cmp     ebx, 3
        je      .null
        cmp     ebx, 4
        je      .stack
        finish
.short: mov     esi, 0xff8              ; 8 bytes are left
        mov     ecx, 20
        rep outsb
.readonly:
        mov     eax, RDONLY
        mov     es, eax
        mov     edi, 0x1000
        mov     ecx, 1
        rep insb
.null:  xor     eax, eax
        mov     fs, eax
        mov     ecx, 1
        fs rep outsb
.stack: mov     eax, LIMITED
        mov     ss, eax
        mov     esp, 0x800
        mov     esi, 0x1000
        mov     ecx, 1
        ss rep outsb
.on12:  mov     eax, 12
        jmp     .caught
.on13:  mov     eax, 13
.caught:
        pop     edi                     ; the error code
        finish
align 8
.idt:   times 12 dq 0
        dw AT(.on12), CODE32, 0x8e00, 0
        dw AT(.on13), CODE32, 0x8e00, 0
.idtr:  dw $ - .idt - 1
        dd AT(.idt)
        tables
end protected_segments

; Into 64-bit mode and back, EBX = bits of CR0 that change together with PG.
code to_long_and_back, 32
        lgdt    [AT(.gdtr)]
        mov     dword [0x10000], 0x11003
        mov     dword [0x11000], 0x12003
        mov     dword [0x12000], 0x83
        mov     eax, cr0
        btr     eax, 31
        mov     cr0, eax
        mov     eax, 0x10000
        mov     cr3, eax
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     ecx, EFER
        rdmsr
        mov     [RESULTS], eax          ; EFER before,
        bts     eax, 8
        wrmsr
        mov     eax, cr0
        bts     eax, 31
        or      eax, ebx
        mov     cr0, eax
        rdmsr
        mov     [RESULTS + 4], eax      ; in compatibility mode,
        jmp     CODE64:AT(.long)
bits 64
.long:  mov     r8, 0x123456789abcdef0
        mov     [abs dword RESULTS + 8], r8
        mov     rax, cr0
        mov     [abs dword RESULTS + 16], rax
        push    CODE32
        push    AT(.compatible)
        retfq
bits 32
.compatible:
        mov     eax, cr0
        btr     eax, 31
        xor     eax, ebx
        mov     cr0, eax
        mov     ecx, EFER
        rdmsr
        mov     [RESULTS + 24], eax     ; and after
        mov     eax, cr0
        mov     [RESULTS + 28], eax
        finish
        tables
end to_long_and_back

; PAE paging, whose four PDPTEs are in registers: EBX as above.
code to_pae_and_back, 32
        mov     dword [0x10000], 0x11001
        mov     dword [0x11000], 0x83
        mov     eax, cr0
        btr     eax, 31
        mov     cr0, eax
        mov     eax, 0x10000
        mov     cr3, eax
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     eax, cr0
        bts     eax, 31
        or      eax, ebx
        mov     cr0, eax
        mov     eax, [LAB_CODE]         ; through the new tables
        mov     [RESULTS], eax
        ; Strings are walked by Corbel.
        mov     edx, FIFO
        mov     esi, LAB_CODE
        outsd
        ; A second set, loaded by a write to CR4 that exits (MCE).
        mov     dword [0x13000], 0x14001
        mov     dword [0x14000], 0x83
        mov     eax, 0x13000
        mov     cr3, eax
        mov     dword [0x13000], 0x11001
        mov     eax, cr4
        xor     eax, 0x40
        mov     cr4, eax
        mov     esi, LAB_CODE + 4
        outsd
        finish
end to_pae_and_back

; ---- 16-bit ------------------------------------------------------------------------------------

code real_basics, 16
        mov     eax, 0x40000000
        cpuid
        mov     [RESULTS], ebx
        mov     eax, 0x1122333c
        out     0x80, al
        mov     al, 0
        in      al, 0x80
        mov     [RESULTS + 4], eax
        mov     eax, 0x43524201
        mov     ebx, 7
        vmcall
        mov     [RESULTS + 8], eax
        mov     ecx, 0x1b
        rdmsr
        mov     [RESULTS + 12], eax
        ; From 1000:FFFE, which wraps, to 2000:0010.
        mov     ax, 0x1000
        mov     ds, ax
        mov     dword [0xfffc], 0x62610000
        mov     word [0], 0x6463
        mov     dx, FIFO
        mov     esi, 0x1234fffe
        mov     ecx, 0xabcd0004
        rep outsb
        mov     [cs:RESULTS + 16], esi
        mov     [cs:RESULTS + 20], ecx
        mov     ax, 0x2000
        mov     es, ax
        mov     di, 0x10
        mov     cx, 2
        rep insw
        finish
end real_basics

; Big real mode: FS keeps the limit it got in protected mode.
code real_interrupts, 16
        lgdt    [AT(.gdtr)]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        mov     bx, DATA32
        mov     fs, bx
        and     al, 0xfe
        mov     cr0, eax
        mov     eax, [fs:dword APIC + 0x30]
        mov     [RESULTS], eax
        mov     word [0x50 * 4], AT(.on_ipi)
        mov     word [13 * 4], AT(.on_gp)
        mov     word [0x60 * 4], AT(.on_int)
        mov     dword [fs:dword APIC + 0x300], 0x40050
        mov     ax, [RESULTS + 4]
        mov     [RESULTS + 6], ax       ; still 0: interrupts are off
        sti
        nop
        cli
        mov     ecx, 0x480
        rdmsr
        int     0x60
        finish
.on_ipi:
        inc     word [RESULTS + 4]
        mov     dword [fs:dword APIC + 0xb0], 0
        iret
.on_gp: mov     [RESULTS + 8], sp       ; three words were pushed, and no error code
        mov     bp, sp
        add     word [bp], 2
        inc     word [RESULTS + 10]
        iret
.on_int:
        inc     word [RESULTS + 12]
        iret
        tables
end real_interrupts

; From real mode to 64-bit mode in one step.
code real_to_long, 16
        lgdt    [AT(.gdtr)]
        mov     bx, 0x1000
        mov     ds, bx
        mov     dword [0], 0x11003
        mov     dword [0x1000], 0x12003
        mov     dword [0x2000], 0x83
        mov     eax, 0x10000
        mov     cr3, eax
        mov     eax, 0x20
        mov     cr4, eax
        mov     ecx, EFER
        rdmsr
        bts     eax, 8
        wrmsr
        mov     eax, 0x80000011
        mov     cr0, eax
        jmp     dword CODE64:AT(.long)
bits 64
.long:  mov     r8, 0x123456789abcdef0
        mov     ecx, EFER
        rdmsr
        finish
        tables
end real_to_long
