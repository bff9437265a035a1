/* Lists of the tiles in which a mask snippet leaves anything, made on the device ahead of each pass: tiles that it
 * hides are skipped, and where it hides nothing it is not asked again. cl/fused/list_tiles.cl makes them. */
#include "component/plan.h"
#include "fused/family.h"
#include "fused/sparse.h"
#include "tensor/tensor.h"
#include <stdio.h>

enum { ITEMS = 64 }; /* of a group that looks at a tile; CPUs: one */

static int64_t tiles_of(int64_t extent, int64_t tile)
{
    return (extent + tile - 1) / tile;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Does the expression read the variable? */
static bool mentions(const char *text, char variable)
{
    for (const char *c = text; *c; c++)
        if (*c == variable && (c == text || !is_word(c[-1])) && !is_word(c[1]))
            return true;
    return false;
}

/* {lists of a head, heads or 1, batches or 1, most entries}; lists are shared where the answer is the same. */
typedef struct extents {
    int64_t lists, heads, batches, entries;
} extents;

static extents extents_of(const clf__fused_problem *problem, const clf__fused_tile *tile)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t down = tiles_of(s.queries, tile->rows), across = tiles_of(s.keys, tile->columns);
    const bool by_batch = clf__fused_has_sequences(problem) || mentions(problem->mask_mod, 'b');

    return (extents){ tile->by_keys ? across : down, mentions(problem->mask_mod, 'h') ? s.heads : 1,
                      by_batch ? s.batch : 1, tile->by_keys ? down : across };
}

static double numbers_of(const extents *e)
{
    return (double)e->lists * (double)e->heads * (double)e->batches * (1 + 4 * (double)e->entries);
}

clf__fused_listing clf__fused_listing_of(const clf__fused_problem *problem, const clf__fused_tile *tile)
{
    if (problem->blocks)
        return CLF__FUSED_LISTED_PATTERN;
    if (!problem->mask_mod)
        return CLF__FUSED_UNLISTED;
    const extents e = extents_of(problem, tile);
    const double tensors = (double)(clf__tensor_bytes(&problem->q) + clf__tensor_bytes(&problem->k) +
                                     clf__tensor_bytes(&problem->v) + clf__tensor_bytes(&problem->out));
    const double numbers = numbers_of(&e);

    return e.entries > 1 && numbers < INT32_MAX && numbers * sizeof(cl_int) <= tensors ? CLF__FUSED_LISTED_SNIPPET
                                                                                       : CLF__FUSED_UNLISTED;
}

/* The problem without all that kernels ask beside the snippet, which then share a program. */
static clf__fused_problem snippet_alone(const clf__fused_problem *problem)
{
    static const clf_tensor absent;
    clf__fused_problem alone = *problem;

    alone.q.dtype = alone.out.dtype = CLF_F32;
    alone.mask = alone.padding = alone.alibi = alone.sinks = absent;
    alone.score_mod = alone.score_slope = NULL;
    alone.softcap = alone.dropout = 0;
    return alone;
}

clf_status clf__fused_plan_mask_lists(clf_plan *plan, const clf__fused_problem *problem, const clf__fused_tile *tile,
                                      clf__fused_lists *lists)
{
    const bool vectors = clf_device_get_capabilities(clf_plan_device(plan))->style == CLF_STYLE_VECTORS;
    const clf__fused_problem alone = snippet_alone(problem);
    const extents e = extents_of(problem, tile);
    char options[CLF__FUSED_OPTIONS], more[64];
    const char *path = "fused/list_tiles.cl";

    lists->tile = *tile;
    lists->at = (cl_int8){ { (cl_int)e.lists, (cl_int)e.heads, (cl_int)e.batches, (cl_int)e.entries } };
    lists->offset = clf_plan_workspace(plan, (uint64_t)numbers_of(&e) * sizeof(cl_int));
    (void)snprintf(more, sizeof more, "-DCLF_LANES=%d -DCLF_BLOCKS=%d", vectors ? 16 : 1, CLF__FUSED_LISTED_SNIPPET);
    clf__fused_options(&alone, 1, 1, more, options, sizeof options);
    const clf_status status = clf__plan_kernel(plan, path, options, "clf_fused_list_tiles", &lists->make);
    return status ? status : clf__plan_kernel(plan, path, options, "clf_fused_compact_lists", &lists->compact);
}

/* `items` work-items, rounded up to groups of `local`. */
static clf_status launch(clf_run *run, const clf_binder *binder, size_t items, size_t local)
{
    const size_t global = (items + local - 1) / local * local;

    return clf_launch(run, binder, 1, &global, &local);
}

static clf_status make(clf_run *run, const clf__fused_lists *lists, const clf__fused_problem *problem)
{
    const clf__fused_problem alone = snippet_alone(problem);
    const clf__fused_tile *t = &lists->tile;
    const cl_int4 tile = { { t->rows, t->columns, t->part, t->by_keys } };
    const clf_device *device = clf_plan_device(clf_run_plan(run));
    const size_t local = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS ? 1 : ITEMS;
    const size_t count = (size_t)lists->at.s[0] * (size_t)lists->at.s[1] * (size_t)lists->at.s[2];
    clf_binder binder = clf_bind(lists->make);
    clf_status status;

    clf__fused_bind_lists(&binder, run, lists);
    clf_bind_value(&binder, &tile, sizeof tile);
    clf__fused_bind_shape(&binder, &alone);
    clf__fused_bind_changes(&binder, &alone);
    if ((status = launch(run, &binder, count * (size_t)lists->at.s[3] * local, local)))
        return status;
    binder = clf_bind(lists->compact);
    clf__fused_bind_lists(&binder, run, lists);
    return launch(run, &binder, count, local);
}

clf_status clf__fused_make_lists(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem, int first,
                                 int end)
{
    clf_status status = CLF_SUCCESS;

    for (int i = first; i < end && !status; i++)
        if (fused->lists[i].make)
            status = make(run, &fused->lists[i], problem);
    return status;
}
