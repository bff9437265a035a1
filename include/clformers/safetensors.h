/* Reading and writing .safetensors files: an 8-byte little-endian header length, a JSON header
 * {name: {dtype, shape, data_offsets}, "__metadata__": {key: string}}, raw row-major data.
 * https://github.com/huggingface/safetensors (format description). */
#ifndef CLFORMERS_SAFETENSORS_H
#define CLFORMERS_SAFETENSORS_H

#include <clformers/tensor.h>

CLF_BEGIN

typedef struct clf_safetensors        clf_safetensors;
typedef struct clf_safetensors_writer clf_safetensors_writer;

/* One tensor of an open file; everything in it belongs to the file. */
typedef struct clf_safetensors_entry {
    const char *name;
    clf_dtype   dtype;
    int32_t     rank;                 /* 0 = a scalar, one element */
    int64_t     shape[CLF_MAX_RANK];
    const void *data;                 /* aligned to the element size */
    uint64_t    bytes;
} clf_safetensors_entry;

/* Opens and checks a whole file: lengths, offsets (inside the file, no overlap, no holes), shapes against
 * lengths, duplicate and unknown keys, dtypes, ranks up to CLF_MAX_RANK, names up to 4096 bytes. The
 * file is read into memory. Close with clf_safetensors_close.
 * Errors: CLF_IO_ERROR; CLF_INVALID_FILE with the tensor and the number that is wrong. */
CLF_API clf_status clf_safetensors_open(const char *path, clf_safetensors **file);
CLF_API void       clf_safetensors_close(clf_safetensors *file);

/* The tensors in the order of the header; NULL where there is none. */
CLF_API size_t                       clf_safetensors_count(const clf_safetensors *file);
CLF_API const clf_safetensors_entry *clf_safetensors_at(const clf_safetensors *file, size_t index);
CLF_API const clf_safetensors_entry *clf_safetensors_find(const clf_safetensors *file, const char *name);
/* A value of __metadata__, or NULL. */
CLF_API const char                  *clf_safetensors_metadata(const clf_safetensors *file, const char *key);

/* Collects tensors and metadata in memory; nothing exists under `path` before the commit, which
 * writes a temporary file beside it, syncs and renames it. Names are unique UTF-8 of up to 4096 bytes.
 * The data is copied. An addition that fails leaves the writer as it was.
 * Errors: CLF_INVALID_*; CLF_OUT_OF_HOST_MEMORY; CLF_IO_ERROR from commit only. */
CLF_API clf_status clf_safetensors_create(const char *path, clf_safetensors_writer **writer);
CLF_API clf_status clf_safetensors_add(clf_safetensors_writer *writer, const char *name, clf_dtype dtype, int rank,
                                       const int64_t *shape, const void *data);
CLF_API clf_status clf_safetensors_add_metadata(clf_safetensors_writer *writer, const char *key, const char *value);
/* Writes the file; the writer is freed whether it works or not. */
CLF_API clf_status clf_safetensors_commit(clf_safetensors_writer *writer);
/* Frees the writer without writing; NULL is allowed. */
CLF_API void       clf_safetensors_discard(clf_safetensors_writer *writer);

CLF_END
#endif
