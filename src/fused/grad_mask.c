/* The gradient of an additive mask: a kernel of its own behind the family's backward pass. */
#include "fused/family.h"
#include "component/plan.h"
#include "tensor/tensor.h"
#include <stdio.h>

static bool is_wanted(const clf__fused_problem *problem)
{
    return problem->grad_mask.rank > 0;
}

bool clf__fused_grad_mask_fits(const clf__fused_problem *p, char *why, size_t size)
{
    if (!is_wanted(p))
        return true;
    if (p->q_starts.rank > 0 || p->k_lengths.rank > 0 || p->block_table.rank > 0 || p->blocks) {
        (void)snprintf(why, size, "the gradient of a mask does not go with sequences of different lengths, pages "
                       "or patterns");
        return false;
    }
    if (clf_tensor_elements(&p->grad_mask) <= INT32_MAX)
        return true;
    (void)snprintf(why, size, "the gradient of the mask has %lld elements, more than 2^31 - 1",
                   (long long)clf_tensor_elements(&p->grad_mask));
    return false;
}

clf_status clf__fused_grad_mask_plan(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const size_t most = clf_device_get_capabilities(clf_plan_device(plan))->max_work_group;
    char options[CLF__FUSED_OPTIONS], more[64];

    if (!is_wanted(problem) || !(clf_plan_passes(plan) & CLF_BACKWARD))
        return CLF_SUCCESS;
    fused->mask_tile = most >= 256 ? 16 : most >= 64 ? 8 : 1;
    (void)snprintf(more, sizeof more, "-DCLF_TILE=%d", fused->mask_tile);
    clf__fused_options(problem, 1, 1, more, options, sizeof options); /* widths are run-time numbers */
    return clf__plan_kernel(plan, "fused/grad_mask.cl", options, "clf_fused_grad_mask", &fused->grad_mask);
}

clf_status clf__fused_grad_mask_run(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_tensor *gradient = &problem->grad_mask;
    const int64_t *shape = gradient->shape, *strides = gradient->strides, tile = fused->mask_tile;
    const clf_tensor lse = clf__fused_lse(run, fused, problem), delta = clf__fused_delta(run, fused, problem);
    clf_binder binder = clf_bind(fused->grad_mask);

    if (!is_wanted(problem))
        return CLF_SUCCESS;
    const cl_long8 at = { { clf__tensor_start(gradient), strides[0], strides[1], strides[2], strides[3] } };
    const cl_int4 extents = { { (cl_int)shape[0], (cl_int)shape[1], (cl_int)shape[2], (cl_int)shape[3] } };
    const cl_int group = clf__fused_groups(problem);
    const size_t local = (size_t)(tile * tile);
    const size_t tiles = (size_t)((shape[2] + tile - 1) / tile * ((shape[3] + tile - 1) / tile) * shape[0] * shape[1]);
    const size_t global = tiles * local;

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->grad_out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind(&binder, &delta);
    clf_bind_mem(&binder, gradient->mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, &extents, sizeof extents);
    clf_bind_value(&binder, &group, sizeof group);
    clf__fused_bind_numbers(&binder, problem);
    return clf_launch(run, &binder, 1, &global, &local);
}
