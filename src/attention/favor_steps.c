/* Products and kernels of favor that both orders use. */
#include "attention/favor_pass.h"
#include "ops/lanes.h"

int64_t clf__favor_items(const favor_chunk *chunk)
{
    return chunk->batches * chunk->heads;
}

/* Buffer and first float of an array for the chunk's first item. */
static cl_mem place_of(const favor_chunk *chunk, int array, int64_t *first)
{
    const favor_state *s = chunk->state;
    const bool kept = array >= FAVOR_TOP, parts = !kept && array >= FAVOR_TOPS, saved = kept && s->kept_is_saved;
    const uint64_t start = kept ? s->kept : parts ? s->parts : s->workspace;
    clf_buffer buffer = { 0 };

    if (chunk->run)
        buffer = saved ? clf_run_saved(chunk->run) : clf_run_workspace(chunk->run);
    *first = (int64_t)((buffer.offset + start) / sizeof(float)) + s->start[array] +
             (kept || parts ? chunk->first * s->size[array] : 0);
    return buffer.mem;
}

clf_tensor clf__favor_array(const favor_chunk *chunk, int array, int64_t rows, int64_t columns, int64_t step)
{
    const int64_t shape[] = { chunk->batches, chunk->heads, rows, columns };
    int64_t first;
    clf_tensor tensor = clf_tensor_view(place_of(chunk, array, &first), CLF_F32, 4, shape);

    tensor.offset = chunk->run ? (uint64_t)first * sizeof(float) : 0;
    tensor.strides[0] = chunk->heads * rows * step;
    tensor.strides[1] = rows * step;
    tensor.strides[2] = step;
    return tensor;
}

void clf__favor_bind_array(clf_binder *binder, const favor_chunk *chunk, int array)
{
    int64_t first;

    clf_bind_mem(binder, place_of(chunk, array, &first));
    const cl_long at = first;
    clf_bind_value(binder, &at, sizeof at);
}

void clf__favor_bind_shape(clf_binder *binder, const favor_chunk *chunk, int64_t rows, int64_t channels, int64_t place)
{
    const favor_state *s = chunk->state;
    const cl_int8 shape = { { (cl_int)rows, s->drawn, s->drawn_padded, s->signs, (cl_int)chunk->heads, (cl_int)channels,
                              (cl_int)place, 0 } };

    clf_bind_value(binder, &shape, sizeof shape);
}

void clf__favor_bind_int(clf_binder *binder, int value)
{
    const cl_int number = value;
    clf_bind_value(binder, &number, sizeof number);
}

void clf__favor_bind_float(clf_binder *binder, float value)
{
    clf_bind_value(binder, &value, sizeof value);
}

/* Number of the first item and heads of the tensor: dropout counts by them. */
static void bind_first(clf_binder *binder, const favor_chunk *chunk)
{
    const cl_int2 first = { { (cl_int)chunk->first, (cl_int)chunk->state->heads } };
    clf_bind_value(binder, &first, sizeof first);
}

static void bind_random(clf_binder *binder, const favor_chunk *chunk)
{
    clf_bind_value(binder, &chunk->random, sizeof chunk->random);
}

clf_status clf__favor_rows(favor_chunk *chunk, clf_binder *binder, int64_t rows)
{
    const int lanes = chunk->state->lanes;
    return clf__lanes_launch(chunk->run, binder, lanes, clf__favor_items(chunk) * rows * (lanes == 1 ? 64 : 1));
}

clf_status clf__favor_columns(favor_chunk *chunk, clf_binder *binder)
{
    return clf__favor_each(chunk, binder, chunk->state->features / chunk->state->lanes);
}

clf_status clf__favor_each(favor_chunk *chunk, clf_binder *binder, int64_t count)
{
    return clf__lanes_launch(chunk->run, binder, chunk->state->lanes, clf__favor_items(chunk) * count);
}

