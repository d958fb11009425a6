; SPDX-License-Identifier: MIT
; The default guest once more in real mode: UART, CPUID, PIT through the PIC, HLT, debug exit. The
; local APIC's page is out of a real-mode segment's reach.
bits 16
org 0

MAGIC           equ 0x6c65627243544755
COM1            equ 0x3f8
PIC1            equ 0x20
IRQ_BASE        equ 0x20
PIT_COUNT       equ 11932               ; 100 Hz
TICKS           equ 10

image:  dq MAGIC
        dd 16                           ; mode
        dd 0                            ; link base
        dd start
        dd stack_top
        dd image_end - image
        dd memory_end - image
        dd 0, 0

; DI = struct guest_info, all segments at the image.
start:  mov     si, hello
        call    print
        xor     eax, eax
        cpuid
        mov     [vendor], ebx
        mov     [vendor + 4], edx
        mov     [vendor + 8], ecx
        mov     si, vendor_line
        call    print

        ; A vector table of its own: page 0 is not this guest's.
        mov     word [vectors + IRQ_BASE * 4], on_pit
        mov     [vectors + IRQ_BASE * 4 + 2], cs
        mov     ax, cs
        movzx   eax, ax
        shl     eax, 4
        add     eax, vectors
        mov     [idtr + 2], eax
        o32 lidt [idtr]

        mov     si, pic_words
.pic:   lodsw
        test    ax, ax
        jz      .pit
        movzx   dx, al
        mov     al, ah
        out     dx, al
        jmp     .pic
.pit:   mov     al, 0x34
        out     0x43, al
        mov     al, PIT_COUNT & 0xff
        out     0x40, al
        mov     al, PIT_COUNT >> 8
        out     0x40, al
.wait:  sti
        hlt
        cli
        cmp     word [ticks], TICKS
        jb      .wait
        mov     al, 0xff
        out     PIC1 + 1, al
        mov     si, done
        call    print
        xor     al, al
        out     0xf4, al
.stop:  hlt
        jmp     .stop

on_pit: push    ax
        inc     word [cs:ticks]
        mov     al, 0x20
        out     PIC1, al
        pop     ax
        iret

print:  lodsb
        test    al, al
        jz      .end
        mov     ah, al
        mov     dx, COM1 + 5
.busy:  in      al, dx
        test    al, 0x20
        jz      .busy
        mov     dx, COM1
        mov     al, ah
        out     dx, al
        jmp     print
.end:   ret

; Port and value; a zero word ends them.
pic_words:
        db PIC1, 0x11, PIC1 + 1, IRQ_BASE, PIC1 + 1, 4, PIC1 + 1, 1
        db 0xa0, 0x11, 0xa1, 0x28, 0xa1, 2, 0xa1, 1
        db PIC1 + 1, 0xfe, 0xa1, 0xff
        dw 0
ticks:  dw 0
idtr:   dw (IRQ_BASE + 1) * 4 - 1
        dd 0
hello:  db "tiny: hello from real mode", 10, 0
vendor_line:
        db "tiny: CPUID: "
vendor: times 12 db 0
        db 10, 0
done:   db "tiny: PIT: 10 interrupts at 100 Hz", 10, "tiny: done", 10, 0
image_end:

absolute image_end
        resb (16 - (image_end - image) % 16) % 16
vectors:
        resb (IRQ_BASE + 1) * 4
        resb 512
stack_top:
memory_end:
