// SPDX-License-Identifier: MIT
// The integer types, the one-field address types and the few macros everything else uses.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

// One-field structs, so that a guest-physical address passed where a host-physical one is
// expected does not compile.
typedef struct {
    u64 raw;
} hpa_t; // host-physical
typedef struct {
    u64 raw;
} gpa_t; // guest-physical
typedef struct {
    u64 raw;
} gva_t; // guest-linear

#define HPA(x) ((hpa_t){(x)})
#define GPA(x) ((gpa_t){(x)})
#define GVA(x) ((gva_t){(x)})

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PACKED            __attribute__((packed))
#define ALIGNED(n)        __attribute__((aligned(n)))
#define SECTION(s)        __attribute__((section(s), used))
#define NORETURN          __attribute__((noreturn))
// Only the start and the laboratory need this function, or this constant, of a file that stays: see
// tools/image.mk. A function's strings stay, as the compiler may share them among functions.
#define INIT              __attribute__((section(".text.0init")))
#define INIT_CONST        __attribute__((section(".rodata.0init")))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define MUST_CHECK        __attribute__((warn_unused_result))
// Kept out of its callers, who then need no registers for it. Those that are COLD are rarely
// called.
#define NOINLINE          __attribute__((noinline))
#define COLD              __attribute__((cold, noinline))
#define FALLTHROUGH       __attribute__((fallthrough))