/* ---- products --------------------------------------------------------------------------------- */

/* The rows of queries (of their gradients) that stand at a place. */
static clf_tensor placed(const favor_chunk *chunk, const clf_tensor *q)
{
    const int64_t first = chunk->state->shift < 0 ? -chunk->state->shift : 0;
    clf_tensor rows = *q;

    rows.offset += (uint64_t)(first * q->strides[2]) * clf_dtype_size(q->dtype);
    rows.shape[2] -= first;
    return rows;
}

/* u of queries, by place in causal order. */
static clf_tensor u_of_queries(const favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const int64_t first = s->shift > 0 ? s->shift : 0; /* all of them in any order but the causal */
    clf_tensor u = clf__favor_array(chunk, s->causal ? FAVOR_UQ : FAVOR_U, s->causal ? s->keys : s->queries, s->drawn,
                                    s->drawn_padded);

    u.offset += (uint64_t)(first * s->drawn_padded) * sizeof(float);
    u.shape[2] -= first;
    return u;
}

/* A user's tensor, or its copy without what must not be read. */
static clf_tensor values_of(const favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    return s->padded ? clf__favor_array(chunk, FAVOR_V, s->keys, s->value_width, s->value_padded)
                     : chunk->args.io[CLF_QKV_V];
}

static clf_tensor upstream_of(const favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    return s->drops ? clf__favor_array(chunk, FAVOR_G, s->queries, s->value_width, s->value_padded)
                    : chunk->args.grad[CLF_QKV_OUT];
}

static clf__gemm_problem product_of(const favor_chunk *chunk, int which)
{
    const favor_state *s = chunk->state;
    const bool queries = which == FAVOR_OUT || which == FAVOR_DPHI_Q || which == FAVOR_MAKE_DSTATE;
    const int64_t rows = queries ? s->queries : s->keys;
    const clf_tensor *io = chunk->args.io, *grad = chunk->args.grad;
    const clf_tensor turned = clf__gemm_transposed(&chunk->drawn);
    const clf_tensor phi = clf__favor_array(chunk, FAVOR_PHI, rows, s->features, s->features);
    const clf_tensor d = clf__favor_array(chunk, FAVOR_D, rows, s->features, s->features);
    const clf_tensor u = clf__favor_array(chunk, FAVOR_U, s->keys, s->drawn, s->drawn_padded);
    const clf_tensor du = clf__favor_array(chunk, s->causal ? FAVOR_COLUMN : FAVOR_U, s->keys, s->drawn, s->drawn_padded);
    const clf_tensor state = clf__favor_array(chunk, FAVOR_STATE, s->features, s->value_width, s->value_width);
    const clf_tensor dstate = clf__favor_array(chunk, FAVOR_DSTATE, s->features, s->value_width, s->value_width);
    const clf_tensor phi_turned = clf__gemm_transposed(&phi), state_turned = clf__gemm_transposed(&state);
    const clf_tensor dstate_turned = clf__gemm_transposed(&dstate);

    switch (which) {
    case FAVOR_FEATURES_K:
        return (clf__gemm_problem){ .a = io[CLF_QKV_K], .b = chunk->drawn, .c = u, .alpha = s->scale };
    case FAVOR_FEATURES_Q:
        return (clf__gemm_problem){ .a = placed(chunk, &io[CLF_QKV_Q]), .b = chunk->drawn, .c = u_of_queries(chunk),
                                    .alpha = s->scale };
    case FAVOR_MAKE_STATE:
        return (clf__gemm_problem){ .a = phi_turned, .b = values_of(chunk), .c = state, .alpha = 1 };
    case FAVOR_OUT:
        return (clf__gemm_problem){ .a = phi, .b = state, .c = io[CLF_QKV_OUT], .alpha = 1 };
    case FAVOR_DPHI_Q:
        return (clf__gemm_problem){ .a = upstream_of(chunk), .b = state_turned, .c = d, .alpha = 1 };
    case FAVOR_DQ:
        return (clf__gemm_problem){ .a = u_of_queries(chunk), .b = turned, .c = placed(chunk, &grad[CLF_QKV_Q]),
                                    .alpha = s->scale };
    case FAVOR_MAKE_DSTATE:
        return (clf__gemm_problem){ .a = phi_turned, .b = upstream_of(chunk), .c = dstate, .alpha = 1 };
    case FAVOR_DPHI_K:
        return (clf__gemm_problem){ .a = values_of(chunk), .b = dstate_turned, .c = d, .alpha = 1 };
    case FAVOR_DK:
        return (clf__gemm_problem){ .a = du, .b = turned, .alpha = s->scale,
                                    .c = clf__favor_array(chunk, FAVOR_THROUGH, s->keys, s->width, s->width) };
    default:
        return (clf__gemm_problem){ .a = phi, .b = dstate, .c = grad[CLF_QKV_V], .alpha = 1 };
    }
}

