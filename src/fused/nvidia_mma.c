/* The family for NVIDIA GPUs from sm_80 on: products on tensor cores; those of f32 are three of tf32 each. */
#include "fused/nvidia.h"
#include "component/plan.h"
#include "device/retarget.h"
#include "tensor/tensor.h"
#include <stdio.h>

/* What has passed the tests on a card. */
enum {
    FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_MASK | CLF__FUSED_PADDING | CLF__FUSED_MASK_MOD | CLF__FUSED_DROPOUT |
               CLF__FUSED_GROUPS | CLF__FUSED_MASK_GRAD | CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SINKS |
               CLF__FUSED_SCORE_MOD | CLF__FUSED_EXTRAS | CLF__FUSED_STARTS | CLF__FUSED_LENGTHS
};

/* How a group splits its work; see cl/fused/nvidia_mma_tile.cl for the names. */
typedef struct tile {
    int widest;  /* of the heads it is good for, padded */
    int warps;   /* of 32 work-items */
    int tall;    /* times 16 rows a warp */
    int columns; /* rows of the tiles that pass by */
} tile;

enum { FORWARD, BACKWARD_Q, BACKWARD_KV, KERNELS };

/* By preference; the last one of a width is for devices of 48 KiB and for few rows. */
static const tile forward_tiles[] = {
    { 64, 4, 2, 64 },
    { 64, 4, 1, 64 },
    { 128, 4, 2, 64 },
    { 128, 4, 1, 32 },
    { 256, 8, 1, 64 },
    { 256, 4, 1, 32 },
    { 256, 2, 1, 16 },
    { 0 }
};
static const tile backward_q_tiles[] = {
    { 64, 4, 2, 64 },
    { 64, 4, 1, 32 },
    { 128, 4, 2, 32 },
    { 128, 2, 1, 16 },
    { 256, 8, 1, 32 },
    { 256, 4, 1, 32 },
    { 256, 1, 1, 16 },
    { 0 }
};
static const tile backward_kv_tiles[] = {
    { 64, 4, 2, 32 },
    { 64, 4, 1, 32 },
    { 128, 8, 1, 64 },
    { 128, 4, 1, 32 },
    { 128, 2, 1, 16 },
    { 256, 4, 1, 16 },
    { 0 }
};
/* The same for f32, whose tiles take twice the local memory and whose products three times the registers. */
static const tile forward_tiles_f32[] = {
    { 64, 4, 2, 32 },
    { 64, 4, 1, 32 },
    { 128, 4, 2, 16 },
    { 128, 4, 1, 16 },
    { 128, 2, 1, 16 },
    { 256, 4, 1, 32 },
    { 256, 2, 1, 16 },
    { 0 }
};
static const tile backward_q_tiles_f32[] = {
    { 64, 4, 2, 32 },
    { 64, 4, 1, 16 },
    { 128, 8, 1, 16 },
    { 128, 4, 1, 16 },
    { 128, 1, 1, 16 },
    { 256, 4, 1, 16 },
    { 256, 1, 1, 16 },
    { 0 }
};
static const tile backward_kv_tiles_f32[] = {
    { 64, 4, 2, 16 },
    { 64, 4, 1, 16 },
    { 128, 8, 1, 16 },
    { 128, 4, 1, 16 },
    { 256, 4, 1, 16 },
    { 256, 1, 1, 16 },
    { 0 }
};
static const struct {
    const tile *tiles, *tiles_f32;
    const char *path, *name;
} kernels[KERNELS] = {
    { forward_tiles, forward_tiles_f32, "fused/nvidia_mma_forward.cl", "clf_fused_forward_nvidia_mma" },
    { backward_q_tiles, backward_q_tiles_f32, "fused/nvidia_mma_backward_q.cl", "clf_fused_backward_q_nvidia_mma" },
    { backward_kv_tiles, backward_kv_tiles_f32, "fused/nvidia_mma_backward_kv.cl", "clf_fused_backward_kv_nvidia_mma" },
};

