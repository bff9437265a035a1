/* The family for sm_90: products of warp groups, which read their operands from local memory by themselves. What it
 * refuses (masks, dropout, sequences, other widths, f32) is left to nvidia_mma. */
#include "device/retarget.h"
#include "fused/nvidia.h"
#include "component/plan.h"
#include <stdio.h>

enum { FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_GROUPS | CLF__FUSED_SINKS };
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
static const tile narrow[KERNELS] = { { 3, 128, 3 }, { 2, 128, 3 }, { 2, 64, 4 } }; /* both widths 64 */
static const tile wide[KERNELS] = { { 2, 128, 2 }, { 2, 64, 4 }, { 2, 64, 4 } };

static const tile *tile_of(int kernel, int width, int value_width)
{
    return &(width == 64 && value_width == 64 ? narrow : wide)[kernel];
}

/* Bytes of the tiles that rest and that pass by, and of numbers and barriers beside them. */
static uint64_t bytes_of(int kernel, const tile *t, int width, int value_width)
{
    const int resting = 64 * t->consumers * (kernel == FORWARD ? width : width + value_width);
    const int passing = t->stages * t->columns * (width + value_width);
    const int beside = t->stages * (kernel == BACKWARD_KV ? 8 * t->columns + 16 : 32);

    return 2 * (uint64_t)(resting + passing) + (uint64_t)beside;
}

static bool is_plain(const clf__fused_problem *problem, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = clf__nvidia_padded(s.width), value_width = clf__nvidia_padded(s.value_width);

    if (problem->q.dtype != CLF_F16 && problem->q.dtype != CLF_BF16)
        (void)snprintf(why, size, "q is %s: only f16 and bf16 are possible", clf_dtype_name(problem->q.dtype));
    else if ((width != 64 && width != 128) || (value_width != 64 && value_width != 128))
        (void)snprintf(why, size, "heads are %lld and %lld wide: 33 to 64 and 97 to 128 are possible",
                       (long long)s.width, (long long)s.value_width);
    else if (!(problem->scale > 0))
        (void)snprintf(why, size, "the scale is %g: only positive ones are possible", (double)problem->scale);
    else
        return true;
    return false;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = clf__nvidia_padded(s.width), value_width = clf__nvidia_padded(s.value_width);

    if (!clf_device_get_capabilities(device)->nvidia_wgmma) {
        (void)snprintf(why, size, "needs an NVIDIA GPU of sm_90 whose driver takes programs for sm_90a");
        return false;
    }
    if (!clf__fused_nvidia_mma.supports(device, problem, passes, why, size) || !is_plain(problem, why, size))
        return false;
    for (int kernel = 0; kernel < (passes & CLF_BACKWARD ? KERNELS : 1); kernel++) {
        const tile *t = tile_of(kernel, width, value_width);
        if (bytes_of(kernel, t, width, value_width) > clf__nvidia_local_memory(device)) {
            (void)snprintf(why, size, "the tiles of %s do not fit %llu bytes of local memory", names[kernel],
                           (unsigned long long)clf__nvidia_local_memory(device));
            return false;
        }
        if (!clf__fused_grid_fits(problem, 64, 128 * (t->consumers + 1), why, size))
            return false;
    }
    return true;
}

static clf_status create(clf_plan *plan_, const clf__fused_problem *problem, int kernel, clf__fused *fused)
{
    cl_kernel *const to[KERNELS] = { &fused->forward, &fused->backward[0], &fused->backward[1] };
    const int width = clf__nvidia_padded(problem->q.shape[3]), value_width = clf__nvidia_padded(problem->v.shape[3]);
    const tile *t = tile_of(kernel, width, value_width);
    const bool keeps_rest = kernel == FORWARD && clf_plan_passes(plan_) & CLF_BACKWARD;
    char options[CLF__FUSED_OPTIONS], more[256];

    /* The registers of a unit are shared out evenly when a group begins; warp groups then trade them. */
    (void)snprintf(more, sizeof more, "-DCLF_CONSUMERS=%d -DCLF_COLUMNS=%d -DCLF_STAGES=%d -DCLF_REST=%d "
                   CLF__EXACT_TARGET " -cl-nv-maxrregcount=%d", t->consumers, t->columns, t->stages, keeps_rest,
                   512 / (t->consumers + 1) / 8 * 8);
    clf__fused_options(problem, width, value_width, more, options, sizeof options);
    fused->rows[kernel] = 64 * t->consumers;
    fused->items[kernel] = 128 * (t->consumers + 1);
    return clf__plan_kernel(plan_, paths[kernel], options, names[kernel], to[kernel]);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    clf_status status = create(plan_, problem, FORWARD, fused);

    fused->most_groups = clf_device_get_info(clf_plan_device(plan_))->compute_units; /* one fits a unit, and stays */
    if (status || !(clf_plan_passes(plan_) & CLF_BACKWARD))
        return status;
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
