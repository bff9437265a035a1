/* favor in causal order: sums over the keys before each query, in chunks (cl/attention/favor_causal.cl). */
#include "attention/favor_pass.h"
#include "ops/lanes.h"

/* How many segments, and chunks of each. */
static void bind_segments(clf_binder *binder, const favor_chunk *chunk)
{
    const cl_int2 segments = { { (cl_int)chunk->state->segments, (cl_int)chunk->state->segment_chunks } };
    clf_bind_value(binder, &segments, sizeof segments);
}

static void bind_ends(clf_binder *binder, const favor_chunk *chunk)
{
    clf__favor_bind_array(binder, chunk, FAVOR_TOPS);
    clf__favor_bind_array(binder, chunk, FAVOR_SUMS);
}

/* A work-item for each block of features of each segment. */
static clf_status launch_columns(favor_chunk *chunk, clf_binder *binder)
{
    const favor_state *s = chunk->state;
    return clf__favor_each(chunk, binder, s->segments * (s->features / s->lanes));
}

static clf_status make_prefix(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_PREFIX]);

    clf__favor_bind_array(&binder, chunk, FAVOR_U);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    bind_ends(&binder, chunk);
    clf__favor_bind_array(&binder, chunk, FAVOR_PREFIX);
    clf__favor_bind_array(&binder, chunk, FAVOR_BEFORE);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, 0);
    bind_segments(&binder, chunk);
    return launch_columns(chunk, &binder);
}

static clf_status make_weights(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_WEIGHTS]);

    clf__favor_bind_array(&binder, chunk, FAVOR_UQ);
    clf__favor_bind_array(&binder, chunk, FAVOR_U);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    clf__favor_bind_array(&binder, chunk, FAVOR_PREFIX);
    clf__favor_bind_array(&binder, chunk, FAVOR_BEFORE);
    clf__favor_bind_array(&binder, chunk, FAVOR_LARGEST);
    clf__favor_bind_array(&binder, chunk, FAVOR_SHARE);
    clf__favor_bind_array(&binder, chunk, FAVOR_WEIGHTS);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, s->shift);
    return clf__favor_rows(chunk, &binder, s->keys);
}

/* The logits' arrays, as factors and gradients take them. */
static void bind_logits(clf_binder *binder, const favor_chunk *chunk)
{
    clf__favor_bind_array(binder, chunk, FAVOR_UQ);
    clf__favor_bind_array(binder, chunk, FAVOR_LARGEST);
    clf__favor_bind_array(binder, chunk, FAVOR_SHARE);
    clf__favor_bind_array(binder, chunk, FAVOR_U);
    clf__favor_bind_array(binder, chunk, FAVOR_NORM);
}

/* What segments end with, each alone; with one there is nothing to know. */
static clf_status make_ends(favor_chunk *chunk, bool reverse)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_ENDS]);

    if (s->segments == 1)
        return CLF_SUCCESS;
    bind_logits(&binder, chunk);
    clf__favor_bind_array(&binder, chunk, FAVOR_RHO);
    bind_ends(&binder, chunk);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, s->shift);
    clf__favor_bind_int(&binder, reverse);
    bind_segments(&binder, chunk);
    return launch_columns(chunk, &binder);
}

/* States of segments alone into those where they begin; features lie along the columns of a state, or its rows. */
static clf_status join(favor_chunk *chunk, bool across)
{
    const favor_state *s = chunk->state;
    const int rows = across ? s->value_width : s->features, step = across ? s->features : s->value_padded;
    const int blocks = (int)clf__lanes_blocks(s->lanes, across ? s->features : s->value_width);
    const cl_long size = (cl_long)s->features * s->value_padded;
    clf_binder binder = clf_bind(s->kernel[FAVOR_JOIN]);

    clf__favor_bind_array(&binder, chunk, FAVOR_SCAN);
    clf_bind_value(&binder, &size, sizeof size);
    clf__favor_bind_array(&binder, chunk, FAVOR_TOPS);
    clf__favor_bind_int(&binder, rows);
    clf__favor_bind_int(&binder, blocks);
    clf__favor_bind_int(&binder, step);
    clf__favor_bind_int(&binder, across);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->value_width, s->shift);
    bind_segments(&binder, chunk);
    return clf__favor_each(chunk, &binder, (int64_t)rows * blocks);
}

static clf_status make_factors(favor_chunk *chunk, bool reverse)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_FACTORS]);

    bind_logits(&binder, chunk);
    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_array(&binder, chunk, FAVOR_COLUMN);
    clf__favor_bind_array(&binder, chunk, FAVOR_SHRINK);
    bind_ends(&binder, chunk);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, s->shift);
    clf__favor_bind_int(&binder, reverse);
    bind_segments(&binder, chunk);
    return launch_columns(chunk, &binder);
}

/* A pass of `scan`; alone: states of segments. */
static clf_status run_scan(favor_chunk *chunk, bool reverse, int values, const clf_tensor *to, float scale, bool alone)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_SCAN]);

    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_array(&binder, chunk, FAVOR_COLUMN);
    clf__favor_bind_array(&binder, chunk, FAVOR_SHRINK);
    clf__favor_bind_array(&binder, chunk, FAVOR_WEIGHTS);
    clf__favor_bind_array(&binder, chunk, values);
    clf__favor_bind_array(&binder, chunk, FAVOR_SCAN);
    clf__favor_bind_int(&binder, s->value_padded);
    clf__lanes_bind(&binder, to);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->value_width, s->shift);
    clf__favor_bind_int(&binder, reverse);
    clf__favor_bind_int(&binder, reverse ? 0 : (int)s->shift);
    clf__favor_bind_float(&binder, scale);
    clf__favor_bind_int(&binder, alone);
    bind_segments(&binder, chunk);
    return clf__favor_each(chunk, &binder, s->segments * (s->value_padded / s->lanes));
}

