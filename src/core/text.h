/* Growing strings, and the few string questions that several places ask. */
#ifndef CLF_CORE_TEXT_H
#define CLF_CORE_TEXT_H

#include <clformers/base.h>
#include <stdbool.h>
#include <stddef.h>

/* A growing string. Zero-initialise; `failed` remembers that memory was short, so that only the
 * end needs a check. */
typedef struct clf__text {
    char  *data; /* NULL or NUL-terminated */
    size_t length, capacity;
    bool   failed;
} clf__text;

void  clf__text_add(clf__text *text, const char *format, ...) CLF_PRINTF(2, 3);
void  clf__text_append(clf__text *text, const char *data, size_t length);
void  clf__text_free(clf__text *text);
/* Hands the string over (never NULL unless memory was short) and clears the text. */
char *clf__text_take(clf__text *text);

char *clf__strdup(const char *string);
bool  clf__equal_ignore_case(const char *a, const char *b);
bool  clf__contains_ignore_case(const char *haystack, const char *needle);

/* The candidate nearest to `word` by edit distance, for "did you mean"; NULL when none is near.
 * Feed candidates one by one. */
typedef struct clf__nearest {
    const char *word, *best;
    size_t      distance;
} clf__nearest;
clf__nearest clf__nearest_to(const char *word);
void         clf__nearest_feed(clf__nearest *nearest, const char *candidate);

#endif
