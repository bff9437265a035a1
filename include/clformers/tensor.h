/* Strided views on device memory, and the device memory pool behind the convenience calls. */
#ifndef CLFORMERS_TENSOR_H
#define CLFORMERS_TENSOR_H

#include <clformers/device.h>

CLF_BEGIN

#define CLF_MAX_RANK 5

typedef enum clf_dtype {
    CLF_DTYPE_NONE = 0,
    CLF_F32  = 1,
    CLF_F16  = 2, /* IEEE 754 binary16 */
    CLF_BF16 = 3, /* the upper half of a binary32 */
    CLF_F64  = 4,
    CLF_I8   = 5,
    CLF_I16  = 6,
    CLF_I32  = 7,
    CLF_I64  = 8,
    CLF_U8   = 9,
    CLF_BOOL8 = 10 /* one byte, nonzero = true */
} clf_dtype;

/* A view: it owns nothing. A plain value whose layout is frozen. rank 0 means "absent". mem may be
 * NULL where only the description matters (planning). Shapes are row-major by convention, any
 * strides are allowed; q, k and v are [batch, heads, sequence, dim] by shape whatever their memory
 * order, and the last stride of a floating-point tensor is 1. */
typedef struct clf_tensor {
    cl_mem    mem;
    uint64_t  offset;                /* bytes from the start of mem, a multiple of the element size */
    clf_dtype dtype;
    int32_t   rank;
    int64_t   shape[CLF_MAX_RANK];
    int64_t   strides[CLF_MAX_RANK]; /* elements */
} clf_tensor;

/* Bytes of one element; 0 for an unknown dtype. Names are those of safetensors: "F32", "BF16", ... */
CLF_API size_t      clf_dtype_size(clf_dtype dtype);
CLF_API const char *clf_dtype_name(clf_dtype dtype);
CLF_API clf_dtype   clf_dtype_from_name(const char *name); /* case-insensitive; CLF_DTYPE_NONE if unknown */

/* A contiguous row-major view on `mem` from byte 0 on. No checks: those happen where it is used. */
CLF_API clf_tensor clf_tensor_view(cl_mem mem, clf_dtype dtype, int rank, const int64_t *shape);

/* 1 for rank 0; 0 for a shape that clf_tensor_check refuses. */
CLF_API int64_t  clf_tensor_elements(const clf_tensor *tensor);
CLF_API bool     clf_tensor_is_contiguous(const clf_tensor *tensor);
/* Bytes from the start of mem to the end of the last element; 0 for an empty tensor, UINT64_MAX for
 * one that reaches beyond 2^63 bytes or has a negative stride. */
CLF_API uint64_t clf_tensor_end(const clf_tensor *tensor);

/* Rank (1 to CLF_MAX_RANK), dtype, shape, strides, offset and, where there is one, the buffer's size.
 * Strides of 0 are fine, negative ones are not. `name` is what the message calls the tensor.
 * Errors: CLF_INVALID_RANK, _DTYPE, _SHAPE, _STRIDE, CLF_INVALID_VALUE (NULL, or an offset that is no
 * multiple of the element size), CLF_BUFFER_TOO_SMALL. */
CLF_API clf_status clf_tensor_check(const clf_tensor *tensor, const char *name);

/* A contiguous tensor of rank 1 or more in a buffer of the device's pool; its content is undefined. Release
 * with clf_tensor_free. On failure *tensor is absent.
 * Errors: CLF_INVALID_*; CLF_OUT_OF_DEVICE_MEMORY with the bytes asked for. */
CLF_API clf_status clf_tensor_alloc(clf_device *device, clf_dtype dtype, int rank, const int64_t *shape,
                                    clf_tensor *tensor);
/* Gives the buffer back and clears the view; absent tensors are allowed. The pool reuses it only
 * after everything enqueued on the device's queue so far is done. */
CLF_API void clf_tensor_free(clf_device *device, clf_tensor *tensor);

/* Copies between a view (any strides) and a contiguous host array of the same dtype with
 * clf_tensor_elements elements. Both block until the copy is done, on the device's queue. Writing
 * touches the elements' own bytes only.
 * Errors: those of clf_tensor_check; CLF_INVALID_STRIDE for writing a view whose elements share memory;
 * CLF_OUT_OF_HOST_MEMORY; OpenCL's own. */
CLF_API clf_status clf_tensor_write(clf_device *device, const clf_tensor *tensor, const void *data);
CLF_API clf_status clf_tensor_read(clf_device *device, const clf_tensor *tensor, void *data);

/* The same with conversion from and to float (round to nearest even), for f32, f16 and bf16;
 * CLF_INVALID_DTYPE for others. */
CLF_API clf_status clf_tensor_write_floats(clf_device *device, const clf_tensor *tensor, const float *data);
CLF_API clf_status clf_tensor_read_floats(clf_device *device, const clf_tensor *tensor, float *data);

/* Element conversions on the host. */
CLF_API uint16_t clf_float_to_half(float value);
CLF_API float    clf_half_to_float(uint16_t bits);
CLF_API uint16_t clf_float_to_bfloat16(float value);
CLF_API float    clf_bfloat16_to_float(uint16_t bits);

/* The pool: buffers are kept for reuse when they are freed. Sizes are rounded up by at most an eighth
 * (256 bytes at least) and counted so. Short of memory, the pool waits for the device's queue, frees
 * what it keeps and tries once more. It never holds more than the device's global memory. */
typedef struct clf_pool_stats {
    uint64_t in_use;     /* bytes handed out */
    uint64_t cached;     /* bytes kept for reuse */
    uint64_t peak;       /* largest in_use since the last clf_pool_reset_peak */
    uint64_t limit;      /* bytes; 0 = no limit */
} clf_pool_stats;
CLF_API clf_pool_stats clf_pool_get_stats(clf_device *device);
CLF_API void           clf_pool_reset_peak(clf_device *device);
/* in_use + cached never exceeds `bytes`; 0 removes the limit. What is handed out already stays. */
CLF_API void           clf_pool_set_limit(clf_device *device, uint64_t bytes);
/* Frees cached buffers, the oldest first, until at most `keep` bytes stay cached. */
CLF_API void           clf_pool_trim(clf_device *device, uint64_t keep);

/* A raw buffer of at least `bytes` bytes from the pool, and back. `done` (may be NULL) is the last
 * event that uses it; without one, everything enqueued on the device's queue so far counts.
 * Errors: CLF_OUT_OF_DEVICE_MEMORY with the bytes asked for and the limit they meet. */
CLF_API clf_status clf_pool_acquire(clf_device *device, uint64_t bytes, cl_mem *mem);
CLF_API void       clf_pool_release(clf_device *device, cl_mem mem, cl_event done);

CLF_END
#endif
