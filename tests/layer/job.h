/* One whole use of the library on a tiny problem, cut into stages that can be tried again after a failure. */
#ifndef CLF_TESTS_LAYER_JOB_H
#define CLF_TESTS_LAYER_JOB_H

#include <clformers/clformers.h>

enum { JOB_HEADS = 2, JOB_LENGTH = 9, JOB_WIDTH = 8, JOB_ELEMENTS = JOB_HEADS * JOB_LENGTH * JOB_WIDTH };

/* What comes out: by plan, by the convenience calls, and of the part with a parameter. */
typedef struct job_results {
    float out[JOB_ELEMENTS], lse[JOB_HEADS * JOB_LENGTH], grads[3][JOB_ELEMENTS];
    float applied[JOB_ELEMENTS], applied_grad[JOB_ELEMENTS];
    float sums[JOB_ELEMENTS], gain_grad;
    float probe;
} job_results;

typedef struct job {
    cl_context       context; /* of the caller, for clf_device_wrap; NULL = clf_device_open */
    cl_device_id     id;
    cl_command_queue queue;

    clf_device   *device;
    clf_instance *attention, *toy;
    clf_plan     *plan;
    clf_args      args, toy_args;
    clf_buffer    workspace, saved;
    job_results   results;
} job;

typedef struct job_stage {
    const char *name;
    clf_status (*run)(job *j); /* a stage that fails leaves the job as it was */
} job_stage;

/* The stages in their order, ended by a NULL name. */
extern const job_stage job_stages[];

/* Gives everything back, whatever was reached. */
void job_close(job *j);

/* Are the results of two jobs the same up to rounding? A device whose probes failed may go without fma. */
bool job_agree(const job_results *a, const job_results *b);

#endif
