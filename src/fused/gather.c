/* The families that gather the keys of sparse rows: explicit vectors for CPUs, work-items for GPUs. */
#include "fused/family.h"
#include "fused/sparse.h"
#include <stdio.h>

enum {
    FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD | CLF__FUSED_DROPOUT |
               CLF__FUSED_EXTRAS | CLF__FUSED_BLOCKS | CLF__FUSED_ZERO_KEYS
};

enum { VECTOR_ROWS = 16, PORTABLE_ROWS = 4, PORTABLE_LANES = 16, PORTABLE_ITEMS = PORTABLE_ROWS * PORTABLE_LANES };

static bool supports(const clf__fused_problem *problem, int rows, int items, char *why, size_t size)
{
    if (!problem->blocks) {
        (void)snprintf(why, size, "it gathers the keys of a pattern, and there is none");
        return false;
    }
    if ((clf__fused_features_of(problem) & CLF__FUSED_ZERO_KEYS) &&
        (problem->mask.rank > 0 || problem->padding.rank > 0 || problem->mask_mod || problem->causal)) {
        (void)snprintf(why, size, "keys of zeros do not go together with masks");
        return false;
    }
    return clf__fused_grid_fits(problem, rows, items, why, size);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, const char *name, int width,
                       int value_width, const char *more, clf__fused *fused)
{
    char options[CLF__FUSED_OPTIONS];
    clf_status status = clf__fused_lists_of_rows(plan_, problem, false, &fused->lists[0]);

    fused->lists[1] = fused->lists[0];
    if (status == CLF_SUCCESS && (clf_plan_passes(plan_) & CLF_BACKWARD))
        status = clf__fused_lists_of_rows(plan_, problem, true, &fused->lists[2]);
    if (status)
        return status;
    clf__fused_options(problem, width, value_width, more, options, sizeof options);
    return clf__fused_kernels_rows(plan_, name, (const char *const[2]){ options, options }, fused);
}

/* ---- CPUs -------------------------------------------------------------------------------------------------- */

static bool vector_supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why,
                            size_t size)
{
    const clf_device_info *info = clf_device_get_info(device);

    (void)passes;
    if (!(info->type & CL_DEVICE_TYPE_CPU) || info->software) {
        (void)snprintf(why, size, "its vectors of sixteen numbers are for native CPUs");
        return false;
    }
    return supports(problem, VECTOR_ROWS, 1, why, size);
}

static clf_status vector_plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    char more[64];

    (void)snprintf(more, sizeof more, "-DCLF_LANES=16 -DCLF_BLOCKS=1 -DCLF_ROWS=%d", VECTOR_ROWS);
    for (int pass = 0; pass < 2; pass++) {
        fused->rows[pass] = VECTOR_ROWS;
        fused->items[pass] = 1;
    }
    return plan(plan_, problem, clf__fused_gather_vector.name, (int)problem->q.shape[3], (int)problem->v.shape[3], more,
                fused);
}

const clf__fused_family clf__fused_gather_vector = {
    .name = "gather_vector",
    .forward_features = FEATURES,
    .backward_features = FEATURES,
    .supports = vector_supports,
    .plan = vector_plan,
    .forward = clf__fused_forward_rows,
    .backward = clf__fused_backward_rows,
};

/* ---- everything else ----------------------------------------------------------------------------------------- */

static bool portable_supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why,
                              size_t size)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);

    (void)passes;
    if (has->max_work_group < PORTABLE_ITEMS) {
        (void)snprintf(why, size, "a group of %d work-items is more than %zu", PORTABLE_ITEMS,
                       has->max_work_group);
        return false;
    }
    return supports(problem, PORTABLE_ROWS, PORTABLE_ITEMS, why, size);
}

static int rounded(int64_t width)
{
    return (int)((width + PORTABLE_LANES - 1) / PORTABLE_LANES) * PORTABLE_LANES;
}

static clf_status portable_plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    char more[64];

    (void)snprintf(more, sizeof more, "-DCLF_BLOCKS=1 -DCLF_ROWS=%d -DCLF_SIDE=%d", PORTABLE_ROWS, PORTABLE_LANES);
    for (int pass = 0; pass < 2; pass++) {
        fused->rows[pass] = PORTABLE_ROWS;
        fused->items[pass] = PORTABLE_ITEMS;
    }
    return plan(plan_, problem, clf__fused_gather_portable.name, rounded(problem->q.shape[3]),
                rounded(problem->v.shape[3]), more, fused);
}

const clf__fused_family clf__fused_gather_portable = {
    .name = "gather_portable",
    .forward_features = FEATURES,
    .backward_features = FEATURES,
    .supports = portable_supports,
    .plan = portable_plan,
    .forward = clf__fused_forward_rows,
    .backward = clf__fused_backward_rows,
};