static int rows_of(const tile *t)
{
    return t->warps * t->tall * 16;
}

int clf__nvidia_padded(int64_t width)
{
    static const int widths[] = { 32, 64, 96, 128, 192, 256 };
    int i = 0;

    while (widths[i] < width)
        i++;
    return widths[i];
}

/* Bytes of the tile that rests, of two stages of those that pass by, and of the numbers beside them. */
static uint64_t bytes_of(int kernel, const tile *t, clf_dtype dtype, int width, int value_width)
{
    const int resting = rows_of(t) * (kernel == FORWARD ? width : width + value_width);
    const int passing = 2 * t->columns * (width + value_width);

    const uint64_t beside = kernel == BACKWARD_KV ? 16 * (uint64_t)t->columns : 0;

    return clf_dtype_size(dtype) * (uint64_t)(resting + passing) + beside;
}

/* The first tile that the device can hold and that the rows fill more than by half; else the smallest. */
static const tile *choose(const clf_device *device, const clf__fused_problem *problem, int kernel)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int width = clf__nvidia_padded(s.width), value_width = clf__nvidia_padded(s.value_width);
    const int64_t count = kernel == BACKWARD_KV ? s.keys : s.queries;
    const clf_dtype dtype = problem->q.dtype;
    const tile *last = NULL;

    for (const tile *t = dtype == CLF_F32 ? kernels[kernel].tiles_f32 : kernels[kernel].tiles; t->widest; t++) {
        if (t->widest < width || t->widest < value_width ||
            bytes_of(kernel, t, dtype, width, value_width) > clf__nvidia_local_memory(device))
            continue;
        if (count > rows_of(t) / 2)
            return t;
        if (!last || rows_of(t) < rows_of(last))
            last = t;
    }
    return last;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    if (!clf__nvidia_has_matrix(device, why, size))
        return false;
    for (int kernel = 0; kernel < (passes & CLF_BACKWARD ? KERNELS : 1); kernel++) {
        const tile *t = choose(device, problem, kernel);
        if (!t) {
            (void)snprintf(why, size, "no tile of %s fits %llu bytes of local memory", kernels[kernel].name,
                           (unsigned long long)clf__nvidia_local_memory(device));
            return false;
        }
        if (!clf__fused_grid_fits(problem, rows_of(t) < 64 ? rows_of(t) : 64, 32 * t->warps > 64 ? 32 * t->warps : 64,
                                  why, size))
            return false;
    }
    return true;
}

static clf_status create(clf_plan *plan_, const clf__fused_problem *problem, int kernel, clf__fused *fused)
{
    cl_kernel *const to[KERNELS] = { &fused->forward, &fused->backward[0], &fused->backward[1] };
    const tile *t = choose(clf_plan_device(plan_), problem, kernel);
    const bool rounds = problem->q.dtype != CLF_F32;
    const bool keeps_rest = rounds && kernel == FORWARD && clf_plan_passes(plan_) & CLF_BACKWARD;
    char options[CLF__FUSED_OPTIONS], more[256];

    (void)snprintf(more, sizeof more, "-DCLF_WARPS=%d -DCLF_TALL=%d -DCLF_COLUMNS=%d -DCLF_PRESCALE=%d -DCLF_REST=%d",
                   t->warps, t->tall, t->columns, !(problem->scale > 0), keeps_rest);
    clf__fused_options(problem, clf__nvidia_padded(problem->q.shape[3]), clf__nvidia_padded(problem->v.shape[3]), more,
                       options, sizeof options);
    fused->rows[kernel] = rows_of(t);
    fused->items[kernel] = 32 * t->warps;
    return clf__plan_kernel(plan_, kernels[kernel].path, options, kernels[kernel].name, to[kernel]);
}