clf_status clf__favor_plan_product(clf_plan *plan, const favor_chunk *chunk, int which, clf__gemm_choice *choice)
{
    const clf__gemm_problem problem = product_of(chunk, which);

    return problem.c.rank == 0 ? CLF_SUCCESS /* a gradient that nobody wants */ : clf__gemm_plan(plan, &problem, choice);
}

clf_status clf__favor_product(favor_chunk *chunk, int which)
{
    const clf__gemm_problem problem = product_of(chunk, which);

    return clf__gemm(chunk->run, &chunk->state->product[which], &problem);
}

/* ---- kernels ------------------------------------------------------------------------------------ */

clf_status clf__favor_norms(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *mask = &chunk->args.io[CLF_QKV_KEY_PADDING_MASK];
    const cl_long4 mask_at = { { (cl_long)mask->offset, mask->strides[0], mask->strides[1] } };
    clf_binder binder = clf_bind(s->kernel[FAVOR_NORMS]);

    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_K]);
    clf_bind_mem(&binder, s->padded ? mask->mem : NULL);
    clf_bind_value(&binder, &mask_at, sizeof mask_at);
    clf__favor_bind_int(&binder, s->padded);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, 0);
    clf__favor_bind_float(&binder, s->scale * s->scale);
    return clf__favor_each(chunk, &binder, s->keys);
}

clf_status clf__favor_copy(favor_chunk *chunk, const clf_tensor *x, int array, int64_t rows)
{
    const favor_state *s = chunk->state;
    const bool upstream = array == FAVOR_G;
    clf_binder binder = clf_bind(s->kernel[FAVOR_COPY]);

    clf__lanes_bind(&binder, x);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    clf__favor_bind_int(&binder, !upstream);
    clf__favor_bind_array(&binder, chunk, array);
    clf__favor_bind_int(&binder, s->value_padded);
    clf__favor_bind_shape(&binder, chunk, rows, s->value_width, upstream ? s->shift : 0);
    bind_first(&binder, chunk);
    clf__favor_bind_int(&binder, upstream && s->drops);
    clf__favor_bind_float(&binder, upstream && s->causal && s->drops ? s->keep_scale : 1);
    bind_random(&binder, chunk);
    return clf__favor_each(chunk, &binder, rows * (s->value_padded / s->lanes));
}

clf_status clf__favor_drop(favor_chunk *chunk, const clf_tensor *y, int64_t rows, bool drops)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_DROP]);

    clf__lanes_bind(&binder, y);
    clf__favor_bind_shape(&binder, chunk, rows, y->shape[3], 0);
    bind_first(&binder, chunk);
    clf__favor_bind_int(&binder, drops);
    bind_random(&binder, chunk);
    return clf__favor_each(chunk, &binder, rows * clf__lanes_blocks(s->lanes, y->shape[3]));
}

