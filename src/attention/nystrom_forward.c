/* nystrom's kernels in order: forward, and what both passes begin with. */
#include "attention/nystrom_run.h"
#include "ops/lanes.h"
#include "tensor/tensor.h"

/* The rows of q that are padding are known when there are as many as keys. */
static clf_tensor keep_of_queries(const nystrom_call *call)
{
    const bool known = call->args->io[CLF_QKV_Q].shape[2] == call->args->io[CLF_QKV_K].shape[2];
    return known ? call->piece[KEEP] : (clf_tensor){ .rank = 0 };
}

static clf_status read_mask(const nystrom_call *call)
{
    const clf_dtype dtype = call->args->io[CLF_QKV_KEY_PADDING_MASK].dtype;
    const cl_int rows = (cl_int)call->piece[KEEP].shape[1];
    const cl_int kind = dtype == CLF_F32 ? 1 : dtype == CLF_F16 ? 2 : dtype == CLF_BF16 ? 3 : 0;
    clf_binder binder = clf_bind(call->state->keep);

    clf__single_bind(&binder, &call->args->io[CLF_QKV_KEY_PADDING_MASK]);
    clf__single_bind(&binder, &call->piece[KEEP]);
    clf_bind_value(&binder, &rows, sizeof rows);
    clf_bind_value(&binder, &kind, sizeof kind);
    return clf__lanes_launch(call->run, &binder, 1, clf_tensor_elements(&call->piece[KEEP]));
}

static clf_status make_copies(const nystrom_call *call)
{
    const clf_tensor all = { .rank = 0 }, *io = call->args->io;
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < 3 && !status; i++)
        if (call->piece[Q_COPY + i].rank > 0)
            status = clf__single_widen(call->run, &call->state->copies, &io[CLF_QKV_Q + i],
                                       i == 0 && call->state->hides ? &call->piece[KEEP] : &all,
                                       &call->piece[Q_COPY + i], 0);
    return status;
}

/* Means of the segments of x, and what its rows count. */
static clf_status make_landmarks(const nystrom_call *call, const clf_tensor *x, const clf_tensor *keep,
                                 const clf_tensor *share, const clf_tensor *some, const clf_tensor *marks)
{
    enum { SPAN = 64 }; /* channels of a work-item on CPUs */
    const int lanes = call->state->lanes;
    const cl_int kept_only = !call->state->xformers;
    const int64_t heads = x->shape[0] * x->shape[1];
    clf_binder binder = clf_bind(call->state->landmarks);

    clf__single_bind(&binder, x);
    clf__single_bind(&binder, keep);
    clf__single_bind(&binder, share);
    clf__single_bind(&binder, some);
    clf__single_bind(&binder, marks);
    clf__single_bind_shape(&binder, x, marks->shape[2]);
    clf_bind_value(&binder, &kept_only, sizeof kept_only);
    return clf__lanes_launch(call->run, &binder, lanes,
                             heads * marks->shape[2] * clf__lanes_blocks(lanes == 1 ? 1 : SPAN, x->shape[3]));
}

clf_status clf__nystrom_prepare(const nystrom_call *call)
{
    const clf_tensor *io = call->args->io, *piece = call->piece, none = { .rank = 0 };
    const clf_tensor keep_q = keep_of_queries(call);
    clf_status status = CLF_SUCCESS;

    if (call->state->padded)
        status = read_mask(call);
    if (!status)
        status = make_copies(call);
    if (status || call->state->exact)
        return status;
    status = make_landmarks(call, &io[CLF_QKV_Q], &keep_q, &piece[Q_SHARE], &none, &piece[Q_MARKS]);
    return status ? status : make_landmarks(call, &io[CLF_QKV_K], &piece[KEEP], &piece[K_SHARE], &piece[SOME],
                                            &piece[K_MARKS]);
}

/* The softmax between landmarks. */
static clf_status make_near(const nystrom_call *call)
{
    const nystrom_state *s = call->state;
    const clf_tensor *near = &call->piece[NEAR];
    const clf__gemm_problem scores = clf__nystrom_scores(call);
    const int64_t matrices = near->shape[0] * near->shape[1];
    const cl_int4 shape = { { (cl_int)near->shape[1], (cl_int)near->shape[2], (cl_int)call->piece[Q_MARKS].shape[3] } };
    clf_binder binder = clf_bind(s->small ? s->soft_scores : s->softmax);
    const clf_status status = s->small ? CLF_SUCCESS : clf__gemm(call->run, &s->scores, &scores);

    clf__single_bind(&binder, near);
    clf__single_bind(&binder, &call->piece[Q_SHARE]);
    clf__single_bind(&binder, &call->piece[K_SHARE]);
    clf_bind_value(&binder, &shape, sizeof shape);
    if (status || !s->small)
        return status ? status : clf__lanes_launch(call->run, &binder, 1, matrices * near->shape[2]);
    clf__single_bind(&binder, &call->piece[Q_MARKS]);
    clf__single_bind(&binder, &call->piece[K_MARKS]);
    clf_bind_value(&binder, &s->scale, sizeof s->scale);
    return clf__lanes_launch(call->run, &binder, 16, matrices);
}

/* What the landmarks know of all values, through the inverse of that. */
static clf_status make_values(const nystrom_call *call)
{
    const nystrom_state *s = call->state;
    const clf__gemm_problem values = clf__nystrom_values(call);
    const clf__fused_problem far = clf__nystrom_far(call);
    clf_status status;

    if ((status = make_near(call)) || (status = clf__pinv_forward(call->run, &s->inverse, &call->piece[NEAR])) ||
        (status = clf__fused_forward(call->run, &s->far, &far)))
        return status;
    return clf__gemm(call->run, &s->values, &values);
}

static clf_status finish(const nystrom_call *call)
{
    const clf_tensor *io = call->args->io, all = { .rank = 0 };
    const cl_long weight_at = clf__tensor_start(&call->weight);
    const cl_int taps = call->state->taps;
    clf_binder binder = clf_bind(call->state->finish);

    clf__single_bind(&binder, &call->x);
    clf__single_bind(&binder, &io[CLF_QKV_V]);
    clf__single_bind(&binder, call->state->xformers ? &all : &call->piece[KEEP]);
    clf_bind_mem(&binder, call->weight.mem);
    clf_bind_value(&binder, &weight_at, sizeof weight_at);
    clf__single_bind(&binder, &io[CLF_QKV_OUT]);
    clf__single_bind_shape(&binder, &io[CLF_QKV_OUT], 0);
    clf_bind_value(&binder, &taps, sizeof taps);
    clf__single_bind_dropout(&binder, call->args, call->state->dropout);
    return clf__single_launch(call->run, &binder, call->state->lanes, &io[CLF_QKV_OUT]);
}

clf_status clf__nystrom_forward(clf_run *run)
{
    clf_plan *plan = clf_run_plan(run);
    const nystrom_state *s = clf_plan_state(plan, sizeof *s);
    nystrom_call call = clf__nystrom_call_of(run, s, clf_run_args(run));
    const clf__fused_problem near = clf__nystrom_near(&call);
    clf_status status = CLF_SUCCESS;

    if (s->taps > 0)
        status = clf_instance_parameter(clf_plan_instance(plan), "skip_connection.weight", &call.weight);
    if (!status)
        status = clf__nystrom_prepare(&call);
    if (!status && !s->exact)
        status = make_values(&call);
    if (!status)
        status = clf__fused_forward(run, &s->near, &near);
    return !status && s->finishes ? finish(&call) : status;
}
