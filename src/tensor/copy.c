/* Copies between strided views and contiguous host arrays.
 *
 * A view is seen in the order of its memory: dimensions by falling stride, neighbours that touch made one.
 * Then it is a contiguous piece, or rows of bytes at one or two pitches (a rectangle), or several of
 * those. When the tensor's own order differs, the elements pass through a host array in memory order.
 * Bytes between the elements are never written.
 */
#include "core/status.h"
#include "device/device.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

typedef struct dimension {
    int64_t extent, stride; /* stride in elements, later in bytes */
    int     axis;
} dimension;

/* The view in memory order; axes with one element or without a stride are left out. */
typedef struct layout {
    int       rank;
    dimension at[CLF_MAX_RANK]; /* falling strides */
} layout;

static layout layout_of(const clf_tensor *tensor)
{
    layout l = { .rank = 0 };

    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 1 || tensor->strides[i] == 0) {
            continue;
        }
        int k = l.rank++;
        for (; k > 0 && l.at[k - 1].stride < tensor->strides[i]; k--) {
            l.at[k] = l.at[k - 1];
        }
        l.at[k] = (dimension){ tensor->shape[i], tensor->strides[i], i };
    }
    return l;
}

/* Strides, by axis of the tensor, of a dense host array in memory order; gives its elements. */
static int64_t dense_strides(const layout *l, int64_t *strides)
{
    int64_t elements = 1;

    memset(strides, 0, CLF_MAX_RANK * sizeof *strides);
    for (int k = l->rank - 1; k >= 0; k--) {
        strides[l->at[k].axis] = elements;
        elements *= l->at[k].extent;
    }
    return elements;
}

/* Does the dense array have the order of the tensor's own shape? */
static bool same_order(const clf_tensor *tensor, const int64_t *dense)
{
    const clf_tensor own = clf_tensor_view(NULL, tensor->dtype, tensor->rank, tensor->shape);

    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] > 1 && own.strides[i] != dense[i]) {
            return false;
        }
    }
    return true;
}

/* Merges dimensions that touch and counts strides in bytes. */
static void merge(layout *l, int64_t size)
{
    int rank = 0;

    for (int k = 0; k < l->rank; k++) {
        const dimension d = l->at[k];
        if (rank > 0 && l->at[rank - 1].stride == d.stride * d.extent * size) {
            l->at[rank - 1].extent *= d.extent;
            l->at[rank - 1].stride = d.stride * size;
        } else {
            l->at[rank++] = (dimension){ d.extent, d.stride * size, d.axis };
        }
    }
    l->rank = rank;
}

/* ---- on the host -------------------------------------------------------------------------- */

