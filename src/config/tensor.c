/* Tensors inside configs: from nested arrays or by name, copied, converted, printed. */
#include "config/config.h"
#include "core/status.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a shape; -1 when the number or its bytes overflow. */
static int64_t count_elements(const clf_host_tensor *tensor)
{
    int64_t elements = 1;
    int64_t limit = (int64_t)(PTRDIFF_MAX / 8);

    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] < 0 || (tensor->shape[i] > 0 && elements > limit / tensor->shape[i]))
            return -1;
        elements *= tensor->shape[i];
    }
    return elements;
}

/* Do nine digits tell all its values apart? */
static bool is_single(clf_dtype dtype)
{
    return dtype == CLF_F32 || dtype == CLF_F16 || dtype == CLF_BF16;
}

static double get(const clf_host_tensor *tensor, int64_t i)
{
    switch (tensor->dtype) {
    case CLF_F32:
        return (double)((const float *)tensor->data)[i];
    case CLF_F16:
        return (double)clf_half_to_float(((const uint16_t *)tensor->data)[i]);
    case CLF_BF16:
        return (double)clf_bfloat16_to_float(((const uint16_t *)tensor->data)[i]);
    case CLF_F64:
        return ((const double *)tensor->data)[i];
    case CLF_I8:
        return ((const int8_t *)tensor->data)[i];
    case CLF_I16:
        return ((const int16_t *)tensor->data)[i];
    case CLF_I32:
        return ((const int32_t *)tensor->data)[i];
    case CLF_I64:
        return (double)((const int64_t *)tensor->data)[i];
    case CLF_U8:
    case CLF_BOOL8:
        return ((const uint8_t *)tensor->data)[i];
    default:
        return 0;
    }
}

/* false when `value` does not fit the dtype. */
static bool put(clf_host_tensor *tensor, int64_t i, double value)
{
    static const struct { clf_dtype dtype; double min, max; } ranges[] = {
        { CLF_I8, -128, 127 },           { CLF_I16, -32768, 32767 }, { CLF_I32, -2147483648.0, 2147483647.0 },
        { CLF_I64, -9007199254740991.0, 9007199254740991.0 }, /* what a double tells from its neighbours */
        { CLF_U8, 0, 255 },              { CLF_BOOL8, 0, 1 },
    };

    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++)
        if (ranges[r].dtype == tensor->dtype &&
            !(value >= ranges[r].min && value <= ranges[r].max && value == floor(value)))
            return false;
    switch (tensor->dtype) {
    case CLF_F32:
        ((float *)tensor->data)[i] = (float)value;
        return !isfinite(value) || isfinite((float)value);
    case CLF_F16:
        ((uint16_t *)tensor->data)[i] = clf_float_to_half((float)value);
        return !isfinite(value) || fabs(value) < 65520;
    case CLF_BF16:
        ((uint16_t *)tensor->data)[i] = clf_float_to_bfloat16((float)value);
        return !isfinite(value) || isfinite((float)value);
    case CLF_F64:
        ((double *)tensor->data)[i] = value;
        return true;
    case CLF_I8:
        ((int8_t *)tensor->data)[i] = (int8_t)value;
        return true;
    case CLF_I16:
        ((int16_t *)tensor->data)[i] = (int16_t)value;
        return true;
    case CLF_I32:
        ((int32_t *)tensor->data)[i] = (int32_t)value;
        return true;
    case CLF_I64:
        ((int64_t *)tensor->data)[i] = (int64_t)value;
        return true;
    case CLF_U8:
    case CLF_BOOL8:
        ((uint8_t *)tensor->data)[i] = (uint8_t)value;
        return true;
    default:
        return false;
    }
}

static clf_status allocate(const clf_host_tensor *like, clf_dtype dtype, clf_host_tensor **tensor)
{
    int64_t elements = count_elements(like);
    size_t bytes = elements < 0 ? SIZE_MAX : (size_t)elements * clf_dtype_size(dtype);
    clf_host_tensor *made = calloc(1, sizeof *made);

    if (!made)
        return clf__no_memory(sizeof *made);
    *made = *like;
    made->dtype = dtype;
    made->data = bytes == SIZE_MAX ? NULL : calloc(1, bytes ? bytes : 1);
    if (!made->data) {
        free(made);
        return clf__no_memory(bytes);
    }
    *tensor = made;
    return CLF_SUCCESS;
}

