/* Which family runs, and what every family needs of a plan. */
#include "fused/family.h"
#include "component/plan.h"
#include "core/log.h"
#include "core/status.h"
#include "fused/snippet.h"
#include "fused/sparse.h"
#include "tune/tune.h"
#include <stdio.h>
#include <string.h>

const char *const clf__fused_families[] = {
    "vector", "vector_decode", "portable", "portable_decode", "gather_vector", "gather_portable", "nvidia_wgmma",
    "nvidia_wgmma_f32", "nvidia_mma", "nvidia_decode", "reference", NULL
};

static const clf__fused_family *const vectors_first[] = {
    &clf__fused_vector_decode, &clf__fused_vector, &clf__fused_portable_decode, &clf__fused_portable,
    &clf__fused_nvidia_wgmma, &clf__fused_nvidia_wgmma_f32, &clf__fused_nvidia_mma, &clf__fused_nvidia_decode,
    &clf__fused_reference, NULL
};
static const clf__fused_family *const items_first[] = {
    &clf__fused_portable_decode, &clf__fused_portable, &clf__fused_vector_decode, &clf__fused_vector,
    &clf__fused_nvidia_wgmma, &clf__fused_nvidia_wgmma_f32, &clf__fused_nvidia_mma, &clf__fused_nvidia_decode,
    &clf__fused_reference, NULL
};
static const clf__fused_family *const matrix_first[] = {
    &clf__fused_nvidia_decode, &clf__fused_portable_decode, &clf__fused_nvidia_wgmma, &clf__fused_nvidia_wgmma_f32,
    &clf__fused_nvidia_mma, &clf__fused_portable, &clf__fused_vector_decode, &clf__fused_vector,
    &clf__fused_reference, NULL
};
static const clf__fused_family *const gather[] = { &clf__fused_gather_vector, &clf__fused_gather_portable, NULL };

static const clf__fused_family *find_family(const char *name)
{
    const clf__fused_family *const *const lists[2] = { vectors_first, gather };

    for (int list = 0; list < 2; list++)
        for (const clf__fused_family *const *family = lists[list]; *family; family++)
            if (strcmp((*family)->name, name) == 0)
                return *family;
    return NULL;
}

/* Would the device run the family on a problem of this type that all of them can do? */
static bool suits(const clf_device *device, const clf__fused_family *family, clf_dtype dtype, int pass)
{
    const int64_t few[] = { 1, 1, 16, 64 }, many[] = { 1, 1, 64, 64 };
    const clf_tensor queries = clf_tensor_view(NULL, dtype, 4, few), keys = clf_tensor_view(NULL, dtype, 4, many);
    clf__fused_blocks blocks = { 0 };
    clf__fused_problem problem = { .q = queries, .k = keys, .v = keys, .out = queries, .grad_out = queries,
                                   .scale = 1 };
    clf_pattern *pattern = NULL;
    char why[256];

    if (clf_pattern_window(few[2], many[2], 0, -1, 8, 0, &pattern))
        return false;
    blocks.pattern = pattern;
    problem.blocks = &blocks;
    const bool yes = family->supports(device, &problem, CLF_FORWARD | pass, why, sizeof why);
    clf_pattern_free(pattern);
    return yes;
}

const char *clf__fused_feature(const clf_device *device, const char *family, int i, int *passes)
{
    const clf__fused_family *found = find_family(family);

    *passes = 0;
    for (int pass = CLF_FORWARD; found && pass <= CLF_BACKWARD; pass++) {
        const unsigned features = pass == CLF_FORWARD ? found->forward_features : found->backward_features;
        if (i >= 0 && i < 32 && (features >> i & 1) &&
            (!device || suits(device, found, CLF_F16, pass) || suits(device, found, CLF_F32, pass)))
            *passes |= pass;
    }
    return clf__fused_feature_name(i);
}

/* Has the family everything that the problem asks for? */
static bool has_features(const clf__fused_family *family, unsigned asked, int passes, char *why, size_t size)
{
    const unsigned lacks_forward = asked & ~family->forward_features;
    const unsigned lacks_backward = passes & CLF_BACKWARD ? asked & ~family->backward_features : 0;
    int bit = 0;

    if (!(lacks_forward | lacks_backward))
        return true;
    while (!((lacks_forward | lacks_backward) >> bit & 1))
        bit++;
    (void)snprintf(why, size, "cannot do %s%s", clf__fused_feature_name(bit),
                   lacks_forward >> bit & 1 ? "" : " backward");
    return false;
}

