/* Single steps of visual attention, and both passes. */
#include "attention/visual_steps.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"

enum { CELLS = 4 }; /* as in cl/attention/visual.cl */

static clf_status multiply(const visual_context *c, visual_product which)
{
    const clf__gemm_problem problem = clf__visual_product(c, which);
    return clf__gemm(c->run, &c->state->products[which], &problem);
}

static clf_status add_rows(const visual_context *c, int place)
{
    const clf_tensor matrix = clf__visual_summed(c, place), to = clf__visual_parameter(c, place + 1, true);
    return clf__column_sums_run(c->run, &c->state->sums[place / 2], &matrix, &to, false);
}

static clf_status copy(const visual_context *c, const clf_tensor *from, const clf_tensor *to)
{
    const clf__copy_problem problem = { .from = *from, .to = *to };
    return clf__copy_run(c->run, &c->state->copy, &problem);
}

/* The rows of a buffer under the axes of a tensor of the caller. */
static clf_tensor regrouped(const visual_context *c, visual_buffer which, const clf_tensor *like)
{
    const clf_tensor matrix = clf__visual_buffer(c, which);
    return clf__rows_at((clf_buffer){ .mem = matrix.mem, .offset = matrix.offset }, 0, matrix.dtype, like->shape);
}

static bool is_direct(const clf_tensor *tensor)
{
    return clf__rows_matrix(tensor).rank > 0;
}

/* Where a product makes what the caller's tensor is to get. */
static clf_tensor destination(const visual_context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    return is_direct(tensor) ? *tensor : regrouped(c, by_way_of, tensor);
}

static clf_status deliver(const visual_context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    const clf_tensor rows = regrouped(c, by_way_of, tensor);
    return is_direct(tensor) ? CLF_SUCCESS : copy(c, &rows, tensor);
}

static clf_status fetch(const visual_context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    const clf_tensor rows = regrouped(c, by_way_of, tensor);
    return is_direct(tensor) ? CLF_SUCCESS : copy(c, tensor, &rows);
}

static void bind(clf_binder *binder, clf_tensor tensor)
{
    const cl_long at = clf__tensor_start(&tensor);

    clf_bind_mem(binder, tensor.mem);
    clf_bind_value(binder, &at, sizeof at);
}

/* A work-item for each number of a matrix. */
static clf_status each(const visual_context *c, cl_kernel kernel, const visual_buffer *buffers, int count)
{
    const int64_t stretch = c->state->lanes == 1 ? 1 : 32 * c->state->lanes; /* as in cl/attention/visual.cl */
    const cl_long numbers = c->rows * c->channels;
    clf_binder binder = clf_bind(kernel);

    for (int i = 0; i < count; i++)
        bind(&binder, clf__visual_buffer(c, buffers[i]));
    clf_bind_value(&binder, &numbers, sizeof numbers);
    return clf__lanes_launch(c->run, &binder, c->state->lanes, (numbers + stretch - 1) / stretch);
}

static int64_t taps_of(int place)
{
    return place == VISUAL_NEAR ? VISUAL_NEAR_SIZE * VISUAL_NEAR_SIZE : VISUAL_FAR_SIZE * VISUAL_FAR_SIZE;
}

/* The windows of a layer as [taps, channels] f32, and its bias. */
static clf_status load_windows(const visual_context *c, int place)
{
    const clf_tensor bias = clf__visual_parameter(c, place + 1, false), to = clf__visual_buffer(c, BUFFER_BIAS);
    const int64_t taps = taps_of(place), shape[4] = { 1, 1, 1, c->channels };
    const cl_int2 extents = { { (cl_int)c->channels, (cl_int)taps } };
    clf__copy_problem problem = { .from = clf_tensor_view(bias.mem, bias.dtype, 4, shape),
                                  .to = clf_tensor_view(to.mem, to.dtype, 4, shape) };
    clf_binder binder = clf_bind(c->state->turn);

    problem.from.offset = bias.offset;
    problem.to.offset = to.offset;
    bind(&binder, clf__visual_parameter(c, place, false));
    bind(&binder, clf__visual_buffer(c, BUFFER_TAPS));
    clf_bind_value(&binder, &extents, sizeof extents);
    const clf_status status = clf__lanes_launch(c->run, &binder, 1, c->channels * taps);
    return status ? status : clf__copy_run(c->run, &c->state->parameter, &problem);
}

static clf_status convolve(const visual_context *c, int place, bool backward, visual_buffer from, visual_buffer to)
{
    const convolution *kernels = place == VISUAL_NEAR ? &c->state->near : &c->state->far;
    const cl_int4 shape = { { (cl_int)c->channels, (cl_int)c->side, !backward } };
    clf_binder binder = clf_bind(backward ? kernels->backward : kernels->forward);
    const clf_status status = load_windows(c, place);

    if (status)
        return status;
    bind(&binder, clf__visual_buffer(c, from));
    bind(&binder, clf__visual_buffer(c, BUFFER_TAPS));
    bind(&binder, clf__visual_buffer(c, BUFFER_BIAS));
    bind(&binder, clf__visual_buffer(c, to));
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(c->run, &binder, c->state->lanes,
                             c->lines * ((c->side + CELLS - 1) / CELLS) *
                                 clf__lanes_blocks(c->state->lanes, c->channels));
}

