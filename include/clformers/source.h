/* A kernel source that is compiled into the library or into a plugin. */
#ifndef CLFORMERS_SOURCE_H
#define CLFORMERS_SOURCE_H

#include <clformers/base.h>
#include <stddef.h>

CLF_BEGIN

typedef struct clf_source {
    const char *path; /* as includes name it, e.g. "prelude/types.cl"; NULL ends a list */
    const char *text;
} clf_source;

CLF_END
#endif
