/* The family for sm_90: products of warp groups, which read their operands from local memory by themselves. Forward
 * only; the backward pass is that of nvidia_mma. What it refuses (masks, dropout, other widths) goes there, too. */
#include "device/retarget.h"
#include "fused/nvidia.h"
#include "component/plan.h"
#include <stdio.h>

enum { KEYS = 128 }; /* of a tile; see cl/fused/nvidia_wgmma_forward.cl */

typedef struct tile {
    int consumers; /* warp groups that compute, 64 queries each */
    int stages;    /* tiles of K and of V in local memory */
    int registers; /* of a work-item when the kernel begins */
} tile;

static tile tile_of(int width, int value_width)
{
    return width == 64 && value_width == 64 ? (tile){ 3, 3, 128 } : (tile){ 2, 2, 168 };
}

static uint64_t bytes_of(const tile *t, int width, int value_width)
{
    return 2 * (uint64_t)(t->consumers * 64 * width + t->stages * KEYS * (width + value_width)) + 32 * (uint64_t)t->stages;
}

static bool is_plain(const clf__fused_problem *problem, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = clf__nvidia_padded(s.width), value_width = clf__nvidia_padded(s.value_width);

    if ((width != 64 && width != 128) || (value_width != 64 && value_width != 128))
        (void)snprintf(why, size, "heads are %lld and %lld wide: 33 to 64 and 97 to 128 are possible", (long long)s.width,
                       (long long)s.value_width);
    else if (!(problem->scale > 0))
        (void)snprintf(why, size, "the scale is %g: only positive ones are possible", (double)problem->scale);
    else
        return true;
    return false;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    tile t;

    if (!clf_device_get_capabilities(device)->nvidia_wgmma) {
        (void)snprintf(why, size, "needs an NVIDIA GPU of sm_90 whose driver takes programs for sm_90a");
        return false;
    }
    if (!clf__fused_nvidia_mma.supports(device, problem, passes, why, size) || !is_plain(problem, why, size))
        return false;
    t = tile_of(clf__nvidia_padded(s.width), clf__nvidia_padded(s.value_width));
    if (bytes_of(&t, clf__nvidia_padded(s.width), clf__nvidia_padded(s.value_width)) > clf__nvidia_local_memory(device)) {
        (void)snprintf(why, size, "its tiles do not fit %llu bytes of local memory",
                       (unsigned long long)clf__nvidia_local_memory(device));
        return false;
    }
    return clf__fused_grid_fits(problem, 64, 128 * (t.consumers + 1), why, size);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const tile t = tile_of(clf__nvidia_padded(s.width), clf__nvidia_padded(s.value_width));
    char options[CLF__FUSED_OPTIONS], more[256];
    clf_status status;

    (void)snprintf(more, sizeof more, "-DCLF_CONSUMERS=%d -DCLF_STAGES=%d -DCLF_REST=%d " CLF__EXACT_TARGET
                   " -cl-nv-maxrregcount=%d", t.consumers, t.stages, (clf_plan_passes(plan_) & CLF_BACKWARD) != 0,
                   t.registers);
    clf__fused_options(problem, clf__nvidia_padded(problem->q.shape[3]), clf__nvidia_padded(problem->v.shape[3]), more,
                       options, sizeof options);
    fused->rows[0] = 64 * t.consumers;
    fused->items[0] = 128 * (t.consumers + 1);
    fused->most_groups = clf_device_get_info(clf_plan_device(plan_))->compute_units; /* one fits a unit, and stays */
    status = clf__plan_kernel(plan_, "fused/nvidia_wgmma_forward.cl", options, "clf_fused_forward_nvidia_wgmma",
                             &fused->forward);
    return status ? status : clf__nvidia_plan_backward(plan_, problem, fused);
}

const clf__fused_family clf__fused_nvidia_wgmma = {
    .name = "nvidia_wgmma",
    .forward_features = CLF__FUSED_GROUPS | CLF__FUSED_SINKS,
    .backward_features = CLF__FUSED_GROUPS | CLF__FUSED_SINKS,
    .supports = supports,
    .plan = plan,
    .forward = clf__nvidia_forward,
    .backward = clf__nvidia_backward,
};
