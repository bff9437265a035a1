/* The naive family: a work-item a row, any shape. */
#include "fused/family.h"
#include "fused/sparse.h"
#include <stdio.h>

enum {
    FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD | CLF__FUSED_DROPOUT |
               CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SCORE_MOD | CLF__FUSED_EXTRAS | CLF__FUSED_MASK_GRAD |
               CLF__FUSED_GROUPS | CLF__FUSED_SINKS | CLF__FUSED_STARTS | CLF__FUSED_LENGTHS |
               CLF__FUSED_OUT_TYPE | CLF__FUSED_BLOCKS | CLF__FUSED_ZERO_KEYS
};

enum { ROWS = 64 };

/* Rounds of a product of rows, sixteen numbers each and the rest one by one. */
static double product_rounds(int64_t width)
{
    const int64_t rounds = width / 16 + width % 16 + 2;
    return (double)rounds;
}

/* Of the longest of a pass's kernels. */
static double rounds_of(const clf__fused_problem *problem, bool backward)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const double keys = clf__fused_passing(problem, false, 1), queries = clf__fused_passing(problem, true, 1);
    const double score = 1 + product_rounds(s.width), pieces = clf__fused_blocks_of(s.value_width, 16);
    const double each = score + product_rounds(s.value_width) + product_rounds(s.width);
    const double once = (double)(3 * s.width + 3 * s.value_width);

    if (!backward)
        return keys * ((2 + pieces) * score + (double)(s.value_width % 16) + 1) + once;
    const double of_keys = clf__fused_groups(problem) * (queries * (each + product_rounds(s.value_width)) + 1) + once;
    return keys * each + once > of_keys ? keys * each + once : of_keys;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    for (int pass = 0; pass < (passes & CLF_BACKWARD ? 2 : 1); pass++)
        if (!clf__fused_rounds_fit(device, rounds_of(problem, pass == 1), why, size))
            return false;
    if ((clf__fused_features_of(problem) & CLF__FUSED_ZERO_KEYS) &&
        (problem->mask.rank > 0 || problem->padding.rank > 0 || problem->mask_mod || problem->causal ||
         problem->alibi.rank > 0 || problem->score_mod)) {
        (void)snprintf(why, size, "keys of zeros do not go together with masks and changes of scores");
        return false;
    }
    return clf__fused_grid_fits(problem, ROWS, ROWS, why, size);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const bool backward = (clf_plan_passes(plan_) & CLF_BACKWARD) != 0;
    char options[CLF__FUSED_OPTIONS];
    const char *const both[2] = { options, options };
    clf_status status = CLF_SUCCESS;

    if (problem->blocks)
        status = clf__fused_lists_of_rows(plan_, problem, false, &fused->lists[0]);
    fused->lists[1] = fused->lists[0];
    if (problem->blocks && !status && backward)
        status = clf__fused_lists_of_rows(plan_, problem, true, &fused->lists[2]);
    if (status)
        return status;
    for (int pass = 0; pass < 2; pass++)
        fused->rows[pass] = fused->items[pass] = ROWS;
    clf__fused_options(problem, (int)problem->q.shape[3], (int)problem->v.shape[3],
                       problem->blocks ? "-DCLF_BLOCKS=1" : "", options, sizeof options);
    return clf__fused_kernels_rows(plan_, clf__fused_reference.name, both, fused);
}

const clf__fused_family clf__fused_reference = {
    .name = "reference",
    .forward_features = FEATURES | CLF__FUSED_PAGES | CLF__FUSED_QUANTISED,
    .backward_features = FEATURES,
    .supports = supports,
    .plan = plan,
    .forward = clf__fused_forward_rows,
    .backward = clf__fused_backward_rows,
};
