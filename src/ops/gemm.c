/* Which provider computes a product. */
#include "ops/gemm_provider.h"
#include "component/plan.h"
#include "core/status.h"
#include "tune/tune.h"
#include <stdio.h>
#include <string.h>

static const clf__gemm_provider *const vectors_first[] = {
    &clf__gemm_vector, &clf__gemm_portable, &clf__gemm_nvidia_wgmma, &clf__gemm_nvidia_mma, &clf__gemm_clblast,
    NULL
};
static const clf__gemm_provider *const items_first[] = {
    &clf__gemm_nvidia_wgmma, &clf__gemm_nvidia_mma, &clf__gemm_portable, &clf__gemm_vector, &clf__gemm_clblast,
    NULL
};

static const char *const names[] = { "vector", "portable", "nvidia_wgmma", "nvidia_mma", "clblast", NULL };

/* The provider `name` if it can do it; NULL otherwise, with the reason in the plan. `known` tells whether it exists. */
static const clf__gemm_provider *try_one(clf_plan *plan, const clf__gemm_provider *const *list, const char *name,
                                         const clf__gemm_product *product, bool *known)
{
    const clf_device *device = clf_plan_device(plan);
    char why[256] = "", label[32];

    for (; *list; list++) {
        if (name && strcmp(name, (*list)->name) != 0)
            continue;
        *known = true;
        if ((*list)->supports(device, product, why, sizeof why) &&
            (name || !(*list)->is_worth || (*list)->is_worth(device, product, why, sizeof why)))
            return *list;
        (void)snprintf(label, sizeof label, "matrix product by %s", (*list)->name);
        clf_plan_add_reason(plan, label, why);
    }
    return NULL;
}

clf_status clf__gemm_plan(clf_plan *plan, const clf__gemm_problem *problem, clf__gemm_choice *choice)
{
    clf_device *device = clf_plan_device(plan);
    const bool vectors = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS;
    const clf__gemm_provider *const *list = vectors ? vectors_first : items_first;
    const char *tuned = NULL;
    clf__gemm_product product;
    bool known = false;
    clf_status status = clf__gemm_view(problem, &product);

    *choice = (clf__gemm_choice){ 0 };
    if (status || (status = clf__tune_choice(device, "gemm.provider", names, &tuned)))
        return status;
    if (problem->provider)
        choice->provider = try_one(plan, list, problem->provider, &product, &known);
    else if (tuned)
        choice->provider = try_one(plan, list, tuned, &product, &known);
    if (!choice->provider && !problem->provider)
        choice->provider = try_one(plan, list, NULL, &product, &known);
    if (!known)
        return clf__plan_refuse_name(plan, "matrix product", problem->provider, names);
    if (!choice->provider)
        return clf_plan_refuse(plan, "no matrix product can do this on %s", clf_device_get_info(device)->name);
    return choice->provider->plan(plan, &product, choice);
}

clf_status clf__gemm(clf_run *run, const clf__gemm_choice *choice, const clf__gemm_problem *problem)
{
    clf__gemm_product product;
    clf_status status = clf__gemm_view(problem, &product);

    if (status || product.rows == 0 || product.columns == 0 || clf__gemm_items(&product) == 0)
        return status;
    return choice->provider->run(run, choice, &product);
}