static int widest_values(const clf__fused_family *family, int passes)
{
    return family->widest_values > 0 && !(passes & CLF_BACKWARD) ? family->widest_values : CLF__FUSED_WIDEST;
}

/* Does the family do the problem on this device? Most families get pages and quantised numbers as plain rows. */
static bool can_do(const clf_device *device, const clf__fused_family *family, const clf__fused_problem *problem,
                   int passes, char *why, size_t size)
{
    const clf__fused_problem plain = clf__fused_unpacked(problem);
    const int64_t width = clf__fused_shape_of(problem).value_width;
    const int widest = widest_values(family, passes);

    if (!has_features(family, clf__fused_features_of(problem), passes, why, size))
        return false;
    if (width > widest) {
        (void)snprintf(why, size, "the values of a head are %lld wide: 1 to %d are possible", (long long)width, widest);
        return false;
    }
    if ((passes & CLF_BACKWARD) && !clf__fused_rounds_fit(device, clf__fused_grad_mask_rounds(problem), why, size))
        return false;
    if (family->reads_packed || !clf__fused_is_packed(problem))
        return family->supports(device, problem, passes, why, size);
    return clf__fused_unpack_fits(problem, why, size) &&
           clf__fused_is_possible(&plain, passes, why, size) && family->supports(device, &plain, passes, why, size);
}

/* Saved and scratch memory that every family uses alike. */
static void reserve(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const int64_t *q = problem->q.shape;
    const uint64_t bytes = (uint64_t)(q[0] * q[1]) * (uint64_t)q[2] * sizeof(float);

    if (!(clf__fused_passes(plan, problem) & CLF_BACKWARD))
        return;
    fused->saves_lse = problem->lse.rank == 0;
    if (fused->saves_lse)
        fused->lse = clf_plan_saved(plan, bytes);
    fused->delta_sums = clf_plan_workspace(plan, bytes);
}

enum { FAMILIES = sizeof clf__fused_families / sizeof clf__fused_families[0] - 1 };

/* The tuning table's choice goes to the front; where it cannot do a problem, the others follow as always. */
static clf_status prefer_tuned(clf_device *device, const clf__fused_family **families)
{
    const char *choice = NULL;
    const clf_status status = clf__tune_choice(device, "fused.family", clf__fused_families, &choice);

    for (size_t i = 0; choice && families[i]; i++) {
        const clf__fused_family *family = families[i];
        if (strcmp(family->name, choice) != 0)
            continue;
        memmove(families + 1, families, i * sizeof *families);
        families[0] = family;
        break;
    }
    return status;
}

/* All families, those first that are likely to be fast. */
static clf_status order_families(clf_device *device, const clf__fused_problem *problem,
                                 const clf__fused_family *families[FAMILIES + 1])
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const clf__fused_family *const *of_style = has->style == CLF_STYLE_VECTORS ? vectors_first
                                               : has->nvidia_matrix            ? matrix_first
                                                                               : items_first;
    bool rows_first = false;
    const clf_status status = problem->blocks ? clf__fused_prefers_rows(device, problem, &rows_first) : CLF_SUCCESS;
    const clf__fused_family *const *parts[2] = { of_style, gather };
    int count = 0;

    for (int part = 0; part < 2; part++)
        for (const clf__fused_family *const *family = parts[part ^ rows_first]; *family; family++)
            if (*family != &clf__fused_reference)
                families[count++] = *family;
    families[count++] = &clf__fused_reference;
    families[count] = NULL;
    return status ? status : prefer_tuned(device, families);
}

