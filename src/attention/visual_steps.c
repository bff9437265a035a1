/* Shapes and places of everything that visual attention computes; see visual_steps.h. */
#include "attention/visual_steps.h"
#include "tensor/tensor.h"
#include <math.h>

enum { STRETCHES = 64 }; /* partial sums of the gradients of near and far, at most */

visual_context clf__visual_context(clf_plan *plan, clf_run *run)
{
    const visual_config *config = clf_plan_config(plan);
    visual_context c = { .plan = plan, .run = run, .args = run ? clf_run_args(run) : clf_plan_args(plan),
                  .state = clf_plan_state(plan, sizeof(visual_state)), .channels = config->base.dim_model,
                  .backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0 };
    const int64_t *q = c.args->io[CLF_QKV_Q].shape;

    if (run) {
        c.workspace = clf_run_workspace(run);
        c.saved = clf_run_saved(run);
    }
    c.side = (int64_t)floor(sqrt((double)q[2]) + 0.5);
    c.rows = q[0] * q[2];
    c.lines = q[0] * c.side;
    c.stretch = c.lines > STRETCHES ? (c.lines + STRETCHES - 1) / STRETCHES : 1;
    c.stretches = (c.lines + c.stretch - 1) / c.stretch;
    return c;
}

clf_tensor clf__visual_buffer(const visual_context *c, visual_buffer which)
{
    enum { TAPS = VISUAL_FAR_SIZE * VISUAL_FAR_SIZE };
    const bool saved = c->backward && which <= BUFFER_GATE, tokens = which == BUFFER_X || which == BUFFER_OUT;
    const int64_t rows = which == BUFFER_TAPS   ? TAPS
                         : which == BUFFER_BIAS ? 1
                         : which == BUFFER_PART ? c->stretches * TAPS
                                                : c->rows;
    const clf_buffer memory = saved ? c->saved : c->workspace;
    clf_tensor matrix = clf_tensor_view(memory.mem, tokens ? c->args->io[CLF_QKV_Q].dtype : CLF_F32, 2,
                                        (const int64_t[]){ rows, c->channels });

    matrix.offset = memory.offset + c->state->at[which];
    return matrix;
}

void clf__visual_reserve(const visual_context *c)
{
    for (int i = 0; i < BUFFERS; i++) {
        const visual_buffer which = (visual_buffer)i;
        const clf_tensor tensor = clf__visual_buffer(c, which);
        const uint64_t bytes = clf__tensor_bytes(&tensor);
        const clf_tensor *input = &c->args->io[CLF_QKV_Q], *output = &c->args->io[CLF_QKV_OUT];
        const clf_tensor *grads[2] = { &c->args->grad[CLF_QKV_Q], &c->args->grad[CLF_QKV_OUT] };
        const clf_tensor *user = which == BUFFER_X ? input : output, *gradient = grads[which == BUFFER_OUT];
        if (which > FORWARD_BUFFERS_END && !c->backward)
            break;
        if ((which == BUFFER_X || which == BUFFER_OUT) && clf__rows_matrix(user).rank > 0 &&
            (!c->backward || gradient->rank == 0 || clf__rows_matrix(gradient).rank > 0))
            continue;
        c->state->at[i] = c->backward && which <= BUFFER_GATE ? clf_plan_saved(c->plan, bytes)
                                                              : clf_plan_workspace(c->plan, bytes);
    }
}

/* A tensor of the caller as a matrix of tokens, by way of a buffer where strides ask for it. */
clf_tensor clf__visual_tokens(const visual_context *c, const clf_tensor *tensor, visual_buffer by_way_of)
{
    const clf_tensor matrix = clf__rows_matrix(tensor);
    return matrix.rank > 0 ? matrix : clf__visual_buffer(c, by_way_of);
}

/* A parameter or its gradient, matrices over channels as such. */
clf_tensor clf__visual_parameter(const visual_context *c, int place, bool gradient)
{
    clf_instance *instance = clf_plan_instance(c->plan);
    const char *name = clf__visual_parameters[place].name;
    clf_tensor tensor = { .rank = 0 };

    if (gradient ? clf_instance_gradient(instance, name, &tensor) : clf_instance_parameter(instance, name, &tensor))
        tensor.rank = 0;
    else if (place == VISUAL_FIRST || place == VISUAL_MIXED || place == VISUAL_LAST)
        tensor.rank = 2;
    tensor.strides[0] = tensor.rank == 2 ? c->channels : tensor.strides[0];
    tensor.strides[1] = tensor.rank == 2 ? 1 : tensor.strides[1];
    return tensor;
}

