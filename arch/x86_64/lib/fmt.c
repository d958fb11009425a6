// SPDX-License-Identifier: MIT
#include <limits.h>

#include "arch/x86_64/lib/fmt.h"

#include "arch/x86_64/lib/string.h"

struct out {
    char *buf;
    size_t size; // bytes of buf, the terminator included
    u64 length;  // of the whole text, whether it fits or not
};

struct spec {
    bool left, zero, plus, space, alt;
    int width;
    int precision;  // -1: none given
    unsigned bytes; // of the argument; 8 for %p
    char conv;
};

// The longest number is 64 bits in octal.
#define DIGITS_MAX 22u

static void put_char(struct out *out, char c)
{
    if (out->length + 1 < out->size)
        out->buf[out->length] = c;
    out->length++;
}

static void put_text(struct out *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        put_char(out, text[i]);
}

// Writes only what fits, so that an absurd width costs no time.
static void put_pad(struct out *out, char c, int count)
{
    for (; count > 0 && out->length + 1 < out->size; count--)
        put_char(out, c);
    if (count > 0)
        out->length += (u64)count;
}

// Writes text in its field; width counts the padding in.
static void put_field(struct out *out, const struct spec *spec, const char *text, size_t length)
{
    int pad = (u64)spec->width > length ? spec->width - (int)length : 0;
    if (!spec->left)
        put_pad(out, ' ', pad);
    put_text(out, text, length);
    if (spec->left)
        put_pad(out, ' ', pad);
}

static void put_string(struct out *out, const struct spec *spec, const char *text)
{
    if (!text)
        text = "(null)";
    size_t length = 0;
    while ((spec->precision < 0 || length < (size_t)spec->precision) && text[length])
        length++;
    put_field(out, spec, text, length);
}

// The digits of value, least significant first. Returns how many; none for 0.
static unsigned digits_of(char digits[DIGITS_MAX], u64 value, char conv)
{
    const char *set = conv == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    unsigned base = conv == 'o' ? 8 : conv == 'x' || conv == 'X' || conv == 'p' ? 16 : 10;
    unsigned n = 0;
    for (; value; value /= base)
        digits[n++] = set[value % base];
    return n;
}

static const char *prefix_of(const struct spec *spec, u64 value, bool negative)
{
    if (spec->conv == 'p')
        return "0x";
    if (spec->conv == 'd' || spec->conv == 'i')
        return negative ? "-" : spec->plus ? "+" : spec->space ? " " : "";
    if (!spec->alt || value == 0)
        return "";
    return spec->conv == 'x' ? "0x" : spec->conv == 'X' ? "0X" : "";
}

static void put_number(struct out *out, const struct spec *spec, u64 value, bool negative)
{
    char digits[DIGITS_MAX];
    unsigned n = digits_of(digits, value, spec->conv);
    const char *prefix = prefix_of(spec, value, negative);
    int prefix_length = (int)strlen(prefix);

    // A number has at least one digit, unless its precision is an explicit 0.
    int least = spec->precision < 0 ? 1 : spec->precision;
    if (spec->conv == 'o' && spec->alt && least <= (int)n)
        least = (int)n + 1;
    int zeros = least > (int)n ? least - (int)n : 0;
    s64 pad = (s64)spec->width - prefix_length - zeros - (s64)n;
    if (pad > 0 && spec->zero && !spec->left && spec->precision < 0) {
        zeros += (int)pad;
        pad = 0;
    }

    if (!spec->left && pad > 0)
        put_pad(out, ' ', (int)pad);
    put_text(out, prefix, (size_t)prefix_length);
    put_pad(out, '0', zeros);
    while (n)
        put_char(out, digits[--n]);
    if (spec->left && pad > 0)
        put_pad(out, ' ', (int)pad);
}

static bool parse_flag(struct spec *spec, char c)
{
    switch (c) {
    case '-':
        return spec->left = true;
    case '0':
        return spec->zero = true;
    case '+':
        return spec->plus = true;
    case ' ':
        return spec->space = true;
    case '#':
        return spec->alt = true;
    default:
        return false;
    }
}

