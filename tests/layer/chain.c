/* Events chain across passes, plans and queues, and nothing waits in between: a user event that nobody has set holds
 * the whole chain while every call returns, and the layer sees no call that waits for the device. */
#include "../unit/devices.h"
#include "../unit/small.h"
#include "layer.h"
#include <string.h>

static const layer *lay;

static void begin(void)
{
    lay = layer_find();
    if (!lay)
        cr_skip_test("this OpenCL loader knows no layers");
}

TestSuite(chain, .init = begin);

enum { LINKS = 5 };

static cl_int state_of(cl_event event)
{
    cl_int state = CL_COMPLETE;

    cr_assert_eq(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL), CL_SUCCESS);
    return state;
}

/* first: forward, backward, forward again; second, on another queue, forward and backward on what first wrote. */
static void enqueue(small *first, small *second, cl_command_queue queues[2], cl_event gate, cl_event events[LINKS])
{
    cr_assert_eq(small_forward(first, queues[0], gate, &events[0]), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_backward(first, queues[0], events[0], &events[1]), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_forward(first, queues[0], events[1], &events[2]), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_forward(second, queues[1], events[2], &events[3]), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_backward(second, queues[1], events[3], &events[4]), CLF_SUCCESS, "%s", clf_error_message());
}

static void make_pair(clf_device *device, clf_instance *instance, small *first, small *second)
{
    cr_assert_eq(small_make(first, device, instance, 1), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_make(second, device, instance, 2), CLF_SUCCESS, "%s", clf_error_message());
    clf_tensor_free(device, &second->args.io[CLF_QKV_Q]);
    second->args.io[CLF_QKV_Q] = first->args.io[CLF_QKV_OUT];
}

static void free_pair(small *first, small *second)
{
    second->args.io[CLF_QKV_Q] = (clf_tensor){ .rank = 0 };
    small_free(second);
    small_free(first);
}

/* The same with a wait after every call. */
static void expect(clf_device *device, clf_instance *instance, small_results results[2])
{
    cl_command_queue queues[2] = { NULL, NULL };
    cl_event events[LINKS];
    small first, second;

    make_pair(device, instance, &first, &second);
    enqueue(&first, &second, queues, NULL, events);
    cr_assert_eq(clWaitForEvents(1, &events[LINKS - 1]), CL_SUCCESS);
    cr_assert_eq(small_read(&first, &results[0]), CLF_SUCCESS);
    cr_assert_eq(small_read(&second, &results[1]), CLF_SUCCESS);
    for (int i = 0; i < LINKS; i++)
        clReleaseEvent(events[i]);
    free_pair(&first, &second);
}

