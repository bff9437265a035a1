/* Single kernels around decoding: merging results over chunks of keys, quantising keys and values. */
#include <clformers/decoding.h>

#include "core/status.h"
#include "device/program.h"
#include "fused/family.h"
#include "tensor/tensor.h"
#include <stdio.h>

typedef struct argument {
    const clf_tensor *tensor;
    const char       *name;
    int               rank;
    bool              written;
} argument;

static clf_status check_argument(const argument *a)
{
    const clf_tensor *tensor = a->tensor;
    const clf_status status = clf_tensor_check(tensor, a->name);

    if (status)
        return status;
    if (tensor->rank != a->rank)
        return clf__fail(CLF_INVALID_RANK, "argument '%s': rank is %d, not %d", a->name, (int)tensor->rank, a->rank);
    if (tensor->shape[a->rank - 1] > 1 && tensor->strides[a->rank - 1] != 1)
        return clf__fail(CLF_INVALID_STRIDE, "argument '%s': the last stride is %lld, it must be 1", a->name,
                         (long long)tensor->strides[a->rank - 1]);
    if (a->written && !clf__tensor_is_injective(tensor))
        return clf__fail(CLF_INVALID_STRIDE, "argument '%s': its strides give several elements the same memory", a->name);
    if (clf_tensor_elements(tensor) > 0 && !tensor->mem)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' has no memory", a->name);
    return CLF_SUCCESS;
}

/* Each by itself, and that nothing is written which another one reads or writes. */
static clf_status check_arguments(const argument *a, int count)
{
    for (int i = 0; i < count; i++) {
        const clf_status status = check_argument(&a[i]);
        if (status)
            return status;
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++)
            if (i != j && a[i].written && clf__tensors_overlap(a[i].tensor, a[j].tensor))
                return clf__fail(CLF_BUFFER_OVERLAP, "arguments '%s' and '%s' share memory", a[i].name, a[j].name);
    return CLF_SUCCESS;
}

static clf_status check_extent(const argument *a, int axis, int64_t wanted)
{
    if (a->tensor->shape[axis] == wanted)
        return CLF_SUCCESS;
    return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis %d is %lld, not %lld", a->name, axis,
                     (long long)a->tensor->shape[axis], (long long)wanted);
}

static clf_status check_dtype(const argument *a, clf_dtype wanted)
{
    const clf_dtype dtype = a->tensor->dtype;

    if (wanted == CLF_DTYPE_NONE ? clf__is_floating(dtype) : dtype == wanted)
        return CLF_SUCCESS;
    return clf__fail(CLF_INVALID_DTYPE, "argument '%s': dtype is %s, not %s", a->name, clf_dtype_name(dtype),
                     wanted == CLF_DTYPE_NONE ? "F32, F16 or BF16" : clf_dtype_name(wanted));
}

/* Enqueues and releases the kernel; `items` may be 0, which is a marker for the event. */
static clf_status launch(clf_device *device, const clf_binder *binder, int64_t items, cl_command_queue queue,
                         cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    const size_t global = (size_t)items;
    cl_int code = binder->status;

    queue = queue ? queue : clf_device_queue(device);
    if (code == CL_SUCCESS && items > 0)
        code = clEnqueueNDRangeKernel(queue, binder->kernel, 1, NULL, &global, NULL, n_wait, wait, event);
    else if (code == CL_SUCCESS && event)
        code = clEnqueueMarkerWithWaitList(queue, n_wait, wait, event);
    clReleaseKernel(binder->kernel);
    return code ? clf__fail_opencl(code, "enqueueing %lld work-items", (long long)items) : CLF_SUCCESS;
}

/* a: chunks, their lse, out, and lse where it is wanted. */
static clf_status check_merge(const argument *a, bool has_lse)
{
    clf_status status = check_arguments(a, has_lse ? 4 : 3);

    for (int axis = 0; axis < 4 && !status; axis++)
        status = check_extent(&a[2], axis, a[0].tensor->shape[axis + 1]);
    for (int axis = 0; axis < 4 && !status; axis++)
        status = check_extent(&a[1], axis, a[0].tensor->shape[axis]);
    for (int axis = 0; axis < 3 && has_lse && !status; axis++)
        status = check_extent(&a[3], axis, a[2].tensor->shape[axis]);
    if (status || (status = check_dtype(&a[0], CLF_DTYPE_NONE)) || (status = check_dtype(&a[1], CLF_F32)) ||
        (status = check_dtype(&a[2], CLF_DTYPE_NONE)))
        return status;
    return has_lse ? check_dtype(&a[3], CLF_F32) : CLF_SUCCESS;
}

