/* Any bytes as a .safetensors file: refused with a message, or every tensor is readable, is found by its name, and
 * comes out the same after writing and reading again. */
#include "fuzz.h"

#include <clformers/safetensors.h>
#include <string.h>

static clf_safetensors *reopen(const clf_safetensors *file)
{
    const char             *path = fuzz_path("written");
    clf_safetensors_writer *writer = NULL;
    clf_safetensors        *again = NULL;

    EXPECT(clf_safetensors_create(path, &writer) == CLF_SUCCESS);
    for (size_t i = 0; i < clf_safetensors_count(file); i++) {
        const clf_safetensors_entry *e = clf_safetensors_at(file, i);
        EXPECT(clf_safetensors_add(writer, e->name, e->dtype, e->rank, e->shape, e->data) == CLF_SUCCESS);
    }
    EXPECT(clf_safetensors_commit(writer) == CLF_SUCCESS);
    EXPECT(clf_safetensors_open(path, &again) == CLF_SUCCESS);
    return again;
}

static void check_file(clf_safetensors *file)
{
    clf_safetensors *again = reopen(file);

    EXPECT(clf_safetensors_count(again) == clf_safetensors_count(file));
    EXPECT(!clf_safetensors_at(file, clf_safetensors_count(file)));
    for (size_t i = 0; i < clf_safetensors_count(file); i++) {
        const clf_safetensors_entry *e = clf_safetensors_at(file, i), *o = clf_safetensors_find(again, e->name);
        EXPECT(clf_safetensors_find(file, e->name) == e && o);
        EXPECT((uintptr_t)e->data % clf_dtype_size(e->dtype) == 0);
        EXPECT(o->dtype == e->dtype && o->rank == e->rank && o->bytes == e->bytes);
        EXPECT(memcmp(o->shape, e->shape, sizeof e->shape) == 0);
        EXPECT(memcmp(o->data, e->data, e->bytes) == 0);
    }
    (void)clf_safetensors_metadata(file, "key");
    clf_safetensors_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char      *path = fuzz_path("read");
    clf_safetensors *file = NULL;

    fuzz_write(path, data, size);
    if (clf_safetensors_open(path, &file) == CLF_SUCCESS)
        check_file(file);
    else
        EXPECT(!file && clf_error_message()[0]);
    clf_safetensors_close(file);
    return 0;
}
