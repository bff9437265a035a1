/* The families for few queries and many keys: slices of the keys run side by side and are merged in a fixed order
 * (Flash-Decoding: Dao et al. 2023). Forward only; they differ in one kernel. */
#include "fused/decode.h"
#include "component/plan.h"
#include "tensor/tensor.h"
#include <stdio.h>
#include <string.h>

enum {
    MOST_ROWS = 16,     /* queries of all heads that share a head of keys */
    MOST_SLICES = 256,
    SOFTWARE_SLICE = 16384, /* keys: software rasterisers go no further in a work-item (rounds.c) */
    ITEMS = CLF__DECODE_ITEMS
};

static int64_t rows_of(const clf__fused_problem *problem)
{
    return clf__fused_groups(problem) * clf__fused_shape_of(problem).queries;
}

int clf__decode_rows(const clf__fused_problem *problem)
{
    int rows = 1;

    while (rows < rows_of(problem))
        rows *= 2;
    return rows;
}

static int64_t matrices_of(const clf__fused_problem *problem)
{
    return clf__fused_shape_of(problem).batch * problem->k.shape[1];
}

static int64_t page_of(const clf__fused_problem *problem)
{
    return problem->block_table.rank > 0 ? problem->k.shape[2] : 0;
}

/* As many slices as keep all compute units busy to the end, none shorter than the kernel wants it. */
static int64_t choose_slice(const clf_device *device, const clf__fused_problem *problem,
                            const clf__decode_kernel *kernel)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t wanted = (int64_t)kernel->busy * clf_device_get_info(device)->compute_units;
    const int64_t matrices = matrices_of(problem) > 0 ? matrices_of(problem) : 1;
    int64_t slices = (wanted + matrices - 1) / matrices;

    slices = slices > MOST_SLICES ? MOST_SLICES : slices < 1 ? 1 : slices;
    int64_t keys = (s.keys + slices - 1) / slices;
    if (clf_device_get_info(device)->software && keys > SOFTWARE_SLICE)
        keys = SOFTWARE_SLICE;
    return keys < kernel->fewest ? kernel->fewest : (keys + kernel->unit - 1) / kernel->unit * kernel->unit;
}

static bool quantised_fits(const clf__fused_problem *problem, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t groups[2] = { problem->k_scales.shape[3] / 2, problem->v_scales.shape[3] / 2 };

    if (groups[0] < 1 || groups[1] < 1 || s.width % groups[0] || s.value_width % groups[1] ||
        s.width / groups[0] != s.value_width / groups[1] || s.width / groups[0] % 16) {
        (void)snprintf(why, size, "%lld and %lld columns with %lld and %lld scales: every scale must serve the same "
                       "multiple of 16 columns", (long long)s.width, (long long)s.value_width, (long long)groups[0],
                       (long long)groups[1]);
        return false;
    }
    return true;
}

bool clf__decode_fits(const clf__fused_problem *problem, int passes, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    if (passes & CLF_BACKWARD) {
        (void)snprintf(why, size, "it has no backward pass");
        return false;
    }
    if (problem->k_starts.rank > 0 ||
        (problem->q_starts.rank > 0 && (problem->mask.rank > 0 || problem->padding.rank > 0))) {
        (void)snprintf(why, size, "keys in a row, masks and padding do not go with queries in a row here");
        return false;
    }
    if (rows_of(problem) < 1 || rows_of(problem) > MOST_ROWS) {
        (void)snprintf(why, size, "%lld rows read a head of keys: 1 to %d are possible", (long long)rows_of(problem),
                       MOST_ROWS);
        return false;
    }
    if (s.batch * s.heads > INT32_MAX / MOST_ROWS || s.keys > INT32_MAX / 2) {
        (void)snprintf(why, size, "%lld heads of %lld keys are too many", (long long)(s.batch * s.heads),
                       (long long)s.keys);
        return false;
    }
    return !problem->bits || quantised_fits(problem, why, size);
}

