/* Checking calls against io tables and configs against traits, for src/component and src/registry. */
#ifndef CLF_COMPONENT_CHECK_H
#define CLF_COMPONENT_CHECK_H

#include <clformers/component.h>

/* Extents by axis letter; -1 = no tensor has it. */
typedef struct clf__extents {
    int64_t     of[128];
    const char *owner[128]; /* the tensor that decided */
} clf__extents;

/* Copies a public struct that starts with its size: shorter ones of older callers are zero-extended.
 * Errors: CLF_INVALID_VALUE for a size of 0 or beyond what this library knows. */
clf_status clf__copy_sized(void *to, size_t size, const void *from, size_t from_size, const char *name);

/* The resolve hook, then what config and traits say about causal and dropout, under every semantics unless the
 * part has CLF_TRAIT_XFORMERS_LENIENT. */
clf_status clf__resolve(const clf_component *component, void *config, const clf_args *args);
int        clf__semantics(const clf_component *component, const void *config);

/* The rows of the io table, and how many there are. */
const clf_io *clf__io(const clf_component *component, int *count);

/* All that can be said about descriptions before a part sees them: presence, rank, axes, dtypes, strides, traits. */
clf_status clf__check_args(const clf_component *component, const void *config, const clf_args *args, int passes,
                           clf__extents *extents);
/* Traits against what is asked for; part of clf__check_args. */
clf_status clf__check_traits(const clf_component *component, const clf_args *args, const clf__extents *extents);

/* The letter of dimension i of a tensor with `rank` dimensions; 0 = the items of a tiled mask. */
char clf__axis(const clf_io *io, int semantics, int rank, int i);

/* Brings tensors with CLF_IO_BROADCAST to full rank and full extents, with stride 0 where they repeat. Only a
 * tiled mask stays at rank 3. */
void clf__expand(const clf_component *component, int semantics, const clf__extents *extents, clf_args *args);

#endif
