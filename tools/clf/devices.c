/* clf devices: every device with its clinfo number; each is opened to tell its capabilities. */
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error_t parse(int key, char *argument, struct argp_state *state)
{
    bool *json = state->input;
    switch (key) {
    case 'j':
        *json = true;
        return 0;
    case ARGP_KEY_ARG:
        clf__tool_usage("devices takes no argument, but got '%s'", argument);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    { "json", 'j', NULL, 0, "Print JSON", 0 },
    { 0 },
};
static const struct argp argp = {
    .options = options, .parser = parse,
    .doc = "List every OpenCL device, numbered as in clinfo, with its capabilities.\v"
           "A device is chosen by --device or CLF_DEVICE: PLATFORM[:DEVICE], each a number of this list, one of cpu, "
           "gpu, accelerator, any, or a part of a name or vendor; e.g. '0:1', 'nvidia', 'gpu', 'pocl:cpu'.",
};

static void type_text(cl_device_type type, char *text, size_t size)
{
    static const struct { cl_device_type bit; const char *name; } names[] = {
        { CL_DEVICE_TYPE_CPU, "cpu" }, { CL_DEVICE_TYPE_GPU, "gpu" },
        { CL_DEVICE_TYPE_ACCELERATOR, "accelerator" }, { CL_DEVICE_TYPE_CUSTOM, "custom" },
    };
    text[0] = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (type & names[i].bit) {
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s", used ? "+" : "", names[i].name);
        }
    }
}

/* Opens the device of an entry; NULL when that fails (the message is set). */
static clf_device *open_entry(const clf_device_info *info)
{
    char        selector[32];
    clf_device *device = NULL;
    snprintf(selector, sizeof selector, "%d:%d", info->platform_index, info->device_index);
    clf__tool_progress("opening %s", info->name);
    return clf_device_open(selector, &device) == CLF_SUCCESS ? device : NULL;
}

cJSON *clf__tool_device_json(const clf_device_info *info, bool chosen)
{
    char type[64];
    type_text(info->type, type, sizeof type);
    cJSON *json = cJSON_CreateObject();
    char   number[32];
    snprintf(number, sizeof number, "%d:%d", info->platform_index, info->device_index);
    cJSON_AddStringToObject(json, "number", number);
    cJSON_AddStringToObject(json, "name", info->name);
    cJSON_AddStringToObject(json, "vendor", info->vendor);
    cJSON_AddStringToObject(json, "platform", info->platform);
    cJSON_AddStringToObject(json, "driver", info->driver);
    cJSON_AddStringToObject(json, "type", type);
    cJSON_AddNumberToObject(json, "global_memory", (double)info->global_memory);
    cJSON_AddNumberToObject(json, "compute_units", info->compute_units);
    cJSON_AddBoolToObject(json, "integrated", info->integrated);
    cJSON_AddBoolToObject(json, "software", info->software);
    cJSON_AddBoolToObject(json, "simulator", info->simulator);
    cJSON_AddBoolToObject(json, "duplicate", info->duplicate);
    cJSON_AddNumberToObject(json, "rank", info->rank);
    cJSON_AddBoolToObject(json, "default", chosen);

    clf_device *device = open_entry(info);
    if (!device) {
        cJSON_AddStringToObject(json, "error", clf_error_message());
        return json;
    }
    const clf_capabilities *can = clf_device_get_capabilities(device);
    cJSON *capabilities = cJSON_AddObjectToObject(json, "capabilities");
    cJSON_AddStringToObject(capabilities, "style", can->style == CLF_STYLE_VECTORS ? "vectors" : "work-items");
    cJSON_AddNumberToObject(capabilities, "max_allocation", (double)can->max_allocation);
    cJSON_AddNumberToObject(capabilities, "local_memory", (double)can->local_memory);
    cJSON_AddBoolToObject(capabilities, "local_memory_is_local", can->local_memory_is_local);
    cJSON_AddNumberToObject(capabilities, "max_work_group", (double)can->max_work_group);
    cJSON_AddBoolToObject(capabilities, "fp16", can->fp16);
    cJSON_AddBoolToObject(capabilities, "fp64", can->fp64);
    cJSON_AddBoolToObject(capabilities, "fma", can->fma);
    cJSON_AddBoolToObject(capabilities, "subgroups", can->subgroups);
    cJSON_AddNumberToObject(capabilities, "nvidia_sm", can->nvidia_sm);
    cJSON_AddBoolToObject(capabilities, "nvidia_matrix", can->nvidia_matrix);
    cJSON_AddBoolToObject(capabilities, "nvidia_wgmma", can->nvidia_wgmma);
    cJSON_AddNumberToObject(capabilities, "nvidia_local_memory", (double)can->nvidia_local_memory);
    clf_device_release(device);
    return json;
}