static bool supports_vector(const clf_device *device, const clf__fused_problem *problem, int passes, char *why,
                            size_t size)
{
    const clf_device_info *info = clf_device_get_info(device);

    if (!(info->type & CL_DEVICE_TYPE_CPU) || info->software) {
        (void)snprintf(why, size, "it keeps its sums in private memory, which only a native CPU caches");
        return false;
    }
    return clf__decode_fits(problem, passes, why, size);
}

static bool supports_portable(const clf_device *device, const clf__fused_problem *problem, int passes, char *why,
                              size_t size)
{
    const clf_capabilities *has = clf_device_get_capabilities(device);
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t widest = (s.width > s.value_width ? s.width + 15 : s.value_width + 15) / 16 * 16;
    const uint64_t bytes = (uint64_t)(clf__decode_rows(problem) * (widest + ITEMS + 64) + 16 + ITEMS) * sizeof(float);

    if (!clf__decode_fits(problem, passes, why, size))
        return false;
    if (bytes > has->local_memory || ITEMS > has->max_work_group) {
        (void)snprintf(why, size, "needs %llu bytes of local memory and %d work-items a group, there are %llu and %zu",
                       (unsigned long long)bytes, ITEMS, (unsigned long long)has->local_memory, has->max_work_group);
        return false;
    }
    return true;
}

clf_status clf__decode_plan(clf_plan *plan, const clf__fused_problem *problem, const clf__decode_kernel *kernel,
                            clf__fused *fused)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t keys = choose_slice(clf_plan_device(plan), problem, kernel);
    const int rows = clf__decode_rows(problem);
    char options[CLF__FUSED_OPTIONS], more[384], path[64], name[64];
    clf_status status;

    fused->rows[0] = rows;
    fused->slice = (int)keys;
    fused->slices = (int)((s.keys + keys - 1) / keys);
    const uint64_t sums = (uint64_t)(matrices_of(problem) * (fused->slices > 0 ? fused->slices : 1)) * (uint64_t)rows;
    fused->scratch = clf_plan_workspace(plan, sums * (uint64_t)((s.value_width + 15) / 16 * 16) * sizeof(float));
    fused->bases = clf_plan_workspace(plan, sums * 2 * sizeof(float));

    (void)snprintf(more, sizeof more, "-DCLF_LANES=%d -DCLF_ROWS=%d -DCLF_BITS=%d -DCLF_SPAN=%d -DCLF_PAGES=%d "
                   "-DCLF_PREFETCH=%d %s", kernel->lanes, rows, problem->bits,
                   problem->bits ? (int)(s.width / (problem->k_scales.shape[3] / 2)) : 0, problem->block_table.rank > 0,
                   !clf_device_get_info(clf_plan_device(plan))->simulator, kernel->own);
    clf__fused_options(problem, (int)s.width, (int)s.value_width, more, options, sizeof options);
    (void)snprintf(path, sizeof path, "fused/%s_decode.cl", kernel->style);
    (void)snprintf(name, sizeof name, "clf_fused_decode_%s", kernel->style);
    status = clf__plan_kernel(plan, path, options, name, &fused->forward);
    return status ? status : clf__plan_kernel(plan, "fused/decode_merge.cl", options, "clf_fused_decode_merge",
                                              &fused->merge);
}

static clf_status plan_vector(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    static const clf__decode_kernel kernel = { .style = "vector", .own = "", .lanes = 16, .busy = 4, .fewest = 256,
                                               .unit = 256 };

    return clf__decode_plan(plan, problem, &kernel, fused);
}

static clf_status plan_portable(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const bool vectors = clf_device_get_capabilities(clf_plan_device(plan))->style == CLF_STYLE_VECTORS;
    const clf__decode_kernel kernel = { .style = "portable", .own = "", .lanes = 1, .busy = vectors ? 4 : 16,
                                        .fewest = 256, .unit = 256 };

    return clf__decode_plan(plan, problem, &kernel, fused);
}