clf_status clf__nvidia_plan_delta(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf_dtype dtype = problem->q.dtype;
    char options[256], sequences[96], maps[96] = "";

    clf__fused_sequence_options(problem, sequences, sizeof sequences);
    if (dtype != CLF_F32)
        fused->rest = clf_plan_saved(plan_, 2 * (uint64_t)clf_tensor_elements(&problem->out));
    if (fused->maps & CLF_BACKWARD)
        (void)snprintf(maps, sizeof maps, "-DCLF_MAPS=1 -DCLF_GROUPS=%d " CLF__EXACT_TARGET, clf__fused_groups(problem));
    (void)snprintf(options, sizeof options, "-DCLF_STORAGE=%d -DCLF_REST=%d %s %s", clf__storage_number(dtype),
                   dtype != CLF_F32, sequences, maps);
    return clf__plan_kernel(plan_, "fused/nvidia_delta.cl", options, "clf_fused_delta_nvidia", &fused->delta);
}

clf_status clf__nvidia_mma_plan_backward(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    clf_status status = clf__nvidia_plan_delta(plan_, problem, fused);

    if (!status)
        status = create(plan_, problem, BACKWARD_Q, fused);
    return status ? status : create(plan_, problem, BACKWARD_KV, fused);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    clf_status status = create(plan_, problem, FORWARD, fused);

    if (status || !(clf_plan_passes(plan_) & CLF_BACKWARD))
        return status;
    return clf__nvidia_mma_plan_backward(plan_, problem, fused);
}

/* Where forward leaves and delta finds what rounding took from out; nowhere without a backward pass and in f32. */
static void bind_rest(clf_binder *binder, clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_buffer saved = clf_run_saved(run);
    clf_tensor rest = clf_tensor_view(saved.mem, problem->q.dtype, 4, problem->out.shape);

    rest.offset = saved.offset + fused->rest;
    if (!(clf_plan_passes(clf_run_plan(run)) & CLF_BACKWARD) || problem->q.dtype == CLF_F32)
        rest.rank = 0;
    clf__fused_bind(binder, &rest);
}

clf_status clf__nvidia_launch_forward(clf_run *run, const clf_binder *binder, const clf__fused *fused,
                                      const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t tiles = (s.queries + fused->rows[0] - 1) / fused->rows[0] * (s.batch * s.heads);
    const int64_t groups = fused->most_groups && tiles > fused->most_groups ? fused->most_groups : tiles;
    const size_t local = (size_t)fused->items[0], global = local * (size_t)groups;

    return clf_launch(run, binder, 1, &global, &local);
}

clf_status clf__nvidia_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->forward);
    const clf_tensor lse = clf__fused_lse(run, fused, problem);

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind_sinks(&binder, problem);
    clf__fused_bind_numbers(&binder, problem);
    bind_rest(&binder, run, fused, problem);
    if (fused->maps & CLF_FORWARD)
        clf__fused_bind_maps(&binder, run, fused);
    return clf__nvidia_launch_forward(run, &binder, fused, problem);
}

clf_status clf__nvidia_delta(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->delta);
    const clf_tensor delta = clf__fused_delta(run, fused, problem);

    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &problem->grad_out);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind_shape(&binder, problem);
    bind_rest(&binder, run, fused, problem);
    if (fused->maps & CLF_BACKWARD) {
        clf__fused_bind(&binder, &problem->q);
        clf__fused_bind(&binder, &problem->k);
        clf__fused_bind(&binder, &problem->v);
        clf__fused_bind_maps(&binder, run, fused);
    }
    return clf__fused_launch_rows(run, &binder, problem, clf__fused_shape_of(problem).queries, 64, 64);
}

clf_status clf__nvidia_backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_status status = clf__nvidia_delta(run, fused, problem);
    return status ? status : clf__fused_gradients_rows(run, fused, problem);
}

const clf__fused_family clf__fused_nvidia_mma = {
    .name = "nvidia_mma",
    .forward_features = FEATURES,
    .backward_features = FEATURES,
    .supports = supports,
    .plan = plan,
    .forward = clf__nvidia_forward,
    .backward = clf__nvidia_backward,
};
