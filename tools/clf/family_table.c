/* Tables of features, from the answers of the part itself. */
#include "family_table.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(int passes)
{
    return passes == CLF_FORWARD ? "forward" : passes == CLF_BACKWARD ? "backward" : passes ? "both" : "-";
}

/* A family that has nothing on a device gets no column there. */
static bool has_any(const clf_descriptor *d, const clf_device *device, const char *family)
{
    int passes = 0;
    for (int i = 0; d->feature(device, family, i, &passes); i++) {
        if (passes || !device) {
            return true;
        }
    }
    return false;
}

static void print_table(const clf_descriptor *d, const clf_device *device)
{
    int passes = 0;
    printf("  %-38s", "");
    for (const char *const *family = d->families; *family; family++) {
        printf(has_any(d, device, *family) ? " %-13s" : "", *family);
    }
    for (int i = 0; d->feature(device, d->families[0], i, &passes); i++) {
        printf("\n  %-38s", d->feature(device, d->families[0], i, &passes));
        for (const char *const *family = d->families; *family; family++) {
            d->feature(device, *family, i, &passes);
            printf(has_any(d, device, *family) ? " %-13s" : "", text_of(passes));
        }
    }
    puts("");
}

static cJSON *table_json(const clf_descriptor *d, const clf_device *device)
{
    cJSON *table = cJSON_CreateArray();
    int    passes = 0;
    for (int i = 0; d->feature(device, d->families[0], i, &passes); i++) {
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "name", d->feature(device, d->families[0], i, &passes));
        for (const char *const *family = d->families; *family; family++) {
            d->feature(device, *family, i, &passes);
            cJSON_AddStringToObject(row, *family, text_of(passes));
        }
        cJSON_AddItemToArray(table, row);
    }
    return table;
}

/* Calls `tell` with every device of the selector. */
static int each_device(const char *selector, const clf_descriptor *d, cJSON *json,
                       void (*tell)(const clf_descriptor *d, clf_device *device, cJSON *json))
{
    clf_device_info *infos = NULL;
    size_t           count = 0;
    int              code = CLF__TOOL_OK;
    if (!selector) {
        return CLF__TOOL_OK;
    }
    if (clf_devices(selector, &infos, &count) != CLF_SUCCESS) {
        return clf__tool_fail("%s", clf_error_message());
    }
    for (size_t i = 0; i < count && code == CLF__TOOL_OK; i++) {
        clf_device *device = NULL;
        char        number[32];
        snprintf(number, sizeof number, "%d:%d", infos[i].platform_index, infos[i].device_index);
        if (clf_device_open(number, &device) != CLF_SUCCESS) {
            code = clf__tool_fail("%s", clf_error_message());
        } else {
            tell(d, device, json);
        }
        clf_device_release(device);
    }
    clf_free(infos);
    return code;
}

static void print_device(const clf_descriptor *d, clf_device *device, cJSON *json)
{
    (void)json;
    printf("\nFeatures on %s\n", clf_device_get_info(device)->name);
    print_table(d, device);
}

static void device_json(const clf_descriptor *d, clf_device *device, cJSON *json)
{
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "device", clf_device_get_info(device)->name);
    cJSON_AddItemToObject(one, "features", table_json(d, device));
    cJSON_AddItemToArray(json, one);
}

int clf__features_print(const clf_component *component, const char *selector)
{
    const clf_descriptor *d = component->descriptor;
    if (!d->feature || !d->families) {
        return CLF__TOOL_OK;
    }
    puts("\nFeatures of the kernel families, forward and backward");
    print_table(d, NULL);
    return each_device(selector, d, NULL, print_device);
}

int clf__features_json(const clf_component *component, const char *selector, cJSON *json)
{
    const clf_descriptor *d = component->descriptor;
    if (!d->feature || !d->families) {
        return CLF__TOOL_OK;
    }
    cJSON_AddItemToObject(json, "features", table_json(d, NULL));
    return each_device(selector, d, cJSON_AddArrayToObject(json, "devices"), device_json);
}
