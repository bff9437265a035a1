/* clf compare: are the tensors of one file close to those of a reference file? */
#include "tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RTOL = 256, ATOL, NAN_ROWS };

typedef struct compare_options {
    const char *paths[2];
    double      rtol, atol; /* negative: by the kind of tensor */
    bool        nan_is_zero;
} compare_options;

static double parse_tolerance(const char *argument)
{
    char  *end = NULL;
    double value = strtod(argument, &end);
    if (end == argument || *end || !(value >= 0) || isinf(value)) {
        clf__tool_usage("a tolerance is a number from 0 on, but got '%s'", argument);
    }
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    compare_options *options = state->input;
    switch (key) {
    case RTOL:
        options->rtol = parse_tolerance(argument);
        return 0;
    case ATOL:
        options->atol = parse_tolerance(argument);
        return 0;
    case NAN_ROWS:
        options->nan_is_zero = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num < 2) {
            options->paths[state->arg_num] = argument;
        } else {
            clf__tool_usage("compare takes two files, but got '%s' as well", argument);
        }
        return 0;
    case ARGP_KEY_END:
        if (!options->paths[1]) {
            clf__tool_usage("compare needs two files");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_table[] = {
    { "rtol", RTOL, "X", 0, "Relative tolerance (default 1e-5, for grad.* 3e-5)", 0 },
    { "atol", ATOL, "X", 0, "Absolute tolerance (default 1e-6, for grad.* 3e-5)", 0 },
    { "nan-rows-are-zero", NAN_ROWS, NULL, 0, "Accept 0 where the reference has NaN (rows without any key)", 0 },
    { 0 },
};
static const struct argp argp = {
    .options = option_table, .parser = parse, .args_doc = "FILE REFERENCE",
    .doc = "Compare the tensors that two .safetensors files have in common, and every grad.* of the reference.\v"
           "A tensor agrees when |x - r| <= atol + rtol * max|r| everywhere; at least three times the difference "
           "that the reference's metadata f64_max_abs_diff tells is allowed. Integers must be equal.",
};

/* ---- one tensor ------------------------------------------------------------------------------- */

static double element(const clf_safetensors_entry *entry, size_t i)
{
    switch (entry->dtype) {
    case CLF_F64:
        return ((const double *)entry->data)[i];
    case CLF_F32:
        return (double)((const float *)entry->data)[i];
    case CLF_F16:
        return (double)clf_half_to_float(((const uint16_t *)entry->data)[i]);
    case CLF_BF16:
        return (double)clf_bfloat16_to_float(((const uint16_t *)entry->data)[i]);
    case CLF_I64:
        return (double)((const int64_t *)entry->data)[i];
    case CLF_I32:
        return (double)((const int32_t *)entry->data)[i];
    case CLF_I16:
        return (double)((const int16_t *)entry->data)[i];
    case CLF_I8:
        return (double)((const int8_t *)entry->data)[i];
    case CLF_U8:
    case CLF_BOOL8:
        return (double)((const uint8_t *)entry->data)[i];
    default:
        return NAN;
    }
}

static bool is_floating(clf_dtype dtype)
{
    return dtype == CLF_F64 || dtype == CLF_F32 || dtype == CLF_F16 || dtype == CLF_BF16;
}

static double tolerance(const compare_options *options, const clf_safetensors_entry *reference, double largest,
                        const cJSON *noise)
{
    if (!is_floating(reference->dtype)) {
        return 0;
    }
    bool   gradient = strncmp(reference->name, "grad.", 5) == 0;
    double rtol = options->rtol >= 0 ? options->rtol : gradient ? 3e-5 : 1e-5;
    double atol = options->atol >= 0 ? options->atol : gradient ? 3e-5 : 1e-6;
    double limit = atol + rtol * largest;
    const cJSON *known = cJSON_GetObjectItemCaseSensitive(noise, reference->name);
    return cJSON_IsNumber(known) ? fmax(limit, 3 * known->valuedouble) : limit;
}

/* One line on stdout; true when the two agree. */
static bool compare_tensors(const compare_options *options, const clf_safetensors_entry *ours,
                            const clf_safetensors_entry *reference, const cJSON *noise)
{
    if (ours->rank != reference->rank ||
        memcmp(ours->shape, reference->shape, (size_t)ours->rank * sizeof *ours->shape) != 0) {
        printf("DIFFERS  %-28s the shapes differ\n", ours->name);
        return false;
    }
    size_t count = (size_t)(ours->bytes / clf_dtype_size(ours->dtype)), nan_count = 0, worst = 0;
    double largest = 0, error = 0;
    bool   nan_fails = false;
    for (size_t i = 0; i < count; i++) {
        double r = element(reference, i);
        largest = isfinite(r) ? fmax(largest, fabs(r)) : largest;
    }
    for (size_t i = 0; i < count; i++) {
        double r = element(reference, i), x = element(ours, i), difference = x == r ? 0 : fabs(x - r);
        if (isnan(r) && x == 0 && options->nan_is_zero) {
            nan_count++;
        } else if (isnan(difference)) {
            worst = nan_fails ? worst : i;
            nan_fails = true;
        } else if (!nan_fails && difference > error) {
            error = difference;
            worst = i;
        }
    }
    double limit = tolerance(options, reference, largest, noise);
    bool   good = !nan_fails && error <= limit;
    printf("%-8s %-28s error %.3g, allowed %.3g, largest value %.3g", good ? "ok" : "DIFFERS", ours->name,
           nan_fails ? NAN : error, limit, largest);
    if (nan_count > 0) {
        printf(", %zu NaN of the reference are 0", nan_count);
    }
    if (!good) {
        printf("; element %zu is %.9g, not %.9g", worst, element(ours, worst), element(reference, worst));
    }
    putchar('\n');
    return good;
}

/* ---- two files -------------------------------------------------------------------------------- */

static int compare_files(const compare_options *options, const clf_safetensors *ours, const clf_safetensors *reference)
{
    const char *metadata = clf_safetensors_metadata(reference, "f64_max_abs_diff");
    cJSON      *noise = metadata ? cJSON_Parse(metadata) : NULL;
    int         compared = 0, bad = 0;
    for (size_t i = 0; i < clf_safetensors_count(reference); i++) {
        const clf_safetensors_entry *theirs = clf_safetensors_at(reference, i);
        const clf_safetensors_entry *mine = clf_safetensors_find(ours, theirs->name);
        if (mine) {
            compared++;
            bad += !compare_tensors(options, mine, theirs, noise);
        } else if (strncmp(theirs->name, "grad.", 5) == 0) {
            printf("MISSING  %s\n", theirs->name);
            bad++;
        }
    }
    cJSON_Delete(noise);
    if (compared == 0) {
        return clf__tool_fail("'%s' and '%s' have no tensor in common", options->paths[0], options->paths[1]);
    }
    return bad > 0 ? CLF__TOOL_FAILED : CLF__TOOL_OK;
}

int clf__tool_compare(int argc, char **argv)
{
    compare_options  options = { .rtol = -1, .atol = -1 };
    clf_safetensors *ours = NULL, *reference = NULL;
    clf__tool_parse(&argp, argc, argv, &options);
    int code;
    if (clf_safetensors_open(options.paths[0], &ours) != CLF_SUCCESS ||
        clf_safetensors_open(options.paths[1], &reference) != CLF_SUCCESS) {
        code = clf__tool_fail_status();
    } else {
        code = compare_files(&options, ours, reference);
    }
    clf_safetensors_close(ours);
    clf_safetensors_close(reference);
    return code;
}
