/* The JSON header of .safetensors files. It comes from anywhere, so every number and name in it is
 * checked before it is used. */
#include "config/config.h"
#include "core/status.h"
#include "tensor/safetensors.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Control characters have no place in JSON; NUL would end strings early. */
static bool has_control(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 && text[i] != '\t' && text[i] != '\n' && text[i] != '\r') {
            return true;
        }
    }
    return false;
}

/* The parser ends strings at an escaped NUL: two keys could look the same. */
static bool escapes_nul(const char *text, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++) {
        if (text[i] == '\\') {
            if (text[i + 1] == 'u' && length - i >= 6 && memcmp(text + i + 2, "0000", 4) == 0) {
                return true;
            }
            i++; /* whatever was escaped */
        }
    }
    return false;
}

clf_status clf__safetensors_parse(const char *text, size_t length, cJSON **header)
{
    const char *end = NULL;

    *header = NULL;
    if (length == 0 || text[0] != '{') {
        return clf__fail(CLF_INVALID_FILE, "the header does not begin with '{'");
    }
    if (has_control(text, length) || escapes_nul(text, length)) {
        return clf__fail(CLF_INVALID_FILE, "the header holds NUL or other control characters");
    }
    if (!clf__is_utf8(text, length)) {
        return clf__fail(CLF_INVALID_FILE, "the header is not UTF-8");
    }
    const clf_status status = clf__json_tree(text, length, &end, header);
    if (status) {
        return status;
    }
    while (*header && end < text + length && strchr(" \t\r\n", *end)) {
        end++;
    }
    if (!*header || end != text + length) {
        return clf__fail(CLF_INVALID_FILE, "the header is no JSON object: mistake at byte %td", end ? end - text : 0);
    }
    return CLF_SUCCESS;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

clf_status clf__safetensors_members(const cJSON *object, const cJSON ***members, size_t *count)
{
    const cJSON *member;
    size_t       n = 0;

    cJSON_ArrayForEach(member, object) {
        if (strlen(member->string) > CLF__MAX_KEY) {
            return clf__fail(CLF_INVALID_FILE, "the name " CLF__NAME "... has %zu bytes, more than %d", member->string,
                             strlen(member->string), CLF__MAX_KEY);
        }
        n++;
    }
    *members = malloc((n + 1) * sizeof **members);
    if (!*members) {
        return clf__no_memory((n + 1) * sizeof **members);
    }
    *count = n;
    n = 0;
    cJSON_ArrayForEach(member, object) {
        (*members)[n++] = member;
    }
    qsort((void *)*members, n, sizeof **members, by_key);
    for (size_t i = 1; i < n; i++) {
        if (strcmp((*members)[i - 1]->string, (*members)[i]->string) == 0) {
            return clf__fail(CLF_INVALID_FILE, "the name " CLF__NAME " stands twice in an object",
                             (*members)[i]->string);
        }
    }
    return CLF_SUCCESS;
}

/* ---- one tensor ----------------------------------------------------------------------------- */

static bool whole_number(const cJSON *number, int64_t *value)
{
    if (!cJSON_IsNumber(number) || !(number->valuedouble >= 0) || !(number->valuedouble < (double)CLF__MAX_WHOLE)) {
        return false;
    }
    *value = (int64_t)number->valuedouble;
    return (double)*value == number->valuedouble;
}

static clf_status read_shape(const cJSON *shape, clf_safetensors_entry *entry)
{
    const cJSON *extent;

    if (!cJSON_IsArray(shape)) {
        return clf__fail(CLF_INVALID_FILE, "'shape' is missing or no list");
    }
    cJSON_ArrayForEach(extent, shape) {
        if (entry->rank == CLF_MAX_RANK) {
            return clf__fail(CLF_INVALID_FILE, "the shape has more than %d dimensions", CLF_MAX_RANK);
        }
        if (!whole_number(extent, &entry->shape[entry->rank])) {
            return clf__fail(CLF_INVALID_FILE, "extent %d of the shape is no whole number below 2^53", entry->rank);
        }
        entry->rank++;
    }
    return CLF_SUCCESS;
}

static clf_status read_offsets(const cJSON *offsets, clf__safetensor *item)
{
    int64_t begin = 0, end = 0;

    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !whole_number(offsets->child, &begin) ||
        !whole_number(offsets->child->next, &end)) {
        return clf__fail(CLF_INVALID_FILE, "'data_offsets' is missing or not two whole numbers below 2^53");
    }
    if (begin > end) {
        return clf__fail(CLF_INVALID_FILE, "the data begins at byte %" PRId64 " and ends before, at %" PRId64, begin,
                         end);
    }
    item->begin = (uint64_t)begin;
    item->end = (uint64_t)end;
    return CLF_SUCCESS;
}

static clf_status read_dtype(const cJSON *dtype, clf_safetensors_entry *entry)
{
    const char *name = cJSON_GetStringValue(dtype);

    if (!name) {
        return clf__fail(CLF_INVALID_FILE, "'dtype' is missing or no string");
    }
    entry->dtype = clf_dtype_from_name(name);
    if (entry->dtype == CLF_DTYPE_NONE || strcmp(name, clf_dtype_name(entry->dtype)) != 0) {
        return clf__fail(CLF_INVALID_FILE, "dtype " CLF__NAME " is not supported", name);
    }
    return CLF_SUCCESS;
}

clf_status clf__safetensors_item(const cJSON *tensor, uint64_t data_size, clf__safetensor *item)
{
    const cJSON *member, *dtype = NULL, *shape = NULL, *offsets = NULL;
    int64_t      elements = 0;
    clf_status   status;

    if (!cJSON_IsObject(tensor)) {
        return clf__fail(CLF_INVALID_FILE, "not an object");
    }
    cJSON_ArrayForEach(member, tensor) {
        const cJSON **known = strcmp(member->string, "dtype") == 0          ? &dtype
                              : strcmp(member->string, "shape") == 0        ? &shape
                              : strcmp(member->string, "data_offsets") == 0 ? &offsets
                                                                            : NULL;
        if (!known || *known) {
            return clf__fail(CLF_INVALID_FILE, "the key " CLF__NAME " %s", member->string,
                             known ? "stands twice" : "is unknown");
        }
        *known = member;
    }
    item->entry.name = tensor->string;
    if ((status = read_dtype(dtype, &item->entry)) || (status = read_shape(shape, &item->entry)) ||
        (status = read_offsets(offsets, item))) {
        return status;
    }
    const size_t size = clf_dtype_size(item->entry.dtype);
    if (!clf__shape_elements(item->entry.rank, item->entry.shape, size, &elements) ||
        (uint64_t)elements > SIZE_MAX / size) {
        return clf__fail(CLF_INVALID_FILE, "the product of the shape is too large");
    }
    item->entry.bytes = (uint64_t)elements * size;
    if (item->entry.bytes != item->end - item->begin) {
        return clf__fail(CLF_INVALID_FILE, "%" PRIu64 " bytes of data, but dtype and shape need %" PRIu64,
                         item->end - item->begin, item->entry.bytes);
    }
    if (item->end > data_size) {
        return clf__fail(CLF_INVALID_FILE, "the data ends at byte %" PRIu64 " of %" PRIu64, item->end, data_size);
    }
    return CLF_SUCCESS;
}
