/* Writing .safetensors files: everything is collected in memory and goes to disk at once. */
#include "core/os.h"
#include "core/status.h"
#include "core/text.h"
#include "tensor/safetensors.h"
#include "tensor/tensor.h"
#include <clformers/safetensors.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor_item {
    char     *name;
    clf_dtype dtype;
    int       rank;
    int64_t   shape[CLF_MAX_RANK];
    size_t    bytes;
    void     *data;
} tensor_item;

typedef struct pair {
    char *key, *value;
} pair;

struct clf_safetensors_writer {
    char        *path;
    size_t       count, capacity;
    tensor_item *items;
    size_t       pair_count, pair_capacity;
    pair        *pairs;
};

clf_status clf_safetensors_create(const char *path, clf_safetensors_writer **result)
{
    clf_safetensors_writer *writer;

    if (!path || !path[0] || !result) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL or empty", result ? "path" : "writer");
    }
    *result = NULL;
    writer = calloc(1, sizeof *writer);
    if (!writer || !(writer->path = clf__strdup(path))) {
        clf_safetensors_discard(writer);
        return clf__no_memory(sizeof *writer + strlen(path));
    }
    *result = writer;
    return CLF_SUCCESS;
}

void clf_safetensors_discard(clf_safetensors_writer *writer)
{
    if (!writer) {
        return;
    }
    for (size_t i = 0; i < writer->count; i++) {
        free(writer->items[i].name);
        free(writer->items[i].data);
    }
    for (size_t i = 0; i < writer->pair_count; i++) {
        free(writer->pairs[i].key);
        free(writer->pairs[i].value);
    }
    free(writer->items);
    free(writer->pairs);
    free(writer->path);
    free(writer);
}

/* Room for one more element of `size` bytes in a growing array; NULL when memory is short. */
static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    const size_t wanted = *capacity ? 2 * *capacity : 16;
    void        *larger = realloc(array, wanted * size);
    if (larger) {
        *capacity = wanted;
    }
    return larger;
}

static clf_status check_text(const char *text, const char *argument, size_t limit)
{
    if (!text) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", argument);
    }
    const size_t length = strlen(text);
    if (length > limit) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s': %zu bytes, more than %zu", argument, length, limit);
    }
    if (!clf__is_utf8(text, length)) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is not UTF-8", argument);
    }
    return CLF_SUCCESS;
}

/* Everything about a tensor but its data; fills the item's numbers. */
static clf_status describe(tensor_item *item, const char *name, clf_dtype dtype, int rank, const int64_t *shape)
{
    const size_t size = clf_dtype_size(dtype);
    int64_t      elements = 0;

    if (size == 0) {
        return clf__fail(CLF_INVALID_DTYPE, "tensor '%s': %d is no dtype", name, (int)dtype);
    }
    if (rank < 0 || rank > CLF_MAX_RANK) {
        return clf__fail(CLF_INVALID_RANK, "tensor '%s': rank is %d, not 0 to %d", name, rank, CLF_MAX_RANK);
    }
    if (rank > 0 && !shape) {
        return clf__fail(CLF_INVALID_VALUE, "tensor '%s': argument 'shape' is NULL", name);
    }
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0 || shape[i] >= CLF__MAX_WHOLE) {
            return clf__fail(CLF_INVALID_SHAPE, "tensor '%s': extent %d is %" PRId64, name, i, shape[i]);
        }
        item->shape[i] = shape[i];
    }
    if (!clf__shape_elements(rank, shape, size, &elements) || (uint64_t)elements > SIZE_MAX / size) {
        return clf__fail(CLF_INVALID_SHAPE, "tensor '%s': more bytes than the host can address", name);
    }
    item->dtype = dtype;
    item->rank = rank;
    item->bytes = (size_t)elements * size;
    return CLF_SUCCESS;
}

clf_status clf_safetensors_add(clf_safetensors_writer *writer, const char *name, clf_dtype dtype, int rank,
                               const int64_t *shape, const void *data)
{
    tensor_item item = { .name = NULL };
    clf_status  status;

    if (!writer) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'writer' is NULL");
    }
    if ((status = check_text(name, "name", CLF__MAX_KEY)) || (status = describe(&item, name, dtype, rank, shape))) {
        return status;
    }
    if (!data && item.bytes) {
        return clf__fail(CLF_INVALID_VALUE, "tensor '%s': argument 'data' is NULL", name);
    }
    bool taken = strcmp(name, CLF__METADATA_KEY) == 0;
    for (size_t i = 0; i < writer->count && !taken; i++) {
        taken = strcmp(name, writer->items[i].name) == 0;
    }
    if (taken) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'name': '%s' is taken", name);
    }

    tensor_item *items = grow(writer->items, writer->count, &writer->capacity, sizeof *items);
    if (items) {
        writer->items = items;
        item.name = clf__strdup(name);
        item.data = malloc(item.bytes + 1);
    }
    if (!items || !item.name || !item.data) {
        free(item.name);
        free(item.data);
        return clf__no_memory(item.bytes);
    }
    if (item.bytes) {
        memcpy(item.data, data, item.bytes);
    }
    writer->items[writer->count++] = item;
    return CLF_SUCCESS;
}

