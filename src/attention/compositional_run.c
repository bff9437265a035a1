/* Single steps of compositional attention, and its forward pass. */
#include "attention/compositional_steps.h"
#include "ops/lanes.h"

clf_status clf__steps_multiply(const steps *s, step_product which)
{
    clf__gemm_problem problem;

    if (!clf__steps_product(s, which, &problem))
        return CLF_SUCCESS;
    return clf__gemm(s->run, &s->state->products[which], &problem);
}

clf_status clf__steps_add_rows(const steps *s, step_sum which)
{
    clf_tensor matrix, to;
    bool accumulate;

    if (!clf__steps_sum(s, which, &matrix, &to, &accumulate))
        return CLF_SUCCESS;
    return clf__column_sums_run(s->run, &s->state->sums[which], &matrix, &to, accumulate);
}

/* A matrix, or a row, as [1, 1, rows, columns]. */
clf_tensor clf__steps_wide(clf_tensor matrix)
{
    const bool row = matrix.rank == 1;
    const int64_t rows = row ? 1 : matrix.shape[0], columns = matrix.shape[matrix.rank - 1];
    clf_tensor view = clf_tensor_view(matrix.mem, matrix.dtype, 4, (const int64_t[]){ 1, 1, rows, columns });

    view.offset = matrix.offset;
    view.strides[2] = row ? columns : matrix.strides[0];
    return view;
}

clf_status clf__steps_copy(const steps *s, const clf__copy *kernel, clf_tensor from, clf_tensor to)
{
    const clf__copy_problem problem = { .from = from, .to = to };
    return clf__copy_run(s->run, kernel, &problem);
}

/* Heads of the caller's tensor and rows of a buffer, one into the other. */
clf_status clf__steps_regroup(const steps *s, const clf_tensor *tensor, step_buffer which, bool into_rows)
{
    const clf_tensor rows = clf__steps_heads(s, which, tensor->shape[2], tensor->shape[1]);

    if (tensor->rank == 0 || clf__rows_matrix(tensor).rank > 0)
        return CLF_SUCCESS;
    return into_rows ? clf__steps_copy(s, &s->state->gather, *tensor, rows)
                     : clf__steps_copy(s, &s->state->gather, rows, *tensor);
}

/* Matrices in turn, each with the elements from row to row (0 where one serves all rows). */
static clf_binder bind_matrices(cl_kernel kernel, const clf_tensor *const *matrices, int count, int64_t rules,
                                int64_t width)
{
    const cl_int2 shape = { { (cl_int)rules, (cl_int)width } };
    clf_binder binder = clf_bind(kernel);

    for (int i = 0; i < count; i++) {
        const clf_tensor *m = matrices[i];
        const cl_long2 at = { { (cl_long)(m->offset / clf_dtype_size(m->dtype)),
                                m->shape[0] == 1 ? 0 : m->strides[0] } };
        clf_bind_mem(&binder, m->mem);
        clf_bind_value(&binder, &at, sizeof at);
    }
    clf_bind_value(&binder, &shape, sizeof shape);
    return binder;
}

clf_status clf__steps_launch(const steps *s, cl_kernel kernel, const clf_tensor *const *matrices, int count,
                             int64_t rules, int64_t width, int64_t items)
{
    clf_binder binder = bind_matrices(kernel, matrices, count, rules, width);
    return clf__lanes_launch(s->run, &binder, s->state->lanes, items);
}

/* ---- forward ----------------------------------------------------------------------------------------- */

/* q by position, then batch entry, as xFormers reads it when it selects by queries. */
clf_tensor clf__steps_by_position(const steps *s, step_buffer which)
{
    clf_tensor view = clf__steps_wide(clf__steps_buffer(s, which));

    view.shape[0] = s->queries;
    view.shape[2] = s->batch;
    view.strides[0] = view.shape[3];
    view.strides[2] = s->queries * view.shape[3];
    return view;
}

clf_tensor clf__steps_in_order(const steps *s, step_buffer which)
{
    clf_tensor view = clf__steps_by_position(s, which);

    view.strides[0] = s->batch * view.shape[3];
    view.strides[2] = view.shape[3];
    return view;
}

static clf_status project(const steps *s)
{
    static const step_product products[] = { PRODUCT_Q, PRODUCT_K, PRODUCT_V };
    clf_status status = CLF_SUCCESS;

    for (int slot = 0; slot < 3 && !status; slot++)
        if (!(status = clf__steps_regroup(s, &s->args->io[slot], (step_buffer)(BUFFER_XQ + slot), true)))
            status = clf__steps_multiply(s, products[slot]);
    if (!status && s->turned)
        status = clf__steps_copy(s, &s->state->gather, clf__steps_by_position(s, BUFFER_Q),
                                 clf__steps_in_order(s, BUFFER_TURNED));
    return status;
}

/* What the scores of rules are made of, before anything is retrieved. */
static clf_status prepare_scores(const steps *s)
{
    const clf_tensor linear = clf__steps_parameter(s, 2 * LAYER_SCORE, false);
    const clf_tensor top = clf__steps_parameter(s, 2 * LAYER_TOP, false);
    clf_status status;

    if (s->linear)
        return clf__steps_copy(s, &s->state->parameter, clf__steps_wide(clf__steps_columns(linear, 0, s->width)),
                               clf__steps_wide(clf__steps_buffer(s, BUFFER_U)));
    if ((status = clf__steps_multiply(s, PRODUCT_SELECT)) || (status = clf__steps_multiply(s, PRODUCT_U)) ||
        (status = clf__steps_multiply(s, PRODUCT_SHIFT)) || s->qk)
        return status;
    return clf__steps_copy(s, &s->state->parameter, clf__steps_wide(top),
                           clf__steps_wide(clf__steps_buffer(s, BUFFER_TOP)));
}

