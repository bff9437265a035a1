/* Block lists: how large they can get, and building them. */
#include "pattern/block_list.h"
#include "component/plan.h"
#include "core/status.h"
#include "core/text.h"
#include "pattern/bind.h"

/* ---- measuring --------------------------------------------------------------------------------------- */

static int64_t tiles_of(int64_t extent, int64_t tile)
{
    return (extent + tile - 1) / tile;
}

/* Tiles that have a list. */
static int64_t list_tiles(const clf__block_problem *p)
{
    return p->by_keys ? tiles_of(p->keys, p->columns) : tiles_of(p->queries, p->rows);
}

static clf_status check(const clf__block_problem *p)
{
    const int64_t extents[] = { p->batch, p->heads, p->queries, p->keys };

    for (int i = 0; i < 4; i++)
        if (extents[i] < 0 || extents[i] > CLF__PATTERN_LARGEST)
            return clf__fail(CLF_OUT_OF_RANGE, "block lists of %lld batches, %lld heads, %lld queries, %lld keys",
                             (long long)p->batch, (long long)p->heads, (long long)p->queries, (long long)p->keys);
    if (p->rows < 1 || p->columns < 1 || p->rows > 1 << 16 || p->columns > 1 << 16)
        return clf__fail(CLF_OUT_OF_RANGE, "tiles of %d queries x %d keys", p->rows, p->columns);
    if (p->base && (p->base->rows != p->rows || p->base->columns != p->columns || p->base->by_keys != p->by_keys ||
                    p->base->tiles != list_tiles(p)))
        return clf__fail(CLF_INVALID_SHAPE, "base lists of %lld tiles of %d x %d %s do not fit %lld of %d x %d %s",
                         (long long)p->base->tiles, p->base->rows, p->base->columns,
                         p->base->by_keys ? "by keys" : "by queries", (long long)list_tiles(p), p->rows, p->columns,
                         p->by_keys ? "by keys" : "by queries");
    if (p->base && ((p->base->batch > 1 && p->base->batch != p->batch) ||
                    (p->base->heads > 1 && p->base->heads != p->heads)))
        return clf__fail(CLF_INVALID_SHAPE, "base lists for %lld batches and %lld heads do not fit %lld and %lld",
                         (long long)p->base->batch, (long long)p->base->heads, (long long)p->batch,
                         (long long)p->heads);
    if (p->shift < -CLF__PATTERN_LARGEST || p->shift > CLF__PATTERN_LARGEST || p->window < 0 ||
        p->window > CLF__PATTERN_LARGEST)
        return clf__fail(CLF_OUT_OF_RANGE, "shift = %lld, window = %lld", (long long)p->shift, (long long)p->window);
    if (!p->pattern)
        return CLF_SUCCESS;
    const clf_pattern_info info = clf_pattern_get_info(p->pattern);
    if (info.queries != p->queries || info.keys != p->keys || (info.heads > 1 && info.heads != p->heads) ||
        (info.batch > 1 && info.batch != p->batch))
        return clf__fail(CLF_INVALID_SHAPE, "a pattern for %lld batches, %lld heads, %lld queries, %lld keys does not "
                         "fit %lld, %lld, %lld, %lld", (long long)info.batch, (long long)info.heads,
                         (long long)info.queries, (long long)info.keys, (long long)p->batch,
                         (long long)p->heads, (long long)p->queries, (long long)p->keys);
    return CLF_SUCCESS;
}

static clf__pattern_hull hull_of(const clf__block_problem *p)
{
    clf__pattern_hull hull = { -CLF__PATTERN_NO_LIMIT, CLF__PATTERN_NO_LIMIT, 0 };

    if (p->pattern)
        hull = clf__pattern_hull_of(p->pattern);
    if (p->causal && p->shift < hull.high)
        hull.high = (int32_t)p->shift;
    if (p->causal && p->window > 0 && p->shift + 1 - p->window > hull.low) {
        hull.low = (int32_t)(p->shift + 1 - p->window);
        hull.below = 0; /* the window hides the first keys, too */
    }
    return hull;
}

