/* A case on a device: instance, arguments, guarded buffers. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

/* Extent of one axis of an io entry in this case. */
static int64_t extent_of(const clf_io *io, const clf__kit_case *c, int axis)
{
    return clf__kit_is_query_mask(io) && (c->mask_ones & (1u << axis)) ? 1 : KIT_EXTENT(c, io->axes[axis]);
}

/* Shape of an io entry in this case; returns its rank. A mask of rank 3 loses its heads: a matrix a batch
 * entry, or under xformers' semantics a list that is tiled over batch x heads. */
static int shape_of(const clf_io *io, const clf__kit_case *c, int64_t *shape)
{
    const int axes = (int)strlen(io->axes), drop = clf__kit_is_query_mask(io) && c->mask_drop < axes ? c->mask_drop : 0;
    int       rank = 0;
    if (drop == 1 && axes == 4)
        shape[rank++] = extent_of(io, c, 0) * (c->mask_items ? KIT_EXTENT(c, io->axes[1]) : 1);
    for (int axis = drop == 1 && axes == 4 ? 2 : drop; axis < axes; axis++)
        shape[rank++] = extent_of(io, c, axis);
    return rank;
}

static clf_dtype dtype_of(const clf_io *io, const clf__kit_case *c)
{
    switch (io->io_class) {
    case CLF_IO_FLOATING:
        return c->dtype;
    case CLF_IO_SINGLE:
    case CLF_IO_NUMBER:
        return CLF_F32;
    case CLF_IO_MASK:
        return clf__kit_is_query_mask(io) ? c->mask_dtype : CLF_BOOL8;
    case CLF_IO_BOOLEAN:
        return CLF_BOOL8;
    default:
        return CLF_I32;
    }
}

static clf_status make_images(clf__kit_problem *p)
{
    const clf__kit_case *c = p->c;
    for (int i = 0; i < clf__kit_io_count(p->component); i++) {
        const clf_io *io = &p->component->descriptor->io[i];
        int64_t       shape[CLF_MAX_RANK];
        const int     rank = shape_of(io, c, shape);
        const bool    input = io->role == CLF_INPUT;
        clf_status    status;
        if ((io->flags & CLF_IO_OPTIONAL) && !(c->present & (1u << i)))
            continue;
        status = clf__kit_image_make(p->device, dtype_of(io, c), rank, shape, c->layout, input, &p->io[i]);
        if (status)
            return status;
        p->args.io[i] = p->io[i].tensor;
        const bool boolean = p->io[i].tensor.dtype == CLF_BOOL8 || p->io[i].tensor.dtype == CLF_U8;
        if (!p->backward || !(io->flags & CLF_IO_DIFFERENTIABLE) || boolean || (c->no_gradient & (1u << i)))
            continue;
        status = clf__kit_image_make(p->device, dtype_of(io, c), rank, shape, c->layout, !input, &p->grad[i]);
        if (status)
            return status;
        p->args.grad[i] = p->grad[i].tensor;
    }
    return CLF_SUCCESS;
}

/* The part's config for this case, resolved against the arguments. */
static clf_status resolve_config(clf__kit_problem *p, const void *config)
{
    const clf_descriptor *descriptor = p->component->descriptor;
    clf_status            status = clf_config_copy(&descriptor->config, config, &p->config);
    if (!status && descriptor->resolve)
        status = descriptor->resolve(p->config, &p->args);
    return status;
}

/* Constant initial values would hide mistakes, so learnt ones are disturbed. */
static void disturb(const clf__kit_case *c, int i, const char *name, float *floats, int64_t elements)
{
    const bool spread = c->spread && strcmp(c->spread, name) == 0;
    for (int64_t e = 0; e < elements; e++) {
        floats[e] += (float)(0.1 * clf__kit_normal(100 + (uint64_t)i, (uint64_t)e));
        floats[e] += spread ? (float)(e % 2 ? c->spread_by : -c->spread_by) : 0;
    }
}