// A decimal number at *at; too large a one stays at INT_MAX.
static int parse_int(const char **at)
{
    s64 value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        value = value > INT_MAX ? value : value * 10 + (**at - '0');
    return value > INT_MAX ? INT_MAX : (int)value;
}

static unsigned parse_length(const char **at)
{
    switch (**at) {
    case 'h':
        (*at)++;
        if (**at != 'h')
            return sizeof(short);
        (*at)++;
        return sizeof(char);
    case 'l':
        (*at)++;
        if (**at == 'l')
            (*at)++;
        return sizeof(long);
    case 'z':
    case 'j':
    case 't':
        (*at)++;
        return sizeof(long);
    default:
        return sizeof(int);
    }
}
_Static_assert(sizeof(long) == 8 && sizeof(long long) == 8 && sizeof(size_t) == 8 &&
                   sizeof(intmax_t) == 8 && sizeof(ptrdiff_t) == 8 && sizeof(void *) == 8,
               "one 64-bit fetch serves l, ll, z, j, t and %p");

// va_list may be an array type, which a pointer to it survives only inside a struct.
struct args {
    va_list list;
};

static u64 fetch(struct args *args, unsigned bytes)
{
    if (bytes == 8)
        return va_arg(args->list, u64);
    u64 value = va_arg(args->list, unsigned);
    return bytes < 4 ? value & ((1ull << (bytes * 8)) - 1) : value;
}

static s64 sign_extend(u64 value, unsigned bytes)
{
    unsigned unused = 64 - bytes * 8;
    return (s64)(value << unused) >> unused;
}

static struct spec parse_spec(const char **at, struct args *args)
{
    struct spec spec = {.precision = -1};
    while (parse_flag(&spec, **at))
        (*at)++;
    if (**at == '*') {
        (*at)++;
        spec.width = va_arg(args->list, int);
        if (spec.width < 0) {
            spec.left = true;
            spec.width = spec.width == INT_MIN ? INT_MAX : -spec.width;
        }
    } else {
        spec.width = parse_int(at);
    }
    if (**at == '.') {
        (*at)++;
        if (**at == '*') {
            (*at)++;
            spec.precision = va_arg(args->list, int);
        } else {
            spec.precision = parse_int(at);
        }
    }
    spec.bytes = parse_length(at);
    spec.conv = **at;
    if (spec.conv)
        (*at)++;
    return spec;
}

static void put_signed(struct out *out, const struct spec *spec, s64 value)
{
    u64 magnitude = value < 0 ? 0 - (u64)value : (u64)value;
    put_number(out, spec, magnitude, value < 0);
}

// Returns whether there is such a conversion.
static bool put_conversion(struct out *out, const struct spec *spec, struct args *args)
{
    char c;
    switch (spec->conv) {
    case 'd':
    case 'i':
        put_signed(out, spec, sign_extend(fetch(args, spec->bytes), spec->bytes));
        return true;
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        put_number(out, spec, fetch(args, spec->bytes), false);
        return true;
    case 'p':
        put_number(out, spec, fetch(args, sizeof(void *)), false);
        return true;
    case 's':
        put_string(out, spec, va_arg(args->list, const char *));
        return true;
    case 'c':
        c = (char)va_arg(args->list, int);
        put_field(out, spec, &c, 1);
        return true;
    case '%':
        put_char(out, '%');
        return true;
    default:
        return false;
    }
}

static void put_all(struct out *out, const char *format, struct args *args)
{
    while (*format) {
        if (*format != '%') {
            put_char(out, *format++);
            continue;
        }
        const char *start = format++;
        struct spec spec = parse_spec(&format, args);
        if (!put_conversion(out, &spec, args))
            put_text(out, start, (size_t)(format - start));
    }
}

int fmt_vsnprintf(char *buf, size_t size, const char *format, va_list list)
{
    struct out out = {.buf = buf, .size = size};
    struct args args;
    va_copy(args.list, list);
    put_all(&out, format, &args);
    va_end(args.list);
    if (size)
        buf[out.length < size ? out.length : size - 1] = '\0';
    return out.length > INT_MAX ? INT_MAX : (int)out.length;
}

int fmt_snprintf(char *buf, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = fmt_vsnprintf(buf, size, format, args);
    va_end(args);
    return length;
}