void clf__host_tensor_free(clf_host_tensor *tensor)
{
    if (tensor)
        free(tensor->data);
    free(tensor);
}

clf_status clf__host_tensor_copy(const clf_host_tensor *tensor, clf_host_tensor **copy)
{
    clf_status status = allocate(tensor, tensor->dtype, copy);
    if (status == CLF_SUCCESS)
        memcpy((*copy)->data, tensor->data, (size_t)count_elements(tensor) * clf_dtype_size(tensor->dtype));
    return status;
}

static clf_status misfit(const clf_field *field, int64_t i, double value, clf_dtype dtype)
{
    char number[40];
    return clf__fail(CLF_OUT_OF_RANGE, "'%s': element %lld is %s, which is no %s%s", field->name, (long long)i,
                     clf__json_number(number, value, false), clf_dtype_name(dtype),
                     dtype == CLF_I64 ? " between -2^53 and 2^53" : "");
}

/* {"tensor": "name"}: a converted copy of what the caller knows under that name. */
static clf_status by_name(const clf_field *field, const cJSON *value, const clf_config_lookup *lookup,
                          clf_host_tensor **tensor)
{
    const cJSON *name = value->child;

    if (!name || name->next || strcmp(name->string, "tensor") != 0 || !cJSON_IsString(name))
        return clf__fail(CLF_INVALID_CONFIG, "'%s' must be nested arrays or {\"tensor\": \"name\"}", field->name);
    const clf_host_tensor *found =
        lookup && lookup->tensor ? lookup->tensor(name->valuestring, lookup->user) : NULL;
    if (!found)
        return clf__fail(CLF_UNKNOWN_TENSOR, "'%s': there is no tensor '%.80s'", field->name, name->valuestring);
    if (found->rank < 0 || found->rank > CLF_MAX_RANK || clf_dtype_size(found->dtype) == 0 ||
        count_elements(found) < 0 || (!found->data && count_elements(found) > 0))
        return clf__fail(CLF_INVALID_CONFIG, "'%s': tensor '%.80s' is malformed", field->name, name->valuestring);

    const clf_dtype dtype = field->dtype ? field->dtype : found->dtype;
    const int64_t elements = count_elements(found);
    clf_host_tensor *made = NULL;
    clf_status status = allocate(found, dtype, &made);
    if (status)
        return status;
    const bool as_it_is = dtype == found->dtype && dtype != CLF_I64; /* not every i64 survives being printed */
    if (as_it_is && elements > 0)
        memcpy(made->data, found->data, (size_t)elements * clf_dtype_size(dtype));
    for (int64_t i = 0; !as_it_is && i < elements; i++) {
        double element = get(found, i);
        if (!put(made, i, dtype == CLF_BOOL8 ? element != 0 : element)) {
            clf__host_tensor_free(made);
            return misfit(field, i, element, dtype);
        }
    }
    *tensor = made;
    return CLF_SUCCESS;
}

/* Shape by the first entry of every level. */
static clf_status measure(const clf_field *field, const cJSON *value, clf_host_tensor *shape)
{
    shape->rank = 0;
    for (const cJSON *level = value; cJSON_IsArray(level); level = level->child) {
        if (shape->rank == CLF_MAX_RANK)
            return clf__fail(CLF_INVALID_CONFIG, "'%s' has more than %d dimensions", field->name, CLF_MAX_RANK);
        shape->shape[shape->rank++] = cJSON_GetArraySize(level);
    }
    return CLF_SUCCESS;
}

static bool all_boolean(const cJSON *value)
{
    if (!cJSON_IsArray(value))
        return cJSON_IsBool(value);
    for (const cJSON *item = value->child; item; item = item->next)
        if (!all_boolean(item))
            return false;
    return true;
}

/* JSON has no infinities; masks do: the strings "inf", "-inf" and "nan" stand for them. */
static bool element_value(const cJSON *value, clf_dtype dtype, double *element)
{
    bool floating = dtype == CLF_F32 || dtype == CLF_F16 || dtype == CLF_BF16 || dtype == CLF_F64;

    if (cJSON_IsBool(value))
        *element = cJSON_IsTrue(value) ? 1 : 0;
    else if (cJSON_IsNumber(value) && isfinite(value->valuedouble))
        *element = value->valuedouble;
    else if (floating && cJSON_IsString(value) && strcmp(value->valuestring, "inf") == 0)
        *element = INFINITY;
    else if (floating && cJSON_IsString(value) && strcmp(value->valuestring, "-inf") == 0)
        *element = -INFINITY;
    else if (floating && cJSON_IsString(value) && strcmp(value->valuestring, "nan") == 0)
        *element = NAN;
    else
        return false;
    return true;
}