/* ---- products and sums ------------------------------------------------------------------------------- */

/* result (+)= x weight^T + bias */
static clf__gemm_problem apply(const visual_context *c, clf_tensor x, int place, clf_tensor result, bool more)
{
    const clf_tensor weight = clf__visual_parameter(c, place, false);
    return (clf__gemm_problem){ .a = x,
                                .b = clf__gemm_transposed(&weight),
                                .c = result,
                                .alpha = 1,
                                .beta = more ? 1 : 0,
                                .bias = clf__visual_parameter(c, place + 1, false) };
}

/* result (+)= gradient weight */
static clf__gemm_problem back(const visual_context *c, clf_tensor gradient, int place, clf_tensor result, bool more)
{
    return (clf__gemm_problem){ .a = gradient, .b = clf__visual_parameter(c, place, false), .c = result, .alpha = 1,
                                .beta = more ? 1 : 0 };
}

/* gradient of a weight = gradient^T x */
static clf__gemm_problem weigh(const visual_context *c, clf_tensor gradient, clf_tensor x, int place)
{
    return (clf__gemm_problem){ .a = clf__gemm_transposed(&gradient), .b = x, .c = clf__visual_parameter(c, place, true),
                                .alpha = 1 };
}

static clf_tensor upstream(const visual_context *c)
{
    return clf__visual_tokens(c, &c->args->grad[CLF_QKV_OUT], BUFFER_OUT);
}

clf__gemm_problem clf__visual_product(const visual_context *c, visual_product which)
{
    const clf_tensor x = clf__visual_tokens(c, &c->args->io[CLF_QKV_Q], BUFFER_X);

    switch (which) {
    case PRODUCT_FIRST:
        return apply(c, x, VISUAL_FIRST, clf__visual_buffer(c, BUFFER_BEFORE), false);
    case PRODUCT_MIXED:
        return apply(c, clf__visual_buffer(c, BUFFER_FAR), VISUAL_MIXED, clf__visual_buffer(c, BUFFER_GATE), false);
    case PRODUCT_LAST:
        return apply(c, clf__visual_buffer(c, BUFFER_GATED), VISUAL_LAST,
                     clf__visual_tokens(c, &c->args->io[CLF_QKV_OUT], BUFFER_OUT), true);
    case PRODUCT_D_GATED:
        return back(c, upstream(c), VISUAL_LAST, clf__visual_buffer(c, BUFFER_D_U), false);
    case PRODUCT_D_FAR:
        return back(c, clf__visual_buffer(c, BUFFER_D_GATE), VISUAL_MIXED, clf__visual_buffer(c, BUFFER_D_FAR), false);
    case PRODUCT_D_X:
        return back(c, clf__visual_buffer(c, BUFFER_D_U), VISUAL_FIRST,
                    clf__visual_tokens(c, &c->args->grad[CLF_QKV_Q], BUFFER_X), true);
    case PRODUCT_W_FIRST:
        return weigh(c, clf__visual_buffer(c, BUFFER_D_U), x, VISUAL_FIRST);
    case PRODUCT_W_MIXED:
        return weigh(c, clf__visual_buffer(c, BUFFER_D_GATE), clf__visual_buffer(c, BUFFER_FAR), VISUAL_MIXED);
    default:
        return weigh(c, upstream(c), clf__visual_buffer(c, BUFFER_GATED), VISUAL_LAST);
    }
}

/* What the gradient of a bias is the sum of; `place` of its weight. */
clf_tensor clf__visual_summed(const visual_context *c, int place)
{
    return place == VISUAL_FIRST   ? clf__visual_buffer(c, BUFFER_D_U)
           : place == VISUAL_NEAR  ? clf__visual_buffer(c, BUFFER_D_NEAR)
           : place == VISUAL_FAR   ? clf__visual_buffer(c, BUFFER_D_FAR)
           : place == VISUAL_MIXED ? clf__visual_buffer(c, BUFFER_D_GATE)
                                   : upstream(c);
}
