/* The loops of the benchmark: devices, parts, and every combination of the lists. */
#include "bench.h"

#include <clformers/testkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One sweep on one device. */
typedef struct sweep {
    const clf__bench_options *options;
    clf_device               *device;
    clf__bench_device        *out;
    clf__bench_peers          peers;
    clf__bench_list           lengths, head_dims, batches, heads, dtypes, causal, queries, key_heads, knobs;
} sweep;

/* ---- defaults ----------------------------------------------------------------------------------- */

static clf__bench_list or_default(clf__bench_list list, int64_t first, int64_t second)
{
    if (list.count == 0) {
        list.at[list.count++] = first;
        if (second != first) {
            list.at[list.count++] = second;
        }
    }
    return list;
}

static void choose_lists(sweep *s)
{
    const clf__bench_options *o = s->options;
    bool tiny = s->out->info.simulator; /* some 30 MFLOP/s */
    s->lengths = tiny          ? or_default(o->lengths, 16, o->accuracy ? 16 : 32)
               : o->accuracy   ? or_default(o->lengths, 1024, 1024)
               : o->quick      ? or_default(o->lengths, 256, 1024)
                               : or_default(o->lengths, 512, 2048);
    s->knobs = o->knobs;
    for (int64_t knob = tiny ? 4 : 16; o->knobs.count == 0 && knob <= (tiny ? 8 : 512); knob *= 2) {
        s->knobs.at[s->knobs.count++] = knob;
    }
    s->head_dims = or_default(o->head_dims, tiny ? 16 : 64, tiny ? 16 : 64);
    s->batches = or_default(o->batches, 1, 1);
    s->heads = or_default(o->heads, tiny ? 1 : 8, tiny ? 1 : 8);
    s->dtypes = or_default(o->dtypes, CLF_F32, CLF_F32);
    s->causal = or_default(o->causal, 0, 1);
    s->queries = or_default(o->queries, 0, 0);
    s->key_heads = or_default(o->key_heads, 0, 0);
}

/* ---- one row ------------------------------------------------------------------------------------ */

static clf__bench_row *add_row(clf__bench_device *device)
{
    if (device->count == device->capacity) {
        int             capacity = device->capacity ? 2 * device->capacity : 64;
        clf__bench_row *longer = realloc(device->rows, (size_t)capacity * sizeof *longer);
        if (!longer) {
            return NULL;
        }
        device->rows = longer;
        device->capacity = capacity;
    }
    clf__bench_row *row = &device->rows[device->count++];
    *row = (clf__bench_row){ .error = CLF__BENCH_NOT_ASKED };
    return row;
}

static void note_failure(clf__bench_row *row, clf_status status)
{
    const char *message = clf_error_message();
    switch (status) {
    case CLF_UNSUPPORTED:
    case CLF_MISSING_KEY:
    case CLF_OUT_OF_RANGE:
    case CLF_OUT_OF_DEVICE_MEMORY:
    case CLF_OUT_OF_HOST_MEMORY:
        row->outcome = CLF__BENCH_UNSUPPORTED;
        break;
    default:
        row->outcome = CLF__BENCH_FAILED;
    }
    row->reason = strdup(*message ? message : clf_status_name(status));
}

/* The error of the part at a small shape: found once, then copied from the rows before. */
static double find_error(const sweep *s, const clf__bench_case *what)
{
    for (int i = 0; i < s->out->count; i++) {
        const clf__bench_row *row = &s->out->rows[i];
        if (row->what.component == what->component && row->what.dtype == what->dtype &&
            row->what.causal == what->causal && row->error != CLF__BENCH_NOT_ASKED) {
            return row->error;
        }
    }
    double error = 0;
    if (!s->options->errors ||
        clf_testkit_accuracy(s->device, what->component, what->dtype, what->causal, &error) != CLF_SUCCESS) {
        return CLF__BENCH_NO_ERROR_KNOWN;
    }
    return error;
}

static void add_all(clf__bench_samples *to, const clf__bench_samples *from)
{
    for (int i = 0; i < from->count; i++) {
        clf__bench_add(to, from->at[i]);
    }
}

