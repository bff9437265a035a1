/* The tensors of linformer and what its steps work on. */
#include "attention/linformer_steps.h"

const int clf__linformer_slots[2] = { CLF_QKV_K, CLF_QKV_V };
static const char *const weights[2] = { "E.weight", "F.weight" };

linformer_context clf__linformer_context(clf_plan *plan, clf_run *run)
{
    linformer_context c = { .plan = plan, .run = run, .config = clf_plan_config(plan),
                            .args = run ? clf_run_args(run) : clf_plan_args(plan),
                            .state = clf_plan_state(plan, sizeof(linformer_state)) };

    if (run) {
        c.workspace = clf_run_workspace(run);
        c.kept = clf_plan_passes(plan) & CLF_BACKWARD ? clf_run_saved(run) : c.workspace;
    }
    return c;
}

/* The keys or values as rows of tokens. */
clf_tensor clf__linformer_rows(const linformer_context *c, int which)
{
    const clf_tensor *x = &c->args->io[clf__linformer_slots[which]];
    const linformer_side *side = &c->state->sides[which];

    return side->gathers ? clf__rows_at(c->workspace, side->rows, x->dtype, x->shape) : *x;
}

static clf_tensor short_rows(const linformer_context *c, int which, clf_buffer buffer, uint64_t at)
{
    const clf_tensor *x = &c->args->io[clf__linformer_slots[which]];
    const int64_t shape[4] = { x->shape[0], x->shape[1], c->config->k, x->shape[3] };

    return clf__rows_at(buffer, at, x->dtype, shape);
}

clf_tensor clf__linformer_shortened(const linformer_context *c, int which)
{
    return short_rows(c, which, c->kept, c->state->sides[which].shortened);
}

clf_tensor clf__linformer_short_gradient(const linformer_context *c, int which)
{
    return short_rows(c, which, c->workspace, c->state->sides[which].gradient);
}

clf_tensor clf__linformer_weight_sum(const linformer_context *c, int which)
{
    const int64_t shape[4] = { 1, 1, c->config->k, c->args->io[CLF_QKV_K].shape[2] };
    return clf__rows_at(c->workspace, c->state->sides[which].sum, CLF_F32, shape);
}

/* Columns `first` to `end` of a weight, or of its gradient, as [1, 1, k, columns]. */
static clf_status weight_columns(const linformer_context *c, int which, bool gradient, int64_t first, int64_t end,
                                 clf_tensor *columns)
{
    clf_instance *instance = clf_plan_instance(c->plan);
    clf_tensor whole;
    const clf_status status = gradient ? clf_instance_gradient(instance, weights[which], &whole)
                                       : clf_instance_parameter(instance, weights[which], &whole);

    if (status)
        return status;
    *columns = clf_tensor_view(whole.mem, whole.dtype, 4, (const int64_t[]){ 1, 1, whole.shape[0], end - first });
    columns->offset = whole.offset + (uint64_t)first * clf_dtype_size(whole.dtype);
    columns->strides[2] = whole.shape[1];
    return CLF_SUCCESS;
}

/* The same as a matrix. */
static clf_tensor matrix_of(const clf_tensor *columns)
{
    clf_tensor matrix = *columns;

    matrix.rank = 2;
    for (int i = 0; i < 2; i++) {
        matrix.shape[i] = columns->shape[2 + i];
        matrix.strides[i] = columns->strides[2 + i];
    }
    return matrix;
}

/* ---- the steps --------------------------------------------------------------------------------------- */

clf__copy_problem clf__linformer_gather(const linformer_context *c, int which)
{
    return (clf__copy_problem){ .from = c->args->io[clf__linformer_slots[which]], .to = clf__linformer_rows(c, which),
                                .keep = c->args->io[CLF_QKV_KEY_PADDING_MASK] };
}

clf_status clf__linformer_shorten(const linformer_context *c, int which, clf__gemm_problem *problem)
{
    const bool apart = c->state->sides[which].apart;
    const clf_tensor rows = apart ? c->args->io[clf__linformer_slots[which]] : clf__linformer_rows(c, which);
    const clf_tensor result = clf__linformer_shortened(c, which);
    clf_tensor weight = { 0 };
    clf_status status = weight_columns(c, which, false, 0, rows.shape[2], &weight);

    *problem = (clf__gemm_problem){ .a = matrix_of(&weight), .b = apart ? rows : clf__rows_matrices(&rows),
                                    .c = apart ? result : clf__rows_matrices(&result), .alpha = 1 };
    return status;
}