clf_status clf_safetensors_add_metadata(clf_safetensors_writer *writer, const char *key, const char *value)
{
    pair       p = { NULL, NULL };
    clf_status status;

    if (!writer) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'writer' is NULL");
    }
    if ((status = check_text(key, "key", CLF__MAX_KEY)) || (status = check_text(value, "value", CLF__MAX_HEADER))) {
        return status;
    }
    for (size_t i = 0; i < writer->pair_count; i++) {
        if (strcmp(key, writer->pairs[i].key) == 0) {
            return clf__fail(CLF_INVALID_VALUE, "argument 'key': '%s' is taken", key);
        }
    }
    pair *pairs = grow(writer->pairs, writer->pair_count, &writer->pair_capacity, sizeof *pairs);
    if (pairs) {
        writer->pairs = pairs;
        p.key = clf__strdup(key);
        p.value = clf__strdup(value);
    }
    if (!pairs || !p.key || !p.value) {
        free(p.key);
        free(p.value);
        return clf__no_memory(strlen(key) + strlen(value));
    }
    writer->pairs[writer->pair_count++] = p;
    return CLF_SUCCESS;
}

/* ---- the header ---------------------------------------------------------------------------------- */

static void add_string(clf__text *text, const char *string)
{
    clf__text_append(text, "\"", 1);
    for (const char *c = string; *c;) {
        const size_t plain = strcspn(c, "\"\\\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14"
                                        "\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f");
        clf__text_append(text, c, plain);
        c += plain;
        if (*c) {
            clf__text_add(text, *c == '"' || *c == '\\' ? "\\%c" : "\\u%04x", *c);
            c++;
        }
    }
    clf__text_append(text, "\"", 1);
}

static void add_tensor(clf__text *text, const tensor_item *item, uint64_t begin)
{
    add_string(text, item->name);
    clf__text_add(text, ":{\"dtype\":\"%s\",\"shape\":[", clf_dtype_name(item->dtype));
    for (int i = 0; i < item->rank; i++) {
        clf__text_add(text, "%s%" PRId64, i ? "," : "", item->shape[i]);
    }
    clf__text_add(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + item->bytes);
}

/* The header, padded so that the data begins at a multiple of 8. */
static void print_header(const clf_safetensors_writer *writer, clf__text *text)
{
    uint64_t begin = 0;

    clf__text_append(text, "{", 1);
    if (writer->pair_count) {
        clf__text_append(text, "\"" CLF__METADATA_KEY "\":{", sizeof CLF__METADATA_KEY + 4 - 1);
        for (size_t i = 0; i < writer->pair_count; i++) {
            clf__text_append(text, ",", i ? 1 : 0);
            add_string(text, writer->pairs[i].key);
            clf__text_append(text, ":", 1);
            add_string(text, writer->pairs[i].value);
        }
        clf__text_append(text, "}", 1);
    }
    for (size_t i = 0; i < writer->count; i++) {
        clf__text_append(text, ",", i || writer->pair_count ? 1 : 0);
        add_tensor(text, &writer->items[i], begin);
        begin += writer->items[i].bytes;
    }
    clf__text_append(text, "}", 1);
    clf__text_append(text, "        ", (8 - text->length % 8) % 8);
}

/* Large elements first, so that every tensor is aligned; otherwise in the order they came. */
static void sort_items(clf_safetensors_writer *writer, tensor_item *sorted)
{
    size_t n = 0;

    for (size_t size = 8; size; size /= 2) {
        for (size_t i = 0; i < writer->count; i++) {
            if (clf_dtype_size(writer->items[i].dtype) == size) {
                sorted[n++] = writer->items[i];
            }
        }
    }
    if (writer->count) {
        memcpy(writer->items, sorted, n * sizeof *sorted);
    }
}

clf_status clf_safetensors_commit(clf_safetensors_writer *writer)
{
    clf__text     header = { 0 };
    unsigned char length[8];
    clf_status    status = CLF_SUCCESS;

    if (!writer) {
        return clf__fail(CLF_INVALID_VALUE, "argument 'writer' is NULL");
    }
    tensor_item *sorted = malloc((writer->count + 1) * sizeof *sorted);
    clf__piece  *pieces = malloc((writer->count + 2) * sizeof *pieces);
    if (!sorted || !pieces) {
        status = clf__no_memory((writer->count + 2) * sizeof *sorted);
        goto fail;
    }
    sort_items(writer, sorted);
    print_header(writer, &header);
    if (header.failed) {
        status = clf__no_memory(header.length);
        goto fail;
    }
    if (header.length > CLF__MAX_HEADER) {
        status = clf__fail(CLF_INVALID_VALUE, "'%s': a header of %zu bytes, the limit is %d", writer->path,
                           header.length, CLF__MAX_HEADER);
        goto fail;
    }
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)header.length >> (8 * i));
    }
    pieces[0] = (clf__piece){ length, sizeof length };
    pieces[1] = (clf__piece){ header.data, header.length };
    for (size_t i = 0; i < writer->count; i++) {
        pieces[i + 2] = (clf__piece){ writer->items[i].data, writer->items[i].bytes };
    }
    status = clf__file_write(writer->path, pieces, writer->count + 2);
fail:
    free(sorted);
    free(pieces);
    clf__text_free(&header);
    clf_safetensors_discard(writer);
    return status;
}
