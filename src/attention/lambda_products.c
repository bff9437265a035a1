/* The matrix products of lambda, and its arrays as matrices. */
#include "attention/lambda_pass.h"

static cl_mem place_of(const lambda_chunk *chunk, int array, int64_t *first)
{
    const clf_buffer buffer = chunk->run ? clf_run_workspace(chunk->run) : (clf_buffer){ 0 };

    *first = (int64_t)((buffer.offset + chunk->state->workspace) / sizeof(float)) + chunk->state->start[array];
    return buffer.mem;
}

clf_tensor clf__lambda_array(const lambda_chunk *chunk, int array, int64_t rows, int64_t columns, int64_t step)
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

void clf__lambda_bind_array(clf_binder *binder, const lambda_chunk *chunk, int array)
{
    int64_t first;

    clf_bind_mem(binder, place_of(chunk, array, &first));
    const cl_long at = first;
    clf_bind_value(binder, &at, sizeof at);
}

/* The block's rows of a tensor of queries. */
static clf_tensor block_of(const lambda_chunk *chunk, const clf_tensor *x)
{
    clf_tensor rows = *x;

    rows.offset += (uint64_t)(chunk->first * x->strides[2]) * clf_dtype_size(x->dtype);
    rows.shape[2] = chunk->rows;
    return rows;
}

static int64_t distances(const lambda_chunk *chunk)
{
    return chunk->state->length + chunk->rows - 1;
}

/* S as [rows, distances], and P in it as [rows, positions]. */
static clf_tensor by_distance(const lambda_chunk *chunk, int array)
{
    return clf__lambda_array(chunk, array, chunk->rows, distances(chunk), distances(chunk));
}

static clf_tensor by_position(const lambda_chunk *chunk, int array)
{
    clf_tensor p = by_distance(chunk, array);

    p.offset += (uint64_t)(chunk->rows - 1) * sizeof(float);
    p.shape[3] = chunk->state->length;
    p.strides[2] = chunk->rows > 1 ? distances(chunk) - 1 : distances(chunk);
    return p;
}

/* The rows of the table (or of its gradient) that the block meets. */
static clf_tensor table_of(const lambda_chunk *chunk, bool gradient)
{
    const lambda_state *s = chunk->state;
    clf_tensor table = chunk->table;

    if (gradient) {
        table = clf__lambda_array(chunk, LAMBDA_DTABLE, 2 * (int64_t)s->seq_len - 1, s->width, s->width);
        table.rank = 2;
        table.shape[1] = s->width;
        table.strides[0] = s->width;
        table.strides[1] = 1;
    }
    const int64_t first = s->seq_len - chunk->first - chunk->rows;
    table.offset += (uint64_t)(first * table.strides[0]) * clf_dtype_size(table.dtype);
    table.shape[0] = distances(chunk);
    return table;
}

/* All rows of an array of the whole chunk under each other, as one matrix. */
static clf_tensor stacked(const lambda_chunk *chunk, int array, int64_t columns)
{
    clf_tensor x = clf__lambda_array(chunk, array, chunk->rows, columns, columns);

    x.rank = 2;
    x.shape[0] = chunk->batches * chunk->heads * chunk->rows;
    x.shape[1] = columns;
    x.strides[0] = columns;
    x.strides[1] = 1;
    return x;
}

/* Upstream gradients: as given, or as dropout left them. */
static clf_tensor upstream(const lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    return s->drops || s->xformers ? clf__lambda_array(chunk, LAMBDA_G, s->length, s->value_width, s->value_width)
                                   : chunk->args.grad[CLF_QKV_OUT];
}

