/* Sinks: a score of each head that has no key (Xiao et al. 2023, arXiv:2309.17453). Forward kernels begin their rows
 * with it; its gradient needs nothing but lse and delta, so it is one kernel for all families. */
#include "component/plan.h"
#include "fused/family.h"

void clf__fused_bind_sinks(clf_binder *binder, const clf__fused_problem *problem)
{
    if (problem->sinks.rank > 0)
        clf__fused_bind(binder, &problem->sinks);
}

clf_status clf__fused_plan_sinks(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    char options[96];

    if (!(clf_plan_passes(plan) & CLF_BACKWARD) || problem->grad_sinks.rank == 0)
        return CLF_SUCCESS;
    clf__fused_sequence_options(problem, options, sizeof options);
    return clf__plan_kernel(plan, "fused/sinks.cl", options, "clf_fused_backward_sinks", &fused->sinks);
}

clf_status clf__fused_backward_sinks(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_tensor lse = clf__fused_lse(run, fused, problem), delta = clf__fused_delta(run, fused, problem);
    const size_t local = 64, global = local * (size_t)problem->q.shape[1];
    clf_binder binder = clf_bind(fused->sinks);

    if (problem->grad_sinks.rank == 0)
        return CLF_SUCCESS;
    clf__fused_bind(&binder, &problem->sinks);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind(&binder, &problem->grad_sinks);
    clf__fused_bind_shape(&binder, problem);
    return clf_launch(run, &binder, 1, &global, &local);
}