static void copy_row(char *to, int64_t to_step, const char *from, int64_t from_step, int64_t n, size_t size)
{
    if (to_step == (int64_t)size && from_step == (int64_t)size) {
        memcpy(to, from, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++, to += to_step, from += from_step) {
        switch (size) { /* a constant size makes memcpy one instruction */
        case 1: *to = *from; break; /* NOLINT(clang-analyzer-core.uninitialized.Assign): a device wrote it */
        case 2: memcpy(to, from, 2); break;
        case 4: memcpy(to, from, 4); break;
        default: memcpy(to, from, size); break;
        }
    }
}

/* Advances the indices of the first `rank` extents; false after the last. */
static bool advance(int64_t *index, int rank, const int64_t *extents)
{
    for (int i = rank - 1; i >= 0; i--) {
        if (++index[i] < extents[i]) {
            return true;
        }
        index[i] = 0;
    }
    return false;
}

/* Copies elements in the order of `tensor`'s shape; strides in elements. */
static void copy_elements(const clf_tensor *tensor, void *to, const int64_t *to_strides, const void *from,
                          const int64_t *from_strides)
{
    const int64_t size = (int64_t)clf_dtype_size(tensor->dtype);
    const int     inner = tensor->rank - 1;
    int64_t       index[CLF_MAX_RANK] = { 0 };

    do {
        int64_t to_at = 0, from_at = 0;
        for (int i = 0; i < inner; i++) {
            to_at += index[i] * to_strides[i];
            from_at += index[i] * from_strides[i];
        }
        copy_row((char *)to + to_at * size, to_strides[inner] * size, (const char *)from + from_at * size,
                 from_strides[inner] * size, tensor->shape[inner], (size_t)size);
    } while (advance(index, inner, tensor->shape));
}

/* ---- to and from the device ------------------------------------------------------------------ */

/* One copy between `mem` and host memory: rows of `run` bytes at a pitch, slices of rows at another. */
typedef struct rectangle {
    size_t run, rows, slices;
    size_t row_pitch, slice_pitch; /* in the buffer; 0 = dense */
} rectangle;

typedef struct transfer {
    clf_device *device;
    cl_mem      mem;
    bool        write;
    cl_event    before; /* on an out-of-order queue: everything enqueued so far */
} transfer;

static cl_int enqueue(const transfer *t, const rectangle *r, size_t offset, char *host, cl_bool block)
{
    cl_command_queue queue = t->device->queue;
    const cl_uint    waits = t->before ? 1 : 0;
    const cl_event  *wait = t->before ? &t->before : NULL;
    const size_t     from[3] = { offset, 0, 0 }, origin[3] = { 0, 0, 0 };
    const size_t     region[3] = { r->run, r->rows, r->slices };

    if (r->rows == 1 && r->slices == 1) {
        return t->write ? clEnqueueWriteBuffer(queue, t->mem, block, offset, r->run, host, waits, wait, NULL)
                        : clEnqueueReadBuffer(queue, t->mem, block, offset, r->run, host, waits, wait, NULL);
    }
    return t->write ? clEnqueueWriteBufferRect(queue, t->mem, block, from, origin, region, r->row_pitch, r->slice_pitch,
                                               0, 0, host, waits, wait, NULL)
                    : clEnqueueReadBufferRect(queue, t->mem, block, from, origin, region, r->row_pitch, r->slice_pitch,
                                              0, 0, host, waits, wait, NULL);
}

/* Takes the innermost dimensions of `l` that fit into one rectangle. */
static rectangle take_rectangle(layout *l, int64_t size)
{
    rectangle r = { .run = (size_t)size, .rows = 1, .slices = 1 };

    if (l->rank > 0 && l->at[l->rank - 1].stride == size) {
        r.run = (size_t)(l->at[--l->rank].extent * size);
    }
    /* Rows may overlap when only read (a sliding window): one by one then. */
    if (l->rank > 0 && (size_t)l->at[l->rank - 1].stride >= r.run) {
        const dimension d = l->at[--l->rank];
        r.rows = (size_t)d.extent;
        r.row_pitch = (size_t)d.stride;
    }
    if (r.rows > 1 && l->rank > 0) {
        const size_t pitch = (size_t)l->at[l->rank - 1].stride;
        if (pitch >= r.rows * r.row_pitch && pitch % r.row_pitch == 0) { /* as OpenCL wants it */
            r.slices = (size_t)l->at[--l->rank].extent;
            r.slice_pitch = pitch;
        }
    }
    return r;
}

/* Moves a dense host array in memory order. */
static clf_status move(transfer *t, const clf_tensor *tensor, layout l, char *host)
{
    int64_t index[CLF_MAX_RANK] = { 0 }, extents[CLF_MAX_RANK] = { 0 };
    int64_t left = 1;
    cl_int  code = CL_SUCCESS;

    merge(&l, (int64_t)clf_dtype_size(tensor->dtype));
    const rectangle r = take_rectangle(&l, (int64_t)clf_dtype_size(tensor->dtype));
    for (int k = 0; k < l.rank; k++) {
        extents[k] = l.at[k].extent;
        left *= extents[k];
    }
    if (t->device->out_of_order) {
        code = clEnqueueMarkerWithWaitList(t->device->queue, 0, NULL, &t->before);
    }
    for (; left > 0 && !code; left--) {
        int64_t offset = (int64_t)tensor->offset;
        for (int k = 0; k < l.rank; k++) {
            offset += index[k] * l.at[k].stride;
        }
        code = enqueue(t, &r, (size_t)offset, host, left == 1 || t->before ? CL_TRUE : CL_FALSE);
        host += r.run * r.rows * r.slices;
        advance(index, l.rank, extents);
    }
    if (code) {
        (void)clf__wait_for_queue(t->device->queue); /* the host array must not be in use when the caller gets it back */
    }
    if (t->before) {
        clReleaseEvent(t->before);
    }
    return code ? clf__fail_opencl(code, "copying a tensor %s", t->write ? "to the device" : "from the device")
                : CLF_SUCCESS;
}

static clf_status check(const clf_device *device, const clf_tensor *tensor, const void *data)
{
    if (!device) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'device' is NULL");
    }
    const clf_status status = clf_tensor_check(tensor, "tensor");
    if (status) {
        return status;
    }
    if (clf_tensor_elements(tensor) == 0) {
        return CLF_SUCCESS;
    }
    if (!tensor->mem || !data) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", data ? "tensor->mem" : "data");
    }
    if (clf_tensor_end(tensor) > SIZE_MAX || (uint64_t)clf_tensor_elements(tensor) > SIZE_MAX / 8) {
        return clf__fail(CLF_INVALID_SHAPE, "argument 'tensor': more bytes than the host can address");
    }
    return CLF_SUCCESS;
}

