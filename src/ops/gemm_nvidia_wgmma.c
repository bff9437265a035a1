/* The provider for NVIDIA GPUs of sm_90: products of f16 and bf16 by warp groups, whose operands the copy engine
 * brings. What that cannot take (rows that do not start at multiples of 16 bytes) and small products are left
 * to nvidia_mma. */
#include "device/nvidia.h"
#include "device/retarget.h"
#include "ops/gemm_provider.h"
#include "tensor/tensor.h"
#include <stdio.h>

/* See cl/ops/gemm_nvidia_wgmma.cl for the names. */
typedef struct tile {
    int columns, stages; /* one more where c needs no room */
} tile;

enum { CONSUMERS = 2, ROWS = 64 * CONSUMERS, ITEMS = 128 * CONSUMERS + 128, DEPTH = 64 };
enum { LONG_DEPTH = 2048 };   /* that pays for what a group does before and behind it */
enum { REGISTERS = 168 };     /* of a work-item at the beginning: 64 Ki for all */
enum { MAP_BYTES = (2 + CONSUMERS) * 128 }; /* of a group: what describes a, b and c to the copy engine */

static const tile wide = { 256, 3 }, narrow = { 128, 5 };

/* Does c pass through local memory? */
static bool is_staged(const clf__gemm_product *p)
{
    return p->c.dtype == p->a.dtype;
}

static int stages_of(const tile *t, const clf__gemm_product *p)
{
    return t->stages + !is_staged(p);
}

static uint64_t local_bytes(const tile *t, const clf__gemm_product *p)
{
    const uint64_t rows = ROWS, columns = (uint64_t)t->columns, stages = (uint64_t)stages_of(t, p);

    return stages * ((rows + columns) * DEPTH * 2 + 16) + (is_staged(p) ? rows * columns * 2 : 0) + MAP_BYTES;
}

static double tiles_of(const tile *t, const clf__gemm_product *p)
{
    const int64_t down = (p->rows + ROWS - 1) / ROWS, across = (p->columns + t->columns - 1) / t->columns;
    return (double)down * (double)across * (double)clf__gemm_items(p);
}

static const tile *choose(const clf_device *device, const clf__gemm_product *p)
{
    const double units = clf_device_get_info(device)->compute_units;
    return tiles_of(&wide, p) * 2 > units ? &wide : &narrow;
}

/* Whole numbers of 16 bytes; the offset is known to runs only, and the kernel looks at it. */
static bool is_taken(const clf__gemm_matrix *m, const char *name, char *why, size_t size)
{
    for (int i = 0; i < 4; i++) {
        const int64_t stride = i < 3 ? m->batch[i] : m->step;
        if (stride < 0 || stride % 8 != 0 || stride >> 39 || (i == 3 && stride == 0)) {
            (void)snprintf(why, size, "%s has a stride of %lld elements: the copy engine takes multiples of 8", name,
                           (long long)stride);
            return false;
        }
    }
    return true;
}

static bool supports(const clf_device *device, const clf__gemm_product *p, char *why, size_t size)
{
    const tile *t = choose(device, p);

    if (!clf__nvidia_has_wgmma(device, why, size) || !clf__gemm_is_half(p, why, size) ||
        !clf__nvidia_tiles_fit(device, local_bytes(t, p), "clf_gemm_nvidia_wgmma", why, size))
        return false;
    if (p->depth == 0) {
        (void)snprintf(why, size, "the sums are empty");
        return false;
    }
    return is_taken(&p->a, "a", why, size) && is_taken(&p->b, "b", why, size) &&
           clf__gemm_own_fits(p, ROWS, t->columns, ITEMS, why, size);
}

/* Measured on an H100: 36 tiles of 12 steps and 16 of 64 are faster here, 16 of 8 are not. */
static bool is_worth(const clf_device *device, const clf__gemm_product *p, char *why, size_t size)
{
    const double tiles = tiles_of(&narrow, p), units = clf_device_get_info(device)->compute_units;

    if (p->rows > ROWS / 2 && p->columns > narrow.columns / 2 && (4 * tiles >= units || p->depth >= LONG_DEPTH))
        return true;
    (void)snprintf(why, size, "%lld matrices of %lld x %lld are too few tiles of %d x %d for %d compute units",
                   (long long)clf__gemm_items(p), (long long)p->rows, (long long)p->columns, ROWS, narrow.columns,
                   (int)units);
    return false;
}

static clf_status plan(clf_plan *plan_, const clf__gemm_product *p, clf__gemm_choice *choice)
{
    const tile *t = choose(clf_plan_device(plan_), p);
    char more[192];

    (void)snprintf(more, sizeof more, "-DCLF_STORAGE=%d -DCLF_CONSUMERS=%d -DCLF_COLUMNS=%d -DCLF_STAGES=%d "
                   CLF__EXACT_TARGET " -cl-nv-maxrregcount=%d", clf__storage_number(p->a.dtype), CONSUMERS, t->columns,
                   stages_of(t, p), REGISTERS);
    choice->rows = ROWS;
    choice->columns = t->columns;
    choice->items = ITEMS;
    choice->most_groups = clf_device_get_info(clf_plan_device(plan_))->compute_units; /* one fits a unit, and stays */
    choice->scratch_bytes = MAP_BYTES * (uint64_t)choice->most_groups;
    choice->scratch = clf_plan_workspace(plan_, choice->scratch_bytes);
    return clf__gemm_own_kernel(plan_, p, more, choice);
}

const clf__gemm_provider clf__gemm_nvidia_wgmma = {
    .name = "nvidia_wgmma", .supports = supports, .is_worth = is_worth, .plan = plan, .run = clf__gemm_own_run,
};