/* Views on what `list` declares, and host copies of it. */
static clf_status fetch(clf__kit_problem *p, const clf_parameter *list, bool learnt, clf_tensor *tensor,
                        double **value, int *count)
{
    float     *floats = NULL;
    clf_status status = CLF_SUCCESS;
    for (int i = 0; list && list[i].name && i < CLF_MAX_PARAMETERS && !status; i++) {
        int64_t elements;
        *count = i + 1;
        status = learnt ? clf_instance_parameter(p->instance, list[i].name, &tensor[i])
                        : clf_instance_buffer(p->instance, list[i].name, &tensor[i]);
        if (status == CLF_UNKNOWN_TENSOR) { /* not in this config */
            memset(&tensor[i], 0, sizeof tensor[i]);
            status = CLF_SUCCESS;
            continue;
        }
        elements = status ? 0 : clf_tensor_elements(&tensor[i]);
        floats = malloc((size_t)elements * sizeof *floats + 1);
        value[i] = malloc((size_t)elements * sizeof *value[i] + 1);
        if (!status && (!floats || !value[i]))
            status = CLF_OUT_OF_HOST_MEMORY;
        if (!status)
            status = clf_tensor_read_floats(p->device, &tensor[i], floats);
        if (!status && learnt) {
            disturb(p->c, i, list[i].name, floats, elements);
            status = clf_tensor_write_floats(p->device, &tensor[i], floats);
            if (!status)
                status = clf_tensor_read_floats(p->device, &tensor[i], floats);
        }
        for (int64_t e = 0; e < elements && !status; e++)
            value[i][e] = (double)floats[e];
        free(floats);
        floats = NULL;
    }
    return status;
}

clf_status clf__kit_problem_make(clf_device *device, const clf_component *component, const clf__kit_case *c,
                                 clf__kit_problem *p)
{
    const clf_descriptor      *descriptor = component->descriptor;
    const clf_instance_options options = { .size = sizeof options, .dtype = c->dtype, .seed = 5 };
    char                       json[1024];
    void                      *config = NULL;
    clf_status                 status;

    memset(p, 0, sizeof *p);
    p->component = component;
    p->c = c;
    p->device = device;
    p->backward = descriptor->backward;
    p->args = (clf_args){ .size = sizeof p->args, .training = c->training,
                          .seed = 0x0123456789ABCDEFu, .offset = 0xFEDCBA9800000007u };
    clf__kit_config_json(component, c, json, sizeof json);
    status = clf_component_config(component, json, NULL, NULL, &config);
    if (!status)
        status = clf_instance_create(device, component, config, &options, &p->instance);
    if (!status)
        status = make_images(p);
    if (!status)
        status = resolve_config(p, config);
    if (!status)
        status = fetch(p, descriptor->parameters, true, p->parameter, p->parameter_value, &p->parameters);
    if (!status)
        status = fetch(p, descriptor->buffers, false, p->buffer, p->buffer_value, &p->buffers);
    if (!status)
        status = clf__kit_fill_inputs(p);
    clf_config_free(&descriptor->config, config);
    return status;
}

void clf__kit_problem_free(clf__kit_problem *p)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        clf__kit_image_free(&p->io[i]);
        clf__kit_image_free(&p->grad[i]);
        free(p->value[i]);
        free(p->upstream[i]);
    }
    for (int i = 0; i < CLF_MAX_PARAMETERS; i++) {
        free(p->parameter_value[i]);
        free(p->buffer_value[i]);
    }
    if (p->config)
        clf_config_free(&p->component->descriptor->config, p->config);
    clf_instance_release(p->instance);
    memset(p, 0, sizeof *p);
}

int64_t clf__kit_index(const clf__kit_problem *p, int slot, int64_t i, char letter)
{
    const clf_io     *io = &p->component->descriptor->io[slot];
    const clf_tensor *t = &p->io[slot].tensor;
    const int         missing = (int)strlen(io->axes) - t->rank;
    for (int axis = t->rank - 1; axis >= 0; axis--) {
        if ((io->axes[axis + missing] & ~0x20) == letter)
            return i % t->shape[axis];
        i /= t->shape[axis];
    }
    return -1;
}
