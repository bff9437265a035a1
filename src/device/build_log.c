/* Oclgrind names every place input.cl:<line of the expanded text>; the #line marks tell which file
 * and line that is. Compilers that honour the marks name paths that occur in them: left alone. */
#include "device/build_log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A #line mark: the next line is `line` of the file. */
static bool is_mark(const char *text, const char *end, long *line, char *path, size_t size)
{
    const char *open, *close;

    if (end - text < 6 || strncmp(text, "#line ", 6) != 0)
        return false;
    *line = strtol(text + 6, NULL, 10);
    open = memchr(text, '"', (size_t)(end - text));
    close = open ? memchr(open + 1, '"', (size_t)(end - open - 1)) : NULL;
    if (!close || (size_t)(close - open - 1) >= size)
        return false;
    memcpy(path, open + 1, (size_t)(close - open - 1));
    path[close - open - 1] = '\0';
    return true;
}

/* File and line of line `wanted` (from 1) of the expanded text; false when there is none. */
static bool find_line(const char *text, long wanted, long *line, char *path, size_t size)
{
    path[0] = '\0';
    *line = 0;
    for (long at = 1; *text; at++) {
        const char *end = text + strcspn(text, "\n");

        if (at == wanted)
            return path[0] != '\0';
        if (!is_mark(text, end, line, path, size))
            ++*line;
        text = *end ? end + 1 : end;
    }
    return false;
}

static bool names_source(const char *text, const char *name, size_t length)
{
    for (const char *mark = strstr(text, "#line 1 \""); mark; mark = strstr(mark + 1, "#line 1 \""))
        if (!strncmp(mark + 9, name, length) && mark[9 + length] == '"')
            return true;
    return false;
}

/* The first "name:number:" in a log line: where the name begins and the number ends. */
static bool find_place(const char *line, const char *end, const char **name, const char **colon, const char **behind)
{
    for (const char *c = line; c < end; c++) {
        const char *digit = c + 1;

        if (*c != ':')
            continue;
        while (digit < end && isdigit((unsigned char)*digit))
            digit++;
        if (digit == c + 1 || digit == end || *digit != ':')
            continue;
        *colon = c;
        *behind = digit;
        for (*name = c; *name > line && !isspace((unsigned char)(*name)[-1]); --*name)
            ;
        return *name < c;
    }
    return false;
}

static void add_line(const char *line, const char *end, const char *text, clf__text *clean)
{
    const char *name, *colon, *behind;
    char path[256];
    long number;

    if (find_place(line, end, &name, &colon, &behind) && !names_source(text, name, (size_t)(colon - name)) &&
        find_line(text, strtol(colon + 1, NULL, 10), &number, path, sizeof path)) {
        clf__text_append(clean, line, (size_t)(name - line));
        clf__text_add(clean, "%s:%ld", path, number);
        line = behind;
    }
    clf__text_append(clean, line, (size_t)(end - line));
    clf__text_append(clean, "\n", 1);
}

void clf__clean_build_log(const char *log, const char *text, clf__text *clean)
{
    size_t start = clean->length;

    while (*log && isspace((unsigned char)*log))
        log++;
    while (*log) {
        const char *end = log + strcspn(log, "\n");

        add_line(log, end, text, clean);
        log = *end ? end + 1 : end;
    }
    while (!clean->failed && clean->length > start && isspace((unsigned char)clean->data[clean->length - 1]))
        clean->data[--clean->length] = '\0';
}
