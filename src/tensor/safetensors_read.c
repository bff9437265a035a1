/* Reading .safetensors files: the checked header (safetensors_header.c) against the data, which its
 * tensors must cover exactly. */
#include "core/os.h"
#include "core/status.h"
#include "tensor/safetensors.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct clf_safetensors {
    void             *bytes;  /* the whole file */
    size_t            size;
    cJSON            *header; /* owns names and metadata */
    const char       *data;   /* behind the header */
    uint64_t          data_size;
    size_t            count;
    clf__safetensor  *items;    /* in the order of the header */
    clf__safetensor **by_name;  /* sorted */
    size_t            metadata_count;
    const cJSON     **metadata; /* sorted by key */
};

static clf_status parse_header(clf_safetensors *file)
{
    const unsigned char *bytes = file->bytes;
    const char          *text = (const char *)file->bytes + 8;
    uint64_t             length = 0;

    if (file->size < 8) {
        return clf__fail(CLF_INVALID_FILE, "%zu bytes, too short for a header length", file->size);
    }
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    if (length > file->size - 8 || length > CLF__MAX_HEADER) {
        return clf__fail(CLF_INVALID_FILE, "a header of %" PRIu64 " bytes: the file has %zu, the limit is %d", length,
                         file->size, CLF__MAX_HEADER);
    }
    file->data = text + length;
    file->data_size = file->size - 8 - length;
    return clf__safetensors_parse(text, (size_t)length, &file->header);
}

static clf_status read_metadata(const cJSON *metadata, clf_safetensors *file)
{
    const cJSON *value;

    if (!cJSON_IsObject(metadata)) {
        return clf__fail(CLF_INVALID_FILE, CLF__METADATA_KEY " is no object");
    }
    cJSON_ArrayForEach(value, metadata) {
        if (!cJSON_IsString(value)) {
            return clf__fail(CLF_INVALID_FILE, CLF__METADATA_KEY ": the value of " CLF__NAME " is no string",
                             value->string);
        }
    }
    return clf__safetensors_members(metadata, &file->metadata, &file->metadata_count);
}

/* Fills items and by_name; the names are unique afterwards. */
static clf_status read_entries(clf_safetensors *file)
{
    const cJSON **members = NULL, *member;
    size_t        count = 0;
    clf_status    status = clf__safetensors_members(file->header, &members, &count);

    free((void *)members);
    if (status) {
        return status;
    }
    file->items = calloc(count + 1, sizeof *file->items);
    file->by_name = calloc(count + 1, sizeof *file->by_name);
    if (!file->items || !file->by_name) {
        return clf__no_memory((count + 1) * sizeof *file->items);
    }
    cJSON_ArrayForEach(member, file->header) {
        if (strcmp(member->string, CLF__METADATA_KEY) == 0) {
            status = read_metadata(member, file);
        } else {
            status = clf__safetensors_item(member, file->data_size, &file->items[file->count]);
            status = status ? clf__fail_prefix(status, "tensor " CLF__NAME, member->string) : CLF_SUCCESS;
            file->by_name[file->count] = &file->items[file->count];
            file->count++;
        }
        if (status) {
            return status;
        }
    }
    return CLF_SUCCESS;
}

static int by_place(const void *a, const void *b)
{
    const clf__safetensor *x = *(clf__safetensor *const *)a, *y = *(clf__safetensor *const *)b;

    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(clf__safetensor *const *)a)->entry.name, (*(clf__safetensor *const *)b)->entry.name);
}

/* The tensors cover the data from its first to its last byte, each byte once. */
static clf_status check_cover(clf_safetensors *file)
{
    uint64_t covered = 0;

    qsort(file->by_name, file->count, sizeof *file->by_name, by_place);
    for (size_t k = 0; k < file->count; k++) {
        const clf__safetensor *i = file->by_name[k];
        if (i->begin != covered) {
            return clf__fail(CLF_INVALID_FILE,
                             "tensor " CLF__NAME ": the data begins at byte %" PRIu64
                             ", but the data before it ends at %" PRIu64 " (%s)",
                             i->entry.name, i->begin, covered, i->begin < covered ? "an overlap" : "a hole");
        }
        covered = i->end;
    }
    if (covered != file->data_size) {
        return clf__fail(CLF_INVALID_FILE, "%" PRIu64 " bytes stand behind the last tensor", file->data_size - covered);
    }
    qsort(file->by_name, file->count, sizeof *file->by_name, by_name);
    return CLF_SUCCESS;
}

/* Where the header's length or small tensors put data at odd addresses, it moves. */
static clf_status set_data(clf_safetensors *file)
{
    for (size_t k = 0; k < file->count; k++) {
        clf__safetensor *i = &file->items[k];
        const char      *data = file->data + i->begin;
        if (i->entry.bytes == 0) {
            data = file->bytes;
        } else if ((uintptr_t)data % clf_dtype_size(i->entry.dtype)) {
            i->copy = malloc((size_t)i->entry.bytes);
            if (!i->copy) {
                return clf__no_memory((size_t)i->entry.bytes);
            }
            data = memcpy(i->copy, data, (size_t)i->entry.bytes);
        }
        i->entry.data = data;
    }
    return CLF_SUCCESS;
}

clf_status clf_safetensors_open(const char *path, clf_safetensors **result)
{
    clf_safetensors *file;
    clf_status       status;

    if (!path || !result) {
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", path ? "file" : "path");
    }
    *result = NULL;
    file = calloc(1, sizeof *file);
    if (!file) {
        return clf__no_memory(sizeof *file);
    }
    status = clf__file_read(path, SIZE_MAX / 2, &file->bytes, &file->size);
    if (status) {
        goto fail;
    }
    if ((status = parse_header(file)) || (status = read_entries(file)) || (status = check_cover(file)) ||
        (status = set_data(file))) {
        status = clf__fail_prefix(status, "'%s'", path);
        goto fail;
    }
    *result = file;
    return CLF_SUCCESS;
fail:
    clf_safetensors_close(file);
    return status;
}

void clf_safetensors_close(clf_safetensors *file)
{
    if (!file) {
        return;
    }
    for (size_t k = 0; k < file->count; k++) {
        free(file->items[k].copy);
    }
    free(file->items);
    free(file->by_name);
    free((void *)file->metadata);
    cJSON_Delete(file->header);
    free(file->bytes);
    free(file);
}

/* ---- looking at it --------------------------------------------------------------------------- */

size_t clf_safetensors_count(const clf_safetensors *file)
{
    return file ? file->count : 0;
}

const clf_safetensors_entry *clf_safetensors_at(const clf_safetensors *file, size_t index)
{
    return file && index < file->count ? &file->items[index].entry : NULL;
}

static int compare_item(const void *name, const void *i)
{
    return strcmp(name, (*(clf__safetensor *const *)i)->entry.name);
}

const clf_safetensors_entry *clf_safetensors_find(const clf_safetensors *file, const char *name)
{
    clf__safetensor *const *found = NULL;

    if (file && name) {
        found = bsearch(name, file->by_name, file->count, sizeof *file->by_name, compare_item);
    }
    return found ? &(*found)->entry : NULL;
}

static int compare_key(const void *key, const void *member)
{
    return strcmp(key, (*(const cJSON *const *)member)->string);
}

const char *clf_safetensors_metadata(const clf_safetensors *file, const char *key)
{
    const cJSON *const *found = NULL;

    if (file && key && file->metadata) {
        found = bsearch(key, (const void *)file->metadata, file->metadata_count, sizeof *file->metadata, compare_key);
    }
    return found ? (*found)->valuestring : NULL;
}
