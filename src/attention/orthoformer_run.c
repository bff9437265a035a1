/* orthoformer's kernels in order. */
#include "attention/orthoformer_run.h"
#include <math.h>

static clf_tensor either(const clf_tensor *piece, const clf_tensor *own)
{
    return piece->rank > 0 ? *piece : *own;
}

orthoformer_call clf__orthoformer_call_of(clf_run *run, const orthoformer_state *state, const clf_args *args)
{
    orthoformer_call call = { .state = state, .args = args };

    for (int i = 0; i < PIECES; i++)
        call.piece[i] = clf__piece_of(run, &state->piece[i]);
    call.q = either(&call.piece[Q_COPY], &args->io[CLF_QKV_Q]);
    call.k = either(&call.piece[K_COPY], &args->io[CLF_QKV_K]);
    call.v = either(&call.piece[V_COPY], &args->io[CLF_QKV_V]);
    call.x = either(&call.piece[X], &args->io[CLF_QKV_OUT]);
    call.grad_x = either(&call.piece[GRAD_X], &args->grad[CLF_QKV_OUT]);
    call.grad_q = either(&call.piece[GRAD_Q], &args->grad[CLF_QKV_Q]);
    call.grad_k = either(&call.piece[GRAD_K], &args->grad[CLF_QKV_K]);
    call.grad_v = either(&call.piece[GRAD_V], &args->grad[CLF_QKV_V]);
    return call;
}

static float scale_of(const orthoformer_call *call)
{
    return (float)(1 / sqrt((double)call->q.shape[3]));
}

clf__fused_problem clf__orthoformer_far(const orthoformer_call *call)
{
    return (clf__fused_problem){
        .q = call->piece[MARKS],
        .k = call->k,
        .v = call->v,
        .out = call->piece[FAR],
        .grad_out = call->piece[GRAD_FAR],
        .grad_k = call->grad_k,
        .grad_v = call->grad_v,
        .padding = call->args->io[CLF_QKV_KEY_PADDING_MASK],
        .scale = scale_of(call),
    };
}

clf__fused_problem clf__orthoformer_near(const orthoformer_call *call)
{
    const bool exact = call->state->exact;
    clf__fused_problem problem = {
        .q = call->q,
        .k = exact ? call->k : call->piece[MARKS],
        .v = exact ? call->v : call->piece[FAR],
        .out = call->x,
        .grad_out = call->grad_x,
        .grad_q = call->grad_q,
        .grad_v = exact ? call->grad_v : call->piece[GRAD_FAR],
        .scale = scale_of(call),
    };

    if (exact)
        problem.grad_k = call->grad_k;
    if (exact && call->state->masked)
        problem.mask = call->args->io[CLF_QKV_ATT_MASK];
    if (call->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0)
        problem.padding = exact ? call->args->io[CLF_QKV_KEY_PADDING_MASK] : call->piece[SOME];
    return problem;
}

static clf_status make_copies(clf_run *run, const orthoformer_call *call)
{
    const clf_tensor all = { .rank = 0 };
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < 3 && call->state->single && !status; i++)
        status = clf__single_widen(run, &call->state->copies, &call->args->io[CLF_QKV_Q + i], &all,
                                   &call->piece[Q_COPY + i], 0);
    return status;
}

clf_status clf__orthoformer_forward(clf_run *run)
{
    const orthoformer_state *s = clf_plan_state(clf_run_plan(run), sizeof *s);
    const orthoformer_call call = clf__orthoformer_call_of(run, s, clf_run_args(run));
    const clf__fused_problem far = clf__orthoformer_far(&call), near = clf__orthoformer_near(&call);
    clf_status status = make_copies(run, &call);

    if (!status && !s->exact)
        status = clf__orthoformer_select(run, &s->selection, &call.piece[MARKS], &call.piece[SOME]);
    if (!status && !s->exact)
        status = clf__fused_forward(run, &s->far, &far);
    if (!status)
        status = clf__fused_forward(run, &s->near, &near);
    if (!status && call.piece[X].rank > 0)
        status = clf__single_narrow(run, &s->copies, &call.x, &call.args->io[CLF_QKV_OUT], s->dropout);
    return status;
}

clf_status clf__orthoformer_backward(clf_run *run)
{
    const orthoformer_state *s = clf_plan_state(clf_run_plan(run), sizeof *s);
    const orthoformer_call call = clf__orthoformer_call_of(run, s, clf_run_args(run));
    const clf__fused_problem far = clf__orthoformer_far(&call), near = clf__orthoformer_near(&call);
    const clf_tensor all = { .rank = 0 };
    clf_status status = make_copies(run, &call);

    if (!status && call.piece[GRAD_X].rank > 0)
        status = clf__single_widen(run, &s->copies, &call.args->grad[CLF_QKV_OUT], &all, &call.grad_x, s->dropout);
    if (!status)
        status = clf__fused_backward(run, &s->near, &near);
    if (!status && !s->exact && (call.grad_k.rank > 0 || call.grad_v.rank > 0))
        status = clf__fused_backward(run, &s->far, &far);
    for (int i = 0; i < 3 && !status; i++)
        if (call.piece[GRAD_Q + i].rank > 0)
            status = clf__single_narrow(run, &s->copies, &call.piece[GRAD_Q + i], &call.args->grad[CLF_QKV_Q + i], 0);
    return status;
}
