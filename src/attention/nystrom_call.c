/* The tensors of a call of nystrom, and the problems that it hands on. */
#include "attention/nystrom_run.h"

static clf_tensor either(const clf_tensor *piece, const clf_tensor *own)
{
    return piece->rank > 0 ? *piece : *own;
}

nystrom_call clf__nystrom_call_of(clf_run *run, const nystrom_state *state, const clf_args *args)
{
    nystrom_call call = { .run = run, .state = state, .args = args };

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
    call.inverse = run && !state->exact ? clf__pinv_result(run, &state->inverse) : call.piece[NEAR];
    return call;
}

/* Who sees which keys: an additive mask is one for all rows and heads. */
static void hide_keys(const nystrom_call *call, clf__fused_problem *problem)
{
    const clf_tensor *mask = &call->args->io[CLF_QKV_KEY_PADDING_MASK];

    problem->causal = call->state->causal;
    if (mask->rank == 0)
        return;
    if (mask->dtype == CLF_BOOL8 || mask->dtype == CLF_U8) {
        problem->padding = call->piece[KEEP];
        return;
    }
    problem->mask = *mask;
    problem->mask.rank = 4;
    for (int i = 0; i < 4; i++) {
        problem->mask.shape[i] = i == 3 ? problem->k.shape[2] : problem->q.shape[i];
        problem->mask.strides[i] = i == 0 ? mask->strides[0] : i == 3 ? mask->strides[1] : 0;
    }
}

clf__fused_problem clf__nystrom_far(const nystrom_call *call)
{
    clf__fused_problem problem = {
        .q = call->piece[Q_MARKS],
        .k = call->k,
        .v = call->v,
        .out = call->piece[FAR],
        .grad_out = call->piece[GRAD_FAR],
        .grad_q = call->piece[GRAD_Q_MARKS],
        .grad_k = call->grad_k,
        .grad_v = call->grad_v,
        .scale = call->state->scale,
    };

    hide_keys(call, &problem);
    return problem;
}

clf__fused_problem clf__nystrom_near(const nystrom_call *call)
{
    const bool exact = call->state->exact;
    clf__fused_problem problem = {
        .q = call->q,
        .k = exact ? call->k : call->piece[K_MARKS],
        .v = exact ? call->v : call->piece[VALUES],
        .out = call->x,
        .grad_out = call->grad_x,
        .grad_q = call->grad_q,
        .grad_k = exact ? call->grad_k : call->piece[GRAD_K_MARKS],
        .grad_v = exact ? call->grad_v : call->piece[GRAD_VALUES],
        .scale = call->state->scale,
    };

    if (exact)
        hide_keys(call, &problem);
    else if (call->state->padded && !call->state->xformers)
        problem.padding = call->piece[SOME];
    return problem;
}

/* scale q~ k~^T */
clf__gemm_problem clf__nystrom_scores(const nystrom_call *call)
{
    return (clf__gemm_problem){ .a = call->piece[Q_MARKS], .b = clf__gemm_transposed(&call->piece[K_MARKS]),
                                .c = call->piece[NEAR], .alpha = call->state->scale };
}

clf__gemm_problem clf__nystrom_values(const nystrom_call *call)
{
    return (clf__gemm_problem){ .a = call->inverse, .b = call->piece[FAR], .c = call->piece[VALUES], .alpha = 1 };
}

clf__gemm_problem clf__nystrom_grad_far(const nystrom_call *call)
{
    return (clf__gemm_problem){ .a = clf__gemm_transposed(&call->inverse), .b = call->piece[GRAD_VALUES],
                                .c = call->piece[GRAD_FAR], .alpha = 1 };
}

clf__gemm_problem clf__nystrom_grad_inverse(const nystrom_call *call)
{
    return (clf__gemm_problem){ .a = call->piece[GRAD_VALUES], .b = clf__gemm_transposed(&call->piece[FAR]),
                                .c = call->piece[GRAD_INVERSE], .alpha = 1 };
}

/* Added to what comes from the two attentions. */
clf__gemm_problem clf__nystrom_grad_q_marks(const nystrom_call *call)
{
    return (clf__gemm_problem){ .a = call->piece[GRAD_NEAR], .b = call->piece[K_MARKS], .c = call->piece[GRAD_Q_MARKS],
                                .alpha = call->state->scale, .beta = 1 };
}

clf__gemm_problem clf__nystrom_grad_k_marks(const nystrom_call *call)
{
    return (clf__gemm_problem){ .a = clf__gemm_transposed(&call->piece[GRAD_NEAR]), .b = call->piece[Q_MARKS],
                                .c = call->piece[GRAD_K_MARKS], .alpha = call->state->scale, .beta = 1 };
}