/* The chosen family's kernels and memory, and those that serve all of them. */
static clf_status plan_family(clf_plan *plan, const clf__fused_family *family, const clf__fused_problem *problem,
                              clf__fused *fused)
{
    const bool unpacks = clf__fused_is_packed(problem) && !family->reads_packed;
    const clf__fused_problem plain = unpacks ? clf__fused_unpacked(problem) : *problem;
    clf_status status = CLF_SUCCESS;

    fused->family = family;
    reserve(plan, &plain, fused);
    clf_plan_set_family(plan, family->name);
    if (unpacks)
        status = clf__fused_plan_unpack(plan, problem, fused);
    if (!status)
        status = clf__fused_plan_gaps(plan, &plain, fused);
    if (!status)
        status = clf__fused_plan_sinks(plan, &plain, fused);
    if (!status)
        status = family->plan(plan, &plain, fused);
    return status ? status : clf__fused_grad_mask_plan(plan, &plain, fused);
}

/* The first family that can do it, NULL when there is none. `named`: is there one that the plan's options may mean?
 * `tell`: the others' reasons are the plan's. */
static clf_status find_able(clf_plan *plan, const clf__fused_problem *problem, bool tell, bool *named,
                            const clf__fused_family **able)
{
    clf_device *device = clf_plan_device(plan);
    const clf_plan_options *options = clf_plan_get_options(plan);
    const clf__fused_family *families[FAMILIES + 1], **family = families;
    const clf_status status = order_families(device, problem, families);
    char why[256] = "";

    *named = false;
    *able = NULL;
    for (; !status && *family; family++) {
        const bool asked = options->family && strcmp(options->family, (*family)->name) == 0;
        if (options->family && !asked)
            continue;
        *named = true;
        if (*family == &clf__fused_reference && !asked && !options->allow_reference) {
            (void)snprintf(why, sizeof why, "runs only when the plan's options allow or name it");
        } else if (can_do(device, *family, problem, clf__fused_passes(plan, problem), why, sizeof why)) {
            *able = *family;
            break;
        }
        if (tell)
            clf_plan_add_reason(plan, (*family)->name, why);
    }
    return status;
}

clf_status clf__fused_plan(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf__fused_family *family;
    clf__fused_problem rest;
    bool named;
    char why[256] = "", text[CLF__SNIPPET];
    clf_status status;

    *fused = (clf__fused){ 0 };
    if (!clf__fused_is_possible(problem, clf__fused_passes(plan, problem), why, sizeof why))
        return clf_plan_refuse(plan, "%s", why);
    if (problem->loses) {
        if ((status = clf__fused_plan_lost(plan, problem, fused)))
            return status;
        rest = clf__fused_without_lost(problem, text, sizeof text);
        problem = &rest;
    }
    if ((status = find_able(plan, problem, true, &named, &family)))
        return status;
    if (!named)
        return clf__plan_refuse_name(plan, "kernel family", clf_plan_get_options(plan)->family, clf__fused_families);
    if (!family)
        return clf_plan_refuse(plan, "no kernel family can do this on %s",
                               clf_device_get_info(clf_plan_device(plan))->name);
    return plan_family(plan, family, problem, fused);
}

clf_status clf__fused_widest_values(clf_plan *plan, const clf__fused_problem *problem, int64_t *widest)
{
    const clf__fused_family *family;
    bool named;
    const clf_status status = find_able(plan, problem, false, &named, &family);

    *widest = family && !(clf__fused_passes(plan, problem) & CLF_BACKWARD) ? family->widest_values : 0;
    return status;
}

clf_status clf__fused_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf__fused_problem rest, plain;
    clf_status status = clf__fused_find_lost(run, fused, problem, &rest);

    if (!status)
        status = clf__fused_unpack(run, fused, &rest, &plain);
    if (!status)
        status = clf__fused_make_lists(run, fused, &plain, 0, 1);
    if (!status)
        status = fused->family->forward(run, fused, &plain);
    return status ? status : clf__fused_forward_gaps(run, fused, &plain);
}

clf_status clf__fused_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf__fused_problem rest;
    clf_status status = clf__fused_find_lost(run, fused, problem, &rest);

    if (!status)
        status = clf__fused_make_lists(run, fused, &rest, 1, 3);
    if (!status)
        status = fused->family->backward(run, fused, &rest);
    if (!status)
        status = clf__fused_backward_sinks(run, fused, &rest);
    if (!status)
        status = clf__fused_grad_mask_run(run, fused, &rest);
    return status ? status : clf__fused_backward_gaps(run, fused, &rest);
}