clf_status clf__favor_rho(favor_chunk *chunk, int64_t rows)
{
    const favor_state *s = chunk->state;
    const float unscaled = !s->drops || s->causal ? 1 : s->keep_scale > 0 ? 1 / s->keep_scale : 0;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MAKE_RHO]);

    clf__lanes_bind(&binder, &chunk->args.grad[CLF_QKV_OUT]);
    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_OUT]);
    clf__favor_bind_array(&binder, chunk, FAVOR_RHO);
    clf__favor_bind_shape(&binder, chunk, rows, s->value_width, s->shift);
    clf__favor_bind_float(&binder, unscaled);
    return clf__favor_each(chunk, &binder, rows);
}

clf_status clf__favor_fold(favor_chunk *chunk, int64_t rows, bool rho, int column, int u)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_FOLD]);

    clf__favor_bind_array(&binder, chunk, FAVOR_D);
    clf__favor_bind_array(&binder, chunk, FAVOR_PHI);
    clf__favor_bind_int(&binder, !s->causal);
    clf__favor_bind_array(&binder, chunk, FAVOR_RHO);
    clf__favor_bind_int(&binder, rho);
    clf__favor_bind_array(&binder, chunk, column);
    clf__favor_bind_array(&binder, chunk, u);
    clf__favor_bind_array(&binder, chunk, FAVOR_SIGMA);
    clf__favor_bind_shape(&binder, chunk, rows, s->width, 0);
    return clf__favor_rows(chunk, &binder, rows);
}

clf_status clf__favor_finish(favor_chunk *chunk)
{
    const favor_state *s = chunk->state;
    const clf_tensor *k = &chunk->args.io[CLF_QKV_K], *to = &chunk->args.grad[CLF_QKV_K];
    clf_binder binder = clf_bind(s->kernel[FAVOR_FINISH]);

    clf__favor_bind_array(&binder, chunk, FAVOR_THROUGH);
    clf__favor_bind_array(&binder, chunk, FAVOR_SIGMA);
    clf__favor_bind_array(&binder, chunk, FAVOR_NORM);
    clf__lanes_bind(&binder, k);
    clf__lanes_bind(&binder, to);
    clf__favor_bind_shape(&binder, chunk, s->keys, s->width, 0);
    clf__favor_bind_float(&binder, s->scale * s->scale);
    return clf__favor_each(chunk, &binder, s->keys * clf__lanes_blocks(s->lanes, s->width));
}

static clf_status mean(favor_chunk *chunk, const clf_tensor *from, const clf_tensor *to, bool transpose)
{
    const favor_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[FAVOR_MEAN]);

    clf__lanes_bind(&binder, from);
    clf__lanes_bind(&binder, to);
    clf__favor_bind_shape(&binder, chunk, s->queries, s->value_width, 0);
    bind_first(&binder, chunk);
    clf__favor_bind_int(&binder, transpose);
    clf__favor_bind_int(&binder, s->drops);
    clf__favor_bind_float(&binder, s->keep_scale);
    bind_random(&binder, chunk);
    return clf__favor_each(chunk, &binder, s->queries);
}

clf_status clf__favor_mean_forward(favor_chunk *chunk)
{
    return mean(chunk, &chunk->args.io[CLF_QKV_V], &chunk->args.io[CLF_QKV_OUT], false);
}

/* Queries and keys take no part. */
clf_status clf__favor_mean_backward(favor_chunk *chunk)
{
    const clf_tensor *grad = chunk->args.grad;
    clf_status status = CLF_SUCCESS;

    for (int i = CLF_QKV_Q; i <= CLF_QKV_K && status == CLF_SUCCESS; i++)
        if (grad[i].rank > 0)
            status = clf__favor_drop(chunk, &grad[i], grad[i].shape[2], false);
    if (status || grad[CLF_QKV_V].rank == 0)
        return status;
    return mean(chunk, &grad[CLF_QKV_OUT], &grad[CLF_QKV_V], true);
}
