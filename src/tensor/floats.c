/* Copies of floating-point tensors from and to float, whatever 16 or 32 bits they are stored in. */
#include "core/status.h"
#include <clformers/tensor.h>

#include <stdlib.h>

/* The 16-bit host array that the conversion needs; NULL with success when none is needed. */
static clf_status half_array(const clf_tensor *tensor, const float *data, uint16_t **array)
{
    const clf_status status = clf_tensor_check(tensor, "tensor");

    *array = NULL;
    if (status) {
        return status;
    }
    if (tensor->dtype != CLF_F32 && tensor->dtype != CLF_F16 && tensor->dtype != CLF_BF16) {
        return clf__fail(CLF_INVALID_DTYPE, "argument 'tensor': dtype is %s, not F32, F16 or BF16",
                         clf_dtype_name(tensor->dtype));
    }
    const uint64_t elements = (uint64_t)clf_tensor_elements(tensor);
    if (tensor->dtype == CLF_F32 || elements == 0) {
        return CLF_SUCCESS;
    }
    if (!data) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'data' is NULL");
    }
    if (elements > SIZE_MAX / sizeof **array) {
        return clf__fail(CLF_INVALID_SHAPE, "argument 'tensor': more bytes than the host can address");
    }
    *array = malloc((size_t)elements * sizeof **array);
    return *array ? CLF_SUCCESS : clf__no_memory((size_t)elements * sizeof **array);
}

clf_status clf_tensor_write_floats(clf_device *device, const clf_tensor *tensor, const float *data)
{
    uint16_t  *array = NULL;
    clf_status status = half_array(tensor, data, &array);

    if (status || !array) {
        return status ? status : clf_tensor_write(device, tensor, data);
    }
    const size_t elements = (size_t)clf_tensor_elements(tensor);
    for (size_t i = 0; i < elements; i++) {
        array[i] = tensor->dtype == CLF_F16 ? clf_float_to_half(data[i]) : clf_float_to_bfloat16(data[i]);
    }
    status = clf_tensor_write(device, tensor, array);
    free(array);
    return status;
}

clf_status clf_tensor_read_floats(clf_device *device, const clf_tensor *tensor, float *data)
{
    uint16_t  *array = NULL;
    clf_status status = half_array(tensor, data, &array);

    if (status || !array) {
        return status ? status : clf_tensor_read(device, tensor, data);
    }
    status = clf_tensor_read(device, tensor, array);
    const size_t elements = status ? 0 : (size_t)clf_tensor_elements(tensor);
    for (size_t i = 0; i < elements; i++) {
        data[i] = tensor->dtype == CLF_F16 ? clf_half_to_float(array[i]) : clf_bfloat16_to_float(array[i]);
    }
    free(array);
    return status;
}
