/* The family for every GPU: tiles in local memory, shared by the work-items of a group. */
#include "fused/family.h"
#include "fused/sparse.h"
#include <stdio.h>

enum {
    FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD | CLF__FUSED_DROPOUT |
               CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SCORE_MOD | CLF__FUSED_EXTRAS | CLF__FUSED_MASK_GRAD |
               CLF__FUSED_GROUPS | CLF__FUSED_SINKS | CLF__FUSED_STARTS | CLF__FUSED_LENGTHS |
               CLF__FUSED_OUT_TYPE | CLF__FUSED_BLOCKS
};

/* How a group splits its work; see cl/fused/portable_tile.cl for the names. */
typedef struct tile {
    int widest;          /* of the heads it is good for */
    int rows, columns;   /* of a tile */
    int height, across;  /* of a work-item's share */
    int vector;          /* numbers read at once from local memory */
    int depth, steps;    /* of the operands in local memory */
} tile;

/* By preference. GPUs: as many numbers a work-item as registers hold without spilling. */
static const tile gpu_forward[] = {
    { 64, 64, 64, 8, 8, 4, 16, 32 },
    { 128, 64, 64, 4, 8, 4, 16, 16 },
    { 256, 32, 64, 4, 4, 4, 16, 8 },
    { 0 }
};
static const tile gpu_backward[] = {
    { 64, 64, 64, 4, 8, 4, 16, 32 },
    { 128, 64, 64, 4, 4, 4, 16, 16 },
    { 256, 32, 64, 4, 4, 4, 16, 8 },
    { 0 }
};
/* Software rasterisers: local memory is plain memory, reads cost most, so fewer work-items with more each. */
static const tile software[] = {
    { 64, 64, 64, 8, 8, 8, 16, 32 },
    { 128, 64, 64, 8, 8, 8, 16, 16 },
    { 256, 32, 64, 4, 8, 8, 16, 8 },
    { 0 }
};
/* For short sequences, for devices with little local memory, and for native CPUs, which have a family of their own:
 * larger tiles compile for a minute there. */
static const tile small[] = {
    { 256, 32, 32, 4, 4, 4, 16, 8 },
    { 256, 16, 32, 4, 4, 4, 8, 8 },
    { 0 }
};

static int items_of(const tile *t)
{
    return t->rows / t->height * (t->columns / t->across);
}

/* Floats for `width` columns of all work-items; PADDED in portable_tile.cl. */
static int padded(const tile *t, int width)
{
    const int across = t->columns / t->across, share = (width + across - 1) / across;
    return across * (share <= 2 ? share : (share + 3) / 4 * 4);
}

static uint64_t local_bytes(const tile *t, int width, bool slopes)
{
    const int turned = t->depth * (t->rows + t->columns + 2 * t->vector), straight = t->steps * padded(t, width);
    const int weights = t->columns * (t->rows + t->vector), tops = t->columns / t->across * t->rows;

    return (uint64_t)((turned > straight ? turned : straight) + weights * (slopes ? 2 : 1) + tops + 64) * sizeof(float);
}

static const tile *table_for(const clf_device *device, bool backward)
{
    const clf_device_info *info = clf_device_get_info(device);

    if (clf_device_get_capabilities(device)->local_memory_is_local)
        return backward ? gpu_backward : gpu_forward;
    return (info->type & CL_DEVICE_TYPE_CPU) && !info->software ? small : software;
}

/* The first tile that the device can hold and that `count` rows fill at least by half. */
static const tile *choose(const clf_device *device, const clf__fused_problem *problem, bool backward)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = (int)(s.width > s.value_width ? s.width : s.value_width);
    const int64_t count = backward && s.keys > s.queries ? s.keys : s.queries;
    const bool slopes = backward && (problem->score_mod || problem->softcap != 0);
    const tile *tables[2] = { table_for(device, backward), small };
    const tile *last = NULL;

    for (int table = 0; table < 2; table++) {
        for (const tile *t = tables[table]; t->widest; t++) {
            if (width > t->widest || (uint64_t)items_of(t) > has->max_work_group ||
                local_bytes(t, width, slopes) > has->local_memory)
                continue;
            if (count > t->rows / 2)
                return t;
            last = t;
        }
    }
    return last;
}

/* Rounds of a work-item's loops, each with the one that finds its end, or two where work-items differ: tile_product and
 * add_weighted of portable_tile.cl for so wide operands, and what every score passes. */
static double product_rounds(const tile *t, int64_t width)
{
    const double load = clf__fused_blocks_of(t->depth * t->rows / t->vector, items_of(t)) +
                        clf__fused_blocks_of(t->depth * t->columns / t->vector, items_of(t)) + 4;

    return clf__fused_blocks_of(width, t->depth) * (load + t->depth + 2) + 1;
}

static double weighted_rounds(const tile *t, int64_t width)
{
    const double load = clf__fused_blocks_of((int64_t)t->steps * padded(t, (int)width) / t->vector, items_of(t)) + 2;

    return clf__fused_blocks_of(t->columns, t->steps) * (load + t->steps + 2) + 1;
}

static double score_rounds(const tile *t, const clf__fused_problem *p, bool always)
{
    const double look = clf__fused_blocks_of((int64_t)t->rows * t->columns, items_of(t)) + 1;

    return (always ? look : 0) + (p->dropout > 0 ? look / 4 + 1 : 0);
}

