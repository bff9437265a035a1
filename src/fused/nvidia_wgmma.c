/* The family for sm_90: products of warp groups, which read their operands from local memory by themselves. What it
 * refuses (masks, narrow heads, f32) is left to nvidia_mma. */
#include "device/retarget.h"
#include "fused/nvidia.h"
#include "component/plan.h"
#include <stdio.h>

/* Those of its own backward pass; with the others nvidia_mma goes back. */
enum { OWN_FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_GROUPS | CLF__FUSED_SINKS };
enum {
    FEATURES = OWN_FEATURES | CLF__FUSED_PADDING | CLF__FUSED_DROPOUT | CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI |
               CLF__FUSED_SCORE_MOD | CLF__FUSED_EXTRAS | CLF__FUSED_STARTS | CLF__FUSED_LENGTHS
};
enum { MAP_BYTES = 2 * 128 }; /* what describes two tensors to the copy engine: of each group forward, twice backward */
enum { FORWARD, BACKWARD_Q, BACKWARD_KV, KERNELS };

/* How a group splits its work; see cl/fused/nvidia_wgmma_tile.cl for the names. */
typedef struct tile {
    int consumers; /* warp groups that compute, 64 rows each */
    int columns;   /* rows of the tiles that pass by */
    int stages;    /* of those in local memory */
} tile;

static const char *const paths[KERNELS] = { "fused/nvidia_wgmma_forward.cl", "fused/nvidia_wgmma_backward_q.cl",
                                            "fused/nvidia_wgmma_backward_kv.cl" };
static const char *const names[KERNELS] = { "clf_fused_forward_nvidia_wgmma", "clf_fused_backward_q_nvidia_wgmma",
                                            "clf_fused_backward_kv_nvidia_wgmma" };
static const tile narrow[KERNELS] = { { 3, 128, 3 }, { 2, 128, 3 }, { 2, 128, 3 } }; /* both widths 64 */
static const tile wide[KERNELS] = { { 2, 128, 2 }, { 2, 64, 4 }, { 2, 64, 4 } };
static const tile wide_forward = { 2, 176, 2 }; /* both 128; causal order wastes more of a large tile than it saves */
static const tile widest_forward = { 2, 64, 2 };

enum { NARROWEST = 32 };         /* what is not wider would waste half of its products */
enum { WIDEST_BACKWARD = 128 }; /* what is wider goes back by nvidia_mma */

static int padded(int64_t width)
{
    return width <= 64 ? 64 : width <= 128 ? 128 : 256;
}

static bool is_wide(const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    return padded(s.width) > WIDEST_BACKWARD || padded(s.value_width) > WIDEST_BACKWARD;
}

static bool goes_back(const clf__fused_problem *problem)
{
    return !is_wide(problem) && !(clf__fused_features_of(problem) & ~(unsigned)OWN_FEATURES);
}

static const tile *tile_of(int kernel, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = padded(s.width), value_width = padded(s.value_width);

    if (kernel == FORWARD && is_wide(problem))
        return &widest_forward;
    if (kernel == FORWARD && width == 128 && value_width == 128 && !problem->causal)
        return &wide_forward;
    return &(width == 64 && value_width == 64 ? narrow : wide)[kernel];
}

/* Bytes of the tiles that rest and that pass by, and of numbers and barriers beside them. */
static uint64_t bytes_of(int kernel, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = padded(s.width), value_width = padded(s.value_width);
    const tile *t = tile_of(kernel, problem);
    const int resting = 64 * t->consumers * (kernel == FORWARD ? width : width + value_width);
    const int passing = t->stages * t->columns * (width + value_width);
    const int beside = t->stages * (kernel == BACKWARD_KV ? 8 * t->columns + 16 : 32) + (kernel == FORWARD ? 512 : 0);

    return 2 * (uint64_t)(resting + passing) + (uint64_t)beside;
}

static bool is_plain(const clf__fused_problem *problem, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    if (problem->q.dtype != CLF_F16 && problem->q.dtype != CLF_BF16)
        (void)snprintf(why, size, "q is %s: only f16 and bf16 are possible", clf_dtype_name(problem->q.dtype));
    else if (s.width <= NARROWEST || s.value_width <= NARROWEST)
        (void)snprintf(why, size, "heads are %lld and %lld wide: %d are the fewest", (long long)s.width,
                       (long long)s.value_width, NARROWEST + 1);
    else if (!(problem->scale > 0))
        (void)snprintf(why, size, "the scale is %g: only positive ones are possible", (double)problem->scale);
    else
        return true;
    return false;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    if (!clf__nvidia_has_wgmma(device, why, size) ||
        !clf__fused_nvidia_mma.supports(device, problem, passes, why, size) || !is_plain(problem, why, size))
        return false;
    for (int kernel = 0; kernel < (passes & CLF_BACKWARD && goes_back(problem) ? KERNELS : 1); kernel++) {
        const tile *t = tile_of(kernel, problem);
        if (!clf__nvidia_tiles_fit(device, bytes_of(kernel, problem), names[kernel], why, size) ||
            !clf__fused_grid_fits(problem, 64, 128 * (t->consumers + 1), why, size))
            return false;
    }
    return true;
}

static clf_status create(clf_plan *plan_, const clf__fused_problem *problem, int kernel, clf__fused *fused)
{
    cl_kernel *const to[KERNELS] = { &fused->forward, &fused->backward[0], &fused->backward[1] };
    const tile *t = tile_of(kernel, problem);
    const bool keeps_rest = kernel == FORWARD && clf_plan_passes(plan_) & CLF_BACKWARD;
    char options[CLF__FUSED_OPTIONS], more[256];

    /* The registers of a unit are shared out evenly when a group begins; warp groups then trade them. */
    (void)snprintf(more, sizeof more, "-DCLF_CONSUMERS=%d -DCLF_COLUMNS=%d -DCLF_STAGES=%d -DCLF_REST=%d "
                   CLF__EXACT_TARGET " -cl-nv-maxrregcount=%d", t->consumers, t->columns, t->stages, keeps_rest,
                   512 / (t->consumers + 1) / 8 * 8);
    clf__fused_options(problem, padded(problem->q.shape[3]), padded(problem->v.shape[3]), more, options,
                       sizeof options);
    fused->rows[kernel] = 64 * t->consumers;
    fused->items[kernel] = 128 * (t->consumers + 1);
    return clf__plan_kernel(plan_, paths[kernel], options, names[kernel], to[kernel]);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    clf_status status = create(plan_, problem, FORWARD, fused);

    fused->most_groups = clf_device_get_info(clf_plan_device(plan_))->compute_units; /* one fits a unit, and stays */
    fused->maps = CLF_FORWARD | (goes_back(problem) ? CLF_BACKWARD : 0);
    fused->scratch = clf_plan_workspace(plan_, MAP_BYTES * (uint64_t)(fused->most_groups + 1));
    if (status || !(clf_plan_passes(plan_) & CLF_BACKWARD))
        return status;
    if (!goes_back(problem))
        return clf__nvidia_mma_plan_backward(plan_, problem, fused);
    status = clf__nvidia_plan_delta(plan_, problem, fused);
    if (!status)
        status = create(plan_, problem, BACKWARD_Q, fused);
    return status ? status : create(plan_, problem, BACKWARD_KV, fused);
}

const clf__fused_family clf__fused_nvidia_wgmma = {
    .name = "nvidia_wgmma",
    .forward_features = FEATURES,
    .backward_features = FEATURES,
    .supports = supports,
    .plan = plan,
    .forward = clf__nvidia_forward,
    .backward = clf__nvidia_backward,
};
