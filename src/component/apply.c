/* Convenience calls: plans kept in the instance, memory from the pool, one thread at a time. */
#include "component/instance.h"
#include "component/plan.h"
#include "core/status.h"
#include "device/device.h"
#include <string.h>

static bool fits(const clf_plan *plan, const clf_args *args, const clf_plan_options *options)
{
    const char *family = options->family ? options->family : "", *own = plan->wanted_family ? plan->wanted_family : "";

    if (plan->options.passes != options->passes || plan->given.training != args->training ||
        plan->options.allow_reference != options->allow_reference || strcmp(family, own) != 0)
        return false;
    for (int i = 0; i < CLF_MAX_IO; i++)
        if (!clf__same_layout(&plan->given.io[i], &args->io[i]) ||
            ((options->passes & CLF_BACKWARD) && !clf__same_layout(&plan->given.grad[i], &args->grad[i])))
            return false;
    return true;
}

static void move_to_front(clf_instance *instance, int from)
{
    clf_plan *plan = instance->plans[from];
    memmove(&instance->plans[1], &instance->plans[0], (size_t)from * sizeof plan);
    instance->plans[0] = plan;
}

/* The one that waits for its backward is not evicted. */
clf_status clf__cached_plan(clf_instance *instance, const clf_args *args, const clf_plan_options *options,
                            clf_plan **plan)
{
    int last = 0;

    for (; last < CLF__CACHED_PLANS && instance->plans[last]; last++) {
        if (fits(instance->plans[last], args, options)) {
            move_to_front(instance, last);
            *plan = instance->plans[0];
            return CLF_SUCCESS;
        }
    }
    clf_status status = clf__plan_make(instance, args, options, plan);
    if (status)
        return status;
    if (last == CLF__CACHED_PLANS) {
        last--;
        if (instance->plans[last] == instance->waiting)
            move_to_front(instance, last);
        clf_plan_release(instance->plans[last]);
    }
    instance->plans[last] = *plan;
    move_to_front(instance, last);
    return CLF_SUCCESS;
}

/* On an out-of-order queue these calls keep their order by barriers. */
static clf_status barrier(const clf_device *device)
{
    const cl_int code = device->out_of_order ? clEnqueueBarrierWithWaitList(device->queue, 0, NULL, NULL) : CL_SUCCESS;
    return code ? clf__fail_opencl(code, "a barrier on the device's queue") : CLF_SUCCESS;
}

static clf_status run_pass(clf_plan *plan, const clf_args *args, int pass, cl_mem saved)
{
    clf_device *device = plan->instance->device;
    clf_buffer workspace = { .bytes = plan->workspace }, kept = { .mem = saved, .bytes = plan->saved };
    clf_status status = CLF_SUCCESS;

    if (plan->workspace > 0 && (status = clf_pool_acquire(device, plan->workspace, &workspace.mem)))
        return status;
    status = barrier(device);
    if (status == CLF_SUCCESS)
        status = pass == CLF_FORWARD ? clf_forward(plan, args, workspace, kept, NULL, 0, NULL, NULL)
                                     : clf_backward(plan, args, workspace, kept, NULL, 0, NULL, NULL);
    if (status == CLF_SUCCESS)
        status = barrier(device);
    if (workspace.mem)
        clf_pool_release(device, workspace.mem, NULL);
    return status;
}

static void forget_waiting(clf_instance *instance)
{
    if (instance->saved)
        clf_pool_release(instance->device, instance->saved, NULL);
    instance->saved = NULL;
    instance->waiting = NULL;
}

void clf__apply_clear(clf_instance *instance)
{
    forget_waiting(instance);
    for (int i = 0; i < CLF__CACHED_PLANS; i++) {
        clf_plan_release(instance->plans[i]);
        instance->plans[i] = NULL;
    }
}

static clf_status take_args(const clf_instance *instance, const clf_args *args, clf_args *known)
{
    if (!instance || !args)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !instance ? "instance" : "args");
    return clf__copy_sized(known, sizeof *known, args, args->size, "args");
}

clf_status clf_apply(clf_instance *instance, const clf_args *args)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD };
    clf_args known;
    clf_plan *plan = NULL;
    clf_status status = take_args(instance, args, &known);

    if (status)
        return status;
    memset(known.grad, 0, sizeof known.grad); /* the same args may serve a backward pass */
    clf__mutex_lock(&instance->apply);
    status = clf__cached_plan(instance, &known, &options, &plan);
    if (status == CLF_SUCCESS)
        status = run_pass(plan, &known, CLF_FORWARD, NULL);
    clf__mutex_unlock(&instance->apply);
    return status;
}

clf_status clf_apply_training(clf_instance *instance, const clf_args *args)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD };
    clf_args known;
    clf_plan *plan = NULL;
    cl_mem saved = NULL;
    clf_status status = take_args(instance, args, &known);

    if (status)
        return status;
    clf__mutex_lock(&instance->apply);
    forget_waiting(instance);
    status = clf__cached_plan(instance, &known, &options, &plan);
    if (status == CLF_SUCCESS && plan->saved > 0)
        status = clf_pool_acquire(instance->device, plan->saved, &saved);
    if (status == CLF_SUCCESS)
        status = run_pass(plan, &known, CLF_FORWARD, saved);
    instance->saved = saved;
    instance->waiting = plan;
    if (status)
        forget_waiting(instance);
    clf__mutex_unlock(&instance->apply);
    return status;
}

clf_status clf_apply_backward(clf_instance *instance, const clf_args *args)
{
    clf_args known;
    clf_status status = take_args(instance, args, &known);

    if (status)
        return status;
    clf__mutex_lock(&instance->apply);
    if (!instance->waiting)
        status = clf__fail(CLF_INVALID_VALUE, "no clf_apply_training of this instance waits for its backward pass");
    else
        status = run_pass(instance->waiting, &known, CLF_BACKWARD, instance->saved);
    if (status == CLF_SUCCESS)
        forget_waiting(instance);
    clf__mutex_unlock(&instance->apply);
    return status;
}
