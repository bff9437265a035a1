/* Running a part's reference: its own, or the one of tests/reference with its name. */
#include "kit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

clf_status (*clf__kit_find_reference(const clf_component *component))(const clf_reference *)
{
    if (component->descriptor->reference)
        return component->descriptor->reference;
    for (const clf_reference_row *row = clf__references; row->name; row++)
        if (strcmp(row->name, component->name) == 0)
            return row->function;
    return NULL;
}

bool clf__kit_has_reference(const clf_component *component)
{
    return clf__kit_find_reference(component) != NULL;
}

/* NaN where nothing was computed. */
static double *blank(int64_t count)
{
    double *values = malloc((size_t)count * sizeof *values + 1);
    for (int64_t i = 0; values && i < count; i++)
        values[i] = (double)NAN;
    return values;
}

clf_status clf__kit_result_make(const clf__kit_problem *p, clf__kit_result *result)
{
    bool complete = true;
    memset(result, 0, sizeof *result);
    for (int i = 0; i < clf__kit_io_count(p->component); i++) {
        const bool output = p->component->descriptor->io[i].role == CLF_OUTPUT;
        if (output && p->io[i].tensor.rank)
            complete = (result->io[i] = blank(clf_tensor_elements(&p->io[i].tensor))) && complete;
        if (!output && p->grad[i].tensor.rank)
            complete = (result->grad[i] = blank(clf_tensor_elements(&p->io[i].tensor))) && complete;
    }
    for (int i = 0; p->backward && i < p->parameters; i++)
        if (p->parameter[i].rank)
            complete = (result->parameter_grad[i] = blank(clf_tensor_elements(&p->parameter[i]))) && complete;
    return complete ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;
}

void clf__kit_result_free(clf__kit_result *result)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        free(result->io[i]);
        free(result->grad[i]);
    }
    for (int i = 0; i < CLF_MAX_PARAMETERS; i++)
        free(result->parameter_grad[i]);
    memset(result, 0, sizeof *result);
}

/* Element of a broadcast tensor that stands at element i of its full shape. */
static int64_t broadcast_source(const clf__kit_problem *p, int slot, int64_t i)
{
    const clf_io     *io = &p->component->descriptor->io[slot];
    const clf_tensor *t = &p->io[slot].tensor;
    const int         axes = (int)strlen(io->axes);
    const bool        headless = axes == 4 && t->rank == 3; /* see shape_of in problem.c */
    int64_t           index[CLF_MAX_RANK], source = 0;
    for (int axis = axes - 1; axis >= 0; axis--) {
        index[axis] = i % KIT_EXTENT(p->c, io->axes[axis]);
        i /= KIT_EXTENT(p->c, io->axes[axis]);
    }
    if (headless)
        index[1] = p->c->xformers ? (index[0] * KIT_EXTENT(p->c, io->axes[1]) + index[1]) % t->shape[0] : index[0];
    for (int d = 0; d < t->rank; d++)
        source = source * t->shape[d] + (t->shape[d] == 1 ? 0 : index[axes - t->rank + d]);
    return source;
}

/* An input at the full shape of its axes, which is how references see it. */
static clf_status broadcast(const clf__kit_problem *p, int slot, clf_tensor *tensor, double **values)
{
    const clf_io *io = &p->component->descriptor->io[slot];
    int64_t       shape[CLF_MAX_RANK], count = 1;
    int           rank = 0;
    for (; io->axes[rank]; rank++)
        count *= shape[rank] = KIT_EXTENT(p->c, io->axes[rank]);
    *tensor = clf_tensor_view(NULL, tensor->dtype, rank, shape);
    *values = malloc((size_t)count * sizeof **values + 1);
    for (int64_t i = 0; *values && i < count; i++)
        (*values)[i] = p->value[slot][broadcast_source(p, slot, i)];
    return *values ? CLF_SUCCESS : CLF_OUT_OF_HOST_MEMORY;
}

clf_status clf__kit_reference(const clf__kit_problem *p, int passes, int baseline, clf__kit_result *result)
{
    clf_status  (*function)(const clf_reference *) = clf__kit_find_reference(p->component);
    uint64_t      noise = (uint64_t)(baseline > 0 ? baseline : 0) << 40;
    clf_args      args = clf__kit_args(p, passes);
    clf_status    status = CLF_SUCCESS;
    double       *full[CLF_MAX_IO] = { NULL };
    clf_reference r = { .size = sizeof r, .config = p->config, .args = &args, .pass = passes,
                        .storage = baseline < 0 ? CLF_F64 : p->c->dtype, .noise = baseline > 0 ? &noise : NULL,
                        .frozen = p->frozen };
    for (int i = 0; i < clf__kit_io_count(p->component) && !status; i++) {
        const clf_io *io = &p->component->descriptor->io[i];
        const bool    output = io->role == CLF_OUTPUT;
        if (!output && p->io[i].tensor.rank && (io->flags & CLF_IO_BROADCAST))
            status = broadcast(p, i, &args.io[i], &full[i]);
        r.io[i] = output ? result->io[i] : full[i] ? full[i] : p->value[i];
        if (passes & CLF_BACKWARD)
            r.grad[i] = output ? p->upstream[i] : result->grad[i];
    }
    memcpy(r.parameter, p->parameter_value, sizeof r.parameter);
    memcpy(r.buffer, p->buffer_value, sizeof r.buffer);
    if (passes & CLF_BACKWARD)
        memcpy(r.parameter_grad, result->parameter_grad, sizeof r.parameter_grad);
    if (!status)
        status = function(&r);
    for (int i = 0; i < CLF_MAX_IO; i++)
        free(full[i]);
    return status;
}