/* The arguments of clf_fused_merge. */
static clf_binder bind_merge(cl_kernel kernel, const clf_tensor *chunks, const clf_tensor *lse_chunks,
                             const clf_tensor *out, const clf_tensor *lse)
{
    const int64_t *s = chunks->strides, *l = lse_chunks->strides, *extent = out->shape;
    const cl_long offset = clf__tensor_start(chunks), lse_step = l[3];
    const cl_long lse_offset = clf__tensor_start(lse_chunks);
    const cl_long4 strides = { { s[0], s[1], s[2], s[3] } }, lse_strides = { { l[0], l[1], l[2], 0 } };
    const cl_int count = (cl_int)chunks->shape[0];
    const cl_int4 shape = { { (cl_int)extent[0], (cl_int)extent[1], (cl_int)extent[2], (cl_int)extent[3] } };
    cl_long8 lse_at = { { 0 } };
    clf_binder binder = clf_bind(kernel);

    if (lse)
        lse_at = (cl_long8){ { clf__tensor_start(lse), lse->strides[0], lse->strides[1], lse->strides[2] } };
    clf_bind_mem(&binder, chunks->mem);
    clf_bind_value(&binder, &offset, sizeof offset);
    clf_bind_value(&binder, &strides, sizeof strides);
    clf_bind_value(&binder, &count, sizeof count);
    clf_bind_mem(&binder, lse_chunks->mem);
    clf_bind_value(&binder, &lse_offset, sizeof lse_offset);
    clf_bind_value(&binder, &lse_strides, sizeof lse_strides);
    clf_bind_value(&binder, &lse_step, sizeof lse_step);
    clf__fused_bind(&binder, out);
    clf_bind_mem(&binder, lse ? lse->mem : NULL);
    clf_bind_value(&binder, &lse_at, sizeof lse_at);
    clf_bind_value(&binder, &shape, sizeof shape);
    return binder;
}

clf_status clf_merge_attentions(clf_device *device, const clf_tensor *chunks, const clf_tensor *lse_chunks,
                                const clf_tensor *out, const clf_tensor *lse, cl_command_queue queue, cl_uint n_wait,
                                const cl_event *wait, cl_event *event)
{
    const bool has_lse = lse && lse->rank > 0;
    const argument a[] = { { chunks, "chunks", 5, false }, { lse_chunks, "lse_chunks", 4, false },
                           { out, "out", 4, true }, { lse, "lse", 3, true } };
    cl_kernel kernel = NULL;
    char options[64];
    clf_status status = check_merge(a, has_lse);

    if (status)
        return status;
    (void)snprintf(options, sizeof options, "-DCLF_STORAGE=%d -DCLF_FROM=%d", clf__storage_number(out->dtype),
                   clf__storage_number(chunks->dtype));
    if ((status = clf__program_kernel(device, NULL, "fused/merge.cl", options, "clf_fused_merge", &kernel)))
        return status;
    const clf_binder binder = bind_merge(kernel, chunks, lse_chunks, out, has_lse ? lse : NULL);
    return launch(device, &binder, clf_tensor_elements(out), queue, n_wait, wait, event);
}

clf_status clf_quantise(clf_device *device, const clf_tensor *x, int bits, int group, const clf_tensor *packed,
                        const clf_tensor *scales, cl_command_queue queue, cl_uint n_wait, const cl_event *wait,
                        cl_event *event)
{
    const argument a[] = { { x, "x", 4, false }, { packed, "packed", 4, true }, { scales, "scales", 4, true } };
    cl_kernel kernel = NULL;
    char options[64];
    clf_status status = check_arguments(a, 3);

    if (status)
        return status;
    if (bits != 8 && bits != 4)
        return clf__fail(CLF_OUT_OF_RANGE, "argument 'bits' is %d: 8 and 4 are possible", bits);
    if (group < 16 || group % 16 || x->shape[3] % group)
        return clf__fail(CLF_OUT_OF_RANGE, "argument 'group' is %d: it must be a multiple of 16 that divides the width "
                         "%lld", group, (long long)x->shape[3]);
    for (int axis = 0; axis < 3 && !status; axis++) {
        status = check_extent(&a[1], axis, x->shape[axis]);
        status = status ? status : check_extent(&a[2], axis, x->shape[axis]);
    }
    if (status || (status = check_extent(&a[1], 3, x->shape[3] * bits / 8)) ||
        (status = check_extent(&a[2], 3, 2 * x->shape[3] / group)) || (status = check_dtype(&a[0], CLF_DTYPE_NONE)) ||
        (status = check_dtype(&a[1], CLF_U8)) || (status = check_dtype(&a[2], CLF_F16)))
        return status;
    (void)snprintf(options, sizeof options, "-DCLF_STORAGE=%d -DCLF_BITS=%d", clf__storage_number(x->dtype), bits);
    if ((status = clf__program_kernel(device, NULL, "fused/quantise.cl", options, "clf_fused_quantise", &kernel)))
        return status;

    const cl_int4 shape = { { (cl_int)x->shape[0], (cl_int)x->shape[1], (cl_int)x->shape[2],
                              (cl_int)(x->shape[3] / group) } };
    const cl_int width = group;
    clf_binder binder = clf_bind(kernel);

    clf__fused_bind(&binder, x);
    clf__fused_bind(&binder, packed);
    clf__fused_bind(&binder, scales);
    clf_bind_value(&binder, &shape, sizeof shape);
    clf_bind_value(&binder, &width, sizeof width);
    return launch(device, &binder, clf_tensor_elements(x) / group, queue, n_wait, wait, event);
}
