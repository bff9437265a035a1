/* The family of floats for sm_90: products of warp groups, six of bf16 for one of f32. A kernel splits the tensors
 * first; the parts are scratch, 6 bytes for 4. What it refuses is left to nvidia_mma. */
#include "device/retarget.h"
#include "fused/nvidia.h"
#include "component/plan.h"
#include "pattern/bind.h"
#include <stdio.h>

/* Those of its own backward pass; with the others nvidia_mma goes back. */
enum { OWN_FEATURES = CLF__FUSED_WINDOW | CLF__FUSED_GROUPS | CLF__FUSED_SINKS };
enum {
    FEATURES = OWN_FEATURES | CLF__FUSED_DROPOUT | CLF__FUSED_SOFTCAP | CLF__FUSED_ALIBI | CLF__FUSED_SCORE_MOD |
               CLF__FUSED_EXTRAS
};
enum { Q, K, V, GRAD_OUT, TENSORS }; /* that are split */
enum { FORWARD, BACKWARD_Q, BACKWARD_KV, KERNELS };
enum { PARTS = 3, MAP_BYTES = 128, WIDEST = 128, CONSUMERS = 2, GROUP = 128 };
enum { RESTING = 2 * 64 * PARTS };  /* rows, of two tiles of 64 in all kernels */
enum { BESIDE = 2 * CONSUMERS };    /* barriers for them, at most */

/* How a group splits its work; see cl/fused/nvidia_wgmma_parts.cl. */
typedef struct tile {
    int width;   /* of heads, padded */
    int columns; /* rows of a unit that passes by */
    int stages;  /* units in a ring */
} tile;

/* Forward one ring serves both computing groups, which own 64 rows each; backward each has its own, and both share
 * 64 rows. */
static const tile forward_tiles[] = { { 64, 128, 10 }, { WIDEST, 64, 7 } };
static const tile backward_tiles[] = { { 64, 64, 10 }, { WIDEST, 32, 7 } };
static const struct {
    const char *path, *name;
    int         rows; /* of a work-group */
} kernels[KERNELS] = {
    { "fused/nvidia_wgmma_f32_forward.cl", "clf_fused_forward_nvidia_wgmma_f32", 64 * CONSUMERS },
    { "fused/nvidia_wgmma_f32_backward_q.cl", "clf_fused_backward_q_nvidia_wgmma_f32", 64 },
    { "fused/nvidia_wgmma_f32_backward_kv.cl", "clf_fused_backward_kv_nvidia_wgmma_f32", 64 },
};

static const tile *tile_of(int kernel, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const tile *tiles = kernel == FORWARD ? forward_tiles : backward_tiles;
    return &tiles[s.width > tiles[0].width || s.value_width > tiles[0].width];
}

static bool goes_back(const clf__fused_problem *problem)
{
    return !(clf__fused_features_of(problem) & ~(unsigned)OWN_FEATURES);
}

/* Bytes of what rests, of what passes by, and of barriers. */
static uint64_t local_bytes(int kernel, const tile *t)
{
    const uint64_t rings = kernel == FORWARD ? 1 : CONSUMERS, units = rings * (uint64_t)t->stages;
    const uint64_t rows = RESTING + units * (uint64_t)t->columns, barriers = 2 * units + BESIDE;
    return 2 * rows * (uint64_t)t->width + 8 * barriers;
}

static const clf_tensor *tensor_of(const clf__fused_problem *problem, int i)
{
    const clf_tensor *const all[TENSORS] = { &problem->q, &problem->k, &problem->v, &problem->grad_out };
    return all[i];
}

static int64_t padded(int64_t width)
{
    return (width + 7) / 8 * 8;
}

static uint64_t part_bytes(const clf_tensor *t)
{
    return 2 * (uint64_t)PARTS * (uint64_t)(t->shape[0] * t->shape[1]) * (uint64_t)(t->shape[2] * padded(t->shape[3]));
}

