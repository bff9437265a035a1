/* What was measured on devices: the table of tuned parameters. Lookup only. */
#ifndef CLF_TUNE_TUNE_H
#define CLF_TUNE_TUNE_H

#include <clformers/device.h>

typedef struct clf__tuned {
    const char *key;      /* what is tuned: "gemm.provider" */
    const char *platform; /* substrings of the device's description, case-insensitive; NULL = any */
    const char *device;
    const char *choice;
} clf__tuned;

/* The first row of a table (it ends with key NULL) that matches, or NULL. */
const clf__tuned *clf__tune_find(const clf__tuned *table, const clf_device_info *info, const char *key);

/* The choice that the library's table has for `key` on this device; NULL = none. */
const char *clf__tune_choice(const clf_device_info *info, const char *key);

#endif
