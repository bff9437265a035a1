/* clf run: plan, enqueue, wait; and the end of a job. */
#include "job.h"

#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef clf_status (*pass_function)(clf_plan *plan, const clf_args *args, clf_buffer workspace, clf_buffer saved,
                                    cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event);

/* Runs one pass to its end. */
static int run_pass(clf__job *job, pass_function pass, const clf_plan_info *info, double *seconds)
{
    clf_buffer workspace = { .mem = job->workspace, .bytes = info->workspace_bytes };
    clf_buffer saved = { .mem = job->saved, .bytes = info->saved_bytes };
    cl_event   event = NULL;
    double     start = now();
    if (pass(job->plan, &job->args, workspace, saved, NULL, 0, NULL, &event) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    cl_int code = clWaitForEvents(1, &event);
    clReleaseEvent(event);
    *seconds = now() - start;
    if (code != CL_SUCCESS) {
        return clf__tool_fail("the device failed while it computed: %s", clf_status_name((clf_status)code));
    }
    return CLF__TOOL_OK;
}

int clf__job_compute(clf__job *job)
{
    const clf__job_options *options = job->options;
    clf_plan_options how = { .size = sizeof how, .passes = job->passes, .family = options->family,
                             .allow_reference = options->allow_reference };
    clf__tool_progress("compiling %s", job->component->name);
    if (clf_plan_create(job->instance, &job->args, &how, &job->plan) != CLF_SUCCESS) {
        return clf__tool_fail_status();
    }
    clf_plan_info info = clf_plan_get_info(job->plan);
    if ((info.workspace_bytes && clf_pool_acquire(job->device, info.workspace_bytes, &job->workspace) != CLF_SUCCESS) ||
        (info.saved_bytes && clf_pool_acquire(job->device, info.saved_bytes, &job->saved) != CLF_SUCCESS)) {
        return clf__tool_fail_status();
    }
    clf__tool_progress("running %s forward", job->component->name);
    if (run_pass(job, clf_forward, &info, &job->seconds[0]) != CLF__TOOL_OK) {
        return CLF__TOOL_FAILED;
    }
    if (!(job->passes & CLF_BACKWARD)) {
        return CLF__TOOL_OK;
    }
    clf__tool_progress("running %s backward", job->component->name);
    return run_pass(job, clf_backward, &info, &job->seconds[1]);
}

/* After a failure some are descriptions still. */
static void free_tensor(clf_device *device, clf_tensor *tensor)
{
    if (tensor->mem) {
        clf_tensor_free(device, tensor);
    }
}

void clf__job_free(clf__job *job)
{
    if (job->device) {
        for (int i = 0; i < CLF_MAX_IO; i++) {
            free_tensor(job->device, &job->args.io[i]);
            free_tensor(job->device, &job->args.grad[i]);
        }
        if (job->workspace) {
            clf_pool_release(job->device, job->workspace, NULL);
        }
        if (job->saved) {
            clf_pool_release(job->device, job->saved, NULL);
        }
    }
    clf_plan_release(job->plan);
    clf_instance_release(job->instance);
    clf_device_release(job->device);
    if (job->component) {
        clf_config_free(&job->component->descriptor->config, job->config);
    }
    cJSON_Delete(job->json);
    cJSON_Delete(job->aliases);
    clf_safetensors_close(job->file);
}
