/* Sequences of different lengths: their tables among the arguments of kernels, and the rows that belong to none. */
#include "component/plan.h"
#include "fused/family.h"
#include "tensor/tensor.h"
#include <math.h>
#include <stdio.h>

bool clf__fused_has_sequences(const clf__fused_problem *problem)
{
    return problem->q_starts.rank > 0 || problem->k_starts.rank > 0 || problem->k_lengths.rank > 0;
}

void clf__fused_sequence_options(const clf__fused_problem *problem, char *options, size_t size)
{
    (void)snprintf(options, size, "-DCLF_STARTS=%d -DCLF_LENGTHS=%d -DCLF_BOTTOM_RIGHT=%d",
                   (problem->q_starts.rank > 0) + 2 * (problem->k_starts.rank > 0), problem->k_lengths.rank > 0,
                   problem->bottom_right && clf__fused_has_sequences(problem));
}

void clf__fused_bind_sequences(clf_binder *binder, const clf__fused_problem *problem)
{
    const cl_int2 all_rows = { { (cl_int)problem->q.shape[2], (cl_int)problem->k.shape[2] } };

    if (!clf__fused_has_sequences(problem))
        return;
    clf__fused_bind(binder, &problem->q_starts);
    clf__fused_bind(binder, &problem->k_starts);
    clf__fused_bind(binder, &problem->k_lengths);
    clf_bind_value(binder, &all_rows, sizeof all_rows);
}

/* ---- what is possible ------------------------------------------------------------------------------ */

static bool is_table(const clf_tensor *table, const char *name, int64_t count, char *why, size_t size)
{
    if (table->rank == 0 || (table->rank == 1 && table->dtype == CLF_I32 && table->shape[0] == count))
        return true;
    (void)snprintf(why, size, "'%s' has %lld entries of type %s, not %lld of type I32", name, (long long)table->shape[0],
                   clf_dtype_name(table->dtype), (long long)count);
    return false;
}

/* Tensors with starts have all sequences in batch 0, others a batch for each. */
static bool is_in_place(const clf_tensor *tensor, const clf_tensor *starts, const char *name, int64_t sequences,
                        char *why, size_t size)
{
    const int64_t batch = starts->rank > 0 ? 1 : sequences;

    if (tensor->shape[0] == batch)
        return true;
    (void)snprintf(why, size, "'%s' has a batch of %lld, not %lld, for %lld sequences%s", name, (long long)tensor->shape[0],
                   (long long)batch, (long long)sequences, starts->rank > 0 ? " in a row" : "");
    return false;
}

bool clf__fused_sequences_fit(const clf__fused_problem *p, char *why, size_t size)
{
    const int64_t sequences = clf__fused_shape_of(p).batch;
    const bool    in_a_row = p->q_starts.rank > 0 || p->k_starts.rank > 0;

    if (!clf__fused_has_sequences(p) || p->block_table.rank > 0)
        return true;
    if (!is_table(&p->q_starts, "q_starts", sequences + 1, why, size) ||
        !is_table(&p->k_starts, "k_starts", sequences + 1, why, size) ||
        !is_table(&p->k_lengths, "k_lengths", sequences, why, size) ||
        !is_in_place(&p->q, &p->q_starts, "q", sequences, why, size) ||
        !is_in_place(&p->k, &p->k_starts, "k", sequences, why, size))
        return false;
    if (sequences < 0 || p->max_queries < 0 || p->max_keys < 0)
        (void)snprintf(why, size, "there are %lld sequences of at most %lld queries and %lld keys", (long long)sequences,
                       (long long)p->max_queries, (long long)p->max_keys);
    else if (in_a_row && p->mask.rank > 0)
        (void)snprintf(why, size, "a mask belongs to whole tensors: sequences in a row cannot have one");
    else if (p->padding.rank > 0 && (p->q_starts.rank > 0) != (p->k_starts.rank > 0))
        (void)snprintf(why, size, "key padding needs queries and keys both in a row, or both in batches");
    else
        return true;
    return false;
}

/* ---- rows of no sequence ------------------------------------------------------------------------------ */

/* Does the tensor with the rows of q, or of k, have such rows? */
static bool has_gaps(const clf__fused_problem *problem, bool of_keys)
{
    return of_keys ? problem->k_starts.rank > 0 || problem->k_lengths.rank > 0 : problem->q_starts.rank > 0;
}

static clf_status plan_fill(clf_plan *plan, clf_dtype dtype, cl_kernel *kernel)
{
    char options[32];

    (void)snprintf(options, sizeof options, "-DCLF_STORAGE=%d", clf__storage_number(dtype));
    return clf__plan_kernel(plan, "fused/gaps.cl", options, "clf_fused_fill_gaps", kernel);
}

clf_status clf__fused_plan_gaps(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const bool backward = (clf_plan_passes(plan) & CLF_BACKWARD) != 0;
    clf_status status = CLF_SUCCESS;

    if (has_gaps(problem, false))
        status = plan_fill(plan, problem->out.dtype, &fused->gaps[0]);
    if (!status && has_gaps(problem, false) && (backward || problem->lse.rank > 0))
        status = plan_fill(plan, CLF_F32, &fused->gaps[1]);
    if (!status && backward && (has_gaps(problem, false) || has_gaps(problem, true)))
        status = plan_fill(plan, problem->q.dtype, &fused->gaps[2]);
    return status;
}

static clf_status fill(clf_run *run, cl_kernel kernel, const clf__fused_problem *problem, const clf_tensor *rows,
                       bool of_keys, float value)
{
    static const clf_tensor absent;
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const clf_tensor *starts = of_keys ? &problem->k_starts : &problem->q_starts;
    const cl_int8 shape = { { (cl_int)rows->shape[2], (cl_int)rows->shape[0], (cl_int)rows->shape[1],
                              rows->rank > 3 ? (cl_int)rows->shape[3] : 1, (cl_int)s.batch,
                              (cl_int)(of_keys ? s.keys : s.queries) } };
    const size_t local = 64, global = (size_t)((rows->shape[2] + 63) / 64 * rows->shape[0]) * local;
    clf_binder binder;

    if (rows->rank == 0 || !has_gaps(problem, of_keys))
        return CLF_SUCCESS;
    binder = clf_bind(kernel);
    clf__fused_bind(&binder, rows);
    clf__fused_bind(&binder, starts);
    clf__fused_bind(&binder, of_keys ? &problem->k_lengths : &absent);
    clf_bind_value(&binder, &shape, sizeof shape);
    clf_bind_value(&binder, &value, sizeof value);
    return clf_launch(run, &binder, 1, &global, &local);
}

clf_status clf__fused_forward_gaps(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_tensor lse = clf__fused_lse(run, fused, problem);
    const clf_status status = fill(run, fused->gaps[0], problem, &problem->out, false, 0);

    return status ? status : fill(run, fused->gaps[1], problem, &lse, false, -INFINITY);
}

clf_status clf__fused_backward_gaps(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_tensor *const gradients[] = { &problem->grad_q, &problem->grad_k, &problem->grad_v };
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < 3 && !status; i++)
        status = fill(run, fused->gaps[2], problem, gradients[i], i > 0, 0);
    return status;
}
