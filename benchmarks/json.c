/* The benchmark as JSON: everything that is needed to compare two runs later, raw samples included. */
#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void add_samples(cJSON *json, const char *name, const clf__bench_samples *samples)
{
    if (samples->count == 0) {
        return;
    }
    cJSON *object = cJSON_AddObjectToObject(json, name);
    cJSON_AddNumberToObject(object, "median", clf__bench_median(samples));
    cJSON_AddNumberToObject(object, "min", clf__bench_least(samples));
    cJSON_AddNumberToObject(object, "max", clf__bench_most(samples));
    cJSON_AddItemToObject(object, "samples", cJSON_CreateDoubleArray(samples->at, samples->count));
}

/* ---- where it ran ------------------------------------------------------------------------------- */

static void add_cpu(cJSON *json)
{
    char  line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            colon[strcspn(colon, "\n")] = 0;
            cJSON_AddStringToObject(json, "cpu", colon + 1 + strspn(colon + 1, " "));
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    cJSON_AddNumberToObject(json, "cpus", (double)sysconf(_SC_NPROCESSORS_ONLN));
}

static void add_host(cJSON *json)
{
    cJSON         *host = cJSON_AddObjectToObject(json, "host");
    struct utsname system;
    add_cpu(host);
    if (uname(&system) == 0) {
        cJSON_AddStringToObject(host, "system", system.sysname);
        cJSON_AddStringToObject(host, "release", system.release);
        cJSON_AddStringToObject(host, "machine", system.machine);
    }
}

static void add_date(cJSON *json)
{
    char      text[32] = "";
    time_t    now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    cJSON_AddStringToObject(json, "date", text);
}

/* ---- rows --------------------------------------------------------------------------------------- */

static cJSON *row_json(const clf__bench_device *device, const clf__bench_row *row)
{
    static const char *const outcomes[] = { "measured", "unsupported", "failed" };
    const clf__bench_case *what = &row->what;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "kind", clf_kind_name(what->component->kind));
    cJSON_AddStringToObject(json, "name", what->component->name);
    cJSON_AddStringToObject(json, "pass", what->pass == CLF_FORWARD ? "forward" : "backward");
    cJSON_AddStringToObject(json, "dtype", clf_dtype_name(what->dtype));
    cJSON_AddNumberToObject(json, "batch", (double)what->batch);
    cJSON_AddNumberToObject(json, "heads", (double)what->heads);
    cJSON_AddNumberToObject(json, "key_heads", (double)(what->key_heads ? what->key_heads : what->heads));
    cJSON_AddNumberToObject(json, "queries", (double)(what->queries ? what->queries : what->length));
    cJSON_AddNumberToObject(json, "length", (double)what->length);
    cJSON_AddNumberToObject(json, "head_dim", (double)what->head_dim);
    cJSON_AddBoolToObject(json, "causal", what->causal);
    if (what->knob) {
        cJSON_AddStringToObject(json, "knob", what->component->descriptor->knob);
        cJSON_AddNumberToObject(json, "value", (double)what->knob);
    }
    cJSON_AddStringToObject(json, "outcome", outcomes[row->outcome]);
    if (row->outcome != CLF__BENCH_MEASURED) {
        cJSON_AddStringToObject(json, "reason", row->reason ? row->reason : "");
        return json;
    }
    if (what->knob) {
        cJSON_AddNumberToObject(json, "distance_from_exact", row->distance);
        return json;
    }
    double seconds = clf__bench_seconds(row), ratio = clf__bench_ratio(device, row);
    cJSON_AddStringToObject(json, "family", row->family);
    cJSON_AddStringToObject(json, "device_clock", row->clock ? row->clock : "none");
    add_samples(json, "device_seconds", &row->device);
    add_samples(json, "wall_seconds", &row->wall);
    add_samples(json, "ceiling_seconds", &row->ceiling);
    add_samples(json, "copy_seconds", &row->copies);
    add_samples(json, "multiply_add_seconds", &row->sums);
    cJSON_AddNumberToObject(json, "flops", row->flops);
    cJSON_AddNumberToObject(json, "bytes", row->bytes);
    if (seconds > 0) {
        cJSON_AddNumberToObject(json, "gflops", 1e-9 * row->flops / seconds);
    }
    if (ratio > 0) {
        cJSON_AddNumberToObject(json, "ratio_to_ceiling", ratio);
    }
    if (clf__bench_roofline(device, row) > 0) {
        cJSON_AddNumberToObject(json, "ratio_to_limits", clf__bench_roofline(device, row));
    }
    cJSON_AddNumberToObject(json, "peak_memory", (double)row->memory);
    if (row->error >= 0) {
        cJSON_AddNumberToObject(json, "relative_error", row->error);
    }
    return json;
}

static cJSON *device_json(const clf__bench_device *device)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", device->info.name);
    cJSON_AddStringToObject(json, "vendor", device->info.vendor);
    cJSON_AddStringToObject(json, "platform", device->info.platform);
    cJSON_AddStringToObject(json, "platform_version", device->platform_version);
    cJSON_AddStringToObject(json, "driver", device->info.driver);
    cJSON_AddNumberToObject(json, "compute_units", device->info.compute_units);
    cJSON_AddNumberToObject(json, "global_memory", (double)device->info.global_memory);
    if (device->ceiling.count) {
        cJSON *ceiling = cJSON_AddObjectToObject(json, "ceiling");
        cJSON_AddStringToObject(ceiling, "name", device->ceiling_name);
        cJSON_AddNumberToObject(ceiling, "flops", device->ceiling_flops);
        add_samples(ceiling, "seconds", &device->ceiling);
    }
    if (device->copies.count && device->sums.count) {
        cJSON *limits = cJSON_AddObjectToObject(json, "limits");
        cJSON_AddNumberToObject(limits, "copy_bytes", device->most.bytes);
        cJSON_AddNumberToObject(limits, "multiply_add_flops", device->most.flops);
        add_samples(limits, "copy_seconds", &device->copies);
        add_samples(limits, "multiply_add_seconds", &device->sums);
    }
    cJSON *rows = cJSON_AddArrayToObject(json, "rows");
    for (int i = 0; i < device->count; i++) {
        cJSON_AddItemToArray(rows, row_json(device, &device->rows[i]));
    }
    return json;
}

cJSON *clf__bench_json(const clf__bench_options *options, const clf__bench_results *results)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "format", 1);
    cJSON_AddStringToObject(json, "clformers", clf_version());
    add_date(json);
    add_host(json);
    cJSON_AddBoolToObject(json, "quick", options->quick);
    if (options->config) {
        cJSON_AddItemToObject(json, "config", cJSON_Duplicate(options->config, true));
    }
    cJSON *devices = cJSON_AddArrayToObject(json, "devices");
    for (int i = 0; i < results->count; i++) {
        cJSON_AddItemToArray(devices, device_json(&results->devices[i]));
    }
    return json;
}
