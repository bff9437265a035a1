/* clf run: the results, from the device to the output file. */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Adds a tensor to the output file, (B, H, ...) folded back when the input had it that way. */
static int store_tensor(clf__job *job, clf_safetensors_writer *writer, const char *prefix, const char *name, bool fold,
                        const clf_tensor *tensor)
{
    char    text[512];
    int64_t shape[CLF_MAX_RANK];
    int     rank = tensor->rank;
    size_t  bytes = (size_t)clf_tensor_elements(tensor) * clf_dtype_size(tensor->dtype);
    void   *data = malloc(bytes ? bytes : 1);
    if (!data) {
        return clf__tool_fail("out of memory");
    }
    memcpy(shape, tensor->shape, sizeof shape);
    if (fold) {
        shape[0] *= shape[1];
        memmove(shape + 1, shape + 2, (size_t)(rank - 2) * sizeof *shape);
        rank--;
    }
    snprintf(text, sizeof text, "%s%s", prefix, name);
    clf_status status = bytes ? clf_tensor_read(job->device, tensor, data) : CLF_SUCCESS;
    if (status == CLF_SUCCESS) {
        status = clf_safetensors_add(writer, text, tensor->dtype, rank, shape, data);
    }
    free(data);
    return status == CLF_SUCCESS ? CLF__TOOL_OK : clf__tool_fail_status();
}

static int store_tensors(clf__job *job, clf_safetensors_writer *writer)
{
    const clf_descriptor *d = job->component->descriptor;
    for (int i = 0; d->io[i].name; i++) {
        const clf_io *io = &d->io[i];
        const bool    input = io->role == CLF_INPUT, fold = job->folded[i];
        if (!input && job->args.io[i].rank > 0 &&
            store_tensor(job, writer, "", io->name, fold, &job->args.io[i]) != CLF__TOOL_OK) {
            return CLF__TOOL_FAILED;
        }
        if (input && job->args.grad[i].rank > 0 &&
            store_tensor(job, writer, "grad.", io->name, fold, &job->args.grad[i]) != CLF__TOOL_OK) {
            return CLF__TOOL_FAILED;
        }
    }
    for (const clf_parameter *p = d->parameters; p && p->name && (job->passes & CLF_BACKWARD); p++) {
        clf_tensor gradient = { 0 };
        clf_status status = clf_instance_gradient(job->instance, p->name, &gradient);
        const char *owner = clf__job_alias(job, p->name);
        if (status == CLF_UNKNOWN_TENSOR && owner) {
            status = clf_instance_gradient(job->instance, owner, &gradient);
        }
        if (status == CLF_UNKNOWN_TENSOR) {
            continue;
        }
        if (status != CLF_SUCCESS) {
            return clf__tool_fail_status();
        }
        if (store_tensor(job, writer, "grad.param.", p->name, false, &gradient) != CLF__TOOL_OK) {
            return CLF__TOOL_FAILED;
        }
    }
    return CLF__TOOL_OK;
}

static clf_status store_metadata(const clf__job *job, clf_safetensors_writer *writer)
{
    char *config = clf_config_print(&job->component->descriptor->config, clf_instance_config(job->instance));
    const char *const entries[][2] = {
        { "component", clf_kind_name(job->component->kind) }, { "name", job->component->name },
        { "config", config ? config : "{}" },                 { "device", clf_device_get_info(job->device)->name },
        { "family", clf_plan_get_info(job->plan).family },    { "clformers_version", clf_version() },
    };
    clf_status status = CLF_SUCCESS;
    for (size_t i = 0; i < sizeof entries / sizeof *entries && status == CLF_SUCCESS; i++) {
        status = clf_safetensors_add_metadata(writer, entries[i][0], entries[i][1]);
    }
    clf_free(config);
    return status;
}

int clf__job_store(clf__job *job)
{
    clf_safetensors_writer *writer = NULL;
    clf__tool_progress("writing %s", job->options->output);
    if (clf_safetensors_create(job->options->output, &writer) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    if (store_tensors(job, writer) != CLF__TOOL_OK) {
        goto fail;
    }
    if (store_metadata(job, writer) != CLF_SUCCESS) {
        clf__tool_fail_status();
        goto fail;
    }
    return clf_safetensors_commit(writer) == CLF_SUCCESS ? CLF__TOOL_OK : clf__tool_fail_status();
fail:
    clf_safetensors_discard(writer);
    return CLF__TOOL_FAILED;
}
