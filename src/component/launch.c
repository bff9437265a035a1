/* Binding arguments and launching kernels in order; events for profiling. */
#include "component/plan.h"
#include "core/log.h"
#include "core/status.h"
#include <stdio.h>
#include <stdlib.h>

clf_binder clf_bind(cl_kernel kernel)
{
    return (clf_binder){ .kernel = kernel };
}

/* After a failure `next` stays at the argument that failed. */
static void bind(clf_binder *binder, size_t bytes, const void *value)
{
    if (binder->status)
        return;
    binder->status = clSetKernelArg(binder->kernel, binder->next, bytes, value);
    if (binder->status == CL_SUCCESS)
        binder->next++;
}

void clf_bind_mem(clf_binder *binder, cl_mem mem)
{
    bind(binder, sizeof mem, &mem);
}

void clf_bind_value(clf_binder *binder, const void *value, size_t bytes)
{
    bind(binder, bytes, value);
}

void clf_bind_local(clf_binder *binder, size_t bytes)
{
    bind(binder, bytes, NULL);
}

/* "name {global} / {local}" for messages. */
static const char *describe(const clf_binder *binder, cl_uint dimensions, const size_t *global, const size_t *local,
                            char *text, size_t size)
{
    char name[96] = "?";
    size_t used;

    if (clGetKernelInfo(binder->kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL))
        snprintf(name, sizeof name, "?");
    used = (size_t)snprintf(text, size, "kernel '%s', global size", name);
    for (cl_uint d = 0; d < dimensions && d < 3 && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, " %zu", global[d]);
    for (cl_uint d = 0; local && d < dimensions && d < 3 && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, d ? " %zu" : ", local size %zu", local[d]);
    return text;
}

static clf_status keep_event(clf__profile *profile, cl_event event)
{
    if (profile->count == profile->capacity) {
        const size_t capacity = profile->capacity ? 2 * profile->capacity : 16;
        cl_event *events = realloc(profile->events, capacity * sizeof *events);
        if (!events)
            return clf__no_memory(capacity * sizeof *events);
        profile->events = events;
        profile->capacity = capacity;
    }
    const cl_int code = clRetainEvent(event);
    if (code)
        return clf__fail_opencl(code, "keeping an event for the profile");
    profile->events[profile->count++] = event;
    return CLF_SUCCESS;
}

clf_status clf_launch(clf_run *run, const clf_binder *binder, cl_uint dimensions, const size_t *global,
                      const size_t *local)
{
    clf__profile *profile = run->plan->profile;
    const bool needs_event = run->wants_event || run->chained || profile;
    const bool first = run->launches == 0, after_last = !first && run->chained;
    cl_event event = NULL;
    char text[320];

    if (binder->status)
        return clf__fail_opencl(binder->status, "argument %u of %s", binder->next,
                                describe(binder, dimensions, global, local, text, sizeof text));
    for (cl_uint d = 0; d < dimensions; d++)
        if (global[d] == 0)
            return CLF_SUCCESS; /* an empty grid, which OpenCL 1.2 refuses */

    const cl_int code = clEnqueueNDRangeKernel(run->queue, binder->kernel, dimensions, NULL, global, local,
                                               first ? run->n_wait : after_last ? 1 : 0,
                                               first ? run->wait : after_last ? &run->last : NULL,
                                               needs_event ? &event : NULL);
    if (code)
        return clf__fail_opencl(code, "%s", describe(binder, dimensions, global, local, text, sizeof text));
    if (clf__log_wanted(CLF_LOG_DEBUG))
        clf__log(CLF_LOG_DEBUG, "launch: %s", describe(binder, dimensions, global, local, text, sizeof text));
    run->launches++;
    if (run->last)
        clReleaseEvent(run->last);
    run->last = event;
    return profile ? keep_event(profile, event) : CLF_SUCCESS;
}

clf_status clf__run_fence(clf_run *run)
{
    const bool waits = run->launches == 0 && run->n_wait > 0;
    cl_event event = NULL;
    const cl_int code = clEnqueueBarrierWithWaitList(run->queue, waits ? run->n_wait : 0, waits ? run->wait : NULL,
                                                     run->wants_event || run->chained ? &event : NULL);

    if (code)
        return clf__fail_opencl(code, "a barrier around another library's commands");
    run->launches++;
    if (run->last)
        clReleaseEvent(run->last);
    run->last = event;
    return CLF_SUCCESS;
}

void clf__plan_profile(clf_plan *plan, clf__profile *profile)
{
    plan->profile = profile;
}

clf_status clf__profile_take(clf__profile *profile, double *seconds)
{
    cl_int code = CL_SUCCESS;

    *seconds = 0;
    if (profile->count > 0)
        code = clWaitForEvents((cl_uint)profile->count, profile->events);
    for (size_t i = 0; i < profile->count; i++) {
        cl_ulong start = 0, end = 0;
        if (code == CL_SUCCESS)
            code = clGetEventProfilingInfo(profile->events[i], CL_PROFILING_COMMAND_START, sizeof start, &start, NULL);
        if (code == CL_SUCCESS)
            code = clGetEventProfilingInfo(profile->events[i], CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
        if (end > start)
            *seconds += (double)(end - start) * 1e-9;
        clReleaseEvent(profile->events[i]);
    }
    profile->count = 0;
    return code ? clf__fail_opencl(code, "profiling events") : CLF_SUCCESS;
}

void clf__profile_free(clf__profile *profile)
{
    for (size_t i = 0; i < profile->count; i++)
        clReleaseEvent(profile->events[i]);
    free(profile->events);
    *profile = (clf__profile){0};
}