static void print_capabilities(const clf_capabilities *can)
{
    char allocation[16], local[16];
    printf("      style %s, local memory %s%s, buffers up to %s, work-groups up to %zu\n     ",
           can->style == CLF_STYLE_VECTORS ? "vectors" : "work-items", clf__tool_bytes(can->local_memory, local),
           can->local_memory_is_local ? "" : " (emulated)", clf__tool_bytes(can->max_allocation, allocation),
           can->max_work_group);
    printf(" %s %s %s %s", can->fp16 ? "fp16" : "no-fp16", can->fp64 ? "fp64" : "no-fp64",
           can->fma ? "fma" : "no-fma", can->subgroups ? "subgroups" : "no-subgroups");
    if (can->nvidia_sm) {
        printf(" sm_%d%s%s", can->nvidia_sm, can->nvidia_matrix ? " matrix" : "", can->nvidia_wgmma ? " wgmma" : "");
    }
    if (can->nvidia_local_memory) {
        printf(" local-memory-%s", clf__tool_bytes(can->nvidia_local_memory, local));
    }
    putchar('\n');
}

static void print_device(const clf_device_info *info, bool chosen)
{
    char type[64], memory[16];
    type_text(info->type, type, sizeof type);
    clf__tool_progress_hide();
    printf("%d:%d   %s%s\n", info->platform_index, info->device_index, info->name, chosen ? "   <- default" : "");
    printf("      %s, %s, driver %s\n", info->platform, info->vendor, info->driver);
    printf("      %s%s%s%s, %s, %d compute units%s\n", type, info->integrated ? ", integrated" : "",
           info->software ? ", software" : "", info->simulator ? ", simulator" : "",
           clf__tool_bytes(info->global_memory, memory), info->compute_units,
           info->duplicate ? ", the same card as a device above" : info->rank < 0 ? ", chosen by name only" : "");
    clf_device *device = open_entry(info);
    clf__tool_progress_hide();
    if (!device) {
        printf("      cannot be opened: %s\n", clf_error_message());
        return;
    }
    print_capabilities(clf_device_get_capabilities(device));
    clf_device_release(device);
}

/* What clf_device_open(NULL) would take: the first match of CLF_DEVICE, else the first of the
 * automatic order. */
static cl_device_id default_device(const clf_device_info *infos, size_t count)
{
    const char      *variable = getenv("CLF_DEVICE");
    clf_device_info *matches = NULL;
    size_t           n = 0;
    cl_device_id     id = NULL;
    if (variable && *variable) {
        if (clf_devices(variable, &matches, &n) == CLF_SUCCESS && n > 0) {
            id = matches[0].device_id;
        }
        clf_free(matches);
        return id;
    }
    for (size_t i = 0; i < count; i++) {
        if (infos[i].rank == 0) {
            id = infos[i].device_id;
        }
    }
    return id;
}

static int by_number(const void *a, const void *b)
{
    const clf_device_info *x = a, *y = b;
    return x->platform_index != y->platform_index ? x->platform_index - y->platform_index
                                                  : x->device_index - y->device_index;
}

int clf__tool_devices(int argc, char **argv)
{
    bool json = false;
    clf__tool_parse(&argp, argc, argv, &json);
    clf_device_info *infos = NULL;
    size_t           count = 0;
    clf__tool_progress("asking for devices");
    if (clf_devices("all", &infos, &count) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    cl_device_id chosen = default_device(infos, count);
    qsort(infos, count, sizeof *infos, by_number);
    cJSON *all = json ? cJSON_CreateArray() : NULL;
    for (size_t i = 0; i < count; i++) {
        bool is_default = infos[i].device_id == chosen;
        if (json) {
            cJSON_AddItemToArray(all, clf__tool_device_json(&infos[i], is_default));
        } else {
            print_device(&infos[i], is_default);
        }
    }
    clf_free(infos);
    return json ? clf__tool_print_json(all) : CLF__TOOL_OK;
}
