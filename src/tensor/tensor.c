/* Views: what their numbers mean, and whether they can be trusted. */
#include "tensor/tensor.h"
#include "core/status.h"

#include <inttypes.h>

/* a * b for a, b >= 0; false when it does not fit. */
static bool multiply(int64_t a, int64_t b, int64_t *product)
{
    if (a && b > INT64_MAX / a) {
        return false;
    }
    *product = a * b;
    return true;
}

bool clf__shape_elements(int rank, const int64_t *shape, size_t size, int64_t *elements)
{
    int64_t bytes = (int64_t)size;
    bool    empty = false;

    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0 || !multiply(bytes, shape[i] ? shape[i] : 1, &bytes)) {
            return false;
        }
        empty = empty || shape[i] == 0;
    }
    *elements = empty || size == 0 ? 0 : bytes / (int64_t)size;
    return true;
}

/* Bytes from the first element to the end of the last; false when they do not fit. The tensor is
 * not empty and its strides are not negative. */
static bool span(const clf_tensor *tensor, size_t size, int64_t *bytes)
{
    int64_t sum = (int64_t)size;

    for (int i = 0; i < tensor->rank; i++) {
        int64_t step = 0;
        if (!multiply(tensor->shape[i] - 1, tensor->strides[i], &step) || !multiply(step, (int64_t)size, &step) ||
            step > INT64_MAX - sum) {
            return false;
        }
        sum += step;
    }
    *bytes = sum;
    return true;
}

clf_tensor clf_tensor_view(cl_mem mem, clf_dtype dtype, int rank, const int64_t *shape)
{
    clf_tensor tensor = { .mem = mem, .dtype = dtype, .rank = rank };
    int64_t    stride = 1;

    if (rank < 0 || rank > CLF_MAX_RANK || !shape) {
        return tensor;
    }
    for (int i = rank - 1; i >= 0; i--) {
        tensor.shape[i] = shape[i];
        tensor.strides[i] = stride;
        /* A shape that overflows is refused by every check, so its strides do not matter. */
        if (shape[i] > 0 && !multiply(stride, shape[i], &stride)) {
            stride = INT64_MAX;
        }
    }
    return tensor;
}

int64_t clf_tensor_elements(const clf_tensor *tensor)
{
    const size_t size = tensor ? clf_dtype_size(tensor->dtype) : 0;
    int64_t      elements = 0;

    if (!tensor || tensor->rank < 0 || tensor->rank > CLF_MAX_RANK ||
        !clf__shape_elements(tensor->rank, tensor->shape, size ? size : 1, &elements)) {
        return 0;
    }
    return elements;
}

uint64_t clf__tensor_bytes(const clf_tensor *tensor)
{
    return tensor->rank == 0 ? 0 : (uint64_t)clf_tensor_elements(tensor) * clf_dtype_size(tensor->dtype);
}

int64_t clf__tensor_start(const clf_tensor *tensor)
{
    return tensor->rank == 0 ? 0 : (int64_t)(tensor->offset / clf_dtype_size(tensor->dtype));
}

bool clf_tensor_is_contiguous(const clf_tensor *tensor)
{
    int64_t expected = 1;

    if (clf_tensor_elements(tensor) == 0) {
        return true;
    }
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->strides[i] != expected) {
            return false;
        }
        expected *= tensor->shape[i];
    }
    return true;
}

uint64_t clf_tensor_end(const clf_tensor *tensor)
{
    const size_t size = tensor ? clf_dtype_size(tensor->dtype) : 0;
    int64_t      bytes = 0;

    if (size == 0 || clf_tensor_elements(tensor) == 0) {
        return 0;
    }
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->strides[i] < 0) {
            return UINT64_MAX;
        }
    }
    if (!span(tensor, size, &bytes) || tensor->offset > (uint64_t)(INT64_MAX - bytes)) {
        return UINT64_MAX;
    }
    return tensor->offset + (uint64_t)bytes;
}

/* The view's numbers alone. */
static clf_status check_description(const clf_tensor *tensor, const char *name)
{
    const size_t size = clf_dtype_size(tensor->dtype);
    int64_t      elements = 0;

    if (tensor->rank < 1 || tensor->rank > CLF_MAX_RANK) {
        return clf__fail(CLF_INVALID_RANK, "argument '%s': rank is %d, not 1 to %d", name, (int)tensor->rank,
                         CLF_MAX_RANK);
    }
    if (size == 0) {
        return clf__fail(CLF_INVALID_DTYPE, "argument '%s': %d is no dtype", name, (int)tensor->dtype);
    }
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] < 0) {
            return clf__fail(CLF_INVALID_SHAPE, "argument '%s': extent %d is %" PRId64, name, i, tensor->shape[i]);
        }
        if (tensor->strides[i] < 0) {
            return clf__fail(CLF_INVALID_STRIDE, "argument '%s': stride %d is %" PRId64 ", not 0 or more", name, i,
                             tensor->strides[i]);
        }
    }
    if (!clf__shape_elements(tensor->rank, tensor->shape, size, &elements)) {
        return clf__fail(CLF_INVALID_SHAPE, "argument '%s': the shape has more than 2^63 bytes", name);
    }
    if (tensor->offset % size) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s': offset %" PRIu64 " is no multiple of the %zu bytes of %s",
                         name, tensor->offset, size, clf_dtype_name(tensor->dtype));
    }
    if (clf_tensor_end(tensor) == UINT64_MAX) {
        return clf__fail(CLF_INVALID_STRIDE, "argument '%s': offset and strides reach beyond 2^63 bytes", name);
    }
    return CLF_SUCCESS;
}

clf_status clf_tensor_check(const clf_tensor *tensor, const char *name)
{
    size_t     available = 0;
    clf_status status;

    name = name ? name : "tensor";
    if (!tensor) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", name);
    }
    status = check_description(tensor, name);
    if (status || !tensor->mem) {
        return status;
    }
    const cl_int code = clGetMemObjectInfo(tensor->mem, CL_MEM_SIZE, sizeof available, &available, NULL);
    if (code) {
        return clf__fail_opencl(code, "argument '%s': the size of its buffer", name);
    }
    if (clf_tensor_end(tensor) > available) {
        return clf__fail(CLF_BUFFER_TOO_SMALL,
                         "argument '%s': the view ends at byte %" PRIu64 " of a buffer of %zu bytes", name,
                         clf_tensor_end(tensor), available);
    }
    return CLF_SUCCESS;
}

clf_status clf_tensor_alloc(clf_device *device, clf_dtype dtype, int rank, const int64_t *shape, clf_tensor *tensor)
{
    cl_mem     mem = NULL;
    clf_status status;

    if (!tensor || (rank > 0 && !shape)) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", tensor ? "shape" : "tensor");
    }
    const clf_tensor view = clf_tensor_view(NULL, dtype, rank, shape);
    *tensor = (clf_tensor){ 0 };
    status = clf_tensor_check(&view, "tensor");
    if (!status) {
        status = clf_pool_acquire(device, clf_tensor_end(&view), &mem);
    }
    if (!status) {
        *tensor = view;
        tensor->mem = mem;
    }
    return status;
}

void clf_tensor_free(clf_device *device, clf_tensor *tensor)
{
    if (tensor) {
        clf_pool_release(device, tensor->mem, NULL);
        *tensor = (clf_tensor){ 0 };
    }
}