static bool is_plain(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const uint64_t limit = clf_device_get_capabilities(device)->max_allocation / 2;
    uint64_t bytes = 0;

    for (int i = 0; i < (passes & CLF_BACKWARD ? TENSORS : GRAD_OUT); i++)
        bytes += part_bytes(tensor_of(problem, i));
    if (problem->q.dtype != CLF_F32)
        (void)snprintf(why, size, "q is %s: only f32 is possible", clf_dtype_name(problem->q.dtype));
    else if (s.width > WIDEST || s.value_width > WIDEST)
        (void)snprintf(why, size, "heads are %lld and %lld wide: %d is the limit", (long long)s.width,
                       (long long)s.value_width, WIDEST);
    else if (!(problem->scale > 0))
        (void)snprintf(why, size, "the scale is %g: only positive ones are possible", (double)problem->scale);
    else if (bytes > limit)
        (void)snprintf(why, size, "the tensors' parts are %llu bytes, half of the device's largest buffer is %llu",
                       (unsigned long long)bytes, (unsigned long long)limit);
    else
        return true;
    return false;
}

static bool supports(const clf_device *device, const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    if (!clf__nvidia_has_wgmma(device, why, size) ||
        !clf__fused_nvidia_mma.supports(device, problem, passes, why, size) ||
        !is_plain(device, problem, passes, why, size))
        return false;
    for (int kernel = 0; kernel < (passes & CLF_BACKWARD && goes_back(problem) ? KERNELS : 1); kernel++)
        if (!clf__nvidia_tiles_fit(device, local_bytes(kernel, tile_of(kernel, problem)), kernels[kernel].name, why,
                                   size))
            return false;
    return clf__fused_grid_fits(problem, 64, 128 * (CONSUMERS + 1), why, size);
}

/* The kernels' problem: numbers are bf16, results what they were. */
static clf_status create(clf_plan *plan_, const clf__fused_problem *problem, int kernel, clf__fused *fused)
{
    cl_kernel *const to[KERNELS] = { &fused->forward, &fused->backward[0], &fused->backward[1] };
    const tile *t = tile_of(kernel, problem);
    clf__fused_problem parts = *problem;
    char options[CLF__FUSED_OPTIONS], more[256];

    parts.q.dtype = CLF_BF16;
    /* The registers of a unit are shared out evenly when a group begins; warp groups then trade them. */
    (void)snprintf(more, sizeof more, "-DCLF_CONSUMERS=%d -DCLF_COLUMNS=%d -DCLF_STAGES=%d " CLF__EXACT_TARGET
                   " -cl-nv-maxrregcount=%d", CONSUMERS, t->columns, t->stages, 512 / (CONSUMERS + 1) / 8 * 8);
    clf__fused_options(&parts, t->width, t->width, more, options, sizeof options);
    fused->rows[kernel] = kernels[kernel].rows;
    fused->items[kernel] = 128 * (CONSUMERS + 1);
    return clf__plan_kernel(plan_, kernels[kernel].path, options, kernels[kernel].name, to[kernel]);
}

static clf_status plan(clf_plan *plan_, const clf__fused_problem *problem, clf__fused *fused)
{
    const bool back = clf_plan_passes(plan_) & CLF_BACKWARD;
    char options[64];
    clf_status status;

    (void)snprintf(options, sizeof options, "-DCLF_GROUPS=%d " CLF__EXACT_TARGET, clf__fused_groups(problem));
    status = clf__plan_kernel(plan_, "fused/nvidia_parts.cl", options, "clf_fused_parts_nvidia", &fused->split);
    for (int i = 0; i < (back && goes_back(problem) ? TENSORS : GRAD_OUT); i++)
        fused->parts[i] = clf_plan_workspace(plan_, part_bytes(tensor_of(problem, i)));
    fused->scratch = clf_plan_workspace(plan_, (uint64_t)MAP_BYTES * TENSORS);
    fused->most_groups = clf_device_get_info(clf_plan_device(plan_))->compute_units; /* one fits a unit, and stays */
    if (!status)
        status = create(plan_, problem, FORWARD, fused);
    if (status || !back)
        return status;
    if (!goes_back(problem))
        return clf__nvidia_mma_plan_backward(plan_, problem, fused);
    status = clf__nvidia_plan_delta(plan_, problem, fused);
    if (!status)
        status = create(plan_, problem, BACKWARD_Q, fused);
    return status ? status : create(plan_, problem, BACKWARD_KV, fused);
}

