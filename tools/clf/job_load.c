/* clf run: the device, the instance, and the data that goes there. */
#include "job.h"

#include <stdlib.h>
#include <string.h>

static float *to_floats(const clf_safetensors_entry *entry, size_t count)
{
    float *values = malloc(count ? count * sizeof *values : 1);
    for (size_t i = 0; values && i < count; i++) {
        switch (entry->dtype) {
        case CLF_F64:
            values[i] = (float)((const double *)entry->data)[i];
            break;
        case CLF_F16:
            values[i] = clf_half_to_float(((const uint16_t *)entry->data)[i]);
            break;
        case CLF_BF16:
            values[i] = clf_bfloat16_to_float(((const uint16_t *)entry->data)[i]);
            break;
        default:
            values[i] = ((const float *)entry->data)[i];
        }
    }
    return values;
}

/* The file's data into a tensor on the device, converted when both are floating-point. */
static int upload(clf__job *job, const clf_safetensors_entry *entry, const clf_tensor *tensor)
{
    size_t count = (size_t)clf_tensor_elements(tensor);
    if (entry->bytes != count * clf_dtype_size(entry->dtype)) {
        return clf__tool_fail("tensor '%s' has %zu elements, but needs %zu", entry->name,
                              (size_t)entry->bytes / clf_dtype_size(entry->dtype), count);
    }
    if (count == 0) {
        return CLF__TOOL_OK;
    }
    bool same = entry->dtype == tensor->dtype ||
                (clf_dtype_size(entry->dtype) == 1 && clf_dtype_size(tensor->dtype) == 1);
    if (same) {
        return clf_tensor_write(job->device, tensor, entry->data) == CLF_SUCCESS ? CLF__TOOL_OK
                                                                                 : clf__tool_fail_status();
    }
    if (!clf__job_is_floating(entry->dtype) || !clf__job_is_floating(tensor->dtype)) {
        return clf__tool_fail("tensor '%s' is %s, but must be %s", entry->name, clf_dtype_name(entry->dtype),
                              clf_dtype_name(tensor->dtype));
    }
    float *values = to_floats(entry, count);
    if (!values) {
        return clf__tool_fail("out of memory");
    }
    clf_status status = clf_tensor_write_floats(job->device, tensor, values);
    free(values);
    return status == CLF_SUCCESS ? CLF__TOOL_OK : clf__tool_fail_status();
}

static int allocate(clf__job *job, clf_tensor *tensor)
{
    clf_tensor memory = { 0 };
    if (clf_tensor_alloc(job->device, tensor->dtype, tensor->rank, tensor->shape, &memory) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    *tensor = memory;
    return CLF__TOOL_OK;
}

static int load_io(clf__job *job)
{
    const clf_io *table = job->component->descriptor->io;
    for (int i = 0; table[i].name; i++) {
        clf_tensor *tensor = &job->args.io[i], *gradient = &job->args.grad[i];
        bool        input = table[i].role == CLF_INPUT;
        if (tensor->rank > 0 && (allocate(job, tensor) != CLF__TOOL_OK ||
            (input && upload(job, clf_safetensors_find(job->file, table[i].name), tensor) != CLF__TOOL_OK))) {
            return CLF__TOOL_FAILED;
        }
        if (gradient->rank > 0 && (allocate(job, gradient) != CLF__TOOL_OK ||
            (!input && upload(job, clf__job_find(job, "grad_", table[i].name), gradient) != CLF__TOOL_OK))) {
            return CLF__TOOL_FAILED;
        }
    }
    return CLF__TOOL_OK;
}

const char *clf__job_alias(const clf__job *job, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job->aliases, name));
}

/* Fills what the file gives. `complete`: some but not all would be a mistake. */
static int load_parameters(clf__job *job, const clf_parameter *table, const char *prefix, bool complete,
                           clf_status (*view)(clf_instance *instance, const char *name, clf_tensor *tensor))
{
    const char *missing = NULL;
    int         given = 0;
    for (; table && table->name; table++) {
        /* A random draw keeps its full name in the table. */
        const clf_safetensors_entry *entry =
            clf__job_find(job, strncmp(table->name, "rng.", 4) == 0 ? "" : prefix, table->name);
        clf_tensor tensor = { 0 };
        clf_status status = view(job->instance, table->name, &tensor);
        if (status == CLF_UNKNOWN_TENSOR && (!entry || clf__job_alias(job, table->name))) {
            continue; /* not in this config, or once under another name */
        }
        if (status != CLF_SUCCESS) {
            return clf__tool_fail_status();
        }
        if (!entry) {
            missing = table->name;
            continue;
        }
        given++;
        bool same = entry->rank == tensor.rank &&
                    memcmp(entry->shape, tensor.shape, (size_t)tensor.rank * sizeof *tensor.shape) == 0;
        if (!same) {
            return clf__tool_fail("tensor '%s' has another shape than %s needs", entry->name, job->component->name);
        }
        if (upload(job, entry, &tensor) != CLF__TOOL_OK) {
            return CLF__TOOL_FAILED;
        }
    }
    if (complete && given > 0 && missing) {
        return clf__tool_fail("'%s' has parameters, but not '%s%s'", job->options->input, prefix, missing);
    }
    return CLF__TOOL_OK;
}

int clf__job_load(clf__job *job)
{
    const clf_descriptor *d = job->component->descriptor;
    const char           *aliases = clf_safetensors_metadata(job->file, "param_aliases");
    job->aliases = aliases ? cJSON_Parse(aliases) : NULL;
    clf__tool_progress("opening the device");
    if (clf_device_open(job->options->device, &job->device) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    clf_instance_options options = { .size = sizeof options, .dtype = job->dtype, .seed = job->options->seed };
    job->args.seed = job->options->seed;
    if (clf_instance_create(job->device, job->component, job->config, &options, &job->instance) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    clf__tool_progress("reading %s", job->options->input);
    if (load_parameters(job, d->parameters, "param.", true, clf_instance_parameter) != CLF__TOOL_OK ||
        load_parameters(job, d->buffers, "buf.", false, clf_instance_buffer) != CLF__TOOL_OK) {
        return CLF__TOOL_FAILED;
    }
    return load_io(job);
}
