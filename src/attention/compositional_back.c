/* The backward pass of compositional attention: selection, retrieval, projections. */
#include "attention/compositional_steps.h"
#include "ops/lanes.h"

/* Gradients of what has no effect. */
static clf_status zero(const steps *s, int place, int64_t first)
{
    const clf_tensor gradient = clf__steps_parameter(s, place, true);

    if (gradient.rank == 0)
        return CLF_SUCCESS;
    return clf__steps_copy(s, &s->state->zero, (clf_tensor){ .rank = 0 },
                           clf__steps_wide(clf__steps_columns(gradient, first, gradient.shape[gradient.rank - 1])));
}

static clf_status zero_all(const steps *s)
{
    clf_status status = CLF_SUCCESS;

    if (s->qk)
        return zero(s, 2 * LAYER_VALUE_K + 1, 0);
    if (s->network)
        return zero(s, 2 * LAYER_TOP + 1, 0);
    if ((status = zero(s, 2 * LAYER_SCORE, s->width)) || (status = zero(s, 2 * LAYER_SCORE + 1, 0)) ||
        (status = zero(s, 2 * LAYER_VALUE_Q, 0)))
        return status;
    return zero(s, 2 * LAYER_VALUE_Q + 1, 0);
}

static clf_status network_back(const steps *s)
{
    static const step_buffer buffers[] = { BUFFER_HIDDEN, BUFFER_SHIFT, BUFFER_TOP, BUFFER_D_WEIGHT, BUFFER_D_HIDDEN,
                                           BUFFER_D_SHIFT, BUFFER_D_TOP };
    clf_tensor matrices[7];
    const clf_tensor *places[7];
    const int64_t rows = clf__steps_buffer(s, BUFFER_WEIGHT).shape[0];
    clf_status status;

    for (int i = 0; i < 7; i++) {
        matrices[i] = clf__steps_buffer(s, buffers[i]);
        places[i] = &matrices[i];
    }
    matrices[0].shape[0] = matrices[4].shape[0] = rows;
    matrices[0].strides[0] = matrices[4].strides[0] = s->rules * s->selection;
    status = clf__steps_launch(s, s->state->network_back, places, 7, s->rules, s->selection,
                               rows * clf__lanes_blocks(s->state->lanes, s->selection));
    if (status || (status = clf__steps_multiply(s, PRODUCT_D_RETRIEVED)) ||
        (status = clf__steps_multiply(s, PRODUCT_W_SHIFT)) || (status = clf__steps_multiply(s, PRODUCT_W_HIDDEN)) ||
        (status = clf__steps_add_rows(s, SUM_SHIFT)))
        return status;
    return clf__steps_add_rows(s, SUM_TOP);
}

/* From the result to what was retrieved, and to the layers between. */
static clf_status selection_back(const steps *s)
{
    const clf_tensor weight = clf__steps_buffer(s, BUFFER_WEIGHT), slope = clf__steps_buffer(s, BUFFER_D_WEIGHT);
    const clf_tensor to = clf__steps_buffer(s, BUFFER_D_RETRIEVED);
    clf_tensor composed = clf__steps_buffer(s, BUFFER_D_COMPOSED), u = clf__steps_buffer(s, BUFFER_U);
    clf_status status;

    composed.shape[0] = weight.shape[0];
    composed.strides[0] = s->width;
    if (s->network)
        u = slope; /* not read */
    if ((status = clf__steps_multiply_rules(s, BUFFER_D_COMPOSED, BUFFER_D_WEIGHT)) ||
        (status = clf__steps_launch(s, s->state->softmax_back, (const clf_tensor *const[]){ &weight, &slope }, 2,
                                    s->rules, s->width, weight.shape[0])) ||
        (status = clf__steps_launch(
             s, s->state->retrieved, (const clf_tensor *const[]){ &weight, &composed, &slope, &u, &to }, 5, s->rules,
             s->width, weight.shape[0] * s->rules * clf__lanes_blocks(s->state->lanes, s->width))))
        return status;
    if (s->network)
        status = network_back(s);
    else if (!(status = clf__steps_mix_rules(s, BUFFER_D_WEIGHT, BUFFER_D_U)) &&
             !(status = clf__steps_add_rows(s, SUM_SCORE)))
        status = clf__steps_multiply(s, PRODUCT_W_VALUE_K);
    if (status || (status = zero_all(s)))
        return status;
    return clf__steps_multiply(s, PRODUCT_D_SELECT);
}

