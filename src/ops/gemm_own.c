/* Options, arguments and grid of our own kernels. */
#include "ops/gemm_provider.h"
#include "component/plan.h"
#include <limits.h>
#include <stdio.h>

static const char *type_of(clf_dtype dtype)
{
    return dtype == CLF_F16 ? "f16" : dtype == CLF_BF16 ? "bf16" : "f32";
}

clf_status clf__gemm_own_kernel(clf_plan *plan, const clf__gemm_product *product, const char *more,
                                clf__gemm_choice *choice)
{
    char path[64], name[64], options[512];

    (void)snprintf(path, sizeof path, "ops/gemm_%s.cl", choice->provider->name);
    (void)snprintf(name, sizeof name, "clf_gemm_%s", choice->provider->name);
    (void)snprintf(options, sizeof options, "-DCLF_A=%s -DCLF_B=%s -DCLF_C=%s -DCLF_BIAS=%s -DCLF_A_DEPTH=%d "
                   "-DCLF_B_DEPTH=%d %s", type_of(product->a.dtype), type_of(product->b.dtype),
                   type_of(product->c.dtype), type_of(product->bias.dtype), product->a.along_depth,
                   product->b.along_depth, more);
    return clf__plan_kernel(plan, path, options, name, &choice->kernel);
}

static bool fits_matrix(const char *name, int64_t lines, int64_t length, int64_t step, char *why, size_t size)
{
    if (lines < INT_MAX && length < INT_MAX && (lines <= 1 || step <= (INT_MAX - length) / (lines - 1)))
        return true;
    (void)snprintf(why, size, "a matrix of '%s' spans more than 2^31 - 1 elements: %lld lines of %lld, stride %lld",
                   name, (long long)lines, (long long)length, (long long)step);
    return false;
}

static int64_t groups_of(const clf__gemm_product *p, int rows, int columns)
{
    return (p->rows + rows - 1) / rows * ((p->columns + columns - 1) / columns) * clf__gemm_items(p);
}

bool clf__gemm_own_fits(const clf__gemm_product *p, int rows, int columns, int items, char *why, size_t size)
{
    const clf__gemm_matrix *a = &p->a, *b = &p->b;

    if (!fits_matrix("a", a->along_depth ? p->rows : p->depth, a->along_depth ? p->depth : p->rows, a->step, why,
                     size) ||
        !fits_matrix("b", b->along_depth ? p->columns : p->depth, b->along_depth ? p->depth : p->columns, b->step, why,
                     size) ||
        !fits_matrix("c", p->rows, p->columns, p->c.step, why, size) ||
        !fits_matrix("bias", p->bias_along == CLF__GEMM_BIAS_ROWS ? p->rows : p->columns, 1, p->bias.step, why, size))
        return false;
    /* Divided before multiplied: extents may be anything here. */
    const int64_t down = (p->rows + rows - 1) / rows, across = (p->columns + columns - 1) / columns;
    const double groups = (double)down * (double)across * (double)p->batch[0] * (double)p->batch[1] *
                          (double)p->batch[2];
    if (groups * items <= (double)UINT32_MAX && groups <= (double)INT_MAX && p->rows <= INT_MAX - rows &&
        p->columns <= INT_MAX - columns)
        return true;
    (void)snprintf(why, size, "%lld matrices of %lld x %lld make too large a grid", (long long)clf__gemm_items(p),
                   (long long)p->rows, (long long)p->columns);
    return false;
}

static void bind_matrix(clf_binder *binder, const clf__gemm_matrix *matrix)
{
    const cl_long8 at = { { matrix->offset, matrix->batch[0], matrix->batch[1], matrix->batch[2], matrix->step } };

    clf_bind_mem(binder, matrix->mem);
    clf_bind_value(binder, &at, sizeof at);
}

clf_status clf__gemm_own_run(clf_run *run, const clf__gemm_choice *choice, const clf__gemm_product *p)
{
    clf_binder binder = clf_bind(choice->kernel);
    const cl_long2 bias_at = { { p->bias.offset, p->bias.step } };
    const cl_int8 shape = { { (cl_int)p->rows, (cl_int)p->columns, (cl_int)p->depth, (cl_int)p->batch[1],
                              (cl_int)p->batch[2], p->bias_along, choice->rows, choice->columns } };
    const cl_float2 factor = { { p->alpha, p->beta } };
    const size_t local = (size_t)choice->items;
    const int64_t tiles = groups_of(p, choice->rows, choice->columns);
    const size_t global = (size_t)(choice->most_groups && tiles > choice->most_groups ? choice->most_groups : tiles) *
                          local;

    bind_matrix(&binder, &p->a);
    bind_matrix(&binder, &p->b);
    bind_matrix(&binder, &p->c);
    clf_bind_mem(&binder, p->bias_along ? p->bias.mem : NULL);
    clf_bind_value(&binder, &bias_at, sizeof bias_at);
    clf_bind_value(&binder, &shape, sizeof shape);
    clf_bind_value(&binder, &factor, sizeof factor);
    if (choice->scratch_bytes > 0) {
        const clf_buffer workspace = clf_run_workspace(run);
        const cl_long2 scratch_at = { { (cl_long)(workspace.offset + choice->scratch), clf__gemm_items(p) } };
        clf_bind_mem(&binder, workspace.mem);
        clf_bind_value(&binder, &scratch_at, sizeof scratch_at);
    }
    return clf_launch(run, &binder, 1, &global, &local);
}
