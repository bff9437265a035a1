/* Plans and runs from the inside.
 *
 * A part needs only <clformers/author.h>; this is what it may rely on there:
 *   - in `plan`, clf_plan_args is checked against the io table and the traits: present tensors, ranks, axes,
 *     dtypes, one storage type, last stride 1 for floating tensors, outputs whose elements have their own memory,
 *     gradients like their tensors. Memory objects are NULL and offsets 0: both may change from run to run.
 *   - tensors with CLF_IO_BROADCAST arrive expanded, in `plan` and in runs: full rank, full extents, stride 0
 *     along what repeats. The one exception is a tiled mask (rank 3 under xformers semantics) that strides
 *     cannot express: it stays [M, Q, K] and serves item b*H + h with matrix (b*H + h) % M.
 *   - extents may be 0. Forward is not called when all outputs are empty, backward not when there is no gradient
 *     to write. Launching an empty grid is allowed and enqueues nothing. Empty tensors may have no memory.
 *   - every kernel of a run is ordered after the one launched before it, on any kind of queue.
 *   - gradients of parameters are allocated: in `backward`, clf_instance_gradient does not allocate.
 *   - a kernel belongs to one plan, and a plan to one thread, so arguments bound in `plan` stay bound.
 *   - a constant of a plan lives until the plan is released and everything enqueued before that is done.
 */
#ifndef CLF_COMPONENT_PLAN_H
#define CLF_COMPONENT_PLAN_H

#include "component/check.h"
#include "core/text.h"
#include <clformers/author.h>

/* Events of every launch, for the benchmark: the queue must have been made for profiling. */
typedef struct clf__profile {
    cl_event *events;
    size_t    count, capacity;
} clf__profile;

/* From now on the plan's launches leave their events in `profile`; NULL ends that. */
void       clf__plan_profile(clf_plan *plan, clf__profile *profile);
/* Waits for the events, sums the seconds between their starts and ends, and releases them. */
clf_status clf__profile_take(clf__profile *profile, double *seconds);
void       clf__profile_free(clf__profile *profile);

struct clf_plan {
    clf_instance    *instance;
    bool             holds_instance; /* false for plans that the instance itself caches */
    clf_plan_options options;
    char            *wanted_family;  /* options.family, owned */
    clf_args         given;          /* descriptions as the caller gave them */
    clf_args         args;           /* the same, expanded */
    clf__extents     extents;
    int              semantics;
    bool             only_asked;     /* nothing is compiled or allocated, and the plan never runs */
    void            *config;         /* resolved for this problem */
    const char      *family;
    clf__text        reasons;
    uint64_t         workspace, saved;
    void            *state;
    cl_kernel       *kernels;
    size_t           kernel_count, kernel_capacity;
    cl_mem          *constants;
    size_t           constant_count, constant_capacity;
    clf__profile    *profile;
};

/* Puts a fence on the run's queue: everything enqueued before is over (and what the caller waits for has happened)
 * before anything behind it starts. Before and after commands that another library enqueues on that queue. */
clf_status clf__run_fence(clf_run *run);

/* One call of clf_forward or clf_backward; lives on the stack. */
struct clf_run {
    clf_plan        *plan;
    const clf_args  *args;           /* expanded */
    clf_buffer       workspace, saved;
    cl_command_queue queue;
    bool             chained;        /* out-of-order queue: every launch waits for the one before */
    bool             wants_event;
    cl_uint          n_wait;         /* for the first launch */
    const cl_event  *wait;
    cl_event         last;           /* of the last launch, owned; NULL when nobody needs it */
    size_t           launches;
};

/* Descriptions without memory and without leftovers behind the rank. */
clf_args   clf__describe(const clf_args *args);
bool       clf__same_layout(const clf_tensor *a, const clf_tensor *b);

/* clf_plan_refuse for a name that is none of `names`, up to NULL; `what` is what they name. */
clf_status clf__plan_refuse_name(clf_plan *plan, const char *what, const char *asked, const char *const *names);

/* clf_plan_kernel for what the library itself runs: `program` is built in, also where the part is a plugin's. */
clf_status clf__plan_kernel(clf_plan *plan, const char *program, const char *options, const char *name,
                            cl_kernel *kernel);

/* What each family of the part says to these arguments, a line each, without compiling anything: "vector: yes" or
 * "vector: " and the reason. CLF_UNSUPPORTED when none can but one called reference. */
clf_status clf__plan_ask(clf_instance *instance, const clf_args *args, int passes, clf__text *answers);

/* A plan that holds no reference to the instance. `args` are complete; options are normalised. */
clf_status clf__plan_make(clf_instance *instance, const clf_args *args, const clf_plan_options *options,
                          clf_plan **plan);
/* The same from the instance's cache, last used first; the caller holds instance->apply. */
clf_status clf__cached_plan(clf_instance *instance, const clf_args *args, const clf_plan_options *options,
                            clf_plan **plan);
/* Everything that can be wrong with a call, before anything is enqueued. */
clf_status clf__check_run(const clf_plan *plan, const clf_args *args, int pass, clf_buffer workspace,
                          clf_buffer saved);

#endif
