/* Warming up: compile, plan, run once on memory of our own, and store what was compiled. */
#include "component/instance.h"
#include "component/plan.h"
#include "core/log.h"
#include "core/status.h"
#include "device/device.h"
#include "device/program.h"
#include <string.h>

/* Zeroed memory from the pool for a tensor of the warm-up. */
static clf_status give_memory(clf_device *device, clf_tensor *tensor)
{
    const cl_uchar zero = 0;
    cl_event done = NULL;

    tensor->mem = NULL;
    tensor->offset = 0;
    const uint64_t bytes = tensor->rank > 0 ? clf_tensor_end(tensor) : 0;
    clf_status status = bytes ? clf_pool_acquire(device, bytes, &tensor->mem) : CLF_SUCCESS;
    if (status || bytes == 0)
        return status;
    cl_int code = clEnqueueFillBuffer(device->queue, tensor->mem, &zero, 1, 0, (size_t)bytes, 0, NULL, &done);
    if (code == CL_SUCCESS) {
        code = clWaitForEvents(1, &done);
        clReleaseEvent(done);
    }
    return code ? clf__fail_opencl(code, "clearing %llu bytes", (unsigned long long)bytes) : CLF_SUCCESS;
}

static void take_memory(clf_device *device, clf_tensor *tensor)
{
    if (tensor->mem)
        clf_pool_release(device, tensor->mem, NULL);
    tensor->mem = NULL;
}

static clf_status get_buffer(clf_device *device, uint64_t bytes, clf_buffer *buffer)
{
    *buffer = (clf_buffer){ .bytes = bytes };
    return bytes ? clf_pool_acquire(device, bytes, &buffer->mem) : CLF_SUCCESS;
}

/* Also after a failure, because memory is in use until the queue is done; gives the first of both failures. */
static clf_status wait(const clf_plan *plan, clf_status status)
{
    const cl_int code = clf__wait_for_queue(plan->instance->device->queue);

    if (status || code == CL_SUCCESS)
        return status;
    return clf__fail_opencl(code, "the warm-up of %s", plan->instance->component->name);
}

/* Forward and, where planned, backward on zeros. */
static clf_status warm_up(clf_plan *plan)
{
    clf_device *device = plan->instance->device;
    clf_args args = plan->given;
    clf_buffer workspace = {0}, saved = {0};
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < CLF_MAX_IO && status == CLF_SUCCESS; i++)
        if ((status = give_memory(device, &args.io[i])) == CLF_SUCCESS)
            status = give_memory(device, &args.grad[i]);
    if (status == CLF_SUCCESS && (status = get_buffer(device, plan->workspace, &workspace)) == CLF_SUCCESS)
        status = get_buffer(device, plan->saved, &saved);
    if (status == CLF_SUCCESS)
        status = clf_forward(plan, &args, workspace, saved, NULL, 0, NULL, NULL);
    if (status == CLF_SUCCESS && device->out_of_order)
        status = wait(plan, status);
    if (status == CLF_SUCCESS && (plan->options.passes & CLF_BACKWARD))
        status = clf_backward(plan, &args, workspace, saved, NULL, 0, NULL, NULL);
    status = wait(plan, status);
    for (int i = 0; i < CLF_MAX_IO; i++) {
        take_memory(device, &args.io[i]);
        take_memory(device, &args.grad[i]);
    }
    if (workspace.mem)
        clf_pool_release(device, workspace.mem, NULL);
    if (saved.mem)
        clf_pool_release(device, saved.mem, NULL);
    return status;
}

/* A problem too large to have twice is prepared without the run. */
static clf_status warm_up_if_possible(clf_plan *plan)
{
    const clf_status status = warm_up(plan);

    if (status != CLF_OUT_OF_DEVICE_MEMORY)
        return status;
    clf__log(CLF_LOG_INFO, "prepare: %s is planned and compiled, but not run: %s", plan->instance->component->name,
             clf_error_message());
    return CLF_SUCCESS;
}

clf_status clf_prepare(clf_instance *instance, const clf_args *args, const clf_plan_options *options)
{
    clf_plan_options wanted = { .size = sizeof wanted, .passes = CLF_FORWARD };
    clf_args known;
    clf_plan *plan = NULL;
    clf_status status;

    if (!instance || !args)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !instance ? "instance" : "args");
    if ((status = clf__copy_sized(&known, sizeof known, args, args->size, "args")) ||
        (options && (status = clf__copy_sized(&wanted, sizeof wanted, options, options->size, "options"))))
        return status;
    if (wanted.passes == 0)
        wanted.passes = CLF_FORWARD;
    if (wanted.passes == CLF_FORWARD)
        memset(known.grad, 0, sizeof known.grad);
    clf__mutex_lock(&instance->apply);
    status = clf__cached_plan(instance, &known, &wanted, &plan);
    if (status == CLF_SUCCESS)
        status = warm_up_if_possible(plan);
    if (status == CLF_SUCCESS)
        clf__program_store(instance->device);
    clf__mutex_unlock(&instance->apply);
    return status;
}
