/* Rows that a user brings: CLF_TUNING names a JSON file of them. A row is read like the config of a part. */
#include "config/config.h"
#include "core/log.h"
#include "core/os.h"
#include "core/status.h"
#include "device/device.h"
#include "tune/tune.h"
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_FILE = 1 << 20 };

typedef struct row_config {
    clf_config_header header;
    int               key;
    char             *platform, *device, *choice;
} row_config;

static const clf_field row_fields[] = {
    CLF_ENUM(row_config, key, 0, clf__tune_keys, .required = true, .doc = "what is tuned"),
    CLF_STRING(row_config, platform, NULL, .doc = "a part of the platform's name"),
    CLF_STRING(row_config, device, NULL, .doc = "a part of the device's name"),
    CLF_STRING(row_config, choice, NULL, .required = true, .doc = "what to take"),
    CLF_FIELDS_END
};
static const clf_schema row_schema = CLF_SCHEMA(row_config, row_fields);

void clf__tune_free(clf__tune_file *file)
{
    for (size_t i = 0; i < file->count; i++)
        clf_config_free(&row_schema, file->configs[i]);
    free(file->configs);
    free(file->rows);
    free(file->path);
    *file = (clf__tune_file){ 0 };
}

static clf_status take_row(const cJSON *item, clf__tune_file *file)
{
    char buffer[80];
    clf_status status;

    if (!cJSON_IsObject(item))
        status = clf__fail(CLF_INVALID_CONFIG, "it must be an object, not %s",
                           clf__json_describe(item, buffer, sizeof buffer));
    else
        status = clf__config_from_object(&row_schema, item, 0, NULL, &file->configs[file->count]);
    if (status)
        return clf__fail_prefix(status, "row %d", (int)file->count + 1);
    const row_config *row = file->configs[file->count];
    file->rows[file->count++] =
        (clf__tuned){ clf__tune_keys[row->key], row->platform, row->device, row->choice };
    return CLF_SUCCESS;
}

static clf_status take_rows(const cJSON *root, clf__tune_file *file)
{
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(root, "rows"), *item;
    const size_t count = (size_t)cJSON_GetArraySize(rows);
    clf_status status;

    if (!cJSON_IsArray(rows) || rows != root->child || rows->next)
        return clf__fail(CLF_INVALID_CONFIG, "it must be {\"rows\": [...]} and nothing else");
    file->rows = calloc(count + 1, sizeof *file->rows);
    file->configs = calloc(count + 1, sizeof *file->configs);
    if (!file->rows || !file->configs)
        return clf__no_memory((count + 1) * sizeof *file->rows);
    cJSON_ArrayForEach(item, rows)
        if ((status = take_row(item, file)))
            return status;
    return CLF_SUCCESS;
}

clf_status clf__tune_parse(const char *text, clf__tune_file *file)
{
    cJSON *root = NULL;
    clf_status status = clf__json_parse(text, "it", &root);

    *file = (clf__tune_file){ 0 };
    if (!status)
        status = take_rows(root, file);
    cJSON_Delete(root);
    if (status)
        clf__tune_free(file);
    return status;
}

static clf_status read_file(const char *path, clf__tune_file *file)
{
    void *text = NULL;
    size_t size = 0;
    clf_status status = clf__file_read(path, LARGEST_FILE, &text, &size);

    if (status)
        return clf__fail_prefix(status, "CLF_TUNING");
    if (strlen(text) != size)
        status = clf__fail(CLF_INVALID_CONFIG, "it has a NUL character");
    else
        status = clf__tune_parse(text, file);
    free(text);
    if (!status && !(file->path = clf__strdup(path))) {
        clf__tune_free(file);
        status = clf__no_memory(strlen(path) + 1);
    }
    if (status)
        return clf__fail_prefix(status, "CLF_TUNING '%s'", path);
    clf__log(CLF_LOG_INFO, "tuning: %d rows of '%s'", (int)file->count, path);
    return CLF_SUCCESS;
}

/* ---- kept with the device ---------------------------------------------------------------------------- */

static clf_status make(clf_device *device, void **value)
{
    const char *path = getenv("CLF_TUNING");
    clf__tune_file *file = calloc(1, sizeof *file);
    clf_status status = CLF_SUCCESS;

    (void)device;
    if (!file)
        return clf__no_memory(sizeof *file);
    if (path && *path)
        status = read_file(path, file);
    if (status)
        free(file);
    else
        *value = file;
    return status;
}

static void destroy(clf_device *device, void *value)
{
    (void)device;
    clf__tune_free(value);
    free(value);
}

clf_status clf__tune_file_of(clf_device *device, const clf__tune_file **file)
{
    static const char attachment;
    void *value = NULL;
    const clf_status status = clf__device_attach(device, &attachment, make, destroy, &value);

    *file = value;
    return status;
}
