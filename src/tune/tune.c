/* The library's table, and how rows are found. */
#include "tune/tune.h"
#include "core/text.h"
#include <string.h>

/* Rows in the order in which they are tried. Measured with clf_bench_gemm. */
static const clf__tuned table[] = {
    /* Explicit vectors reach 0.8 to 1 of OpenBLAS's sgemm there, CLBlast less than 0.1. */
    { "gemm.provider", "portable computing language", NULL, "vector" },
    { 0 }
};

static bool matches(const char *text, const char *part)
{
    return !part || clf__contains_ignore_case(text, part);
}

const clf__tuned *clf__tune_find(const clf__tuned *rows, const clf_device_info *info, const char *key)
{
    for (; rows->key; rows++)
        if (strcmp(rows->key, key) == 0 && matches(info->platform, rows->platform) && matches(info->name, rows->device))
            return rows;
    return NULL;
}

const char *clf__tune_choice(const clf_device_info *info, const char *key)
{
    const clf__tuned *row = clf__tune_find(table, info, key);
    return row ? row->choice : NULL;
}