static void measure_row(sweep *s, clf__bench_row *row)
{
    const clf_descriptor *d = row->what.component->descriptor;
    clf__bench_fixture    fixture;
    if (row->what.causal && !(d->traits & CLF_TRAIT_CAUSAL)) {
        row->outcome = CLF__BENCH_UNSUPPORTED;
        row->reason = strdup("no causal form");
        return;
    }
    if (row->what.pass == CLF_BACKWARD && !d->backward) {
        row->outcome = CLF__BENCH_UNSUPPORTED;
        row->reason = strdup("no backward pass");
        return;
    }
    clf_pool_reset_peak(s->device);
    clf_status status = clf__bench_setup(s->device, s->options, &row->what, &fixture);
    if (status != CLF_SUCCESS) {
        note_failure(row, status);
        return;
    }
    snprintf(row->family, sizeof row->family, "%s", fixture.info.family ? fixture.info.family : "");
    row->memory = clf_pool_get_stats(s->device).peak;
    if (d->work) {
        clf_work work = { 0 };
        d->work(clf_instance_config(fixture.instance), &fixture.args, row->what.pass, &work);
        row->flops = work.flops;
        row->bytes = work.bytes;
    }
    status = clf__bench_measure(&fixture, s->options, &s->peers, row);
    clf__bench_teardown(&fixture);
    if (status != CLF_SUCCESS) {
        note_failure(row, status);
        return;
    }
    row->error = find_error(s, &row->what);
    add_all(&s->out->ceiling, &row->ceiling);
    add_all(&s->out->copies, &row->copies);
    add_all(&s->out->sums, &row->sums);
}

static void show_progress(const sweep *s, const clf__bench_case *what)
{
    char text[160];
    snprintf(text, sizeof text, "%s %s %s B=%lld H=%lld N=%lld D=%lld%s", what->component->name,
             what->pass == CLF_FORWARD ? "forward" : "backward", clf_dtype_name(what->dtype), (long long)what->batch,
             (long long)what->heads, (long long)what->length, (long long)what->head_dim,
             what->causal ? " causal" : "");
    if (s->options->progress) {
        s->options->progress(text);
    }
}

static clf_status run_case(sweep *s, const clf__bench_case *what)
{
    clf__bench_row *row = add_row(s->out);
    if (!row) {
        return CLF_OUT_OF_HOST_MEMORY;
    }
    row->what = *what;
    show_progress(s, what);
    measure_row(s, row);
    if (s->options->row) {
        s->options->row(s->out, row);
    }
    return CLF_SUCCESS;
}

/* A case at all values of the part's knob. */
static clf_status approximate_case(sweep *s, clf__bench_case what)
{
    float *exact = NULL;
    show_progress(s, &what);
    clf_status status = clf__bench_exact(s->device, s->options, &what, &exact);
    for (int i = 0; i < s->knobs.count; i++) {
        clf__bench_row *row = add_row(s->out);
        if (!row) {
            free(exact);
            return CLF_OUT_OF_HOST_MEMORY;
        }
        what.knob = s->knobs.at[i];
        row->what = what;
        if (exact) {
            status = clf__bench_approximate(s->device, s->options, exact, row);
        }
        if (status != CLF_SUCCESS) {
            note_failure(row, status);
        }
        if (s->options->row) {
            s->options->row(s->out, row);
        }
    }
    free(exact);
    return CLF_SUCCESS;
}

/* ---- the loops ---------------------------------------------------------------------------------- */

/* Case number `index` of a part: a mixed-radix number, last list fastest. False after the last. */
static bool decode(const sweep *s, int index, const clf_component *component, clf__bench_case *what)
{
    const clf__bench_list passes = { s->options->passes == (CLF_FORWARD | CLF_BACKWARD) ? 2 : 1,
                                     { s->options->passes & CLF_FORWARD ? CLF_FORWARD : CLF_BACKWARD, CLF_BACKWARD } };
    const clf__bench_list *const lists[] = { &passes,   &s->causal,    &s->queries, &s->lengths, &s->head_dims,
                                             &s->key_heads, &s->heads,   &s->batches, &s->dtypes };
    enum { COUNT = sizeof lists / sizeof *lists };
    int64_t value[COUNT];
    for (int i = 0; i < COUNT; i++) {
        value[i] = lists[i]->at[index % lists[i]->count];
        index /= lists[i]->count;
    }
    *what = (clf__bench_case){ .component = component, .pass = (int)value[0], .causal = value[1] != 0,
                               .queries = value[2], .length = value[3], .head_dim = value[4], .key_heads = value[5],
                               .heads = value[6], .batch = value[7], .dtype = (clf_dtype)value[8] };
    return index == 0;
}

static clf_status sweep_component(sweep *s, const clf_component *component)
{
    clf__bench_case what;
    clf_status      status = CLF_SUCCESS;
    const bool      accuracy = s->options->accuracy;
    if (accuracy && !component->descriptor->knob) {
        return CLF_SUCCESS;
    }
    for (int i = 0; status == CLF_SUCCESS && decode(s, i, component, &what); i++) {
        if (!accuracy) {
            status = run_case(s, &what);
        } else if (what.pass == CLF_FORWARD && (!what.causal || component->descriptor->traits & CLF_TRAIT_CAUSAL)) {
            status = approximate_case(s, what);
        }
    }
    return status;
}