/* An i32 tensor with its offset and first stride. */
static void bind_index(clf_binder *binder, const clf_tensor *tensor)
{
    cl_long2 at = { { 0 } };

    if (tensor->rank > 0)
        at = (cl_long2){ { clf__tensor_start(tensor), tensor->strides[0] } };
    clf_bind_mem(binder, tensor->rank == 0 ? NULL : tensor->mem);
    clf_bind_value(binder, &at, sizeof at);
}

static void bind_floats(clf_binder *binder, const clf_run *run, uint64_t offset)
{
    const clf_buffer workspace = clf_run_workspace(run);
    const cl_long at = (cl_long)((workspace.offset + offset) / sizeof(float));

    clf_bind_mem(binder, workspace.mem);
    clf_bind_value(binder, &at, sizeof at);
}

static void bind_slice(clf_binder *binder, const clf__fused *fused, const clf__fused_problem *problem)
{
    const cl_int4 slice = { { clf__fused_groups(problem), fused->slices, fused->slice, (cl_int)page_of(problem) } };

    clf_bind_value(binder, &slice, sizeof slice);
}

static clf_status launch_slices(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const bool vectors = fused->family == &clf__fused_vector_decode;
    const size_t in_space[3] = { (size_t)fused->slices, (size_t)problem->k.shape[1],
                                 (size_t)clf__fused_shape_of(problem).batch };
    const size_t in_line[3] = { (size_t)(fused->slices * matrices_of(problem)) * ITEMS, 1, 1 };
    const size_t local[3] = { vectors ? 1 : ITEMS, 1, 1 };
    clf_binder binder = clf_bind(fused->forward);

    clf__fused_bind_inputs(&binder, problem);
    clf__fused_bind(&binder, &problem->k_scales);
    clf__fused_bind(&binder, &problem->v_scales);
    bind_index(&binder, &problem->block_table);
    bind_floats(&binder, run, fused->scratch);
    bind_floats(&binder, run, fused->bases);
    bind_slice(&binder, fused, problem);
    clf__fused_bind_numbers(&binder, problem);
    return clf_launch(run, &binder, vectors ? 3 : 1, vectors ? in_space : in_line, local);
}

static clf_status launch_merge(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int lanes = fused->family == &clf__fused_vector_decode ? 16 : 1;
    const cl_int2 pitch = { { (cl_int)((s.value_width + 15) / 16 * 16), fused->rows[0] } };
    const size_t global = (size_t)((s.value_width + lanes - 1) / lanes * s.batch * s.heads * s.queries);
    clf_binder binder = clf_bind(fused->merge);

    bind_floats(&binder, run, fused->scratch);
    bind_floats(&binder, run, fused->bases);
    clf__fused_bind(&binder, &problem->out);
    clf__fused_bind(&binder, &problem->lse);
    clf__fused_bind_sinks(&binder, problem);
    bind_slice(&binder, fused, problem);
    clf_bind_value(&binder, &pitch, sizeof pitch);
    clf__fused_bind_shape(&binder, problem);
    return clf_launch(run, &binder, 1, &global, NULL);
}

clf_status clf__decode_forward(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_status status = launch_slices(run, fused, problem);

    return status ? status : launch_merge(run, fused, problem);
}

const clf__fused_family clf__fused_vector_decode = {
    .name = "vector_decode",
    .forward_features = CLF__DECODE_FEATURES | CLF__FUSED_OUT_TYPE | CLF__FUSED_STARTS,
    .reads_packed = true,
    .supports = supports_vector,
    .plan = plan_vector,
    .forward = clf__decode_forward,
};

const clf__fused_family clf__fused_portable_decode = {
    .name = "portable_decode",
    .forward_features = CLF__DECODE_FEATURES | CLF__FUSED_OUT_TYPE | CLF__FUSED_STARTS,
    .reads_packed = true,
    .supports = supports_portable,
    .plan = plan_portable,
    .forward = clf__decode_forward,
};
