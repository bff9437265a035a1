/* The passes of lambda over one chunk of items. */
#include "attention/lambda_pass.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"

static int64_t items_of(const lambda_chunk *chunk)
{
    return chunk->batches * chunk->heads;
}

static void bind_shape(clf_binder *binder, const lambda_chunk *chunk, int64_t rows, int64_t channels, int64_t more)
{
    const cl_int4 shape = { { (cl_int)rows, (cl_int)channels, (cl_int)chunk->heads, (cl_int)more } };
    clf_bind_value(binder, &shape, sizeof shape);
}

static void bind_dropout(clf_binder *binder, const lambda_chunk *chunk, bool drops)
{
    const cl_int2 first = { { (cl_int)chunk->item, (cl_int)chunk->state->heads } };
    const cl_int flag = drops;

    clf_bind_value(binder, &first, sizeof first);
    clf_bind_value(binder, &flag, sizeof flag);
    clf_bind_value(binder, &chunk->state->keep_scale, sizeof chunk->state->keep_scale);
    clf_bind_value(binder, &chunk->random, sizeof chunk->random);
}

static clf_status launch(lambda_chunk *chunk, clf_binder *binder, int64_t items)
{
    return clf__lanes_launch(chunk->run, binder, chunk->state->lanes, items);
}

static int64_t blocks(const lambda_chunk *chunk, int64_t channels)
{
    return clf__lanes_blocks(chunk->state->lanes, channels);
}

/* ---- kernels ------------------------------------------------------------------------------------ */

/* A work-item for channels of an item, or for a row of it: what the softmax is taken over. */
static int64_t softmax_items(const lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    return items_of(chunk) * (s->xformers ? s->length : blocks(chunk, s->width));
}

static clf_status softmax(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[LAMBDA_SOFTMAX]);

    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_K]);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_WEIGHT);
    bind_shape(&binder, chunk, s->length, s->width, 0);
    return launch(chunk, &binder, softmax_items(chunk));
}

static clf_status softmax_back(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[LAMBDA_SOFTMAX_BACK]);

    clf__lambda_bind_array(&binder, chunk, LAMBDA_WEIGHT);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_DWEIGHT);
    clf__lanes_bind(&binder, &chunk->args.grad[CLF_QKV_K]);
    bind_shape(&binder, chunk, s->length, s->width, 0);
    return launch(chunk, &binder, softmax_items(chunk));
}

static clf_status copy(lambda_chunk *chunk, const clf_tensor *x, int array, int64_t first, int64_t rows, bool drops)
{
    clf_binder binder = clf_bind(chunk->state->kernel[LAMBDA_COPY]);

    clf__lanes_bind(&binder, x);
    clf__lambda_bind_array(&binder, chunk, array);
    bind_shape(&binder, chunk, rows, x->shape[3], first);
    bind_dropout(&binder, chunk, drops);
    return launch(chunk, &binder, items_of(chunk) * rows * blocks(chunk, x->shape[3]));
}

static clf_status store(lambda_chunk *chunk, int kernel, int array, const clf_tensor *y, bool drops)
{
    clf_binder binder = clf_bind(chunk->state->kernel[kernel]);

    if (y->rank == 0)
        return CLF_SUCCESS; /* a gradient that nobody wants */
    clf__lambda_bind_array(&binder, chunk, array);
    clf__lanes_bind(&binder, y);
    bind_shape(&binder, chunk, y->shape[2], y->shape[3], 0);
    bind_dropout(&binder, chunk, drops);
    return launch(chunk, &binder, items_of(chunk) * y->shape[2] * blocks(chunk, y->shape[3]));
}

static clf_status clear_corners(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[LAMBDA_CORNERS]);

    clf__lambda_bind_array(&binder, chunk, LAMBDA_DS);
    bind_shape(&binder, chunk, chunk->rows, s->length + chunk->rows - 1, s->length);
    return launch(chunk, &binder, items_of(chunk) * chunk->rows);
}

static clf_status clear(lambda_chunk *chunk, int array)
{
    clf_binder binder = clf_bind(chunk->state->kernel[LAMBDA_ZERO]);

    clf__lambda_bind_array(&binder, chunk, array);
    return launch(chunk, &binder, chunk->state->size[array]);
}

/* ---- positions, as published ------------------------------------------------------------------------ */

static clf_status forward_block(lambda_chunk *chunk)
{
    clf_status status = clf__lambda_product(chunk, LAMBDA_MAKE_S);
    return status ? status : clf__lambda_product(chunk, LAMBDA_ADD_OUT);
}

static clf_status backward_block(lambda_chunk *chunk)
{
    const clf_tensor *q = &chunk->args.io[CLF_QKV_Q];
    clf_status status;

    if ((status = clf__lambda_product(chunk, LAMBDA_MAKE_S)) ||
        (status = clf__lambda_product(chunk, LAMBDA_ADD_DV)) ||
        (status = clf__lambda_product(chunk, LAMBDA_MAKE_DS)) || (status = clear_corners(chunk)) ||
        (status = clf__lambda_product(chunk, LAMBDA_MAKE_DQ)) ||
        (status = copy(chunk, q, LAMBDA_Q, chunk->first, chunk->rows, false)))
        return status;
    return clf__lambda_product(chunk, LAMBDA_ADD_DTABLE);
}

static clf_status for_blocks(lambda_chunk *chunk, clf_status (*step)(lambda_chunk *chunk))
{
    const lambda_state *s = chunk->state;
    clf_status status = CLF_SUCCESS;

    for (chunk->first = 0; chunk->first < s->length && status == CLF_SUCCESS; chunk->first += s->block) {
        chunk->rows = s->length - chunk->first < s->block ? s->length - chunk->first : s->block;
        status = step(chunk);
    }
    return status;
}

