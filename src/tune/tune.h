/* What was measured on devices: the table of tuned parameters, and rows that a user brings. Lookup only. */
#ifndef CLF_TUNE_TUNE_H
#define CLF_TUNE_TUNE_H

#include <clformers/device.h>

typedef struct clf__tuned {
    const char *key;      /* what is tuned: one of clf__tune_keys */
    const char *platform; /* substrings of the device's description, case-insensitive; NULL = any */
    const char *device;
    const char *choice;
} clf__tuned;

/* "gemm.provider" (ops/gemm.c), "fused.family" (fused/family.c); NULL at the end. */
extern const char *const clf__tune_keys[];

/* The library's own rows; a table ends with key NULL. */
extern const clf__tuned clf__tune_table[];

/* The first row of a table that matches, or NULL. */
const clf__tuned *clf__tune_find(const clf__tuned *table, const clf_device_info *info, const char *key);

/* The choice for `key` on this device, one of `choices` (NULL at the end): that of the first row that matches in the
 * file that CLF_TUNING names, else in the library's table; NULL = none.
 * Errors: a file that cannot be read or is wrong, a row of it whose choice does not exist. */
clf_status clf__tune_choice(clf_device *device, const char *key, const char *const *choices, const char **choice);

/* ---- file.c: {"rows": [{"key": "gemm.provider", "platform": "nvidia", "choice": "portable"}, ...]} --- */

typedef struct clf__tune_file {
    char       *path;
    clf__tuned *rows;    /* NULL = there is no file */
    void      **configs; /* `count` of them, which hold the texts of the rows */
    size_t      count;
} clf__tune_file;

/* Errors name row, field, value and what is allowed: CLF_INVALID_CONFIG, CLF_UNKNOWN_KEY, CLF_MISSING_KEY,
 * CLF_OUT_OF_RANGE. A file that was refused holds nothing. */
clf_status clf__tune_parse(const char *text, clf__tune_file *file);
void       clf__tune_free(clf__tune_file *file);

/* What CLF_TUNING says, read when a device first asks. */
clf_status clf__tune_file_of(clf_device *device, const clf__tune_file **file);

#endif