/* Tiles of `along` positions that a tile of `across` positions can meet. */
static int64_t capacity_of(const clf__block_problem *p, clf__pattern_hull hull)
{
    const int64_t along = p->by_keys ? p->rows : p->columns, across = p->by_keys ? p->columns : p->rows;
    const int64_t all = tiles_of(p->by_keys ? p->queries : p->keys, along);
    const int64_t reach = across - 1 + (int64_t)hull.high - hull.low + 1; /* positions */
    if (p->base)
        return p->base->capacity;
    int64_t ahead = 0, band = reach > 0 ? (reach - 1) / along + 2 : 0;

    if (hull.below > 0)
        ahead = p->by_keys ? all : tiles_of(hull.below < p->keys ? hull.below : p->keys, along);
    const int64_t most = ahead + band < all ? ahead + band : all;
    return most > 0 ? most : 1;
}

/* Does anything differ from batch to batch, from head to head? */
static void share(const clf__block_problem *p, clf__block_lists *lists)
{
    const clf_tensor *mask = &p->mask;
    const bool tiled = mask->rank == 3 && mask->shape[0] > 1;
    bool batch = p->padding.rank > 0 && p->padding.strides[0] != 0, heads = tiled;

    if (mask->rank == 4) {
        batch = batch || mask->strides[0] != 0;
        heads = mask->strides[1] != 0;
    }
    if (p->mask_mod) {
        batch = batch || p->by_batch;
        heads = heads || p->by_head;
    }
    if (p->pattern) {
        batch = batch || clf_pattern_get_info(p->pattern).batch > 1;
        heads = heads || clf_pattern_get_info(p->pattern).heads > 1;
    }
    if (p->base) {
        batch = batch || p->base->batch > 1;
        heads = heads || p->base->heads > 1;
    }
    lists->batch = batch || tiled ? p->batch : 1;
    lists->heads = heads ? p->heads : 1;
}

clf_status clf__block_lists_begin(const clf__block_problem *problem, clf__block_lists *lists)
{
    const clf_status status = check(problem);

    *lists = (clf__block_lists){ 0 };
    if (status)
        return status;
    lists->hull = hull_of(problem);
    lists->rows = problem->rows;
    lists->columns = problem->columns;
    lists->by_keys = problem->by_keys;
    share(problem, lists);
    lists->tiles = list_tiles(problem);
    /* Each factor is below 2^30: step by step nothing overflows. */
    if (lists->batch * lists->heads > INT32_MAX || lists->batch * lists->heads * lists->tiles > INT32_MAX)
        return clf__fail(CLF_UNSUPPORTED, "block lists for %lld x %lld heads of %lld tiles are too many",
                         (long long)lists->batch, (long long)lists->heads, (long long)lists->tiles);
    return CLF_SUCCESS;
}

clf_status clf__block_lists_measure(const clf__block_problem *problem, clf__block_lists *lists)
{
    const clf_status status = clf__block_lists_begin(problem, lists);

    if (status)
        return status;
    lists->capacity = capacity_of(problem, lists->hull);
    const int64_t count = lists->batch * lists->heads * lists->tiles;
    if (count * lists->capacity > (int64_t)UINT32_MAX - 4096)
        return clf__fail(CLF_UNSUPPORTED, "block lists for %lld x %lld heads of %lld tiles with %lld entries each make "
                         "too large a grid", (long long)lists->batch, (long long)lists->heads, (long long)lists->tiles,
                         (long long)lists->capacity);
    lists->bytes = (uint64_t)count * (uint64_t)(1 + lists->capacity) * sizeof(cl_int);
    return CLF_SUCCESS;
}

/* ---- kernels ------------------------------------------------------------------------------------------ */

/* CLF_MASK of cl/prelude/mask.cl. */
static int mask_kind(const clf_tensor *mask)
{
    if (mask->rank == 0)
        return 0;
    return mask->dtype == CLF_F32 ? 2 : mask->dtype == CLF_F16 ? 3 : mask->dtype == CLF_BF16 ? 4 : 1;
}

