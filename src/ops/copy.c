/* Copies between views: the kernel's options, arguments and grid; rows of tokens; sums over rows. */
#include "ops/copy.h"
#include "component/plan.h"
#include "ops/lanes.h"
#include <stdio.h>

enum { STRETCH = 128 }; /* rows that one work-item adds up */

static const char *type_of(const clf_tensor *tensor)
{
    return tensor->dtype == CLF_F16 ? "f16" : tensor->dtype == CLF_BF16 ? "bf16" : "f32";
}

clf_status clf__copy_plan(clf_plan *plan, const clf__copy_problem *problem, int lanes, clf__copy *copy)
{
    char options[128];

    *copy = (clf__copy){ .lanes = lanes };
    (void)snprintf(options, sizeof options,
                   "-DCLF_LANES=%d -DCLF_FROM=%s -DCLF_TO=%s -DCLF_KEEP=%d -DCLF_ACCUMULATE=%d", lanes,
                   type_of(&problem->from), type_of(&problem->to), problem->keep.rank > 0, problem->accumulate);
    return clf__plan_kernel(plan, "ops/copy.cl", options, "clf_copy", &copy->kernel);
}

static void bind(clf_binder *binder, const clf_tensor *tensor)
{
    const cl_long4 nowhere = { { 0 } };

    if (tensor->rank > 0) {
        clf__lanes_bind(binder, tensor);
        return;
    }
    clf_bind_mem(binder, NULL);
    clf_bind_value(binder, &nowhere, sizeof nowhere);
}

clf_status clf__copy_run(clf_run *run, const clf__copy *copy, const clf__copy_problem *p)
{
    const int64_t *shape = p->to.shape, slices = p->from.rank == 0 ? 0 : p->slices > 0 ? p->slices : 1;
    const cl_long4 extents = { { shape[1], shape[2], shape[3] } };
    const cl_long4 sum = { { slices, p->step, p->limit > 0 ? p->limit : slices * shape[2] } };
    clf_binder binder = clf_bind(copy->kernel);

    bind(&binder, &p->from);
    bind(&binder, &p->to);
    bind(&binder, &p->keep);
    clf_bind_value(&binder, &extents, sizeof extents);
    clf_bind_value(&binder, &sum, sizeof sum);
    return clf__lanes_launch(run, &binder, copy->lanes,
                             shape[0] * shape[1] * shape[2] * clf__lanes_blocks(copy->lanes, shape[3]));
}

/* ---- rows of tokens ------------------------------------------------------------------------------- */

clf_tensor clf__rows_at(clf_buffer buffer, uint64_t at, clf_dtype dtype, const int64_t shape[4])
{
    clf_tensor rows = clf_tensor_view(buffer.mem, dtype, 4, shape);

    rows.offset = buffer.offset + at;
    rows.strides[0] = shape[2] * shape[1] * shape[3];
    rows.strides[1] = shape[3];
    rows.strides[2] = shape[1] * shape[3];
    return rows;
}

clf_tensor clf__rows_matrices(const clf_tensor *tensor)
{
    const int64_t shape[3] = { tensor->shape[0], tensor->shape[2], tensor->shape[1] * tensor->shape[3] };
    clf_tensor matrices = clf_tensor_view(tensor->mem, tensor->dtype, 3, shape);

    if (tensor->shape[1] != 1 && tensor->strides[1] != tensor->shape[3])
        return (clf_tensor){ .rank = 0 };
    matrices.offset = tensor->offset;
    matrices.strides[0] = tensor->strides[0];
    matrices.strides[1] = tensor->strides[2];
    return matrices;
}

clf_tensor clf__rows_matrix(const clf_tensor *tensor)
{
    clf_tensor matrix = clf__rows_matrices(tensor);

    if (matrix.rank == 0)
        return matrix;
    if (matrix.shape[1] == 1)
        matrix.strides[1] = matrix.strides[0];
    else if (matrix.shape[0] != 1 && matrix.strides[0] != matrix.shape[1] * matrix.strides[1])
        return (clf_tensor){ .rank = 0 };
    matrix.rank = 2;
    matrix.shape[0] *= matrix.shape[1];
    matrix.shape[1] = matrix.shape[2];
    matrix.strides[0] = matrix.strides[1];
    matrix.strides[1] = 1;
    return matrix;
}

/* ---- sums over rows ------------------------------------------------------------------------------- */

/* The stretches of a matrix as slices of the rows of another: `partial` [1, 1, stretches, D]. */
static clf__copy_problem stretches_of(const clf_tensor *matrix, clf_buffer workspace, uint64_t at)
{
    const int64_t rows = matrix->shape[0], width = matrix->shape[1];
    const int64_t shape[4] = { 1, 1, (rows + STRETCH - 1) / STRETCH, width };
    clf__copy_problem p = { .from = *matrix, .to = clf__rows_at(workspace, at, CLF_F32, shape), .slices = STRETCH,
                            .step = matrix->strides[0], .limit = rows };

    p.from.rank = 4;
    p.from.strides[0] = p.from.strides[1] = 0;
    p.from.strides[2] = STRETCH * matrix->strides[0];
    p.from.strides[3] = 1;
    return p;
}

static clf__copy_problem total_of(const clf__copy_problem *stretches, const clf_tensor *to, bool accumulate)
{
    clf__copy_problem p = { .from = stretches->to, .to = *to, .slices = stretches->to.shape[2],
                            .step = stretches->to.shape[3], .accumulate = accumulate };

    if (p.slices == 0)
        p.from.rank = 0;
    p.to.rank = 4;
    for (int i = 0; i < 3; i++) {
        p.to.shape[i] = 1;
        p.to.strides[i] = 0;
    }
    p.to.shape[3] = stretches->to.shape[3];
    p.to.strides[3] = 1;
    return p;
}

clf_status clf__column_sums_plan(clf_plan *plan, const clf_tensor *matrix, const clf_tensor *to, bool accumulate,
                                 int lanes, clf__column_sums *sums)
{
    const clf__copy_problem stretches = stretches_of(matrix, (clf_buffer){ 0 }, 0);
    const clf__copy_problem total = total_of(&stretches, to, accumulate);
    clf_status status = clf__copy_plan(plan, &stretches, lanes, &sums->stretches);

    sums->partial = clf_plan_workspace(plan, (uint64_t)clf_tensor_elements(&stretches.to) * sizeof(float));
    return status ? status : clf__copy_plan(plan, &total, lanes, &sums->total);
}

clf_status clf__column_sums_run(clf_run *run, const clf__column_sums *sums, const clf_tensor *matrix,
                                const clf_tensor *to, bool accumulate)
{
    const clf__copy_problem stretches = stretches_of(matrix, clf_run_workspace(run), sums->partial);
    const clf__copy_problem total = total_of(&stretches, to, accumulate);
    clf_status status = clf__copy_run(run, &sums->stretches, &stretches);

    return status ? status : clf__copy_run(run, &sums->total, &total);
}
