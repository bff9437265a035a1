/* A tensor inside a guarded buffer. Beside the elements of an input every byte is 0xFF, NaN in every floating
 * type, so that reading beside a row shows in the result. Beside those of an output it is another pattern: a NaN
 * that was read there and written here would go unseen. Elements that nobody writes stay NaN. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

enum { POISON = 0xFF, OUTPUT_GUARD = 0x5A };

/* Strides of one layout; returns the elements from the first to behind the last one. */
static int64_t lay_out(clf_tensor *t, clf__kit_layout layout, bool input)
{
    int     order[CLF_MAX_RANK]; /* axes from the innermost outwards */
    int64_t pitch = 1, span = 1;
    for (int i = 0; i < t->rank; i++)
        order[i] = t->rank - 1 - i;
    if (layout == KIT_TRANSPOSED && t->rank >= 3) {
        order[1] = t->rank - 3;
        order[2] = t->rank - 2;
    }
    for (int i = 0; i < t->rank; i++) {
        const int axis = order[i];
        t->strides[axis] = pitch;
        pitch *= t->shape[axis];
        if (layout == KIT_PADDED)
            pitch += i == 0 ? 3 : 5;
    }
    if (layout == KIT_EXPANDED && input && t->rank >= 4)
        t->strides[1] = 0;
    for (int i = 0; i < t->rank; i++)
        span += (t->shape[i] - 1) * t->strides[i];
    return span;
}

clf_status clf__kit_image_make(clf_device *device, clf_dtype dtype, int rank, const int64_t *shape,
                               clf__kit_layout layout, bool input, clf__kit_image *image)
{
    const size_t element = clf_dtype_size(dtype);
    clf_tensor   t = clf_tensor_view(NULL, dtype, rank, shape);
    cl_int       code = CL_SUCCESS;
    const size_t span = (size_t)lay_out(&t, layout, input) * element;

    t.offset = KIT_GUARD + (layout == KIT_PADDED ? 3 * element : 0);
    image->bytes = (size_t)t.offset + span + KIT_GUARD;
    image->before = malloc(image->bytes);
    image->after = malloc(image->bytes);
    image->kept = malloc(image->bytes);
    image->inside = calloc(image->bytes, sizeof *image->inside);
    image->tensor = t;
    if (!image->before || !image->after || !image->kept || !image->inside)
        return CLF_OUT_OF_HOST_MEMORY;
    for (int64_t i = 0; i < clf_tensor_elements(&t); i++)
        memset(image->inside + clf__kit_image_place(image, i), true, element);
    for (size_t i = 0; i < image->bytes; i++)
        image->before[i] = image->inside[i] || input ? POISON : OUTPUT_GUARD;
    memcpy(image->after, image->before, image->bytes);
    memcpy(image->kept, image->before, image->bytes);
    if (device)
        image->tensor.mem =
            clCreateBuffer(clf_device_context(device), CL_MEM_READ_WRITE, image->bytes, NULL, &code);
    return (clf_status)code;
}

void clf__kit_image_free(clf__kit_image *image)
{
    if (image->tensor.mem)
        clReleaseMemObject(image->tensor.mem);
    free(image->before);
    free(image->after);
    free(image->kept);
    free(image->inside);
    memset(image, 0, sizeof *image);
}

clf_status clf__kit_image_write(clf_device *device, clf__kit_image *image)
{
    return (clf_status)clEnqueueWriteBuffer(clf_device_queue(device), image->tensor.mem, CL_TRUE, 0, image->bytes,
                                            image->before, 0, NULL, NULL);
}

clf_status clf__kit_image_read(clf_device *device, clf__kit_image *image)
{
    return (clf_status)clEnqueueReadBuffer(clf_device_queue(device), image->tensor.mem, CL_TRUE, 0, image->bytes,
                                           image->after, 0, NULL, NULL);
}

size_t clf__kit_image_place(const clf__kit_image *image, int64_t i)
{
    const clf_tensor *t = &image->tensor;
    int64_t           place = 0;
    for (int axis = t->rank - 1; axis >= 0; axis--) {
        place += i % t->shape[axis] * t->strides[axis];
        i /= t->shape[axis];
    }
    return (size_t)t->offset + (size_t)place * clf_dtype_size(t->dtype);
}

double clf__kit_image_get(const clf__kit_image *image, const unsigned char *bytes, int64_t i)
{
    const unsigned char *at = bytes + clf__kit_image_place(image, i);
    float                f32;
    uint16_t             half;
    int32_t              i32;
    int64_t              i64;
    switch (image->tensor.dtype) {
    case CLF_F32:
        memcpy(&f32, at, sizeof f32);
        return (double)f32;
    case CLF_F16:
        memcpy(&half, at, sizeof half);
        return (double)clf_half_to_float(half);
    case CLF_BF16:
        memcpy(&half, at, sizeof half);
        return (double)clf_bfloat16_to_float(half);
    case CLF_I32:
        memcpy(&i32, at, sizeof i32);
        return i32;
    case CLF_I64:
        memcpy(&i64, at, sizeof i64);
        return (double)i64;
    default:
        return at[0];
    }
}

double clf__kit_image_set(clf__kit_image *image, int64_t i, double value)
{
    unsigned char *at = image->before + clf__kit_image_place(image, i);
    const float    f32 = (float)value;
    const uint16_t half = image->tensor.dtype == CLF_F16 ? clf_float_to_half(f32) : clf_float_to_bfloat16(f32);
    int32_t        i32;
    int64_t        i64;
    switch (image->tensor.dtype) {
    case CLF_F32:
        memcpy(at, &f32, sizeof f32);
        break;
    case CLF_F16:
    case CLF_BF16:
        memcpy(at, &half, sizeof half);
        break;
    case CLF_I32:
        i32 = (int32_t)value;
        memcpy(at, &i32, sizeof i32);
        break;
    case CLF_I64:
        i64 = (int64_t)value;
        memcpy(at, &i64, sizeof i64);
        break;
    default:
        at[0] = (unsigned char)value;
        break;
    }
    return clf__kit_image_get(image, image->before, i);
}

bool clf__kit_image_is_intact(const clf__kit_image *image)
{
    for (size_t i = 0; i < image->bytes; i++)
        if (!image->inside[i] && image->after[i] != image->before[i])
            return false;
    return true;
}
