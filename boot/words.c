// SPDX-License-Identifier: MIT
#include "boot/words.h"
#include "arch/x86_64/lib/string.h"

static bool separates(char c)
{
    return (u8)c <= ' ';
}

bool word_next(const char **at, struct word *out)
{
    const char *from = *at;
    while (*from && separates(*from))
        from++;
    const char *to = from;
    while (!separates(*to)) // the terminator separates too
        to++;
    *at = to;
    *out = (struct word){from, (size_t)(to - from)};
    return to != from;
}

bool word_split(struct word *rest, char separator, struct word *out)
{
    if (!rest->text)
        return false;
    size_t i = 0;
    while (i < rest->length && rest->text[i] != separator)
        i++;
    *out = (struct word){rest->text, i};
    if (i < rest->length)
        *rest = (struct word){rest->text + i + 1, rest->length - i - 1};
    else
        *rest = (struct word){NULL, 0};
    return true;
}

bool word_is(struct word word, const char *text)
{
    return strlen(text) == word.length && strncmp(word.text, text, word.length) == 0;
}

bool word_copy(char *dst, size_t size, struct word word)
{
    if (word.length >= size)
        return false;
    memcpy(dst, word.text, word.length);
    dst[word.length] = '\0';
    return true;
}
