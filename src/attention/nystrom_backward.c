/* nystrom's kernels in order: backward. */
#include "attention/nystrom_run.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"

static clf_status softmax_back(const nystrom_call *call)
{
    const clf_tensor *near = &call->piece[NEAR];
    const cl_int4 shape = { { (cl_int)near->shape[1], (cl_int)near->shape[2] } };
    clf_binder binder = clf_bind(call->state->softmax_back);

    clf__single_bind(&binder, near);
    clf__single_bind(&binder, &call->piece[GRAD_NEAR]);
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf__lanes_launch(call->run, &binder, 1, near->shape[0] * near->shape[1] * near->shape[2]);
}

/* From the gradient of the values to those of landmarks, k and v. */
static clf_status values_back(const nystrom_call *call)
{
    const nystrom_state *s = call->state;
    const clf_tensor *piece = call->piece;
    const clf__fused_problem far = clf__nystrom_far(call);
    const clf__gemm_problem grad_far = clf__nystrom_grad_far(call), grad_inverse = clf__nystrom_grad_inverse(call);
    const clf__gemm_problem grad_q = clf__nystrom_grad_q_marks(call), grad_k = clf__nystrom_grad_k_marks(call);
    clf_status status = clf__gemm(call->run, &s->grad_far, &grad_far);

    if (status || (status = clf__fused_backward(call->run, &s->far, &far)) ||
        (call->grad_q.rank == 0 && call->grad_k.rank == 0))
        return status;
    if ((status = clf__gemm(call->run, &s->grad_inverse, &grad_inverse)) ||
        (status = clf__pinv_backward(call->run, &s->inverse, &piece[NEAR], &piece[GRAD_INVERSE], &piece[GRAD_NEAR])) ||
        (status = softmax_back(call)) || (status = clf__gemm(call->run, &s->grad_q_marks, &grad_q)))
        return status;
    return clf__gemm(call->run, &s->grad_k_marks, &grad_k);
}

/* The gradient of q (or k): what attention left, and what its landmarks have for it. */
static clf_status gather(const nystrom_call *call, const clf_tensor *from, const clf_tensor *keep, nystrom_piece share,
                         nystrom_piece marks, bool hides, const clf_tensor *to)
{
    const cl_int hide = hides;
    clf_binder binder = clf_bind(call->state->gradient);

    if (to->rank == 0 || (call->piece[marks].rank == 0 && !call->state->single && !hides))
        return CLF_SUCCESS; /* nobody wants it, or it is there already */
    clf__single_bind(&binder, from);
    clf__single_bind(&binder, keep);
    clf__single_bind(&binder, &call->piece[share]);
    clf__single_bind(&binder, &call->piece[marks]);
    clf__single_bind(&binder, to);
    clf__single_bind_shape(&binder, to, call->piece[marks].shape[2]);
    clf_bind_value(&binder, &hide, sizeof hide);
    return clf__single_launch(call->run, &binder, call->state->lanes, to);
}

static void bind_weight(clf_binder *binder, const clf_tensor *weight)
{
    const cl_long at = clf__tensor_start(weight);

    clf_bind_mem(binder, weight->mem);
    clf_bind_value(binder, &at, sizeof at);
}

static clf_status convolution_back(const nystrom_call *call, const clf_tensor *keep)
{
    const clf_tensor *to = &call->args->grad[CLF_QKV_V];
    const cl_int taps = call->state->taps;
    clf_binder binder = clf_bind(call->state->gradient_v);

    if (to->rank == 0)
        return CLF_SUCCESS;
    clf__single_bind(&binder, &call->grad_v);
    clf__single_bind(&binder, &call->grad_x);
    clf__single_bind(&binder, keep);
    bind_weight(&binder, &call->weight);
    clf__single_bind(&binder, to);
    clf__single_bind_shape(&binder, to, 0);
    clf_bind_value(&binder, &taps, sizeof taps);
    return clf__single_launch(call->run, &binder, call->state->lanes, to);
}

static clf_status weights_back(const nystrom_call *call, const clf_tensor *keep)
{
    const clf_tensor *v = &call->args->io[CLF_QKV_V], *sums = &call->piece[TAPS];
    const cl_long at = clf__tensor_start(sums);
    const cl_int4 shape = { { (cl_int)sums->shape[0], (cl_int)sums->shape[1], (cl_int)sums->shape[2] } };
    const cl_int length = call->state->taps;
    clf_binder taps = clf_bind(call->state->taps_sum), weights = clf_bind(call->state->weights);

    clf__single_bind(&taps, v);
    clf__single_bind(&taps, &call->grad_x);
    clf__single_bind(&taps, keep);
    clf_bind_mem(&taps, sums->mem);
    clf_bind_value(&taps, &at, sizeof at);
    clf__single_bind_shape(&taps, v, sums->shape[2]);
    clf_bind_value(&taps, &length, sizeof length);
    const clf_status status = clf__lanes_launch(call->run, &taps, 1, clf_tensor_elements(sums));
    if (status)
        return status;
    clf_bind_mem(&weights, sums->mem);
    clf_bind_value(&weights, &at, sizeof at);
    bind_weight(&weights, &call->grad_weight);
    clf_bind_value(&weights, &shape, sizeof shape);
    clf_bind_value(&weights, &length, sizeof length);
    return clf__lanes_launch(call->run, &weights, 1, clf_tensor_elements(&call->grad_weight));
}

static clf_status collect(const nystrom_call *call)
{
    const clf_args *args = call->args;
    const nystrom_state *s = call->state;
    const clf_tensor none = { .rank = 0 }, *keep = &call->piece[KEEP];
    const bool alike = args->io[CLF_QKV_Q].shape[2] == args->io[CLF_QKV_K].shape[2];
    clf_status status;

    if ((status = gather(call, &call->grad_q, alike ? keep : &none, Q_SHARE, GRAD_Q_MARKS, s->hides,
                         &args->grad[CLF_QKV_Q])) ||
        (status = gather(call, &call->grad_k, keep, K_SHARE, GRAD_K_MARKS, false, &args->grad[CLF_QKV_K])))
        return status;
    if (s->taps == 0)
        return gather(call, &call->grad_v, &none, Q_SHARE, PIECES, false, &args->grad[CLF_QKV_V]);
    if ((status = convolution_back(call, s->xformers ? &none : keep)))
        return status;
    return weights_back(call, s->xformers ? &none : keep);
}

clf_status clf__nystrom_backward(clf_run *run)
{
    clf_plan *plan = clf_run_plan(run);
    const nystrom_state *s = clf_plan_state(plan, sizeof *s);
    nystrom_call call = clf__nystrom_call_of(run, s, clf_run_args(run));
    const clf__fused_problem near = clf__nystrom_near(&call);
    const clf_tensor all = { .rank = 0 };
    clf_instance *instance = clf_plan_instance(plan);
    clf_status status = CLF_SUCCESS;

    if (s->taps > 0 &&
        ((status = clf_instance_parameter(instance, "skip_connection.weight", &call.weight)) ||
         (status = clf_instance_gradient(instance, "skip_connection.weight", &call.grad_weight))))
        return status;
    status = clf__nystrom_prepare(&call);
    if (!status && call.piece[GRAD_X].rank > 0)
        status = clf__single_widen(run, &s->copies, &call.args->grad[CLF_QKV_OUT], &all, &call.grad_x, s->dropout);
    if (!status)
        status = clf__fused_backward(run, &s->near, &near);
    if (!status && !s->exact)
        status = values_back(&call);
    return status ? status : collect(&call);
}