/* Results: of queries from values, or gradients of values from those of the results. */
static clf_status scan(favor_chunk *chunk, bool reverse, int values, const clf_tensor *to, float scale)
{
    clf_status status = make_factors(chunk, reverse);

    if (status == CLF_SUCCESS && chunk->state->segments > 1 &&
        (status = run_scan(chunk, reverse, values, to, scale, true)) == CLF_SUCCESS)
        status = join(chunk, false);
    return status ? status : run_scan(chunk, reverse, values, to, scale, false);
}

static clf_status make_pairs(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_PAIRS]);

    clf__favor_bind_array(&binder, chunk, FAVOR_G);
    clf__favor_bind_array(&binder, chunk, FAVOR_V);
    clf__favor_bind_array(&binder, chunk, FAVOR_RHO);
    clf__favor_bind_array(&binder, chunk, FAVOR_PAIRS);
    clf__favor_bind_int(&binder, s->value_padded);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->value_width, s->shift);
    return clf__favor_each(chunk, &binder, s->keys);
}

static clf_status run_gradient(favor_chunk *chunk, bool reverse, bool alone)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_GRADIENT]);

    bind_logits(&binder, chunk);
    clf__favor_bind_array(&binder, chunk, FAVOR_G);
    clf__favor_bind_array(&binder, chunk, FAVOR_V);
    clf__favor_bind_array(&binder, chunk, FAVOR_RHO);
    clf__favor_bind_array(&binder, chunk, FAVOR_PAIRS);
    clf__favor_bind_array(&binder, chunk, FAVOR_SCAN);
    clf__favor_bind_int(&binder, s->value_padded);
    clf__favor_bind_array(&binder, chunk, FAVOR_D);
    bind_ends(&binder, chunk);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->value_width, s->shift);
    clf__favor_bind_int(&binder, reverse);
    clf__favor_bind_int(&binder, alone);
    bind_segments(&binder, chunk);
    return launch_columns(chunk, &binder);
}

/* Gradients of logits: of queries, or (`reverse`) of keys. */
static clf_status make_gradient(favor_chunk *chunk, bool reverse)
{
    clf_status status = CLF_SUCCESS;

    if (chunk->state->segments > 1 && (status = run_gradient(chunk, reverse, true)) == CLF_SUCCESS)
        status = join(chunk, true);
    return status ? status : run_gradient(chunk, reverse, false);
}

/* Queries before the first key see nothing. */
static clf_status clear_first(favor_chunk *chunk, const clf_tensor *y)
{
    const int64_t shift = chunk->state->shift;
    return shift < 0 && y->rank > 0 ? clf__favor_drop(chunk, y, -shift, false) : CLF_SUCCESS;
}

static clf_status make_logits(favor_chunk *chunk)
{
    clf_status status = clf__favor_norms(chunk);

    if (status || (status = clf__favor_product(chunk, FAVOR_FEATURES_K)))
        return status;
    return clf__favor_product(chunk, FAVOR_FEATURES_Q);
}

clf_status clf__favor_causal_forward(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *out = &chunk->args.io[CLF_QKV_OUT];
    clf_status status;

    if ((status = clear_first(chunk, out)) || (status = make_logits(chunk)) || (status = make_ends(chunk, false)) ||
        (status = make_prefix(chunk)) || (status = make_weights(chunk)) ||
        (status = clf__favor_copy(chunk, &chunk->args.io[CLF_QKV_V], FAVOR_V, s->keys)) ||
        (status = scan(chunk, false, FAVOR_V, out, s->drops ? s->keep_scale : 1)))
        return status;
    return s->drops ? clf__favor_drop(chunk, out, s->queries, true) : CLF_SUCCESS;
}

clf_status clf__favor_causal_backward(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *grad = chunk->args.grad;
    clf_status status;

    if ((status = clear_first(chunk, &grad[CLF_QKV_Q])) || (status = make_logits(chunk)) ||
        (status = clf__favor_copy(chunk, &chunk->args.io[CLF_QKV_V], FAVOR_V, s->keys)) ||
        (status = clf__favor_copy(chunk, &grad[CLF_QKV_OUT], FAVOR_G, s->keys)) ||
        (status = clf__favor_rho(chunk, s->keys)) || (status = make_pairs(chunk)) ||
        (status = make_ends(chunk, true)) ||
        (grad[CLF_QKV_V].rank > 0 && (status = scan(chunk, true, FAVOR_G, &grad[CLF_QKV_V], 1))))
        return status;
    if (grad[CLF_QKV_K].rank > 0) {
        if ((status = make_gradient(chunk, true)) ||
            (status = clf__favor_fold(chunk, s->keys, false, FAVOR_SHRINK, FAVOR_COLUMN)) ||
            (status = clf__favor_product(chunk, FAVOR_DK)) || (status = clf__favor_finish(chunk)))
            return status;
    }
    if (grad[CLF_QKV_Q].rank == 0)
        return CLF_SUCCESS;
    if ((status = make_ends(chunk, false)) || (status = make_gradient(chunk, false)) ||
        (status = clf__favor_fold(chunk, s->keys, false, FAVOR_SHRINK, FAVOR_UQ)))
        return status;
    return clf__favor_product(chunk, FAVOR_DQ);
}
