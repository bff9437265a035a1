/* xFormers' sparse path under a mask: which pairs it loses, found on the device ahead of each pass. */
#include "component/plan.h"
#include "fused/family.h"
#include "fused/sparse.h"
#include "pattern/bind.h"
#include <stdio.h>

enum { ITEMS = 64 };

static bool repeats(const clf_tensor *mask, int axis)
{
    return mask->shape[axis] == 1 || mask->strides[axis] == 0;
}

clf_status clf__fused_lose_under_mask(clf_plan *plan, clf__fused_problem *problem)
{
    const clf_tensor *mask = &problem->mask;

    if (mask->rank == 0)
        return CLF_SUCCESS;
    if (mask->dtype != CLF_BOOL8 && mask->dtype != CLF_U8)
        return clf_plan_refuse(plan, "'att_mask' is %s: in xformers semantics the sparse path takes a boolean one, it "
                               "adds nothing to scores; use paper semantics", clf_dtype_name(mask->dtype));
    for (int axis = 0; axis < mask->rank - 2; axis++)
        if (!repeats(mask, axis))
            return clf_plan_refuse(plan, "'att_mask' is another one for each batch or head: in xformers semantics the "
                                   "sparse path takes one for all; use paper semantics");
    problem->loses = true;
    return CLF_SUCCESS;
}

/* The two numbers of the first pair that is lost. */
static clf_tensor first_lost(const clf_buffer *workspace, uint64_t offset)
{
    const int64_t shape[1] = { 2 };
    clf_tensor tensor = clf_tensor_view(workspace->mem, CLF_I32, 1, shape);

    tensor.offset = workspace->offset + offset;
    return tensor;
}

clf__fused_problem clf__fused_without_lost(const clf__fused_problem *problem, char *text, size_t size)
{
    static const char before[] = "(k)<(clf_int)((q)<lost[0]?INT_MAX:(q)==lost[0]?lost[1]:0)";
    const clf_buffer nowhere = { 0 };
    clf__fused_problem rest = *problem;

    if (problem->mask_mod)
        (void)snprintf(text, size, "(%s)&(%s)", problem->mask_mod, before);
    else
        (void)snprintf(text, size, "%s", before);
    rest.mask_mod = text;
    rest.extra_name[0] = "lost";
    rest.extra[0] = first_lost(&nowhere, 0);
    return rest;
}

clf_status clf__fused_plan_lost(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    clf__fused_problem alone = *problem; /* nothing but who sees whom: kernels for all types and rates of dropout */
    char options[CLF__FUSED_OPTIONS], more[32];
    const char *path = "fused/lost.cl";
    clf_status status = CLF_SUCCESS;

    alone.q.dtype = alone.out.dtype = CLF_F32;
    alone.dropout = 0;
    fused->first_lost = clf_plan_workspace(plan, 2 * sizeof(cl_int));
    fused->left = clf_plan_workspace(plan, (uint64_t)problem->q.shape[2] * sizeof(cl_int));
    if (problem->blocks)
        status = clf__fused_lists_of_rows(plan, problem, false, &fused->lost_rows);
    (void)snprintf(more, sizeof more, "-DCLF_BLOCKS=%d", problem->blocks != NULL);
    clf__fused_options(&alone, 1, 1, more, options, sizeof options);
    if (!status)
        status = clf__plan_kernel(plan, path, options, "clf_fused_count_left", &fused->count_left);
    return status ? status : clf__plan_kernel(plan, path, options, "clf_fused_find_lost", &fused->find_lost);
}

static void bind_numbers(clf_binder *binder, const clf_run *run, const clf__fused *fused,
                         const clf__fused_problem *problem)
{
    clf__fused_bind_shape(binder, problem);
    clf__fused_bind_lists(binder, run, &fused->lost_rows);
}

clf_status clf__fused_find_lost(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem,
                                clf__fused_problem *rest)
{
    const clf_buffer workspace = clf_run_workspace(run);
    const size_t local = ITEMS, global = ((size_t)problem->q.shape[2] + local - 1) / local * local;
    clf_binder binder = clf_bind(fused->count_left);

    *rest = *problem;
    if (!fused->find_lost)
        return CLF_SUCCESS;
    rest->extra_name[0] = "lost";
    rest->extra[0] = first_lost(&workspace, fused->first_lost);
    clf_tensor counts = first_lost(&workspace, fused->left);
    counts.shape[0] = problem->q.shape[2];
    clf__bind_mask(&binder, &problem->mask);
    clf__fused_bind(&binder, &counts);
    bind_numbers(&binder, run, fused, problem);
    const clf_status status = clf_launch(run, &binder, 1, &global, &local);
    if (status)
        return status;
    binder = clf_bind(fused->find_lost);
    clf__bind_mask(&binder, &problem->mask);
    clf__fused_bind(&binder, &counts);
    clf__fused_bind(&binder, &rest->extra[0]);
    bind_numbers(&binder, run, fused, problem);
    return clf_launch(run, &binder, 1, &local, &local);
}
