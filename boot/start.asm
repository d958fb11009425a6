; SPDX-License-Identifier: MIT
; From GRUB's hand-over to kmain: Multiboot2 header, 32 to 64 bits, and into the high half.
;
; GRUB enters in 32-bit protected mode, paging off, with EAX = magic and EBX = physical address of
; the boot information (Multiboot2 specification, "I386 machine state"), on BIOS and on UEFI alike
; since the header does not ask to keep boot services. ESP, GDTR and IDTR are unusable. The image
; may be anywhere below 4 GiB at a multiple of 2 MiB: until paging is on, every address is EBP (the
; load address) plus a distance from image_start.

VIRT_BASE   equ 0xffffffff80000000
LINK_PHYS   equ 0x200000
PHYS_SLOT   equ 256             ; PML4 slot of the window on physical memory, ffff800000000000H
IMAGE_2M    equ 7               ; 2 MiB pages mapped of the image; linker.ld asserts that it fits

MB2_MAGIC   equ 0xe85250d6
MB2_BOOTED  equ 0x36d76289

PTE_P       equ 1
PTE_W       equ 2
PTE_PS      equ 0x80

IA32_EFER   equ 0xc0000080
EFER_LME    equ 1 << 8
CR0_VALUE   equ 0x80010033      ; PG, WP, NE, ET, MP, PE
CR4_VALUE   equ 0x20            ; PAE

CODE64      equ 0x08

extern kmain
extern boot_stack_top
extern boot_tables_offset

section .multiboot progbits alloc noexec nowrite align=8
image_header:
        dd MB2_MAGIC
        dd 0                                    ; architecture: i386 protected mode
        dd image_header_end - image_header
        dd 0x100000000 - (MB2_MAGIC + (image_header_end - image_header))

        ; Information request: command line, modules, memory map, framebuffer, ACPI old and new,
        ; EFI memory map, load base. All optional (flag bit 0): what is missing is found out and
        ; said by Corbel, not by a loader that stops.
        align 8
.request:
        dw 1, 1
        dd .request_end - .request
        dd 1, 3, 6, 8, 14, 15, 17, 21
.request_end:
        ; Framebuffer, optional. The tag is what allows one at all; the mode is for the menu entry to
        ; choose (gfxpayload, docs/boot.md). A size that GRUB can read would make it fall back to any
        ; mode there is, and with a palette of 16 colours GRUB 2.06 then writes past the end of the
        ; boot information and dies of it (Bochs without a PCI display has no better mode).
        align 8
        dw 5, 1
        dd 20
        dd -1, -1, 0
        ; Modules on page boundaries.
        align 8
        dw 6, 0
        dd 8
        ; Relocatable: UEFI firmware may own the linked address. Between 1 MiB and 4 GiB, 2 MiB
        ; aligned, as low as it goes.
        align 8
        dw 10, 0
        dd 24
        dd 0x100000, 0xffffffff, 0x200000, 1
        align 8
        dw 0, 0
        dd 8
image_header_end:

section .boot progbits alloc exec nowrite align=16
bits 32
global start32
start32:
        cli
        cld
        cmp     eax, MB2_BOOTED
        jne     not_booted
        ; No stack yet, and CALL needs one word of it: the information's reserved word serves.
        lea     esp, [ebx + 8]
        call    .here
.here:  pop     ebp
        ; .boot follows .multiboot in the image with nothing between but alignment, which only the
        ; linker knows: the distance comes from it.
        sub     ebp, start32_here_offset
        mov     al, 0x31
        out     0x80, al

        push    ebx                             ; CPUID overwrites it
        mov     eax, 0x80000000
        cpuid
        cmp     eax, 0x80000001
        jb      no_long_mode
        mov     eax, 0x80000001
        cpuid
        pop     ebx
        bt      edx, 29
        jnc     no_long_mode

        lea     esi, [ebp + boot_tables_offset]
        lea     esp, [esi + boot_tables.end - boot_tables]
        ; Clear all tables.
        mov     edi, esi
        xor     eax, eax
        mov     ecx, (boot_tables.stack - boot_tables) / 4
        rep     stosd
        ; PML4: identity, the window on physical memory, and the image.
        lea     eax, [esi + boot_tables.low_pdpt - boot_tables + PTE_P + PTE_W]
        mov     [esi], eax
        mov     [esi + PHYS_SLOT * 8], eax
        lea     eax, [esi + boot_tables.high_pdpt - boot_tables + PTE_P + PTE_W]
        mov     [esi + 511 * 8], eax
        lea     eax, [esi + boot_tables.high_pd - boot_tables + PTE_P + PTE_W]
        mov     [esi + boot_tables.high_pdpt - boot_tables + 510 * 8], eax
        ; Four page directories for the low 4 GiB.
        lea     eax, [esi + boot_tables.low_pd - boot_tables + PTE_P + PTE_W]
        lea     edi, [esi + boot_tables.low_pdpt - boot_tables]
        mov     ecx, 4