static void hold(clf_device *device, cl_command_queue_properties properties)
{
    small_results expected[2], results[2];
    cl_command_queue queues[2];
    cl_event events[LINKS], gate;
    clf_instance *instance = NULL;
    small first, second;
    cl_int code;

    cr_assert_eq(small_instance(device, &instance), CLF_SUCCESS, "%s", clf_error_message());
    expect(device, instance, expected);
    make_pair(device, instance, &first, &second);
    for (int i = 0; i < 2; i++) {
        queues[i] = clCreateCommandQueue(clf_device_context(device), clf_device_id(device), properties, &code);
        if (code != CL_SUCCESS)
            cr_skip_test("no such queue");
    }
    gate = clCreateUserEvent(clf_device_context(device), &code);
    cr_assert_eq(code, CL_SUCCESS);

    lay->reset();
    enqueue(&first, &second, queues, gate, events);
    cr_expect_eq(lay->count().blocking, 0, "a call waited");
    cr_expect_gt(lay->count().calls[LAYER_LAUNCH], 0);
    for (int i = 0; i < 2; i++)
        clFlush(queues[i]);
    for (int i = 0; i < LINKS; i++)
        cr_expect_gt(state_of(events[i]), CL_COMPLETE, "link %d is done before the gate opens", i);

    cr_assert_eq(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    cr_assert_eq(clWaitForEvents(1, &events[LINKS - 1]), CL_SUCCESS);
    for (int i = 0; i < LINKS; i++)
        cr_expect_eq(state_of(events[i]), CL_COMPLETE, "link %d is not done", i);
    cr_assert_eq(small_read(&first, &results[0]), CLF_SUCCESS);
    cr_assert_eq(small_read(&second, &results[1]), CLF_SUCCESS);
    cr_expect_arr_eq(results, expected, sizeof expected);

    clReleaseEvent(gate);
    for (int i = 0; i < LINKS; i++)
        clReleaseEvent(events[i]);
    for (int i = 0; i < 2; i++)
        clReleaseCommandQueue(queues[i]);
    free_pair(&first, &second);
    clf_instance_release(instance);
}

static void hold_in_order(clf_device *device)
{
    if (!clf_device_get_info(device)->simulator)
        hold(device, 0);
}

static void hold_out_of_order(clf_device *device)
{
    cl_command_queue_properties able = 0;

    clGetDeviceInfo(clf_device_id(device), CL_DEVICE_QUEUE_PROPERTIES, sizeof able, &able, NULL);
    if (!clf_device_get_info(device)->simulator && (able & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE))
        hold(device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
}

Test(chain, is_held_by_a_user_event, .timeout = 120)
{
    for_each_device(hold_in_order);
}

Test(chain, is_held_on_queues_out_of_order, .timeout = 120)
{
    for_each_device(hold_out_of_order);
}

/* The convenience calls return too, and what they took from the pool is not handed out while the gate is closed. */
static void hold_convenience(clf_device *device)
{
    clf_instance *instance = NULL;
    small_results expected, results;
    cl_event gate, behind = NULL;
    cl_mem taken = NULL;
    small s;
    cl_int code;

    if (clf_device_get_info(device)->simulator)
        return;
    cr_assert_eq(small_instance(device, &instance), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(small_make(&s, device, instance, 3), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < 2; i++) { /* the second time plans and memory are there */
        cr_assert_eq(clf_apply_training(instance, &s.args), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_apply_backward(instance, &s.args), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(small_read(&s, &expected), CLF_SUCCESS);
    }
    gate = clCreateUserEvent(clf_device_context(device), &code);
    cr_assert_eq(code, CL_SUCCESS);
    cr_assert_eq(clEnqueueBarrierWithWaitList(clf_device_queue(device), 1, &gate, NULL), CL_SUCCESS);
    lay->reset();
    cr_assert_eq(clf_apply_training(instance, &s.args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_apply_backward(instance, &s.args), CLF_SUCCESS, "%s", clf_error_message());
    const int used = lay->count().calls[LAYER_CREATE_BUFFER];
    cr_assert_eq(clf_pool_acquire(device, s.saved.bytes, &taken), CLF_SUCCESS);
    cr_expect_gt(lay->count().calls[LAYER_CREATE_BUFFER], used, "a buffer in use is handed out");
    cr_expect_eq(lay->count().blocking, 0, "a call waited");
    cr_assert_eq(clEnqueueMarkerWithWaitList(clf_device_queue(device), 0, NULL, &behind), CL_SUCCESS);
    clFlush(clf_device_queue(device));
    cr_expect_gt(state_of(behind), CL_COMPLETE);
    cr_assert_eq(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    cr_assert_eq(clWaitForEvents(1, &behind), CL_SUCCESS);
    cr_assert_eq(small_read(&s, &results), CLF_SUCCESS);
    cr_expect_arr_eq(&results, &expected, sizeof expected);

    clf_pool_release(device, taken, NULL);
    clReleaseEvent(behind);
    clReleaseEvent(gate);
    small_free(&s);
    clf_instance_release(instance);
}

Test(chain, holds_convenience_calls, .timeout = 120)
{
    for_each_device(hold_convenience);
}