clf__gemm_problem clf__linformer_weigh(const linformer_context *c, int which, int64_t b)
{
    const clf_tensor rows = clf__linformer_rows(c, which), gradient = clf__linformer_short_gradient(c, which);
    const clf_tensor sum = clf__linformer_weight_sum(c, which);
    const clf_tensor left = clf__rows_matrices(&gradient), right = clf__rows_matrices(&rows);
    clf_tensor a = matrix_of(&sum), k = a;

    a.shape[1] = k.shape[1] = left.shape[2];
    k.shape[0] = right.shape[1];
    a.mem = left.mem;
    k.mem = right.mem;
    a.dtype = k.dtype = left.dtype;
    a.offset = left.offset + (uint64_t)(b * left.strides[0]) * clf_dtype_size(left.dtype);
    k.offset = right.offset + (uint64_t)(b * right.strides[0]) * clf_dtype_size(right.dtype);
    a.strides[0] = left.strides[1];
    k.strides[0] = right.strides[1];
    return (clf__gemm_problem){ .a = a, .b = clf__gemm_transposed(&k), .c = matrix_of(&sum), .alpha = 1,
                                .beta = b > 0 ? 1 : 0 };
}

clf_status clf__linformer_lengthen(const linformer_context *c, int which, clf__gemm_problem *problem)
{
    const bool padded = c->args->io[CLF_QKV_KEY_PADDING_MASK].rank > 0;
    const clf_tensor gradient = clf__linformer_short_gradient(c, which);
    clf_tensor weight = { 0 };
    clf_status status = weight_columns(c, which, false, 0, c->args->io[CLF_QKV_K].shape[2], &weight);
    const clf_tensor matrix = matrix_of(&weight);

    *problem = (clf__gemm_problem){ .a = clf__gemm_transposed(&matrix), .b = gradient,
                                    .c = padded ? clf__linformer_rows(c, which)
                                                : c->args->grad[clf__linformer_slots[which]],
                                    .alpha = 1 };
    return status;
}

clf__copy_problem clf__linformer_scatter(const linformer_context *c, int which)
{
    return (clf__copy_problem){ .from = clf__linformer_rows(c, which), .to = c->args->grad[clf__linformer_slots[which]],
                                .keep = c->args->io[CLF_QKV_KEY_PADDING_MASK] };
}

clf_status clf__linformer_finish(const linformer_context *c, int which, clf__copy_problem *problem)
{
    const int64_t items = c->args->io[CLF_QKV_K].shape[0] * c->args->io[CLF_QKV_K].shape[1];

    *problem = (clf__copy_problem){ .from = clf__linformer_weight_sum(c, which) };
    if (items == 0)
        problem->from.rank = 0;
    return weight_columns(c, which, true, 0, c->args->io[CLF_QKV_K].shape[2], &problem->to);
}

clf_status clf__linformer_zero(const linformer_context *c, int which, clf__copy_problem *problem)
{
    *problem = (clf__copy_problem){ .from.rank = 0 };
    return weight_columns(c, which, true, c->args->io[CLF_QKV_K].shape[2], c->config->base.seq_len, &problem->to);
}

clf__fused_problem clf__linformer_attention(const linformer_context *c)
{
    clf__fused_problem problem = clf__fused_problem_qkv(c->args, 0, c->config->base.dropout);

    problem.padding = (clf_tensor){ .rank = 0 };
    problem.k = clf__linformer_shortened(c, 0);
    problem.v = clf__linformer_shortened(c, 1);
    if (c->state->drop)
        problem.out = clf__rows_at(c->kept, c->state->plain, problem.out.dtype, problem.out.shape);
    if (!(clf_plan_passes(c->plan) & CLF_BACKWARD))
        return problem;
    problem.grad_k = clf__linformer_short_gradient(c, 0);
    problem.grad_v = clf__linformer_short_gradient(c, 1);
    if (c->state->drop)
        problem.grad_out = clf__rows_at(c->workspace, c->state->plain_grad, problem.out.dtype, problem.out.shape);
    return problem;
}
