/* Plans: one instance on one problem, checked and compiled ahead; running a plan only enqueues.
 *
 * A plan belongs to one thread at a time. The convenience calls at the end plan, keep the plan in
 * the instance and take workspace from the device's pool; they may be called from several threads,
 * which then take turns.
 */
#ifndef CLFORMERS_PLAN_H
#define CLFORMERS_PLAN_H

#include <clformers/instance.h>

CLF_BEGIN

typedef struct clf_plan_options {
    size_t      size;            /* sizeof(clf_plan_options) */
    int         passes;          /* CLF_FORWARD (also 0), or CLF_FORWARD | CLF_BACKWARD */
    const char *family;          /* only this kernel family; NULL = the best that can do it */
    bool        allow_reference; /* the naive family may run when no other can */
} clf_plan_options;

/* Checks `args` (descriptions only) against the component's io table, chooses the kernel family and
 * compiles. `options` may be NULL: forward only. The plan keeps its instance alive. Release with
 * clf_plan_release.
 * Errors: CLF_MISSING_TENSOR, CLF_INVALID_*, CLF_UNSUPPORTED with every family's reason, CLF_BUILD_FAILED. */
CLF_API clf_status clf_plan_create(clf_instance *instance, const clf_args *args, const clf_plan_options *options,
                                   clf_plan **plan);
CLF_API void       clf_plan_release(clf_plan *plan); /* NULL is allowed */

typedef struct clf_plan_info {
    size_t      size;            /* sizeof(clf_plan_info), set by the library */
    const char *family;          /* the kernel family that runs */
    const char *reasons;         /* why earlier families were passed over; "" when none was */
    uint64_t    workspace_bytes; /* scratch of one call */
    uint64_t    saved_bytes;     /* what forward leaves for backward */
} clf_plan_info;
CLF_API clf_plan_info clf_plan_get_info(const clf_plan *plan); /* strings live as long as the plan */

/* A piece of device memory. */
typedef struct clf_buffer {
    cl_mem   mem;
    uint64_t offset; /* bytes, a multiple of 256 */
    uint64_t bytes;
} clf_buffer;

/* Enqueues one pass. The tensors must have the descriptions the plan was made for; offsets and
 * memory objects may differ from call to call. `workspace` and `saved` hold at least the bytes that
 * clf_plan_get_info tells (they may be {0} when that is 0); forward of a plan with CLF_BACKWARD fills
 * `saved`, backward reads it, the outputs and the output gradients. `queue` NULL means the device's
 * own. Waits for `wait` (n_wait events) and, when `event` is not NULL, gives an event that the
 * caller releases. Tensors without elements need no memory; a pass without anything to write enqueues nothing
 * but a marker for `event`.
 * Errors: CLF_INVALID_*, CLF_BUFFER_TOO_SMALL, CLF_BUFFER_OVERLAP before anything is enqueued; OpenCL's own. */
CLF_API clf_status clf_forward(clf_plan *plan, const clf_args *args, clf_buffer workspace, clf_buffer saved,
                               cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event);
CLF_API clf_status clf_backward(clf_plan *plan, const clf_args *args, clf_buffer workspace, clf_buffer saved,
                                cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event);

/* Compiles, plans and warms up for `args` (descriptions only), so that the first call is as fast as later
 * ones: runs once on zeroed memory from the pool, waits, and stores the compiled kernels in the cache on disk. With CLF_BACKWARD the gradients of parameters are
 * overwritten. */
CLF_API clf_status clf_prepare(clf_instance *instance, const clf_args *args, const clf_plan_options *options);

/* Forward without and with what backward needs; plan, workspace and saved buffer are the
 * instance's. clf_apply_training wants the descriptions of the gradients too (grad[], memory not needed yet);
 * clf_apply_backward belongs to the last clf_apply_training of the instance and takes the same descriptions.
 * clf_apply ignores grad[]. On the device's queue; they do not wait for completion. */
CLF_API clf_status clf_apply(clf_instance *instance, const clf_args *args);
CLF_API clf_status clf_apply_training(clf_instance *instance, const clf_args *args);
CLF_API clf_status clf_apply_backward(clf_instance *instance, const clf_args *args);

CLF_END
#endif