/* ---- positions, as in xFormers ------------------------------------------------------------------------ */

static clf_status own(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[LAMBDA_OWN]);

    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_Q]);
    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_V]);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_R);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_OUT);
    bind_shape(&binder, chunk, s->length, s->width, s->value_width);
    return launch(chunk, &binder, items_of(chunk) * s->length);
}

static clf_status own_back(lambda_chunk *chunk)
{
    static const int arrays[] = { LAMBDA_G, LAMBDA_R, LAMBDA_DQ, LAMBDA_DV, LAMBDA_GAIN };
    const lambda_state *s = chunk->state;
    const cl_int count = (cl_int)items_of(chunk);
    clf_binder binder = clf_bind(s->kernel[LAMBDA_OWN_BACK]);

    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_Q]);
    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_V]);
    for (int i = 0; i < 5; i++)
        clf__lambda_bind_array(&binder, chunk, arrays[i]);
    bind_shape(&binder, chunk, s->length, s->width, s->value_width);
    clf_status status = launch(chunk, &binder, items_of(chunk) * s->length);
    if (status)
        return status;
    binder = clf_bind(s->kernel[LAMBDA_GATHER]);
    clf__lanes_bind(&binder, &chunk->args.io[CLF_QKV_Q]);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_GAIN);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_DR);
    clf_bind_value(&binder, &count, sizeof count);
    bind_shape(&binder, chunk, s->length, s->width, 0);
    return launch(chunk, &binder, s->length * blocks(chunk, s->width));
}

static clf_status windows(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    const cl_long2 at = { { clf__tensor_start(&chunk->table), chunk->table.strides[0] } };
    clf_binder binder = clf_bind(s->kernel[LAMBDA_WINDOWS]);

    clf_bind_mem(&binder, chunk->table.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_R);
    bind_shape(&binder, chunk, s->length, s->width, s->seq_len - 1);
    return launch(chunk, &binder, blocks(chunk, s->width));
}

static clf_status windows_back(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    clf_binder binder = clf_bind(s->kernel[LAMBDA_WINDOWS_BACK]);

    clf__lambda_bind_array(&binder, chunk, LAMBDA_DR);
    clf__lambda_bind_array(&binder, chunk, LAMBDA_DTABLE);
    bind_shape(&binder, chunk, s->length, s->width, s->seq_len - 1);
    return launch(chunk, &binder, blocks(chunk, s->width));
}

/* ---- passes --------------------------------------------------------------------------------------- */

clf_status clf__lambda_begin(lambda_chunk *chunk, bool backward)
{
    const bool xformers = chunk->state->xformers;
    clf_status status = CLF_SUCCESS;

    if (xformers)
        status = windows(chunk);
    if (status == CLF_SUCCESS && backward)
        status = clear(chunk, LAMBDA_DTABLE);
    if (status == CLF_SUCCESS && backward && xformers)
        status = clear(chunk, LAMBDA_DR);
    return status;
}

clf_status clf__lambda_end(lambda_chunk *chunk, const clf_tensor *gradient)
{
    clf_tensor rows = *gradient; /* as the only item */
    clf_status status = chunk->state->xformers ? windows_back(chunk) : CLF_SUCCESS;

    rows.rank = 4;
    rows.shape[2] = gradient->shape[0];
    rows.shape[3] = gradient->shape[1];
    rows.strides[2] = gradient->strides[0];
    rows.shape[0] = rows.shape[1] = rows.strides[3] = 1;
    rows.strides[0] = rows.strides[1] = 0;
    return status ? status : store(chunk, LAMBDA_STORE_TABLE, LAMBDA_DTABLE, &rows, false);
}

clf_status clf__lambda_forward(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    clf_status status;

    if ((status = softmax(chunk)) || (status = clf__lambda_product(chunk, LAMBDA_MAKE_CONTENT)) ||
        (status = clf__lambda_product(chunk, LAMBDA_MAKE_OUT)) ||
        (status = s->xformers ? own(chunk) : for_blocks(chunk, forward_block)))
        return status;
    return store(chunk, LAMBDA_STORE, LAMBDA_OUT, &chunk->args.io[CLF_QKV_OUT], s->drops);
}

clf_status clf__lambda_backward(lambda_chunk *chunk)
{
    const lambda_state *s = chunk->state;
    const clf_tensor *grad = chunk->args.grad;
    clf_status status;

    if (((s->drops || s->xformers) &&
         (status = copy(chunk, &grad[CLF_QKV_OUT], LAMBDA_G, 0, s->length, s->drops))) ||
        (status = softmax(chunk)) || (status = clf__lambda_product(chunk, LAMBDA_MAKE_CONTENT)) ||
        (status = clf__lambda_product(chunk, LAMBDA_MAKE_DCONTENT)) ||
        (status = clf__lambda_product(chunk, LAMBDA_MAKE_DV)))
        return status;
    if (grad[CLF_QKV_K].rank > 0 &&
        ((status = clf__lambda_product(chunk, LAMBDA_MAKE_DWEIGHT)) || (status = softmax_back(chunk))))
        return status;
    if ((!s->xformers && (status = for_blocks(chunk, backward_block))) ||
        (status = clf__lambda_product(chunk, LAMBDA_ADD_DQ)) || (s->xformers && (status = own_back(chunk))) ||
        (status = store(chunk, LAMBDA_STORE, LAMBDA_DQ, &grad[CLF_QKV_Q], false)))
        return status;
    return store(chunk, LAMBDA_STORE, LAMBDA_DV, &grad[CLF_QKV_V], false);
}
