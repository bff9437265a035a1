/* clf selftest: the test kit on every part, a process for each part and device, and a report for those who look
 * into what failed. */
#include "tool.h"

#include <clformers/testkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { MAX_PARTS = 512, QUICK = 256, SLOW, CASE, FAMILY, VERBOSE };

typedef struct selftest {
    const char          *names, *device, *family, *json;
    int                  only;
    bool                 quick, slow, verbose;
    const clf_component *parts[MAX_PARTS + 1];
    int                  count;
    int                  pairs, failed;
    bool                 silent;     /* JSON to stdout: nothing else goes there */
    const char          *now[2];     /* part and device that are being tested */
    cJSON               *failures;   /* of the part on the device */
    cJSON               *results, *devices;
    const clf_device_info *described; /* the device that `devices` got last */
} selftest;

/* ---- options -------------------------------------------------------------------------------------- */

static error_t parse(int key, char *argument, struct argp_state *state)
{
    selftest *s = state->input;
    char     *end = NULL;
    switch (key) {
    case 'c': s->names = argument; return 0;
    case 'd': s->device = argument; return 0;
    case 'j': s->json = argument; return 0;
    case FAMILY: s->family = argument; return 0;
    case QUICK: s->quick = true; return 0;
    case SLOW: s->slow = true; return 0;
    case VERBOSE: s->verbose = true; return 0;
    case CASE:
        s->only = (int)strtol(argument, &end, 10);
        if (*end || s->only < 1) {
            clf__tool_usage("--case is a number from 1 on, but got '%s'", argument);
        }
        return 0;
    case ARGP_KEY_ARG: clf__tool_usage("selftest takes options only, but got '%s'", argument);
    case ARGP_KEY_END:
        if (s->quick && s->slow) {
            clf__tool_usage("--quick and --slow exclude each other");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_table[] = {
    { "component", 'c', "NAME,...", 0, "Parts to test (default: all)", 1 },
    { "device", 'd', "SELECTOR", 0, "Device (see clf devices); ';' separates several, 'all' is every one", 1 },
    { "quick", QUICK, NULL, 0, "The plain problem of each part only", 1 },
    { "slow", SLOW, NULL, 0, "All kernel families, and random combinations of everything: hours", 1 },
    { "case", CASE, "N", 0, "Only this case", 2 },
    { "family", FAMILY, "NAME", 0, "Only this kernel family", 2 },
    { "verbose", VERBOSE, NULL, 0, "A line for each case", 2 },
    { "json", 'j', "FILE", 0, "Write a report to FILE; '-' is stdout, without the lines", 3 },
    { 0 },
};
static const struct argp argp = {
    .options = option_table, .parser = parse,
    .doc = "Check the parts on a device against their double-precision references.\v"
           "Values, gradients, causality, masks, odd shapes and strides, memory around the tensors, bad configs and "
           "arguments, and that two runs agree to the bit. Each part runs in a process of its own on each device; one "
           "that dies is a failure. The exit code is 0 when every part passed. A failing case is shown as the command "
           "that repeats it. When you report one, attach the file that --json writes: it holds the version, the "
           "system, the devices with their drivers, and what failed.",
};

/* ---- while it runs ------------------------------------------------------------------------------------ */

static void show_line(const char *line, void *user)
{
    selftest *s = user;
    clf__tool_progress_hide();
    if (!s->silent) {
        puts(line);
        fflush(stdout);
    }
}

static void note_start(const clf_component *component, const clf_device_info *device, void *user)
{
    selftest *s = user;
    s->now[0] = component->name;
    s->now[1] = device->name;
    s->failures = cJSON_CreateArray();
    clf__tool_progress("testing %s on %s", component->name, device->name);
    if (s->described != device) {
        char number[32];
        snprintf(number, sizeof number, "%d:%d", device->platform_index, device->device_index);
        cJSON_AddItemToArray(s->devices, s->json ? clf__tool_device_json(device, false) : cJSON_CreateNull());
        s->described = device;
        if (!s->silent) {
            clf__tool_progress_hide();
            printf("device %s: %s (%s, driver %s)\n", number, device->name, device->platform, device->driver);
            fflush(stdout);
        }
    }
}

static void note_begin(int number, void *user)
{
    selftest *s = user;
    clf__tool_progress("testing %s on %s: case %d", s->now[0], s->now[1], number);
}

static void note_case(const clf_testkit_case *result, void *user)
{
    selftest *s = user;
    if (result->verdict != CLF_TESTKIT_FAILED) {
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "case", result->number);
    cJSON_AddStringToObject(json, "about", result->about);
    cJSON_AddStringToObject(json, "why", result->why);
    cJSON_AddStringToObject(json, "command", result->command);
    cJSON_AddItemToArray(s->failures, json);
}

static void note_result(const clf_testkit_result *result, void *user)
{
    selftest *s = user;
    s->pairs++;
    s->failed += !result->passed;
    clf__tool_progress_hide();
    if (result->trouble[0] && !s->silent) {
        printf("FAILED %s on %s: %s\n", result->component->name, result->device->name, result->trouble);
        fflush(stdout);
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "kind", clf_kind_name(result->component->kind));
    cJSON_AddStringToObject(json, "name", result->component->name);
    cJSON_AddStringToObject(json, "device", result->device->name);
    cJSON_AddStringToObject(json, "selector", result->selector);
    cJSON_AddBoolToObject(json, "ok", result->passed);
    cJSON_AddNumberToObject(json, "passed", result->counts.passed);
    cJSON_AddNumberToObject(json, "failed", result->counts.failed);
    cJSON_AddNumberToObject(json, "refused", result->counts.refused);
    cJSON_AddNumberToObject(json, "seconds", result->seconds);
    if (result->trouble[0]) {
        cJSON_AddStringToObject(json, "trouble", result->trouble);
    }
    cJSON_AddItemToObject(json, "failures", s->failures);
    s->failures = NULL;
    cJSON_AddItemToArray(s->results, json);
}

/* ---- the report ------------------------------------------------------------------------------------------ */

static cJSON *environment_json(void)
{
    static const char *const names[] = { "CLF_DEVICE",        "CLF_CACHE_DIR",   "CLF_KERNEL_DIR", "CLF_PLUGINS",
                                         "CLF_BUILD_OPTIONS", "CLF_TUNING",      "CLF_SELFTEST",   "OCL_ICD_VENDORS",
                                         "RUSTICL_ENABLE",    "OPENCL_LAYERS" };
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (getenv(names[i])) {
            cJSON_AddStringToObject(json, names[i], getenv(names[i]));
        }
    }
    return json;
}

static int write_report(selftest *s)
{
    struct utsname system;
    char           text[1024] = "";
    cJSON         *json = cJSON_CreateObject();
    if (uname(&system) == 0) {
        snprintf(text, sizeof text, "%.200s %.200s %.200s", system.sysname, system.release, system.machine);
    }
    cJSON_AddStringToObject(json, "version", clf_version());
    cJSON_AddStringToObject(json, "system", text);
    cJSON_AddItemToObject(json, "environment", environment_json());
    cJSON_AddBoolToObject(json, "ok", s->failed == 0 && s->pairs > 0);
    cJSON_AddItemToObject(json, "devices", s->devices);
    cJSON_AddItemToObject(json, "results", s->results);
    s->devices = s->results = NULL;
    if (s->silent) {
        return clf__tool_print_json(json);
    }
    char *whole = cJSON_Print(json);
    int   code = whole ? clf__tool_write_file(s->json, whole) : clf__tool_fail("out of memory");
    cJSON_free(whole);
    cJSON_Delete(json);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------------------ */

static int add_part(selftest *s, const clf_component *component)
{
    if (s->count == MAX_PARTS) {
        return clf__tool_fail("there are more than %d parts: name some with --component", MAX_PARTS);
    }
    s->parts[s->count++] = component;
    return CLF__TOOL_OK;
}

static int choose_parts(selftest *s)
{
    char *copy = s->names ? strdup(s->names) : NULL, *rest = NULL;
    int   code = s->names && !copy ? clf__tool_fail("out of memory") : clf__tool_plugins();
    for (char *at = copy ? strtok_r(copy, ",", &rest) : NULL; at && code == CLF__TOOL_OK;
         at = strtok_r(NULL, ",", &rest)) {
        const int before = s->count;
        for (const clf_component *c = clf_component_next(NULL); c && code == CLF__TOOL_OK; c = clf_component_next(c)) {
            code = strcmp(c->name, at) == 0 ? add_part(s, c) : code;
        }
        const clf_component *none = NULL;
        if (s->count == before && code == CLF__TOOL_OK) {
            code = clf__tool_find_component(at, NULL, &none); /* tells what exists */
        }
    }
    for (const clf_component *c = copy ? NULL : clf_component_next(NULL); c && code == CLF__TOOL_OK;
         c = clf_component_next(c)) {
        code = add_part(s, c);
    }
    free(copy);
    return code == CLF__TOOL_OK && s->count == 0 ? clf__tool_fail("there is nothing to test") : code;
}

static int run(selftest *s)
{
    const clf_testkit_sweep_options options = {
        .size = sizeof options, .selector = s->device, .in_process = s->only > 0,
        .run = { .size = sizeof options.run, .program = "clf selftest", .only = s->only, .family = s->family,
                 .slow = s->slow, .verbose = s->verbose, .quick = s->quick, .line = show_line, .begin = note_begin,
                 .done = note_case, .user = s },
        .start = note_start, .result = note_result,
    };
    clf__tool_progress("asking for devices");
    if (clf_testkit_sweep(s->parts, &options, NULL) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    clf__tool_progress_hide();
    int code = s->json ? write_report(s) : CLF__TOOL_OK;
    if (s->pairs == 0) {
        return clf__tool_fail("nothing was tested");
    }
    if (s->failed > 0) {
        clf__tool_fail("%d of %d failed. Please report it with the file that --json FILE writes%s%s", s->failed,
                       s->pairs, s->json && !s->silent ? ": here, " : "", s->json && !s->silent ? s->json : "");
        return CLF__TOOL_FAILED;
    }
    return code;
}

int clf__tool_selftest(int argc, char **argv)
{
    selftest s = { 0 };
    clf__tool_parse(&argp, argc, argv, &s);
    s.silent = s.json && strcmp(s.json, "-") == 0;
    if (!s.device && getenv("CLF_DEVICE") && getenv("CLF_DEVICE")[0]) {
        s.device = getenv("CLF_DEVICE");
    }
    s.results = cJSON_CreateArray();
    s.devices = cJSON_CreateArray();
    int code = choose_parts(&s);
    if (code == CLF__TOOL_OK) {
        code = run(&s);
    }
    cJSON_Delete(s.results);
    cJSON_Delete(s.devices);
    cJSON_Delete(s.failures);
    return code;
}