/* Of the longest of a pass's kernels, a work-item: tiles that pass by, those at edges, and what is done once. */
static double rounds_of(const tile *t, const clf__fused_problem *p, bool backward)
{
    const clf__fused_shape s = clf__fused_shape_of(p);
    const bool edges_alone = !p->mask.rank && !p->padding.rank && !p->alibi.rank && p->softcap == 0 && !p->score_mod &&
                             !p->mask_mod && !p->blocks;
    const double looked = score_rounds(t, p, true), score = score_rounds(t, p, !edges_alone), edges = 6 * looked + 512;
    const double each = 1 + product_rounds(t, s.width);
    const double keys = clf__fused_passing(p, false, t->rows) / t->columns + 2;
    const double queries = clf__fused_passing(p, true, t->rows) / t->columns + 2;
    const double both = each + product_rounds(t, s.value_width) + weighted_rounds(t, s.width);
    const int share = t->columns / t->across;

    if (!backward)
        return keys * (each + score + share + 1 + weighted_rounds(t, s.value_width)) + edges;
    const double of_queries = keys * (both + score) + edges;
    /* the last keys have an edge at every query */
    const double of_keys = clf__fused_groups(p) * (queries * (both + looked + weighted_rounds(t, s.value_width)) + edges);
    return of_queries > of_keys ? of_queries : of_keys;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);

    for (int pass = 0; pass < (passes & CLF_BACKWARD ? 2 : 1); pass++) {
        const tile *t = choose(device, problem, pass == 1);
        if (!t) {
            (void)snprintf(why, size, "no tile fits %llu bytes of local memory and %zu work-items a group",
                           (unsigned long long)has->local_memory, has->max_work_group);
            return false;
        }
        if (!clf__fused_grid_fits(problem, t->rows < 64 ? t->rows : 64, items_of(t) > 64 ? items_of(t) : 64, why, size))
            return false;
        if (!clf__fused_rounds_fit(device, rounds_of(t, problem, pass == 1), why, size))
            return false;
    }
    return true;
}

/* The tiles of kernel i: forward, the gradient of queries, those of keys and values. */
static clf__fused_tile tile_of(const clf_device *device, const clf__fused_problem *problem, int i)
{
    const tile *t = choose(device, problem, i > 0);

    return i < 2 ? (clf__fused_tile){ t->rows, t->columns, t->rows, false }
                 : (clf__fused_tile){ t->columns, t->rows, t->columns, true };
}

/* What the kernels of a pass walk over: both of backward alike, they are one program. */
static clf__fused_listing listing_of(const clf_device *device, const clf__fused_problem *problem, int pass)
{
    const clf__fused_tile first = tile_of(device, problem, pass), last = tile_of(device, problem, 2 * pass);
    const clf__fused_listing listing = clf__fused_listing_of(problem, &first);

    return clf__fused_listing_of(problem, &last) == listing ? listing : CLF__FUSED_UNLISTED;
}

static clf_status make_lists(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf_device *device = clf_plan_device(plan_);
    const int count = clf_plan_passes(plan_) & CLF_BACKWARD ? 3 : 1;
    clf_status status = CLF_SUCCESS;

    for (int i = 0; status == CLF_SUCCESS && i < count; i++) {
        const clf__fused_tile own = tile_of(device, problem, i), before = tile_of(device, problem, 0);
        if (listing_of(device, problem, i > 0) == CLF__FUSED_UNLISTED)
            continue;
        if (i == 1 && problem->blocks && own.rows == before.rows && own.columns == before.columns)
            fused->lists[1] = fused->lists[0];
        else
            status = clf__fused_plan_lists(plan_, problem, &own, &fused->lists[i]);
    }
    return status;
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    char options[2][CLF__FUSED_OPTIONS], more[256];
    const clf_status status = make_lists(plan_, problem, fused);

    if (status)
        return status;
    for (int pass = 0; pass < 2; pass++) {
        const tile *t = choose(clf_plan_device(plan_), problem, pass == 1);
        (void)snprintf(more, sizeof more,
                       "-DCLF_ROWS=%d -DCLF_COLUMNS=%d -DCLF_HEIGHT=%d -DCLF_WIDTH=%d -DCLF_VECTOR=%d -DCLF_DEPTH=%d "
                       "-DCLF_STEPS=%d -DCLF_BLOCKS=%d", t->rows, t->columns, t->height, t->across, t->vector, t->depth,
                       t->steps, listing_of(clf_plan_device(plan_), problem, pass));
        /* Widths are run-time numbers in these kernels: problems of one padded width share a program. */
        clf__fused_options(problem, padded(t, (int)s.width), padded(t, (int)s.value_width), more,
                           options[pass], sizeof options[pass]);
        fused->rows[pass] = t->rows;
        fused->items[pass] = items_of(t);
    }
    return clf__fused_kernels_rows(plan_, clf__fused_portable.name, (const char *const[2]){ options[0], options[1] },
                                   fused);
}

const clf__fused_family clf__fused_portable = {
    .name = "portable",
    .forward_features = FEATURES | CLF__FUSED_PAGES | CLF__FUSED_QUANTISED,
    .backward_features = FEATURES,
    .supports = supports,
    .plan = plan,
    .forward = clf__fused_forward_rows,
    .backward = clf__fused_backward_rows,
};
