/* Launching families whose groups own rows: one grid dimension, because the others may end at 65535. */
#include "fused/family.h"
#include "fused/sparse.h"
#include "component/plan.h"
#include "core/status.h"
#include <stdio.h>

clf_status clf__fused_kernels_rows(clf_plan *plan, const char *family, const char *const options[2], clf__fused *fused)
{
    const struct { const char *pass, *name; cl_kernel *kernel; } kernels[] = {
        { "forward", "clf_fused_forward", &fused->forward },
        { "backward", "clf_fused_delta", &fused->delta },
        { "backward", "clf_fused_backward_q", &fused->backward[0] },
        { "backward", "clf_fused_backward_kv", &fused->backward[1] },
    };
    const size_t count = clf_plan_passes(plan) & CLF_BACKWARD ? 4 : 1;

    for (size_t i = 0; i < count; i++) {
        char path[64], name[64];
        (void)snprintf(path, sizeof path, "fused/%s_%s.cl", family, kernels[i].pass);
        (void)snprintf(name, sizeof name, "%s_%s", kernels[i].name, family);
        clf_status status = clf__plan_kernel(plan, path, options[i > 0], name, kernels[i].kernel);
        if (status)
            return status;
    }
    return CLF_SUCCESS;
}

bool clf__fused_grid_fits(const clf__fused_problem *problem, int rows, int items, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t longest = s.queries > s.keys ? s.queries : s.keys;
    const int64_t groups = (longest + rows - 1) / rows * (s.batch * s.heads);

    if (longest <= INT32_MAX - rows && groups <= (int64_t)UINT32_MAX / items && groups <= INT32_MAX)
        return true;
    (void)snprintf(why, size, "%lld rows in %lld heads make too large a grid", (long long)longest,
                   (long long)(s.batch * s.heads));
    return false;
}

static clf_status launch(clf_run *run, const clf_binder *binder, int64_t heads, int64_t count, int rows, int items)
{
    const int64_t groups = (count + rows - 1) / rows * heads;
    const size_t global = (size_t)groups * (size_t)items, local = (size_t)items;

    return clf_launch(run, binder, 1, &global, &local);
}

clf_status clf__fused_launch_rows(clf_run *run, const clf_binder *binder, const clf__fused_problem *problem,
                                  int64_t count, int rows, int items)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    return launch(run, binder, s.batch * s.heads, count, rows, items);
}

clf_status clf__fused_launch_key_rows(clf_run *run, const clf_binder *binder, const clf__fused_problem *problem,
                                      int64_t count, int rows, int items)
{
    return launch(run, binder, clf__fused_shape_of(problem).batch * problem->k.shape[1], count, rows, items);
}

clf_status clf__fused_forward_rows(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->forward);
    const clf_tensor lse = clf__fused_lse(run, fused, problem);

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind_sinks(&binder, problem);
    clf__fused_bind_numbers(&binder, problem);
    clf__fused_bind_lists(&binder, run, &fused->lists[0]);
    return clf__fused_launch_rows(run, &binder, problem, clf__fused_shape_of(problem).queries, fused->rows[0],
                                  fused->items[0]);
}

/* delta = sum(out * grad_out): 64 rows a group. */
static clf_status launch_delta(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->delta);
    const clf_tensor delta = clf__fused_delta(run, fused, problem);

    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &problem->grad_out);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind_shape(&binder, problem);
    return clf__fused_launch_rows(run, &binder, problem, clf__fused_shape_of(problem).queries, 64, 64);
}

static clf_status launch_gradient(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem,
                                  cl_kernel kernel, const clf_tensor *first, const clf_tensor *second)
{
    clf_binder binder = clf_bind(kernel);
    const clf_tensor lse = clf__fused_lse(run, fused, problem), delta = clf__fused_delta(run, fused, problem);
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int own = second && fused->rows[2] ? 2 : 1, rows = fused->rows[own], items = fused->items[own];

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->grad_out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind(&binder, first);
    if (second)
        clf__fused_bind(&binder, second);
    clf__fused_bind_numbers(&binder, problem);
    clf__fused_bind_lists(&binder, run, &fused->lists[second ? 2 : 1]);
    if (fused->maps & CLF_BACKWARD)
        clf__fused_bind_maps(&binder, run, fused);
    return second ? clf__fused_launch_key_rows(run, &binder, problem, s.keys, rows, items)
                  : clf__fused_launch_rows(run, &binder, problem, s.queries, rows, items);
}

clf_status clf__fused_gradients_rows(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_status status = CLF_SUCCESS;

    if (problem->grad_q.rank > 0)
        status = launch_gradient(run, fused, problem, fused->backward[0], &problem->grad_q, NULL);
    if (status == CLF_SUCCESS && (problem->grad_k.rank > 0 || problem->grad_v.rank > 0))
        status = launch_gradient(run, fused, problem, fused->backward[1], &problem->grad_k, &problem->grad_v);
    return status;
}

clf_status clf__fused_backward_rows(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_status status = launch_delta(run, fused, problem);
    return status ? status : clf__fused_gradients_rows(run, fused, problem);
}
