/* The provider for CPUs: explicit vectors, one work-item a group. */
#include "ops/gemm_provider.h"
#include <stdio.h>

enum { ROWS = 240, COLUMNS = 256, DEPTH = 256, TILE_ROWS = 12, TILE_COLUMNS = 32 };

static int64_t blocks(int64_t extent, int64_t block)
{
    return (extent + block - 1) / block;
}

/* The same number of blocks, evenly sized, in whole tiles. */
static int even(int64_t extent, int block, int tile)
{
    const int64_t count = blocks(extent, block);
    return count < 1 ? tile : (int)(blocks(blocks(extent, count), tile) * tile);
}

static bool supports(const clf_device *device, const clf__gemm_product *product, char *why, size_t size)
{
    const clf_device_info *info = clf_device_get_info(device);

    if (!(info->type & CL_DEVICE_TYPE_CPU) || info->software) {
        (void)snprintf(why, size, "it keeps blocks of some 800 KiB in private memory, which only a native CPU caches");
        return false;
    }
    return clf__gemm_own_fits(product, TILE_ROWS, TILE_COLUMNS, 1, why, size);
}

/* Smaller blocks where there are too few groups to keep all cores busy to the end. */
static void share(const clf__gemm_product *p, int64_t cores, clf__gemm_choice *choice)
{
    int rows = ROWS, columns = COLUMNS;

    while (blocks(p->rows, rows) * blocks(p->columns, columns) * clf__gemm_items(p) < 4 * cores &&
           (rows > 4 * TILE_ROWS || columns > 2 * TILE_COLUMNS)) {
        if (columns > rows || rows <= 4 * TILE_ROWS)
            columns /= 2;
        else
            rows /= 2;
    }
    choice->rows = even(p->rows, rows, TILE_ROWS);
    choice->columns = even(p->columns, columns, TILE_COLUMNS);
    choice->items = 1;
}

static clf_status plan(clf_plan *plan_, const clf__gemm_product *product, clf__gemm_choice *choice)
{
    char more[128];

    share(product, clf_device_get_info(clf_plan_device(plan_))->compute_units, choice);
    (void)snprintf(more, sizeof more,
                   "-DCLF_LANES=16 -DCLF_TILE=%d -DCLF_BLOCK_ROWS=%d -DCLF_BLOCK_COLUMNS=%d -DCLF_BLOCK_DEPTH=%d",
                   TILE_ROWS, ROWS, COLUMNS, DEPTH);
    return clf__gemm_own_kernel(plan_, product, more, choice);
}

const clf__gemm_provider clf__gemm_vector = {
    .name = "vector", .supports = supports, .plan = plan, .run = clf__gemm_own_run,
};
