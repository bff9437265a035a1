/* The provider for every device: tiles in local memory, shared by the work-items of a group. */
#include "ops/gemm_provider.h"
#include <stdio.h>

/* See cl/ops/gemm_portable.cl for the names. */
typedef struct tile {
    int rows, columns; /* of a group */
    int height, width; /* of a work-item */
    int depth;         /* in local memory at a time */
} tile;

/* By preference, the largest first: for GPUs, for software rasterisers, and for what is left (short matrices, little
 * local memory, native CPUs, where larger tiles compile for long). */
static const tile gpu[] = { { 128, 128, 8, 8, 16 }, { 64, 64, 8, 8, 16 }, { 64, 64, 4, 4, 16 }, { 0 } };
static const tile software[] = { { 64, 64, 8, 8, 16 }, { 0 } };
static const tile small[] = { { 32, 32, 4, 4, 16 }, { 16, 16, 4, 4, 8 }, { 0 } };

static int items_of(const tile *t)
{
    return t->rows / t->height * (t->columns / t->width);
}

static uint64_t local_bytes(const tile *t)
{
    return (uint64_t)t->depth * (uint64_t)(t->rows + t->columns + 16) * sizeof(float);
}

static int64_t groups_of(const tile *t, const clf__gemm_product *p)
{
    return (p->rows + t->rows - 1) / t->rows * ((p->columns + t->columns - 1) / t->columns) * clf__gemm_items(p);
}

/* Is at least half of it used, and are there groups for all cores? */
static bool is_full(const tile *t, const clf__gemm_product *p, int64_t cores)
{
    return 2 * p->rows > t->rows && 2 * p->columns > t->columns && groups_of(t, p) >= cores;
}

/* The first tile that the device holds and the problem fills, else the last that it holds. */
static const tile *choose(const clf_device *device, const clf__gemm_product *p)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const clf_device_info *info = clf_device_get_info(device);
    const bool native = (info->type & CL_DEVICE_TYPE_CPU) && !info->software;
    const tile *const tables[2] = { has->local_memory_is_local ? gpu : native ? small : software, small };
    const tile *last = NULL;

    for (int table = 0; table < 2; table++)
        for (const tile *t = tables[table]; t->rows; t++) {
            if ((uint64_t)items_of(t) > has->max_work_group || local_bytes(t) > has->local_memory)
                continue;
            if (is_full(t, p, info->compute_units))
                return t;
            last = t;
        }
    return last;
}

static bool supports(const clf_device *device, const clf__gemm_product *product, char *why, size_t size)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const tile *t = choose(device, product);

    if (!t) {
        (void)snprintf(why, size, "no tile fits %llu bytes of local memory and %zu work-items a group",
                       (unsigned long long)has->local_memory, has->max_work_group);
        return false;
    }
    return clf__gemm_own_fits(product, t->rows, t->columns, items_of(t), why, size);
}

static clf_status plan(clf_plan *plan_, const clf__gemm_product *product, clf__gemm_choice *choice)
{
    const tile *t = choose(clf_plan_device(plan_), product);
    char more[128];

    (void)snprintf(more, sizeof more, "-DCLF_ROWS=%d -DCLF_COLUMNS=%d -DCLF_HEIGHT=%d -DCLF_WIDTH=%d -DCLF_DEPTH=%d",
                   t->rows, t->columns, t->height, t->width, t->depth);
    choice->rows = t->rows;
    choice->columns = t->columns;
    choice->items = items_of(t);
    return clf__gemm_own_kernel(plan_, product, more, choice);
}

const clf__gemm_provider clf__gemm_portable = {
    .name = "portable", .supports = supports, .plan = plan, .run = clf__gemm_own_run,
};