.pdpt:  mov     [edi], eax
        add     eax, 4096
        add     edi, 8
        loop    .pdpt
        mov     eax, PTE_P + PTE_W + PTE_PS
        lea     edi, [esi + boot_tables.low_pd - boot_tables]
        mov     ecx, 4 * 512
.pd:    mov     [edi], eax
        add     eax, 0x200000
        add     edi, 8
        loop    .pd
        ; The image where it lies, at the address it is linked for.
        lea     eax, [ebp + PTE_P + PTE_W + PTE_PS]
        lea     edi, [esi + boot_tables.high_pd - boot_tables + (LINK_PHYS >> 21) * 8]
        mov     ecx, IMAGE_2M
.image: mov     [edi], eax
        add     eax, 0x200000
        add     edi, 8
        loop    .image

        ; Written whole, never OR-ed into what firmware left: a stale CR4.LA57 or PCIDE would make
        ; these tables mean something else.
        mov     eax, CR4_VALUE
        mov     cr4, eax
        mov     cr3, esi
        mov     ecx, IA32_EFER
        rdmsr
        or      eax, EFER_LME
        wrmsr
        mov     eax, CR0_VALUE
        mov     cr0, eax

        ; The descriptor table's own address is known only now.
        sub     esp, 8
        lea     eax, [ebp + boot_gdt_offset]
        mov     word [esp], boot_gdt.end - boot_gdt - 1
        mov     [esp + 2], eax
        lgdt    [esp]
        lea     eax, [ebp + start64_offset]
        push    dword CODE64
        push    eax
        mov     al, 0x32
        out     0x80, al
        retf

not_booted:
        ; EBX is not to be trusted, and so is no stack: the words go out by a loop that needs none.
        mov     esi, 'mb2?'
        jmp     say
no_long_mode:
        mov     esi, 'no64'
        ; Four characters on COM1 and port 80H; no screen is known here. Then stop.
say:    mov     edi, 4
.next:  mov     ecx, 100000
        mov     dx, 0x3fd
.wait:  in      al, dx
        test    al, 0x20
        jnz     .ready
        loop    .wait
.ready: mov     eax, esi
        mov     dx, 0x3f8
        out     dx, al
        out     0x80, al
        ror     esi, 8
        dec     edi
        jnz     .next
.stop:  hlt
        jmp     .stop

bits 64
start64:
        xor     eax, eax
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     fs, eax
        mov     gs, eax
        mov     rax, .high
        jmp     rax
.high:
        mov     rsp, boot_stack_top
        mov     edi, ebx                ; physical address of the boot information
        mov     esi, ebp                ; physical address of image_start
        xor     ebp, ebp                ; the backtrace ends here
        mov     al, 0x33
        out     0x80, al
        call    kmain
        ud2

        align 8
boot_gdt:
        dq 0
        dq 0x00af9b000000ffff           ; 64-bit code
.end:

; Distances that linker.ld computes: nothing here has an address before paging is on.
global start32_here, start64, boot_gdt
start32_here equ start32.here
extern start32_here_offset, start64_offset, boot_gdt_offset

section .bootmem nobits alloc write align=4096
global boot_tables
boot_tables:
        resb 4096                       ; PML4
.low_pdpt:
        resb 4096
.high_pdpt:
        resb 4096
.high_pd:
        resb 4096
.low_pd:
        resb 4 * 4096
.stack: resb 256                        ; for the few pushes of the 32-bit start
.end:
        resb 4096 - 256