/* Groups of the kernel that splits, for one tensor. */
static int64_t split_groups(const clf_tensor *t)
{
    return t->shape[0] * t->shape[1] * ((t->shape[2] * (padded(t->shape[3]) / 8) + GROUP - 1) / GROUP);
}

/* The parts of the first `count` tensors. Maps describe tiles of as many rows as divide all that rest and pass by: BOX
 * in the kernels. */
static clf_status split(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem, int kernel, int count)
{
    static const clf_tensor absent;
    const clf_buffer workspace = clf_run_workspace(run);
    const int columns = tile_of(kernel, problem)->columns;
    const cl_int box = columns < 64 ? columns : 64;
    cl_long4 at = { { 0 } };
    size_t groups = 0;
    clf_binder binder = clf_bind(fused->split);

    for (int i = 0; i < TENSORS; i++)
        clf__fused_bind(&binder, i < count ? tensor_of(problem, i) : &absent);
    for (int i = 0; i < count; i++) {
        groups += (size_t)split_groups(tensor_of(problem, i));
        at.s[i] = (cl_long)(workspace.offset + fused->parts[i]) / 2;
    }
    clf__fused_bind_shape(&binder, problem);
    clf_bind_mem(&binder, workspace.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, &box, sizeof box);
    clf__fused_bind_maps(&binder, run, fused);
    const size_t local = GROUP, global = groups * local;
    return clf_launch(run, &binder, 1, &global, &local);
}

static clf_status forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_binder binder = clf_bind(fused->forward);
    const clf_tensor lse = clf__fused_lse(run, fused, problem);
    const clf_status status = split(run, fused, problem, FORWARD, GRAD_OUT);

    if (status)
        return status;
    clf__bind_mask(&binder, &problem->mask);
    clf__bind_padding(&binder, &problem->padding);
    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind_sinks(&binder, problem);
    clf__fused_bind_numbers(&binder, problem);
    clf__fused_bind_maps(&binder, run, fused);
    return clf__nvidia_launch_forward(run, &binder, fused, problem);
}

/* The gradients of one kernel. */
static clf_status launch_gradient(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem, int kernel)
{
    clf_binder binder = clf_bind(fused->backward[kernel - BACKWARD_Q]);
    const clf_tensor lse = clf__fused_lse(run, fused, problem), delta = clf__fused_delta(run, fused, problem);
    const clf__fused_shape s = clf__fused_shape_of(problem);

    clf__bind_mask(&binder, &problem->mask);
    clf__bind_padding(&binder, &problem->padding);
    clf__fused_bind(&binder, &lse);
    clf__fused_bind(&binder, &delta);
    clf__fused_bind(&binder, kernel == BACKWARD_Q ? &problem->grad_q : &problem->grad_k);
    if (kernel == BACKWARD_KV)
        clf__fused_bind(&binder, &problem->grad_v);
    clf__fused_bind_numbers(&binder, problem);
    clf__fused_bind_maps(&binder, run, fused);
    return kernel == BACKWARD_Q
               ? clf__fused_launch_rows(run, &binder, problem, s.queries, fused->rows[kernel], fused->items[kernel])
               : clf__fused_launch_key_rows(run, &binder, problem, s.keys, fused->rows[kernel], fused->items[kernel]);
}

static clf_status backward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    clf_status status;

    if (!goes_back(problem))
        return clf__nvidia_backward(run, fused, problem);
    status = clf__nvidia_delta(run, fused, problem);
    if (status == CLF_SUCCESS)
        status = split(run, fused, problem, BACKWARD_Q, TENSORS);
    if (status == CLF_SUCCESS && problem->grad_q.rank > 0)
        status = launch_gradient(run, fused, problem, BACKWARD_Q);
    if (status == CLF_SUCCESS && (problem->grad_k.rank > 0 || problem->grad_v.rank > 0))
        status = launch_gradient(run, fused, problem, BACKWARD_KV);
    return status;
}

const clf__fused_family clf__fused_nvidia_wgmma_f32 = {
    .name = "nvidia_wgmma_f32",
    .forward_features = FEATURES,
    .backward_features = FEATURES,
    .supports = supports,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