/* One chunk of values: its gradients of q and k are a share, those of v a sum over heads. */
static clf_status retrieval_back(const steps *s, int chunk)
{
    const step_chunks *chunks = clf__steps_chunks(s, true);
    const clf__fused_problem attention = clf__steps_attention(s, chunks, chunk);
    const clf__copy *to_single = chunk > 0 ? &s->state->accumulate : &s->state->convert;
    const clf_tensor *part = &attention.grad_v;
    clf__copy_problem sum = { .from = *part,
                              .to = clf__steps_wide(clf__steps_buffer(s, BUFFER_D_V)),
                              .slices = s->heads,
                              .step = part->strides[1] };
    clf_status status = clf__fused_backward(s->run, &chunks->fused[chunk], &attention);

    if (status ||
        (status = clf__steps_copy(s, to_single, clf__steps_wide(clf__steps_buffer(s, BUFFER_PART_Q)),
                                  clf__steps_wide(clf__steps_buffer(s, BUFFER_D_Q)))) ||
        (status = clf__steps_copy(s, to_single, clf__steps_wide(clf__steps_buffer(s, BUFFER_PART_K)),
                                  clf__steps_wide(clf__steps_buffer(s, BUFFER_D_K)))))
        return status;
    sum.from.shape[0] = sum.from.shape[1] = 1;
    sum.from.shape[2] = s->batch * s->keys;
    sum.to = clf__steps_columns(sum.to, chunk * chunks->columns, chunk * chunks->columns + part->shape[3]);
    return clf__copy_run(s->run, &s->state->convert, &sum);
}

static clf_status queries_back(const steps *s)
{
    clf_status status = clf__steps_multiply(s, PRODUCT_D_Q_SELECT);

    if (!status && s->turned)
        status = clf__steps_copy(s, &s->state->add, clf__steps_in_order(s, BUFFER_D_TURNED),
                                 clf__steps_by_position(s, BUFFER_D_Q));
    if (status || (status = clf__steps_regroup(s, &s->args->io[CLF_QKV_Q], BUFFER_XQ, true)) ||
        (status = clf__steps_multiply(s, PRODUCT_W_VALUE_Q)) || (status = clf__steps_add_rows(s, SUM_SELECT)) ||
        (status = clf__steps_multiply(s, PRODUCT_W_Q)) || (status = clf__steps_add_rows(s, SUM_Q)) ||
        (status = clf__steps_multiply(s, PRODUCT_D_XQ)) || (status = clf__steps_multiply(s, PRODUCT_D_XQ_SELECT)))
        return status;
    return clf__steps_regroup(s, &s->args->grad[CLF_QKV_Q], BUFFER_XQ, false);
}

/* Rows of keys or values that some query sees, zeros elsewhere. */
static clf_status gather_seen(const steps *s, int slot)
{
    const clf_tensor gradient = clf__steps_buffer(s, (step_buffer)(BUFFER_D_Q + slot));
    const step_buffer which = slot == CLF_QKV_K ? BUFFER_SEEN_K : BUFFER_SEEN_V;
    const clf_tensor *x = &s->args->io[slot];
    clf_tensor seen = clf__steps_buffer(s, which);
    clf_status status = clf__steps_launch(s, s->state->seen, (const clf_tensor *const[]){ &gradient, &seen }, 2, 0,
                                          gradient.shape[1], gradient.shape[0]);

    seen.shape[0] = s->batch;
    seen.shape[1] = s->keys;
    seen.strides[0] = s->keys;
    seen.strides[1] = 1;
    const clf__copy_problem problem = {
        .from = *x, .keep = seen, .to = clf__steps_heads(s, (step_buffer)(BUFFER_XQ + slot), s->keys, x->shape[1])
    };
    return status ? status : clf__copy_run(s->run, &s->state->gather_seen, &problem);
}

static clf_status keys_back(const steps *s, int slot, step_product weight, step_sum bias, step_product tokens)
{
    const step_buffer buffer = (step_buffer)(BUFFER_XQ + slot);
    clf_status status = s->masked ? gather_seen(s, slot) : clf__steps_regroup(s, &s->args->io[slot], buffer, true);

    if (status || (status = clf__steps_multiply(s, weight)) || (status = clf__steps_add_rows(s, bias)) ||
        (status = clf__steps_multiply(s, tokens)))
        return status;
    return clf__steps_regroup(s, &s->args->grad[slot], buffer, false);
}

clf_status clf__compositional_backward(clf_run *run)
{
    const steps s = clf__steps_of(clf_run_plan(run), run);
    clf_status status;

    if ((status = clf__steps_regroup(&s, &s.args->grad[CLF_QKV_OUT], BUFFER_OUT, true)) ||
        (status = clf__steps_multiply(&s, PRODUCT_D_COMPOSED)) || (status = clf__steps_multiply(&s, PRODUCT_W_OUT)) ||
        (status = clf__steps_add_rows(&s, SUM_OUT)) || (status = selection_back(&s)))
        return status;
    for (int i = 0; i < clf__steps_chunks(&s, true)->count && !status; i++)
        status = retrieval_back(&s, i);
    if (status || (status = queries_back(&s)) ||
        (status = keys_back(&s, CLF_QKV_K, PRODUCT_W_K, SUM_K, PRODUCT_D_XK)))
        return status;
    return keys_back(&s, CLF_QKV_V, PRODUCT_W_V, SUM_V, PRODUCT_D_XV);
}
