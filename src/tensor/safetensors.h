/* What reader and writer of .safetensors files agree on. */
#ifndef CLF_TENSOR_SAFETENSORS_H
#define CLF_TENSOR_SAFETENSORS_H

#include <clformers/safetensors.h>

#include <cjson/cJSON.h>

#define CLF__METADATA_KEY "__metadata__"

enum {
    CLF__MAX_HEADER = 100000000, /* bytes; the limit of the reference implementation */
    CLF__MAX_KEY    = 4096       /* bytes of a tensor's name or of a metadata key */
};

/* JSON numbers are doubles to many readers: whole numbers from here on lose digits. */
#define CLF__MAX_WHOLE (INT64_C(1) << 53)

/* Is it well-formed UTF-8? */
bool clf__is_utf8(const char *text, size_t length);

/* A tensor of a file that is being read. */
typedef struct clf__safetensor {
    clf_safetensors_entry entry;
    uint64_t              begin, end; /* in the data behind the header */
    void                 *copy;       /* of data that is not aligned in the file */
} clf__safetensor;

/* The header's text as a JSON object: UTF-8, nothing behind it but white space, no NUL hidden in it.
 * Release with cJSON_Delete. */
clf_status clf__safetensors_parse(const char *text, size_t length, cJSON **header);

/* The members of an object sorted by key; *members is an array of *count that free releases.
 * Refuses a key that comes twice or is absurdly long. */
clf_status clf__safetensors_members(const cJSON *object, const cJSON ***members, size_t *count);

/* Everything of one tensor but its data, checked against its own numbers and the size of the data. */
clf_status clf__safetensors_item(const cJSON *tensor, uint64_t data_size, clf__safetensor *item);

/* Names in messages: whatever their length, the rest must stay readable. */
#define CLF__NAME "'%.200s'"

#endif
