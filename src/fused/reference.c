/* The naive family: a work-item a row, any shape. */
#include "fused/family.h"

enum {
    FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD | CLF__FUSED_DROPOUT |
               CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SCORE_MOD | CLF__FUSED_EXTRAS | CLF__FUSED_MASK_GRAD |
               CLF__FUSED_GROUPS | CLF__FUSED_SINKS | CLF__FUSED_STARTS | CLF__FUSED_LENGTHS
};

enum { ROWS = 64 };

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    (void)device, (void)passes;
    return clf__fused_grid_fits(problem, ROWS, ROWS, why, size);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    char options[CLF__FUSED_OPTIONS];
    const char *const both[2] = { options, options };

    for (int pass = 0; pass < 2; pass++)
        fused->rows[pass] = fused->items[pass] = ROWS;
    clf__fused_options(problem, (int)problem->q.shape[3], (int)problem->v.shape[3], "", options,
                       sizeof options);
    return clf__fused_kernels_rows(plan_, clf__fused_reference.name, both, fused);
}

const clf__fused_family clf__fused_reference = {
    .name = "reference",
    .forward_features = FEATURES,
    .backward_features = FEATURES,
    .supports = supports,
    .plan = plan,
    .forward = clf__fused_forward_rows,
    .backward = clf__fused_backward_rows,
};
