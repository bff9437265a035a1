/* The family for CPUs: explicit vectors, one work-item a group. */
#include "fused/family.h"
#include "fused/sparse.h"
#include "component/plan.h"
#include "tensor/tensor.h"
#include <stdio.h>

enum {
    FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD | CLF__FUSED_DROPOUT |
               CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SCORE_MOD | CLF__FUSED_EXTRAS | CLF__FUSED_MASK_GRAD |
               CLF__FUSED_GROUPS | CLF__FUSED_SINKS | CLF__FUSED_STARTS | CLF__FUSED_LENGTHS |
               CLF__FUSED_OUT_TYPE | CLF__FUSED_BLOCKS
};

/* Queries and keys of a block, by the widths of q and v together. */
typedef struct block {
    int widest;
    int rows, keys;
} block;

enum {
    TILE_ROWS = 8,      /* CLF_TILE_ROWS */
    WIDE = 256,         /* more columns of values than that have a kernel of their own */
    WIDEST_VALUES = 512
};

static const block forward_blocks[] = { { 128, 256, 64 }, { 256, 128, 64 }, { 512, 64, 64 } };
static const block wide_blocks[] = { { WIDEST_VALUES + 256, 256, 64 } };
static const block backward_blocks[] = { { 128, 64, 64 }, { 256, 32, 64 }, { 512, 32, 32 } };

static block choose(const block *blocks, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    while (blocks->widest < s.width + s.value_width)
        blocks++;
    block chosen = *blocks;
    while (chosen.rows > 8 && chosen.rows / 2 >= s.queries)
        chosen.rows /= 2;
    return chosen;
}

/* Fewer rows a group where there are too few groups to keep all cores busy to the end. */
static int share_rows(int rows, const clf__fused_problem *problem, int64_t cores)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    while (rows > 32 && (s.queries + rows - 1) / rows * s.batch * s.heads < 4 * cores)
        rows /= 2;
    return rows;
}

/* Slices of partial_q: enough groups for the cores, never more than there are blocks of keys. */
static int choose_splits(const clf__fused_problem *problem, int keys, int64_t cores)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t all = s.batch * problem->k.shape[1], heads = all > 0 ? all : 1, blocks = (s.keys + keys - 1) / keys;
    int64_t splits = (2 * cores + heads - 1) / heads;

    splits = splits > blocks ? blocks : splits;
    return splits < 1 ? 1 : splits > 16 ? 16 : (int)splits;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf_device_info *info = clf_device_get_info(device);

    (void)passes;
    if (!(info->type & CL_DEVICE_TYPE_CPU) || info->software) {
        (void)snprintf(why, size, "it keeps tiles of some 200 KiB in private memory, which only a native CPU caches");
        return false;
    }
    if (problem->blocks && clf__fused_shape_of(problem).value_width > WIDE) {
        (void)snprintf(why, size, "patterns do not go together with values of more than %d columns", WIDE);
        return false;
    }
    return clf__fused_grid_fits(problem, 8, 1, why, size);
}

static void reserve(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const int64_t *q = problem->q.shape;
    const uint64_t rows = (uint64_t)(q[0] * q[1]) * (uint64_t)q[2];
    const bool has_k = problem->grad_k.rank > 0, has_v = problem->grad_v.rank > 0;

    fused->scratch = clf_plan_workspace(plan_, (uint64_t)fused->splits * rows * (uint64_t)((q[3] + 15) / 16 * 16) *
                                                   sizeof(float));
    /* One kernel writes both gradients: what nobody wants goes to scratch. */
    if (!has_k)
        fused->unwanted_k = clf_plan_workspace(plan_, clf__tensor_bytes(&problem->k));
    if (!has_v)
        fused->unwanted_v = clf_plan_workspace(plan_, clf__tensor_bytes(&problem->v));
}

/* The tiles of a pass: lists for blocks of queries, and for blocks of keys. */
static clf__fused_tile tile_of(const block *chosen, int pass)
{
    return (clf__fused_tile){ chosen->rows, chosen->keys, TILE_ROWS, pass == 1 };
}

static clf_status make_lists(clf_plan *plan_, const clf__fused_problem *problem, const block chosen[2], bool backward,
                             clf__fused *fused)
{
    const clf__fused_tile tiles[2] = { tile_of(&chosen[0], 0), tile_of(&chosen[1], 1) };
    const clf_status status = clf__fused_plan_lists(plan_, problem, &tiles[0], &fused->lists[0]);

    return status || !backward ? status : clf__fused_plan_lists(plan_, problem, &tiles[1], &fused->lists[2]);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const int64_t cores = clf_device_get_info(clf_plan_device(plan_))->compute_units;
    const bool wide = clf__fused_shape_of(problem).value_width > WIDE;
    block chosen[2] = { choose(wide ? wide_blocks : forward_blocks, problem) };
    const bool backward = (clf__fused_passes(plan_, problem) & CLF_BACKWARD) != 0;
    char options[2][CLF__FUSED_OPTIONS], more[96];

    if (backward)
        chosen[1] = choose(backward_blocks, problem);
    chosen[0].rows = share_rows(chosen[0].rows, problem, cores);
    for (int pass = 0; pass < (backward ? 2 : 1); pass++) {
        const clf__fused_tile tile = tile_of(&chosen[pass], pass);
        (void)snprintf(more, sizeof more, "-DCLF_LANES=16 -DCLF_ROWS=%d -DCLF_KEYS=%d -DCLF_BLOCKS=%d",
                       chosen[pass].rows, chosen[pass].keys, wide ? 0 : (int)clf__fused_listing_of(problem, &tile));
        clf__fused_options(problem, (int)problem->q.shape[3], (int)problem->v.shape[3], more, options[pass],
                           sizeof options[pass]);
        fused->rows[pass] = chosen[pass].rows;
    }
    if (backward) {
        fused->splits = choose_splits(problem, chosen[1].keys, cores);
        reserve(plan_, problem, fused);
    }
    if (wide)
        return clf__plan_kernel(plan_, "fused/vector_wide_forward.cl", options[0], "clf_fused_forward_vector_wide",
                                &fused->forward);
    clf_status status = make_lists(plan_, problem, chosen, backward, fused);
    if (status == CLF_SUCCESS)
        status = clf__plan_kernel(plan_, "fused/vector_forward.cl", options[0], "clf_fused_forward_vector",
                                  &fused->forward);
    if (status || !backward)
        return status;
    const char *path = "fused/vector_backward.cl";
    status = clf__plan_kernel(plan_, path, options[1], "clf_fused_delta_vector", &fused->delta);
    if (status == CLF_SUCCESS)
        status = clf__plan_kernel(plan_, path, options[1], "clf_fused_backward_vector", &fused->backward[0]);
    if (status == CLF_SUCCESS)
        status = clf__plan_kernel(plan_, path, options[1], "clf_fused_backward_q_vector", &fused->backward[1]);
    return status;
}

