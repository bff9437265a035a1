/* Failing calls of the C library: the linker (--wrap) leads calls of our own objects, and only those, through here. */
#ifndef CLF_TESTS_LAYER_INTERPOSE_H
#define CLF_TESTS_LAYER_INTERPOSE_H

#include <stdbool.h>

typedef enum host_call {
    HOST_ALLOCATE, /* malloc, calloc, realloc, and those of cJSON */
    HOST_OPEN,
    HOST_READ,
    HOST_WRITE,
    HOST_SHORT_WRITE, /* writes less than asked for, then goes on: no failure */
    HOST_FSYNC,
    HOST_CLOSE,
    HOST_RENAME,
    HOST_MKDIR,
    HOST_FSTAT,
    HOST_REALPATH,
    HOST_CALLS
} host_call;

/* Call number n (from 1, counted from now) fails with this errno, and with `always` every one after it. */
void host_fail(host_call call, int n, int error, bool always);
void host_calm(void);

/* Calls that were made to fail since host_fail. */
int host_failed(void);

/* Allocations that were not freed. */
int host_allocations(void);

const char *host_name(host_call call);

/* Leads cJSON's allocations through here too. */
void host_catch_cjson(void);

#endif
