/* What the fuzz targets share. A target is a file with LLVMFuzzerTestOneInput: clang's libFuzzer drives it (preset
 * `fuzz`), or replay.c, which any compiler takes and which runs every committed input once. */
#ifndef CLF_TESTS_FUZZ_H
#define CLF_TESTS_FUZZ_H

#include <clformers/status.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that an input broke: to the fuzzer a crash, which it keeps with the input. */
#define EXPECT(condition_)                                                                                             \
    do {                                                                                                               \
        if (!(condition_)) {                                                                                           \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition_,                  \
                    clf_error_message());                                                                              \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The input as a C string, in memory of exactly that size. */
char *fuzz_text(const uint8_t *data, size_t size);

/* A new empty directory in memory (or in /tmp), removed with its files when the process ends. */
const char *fuzz_directory(void);
/* A file of that directory; the text is valid until the next call. */
const char *fuzz_path(const char *name);
void        fuzz_write(const char *path, const void *data, size_t size);

#endif