clf_status clf_tensor_write(clf_device *device, const clf_tensor *tensor, const void *data)
{
    clf_status status = check(device, tensor, data);
    if (status || clf_tensor_elements(tensor) == 0) {
        return status;
    }
    if (!clf__tensor_is_injective(tensor)) {
        return clf__fail(CLF_INVALID_STRIDE, "argument 'tensor': several elements share memory, it cannot be written");
    }

    transfer     t = { .device = device, .mem = tensor->mem, .write = true };
    const layout l = layout_of(tensor);
    int64_t      dense[CLF_MAX_RANK];
    const size_t bytes = (size_t)dense_strides(&l, dense) * clf_dtype_size(tensor->dtype);

    if (same_order(tensor, dense)) {
        return move(&t, tensor, l, (char *)(uintptr_t)data); /* only read from */
    }
    char *staging = malloc(bytes);
    if (!staging) {
        return clf__no_memory(bytes);
    }
    const clf_tensor own = clf_tensor_view(NULL, tensor->dtype, tensor->rank, tensor->shape);
    copy_elements(tensor, staging, dense, data, own.strides);
    status = move(&t, tensor, l, staging);
    free(staging);
    return status;
}

clf_status clf_tensor_read(clf_device *device, const clf_tensor *tensor, void *data)
{
    clf_status status = check(device, tensor, data);
    if (status || clf_tensor_elements(tensor) == 0) {
        return status;
    }

    transfer     t = { .device = device, .mem = tensor->mem, .write = false };
    const layout l = layout_of(tensor);
    int64_t      dense[CLF_MAX_RANK];
    const size_t bytes = (size_t)dense_strides(&l, dense) * clf_dtype_size(tensor->dtype);

    if (same_order(tensor, dense)) {
        return move(&t, tensor, l, data);
    }
    char *staging = malloc(bytes);
    if (!staging) {
        return clf__no_memory(bytes);
    }
    status = move(&t, tensor, l, staging);
    if (!status) {
        const clf_tensor own = clf_tensor_view(NULL, tensor->dtype, tensor->rank, tensor->shape);
        copy_elements(tensor, data, own.strides, staging, dense);
    }
    free(staging);
    return status;
}
