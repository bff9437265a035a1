/* The library's table, and how rows are found. */
#include "tune/tune.h"
#include "config/config.h"
#include "core/status.h"
#include "core/text.h"
#include <string.h>

const char *const clf__tune_keys[] = { "gemm.provider", "fused.family", NULL };

/* Rows in the order in which they are tried. Measured with clf_bench_gemm. */
const clf__tuned clf__tune_table[] = {
    /* Explicit vectors reach 0.8 to 1 of OpenBLAS's sgemm there, CLBlast less than 0.1. */
    { "gemm.provider", "portable computing language", NULL, "vector" },
    { 0 }
};

static bool matches(const char *text, const char *part)
{
    return !part || clf__contains_ignore_case(text, part);
}

const clf__tuned *clf__tune_find(const clf__tuned *table, const clf_device_info *info, const char *key)
{
    for (; table->key; table++)
        if (strcmp(table->key, key) == 0 && matches(info->platform, table->platform) &&
            matches(info->name, table->device))
            return table;
    return NULL;
}

clf_status clf__tune_choice(clf_device *device, const char *key, const char *const *choices, const char **choice)
{
    const clf_device_info *info = clf_device_get_info(device);
    const clf__tune_file *file = NULL;
    const clf__tuned *row = NULL;
    clf_status status = clf__tune_file_of(device, &file);
    int index;

    *choice = NULL;
    if (status)
        return status;
    if (file->rows && (row = clf__tune_find(file->rows, info, key)) &&
        (status = clf__config_choose("choice", choices, row->choice, &index)))
        return clf__fail_prefix(status, "CLF_TUNING '%s': row %d", file->path, (int)(row - file->rows) + 1);
    if (!row)
        row = clf__tune_find(clf__tune_table, info, key);
    *choice = row ? row->choice : NULL;
    return CLF_SUCCESS;
}
