/* Kernels whose lanes are neighbouring channels: one source in two styles, sixteen channels a work-item for CPUs
 * (CLF_LANES 16) and one channel a work-item for everything else (CLF_LANES 1). cl/prelude/lanes.cl is the other half.
 */
#ifndef CLF_OPS_LANES_H
#define CLF_OPS_LANES_H

#include <clformers/author.h>

/* "vector" (16 lanes) and "portable" (1), for clf_descriptor.families. */
extern const char *const clf__lanes_families[];

/* The lanes of the family that the caller asked for, else of the one that suits the device; names it. */
int clf__lanes_choose(clf_plan *plan);

/* "-DCLF_LANES=.. -DCLF_STORAGE=.. " and then `more`. */
enum { CLF__LANES_OPTIONS = 256 };
void clf__lanes_options(int lanes, clf_dtype storage, const char *more, char *options, size_t size);

/* How many blocks of lanes hold so many channels. */
int64_t clf__lanes_blocks(int lanes, int64_t channels);

/* mem, then long4: first element and the strides of the first three of four axes. */
void clf__lanes_bind(clf_binder *binder, const clf_tensor *tensor);

/* A work-item for each of `items`. The kernel compares get_global_id(0) with the count, a ulong that is bound here
 * as the last argument. */
clf_status clf__lanes_launch(clf_run *run, clf_binder *binder, int lanes, int64_t items);

#endif
