#include "core/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for `more` characters and the NUL. */
static bool reserve(clf__text *text, size_t more)
{
    size_t capacity = text->capacity ? text->capacity : 64;
    char *data;

    if (text->failed || more >= SIZE_MAX / 2 - text->length) {
        text->failed = true;
        return false;
    }
    if (text->length + more + 1 <= text->capacity)
        return true;
    while (capacity < text->length + more + 1)
        capacity *= 2;
    data = realloc(text->data, capacity);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void clf__text_append(clf__text *text, const char *data, size_t length)
{
    if (!reserve(text, length))
        return;
    if (length)
        memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void clf__text_add(clf__text *text, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text->failed = true;
        return;
    }
    if (!reserve(text, (size_t)length))
        return;
    va_start(arguments, format);
    (void)vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

void clf__text_free(clf__text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}

char *clf__text_take(clf__text *text)
{
    char *data = NULL;

    if (reserve(text, 0)) {
        text->data[text->length] = '\0';
        data = text->data;
        text->data = NULL;
    }
    clf__text_free(text);
    return data;
}

char *clf__strdup(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = malloc(size);

    if (copy)
        memcpy(copy, string, size);
    return copy;
}

static int lower(char c)
{
    return tolower((unsigned char)c);
}

bool clf__equal_ignore_case(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return lower(*a) == lower(*b);
}

bool clf__contains_ignore_case(const char *haystack, const char *needle)
{
    size_t length = strlen(needle);

    for (size_t left = strlen(haystack); left >= length; left--, haystack++) {
        size_t i = 0;

        while (i < length && lower(haystack[i]) == lower(needle[i]))
            i++;
        if (i == length)
            return true;
    }
    return false;
}

enum { LONGEST_WORD = 63 };

/* Levenshtein distance without regard to case, where two neighbours swapped count as one edit. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST_WORD + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t length_a = strlen(a), length_b = strlen(b);

    if (length_a > LONGEST_WORD || length_b > LONGEST_WORD)
        return SIZE_MAX;
    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= length_b; j++)
        above[j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        size_t *spare = before;

        row[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t best = above[j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));

            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]) &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[length_b];
}

clf__nearest clf__nearest_to(const char *word)
{
    return (clf__nearest){ .word = word, .best = NULL, .distance = strlen(word) / 3 + 1 };
}

void clf__nearest_feed(clf__nearest *nearest, const char *candidate)
{
    size_t distance = edit_distance(nearest->word, candidate);

    /* `distance` starts as the largest that still counts as near */
    if (distance < nearest->distance || (distance == nearest->distance && !nearest->best)) {
        nearest->distance = distance;
        nearest->best = candidate;
    }
}