/* A group of one work-item for each of `groups` in every one of `heads`. */
static clf_status launch(clf_run *run, const clf_binder *binder, const clf__fused_problem *problem, int64_t heads,
                         int64_t groups)
{
    const int64_t batch = clf__fused_shape_of(problem).batch;
    const size_t global[3] = { (size_t)groups, (size_t)heads, (size_t)batch }, local[3] = { 1, 1, 1 };

    return clf_launch(run, binder, 3, global, local);
}

static int64_t blocks_of(const clf__fused *fused, const clf__fused_problem *problem, int pass)
{
    return (clf__fused_shape_of(problem).queries + fused->rows[pass] - 1) / fused->rows[pass];
}

static clf_status forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->forward);
    const clf_tensor lse = clf__fused_lse(run, fused, problem);

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind_sinks(&binder, problem);
    clf__fused_bind_numbers(&binder, problem);
    clf__fused_bind_lists(&binder, run, &fused->lists[0]);
    return launch(run, &binder, problem, problem->q.shape[1], blocks_of(fused, problem, 0));
}

static clf_status launch_delta(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->delta);
    const clf_tensor delta = clf__fused_delta(run, fused, problem);

    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &problem->grad_out);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind_shape(&binder, problem);
    return launch(run, &binder, problem, problem->q.shape[1], blocks_of(fused, problem, 1));
}

/* The gradient, or a contiguous stand-in in the workspace. */
static clf_tensor wanted_or_scratch(const clf_run *run, const clf_tensor *gradient, const clf_tensor *like, uint64_t at)
{
    const clf_buffer workspace = clf_run_workspace(run);
    clf_tensor stand_in;

    if (gradient->rank > 0)
        return *gradient;
    stand_in = clf_tensor_view(workspace.mem, like->dtype, like->rank, like->shape);
    stand_in.offset = workspace.offset + at;
    return stand_in;
}

/* partial_q: where a slice has its rows, and the step from slice to slice. */
static void bind_partial(clf_binder *binder, const clf_run *run, const clf__fused *fused,
                         const clf__fused_problem *problem)
{
    const clf_buffer workspace = clf_run_workspace(run);
    const int64_t *q = problem->q.shape;
    const int64_t shape[4] = { q[0], q[1], q[2], (q[3] + 15) / 16 * 16 };
    clf_tensor slice = clf_tensor_view(workspace.mem, CLF_F32, 4, shape);
    const cl_long step = (cl_long)clf_tensor_elements(&slice);

    slice.offset = workspace.offset + fused->scratch;
    clf__fused_bind(binder, &slice);
    clf_bind_value(binder, &step, sizeof step);
}

static clf_status launch_all(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->backward[0]);
    const clf_tensor lse = clf__fused_lse(run, fused, problem), delta = clf__fused_delta(run, fused, problem);
    const clf_tensor grad_k = wanted_or_scratch(run, &problem->grad_k, &problem->k, fused->unwanted_k);
    const clf_tensor grad_v = wanted_or_scratch(run, &problem->grad_v, &problem->v, fused->unwanted_v);

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->grad_out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind(&binder, &grad_k);
    clf__fused_bind(&binder, &grad_v);
    bind_partial(&binder, run, fused, problem);
    clf__fused_bind_numbers(&binder, problem);
    clf__fused_bind_lists(&binder, run, &fused->lists[2]);
    return launch(run, &binder, problem, problem->k.shape[1], fused->splits);
}

static clf_status launch_sum(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->backward[1]);
    const cl_int splits = fused->splits;
    const cl_float4 factor = { { problem->scale } };

    bind_partial(&binder, run, fused, problem);
    clf_bind_value(&binder, &splits, sizeof splits);
    clf__fused_bind(&binder, &problem->grad_q);
    clf__fused_bind_shape(&binder, problem);
    clf_bind_value(&binder, &factor, sizeof factor);
    return launch(run, &binder, problem, problem->q.shape[1], blocks_of(fused, problem, 1));
}

static clf_status backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_status status = launch_delta(run, fused, problem);

    if (status == CLF_SUCCESS)
        status = launch_all(run, fused, problem);
    if (status == CLF_SUCCESS && problem->grad_q.rank > 0)
        status = launch_sum(run, fused, problem);
    return status;
}

const clf__fused_family clf__fused_vector = {
    .name = "vector",
    .forward_features = FEATURES | CLF__FUSED_PAGES | CLF__FUSED_QUANTISED,
    .backward_features = FEATURES,
    .widest_values = WIDEST_VALUES,
    .supports = supports,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