clf_status clf__block_lists_plan(clf_plan *plan, const clf__block_problem *problem, clf__block_lists *lists)
{
    const bool vectors = clf_device_get_capabilities(clf_plan_device(plan))->style == CLF_STYLE_VECTORS;
    clf_status status = clf__block_lists_measure(problem, lists);
    clf__text options = { 0 };

    if (status)
        return status;
    clf__text_add(&options, "-DCLF_LANES=%d -DCLF_CAUSAL=%d -DCLF_WINDOW=%d -DCLF_MASK=%d -DCLF_KEY_PADDING=%d "
                  "-DCLF_PATTERN=%d -DCLF_BASE=%d", vectors ? 16 : 1, problem->causal,
                  problem->causal && problem->window > 0, mask_kind(&problem->mask), problem->padding.rank > 0,
                  problem->pattern ? problem->pattern->kind->number : 0, problem->base != NULL);
    if (problem->mask_mod)
        clf__text_add(&options, " -DCLF_MASK_MOD(b,h,q,k)=%s", problem->mask_mod);
    if (options.failed)
        status = clf__no_memory(256);
    if (status == CLF_SUCCESS)
        status = clf__plan_kernel(plan, "pattern/block_list.cl", options.data, "clf_block_classify", &lists->classify);
    if (status == CLF_SUCCESS)
        status = clf__plan_kernel(plan, "pattern/block_list.cl", options.data, "clf_block_compact", &lists->compact);
    clf__text_free(&options);
    return status;
}

/* ---- building ------------------------------------------------------------------------------------------ */

static void bind_numbers(clf_binder *binder, const clf__block_lists *lists, const clf__block_problem *p)
{
    const cl_int8 shape = { { (cl_int)p->batch, (cl_int)p->heads, (cl_int)p->queries, (cl_int)p->keys,
                              (cl_int)p->shift, 0, 0, (cl_int)p->window } };
    const cl_int4 tiles = { { p->rows, p->columns, p->by_keys } };
    const cl_int4 hull = { { lists->hull.low, lists->hull.high, lists->hull.below } };

    clf_bind_value(binder, &shape, sizeof shape);
    clf_bind_value(binder, &tiles, sizeof tiles);
    clf_bind_value(binder, &hull, sizeof hull);
}

void clf__block_lists_bind(clf_binder *binder, const clf__block_lists *lists, cl_mem mem, uint64_t offset)
{
    const cl_long8 at = { { (cl_long)(offset / sizeof(cl_int)), lists->tiles, lists->heads, lists->batch,
                            lists->capacity } };

    clf_bind_mem(binder, mem);
    clf_bind_value(binder, &at, sizeof at);
}

/* Groups of a fixed size, so that drivers which compile for the size compile once. */
static clf_status launch(clf_run *run, const clf_binder *binder, const clf_device *device, size_t items)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const size_t local = has->style == CLF_STYLE_VECTORS ? 1 : has->max_work_group < 64 ? has->max_work_group : 64;
    const size_t global = (items + local - 1) / local * local;

    return clf_launch(run, binder, 1, &global, &local);
}

clf_status clf__block_lists_build(clf_run *run, const clf__block_lists *lists, const clf__block_problem *problem,
                                  cl_mem mem, uint64_t offset)
{
    const size_t count = (size_t)(lists->batch * lists->heads * lists->tiles), slots = count * (size_t)lists->capacity;
    const clf_device *device = clf_plan_device(clf_run_plan(run));
    clf_binder binder = clf_bind(lists->classify);
    clf_status status;

    clf__bind_mask(&binder, &problem->mask);
    clf__bind_padding(&binder, &problem->padding);
    bind_numbers(&binder, lists, problem);
    clf__block_lists_bind(&binder, lists, mem, offset);
    if (problem->base)
        clf__block_lists_bind(&binder, problem->base, problem->base_data.mem, problem->base_data.offset);
    if (problem->pattern) {
        const cl_long at = (cl_long)(problem->words.offset / sizeof(cl_int));
        clf_bind_mem(&binder, problem->words.mem);
        clf_bind_value(&binder, &at, sizeof at);
    }
    if ((status = launch(run, &binder, device, slots)))
        return status;
    binder = clf_bind(lists->compact);
    clf__block_lists_bind(&binder, lists, mem, offset);
    return launch(run, &binder, device, count);
}
