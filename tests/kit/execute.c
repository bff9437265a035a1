/* One run of a plan between guards. */
#include "kit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Workspace or saved buffer inside a guarded image; absent when the plan needs none. For who looks for reads of what
 * nobody wrote, a new buffer that nobody wrote. */
static clf_status make_scratch(clf_device *device, uint64_t bytes, clf__kit_image *image, clf_buffer *buffer)
{
    const int64_t shape[1] = { (int64_t)bytes };
    clf_status    status;
    memset(image, 0, sizeof *image);
    *buffer = (clf_buffer){ 0 };
    if (!bytes)
        return CLF_SUCCESS;
    if (clf__kit_seeks_unwritten(device)) {
        clf_pool_trim(device, 0);
        buffer->bytes = bytes;
        return clf_pool_acquire(device, bytes, &buffer->mem);
    }
    status = clf__kit_image_make(device, CLF_U8, 1, shape, KIT_CONTIGUOUS, false, image);
    if (!status)
        status = clf__kit_image_write(device, image);
    *buffer = (clf_buffer){ .mem = image->tensor.mem, .offset = image->tensor.offset, .bytes = bytes };
    return status;
}

clf_status clf__kit_upload(clf__kit_problem *p)
{
    clf_status status = CLF_SUCCESS;
    for (int i = 0; i < CLF_MAX_IO && !status; i++) {
        if (p->io[i].tensor.rank)
            status = clf__kit_image_write(p->device, &p->io[i]);
        if (!status && p->grad[i].tensor.rank)
            status = clf__kit_image_write(p->device, &p->grad[i]);
    }
    return status;
}

/* Reads an image; elements of inputs must not change either. */
static clf_status download(clf__kit_problem *p, clf__kit_image *image, bool input, const char *name, char *why,
                           size_t why_size)
{
    clf_status status = image->tensor.rank ? clf__kit_image_read(p->device, image) : CLF_SUCCESS;
    if (!status && image->tensor.rank && !why[0]) {
        if (!clf__kit_image_is_intact(image))
            snprintf(why, why_size, "memory around or between the rows of %s was written", name);
        else if (input && memcmp(image->before, image->after, image->bytes) != 0)
            snprintf(why, why_size, "input %s was written", name);
    }
    return status;
}

static void decode(const clf__kit_image *image, double *values)
{
    for (int64_t i = 0; values && i < clf_tensor_elements(&image->tensor); i++)
        values[i] = clf__kit_image_get(image, image->after, i);
}

clf_status clf__kit_download(clf__kit_problem *p, clf__kit_result *result, char *why, size_t why_size)
{
    clf_status status = CLF_SUCCESS;
    for (int i = 0; i < clf__kit_io_count(p->component) && !status; i++) {
        const clf_io *io = &p->component->descriptor->io[i];
        const bool    input = io->role == CLF_INPUT;
        char          name[64];
        snprintf(name, sizeof name, "grad_%s", io->name);
        status = download(p, &p->io[i], input, io->name, why, why_size);
        if (!status)
            status = download(p, &p->grad[i], !input, name, why, why_size);
        if (p->io[i].tensor.rank && !input)
            decode(&p->io[i], result->io[i]);
        if (p->grad[i].tensor.rank && input)
            decode(&p->grad[i], result->grad[i]);
    }
    return status;
}

clf_args clf__kit_args(const clf__kit_problem *p, int passes)
{
    clf_args args = p->args;
    for (int i = 0; i < CLF_MAX_IO; i++)
        if (!(passes & CLF_BACKWARD))
            args.grad[i] = (clf_tensor){ .mem = NULL };
    return args;
}

/* Gradients of parameters belong to the instance: filled with NaN before, read after. */
static clf_status parameter_gradients(clf__kit_problem *p, bool after, clf__kit_result *result)
{
    clf_status status = CLF_SUCCESS;
    for (int i = 0; i < p->parameters && !status; i++) {
        const int64_t count = clf_tensor_elements(&p->parameter[i]);
        clf_tensor    gradient;
        float        *floats;
        if (!p->parameter[i].rank || !result->parameter_grad[i])
            continue;
        floats = malloc((size_t)count * sizeof *floats + 1);
        if (!floats)
            return CLF_OUT_OF_HOST_MEMORY;
        for (int64_t e = 0; e < count; e++)
            floats[e] = NAN;
        status = clf_instance_gradient(p->instance, p->component->descriptor->parameters[i].name, &gradient);
        if (!status)
            status = after ? clf_tensor_read_floats(p->device, &gradient, floats)
                           : clf_tensor_write_floats(p->device, &gradient, floats);
        for (int64_t e = 0; e < count; e++)
            result->parameter_grad[i][e] = (double)floats[e];
        free(floats);
    }
    return status;
}

clf_status clf__kit_execute(clf__kit_problem *p, clf_plan *plan, int passes, clf__kit_result *result, char *why,
                            size_t why_size)
{
    const clf_plan_info info = clf_plan_get_info(plan);
    const bool          backward = passes & CLF_BACKWARD;
    clf__kit_image      scratch[2] = { { .bytes = 0 }, { .bytes = 0 } };
    clf_buffer          buffer[2] = { { 0 }, { 0 } };
    const clf_args      args = clf__kit_args(p, passes);
    clf_status          status;

    why[0] = '\0';
    status = make_scratch(p->device, info.workspace_bytes, &scratch[0], &buffer[0]);
    if (!status)
        status = make_scratch(p->device, info.saved_bytes, &scratch[1], &buffer[1]);
    if (!status)
        status = clf__kit_upload(p);
    if (!status && backward)
        status = parameter_gradients(p, false, result);
    if (!status)
        status = clf_forward(plan, &args, buffer[0], buffer[1], NULL, 0, NULL, NULL);
    if (!status && scratch[0].tensor.rank) /* nothing in the workspace may be needed again */
        status = clf__kit_image_write(p->device, &scratch[0]);
    if (!status && backward)
        status = clf_backward(plan, &args, buffer[0], buffer[1], NULL, 0, NULL, NULL);
    if (!status)
        status = clf__kit_download(p, result, why, why_size);
    for (int i = 0; i < 2 && !status; i++)
        status = download(p, &scratch[i], false, i ? "the saved buffer" : "the workspace", why, why_size);
    if (!status && backward)
        status = parameter_gradients(p, true, result);
    for (int i = 0; i < 2; i++) {
        if (clf__kit_seeks_unwritten(p->device))
            clf_pool_release(p->device, buffer[i].mem, NULL);
        clf__kit_image_free(&scratch[i]);
    }
    return status;
}

void clf__kit_keep(clf__kit_problem *p)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        if (p->io[i].tensor.rank)
            memcpy(p->io[i].kept, p->io[i].after, p->io[i].bytes);
        if (p->grad[i].tensor.rank)
            memcpy(p->grad[i].kept, p->grad[i].after, p->grad[i].bytes);
    }
}

const char *clf__kit_same_as_kept(const clf__kit_problem *p)
{
    for (int i = 0; i < CLF_MAX_IO; i++)
        if ((p->io[i].tensor.rank && memcmp(p->io[i].kept, p->io[i].after, p->io[i].bytes) != 0) ||
            (p->grad[i].tensor.rank && memcmp(p->grad[i].kept, p->grad[i].after, p->grad[i].bytes) != 0))
            return p->component->descriptor->io[i].name;
    return NULL;
}
