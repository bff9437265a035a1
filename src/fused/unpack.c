/* Keys and values in pages, or quantised, for families that read plain rows: ahead of forward they become such rows in
 * the workspace, of the queries' type. Memory for as many keys as a sequence may have, time that of a copy. */
#include "component/plan.h"
#include "fused/family.h"
#include "tensor/tensor.h"
#include <stdio.h>

enum { PIECE = 16, GROUP = 64 }; /* columns of a work-item, work-items of a group; CPUs: all columns, one */

bool clf__fused_is_packed(const clf__fused_problem *problem)
{
    return problem->block_table.rank > 0 || problem->bits > 0;
}

/* Rows of `width` for all keys of all sequences; without pages for all rows that there are. */
static clf_tensor plain_rows(const clf__fused_problem *problem, const clf_tensor *packed, int64_t width)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const bool pages = problem->block_table.rank > 0;
    const int64_t shape[4] = { pages ? s.batch : packed->shape[0], packed->shape[1], pages ? s.keys : packed->shape[2],
                               width };

    return clf_tensor_view(NULL, problem->q.dtype, 4, shape);
}

clf__fused_problem clf__fused_unpacked(const clf__fused_problem *problem)
{
    static const clf_tensor absent;
    const clf__fused_shape s = clf__fused_shape_of(problem);
    clf__fused_problem plain = *problem;

    if (!clf__fused_is_packed(problem))
        return plain;
    plain.k = plain_rows(problem, &problem->k, s.width);
    plain.v = plain_rows(problem, &problem->v, s.value_width);
    plain.block_table = plain.k_scales = plain.v_scales = absent;
    plain.bits = 0;
    return plain;
}

/* The scales of a quantised tensor serve equally many columns each. */
static bool scales_fit(const clf_tensor *scales, int64_t width, const char *name, char *why, size_t size)
{
    if (scales->shape[3] >= 2 && width % (scales->shape[3] / 2) == 0)
        return true;
    (void)snprintf(why, size, "'%s' has %lld groups for %lld columns: they must divide them", name,
                   (long long)scales->shape[3] / 2, (long long)width);
    return false;
}

bool clf__fused_unpack_fits(const clf__fused_problem *problem, char *why, size_t size)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);

    return !problem->bits || (scales_fit(&problem->k_scales, s.width, "k_scales", why, size) &&
                              scales_fit(&problem->v_scales, s.value_width, "v_scales", why, size));
}

clf_status clf__fused_plan_unpack(clf_plan *plan, const clf__fused_problem *problem, clf__fused *fused)
{
    const clf__fused_problem plain = clf__fused_unpacked(problem);
    const clf_tensor *const rows[2] = { &plain.k, &plain.v };
    const bool vectors = clf_device_get_capabilities(clf_plan_device(plan))->style == CLF_STYLE_VECTORS;
    char options[96];

    for (int i = 0; i < 2; i++)
        fused->unpacked[i] = clf_plan_workspace(plan, clf__tensor_bytes(rows[i]));
    (void)snprintf(options, sizeof options, "-DCLF_LANES=%d -DCLF_STORAGE=%d -DCLF_BITS=%d -DCLF_PAGES=%d",
                   vectors ? 16 : 1, clf__storage_number(problem->q.dtype), problem->bits,
                   problem->block_table.rank > 0);
    return clf__plan_kernel(plan, "fused/unpack.cl", options, "clf_fused_unpack", &fused->unpack);
}

static clf_status launch(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem,
                         const clf_tensor *packed, const clf_tensor *scales, const clf_tensor *rows)
{
    static const clf_tensor absent;
    const clf_device *device = clf_plan_device(clf_run_plan(run));
    const bool vectors = clf_device_get_capabilities(device)->style == CLF_STYLE_VECTORS;
    const bool pages = problem->block_table.rank > 0;
    const int64_t width = rows->shape[3], piece = vectors ? width : PIECE;
    const cl_int8 shape = { { (cl_int)rows->shape[0], (cl_int)rows->shape[1], (cl_int)rows->shape[2], (cl_int)width,
                              (cl_int)packed->shape[2], (cl_int)piece,
                              (cl_int)(problem->bits ? width / (scales->shape[3] / 2) : PIECE) } };
    const size_t local = vectors ? 1 : GROUP;
    const size_t pieces = (size_t)(clf_tensor_elements(rows) / width * ((width + piece - 1) / piece));
    const size_t global = (pieces + local - 1) / local * local;
    clf_binder binder = clf_bind(fused->unpack);

    clf__fused_bind(&binder, packed);
    clf__fused_bind(&binder, scales);
    clf__fused_bind(&binder, &problem->block_table);
    clf__fused_bind(&binder, pages ? &problem->k_lengths : &absent);
    clf__fused_bind(&binder, rows);
    clf_bind_value(&binder, &shape, sizeof shape);
    return clf_launch(run, &binder, 1, &global, &local);
}

clf_status clf__fused_unpack(clf_run *run, const clf__fused *fused, const clf__fused_problem *problem,
                             clf__fused_problem *plain)
{
    const clf_buffer workspace = clf_run_workspace(run);
    clf_tensor *const rows[2] = { &plain->k, &plain->v };

    *plain = fused->unpack ? clf__fused_unpacked(problem) : *problem;
    if (!fused->unpack)
        return CLF_SUCCESS;
    for (int i = 0; i < 2; i++) {
        rows[i]->mem = workspace.mem;
        rows[i]->offset = workspace.offset + fused->unpacked[i];
    }
    const clf_status status = launch(run, fused, problem, &problem->k, &problem->k_scales, rows[0]);
    return status ? status : launch(run, fused, problem, &problem->v, &problem->v_scales, rows[1]);
}