/* Gradients of the windows and of their bias. */
static clf_status weigh_windows(const visual_context *c, int place, visual_buffer x, visual_buffer gradient)
{
    const convolution *kernels = place == VISUAL_NEAR ? &c->state->near : &c->state->far;
    const int64_t taps = taps_of(place), size = place == VISUAL_NEAR ? VISUAL_NEAR_SIZE : VISUAL_FAR_SIZE;
    const cl_int4 shape = { { (cl_int)c->channels, (cl_int)c->side, (cl_int)c->stretch, (cl_int)c->lines } };
    const cl_int4 extents = { { (cl_int)c->channels, (cl_int)taps, (cl_int)c->stretches } };
    clf_binder binder = clf_bind(kernels->weigh);
    clf_status status;

    bind(&binder, clf__visual_buffer(c, x));
    bind(&binder, clf__visual_buffer(c, gradient));
    bind(&binder, clf__visual_buffer(c, BUFFER_PART));
    clf_bind_value(&binder, &shape, sizeof shape);
    status = clf__lanes_launch(c->run, &binder, c->state->lanes,
                               c->stretches * size * clf__lanes_blocks(c->state->lanes, c->channels));
    if (status)
        return status;
    binder = clf_bind(c->state->turn_back);
    bind(&binder, clf__visual_buffer(c, BUFFER_PART));
    bind(&binder, clf__visual_parameter(c, place, true));
    clf_bind_value(&binder, &extents, sizeof extents);
    status = clf__lanes_launch(c->run, &binder, 1, c->channels * taps);
    return status ? status : add_rows(c, place);
}

/* ---- both passes ------------------------------------------------------------------------------------- */

static const visual_buffer gelu_buffers[] = { BUFFER_BEFORE, BUFFER_U };
static const visual_buffer gate_buffers[] = { BUFFER_U, BUFFER_GATE, BUFFER_GATED };
static const visual_buffer gate_back_buffers[] = { BUFFER_U, BUFFER_GATE, BUFFER_D_U, BUFFER_D_GATE };
static const visual_buffer gelu_back_buffers[] = { BUFFER_BEFORE, BUFFER_GATED, BUFFER_D_U };

clf_status clf__visual_forward(clf_run *run)
{
    const visual_context c = clf__visual_context(clf_run_plan(run), run);
    const clf_tensor *q = &c.args->io[CLF_QKV_Q], *out = &c.args->io[CLF_QKV_OUT];
    const clf_tensor to = destination(&c, out, BUFFER_OUT);
    clf_status status;

    if ((status = fetch(&c, q, BUFFER_X)) || (status = multiply(&c, PRODUCT_FIRST)) ||
        (status = each(&c, c.state->gelu, gelu_buffers, 2)) ||
        (status = convolve(&c, VISUAL_NEAR, false, BUFFER_U, BUFFER_NEAR)) ||
        (status = convolve(&c, VISUAL_FAR, false, BUFFER_NEAR, BUFFER_FAR)) || (status = multiply(&c, PRODUCT_MIXED)) ||
        (status = each(&c, c.state->gate, gate_buffers, 3)) || (status = copy(&c, q, &to)) ||
        (status = multiply(&c, PRODUCT_LAST)))
        return status;
    return deliver(&c, out, BUFFER_OUT);
}

/* From the result to both sides of the gate, and through the convolutions. */
static clf_status gate_back(const visual_context *c)
{
    clf_status status;

    if ((status = fetch(c, &c->args->grad[CLF_QKV_OUT], BUFFER_OUT)) ||
        (status = each(c, c->state->gelu, gelu_buffers, 2)) || (status = each(c, c->state->gate, gate_buffers, 3)) ||
        (status = multiply(c, PRODUCT_W_LAST)) || (status = add_rows(c, VISUAL_LAST)) ||
        (status = multiply(c, PRODUCT_D_GATED)) || (status = each(c, c->state->gate_back, gate_back_buffers, 4)) ||
        (status = multiply(c, PRODUCT_W_MIXED)) || (status = add_rows(c, VISUAL_MIXED)) ||
        (status = multiply(c, PRODUCT_D_FAR)) || (status = weigh_windows(c, VISUAL_FAR, BUFFER_NEAR, BUFFER_D_FAR)) ||
        (status = convolve(c, VISUAL_FAR, true, BUFFER_D_FAR, BUFFER_D_NEAR)) ||
        (status = weigh_windows(c, VISUAL_NEAR, BUFFER_U, BUFFER_D_NEAR)))
        return status;
    return convolve(c, VISUAL_NEAR, true, BUFFER_D_NEAR, BUFFER_GATED); /* what was gated is not needed any more */
}

clf_status clf__visual_backward(clf_run *run)
{
    const visual_context c = clf__visual_context(clf_run_plan(run), run);
    const clf_tensor *to = &c.args->grad[CLF_QKV_Q];
    const clf_tensor sum = to->rank > 0 ? destination(&c, to, BUFFER_X) : *to;
    clf_status status = gate_back(&c);

    if (status || (status = each(&c, c.state->gelu_back, gelu_back_buffers, 3)) ||
        (status = fetch(&c, &c.args->io[CLF_QKV_Q], BUFFER_X)) || (status = multiply(&c, PRODUCT_W_FIRST)) ||
        (status = add_rows(&c, VISUAL_FIRST)) || to->rank == 0)
        return status;
    if ((status = copy(&c, &c.args->grad[CLF_QKV_OUT], &sum)) || (status = multiply(&c, PRODUCT_D_X)))
        return status;
    return deliver(&c, to, BUFFER_X);
}
