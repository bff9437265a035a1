/* favor in causal order: sums over the keys before each query, in chunks (cl/attention/favor_causal.cl). */
#include "attention/favor_pass.h"
#include "ops/lanes.h"

static clf_status make_prefix(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_PREFIX]);

    clf__favor_bind_array(&binder, chunk, FAVOR_U);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    clf__favor_bind_array(&binder, chunk, FAVOR_PREFIX);
    clf__favor_bind_array(&binder, chunk, FAVOR_BEFORE);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, 0);
    return clf__favor_columns(chunk, &binder);
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

static clf_status make_factors(favor_chunk *chunk, bool reverse)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_FACTORS]);

    bind_logits(&binder, chunk);
    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_array(&binder, chunk, FAVOR_COLUMN);
    clf__favor_bind_array(&binder, chunk, FAVOR_SHRINK);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, s->shift);
    clf__favor_bind_int(&binder, reverse);
    return clf__favor_columns(chunk, &binder);
}

/* Results: of queries from values, or gradients of values from those of the results. */
static clf_status scan(favor_chunk *chunk, bool reverse, int values, const clf_tensor *to, float scale)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_SCAN]);
    clf_status status = make_factors(chunk, reverse);

    if (status)
        return status;
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
    return clf__favor_each(chunk, &binder, s->value_padded / s->lanes);
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

static clf_status make_gradient(favor_chunk *chunk, bool reverse)
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
    clf__favor_bind_shape(&binder, chunk, s->keys, s->value_width, s->shift);
    clf__favor_bind_int(&binder, reverse);
    return clf__favor_columns(chunk, &binder);
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

    if ((status = clear_first(chunk, out)) || (status = make_logits(chunk)) || (status = make_prefix(chunk)) ||
        (status = make_weights(chunk)) ||
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
    if ((status = make_gradient(chunk, false)) ||
        (status = clf__favor_fold(chunk, s->keys, false, FAVOR_SHRINK, FAVOR_UQ)))
        return status;
    return clf__favor_product(chunk, FAVOR_DQ);
}
