/* Pooling as attention (PoolFormer, Yu et al. 2021): the average of a cell's neighbours, minus the cell. */
#include "attention/pooling.h"
#include "core/status.h"
#include "ops/lanes.h"
#include <math.h>
#include <stdio.h>

typedef struct pooling_state {
    int       lanes, blocks; /* a work-item has blocks x lanes channels */
    cl_kernel pass[2]; /* forward, backward */
} pooling_state;

static const clf_field pooling_fields[] = {
    CLF_ATTENTION_FIELDS(pooling_config),
    CLF_INT(pooling_config, pool_size, 3, .min = 1, .doc = "side of the square window, in cells: an odd number"),
    CLF_INT(pooling_config, stride, 1, .min = 1, .doc = "cells between windows: 1, because the image is subtracted"),
    CLF_INT(pooling_config, padding, 0, .optional = true,
            .doc = "cells around the image: absent or pool_size / 2; ignored under xformers semantics"),
    CLF_FIELDS_END
};

static clf_status pooling_resolve(void *config, const clf_args *args)
{
    const pooling_config *c = config;

    (void)args;
    if (c->pool_size % 2 == 0)
        return clf__fail(CLF_UNSUPPORTED, "'pool_size' is %d: only an odd window has a cell in its middle", c->pool_size);
    if (c->stride != 1)
        return clf__fail(CLF_UNSUPPORTED, "'stride' is %d: a result of another size than the image cannot have the image "
                                          "subtracted", c->stride);
    if (c->base.semantics != CLF_SEMANTICS_XFORMERS && c->padding != c->pool_size / 2 &&
        clf_config_has(&(clf_schema)CLF_SCHEMA(pooling_config, pooling_fields), config, "padding"))
        return clf__fail(CLF_UNSUPPORTED, "'padding' is %d: with windows of %d cells only %d keeps the size of the image",
                         c->padding, c->pool_size, c->pool_size / 2);
    if (c->base.causal)
        return clf__fail(CLF_UNSUPPORTED, "'causal' is true, but windows reach forward");
    return CLF_SUCCESS;
}

static int64_t side_of(const clf_args *args)
{
    return (int64_t)floor(sqrt((double)args->io[CLF_QKV_Q].shape[2]) + 0.5);
}

/* A window that reaches beyond the image from everywhere counts as one that just covers it. */
static int window_of(const pooling_config *c, int64_t side)
{
    const int64_t reach = c->pool_size / 2 < side ? c->pool_size / 2 : side > 0 ? side - 1 : 0;
    return (int)(2 * reach + 1);
}

/* Whole cache lines side by side make better use of memory than one here and one there; what is left over at the end
 * of a row would be work for nothing. */
static int blocks_of(int lanes, int64_t width)
{
    const int64_t all = clf__lanes_blocks(lanes, width);
    return lanes == 1 ? 1 : all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
}

static clf_status pooling_plan(clf_plan *plan)
{
    const pooling_config *c = clf_plan_config(plan);
    const clf_args *args = clf_plan_args(plan);
    pooling_state *state = clf_plan_state(plan, sizeof *state);
    const int passes = clf_plan_passes(plan) & CLF_BACKWARD ? 2 : 1;

    if (!state)
        return CLF_OUT_OF_HOST_MEMORY;
    state->lanes = clf__lanes_choose(plan);
    state->blocks = blocks_of(state->lanes, args->io[CLF_QKV_Q].shape[3]);
    for (int pass = 0; pass < passes; pass++) {
        char options[CLF__LANES_OPTIONS], more[96];
        (void)snprintf(more, sizeof more, "-DCLF_WINDOW=%d -DCLF_BACKWARD=%d -DCLF_BLOCKS=%d",
                       window_of(c, side_of(args)), pass, state->blocks);
        clf__lanes_options(state->lanes, args->io[CLF_QKV_Q].dtype, more, options, sizeof options);
        clf_status status = clf_plan_kernel(plan, "attention/pooling.cl", options, "clf_pooling", &state->pass[pass]);
        if (status)
            return status;
    }
    return CLF_SUCCESS;
}

/* Both passes: the matrix of the map is not symmetric, but its transpose has the same windows. */
static clf_status pool(clf_run *run, int pass, const clf_tensor *from, const clf_tensor *to)
{
    pooling_state *state = clf_plan_state(clf_run_plan(run), sizeof *state);
    const int64_t side = side_of(clf_run_args(run)), width = from->shape[3];
    const int64_t stretch = state->lanes == 1 && side > 16 ? 16 : side; /* scalars: more work-items, longer overlaps */
    const cl_int4 shape = { { (cl_int)from->shape[1], (cl_int)side, (cl_int)width, (cl_int)stretch } };
    clf_binder binder = clf_bind(state->pass[pass]);

    clf__lanes_bind(&binder, from);
    clf__lanes_bind(&binder, to);
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(run, &binder, state->lanes, from->shape[0] * from->shape[1] * side *
                                                         ((side + stretch - 1) / stretch) *
                                                         clf__lanes_blocks(state->lanes * state->blocks, width));
}

static clf_status pooling_forward(clf_run *run)
{
    const clf_args *args = clf_run_args(run);
    return pool(run, 0, &args->io[CLF_QKV_Q], &args->io[CLF_QKV_OUT]);
}

static clf_status pooling_backward(clf_run *run)
{
    const clf_args *args = clf_run_args(run);
    return pool(run, 1, &args->grad[CLF_QKV_OUT], &args->grad[CLF_QKV_Q]);
}

/* Each cell: a column and a row of the window, a division and a subtraction. */
static void pooling_work(const void *config, const clf_args *args, int pass, clf_work *work)
{
    const clf_tensor *q = &args->io[CLF_QKV_Q];
    const double cells = (double)clf_tensor_elements(q);

    work->flops = cells * (2.0 * window_of(config, side_of(args)) + 2 + (pass == CLF_BACKWARD));
    work->bytes = 2 * cells * (double)clf_dtype_size(q->dtype);
}

CLF_REGISTER_ATTENTION(pooling) = {
    .summary = "average of the neighbours in a square image, minus the cell itself",
    .paper = "Yu et al. 2021, arXiv:2111.11418",
    .config = CLF_SCHEMA(pooling_config, pooling_fields),
    .programs = { "attention/pooling.cl" },
    .families = clf__lanes_families,
    .io = clf_attention_io_q,
    .traits = CLF_TRAIT_LOW_PRECISION | CLF_TRAIT_SQUARE_SEQUENCE | CLF_TRAIT_XFORMERS_LENIENT,
    .resolve = pooling_resolve,
    .plan = pooling_plan,
    .forward = pooling_forward,
    .backward = pooling_backward,
    .work = pooling_work,
    .answer = { .forward = 0.06938067, .backward = 0.1535838 },
};
