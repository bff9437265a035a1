/* The memory of one call: present, large enough, of the right context, outputs apart from everything else. */
#include "component/instance.h"
#include "component/plan.h"
#include "core/status.h"
#include "tensor/tensor.h"
#include <stdio.h>
#include <string.h>

enum { MAX_REGIONS = 2 * CLF_MAX_IO + 2, NAME_SIZE = 48 };

/* Tensors and buffers of a call, seen from the outermost memory object. */
typedef struct regions {
    int        count;
    clf_tensor at[MAX_REGIONS];
    bool       written[MAX_REGIONS];
    char       name[MAX_REGIONS][NAME_SIZE];
} regions;

static clf_status check_layout(const clf_tensor *planned, const clf_tensor *given, const char *name)
{
    if (planned->rank != given->rank) {
        if (given->rank == 0)
            return clf__fail(CLF_MISSING_TENSOR, "argument '%s' is missing: the plan was made with it", name);
        if (planned->rank == 0)
            return clf__fail(CLF_UNKNOWN_TENSOR, "argument '%s' is given: the plan was made without it", name);
        return clf__fail(CLF_INVALID_RANK, "argument '%s': rank is %d, the plan was made for %d", name,
                         (int)given->rank, (int)planned->rank);
    }
    if (given->dtype != planned->dtype && planned->rank > 0)
        return clf__fail(CLF_INVALID_DTYPE, "argument '%s': dtype is %s, the plan was made for %s", name,
                         clf_dtype_size(given->dtype) ? clf_dtype_name(given->dtype) : "unknown",
                         clf_dtype_name(planned->dtype));
    for (int d = 0; d < planned->rank; d++) {
        if (given->shape[d] != planned->shape[d])
            return clf__fail(CLF_INVALID_SHAPE, "argument '%s': axis %d is %lld, the plan was made for %lld", name, d,
                             (long long)given->shape[d], (long long)planned->shape[d]);
        if (given->shape[d] > 1 && given->strides[d] != planned->strides[d])
            return clf__fail(CLF_INVALID_STRIDE, "argument '%s': stride %d is %lld, the plan was made for %lld", name,
                             d, (long long)given->strides[d], (long long)planned->strides[d]);
    }
    return CLF_SUCCESS;
}

/* Context of a buffer, and the outermost buffer when it is a part of one. */
static clf_status find_root(cl_context context, const char *name, clf_tensor *tensor)
{
    cl_context own = NULL;
    cl_mem parent = NULL;
    size_t offset = 0;

    cl_int code = clGetMemObjectInfo(tensor->mem, CL_MEM_CONTEXT, sizeof(cl_context), &own, NULL);
    if (code == CL_SUCCESS)
        code = clGetMemObjectInfo(tensor->mem, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(cl_mem), &parent, NULL);
    if (code == CL_SUCCESS && parent)
        code = clGetMemObjectInfo(tensor->mem, CL_MEM_OFFSET, sizeof offset, &offset, NULL);
    if (code)
        return clf__fail_opencl(code, "argument '%s': its buffer", name);
    if (own != context)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s': its buffer belongs to another context than the device",
                         name);
    if (parent) {
        tensor->mem = parent;
        tensor->offset += offset;
    }
    return CLF_SUCCESS;
}

static clf_status add_region(regions *all, cl_context context, const clf_tensor *tensor, const char *name,
                             bool written)
{
    clf_status status = clf_tensor_check(tensor, name);

    if (status || clf_tensor_elements(tensor) == 0)
        return status;
    if (!tensor->mem)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' has no memory: mem is NULL", name);
    clf_tensor *at = &all->at[all->count];
    *at = *tensor;
    if ((status = find_root(context, name, at)))
        return status;
    all->written[all->count] = written;
    snprintf(all->name[all->count++], NAME_SIZE, "%s", name);
    return CLF_SUCCESS;
}

static clf_status add_buffer(regions *all, cl_context context, clf_buffer buffer, uint64_t needed, const char *name,
                             bool written)
{
    const int64_t bytes = (int64_t)needed;

    if (needed == 0)
        return CLF_SUCCESS;
    if (!buffer.mem)
        return clf__fail(CLF_BUFFER_TOO_SMALL, "argument '%s' has no memory, the plan needs %llu bytes", name,
                         (unsigned long long)needed);
    if (buffer.bytes < needed)
        return clf__fail(CLF_BUFFER_TOO_SMALL, "argument '%s' has %llu bytes, the plan needs %llu", name,
                         (unsigned long long)buffer.bytes, (unsigned long long)needed);
    if (buffer.offset % 256)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s': offset %llu is no multiple of 256", name,
                         (unsigned long long)buffer.offset);
    clf_tensor view = clf_tensor_view(buffer.mem, CLF_U8, 1, &bytes);
    view.offset = buffer.offset;
    return add_region(all, context, &view, name, written);
}

static clf_status check_overlaps(const regions *all)
{
    for (int i = 0; i < all->count; i++)
        for (int j = 0; j < i; j++)
            if ((all->written[i] || all->written[j]) && clf__tensors_overlap(&all->at[i], &all->at[j]))
                return clf__fail(CLF_BUFFER_OVERLAP, "arguments '%s' and '%s' share memory, and '%s' is written",
                                 all->name[j], all->name[i], all->name[all->written[i] ? i : j]);
    return CLF_SUCCESS;
}

static clf_status check_io(const clf_plan *plan, const clf_args *args, int pass, cl_context context, regions *all)
{
    int count;
    const clf_io *io = clf__io(plan->instance->component, &count);
    char name[NAME_SIZE];

    for (int i = 0; i < CLF_MAX_IO; i++) {
        snprintf(name, sizeof name, "%s", i < count ? io[i].name : "beyond the io table");
        clf_status status = check_layout(&plan->given.io[i], &args->io[i], name);
        if (status)
            return status;
        const bool output = i < count && io[i].role == CLF_OUTPUT;
        if (args->io[i].rank && (status = add_region(all, context, &args->io[i], name, output && pass == CLF_FORWARD)))
            return status;
        if (pass == CLF_FORWARD)
            continue;
        snprintf(name, sizeof name, "grad.%.40s", i < count ? io[i].name : "beyond the io table");
        if ((status = check_layout(&plan->given.grad[i], &args->grad[i], name)))
            return status;
        if (args->grad[i].rank && (status = add_region(all, context, &args->grad[i], name, !output)))
            return status;
    }
    return CLF_SUCCESS;
}

clf_status clf__check_run(const clf_plan *plan, const clf_args *args, int pass, clf_buffer workspace, clf_buffer saved)
{
    cl_context context = clf_device_context(plan->instance->device);
    regions all = { .count = 0 };
    clf_status status;

    if ((plan->given.training != 0) != (args->training != 0))
        return clf__fail(CLF_INVALID_VALUE, "args.training is %s, the plan was made for %s",
                         args->training ? "true" : "false", plan->given.training ? "true" : "false");
    if ((status = check_io(plan, args, pass, context, &all)) ||
        (status = add_buffer(&all, context, workspace, plan->workspace, "workspace", true)) ||
        (status = add_buffer(&all, context, saved, plan->saved, "saved", pass == CLF_FORWARD)))
        return status;
    return check_overlaps(&all);
}