/* Before anything is allocated: a short text could claim a huge shape by its first entries. */
static clf_status check_shape(const clf_field *field, const cJSON *value, int depth, const clf_host_tensor *shape)
{
    if (depth == shape->rank)
        return CLF_SUCCESS;
    if (!cJSON_IsArray(value) || cJSON_GetArraySize(value) != shape->shape[depth])
        return clf__fail(CLF_INVALID_CONFIG,
                         "'%s' is ragged: an entry of dimension %d has %d entries, the first has %lld", field->name,
                         depth, cJSON_IsArray(value) ? cJSON_GetArraySize(value) : 0, (long long)shape->shape[depth]);
    for (const cJSON *item = value->child; item; item = item->next) {
        clf_status status = check_shape(field, item, depth + 1, shape);
        if (status)
            return status;
    }
    return CLF_SUCCESS;
}

static clf_status fill(const clf_field *field, const cJSON *value, int depth, clf_host_tensor *tensor, int64_t *next)
{
    char buffer[80];
    double element;

    if (depth == tensor->rank) {
        if (!element_value(value, tensor->dtype, &element))
            return clf__fail(CLF_INVALID_CONFIG, "'%s': element %lld must be a finite number or a boolean, not %s",
                             field->name, (long long)*next, clf__json_describe(value, buffer, sizeof buffer));
        if (!put(tensor, *next, element))
            return misfit(field, *next, element, tensor->dtype);
        ++*next;
        return CLF_SUCCESS;
    }
    for (const cJSON *item = value->child; item; item = item->next) {
        clf_status status = fill(field, item, depth + 1, tensor, next);
        if (status)
            return status;
    }
    return CLF_SUCCESS;
}

clf_status clf__host_tensor_parse(const clf_field *field, const cJSON *value, const clf_config_lookup *lookup,
                                  clf_host_tensor **tensor)
{
    clf_host_tensor shape = {0}, *made = NULL;
    char buffer[80];
    int64_t next = 0;

    if (cJSON_IsObject(value))
        return by_name(field, value, lookup, tensor);
    if (!cJSON_IsArray(value))
        return clf__fail(CLF_INVALID_CONFIG, "'%s' must be nested arrays or {\"tensor\": \"name\"}, not %s",
                         field->name, clf__json_describe(value, buffer, sizeof buffer));
    clf_status status = measure(field, value, &shape);
    if (status || (status = check_shape(field, value, 0, &shape)))
        return status;
    status = allocate(&shape, field->dtype ? field->dtype : all_boolean(value) ? CLF_BOOL8 : CLF_F32, &made);
    if (status)
        return status;
    status = fill(field, value, 0, made, &next);
    if (status) {
        clf__host_tensor_free(made);
        return status;
    }
    *tensor = made;
    return CLF_SUCCESS;
}

static void print_level(const clf_host_tensor *tensor, int depth, int64_t *next, clf__text *text)
{
    char number[40];

    if (depth == tensor->rank) {
        int64_t i = (*next)++;
        double value = get(tensor, i);
        if (tensor->dtype == CLF_BOOL8)
            clf__text_add(text, "%s", value != 0 ? "true" : "false");
        else if (tensor->dtype == CLF_I64)
            clf__text_add(text, "%lld", (long long)((const int64_t *)tensor->data)[i]);
        else
            clf__text_add(text, isfinite(value) ? "%s" : "\"%s\"",
                          clf__json_number(number, value, is_single(tensor->dtype)));
        return;
    }
    clf__text_append(text, "[", 1);
    for (int64_t i = 0; i < tensor->shape[depth]; i++) {
        clf__text_append(text, ", ", i ? 2 : 0);
        print_level(tensor, depth + 1, next, text);
    }
    clf__text_append(text, "]", 1);
}

void clf__host_tensor_print(const clf_host_tensor *tensor, clf__text *text)
{
    int64_t next = 0;
    print_level(tensor, 0, &next, text);
}
