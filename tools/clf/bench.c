/* clf bench: the options of the benchmark; the sweep itself is in benchmarks/. */
#include "tool.h"

#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTHS = 256, HEAD_DIMS, BATCHES, HEADS, CAUSAL, DTYPES, PASSES, REPEATS, QUICK, ERRORS, FAMILY, QUERIES, KEY_HEADS, KV_BITS,
       ACCURACY, KNOBS };

typedef struct bench_options {
    clf__bench_options bench;
    cJSON             *config;
    const char        *json;
} bench_options;

/* ---- lists -------------------------------------------------------------------------------------- */

/* Splits at commas; every piece goes through `convert`, which says no to nonsense. */
static void parse_list(const char *option, char *argument,
                       bool (*convert)(const char *text, int64_t *value), const char *wanted, clf__bench_list *list)
{
    char *rest = NULL;
    list->count = 0;
    for (char *at = strtok_r(argument, ",", &rest); at; at = strtok_r(NULL, ",", &rest)) {
        if (list->count == CLF__BENCH_MAX_LIST) {
            clf__tool_usage("--%s has more than %d entries", option, CLF__BENCH_MAX_LIST);
        }
        if (!convert(at, &list->at[list->count++])) {
            clf__tool_usage("--%s takes %s, but got '%s'", option, wanted, at);
        }
    }
    if (list->count == 0) {
        clf__tool_usage("--%s is empty", option);
    }
}

static bool to_extent(const char *text, int64_t *value)
{
    char     *end = NULL;
    long long number = strtoll(text, &end, 10);
    *value = number;
    return end != text && *end == 0 && number >= 1 && number <= 1 << 30;
}

static bool to_dtype(const char *text, int64_t *value)
{
    *value = clf_dtype_from_name(text);
    return *value == CLF_F32 || *value == CLF_F16 || *value == CLF_BF16;
}

static bool to_pass(const char *text, int64_t *value)
{
    *value = strcmp(text, "forward") == 0 ? CLF_FORWARD : strcmp(text, "backward") == 0 ? CLF_BACKWARD : 0;
    return *value != 0;
}

/* ---- options ------------------------------------------------------------------------------------ */

static void parse_causal(const char *argument, clf__bench_list *list)
{
    if (strcmp(argument, "both") == 0) {
        *list = (clf__bench_list){ 2, { 0, 1 } };
    } else if (strcmp(argument, "no") == 0 || strcmp(argument, "yes") == 0) {
        *list = (clf__bench_list){ 1, { strcmp(argument, "yes") == 0 } };
    } else {
        clf__tool_usage("--causal is both, no or yes, but got '%s'", argument);
    }
}

static bool parse_switch(const char *option, const char *argument)
{
    if (strcmp(argument, "on") != 0 && strcmp(argument, "off") != 0) {
        clf__tool_usage("--%s is on or off, but got '%s'", option, argument);
    }
    return strcmp(argument, "on") == 0;
}

