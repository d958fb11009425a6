; SPDX-License-Identifier: MIT
; Entry, interrupt stubs and caught exceptions of a 32-bit guest program.
bits 32
extern guest_main, rt_interrupt, rt_catching
global guest_entry, rt_stubs, rt_try, rt_load_tables

section .text
; EDI = struct guest_info, ESP set by the loader.
guest_entry:
        xor     ebp, ebp
        push    edi
        call    guest_main
        ud2

; void rt_load_tables(const void *gdtr, const void *idtr): flat code 08H, data 10H.
rt_load_tables:
        mov     eax, [esp + 4]
        lgdt    [eax]
        mov     eax, [esp + 8]
        lidt    [eax]
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     fs, eax
        mov     gs, eax
        jmp     0x08:.flat
.flat:  ret

; int rt_try(void (*fn)(uintptr_t), uintptr_t arg)
rt_try: mov     eax, [esp + 4]
        mov     edx, [esp + 8]
        push    ebp
        push    ebx
        push    esi
        push    edi
        pushfd
        mov     [rt_catching], esp
        push    edx
        call    eax
        add     esp, 4
        mov     eax, -1
leave_try:
        mov     dword [rt_catching], 0
        popfd
        pop     edi
        pop     esi
        pop     ebx
        pop     ebp
        ret

align 16
rt_stubs:
%assign v 0
%rep 256
        align 16
%if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21)
        push    dword 0
%endif
        push    dword v
        jmp     near save_all
%assign v v + 1
%endrep

save_all: push    eax
        push    ebx
        push    ecx
        push    edx
        push    esi
        push    edi
        push    ebp
        cld
        mov     ebp, esp
        push    ebp
        call    rt_interrupt
        add     esp, 4
        test    eax, eax
        jnz     .caught
        pop     ebp
        pop     edi
        pop     esi
        pop     edx
        pop     ecx
        pop     ebx
        pop     eax
        add     esp, 8
        iretd
.caught:
        mov     ecx, [ebp + 7 * 4]      ; the vector
        mov     esp, eax
        mov     eax, ecx
        jmp     leave_try
