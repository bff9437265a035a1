/* The kernels' common argument list, and their -D options. */
#include "component/random.h"
#include "fused/family.h"
#include "pattern/bind.h"
#include <stdio.h>

static clf_tensor row_sums(const clf_buffer *buffer, uint64_t offset, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const int64_t shape[3] = { s.batch, s.heads, s.queries };
    clf_tensor tensor = clf_tensor_view(buffer->mem, CLF_F32, 3, shape);

    tensor.offset = buffer->offset + offset;
    return tensor;
}

clf_tensor clf__fused_lse(const clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_buffer saved = clf_run_saved(run);
    return fused->saves_lse ? row_sums(&saved, fused->lse, problem) : problem->lse;
}

clf_tensor clf__fused_delta(const clf_run *run, const clf__fused *fused, const clf__fused_problem *problem)
{
    const clf_buffer workspace = clf_run_workspace(run);
    return row_sums(&workspace, fused->delta_sums, problem);
}

static int storage_of(clf_dtype dtype)
{
    return dtype == CLF_F16 ? 1 : dtype == CLF_BF16 ? 2 : 0;
}

static int mask_of(const clf_tensor *mask)
{
    if (mask->rank == 0)
        return 0;
    return mask->dtype == CLF_BOOL8 || mask->dtype == CLF_U8 ? 1 : 2 + storage_of(mask->dtype);
}

void clf__fused_options(const clf__fused_problem *problem, int width, int value_width, const char *more, char *options,
                        size_t size)
{
    (void)snprintf(options, size,
                   "-DCLF_D=%d -DCLF_E=%d -DCLF_STORAGE=%d -DCLF_CAUSAL=%d -DCLF_MASK=%d -DCLF_KEY_PADDING=%d "
                   "-DCLF_DROPOUT=%d -DCLF_WINDOW=%d %s%s %s",
                   width, value_width, storage_of(problem->q.dtype), problem->causal,
                   mask_of(&problem->mask), problem->padding.rank > 0, problem->dropout > 0,
                   problem->causal && problem->window > 0, problem->mask_mod ? "-DCLF_MASK_MOD(b,h,q,k)=" : "",
                   problem->mask_mod ? problem->mask_mod : "", more);
}

void clf__fused_bind(clf_binder *binder, const clf_tensor *tensor)
{
    const size_t size = clf_dtype_size(tensor->dtype);
    const cl_long4 at = tensor->rank == 0 ? (cl_long4){ { 0 } }
                                          : (cl_long4){ { (cl_long)(tensor->offset / size), tensor->strides[0],
                                                          tensor->strides[1], tensor->strides[2] } };

    clf_bind_mem(binder, tensor->rank == 0 ? NULL : tensor->mem);
    clf_bind_value(binder, &at, sizeof at);
}

void clf__fused_bind_inputs(clf_binder *binder, const clf__fused_problem *problem)
{
    clf__fused_bind(binder, &problem->q);
    clf__fused_bind(binder, &problem->k);
    clf__fused_bind(binder, &problem->v);
    clf__bind_mask(binder, &problem->mask);
    clf__bind_padding(binder, &problem->padding);
}

void clf__fused_bind_shape(clf_binder *binder, const clf__fused_problem *problem)
{
    const clf__fused_shape s = clf__fused_shape_of(problem);
    const cl_int8 shape = { { (cl_int)s.batch, (cl_int)s.heads, (cl_int)s.queries, (cl_int)s.keys,
                              (cl_int)problem->shift, (cl_int)s.width, (cl_int)s.value_width,
                              (cl_int)problem->window } };

    clf_bind_value(binder, &shape, sizeof shape);
}

void clf__fused_bind_numbers(clf_binder *binder, const clf__fused_problem *problem)
{
    const cl_float4 factor = { { problem->scale, problem->dropout < 1 ? 1 / (1 - problem->dropout) : 0 } };
    const cl_uint8 random = { { (cl_uint)problem->seed, (cl_uint)(problem->seed >> 32), (cl_uint)problem->offset,
                                (cl_uint)(problem->offset >> 32), clf__dropout_threshold(problem->dropout) } };

    clf__fused_bind_shape(binder, problem);
    clf_bind_value(binder, &factor, sizeof factor);
    clf_bind_value(binder, &random, sizeof random);
}