static void parse_set(const char *argument, cJSON **config)
{
    if (!strchr(argument, '=') || *argument == '=') {
        clf__tool_usage("--set needs key=value, but got '%s'", argument);
    }
    *config = *config ? *config : cJSON_CreateObject();
    if (!*config || !clf__tool_set(*config, argument)) {
        exit(clf__tool_fail("out of memory"));
    }
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    static const char   counts[] = "numbers from 1 on";
    bench_options      *options = state->input;
    clf__bench_options *bench = &options->bench;
    clf__bench_list     list;
    int64_t             number = 0;
    switch (key) {
    case 'c': bench->components = argument; return 0;
    case 'd': bench->device = argument; return 0;
    case 'j': options->json = argument; return 0;
    case 's': parse_set(argument, &options->config); return 0;
    case FAMILY: bench->family = argument; return 0;
    case QUICK: bench->quick = true; return 0;
    case LENGTHS: parse_list("lengths", argument, to_extent, counts, &bench->lengths); return 0;
    case HEAD_DIMS: parse_list("head-dims", argument, to_extent, counts, &bench->head_dims); return 0;
    case BATCHES: parse_list("batches", argument, to_extent, counts, &bench->batches); return 0;
    case HEADS: parse_list("heads", argument, to_extent, counts, &bench->heads); return 0;
    case QUERIES: parse_list("queries", argument, to_extent, counts, &bench->queries); return 0;
    case KEY_HEADS: parse_list("key-heads", argument, to_extent, counts, &bench->key_heads); return 0;
    case KV_BITS:
        if (!to_extent(argument, &number) || (number != 8 && number != 4)) {
            clf__tool_usage("--kv-bits is 8 or 4, but got '%s'", argument);
        }
        bench->kv_bits = (int)number;
        return 0;
    case DTYPES: parse_list("dtypes", argument, to_dtype, "f32, f16 and bf16", &bench->dtypes); return 0;
    case CAUSAL: parse_causal(argument, &bench->causal); return 0;
    case ERRORS: bench->errors = parse_switch("errors", argument); return 0;
    case ACCURACY: bench->accuracy = true; return 0;
    case KNOBS: parse_list("knobs", argument, to_extent, counts, &bench->knobs); return 0;
    case PASSES:
        parse_list("passes", argument, to_pass, "forward and backward", &list);
        bench->passes = 0;
        for (int i = 0; i < list.count; i++) {
            bench->passes |= (int)list.at[i];
        }
        return 0;
    case REPEATS:
        if (!to_extent(argument, &number) || number > 10000) {
            clf__tool_usage("--repeats is a number from 1 to 10000, but got '%s'", argument);
        }
        bench->repeats = (int)number;
        return 0;
    case ARGP_KEY_ARG: clf__tool_usage("bench takes options only, but got '%s'", argument);
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_table[] = {
    { "component", 'c', "NAME,...", 0, "Parts to measure (default: all)", 1 },
    { "device", 'd', "SELECTOR", 0, "Device (see clf devices); ';' separates several, 'all' is every one", 1 },
    { "set", 's', "KEY=VALUE", 0, "An entry for every config", 1 },
    { "family", FAMILY, "NAME", 0, "Only this kernel family", 1 },
    { "lengths", LENGTHS, "N,...", 0, "Sequence lengths (default 512,2048)", 2 },
    { "head-dims", HEAD_DIMS, "D,...", 0, "Widths of a head (default 64)", 2 },
    { "batches", BATCHES, "B,...", 0, "Batch sizes (default 1)", 2 },
    { "heads", HEADS, "H,...", 0, "Numbers of heads (default 8)", 2 },
    { "queries", QUERIES, "N,...", 0, "Numbers of queries, where a part takes others than keys (default: as many)", 2 },
    { "key-heads", KEY_HEADS, "H,...", 0, "Heads of keys and values, where a part takes fewer (default: as many)", 2 },
    { "kv-bits", KV_BITS, "8|4", 0, "Quantised keys and values, where a part takes them", 2 },
    { "causal", CAUSAL, "both|no|yes", 0, "With or without causal order (default both)", 2 },
    { "dtypes", DTYPES, "T,...", 0, "f32, f16, bf16 (default f32)", 2 },
    { "passes", PASSES, "P,...", 0, "forward, backward (default both)", 2 },
    { "repeats", REPEATS, "N", 0, "Samples of each case (default: 5 to 50, within about a second)", 3 },
    { "quick", QUICK, NULL, 0, "Shorter sequences (256,1024) and less time for each case", 3 },
    { "errors", ERRORS, "on|off", 0, "Error against the double-precision reference (default on)", 3 },
    { "accuracy", ACCURACY, NULL, 0, "Not times, but how far parts that approximate are from exact attention on normal "
      "numbers (default lengths: 1024)", 4 },
    { "knobs", KNOBS, "N,...", 0, "Where that is taken: values of the field that makes a part more exact, such as landmarks "
      "or features (default 16 to 512)", 4 },
    { "json", 'j', "FILE", 0, "Write everything, raw samples included, to FILE; '-' is stdout, without the table", 3 },
    { 0 },
};
static const struct argp argp = {
    .options = option_table, .parser = parse,
    .doc = "Measure the parts on a device.\v"
           "Every combination of the lists is a case. Inputs are random. A row tells the median and the range of the "
           "device time (w: wall clock, the device has no timer), the median wall clock, the throughput by the part's "
           "own count of operations, on CPUs its ratio to OpenBLAS sgemm run between the samples, the least time that "
           "copies and multiply-adds allow as a part of the time, the peak of device memory, and the relative error at "
           "a small shape. A case that a part or a device cannot do shows "
           "the reason and is no failure.",
};

/* ---- the run ------------------------------------------------------------------------------------ */

static void show_progress(const char *text)
{
    clf__tool_progress("%s", text);
}

static void begin_table(void)
{
    static bool first = true;
    clf__tool_progress_hide();
    if (!first) {
        putchar('\n');
    }
    first = false;
}

static void show_head(const clf__bench_device *device)
{
    begin_table();
    clf__bench_print_head(device);
}

static void show_accuracy_head(const clf__bench_device *device)
{
    begin_table();
    clf__bench_print_accuracy_head(device);
}

static void show_accuracy(const clf__bench_device *device, const clf__bench_row *row)
{
    clf__tool_progress_hide();
    clf__bench_print_accuracy(device, row);
}

static void show_row(const clf__bench_device *device, const clf__bench_row *row)
{
    clf__tool_progress_hide();
    clf__bench_print_row(device, row);
}

static int check_names(const char *names)
{
    char *copy = names ? strdup(names) : NULL, *rest = NULL;
    int   code = CLF__TOOL_OK;
    for (char *at = copy ? strtok_r(copy, ",", &rest) : NULL; at && code == CLF__TOOL_OK;
         at = strtok_r(NULL, ",", &rest)) {
        bool found = false;
        for (const clf_component *c = clf_component_next(NULL); c && !found; c = clf_component_next(c)) {
            found = strcmp(c->name, at) == 0;
        }
        const clf_component *component = NULL;
        if (!found) {
            code = clf__tool_find_component(at, NULL, &component);
        }
    }
    free(copy);
    return code;
}

/* Rows that failed, rather than being unsupported, are a failure of the whole. */
static int judge(const clf__bench_results *results)
{
    int failed = 0, rows = 0;
    for (int i = 0; i < results->count; i++) {
        rows += results->devices[i].count;
        for (int j = 0; j < results->devices[i].count; j++) {
            failed += results->devices[i].rows[j].outcome == CLF__BENCH_FAILED;
        }
    }
    if (failed > 0) {
        return clf__tool_fail("%d cases failed", failed);
    }
    return rows > 0 ? CLF__TOOL_OK : clf__tool_fail("there is nothing to measure");
}

static int write_json(const bench_options *options, const clf__bench_results *results)
{
    cJSON *json = clf__bench_json(&options->bench, results);
    if (strcmp(options->json, "-") == 0) {
        return clf__tool_print_json(json);
    }
    char *text = json ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    int code = text ? clf__tool_write_file(options->json, text) : clf__tool_fail("out of memory");
    cJSON_free(text);
    return code;
}

int clf__tool_bench(int argc, char **argv)
{
    bench_options      options = { .bench = { .passes = CLF_FORWARD | CLF_BACKWARD, .errors = true } };
    clf__bench_results results = { 0 };
    clf__tool_parse(&argp, argc, argv, &options);
    options.bench.config = options.config;
    options.bench.progress = show_progress;
    if (!options.json || strcmp(options.json, "-") != 0) {
        options.bench.begin = options.bench.accuracy ? show_accuracy_head : show_head;
        options.bench.row = options.bench.accuracy ? show_accuracy : show_row;
        options.bench.end = clf__bench_print_end;
    }
    int code = clf__tool_plugins();
    if (code == CLF__TOOL_OK) {
        code = check_names(options.bench.components);
    }
    if (code == CLF__TOOL_OK) {
        clf__tool_progress("opening the device");
        clf_status status = clf__bench_run(&options.bench, &results);
        clf__tool_progress_hide();
        code = status == CLF_SUCCESS ? judge(&results) : clf__tool_fail_status();
        /* A device that fails late does not take the rows before it along. */
        if (options.json && results.count > 0 && write_json(&options, &results) != CLF__TOOL_OK) {
            code = CLF__TOOL_FAILED;
        }
    }
    clf__bench_free(&results);
    cJSON_Delete(options.config);
    return code;
}
