/* f32 copies of tensors of the call, and f32 results in its storage type, with dropout of a result's elements on the
 * way: for parts whose arithmetic takes several kernels. cl/ops/single.cl is the other half.
 */
#ifndef CLF_OPS_SINGLE_H
#define CLF_OPS_SINGLE_H

#include <clformers/author.h>

typedef struct clf__single {
    int       lanes;
    cl_kernel widen, narrow;
} clf__single;

/* By `lanes` (ops/lanes.h) for tensors of `storage`. */
clf_status clf__single_plan(clf_plan *plan, int lanes, clf_dtype storage, clf__single *single);

/* to = from as f32; rows that are 0 in `keep` ([batch, rows] bytes, rank 0 = absent) become 0. `dropout` 0 = none. */
clf_status clf__single_widen(clf_run *run, const clf__single *single, const clf_tensor *from, const clf_tensor *keep,
                             const clf_tensor *to, float dropout);
/* to = from in its storage type. */
clf_status clf__single_narrow(clf_run *run, const clf__single *single, const clf_tensor *from, const clf_tensor *to,
                              float dropout);

/* For kernels that include cl/prelude/single.cl. */

/* mem, then long4 as clf__lanes_bind does; a null pointer where the tensor is absent. */
void clf__single_bind(clf_binder *binder, const clf_tensor *tensor);
/* int4: heads, rows, channels of a tensor, and one more number. */
void clf__single_bind_shape(clf_binder *binder, const clf_tensor *tensor, int64_t last);
/* float scale, uint8 random. */
void clf__single_bind_dropout(clf_binder *binder, const clf_args *args, float dropout);
/* A work-item for each block of channels of a tensor. */
clf_status clf__single_launch(clf_run *run, clf_binder *binder, int lanes, const clf_tensor *tensor);

#endif
