/* Initial values of parameters and buffers. */
#include "component/instance.h"
#include "component/random.h"
#include "core/status.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>

static void fill(const clf_parameter *what, bool buffer, int rank, const int64_t *shape, int64_t elements,
                 uint64_t seed, double *data)
{
    const clf__stream stream = clf__stream_open(seed, what->name, buffer);
    const double last = rank > 0 ? (double)shape[rank - 1] : 1;
    const double bound = what->scale != 0 ? what->scale : 1 / sqrt(last);

    for (int64_t i = 0; i < elements; i++) {
        if (what->init == CLF_INIT_UNIFORM)
            data[i] = bound * (2 * clf__stream_uniform(&stream, (uint64_t)i) - 1);
        else if (what->init == CLF_INIT_NORMAL)
            data[i] = what->scale * clf__stream_normal(&stream, (uint64_t)i);
        else
            data[i] = what->init == CLF_INIT_ONE ? 1 : 0;
    }
}

/* false when the value does not fit the integer dtype. */
static bool store(void *values, clf_dtype dtype, int64_t i, double x)
{
    switch (dtype) {
    case CLF_F32:
        ((float *)values)[i] = (float)x;
        return true;
    case CLF_F16:
        ((uint16_t *)values)[i] = clf_float_to_half((float)x);
        return true;
    case CLF_BF16:
        ((uint16_t *)values)[i] = clf_float_to_bfloat16((float)x);
        return true;
    case CLF_F64:
        ((double *)values)[i] = x;
        return true;
    case CLF_I8:
        ((int8_t *)values)[i] = x >= SCHAR_MIN && x <= SCHAR_MAX ? (int8_t)x : 0;
        return x >= SCHAR_MIN && x <= SCHAR_MAX;
    case CLF_I16:
        ((int16_t *)values)[i] = x >= INT16_MIN && x <= INT16_MAX ? (int16_t)x : 0;
        return x >= INT16_MIN && x <= INT16_MAX;
    case CLF_I32:
        ((int32_t *)values)[i] = x >= INT32_MIN && x <= INT32_MAX ? (int32_t)x : 0;
        return x >= INT32_MIN && x <= INT32_MAX;
    case CLF_I64:
        ((int64_t *)values)[i] = fabs(x) <= 0x1p53 ? (int64_t)x : 0;
        return fabs(x) <= 0x1p53;
    case CLF_U8:
        ((uint8_t *)values)[i] = x >= 0 && x <= UINT8_MAX ? (uint8_t)x : 0;
        return x >= 0 && x <= UINT8_MAX;
    case CLF_BOOL8:
        ((uint8_t *)values)[i] = x != 0;
        return true;
    default:
        return false;
    }
}

clf_status clf__initial_values(const clf_component *component, const void *config, const clf_parameter *what,
                               bool buffer, clf_dtype dtype, int rank, const int64_t *shape, int64_t elements,
                               uint64_t seed, void **values)
{
    clf_status status = CLF_SUCCESS;
    double *data = calloc((size_t)elements, sizeof *data);
    void *made = calloc((size_t)elements, clf_dtype_size(dtype));

    if (!data || !made) {
        status = clf__no_memory((size_t)elements * sizeof *data);
        goto done;
    }
    if (what->init != CLF_INIT_OWN)
        fill(what, buffer, rank, shape, elements, seed, data);
    else if (component->descriptor->initialise)
        status = component->descriptor->initialise(config, what, seed, data);
    else
        status = clf__fail(CLF_INVALID_VALUE, "%s: '%s' has an initialiser of its own, but there is no callback",
                           component->name, what->name);
    for (int64_t i = 0; status == CLF_SUCCESS && i < elements; i++)
        if (!store(made, dtype, i, data[i]))
            status = clf__fail(CLF_OUT_OF_RANGE, "%s: initial value %lld of '%s' is %g, which no %s holds",
                               component->name, (long long)i, what->name, data[i], clf_dtype_name(dtype));
done:
    free(data);
    if (status) {
        free(made);
        made = NULL;
    }
    *values = made;
    return status;
}
