/* What the callbacks of a part may call. Users of parts do not need this header.
 *
 * In `plan` a part reads its problem, refuses or chooses a family, asks for memory and creates its
 * kernels; in `forward` and `backward` it binds arguments and launches.
 */
#ifndef CLFORMERS_AUTHOR_H
#define CLFORMERS_AUTHOR_H

#include <clformers/plan.h>

CLF_BEGIN

/* ---- in `plan` ------------------------------------------------------------------------------- */

CLF_API clf_device     *clf_plan_device(const clf_plan *plan);
CLF_API const void     *clf_plan_config(const clf_plan *plan);  /* resolved for this problem */
/* Descriptions, already checked against io table and traits. Here and in runs, tensors with CLF_IO_BROADCAST come
 * with all their axes at full extent, stride 0 where they repeat; only a tiled mask (CLF_IO_BROADCAST) may stay at
 * rank 3. Extents may be 0. */
CLF_API const clf_args *clf_plan_args(const clf_plan *plan);
CLF_API int             clf_plan_passes(const clf_plan *plan);
CLF_API clf_instance   *clf_plan_instance(const clf_plan *plan);
/* The options given by the caller, never NULL. */
CLF_API const clf_plan_options *clf_plan_get_options(const clf_plan *plan);

/* Names the family that will run. The string must outlive the plan. */
CLF_API void clf_plan_set_family(clf_plan *plan, const char *family);
/* Adds "family: reason" to the reasons of the plan. */
CLF_API void clf_plan_add_reason(clf_plan *plan, const char *family, const char *reason);
/* Sets the error message and returns CLF_UNSUPPORTED. */
CLF_API clf_status clf_plan_refuse(clf_plan *plan, const char *format, ...) CLF_PRINTF(2, 3);

/* Reserves bytes in the workspace / in what forward saves; gives the offset of the piece (256-byte
 * aligned) relative to the buffer that run gets. */
CLF_API uint64_t clf_plan_workspace(clf_plan *plan, uint64_t bytes);
CLF_API uint64_t clf_plan_saved(clf_plan *plan, uint64_t bytes);

/* Zeroed memory that lives as long as the plan; the first call decides the size, later ones return
 * the same. NULL when memory is short (the error is set). */
CLF_API void *clf_plan_state(clf_plan *plan, size_t bytes);

/* A kernel from `program` (a source path such as "attention/nystrom.cl"), compiled with `options`
 * ("-DX=1 ...") or taken from the caches. The plan owns it. */
CLF_API clf_status clf_plan_kernel(clf_plan *plan, const char *program, const char *options, const char *name,
                                   cl_kernel *kernel);
/* A table for the kernels to read: `bytes` bytes of `data`, which is copied, in a buffer that the plan owns. For what
 * depends on the problem alone (roots of unity, lists of indices). */
CLF_API clf_status clf_plan_constant(clf_plan *plan, const void *data, size_t bytes, cl_mem *mem);

/* ---- in `forward` and `backward` ---------------------------------------------------------- */

CLF_API clf_plan       *clf_run_plan(const clf_run *run);
CLF_API const clf_args *clf_run_args(const clf_run *run);
CLF_API clf_buffer      clf_run_workspace(const clf_run *run);
CLF_API clf_buffer      clf_run_saved(const clf_run *run);

/* Binds kernel arguments one after another; remembers the first failure, which clf_launch returns. */
typedef struct clf_binder {
    cl_kernel kernel;
    cl_uint   next;
    cl_int    status;
} clf_binder;
CLF_API clf_binder clf_bind(cl_kernel kernel);
CLF_API void       clf_bind_mem(clf_binder *binder, cl_mem mem); /* NULL = a null pointer */
CLF_API void       clf_bind_value(clf_binder *binder, const void *value, size_t bytes);
CLF_API void       clf_bind_local(clf_binder *binder, size_t bytes);

/* Enqueues a bound kernel after everything this run enqueued before. `local` may be NULL; a global size of 0 is
 * nothing to do. */
CLF_API clf_status clf_launch(clf_run *run, const clf_binder *binder, cl_uint dimensions, const size_t *global,
                              const size_t *local);

/* ---- for `reference` -------------------------------------------------------------------------- */

/* One call of a reference: contiguous row-major double arrays in the shapes of `args`; masks
 * as their values (0/1 or additive, see the dtype in args), already broadcast to all their axes. It runs twice: in double (`storage` =
 * CLF_F64), and as the baseline, with f32 sums and results rounded to the storage type, which tells how
 * much error is fair. Use clf_reference_add and clf_reference_store and both follow. */
typedef struct clf_reference {
    size_t          size;
    const void     *config;                        /* resolved */
    const clf_args *args;
    int             pass;                          /* CLF_FORWARD, or CLF_FORWARD | CLF_BACKWARD */
    clf_dtype       storage;
    double         *io[CLF_MAX_IO];                /* inputs to read, outputs to fill; NULL = absent */
    double         *grad[CLF_MAX_IO];              /* of outputs to read, of inputs to fill; NULL = not wanted */
    double         *parameter[CLF_MAX_PARAMETERS];
    double         *parameter_grad[CLF_MAX_PARAMETERS];
    double         *buffer[CLF_MAX_PARAMETERS];
    uint64_t       *noise;                         /* baseline: state of a random rounding; NULL = to the nearest */
    double        **frozen;                        /* for what gradients do not go through, such as a choice of rows: where
                                                      not NULL, the reference leaves it (malloc) in *frozen if that is NULL,
                                                      and takes it from there if not, whatever the inputs are now */
} clf_reference;

/* sum + a * b, rounded to f32 in the baseline. */
CLF_API double clf_reference_add(const clf_reference *reference, double sum, double a, double b);
/* x rounded to the storage type in the baseline. */
CLF_API double clf_reference_store(const clf_reference *reference, double x);
/* Is the attention weight (item = b*H + h, query, key) kept by dropout with probability `dropout`? */
CLF_API bool clf_reference_keep(const clf_reference *reference, float dropout, int64_t item, int64_t query, int64_t key);

CLF_END
#endif