static bool listed(const char *names, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = names; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) {
            return true;
        }
    }
    return names == NULL;
}

static bool is_cpu(const clf_device_info *info)
{
    return !info->simulator && (info->software || (info->type & CL_DEVICE_TYPE_CPU));
}

static clf_status sweep_device(const clf__bench_options *options, clf_device *device, clf__bench_results *results)
{
    clf__bench_device *longer = realloc(results->devices, (size_t)(results->count + 1) * sizeof *longer);
    if (!longer) {
        return CLF_OUT_OF_HOST_MEMORY;
    }
    results->devices = longer;
    clf__bench_device *out = &longer[results->count++];
    *out = (clf__bench_device){ .info = *clf_device_get_info(device) };
    clGetPlatformInfo(out->info.platform_id, CL_PLATFORM_VERSION, sizeof out->platform_version, out->platform_version,
                      NULL);
    sweep s = { .options = options, .device = device, .out = out };
    choose_lists(&s);
    if (is_cpu(&out->info) && !options->accuracy) {
        /* Some drivers tell more compute units than there are processors. */
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        int  threads = processors > 0 && processors < out->info.compute_units ? (int)processors
                                                                              : out->info.compute_units;
        s.peers.ceiling = clf__bench_ceiling_open(threads, out->ceiling_name, sizeof out->ceiling_name,
                                                  &out->ceiling_flops);
    }
    s.peers.limits = options->quick || options->accuracy ? NULL : clf__bench_limits_open(device, &out->most);
    if (options->begin) {
        options->begin(out);
    }
    clf_status status = CLF_SUCCESS;
    for (const clf_component *c = clf_component_next(NULL); c && status == CLF_SUCCESS; c = clf_component_next(c)) {
        if (listed(options->components, c->name)) {
            status = sweep_component(&s, c);
        }
    }
    if (options->end) {
        options->end(out);
    }
    clf__bench_ceiling_close(s.peers.ceiling);
    clf__bench_limits_close(s.peers.limits);
    return status;
}

/* ---- devices ------------------------------------------------------------------------------------ */

static clf_status open_and_sweep(const clf__bench_options *options, const char *selector, clf__bench_results *results)
{
    clf_device *device = NULL;
    clf_status  status = clf_device_open(selector, &device);
    if (status == CLF_SUCCESS) {
        status = sweep_device(options, device, results);
    }
    clf_device_release(device);
    return status;
}

static clf_status sweep_all_devices(const clf__bench_options *options, clf__bench_results *results)
{
    clf_device_info *infos = NULL;
    size_t           count = 0;
    clf_status       status = clf_devices("all", &infos, &count);
    for (size_t i = 0; i < count && status == CLF_SUCCESS; i++) {
        char selector[32];
        snprintf(selector, sizeof selector, "%d:%d", infos[i].platform_index, infos[i].device_index);
        if (!infos[i].duplicate) {
            status = open_and_sweep(options, selector, results);
        }
    }
    clf_free(infos);
    return status;
}

/* Every part between semicolons is a device of its own. */
static clf_status sweep_devices(const clf__bench_options *options, const char *selectors, clf__bench_results *results)
{
    char      *copy = strdup(selectors), *rest = NULL;
    clf_status status = copy ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;
    for (char *at = copy ? strtok_r(copy, ";", &rest) : NULL; at && status == CLF_SUCCESS;
         at = strtok_r(NULL, ";", &rest)) {
        status = strcmp(at, "all") == 0 ? sweep_all_devices(options, results) : open_and_sweep(options, at, results);
    }
    free(copy);
    return status;
}

clf_status clf__bench_run(const clf__bench_options *options, clf__bench_results *results)
{
    const char *selectors = options->device && *options->device ? options->device : getenv("CLF_DEVICE");
    *results = (clf__bench_results){ 0 };
    return selectors && *selectors ? sweep_devices(options, selectors, results)
                                   : open_and_sweep(options, NULL, results);
}

void clf__bench_free(clf__bench_results *results)
{
    for (int i = 0; i < results->count; i++) {
        clf__bench_device *device = &results->devices[i];
        for (int j = 0; j < device->count; j++) {
            free(device->rows[j].reason);
            free(device->rows[j].device.at);
            free(device->rows[j].wall.at);
            free(device->rows[j].ceiling.at);
            free(device->rows[j].copies.at);
            free(device->rows[j].sums.at);
        }
        free(device->rows);
        free(device->ceiling.at);
        free(device->copies.at);
        free(device->sums.at);
    }
    free(results->devices);
    *results = (clf__bench_results){ 0 };
}
