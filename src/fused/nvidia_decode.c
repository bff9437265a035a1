/* The family for few queries on NVIDIA GPUs from sm_80 on: products on tensor cores, f16 and bf16. */
#include "fused/decode.h"
#include "fused/nvidia.h"
#include <stdio.h>

/* How a warp reads; see cl/fused/nvidia_decode.cl for the names. Wide heads have no registers for more keys. */
typedef struct ring {
    int widest, keys, stages;
} ring;

static const ring rings[] = { { 128, 32, 2 }, { 256, 16, 2 }, { 0 } };
enum { WARPS = CLF__DECODE_ITEMS / 32 };

static uint64_t row_bytes(int64_t width, int bits)
{
    const int64_t chunks = (width + 15) / 16 * 16 * (bits ? bits : 16) / 128;
    return (uint64_t)(chunks | 1) * 16;
}

static uint64_t local_bytes(const clf__fused_problem *problem, const ring *r)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t scales = problem->bits ? (problem->k_scales.shape[3] + problem->v_scales.shape[3]) / 2 : 0;
    const uint64_t key = row_bytes(s.width, problem->bits) + row_bytes(s.value_width, problem->bits) +
                         4 * (uint64_t)scales;
    const uint64_t passing = WARPS * (uint64_t)(r->stages * r->keys) * key;
    const uint64_t sums = WARPS * (uint64_t)clf__decode_rows(problem) * (uint64_t)((s.value_width + 15) / 16 * 16) * 4;

    return (passing > sums ? passing : sums) + 16 + (uint64_t)WARPS * 128;
}

static const ring *choose(const clf_device *device, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const ring *r = rings;

    while (r->keys && (s.width > r->widest || s.value_width > r->widest ||
                       local_bytes(problem, r) > clf__nvidia_local_memory(device)))
        r++;
    return r->keys ? r : NULL;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    if (!clf__nvidia_has_matrix(device, why, size))
        return false;
    if (problem->q.dtype != CLF_F16 && problem->q.dtype != CLF_BF16) {
        (void)snprintf(why, size, "q is %s: tensor cores multiply f16 and bf16", clf_dtype_name(problem->q.dtype));
        return false;
    }
    if (!clf__decode_fits(problem, passes, why, size))
        return false;
    if (problem->bits == 4 && s.width / (problem->k_scales.shape[3] / 2) % 32) {
        (void)snprintf(why, size, "%lld columns share a scale: with 4 bits they must be a multiple of 32",
                       (long long)(s.width / (problem->k_scales.shape[3] / 2)));
        return false;
    }
    if (!choose(device, problem)) {
        (void)snprintf(why, size, "keys of %lld and values of %lld columns do not fit %llu bytes of local memory",
                       (long long)s.width, (long long)s.value_width,
                       (unsigned long long)clf__nvidia_local_memory(device));
        return false;
    }
    return true;
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const ring *r = choose(clf_plan_device(plan_), problem);
    char own[96];

    (void)snprintf(own, sizeof own, "-DCLF_WARPS=%d -DCLF_KEYS=%d -DCLF_STAGES=%d", WARPS, r->keys, r->stages);
    const clf__decode_kernel kernel = { .style = "nvidia", .own = own, .lanes = 1, .busy = 6, .fewest = 512,
                                        .unit = WARPS * 32 };
    return clf__decode_plan(plan_, problem, &kernel, fused);
}

const clf__fused_family clf__fused_nvidia_decode = {
    .name = "nvidia_decode",
    .forward_features = CLF__DECODE_FEATURES,
    .reads_packed = true,
    .supports = supports,
    .plan = plan,
    .forward = clf__decode_forward,
};
