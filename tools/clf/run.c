/* clf run: one part on the tensors of a .safetensors file. The steps are in job_*.c. */
#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALLOW_REFERENCE = 256, ALL_OUTPUTS, FAMILY, DTYPE, SEED };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    clf__job_options *options = state->input;
    switch (key) {
    case 'i':
        options->input = argument;
        return 0;
    case 'o':
        options->output = argument;
        return 0;
    case 'c':
        options->config = argument;
        return 0;
    case 'k':
        options->kind = argument;
        return 0;
    case 'd':
        options->device = argument;
        return 0;
    case 's':
        if (!strchr(argument, '=') || *argument == '=') {
            clf__tool_usage("--set needs key=value, but got '%s'", argument);
        }
        if (options->set_count == CLF__JOB_MAX_SETS) {
            clf__tool_usage("--set is given more than %d times", CLF__JOB_MAX_SETS);
        }
        options->sets[options->set_count++] = argument;
        return 0;
    case FAMILY:
        options->family = argument;
        return 0;
    case ALLOW_REFERENCE:
        options->allow_reference = true;
        return 0;
    case ALL_OUTPUTS:
        options->all_outputs = true;
        return 0;
    case DTYPE:
        options->dtype = clf_dtype_from_name(argument);
        if (options->dtype != CLF_F32 && options->dtype != CLF_F16 && options->dtype != CLF_BF16) {
            clf__tool_usage("--dtype is f32, f16 or bf16, but got '%s'", argument);
        }
        return 0;
    case SEED: {
        char *end = NULL;
        errno = 0;
        options->seed = strtoull(argument, &end, 0);
        if (errno || end == argument || *end || *argument == '-') {
            clf__tool_usage("--seed is a number from 0 to 2^64-1, but got '%s'", argument);
        }
        return 0;
    }
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        clf__tool_usage("run takes options only, but got '%s'", argument);
    case ARGP_KEY_END:
        if (!options->input || !options->output) {
            clf__tool_usage("run needs --input and --output");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_table[] = {
    { "input", 'i', "FILE", 0, "Tensors to read (.safetensors)", 0 },
    { "output", 'o', "FILE", 0, "Where the results go (.safetensors)", 0 },
    { "config", 'c', "FILE", 0, "JSON config with \"name\"; without it, the config in the input's metadata", 0 },
    { "set", 's', "KEY=VALUE", 0, "Add or replace a config entry; VALUE is JSON, else a string", 0 },
    { "kind", 'k', "KIND", 0, "attention, feedforward, ...; without it, what the input's metadata says", 0 },
    { "device", 'd', "SELECTOR", 0, "Device (see clf devices)", 0 },
    { "family", FAMILY, "NAME", 0, "Only this kernel family", 0 },
    { "allow-reference", ALLOW_REFERENCE, NULL, 0, "The naive family may run when no other can", 0 },
    { "all-outputs", ALL_OUTPUTS, NULL, 0, "Optional outputs too, such as lse", 0 },
    { "dtype", DTYPE, "TYPE", 0, "Convert floating-point inputs to f32, f16 or bf16", 0 },
    { "seed", SEED, "N", 0, "Seed of initialisers and dropout", 0 },
    { "json", 'j', NULL, 0, "Report as JSON", 0 },
    { 0 },
};
static const struct argp argp = {
    .options = option_table, .parser = parse,
    .doc = "Run a part on the tensors of a .safetensors file.\v"
           "The input holds the part's input tensors by name (see clf describe), and optionally param.<name>, "
           "buf.<name> and tensors of the config that the config leaves out. A rank 3 tensor where the part has axes "
           "BH.. is (B*H, N, D), with the heads of the metadata entry shapes, {\"H\": ...}, or of the config's "
           "num_heads. With grad_<output> in the input, the backward pass runs too, and the output file holds "
           "grad.<input> and grad.param.<name>. The metadata entry param_aliases, {name: name}, says which parameters "
           "of the file are others again. A name that "
           "belongs to nothing is an error; outputs, grad.* and aux.* (results to compare with) are left alone, and so "
           "are another implementation's buf.* where the part has no buffers, and rng.*, what it drew, where the part "
           "keeps what is made of it. A config without dim_head gets the width of the first input.",
};

static int report(const clf__job *job)
{
    clf_plan_info          info = clf_plan_get_info(job->plan);
    const clf_device_info *device = clf_device_get_info(job->device);
    if (job->options->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "kind", clf_kind_name(job->component->kind));
        cJSON_AddStringToObject(json, "name", job->component->name);
        cJSON_AddStringToObject(json, "device", device->name);
        cJSON_AddStringToObject(json, "family", info.family);
        cJSON_AddStringToObject(json, "passed_over", info.reasons);
        cJSON_AddNumberToObject(json, "forward_seconds", job->seconds[0]);
        if (job->passes & CLF_BACKWARD) {
            cJSON_AddNumberToObject(json, "backward_seconds", job->seconds[1]);
        }
        cJSON_AddNumberToObject(json, "workspace_bytes", (double)info.workspace_bytes);
        cJSON_AddNumberToObject(json, "saved_bytes", (double)info.saved_bytes);
        cJSON_AddStringToObject(json, "output", job->options->output);
        return clf__tool_print_json(json);
    }
    printf("%s on %s: family %s, forward %.3g ms", job->component->name, device->name, info.family,
           1e3 * job->seconds[0]);
    if (job->passes & CLF_BACKWARD) {
        printf(", backward %.3g ms", 1e3 * job->seconds[1]);
    }
    printf("\n");
    return CLF__TOOL_OK;
}

int clf__tool_run(int argc, char **argv)
{
    static int (*const steps[])(clf__job *job) = { clf__job_configure, clf__job_describe, clf__job_load,
                                                   clf__job_compute, clf__job_store };
    clf__job_options options = { 0 };
    clf__tool_parse(&argp, argc, argv, &options);
    clf__job job = { .options = &options, .args = { .size = sizeof(clf_args) } };
    int      code = CLF__TOOL_OK;
    if (clf_safetensors_open(options.input, &job.file) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    for (size_t i = 0; i < sizeof steps / sizeof *steps && code == CLF__TOOL_OK; i++) {
        code = steps[i](&job);
    }
    clf__tool_progress_hide();
    if (code == CLF__TOOL_OK) {
        code = report(&job);
    }
    clf__job_free(&job);
    return code;
}
