/* The provider for NVIDIA GPUs from sm_80 on: products of f16 and bf16 on tensor cores. */
#include "device/nvidia.h"
#include "ops/gemm_provider.h"
#include "tensor/tensor.h"
#include <stdio.h>

/* See cl/ops/gemm_nvidia_mma.cl for the names. */
typedef struct tile {
    int rows, columns; /* of a group */
    int down, across;  /* warps */
    int depth, stages; /* in local memory */
} tile;

/* By preference, the largest first. */
static const tile tiles[] = {
    { 256, 128, 4, 2, 64, 3 }, { 128, 128, 2, 2, 32, 4 }, { 128, 64, 2, 2, 64, 3 }, { 64, 64, 2, 2, 32, 4 }, { 0 },
};

static int items_of(const tile *t)
{
    return 32 * t->down * t->across;
}

static uint64_t local_bytes(const tile *t)
{
    const uint64_t passing = 2 * (uint64_t)(t->stages * t->depth * (t->rows + t->columns));
    const uint64_t leaving = (uint64_t)(items_of(t) / 2 * (t->columns / t->across + 8)) * sizeof(float);
    return passing > leaving ? passing : leaving;
}

static double groups_of(const tile *t, const clf__gemm_product *p)
{
    const int64_t down = (p->rows + t->rows - 1) / t->rows, across = (p->columns + t->columns - 1) / t->columns;
    return (double)down * (double)across * (double)clf__gemm_items(p);
}

/* The first tile that the device can hold and that leaves no compute unit without work; else the smallest. */
static const tile *choose(const clf_device *device, const clf__gemm_product *p)
{
    const tile *last = NULL;

    for (const tile *t = tiles; t->rows; t++) {
        if (local_bytes(t) > clf__nvidia_local_memory(device))
            continue;
        if (groups_of(t, p) >= clf_device_get_info(device)->compute_units)
            return t;
        last = t;
    }
    return last;
}

bool clf__gemm_is_half(const clf__gemm_product *p, char *why, size_t size)
{
    if (p->a.dtype == p->b.dtype && (p->a.dtype == CLF_F16 || p->a.dtype == CLF_BF16))
        return true;
    (void)snprintf(why, size, "a is %s, b is %s: tensor cores multiply f16 by f16 and bf16 by bf16",
                   clf_dtype_name(p->a.dtype), clf_dtype_name(p->b.dtype));
    return false;
}

static bool supports(const clf_device *device, const clf__gemm_product *p, char *why, size_t size)
{
    if (!clf__nvidia_has_matrix(device, why, size) || !clf__gemm_is_half(p, why, size))
        return false;
    const tile *t = choose(device, p);
    if (!t) {
        (void)snprintf(why, size, "no tile fits the device's local memory");
        return false;
    }
    return clf__gemm_own_fits(p, t->rows, t->columns, items_of(t), why, size);
}

static clf_status plan(clf_plan *plan_, const clf__gemm_product *p, clf__gemm_choice *choice)
{
    const tile *t = choose(clf_plan_device(plan_), p);
    char more[192];

    (void)snprintf(more, sizeof more, "-DCLF_STORAGE=%d -DCLF_ROWS=%d -DCLF_COLUMNS=%d -DCLF_DOWN=%d -DCLF_ACROSS=%d "
                   "-DCLF_DEPTH=%d -DCLF_STAGES=%d", clf__storage_number(p->a.dtype), t->rows, t->columns, t->down,
                   t->across, t->depth, t->stages);
    choice->rows = t->rows;
    choice->columns = t->columns;
    choice->items = items_of(t);
    return clf__gemm_own_kernel(plan_, p, more, choice);
}

const clf__gemm_provider clf__gemm_nvidia_mma = {
    .name = "nvidia_mma", .supports = supports, .plan = plan, .run = clf__gemm_own_run,
};
