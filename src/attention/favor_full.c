/* favor over all keys: products, and what is between them (cl/attention/favor.cl). */
#include "attention/favor_pass.h"

static clf_status make_keys(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const int wide = s->lanes == 1 ? 1 : 2 * s->lanes; /* columns of u, as in cl/attention/favor.cl */
    clf_binder binder = clf_bind(s->kernel[FAVOR_KEYS]);

    clf__favor_bind_array(&binder, chunk, FAVOR_U);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_array(&binder, chunk, FAVOR_TOP);
    clf__favor_bind_array(&binder, chunk, FAVOR_SUM);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, 0);
    return clf__favor_each(chunk, &binder, (s->drawn_padded + wide - 1) / wide);
}

static clf_status make_queries(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_QUERIES]);

    clf__favor_bind_array(&binder, chunk, FAVOR_U);
    clf__favor_bind_array(&binder, chunk, FAVOR_TOP);
    clf__favor_bind_array(&binder, chunk, FAVOR_SUM);
    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_shape(&binder, chunk, s->queries, s->width, 0);
    clf__favor_bind_float(&binder, s->drops ? s->keep_scale : 1);
    return clf__favor_rows(chunk, &binder, s->queries);
}

/* Gradients of the sums of key features. */
static clf_status make_dsum(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_COLUMNS]);

    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_array(&binder, chunk, FAVOR_RHO);
    clf__favor_bind_array(&binder, chunk, FAVOR_DSUM);
    clf__favor_bind_shape(&binder, chunk, s->queries, s->width, 0);
    return clf__favor_columns(chunk, &binder);
}

clf_status clf__favor_full_forward(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    clf_status status;

    if ((status = clf__favor_norms(chunk)) ||
        (s->padded && (status = clf__favor_copy(chunk, &chunk->args.io[CLF_QKV_V], FAVOR_V, s->keys))) ||
        (status = clf__favor_product(chunk, FAVOR_FEATURES_K)) || (status = make_keys(chunk)) ||
        (status = clf__favor_product(chunk, FAVOR_MAKE_STATE)) ||
        (status = clf__favor_product(chunk, FAVOR_FEATURES_Q)) || (status = make_queries(chunk)) ||
        (status = clf__favor_product(chunk, FAVOR_OUT)))
        return status;
    return s->drops ? clf__favor_drop(chunk, &chunk->args.io[CLF_QKV_OUT], s->queries, true) : CLF_SUCCESS;
}

/* Queries: their gradients, and what the state and the sums get from them. */
static clf_status backward_queries(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *grad = chunk->args.grad;
    clf_status status;

    if ((s->drops && (status = clf__favor_copy(chunk, &grad[CLF_QKV_OUT], FAVOR_G, s->queries))) ||
        (status = clf__favor_rho(chunk, s->queries)) || (status = clf__favor_product(chunk, FAVOR_FEATURES_Q)) ||
        (status = make_queries(chunk)) || (status = make_dsum(chunk)) ||
        (status = clf__favor_product(chunk, FAVOR_MAKE_DSTATE)) || grad[CLF_QKV_Q].rank == 0)
        return status;
    if ((status = clf__favor_product(chunk, FAVOR_DPHI_Q)) ||
        (status = clf__favor_fold(chunk, s->queries, true, FAVOR_SUM, FAVOR_U)))
        return status;
    return clf__favor_product(chunk, FAVOR_DQ);
}

clf_status clf__favor_full_backward(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *grad = chunk->args.grad;
    clf_status status = backward_queries(chunk);

    if (status || (grad[CLF_QKV_K].rank == 0 && grad[CLF_QKV_V].rank == 0))
        return status;
    if ((status = clf__favor_norms(chunk)) ||
        (s->padded && (status = clf__favor_copy(chunk, &chunk->args.io[CLF_QKV_V], FAVOR_V, s->keys))) ||
        (status = clf__favor_product(chunk, FAVOR_FEATURES_K)) || (status = make_keys(chunk)) ||
        (grad[CLF_QKV_V].rank > 0 && (status = clf__favor_product(chunk, FAVOR_DV))) || grad[CLF_QKV_K].rank == 0)
        return status;
    if ((status = clf__favor_product(chunk, FAVOR_DPHI_K)) ||
        (status = clf__favor_fold(chunk, s->keys, false, FAVOR_DSUM, FAVOR_U)) ||
        (status = clf__favor_product(chunk, FAVOR_DK)))
        return status;
    return clf__favor_finish(chunk);
}
