/* Running a plan: checks, then the part's callback, then the event. */
#include "component/instance.h"
#include "component/plan.h"
#include "core/status.h"
#include "device/device.h"

static clf_status check_call(const clf_plan *plan, const clf_args *args, int pass, cl_uint n_wait,
                             const cl_event *wait)
{
    if (!plan || !args)
        return clf__fail(CLF_INVALID_VALUE, "argument '%s' is NULL", !plan ? "plan" : "args");
    if (!(plan->options.passes & pass))
        return clf__fail(CLF_INVALID_VALUE, "the plan was made for the forward pass only");
    if (n_wait > 0 && !wait)
        return clf__fail(CLF_INVALID_VALUE, "argument 'wait' is NULL, but 'n_wait' is %u", n_wait);
    return CLF_SUCCESS;
}

/* The queue of the call: does it fit the device, and does it keep the order? */
static clf_status choose_queue(const clf_device *device, cl_command_queue queue, clf_run *run)
{
    cl_command_queue_properties properties = 0;
    cl_context context = NULL;
    cl_device_id id = NULL;

    run->queue = device->queue;
    run->chained = device->out_of_order;
    if (!queue || queue == device->queue)
        return CLF_SUCCESS;
    cl_int code = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof(cl_context), &context, NULL);
    if (code == CL_SUCCESS)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof(cl_device_id), &id, NULL);
    if (code == CL_SUCCESS)
        code = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
    if (code)
        return clf__fail_opencl(code, "argument 'queue'");
    if (context != device->context || id != device->id)
        return clf__fail(CLF_INVALID_VALUE, "argument 'queue' belongs to another context or device");
    run->queue = queue;
    run->chained = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    return CLF_SUCCESS;
}

/* Is there anything to write? Gradients of parameters are written even when no tensor has elements. */
static bool has_work(const clf_plan *plan, int pass)
{
    int count;
    const clf_io *io = clf__io(plan->instance->component, &count);

    for (int i = 0; i < count; i++) {
        const clf_tensor *written = pass == CLF_FORWARD ? &plan->given.io[i] : &plan->given.grad[i];
        if (io[i].role == (pass == CLF_FORWARD ? CLF_OUTPUT : CLF_INPUT) && written->rank > 0 &&
            clf_tensor_elements(written) > 0)
            return true;
    }
    for (int i = 0; pass == CLF_BACKWARD && i < CLF_MAX_PARAMETERS; i++)
        if (plan->instance->parameters[i].rank > 0)
            return true;
    return false;
}

/* Hands the last event over, or a marker's when nothing was launched. */
static clf_status finish(clf_run *run, clf_status status, cl_event *event)
{
    if (status == CLF_SUCCESS && event && run->last) {
        *event = run->last;
        return CLF_SUCCESS;
    }
    if (run->last)
        clReleaseEvent(run->last);
    if (status == CLF_SUCCESS && event) {
        const cl_int code = clEnqueueMarkerWithWaitList(run->queue, run->n_wait, run->wait, event);
        if (code)
            return clf__fail_opencl(code, "a marker for the event of an empty pass");
    }
    return status;
}

static clf_status execute(clf_plan *plan, const clf_args *args, int pass, clf_buffer workspace, clf_buffer saved,
                          cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    clf_args known;
    clf_run run = { .plan = plan, .workspace = workspace, .saved = saved, .wants_event = event != NULL,
                    .n_wait = n_wait, .wait = n_wait ? wait : NULL };
    clf_status status;

    if (event)
        *event = NULL;
    if ((status = check_call(plan, args, pass, n_wait, wait)) ||
        (status = clf__copy_sized(&known, sizeof known, args, args->size, "args")) ||
        (status = clf__check_run(plan, &known, pass, workspace, saved)) ||
        (status = choose_queue(plan->instance->device, queue, &run)))
        return status;
    clf__expand(plan->instance->component, plan->semantics, &plan->extents, &known);
    run.args = &known;
    if (has_work(plan, pass)) {
        const clf_descriptor *descriptor = plan->instance->component->descriptor;
        status = pass == CLF_FORWARD ? descriptor->forward(&run) : descriptor->backward(&run);
    }
    return finish(&run, status, event);
}

clf_status clf_forward(clf_plan *plan, const clf_args *args, clf_buffer workspace, clf_buffer saved,
                       cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    return execute(plan, args, CLF_FORWARD, workspace, saved, queue, n_wait, wait, event);
}

clf_status clf_backward(clf_plan *plan, const clf_args *args, clf_buffer workspace, clf_buffer saved,
                        cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    return execute(plan, args, CLF_BACKWARD, workspace, saved, queue, n_wait, wait, event);
}

clf_plan *clf_run_plan(const clf_run *run)
{
    return run->plan;
}

const clf_args *clf_run_args(const clf_run *run)
{
    return run->args;
}

clf_buffer clf_run_workspace(const clf_run *run)
{
    return run->workspace;
}

clf_buffer clf_run_saved(const clf_run *run)
{
    return run->saved;
}