static clf__gemm_problem block_problem(const lambda_chunk *chunk, int which)
{
    const lambda_state *s = chunk->state;
    const clf_tensor *io = chunk->args.io, g = upstream(chunk);
    const clf_tensor out = clf__lambda_array(chunk, LAMBDA_OUT, s->length, s->value_width, s->value_width);
    const clf_tensor dq = clf__lambda_array(chunk, LAMBDA_DQ, s->length, s->width, s->width);
    const clf_tensor dv = clf__lambda_array(chunk, LAMBDA_DV, s->length, s->value_width, s->value_width);
    const clf_tensor p = by_position(chunk, LAMBDA_S), table = table_of(chunk, false);
    const clf_tensor ds = stacked(chunk, LAMBDA_DS, distances(chunk));

    switch (which) {
    case LAMBDA_MAKE_S:
        return (clf__gemm_problem){ .a = block_of(chunk, &io[CLF_QKV_Q]), .b = clf__gemm_transposed(&table),
                                    .c = by_distance(chunk, LAMBDA_S), .alpha = 1 };
    case LAMBDA_ADD_OUT:
        return (clf__gemm_problem){ .a = p, .b = io[CLF_QKV_V], .c = block_of(chunk, &out), .alpha = 1, .beta = 1 };
    case LAMBDA_MAKE_DS:
        return (clf__gemm_problem){ .a = block_of(chunk, &g), .b = clf__gemm_transposed(&io[CLF_QKV_V]),
                                    .c = by_position(chunk, LAMBDA_DS), .alpha = 1 };
    case LAMBDA_MAKE_DQ:
        return (clf__gemm_problem){ .a = by_distance(chunk, LAMBDA_DS), .b = table, .c = block_of(chunk, &dq), .alpha = 1 };
    case LAMBDA_ADD_DTABLE:
        return (clf__gemm_problem){ .a = clf__gemm_transposed(&ds), .b = stacked(chunk, LAMBDA_Q, s->width),
                                    .c = table_of(chunk, true), .alpha = 1, .beta = 1 };
    default:
        return (clf__gemm_problem){ .a = clf__gemm_transposed(&p), .b = block_of(chunk, &g), .c = dv, .alpha = 1,
                                    .beta = 1 };
    }
}

clf__gemm_problem clf__lambda_problem(const lambda_chunk *chunk, int which)
{
    const lambda_state *s = chunk->state;
    const clf_tensor *io = chunk->args.io;
    const clf_tensor weight = clf__lambda_array(chunk, LAMBDA_WEIGHT, s->length, s->width, s->width);
    const clf_tensor content = clf__lambda_array(chunk, LAMBDA_CONTENT, s->width, s->value_width, s->value_width);
    const clf_tensor dcontent = clf__lambda_array(chunk, LAMBDA_DCONTENT, s->width, s->value_width, s->value_width);

    switch (which) {
    case LAMBDA_MAKE_CONTENT:
        return (clf__gemm_problem){ .a = clf__gemm_transposed(&weight), .b = io[CLF_QKV_V], .c = content, .alpha = 1 };
    case LAMBDA_MAKE_OUT:
        return (clf__gemm_problem){ .a = io[CLF_QKV_Q], .b = content, .alpha = 1,
                                    .c = clf__lambda_array(chunk, LAMBDA_OUT, s->length, s->value_width, s->value_width) };
    case LAMBDA_MAKE_DCONTENT:
        return (clf__gemm_problem){ .a = clf__gemm_transposed(&io[CLF_QKV_Q]), .b = upstream(chunk), .c = dcontent,
                                    .alpha = 1 };
    case LAMBDA_ADD_DQ: /* on what the positions gave; xFormers adds theirs later */
        return (clf__gemm_problem){ .a = upstream(chunk), .b = clf__gemm_transposed(&content), .alpha = 1,
                                    .beta = s->xformers ? 0 : 1,
                                    .c = clf__lambda_array(chunk, LAMBDA_DQ, s->length, s->width, s->width) };
    case LAMBDA_MAKE_DV:
        return (clf__gemm_problem){ .a = weight, .b = dcontent, .alpha = 1,
                                    .c = clf__lambda_array(chunk, LAMBDA_DV, s->length, s->value_width, s->value_width) };
    case LAMBDA_MAKE_DWEIGHT:
        return (clf__gemm_problem){ .a = io[CLF_QKV_V], .b = clf__gemm_transposed(&dcontent), .alpha = 1,
                                    .c = clf__lambda_array(chunk, LAMBDA_DWEIGHT, s->length, s->width, s->width) };
    default:
        return block_problem(chunk, which);
    }
}

clf_status clf__lambda_product(lambda_chunk *chunk, int which)
{
    const clf__gemm_problem problem = clf__lambda_problem(chunk, which);

    return clf__gemm(chunk->run, &chunk->state->product[which], &problem);
}