/* score[row][r] = u[row] . retrieved[row][r] */
clf_status clf__steps_multiply_rules(const steps *s, step_buffer u, step_buffer score)
{
    clf_tensor left = clf__steps_buffer(s, u);
    const clf_tensor a = clf__steps_buffer(s, BUFFER_RETRIEVED), to = clf__steps_buffer(s, score);

    if (u == BUFFER_D_COMPOSED) { /* its rows are tokens */
        left.shape[0] *= s->heads;
        left.strides[0] = s->width;
    }
    if (u == BUFFER_U && s->linear)
        left.shape[0] = 1;
    return clf__steps_launch(s, s->state->score, (const clf_tensor *const[]){ &left, &a, &to }, 3, s->rules, s->width,
                             to.shape[0] * s->rules);
}

/* out[row] = sum over r of weight[row][r] retrieved[row][r] */
clf_status clf__steps_mix_rules(const steps *s, step_buffer weight, step_buffer out)
{
    const clf_tensor w = clf__steps_buffer(s, weight), a = clf__steps_buffer(s, BUFFER_RETRIEVED);
    clf_tensor to = clf__steps_buffer(s, out);

    to.shape[0] = w.shape[0];
    to.strides[0] = s->width;
    return clf__steps_launch(s, s->state->mix, (const clf_tensor *const[]){ &w, &a, &to }, 3, s->rules, s->width,
                             w.shape[0] * clf__lanes_blocks(s->state->lanes, s->width));
}

/* Scores, weights and their sums by one kernel. */
static clf_status select_at_once(const steps *s)
{
    enum { ROWS = 16 }; /* as the kernel has it */
    const clf_tensor a = clf__steps_buffer(s, BUFFER_RETRIEVED), weight = clf__steps_buffer(s, BUFFER_WEIGHT);
    clf_tensor u = weight /* not read */, out = clf__steps_buffer(s, BUFFER_COMPOSED);
    const cl_ulong rows = (cl_ulong)weight.shape[0];
    const size_t global = (size_t)((rows + ROWS - 1) / ROWS), local = 1;

    if (!s->network)
        u = clf__steps_buffer(s, BUFFER_U);
    out.shape[0] = weight.shape[0];
    out.strides[0] = s->width;
    clf_binder binder = bind_matrices(s->state->select, (const clf_tensor *const[]){ &u, &a, &weight, &out }, 4,
                                      s->rules, s->width);
    clf_bind_value(&binder, &rows, sizeof rows);
    return clf_launch(s->run, &binder, 1, &global, &local);
}

static clf_status select_in_steps(const steps *s)
{
    const clf_tensor weight = clf__steps_buffer(s, BUFFER_WEIGHT);
    clf_status status = s->network ? CLF_SUCCESS : clf__steps_multiply_rules(s, BUFFER_U, BUFFER_WEIGHT);

    if (!status)
        status = clf__steps_launch(s, s->state->softmax, (const clf_tensor *const[]){ &weight }, 1, s->rules, s->width,
                                   weight.shape[0]);
    return status ? status : clf__steps_mix_rules(s, BUFFER_WEIGHT, BUFFER_COMPOSED);
}

static clf_status select_rules(const steps *s)
{
    const clf_tensor weight = clf__steps_buffer(s, BUFFER_WEIGHT), hidden = clf__steps_buffer(s, BUFFER_HIDDEN);
    const clf_tensor shift = clf__steps_buffer(s, BUFFER_SHIFT), top = clf__steps_buffer(s, BUFFER_TOP);
    clf_tensor rows = hidden;
    clf_status status = CLF_SUCCESS;

    rows.shape[0] = weight.shape[0]; /* all rules of a (token, head) in a row */
    rows.strides[0] = s->rules * s->selection;
    if (s->network && !(status = clf__steps_multiply(s, PRODUCT_HIDDEN)))
        status = clf__steps_launch(s, s->state->network, (const clf_tensor *const[]){ &rows, &shift, &top, &weight }, 4,
                                   s->rules, s->selection, weight.shape[0] * s->rules);
    if (status)
        return status;
    return s->state->select ? select_at_once(s) : select_in_steps(s);
}

clf_status clf__compositional_forward(clf_run *run)
{
    const steps s = clf__steps_of(clf_run_plan(run), run);
    const step_chunks *chunks = clf__steps_chunks(&s, false);
    clf_status status = project(&s);

    if (!status)
        status = prepare_scores(&s);
    for (int i = 0; i < chunks->count && !status; i++) {
        const clf__fused_problem attention = clf__steps_attention(&s, chunks, i);
        status = clf__fused_forward(run, &chunks->fused[i], &attention);
    }
    if (status || (status = select_rules(&s)) || (status = clf__steps_multiply(&s, PRODUCT_OUT)))
        return status;
    return clf__steps_regroup(&s, &s.args->io[CLF_QKV_OUT], BUFFER_OUT, false);
}
