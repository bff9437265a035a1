/* Running plans: values, memory, events, empty problems. */
#include "component/plan.h"
#include "toy_problem.h"

TestSuite(run, .init = open_device, .fini = close_device);

static void on_device(clf_device *opened)
{
    problem p = { .workspace = { 0 } };
    clf_instance *own = NULL;
    float g[168];

    device = opened;
    cr_assert_eq(toy_instance(device, &toy, "{}", NULL, &own), CLF_SUCCESS, "%s", clf_error_message());
    setup(&p, own, CLF_FORWARD | CLF_BACKWARD);
    for (int i = 0; i < 168; i++)
        g[i] = (float)(i % 5) - 2;
    cr_assert_eq(clf_tensor_write_floats(device, &p.args.grad[CLF_QKV_OUT], g), CLF_SUCCESS);
    cr_assert_eq(clf_forward(p.plan, &p.args, p.workspace, p.saved, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s",
                 clf_error_message());
    expect_output(&p);
    cr_assert_eq(clf_backward(p.plan, &p.args, p.workspace, p.saved, NULL, 0, NULL, NULL), CLF_SUCCESS, "%s",
                 clf_error_message());
    expect_gradients(&p, g);
    teardown(&p);
    clf_instance_release(own);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
}

Test(run_everywhere, forward_and_backward_on_every_device)
{
    for_each_device(on_device);
}

/* Nothing may start before `gate`, and the result's event ends after everything. */
static void run_gated(problem *p, cl_command_queue queue)
{
    cl_int code, status = -1;
    cl_event gate = clCreateUserEvent(clf_device_context(device), &code), done = NULL;
    cr_assert_eq(code, CL_SUCCESS);
    cr_assert_eq(forward(p, queue, 1, &gate, &done), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_not_null(done);
    if (clf_device_get_info(device)->simulator) /* it executes inside clFlush, which would wait for ever */
        cr_assert_eq(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    clFlush(queue);
    cr_assert_eq(clGetEventInfo(done, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL), CL_SUCCESS);
    if (!clf_device_get_info(device)->simulator) {
        cr_expect_gt(status, CL_COMPLETE);
        cr_assert_eq(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    }
    cr_assert_eq(clWaitForEvents(1, &done), CL_SUCCESS);
    expect_output(p);
    clReleaseEvent(done);
    clFinish(queue);
    clReleaseEvent(gate);
}

Test(run, events)
{
    problem p = { .workspace = { 0 } };
    cl_int code;
    setup(&p, instance, CLF_FORWARD);
    run_gated(&p, clf_device_queue(device));
    cl_command_queue queue = clCreateCommandQueue(clf_device_context(device), clf_device_id(device),
                                                  CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    if (code == CL_SUCCESS) {
        for (int i = 0; i < 20; i++)
            run_gated(&p, queue);
        cr_expect_eq(forward(&p, queue, 0, NULL, NULL), CLF_SUCCESS);
        clFinish(queue);
        clReleaseCommandQueue(queue);
    }
    cr_expect_eq(forward(&p, NULL, 1, NULL, NULL), CLF_INVALID_VALUE);
    teardown(&p);
}

Test(run, failing_launches)
{
    problem p = { .workspace = { 0 } };
    cl_event done = NULL, gate;
    setup(&p, instance, CLF_FORWARD);
    cr_assert_eq(forward(&p, NULL, 0, NULL, &gate), CLF_SUCCESS);
    for (toy_broken_launch = 1; toy_broken_launch <= 2; toy_broken_launch++) {
        const clf_status status = forward(&p, NULL, 1, &gate, &done);
        cr_expect(status < 0 && status > -2000, "%s", clf_status_name(status));
        cr_expect(strstr(clf_error_message(), "kernel 'toy_gain', global size 7 4 6") != NULL, "%s",
                  clf_error_message());
        cr_expect(strstr(clf_error_message(), toy_broken_launch == 1 ? "argument 1" : "local size 4096 4096 64") !=
                      NULL,
                  "%s", clf_error_message());
        cr_expect_null(done);
    }
    toy_broken_launch = 0;
    clFinish(clf_device_queue(device));
    clReleaseEvent(gate);
    cr_expect_eq(forward(&p, NULL, 0, NULL, NULL), CLF_SUCCESS);
    expect_output(&p);
    teardown(&p);
}

static void refuse_run(const problem *p, int pass, clf_status wanted, const char *message)
{
    const int calls = toy_forwards + toy_backwards;
    cl_event done = (cl_event)&done;
    const clf_status status = (pass == CLF_FORWARD ? clf_forward : clf_backward)(p->plan, &p->args, p->workspace,
                                                                                 p->saved, NULL, 0, NULL, &done);
    cr_expect_eq(status, wanted, "%s, not %s: %s", clf_status_name(status), clf_status_name(wanted),
                 clf_error_message());
    cr_expect(strstr(clf_error_message(), message) != NULL, "'%s' lacks '%s'", clf_error_message(), message);
    cr_expect_null(done);
    cr_expect_eq(toy_forwards + toy_backwards, calls);
}

Test(run, wrong_calls)
{
    problem p = { .workspace = { 0 } }, good;
    setup(&p, instance, CLF_FORWARD);
    good = p;
    refuse_run(&p, CLF_BACKWARD, CLF_INVALID_VALUE, "forward pass only");
    p.args.size = 1;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_VALUE, "args.size is 1");
    p = good;
    p.args.training = true;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_VALUE, "args.training is true, the plan was made for false");
    p = good;
    p.args.io[CLF_QKV_ATT_MASK].rank = 0;
    refuse_run(&p, CLF_FORWARD, CLF_MISSING_TENSOR, "argument 'att_mask' is missing: the plan was made with it");
    p = good;
    p.args.io[CLF_QKV_LSE] = p.args.io[CLF_QKV_Q];
    refuse_run(&p, CLF_FORWARD, CLF_UNKNOWN_TENSOR, "argument 'lse' is given: the plan was made without it");
    p = good;
    p.args.io[9] = p.args.io[CLF_QKV_Q];
    refuse_run(&p, CLF_FORWARD, CLF_UNKNOWN_TENSOR, "'beyond the io table' is given");
    p = good;
    p.args.io[CLF_QKV_K].rank = 3;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_RANK, "argument 'k': rank is 3, the plan was made for 4");
    p = good;
    p.args.io[CLF_QKV_K].shape[2] = 4;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_SHAPE, "argument 'k': axis 2 is 4, the plan was made for 5");
    p = good;
    p.args.io[CLF_QKV_K].dtype = CLF_F16;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_DTYPE, "argument 'k': dtype is F16, the plan was made for F32");
    p = good;
    p.args.io[CLF_QKV_K].strides[1] = 60;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_STRIDE, "argument 'k': stride 1 is 60, the plan was made for 30");
    p = good;
    p.args.io[CLF_QKV_K].offset = 1;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_VALUE, "argument 'k': offset 1");
    p = good;
    p.args.io[CLF_QKV_K].mem = NULL;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_VALUE, "argument 'k' has no memory");
    p = good;
    p.args.io[CLF_QKV_K].offset = 1 << 30;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_TOO_SMALL, "argument 'k'");
    p = good;
    p.args.io[CLF_QKV_OUT].mem = p.args.io[CLF_QKV_V].mem;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_OVERLAP, "arguments 'v' and 'out' share memory, and 'out' is written");
    p = good;
    p.workspace.mem = p.args.io[CLF_QKV_V].mem;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_OVERLAP, "'workspace'");
    p = good;
    p.workspace.bytes--;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_TOO_SMALL, "argument 'workspace' has");
    p = good;
    p.workspace.mem = NULL;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_TOO_SMALL, "argument 'workspace' has no memory");
    p = good;
    p.workspace.offset = 128;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_VALUE, "argument 'workspace': offset 128 is no multiple of 256");
    p.workspace.offset = 1 << 30;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_TOO_SMALL, "argument 'workspace'");
    cr_expect_eq(clf_forward(NULL, &p.args, p.workspace, p.saved, NULL, 0, NULL, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_forward(p.plan, NULL, p.workspace, p.saved, NULL, 0, NULL, NULL), CLF_INVALID_VALUE);
    teardown(&good);
}

Test(run, wrong_backward_calls)
{
    problem p = { .workspace = { 0 } }, good;
    setup(&p, instance, CLF_FORWARD | CLF_BACKWARD);
    good = p;
    p.args.grad[CLF_QKV_OUT].rank = 0;
    refuse_run(&p, CLF_BACKWARD, CLF_MISSING_TENSOR, "argument 'grad.out' is missing");
    p = good;
    p.args.grad[CLF_QKV_V].mem = p.args.io[CLF_QKV_V].mem;
    refuse_run(&p, CLF_BACKWARD, CLF_BUFFER_OVERLAP, "arguments 'v' and 'grad.v' share memory");
    p = good;
    p.saved.mem = NULL;
    refuse_run(&p, CLF_BACKWARD, CLF_BUFFER_TOO_SMALL, "argument 'saved' has no memory");
    p.saved.mem = p.workspace.mem;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_TOO_SMALL, "");
    teardown(&good);
}

/* Parts of one buffer are told apart from their parent. */
Test(run, sub_buffers_and_foreign_contexts)
{
    problem p = { .workspace = { 0 } }, good;
    const cl_buffer_region region = { 0, 4 * 210 };
    cl_int code;
    setup(&p, instance, CLF_FORWARD);
    good = p;
    cl_mem part = clCreateSubBuffer(p.args.io[CLF_QKV_V].mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    cr_assert_eq(code, CL_SUCCESS);
    p.args.io[CLF_QKV_OUT].mem = part;
    refuse_run(&p, CLF_FORWARD, CLF_BUFFER_OVERLAP, "arguments 'v' and 'out' share memory");
    clReleaseMemObject(part);

    cl_device_id id = clf_device_id(device);
    cl_context context = clCreateContext(NULL, 1, &id, NULL, NULL, &code);
    cr_assert_eq(code, CL_SUCCESS);
    cl_mem foreign = clCreateBuffer(context, CL_MEM_READ_WRITE, 4 * 210, NULL, &code);
    cl_command_queue queue = clCreateCommandQueue(context, id, 0, &code);
    p = good;
    p.args.io[CLF_QKV_V].mem = foreign;
    refuse_run(&p, CLF_FORWARD, CLF_INVALID_VALUE, "argument 'v': its buffer belongs to another context");
    cr_expect_eq(forward(&good, queue, 0, NULL, NULL), CLF_INVALID_VALUE);
    clReleaseMemObject(foreign);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    teardown(&good);
}

/* Views at other offsets of other buffers run with the same plan; packed layouts need no copy. */
Test(run, packed_layouts)
{
    const int64_t all[5] = { 2, 5, 3, 3, 7 }; /* batch, sequence, q k v, heads, width */
    clf_tensor packed, out;
    clf_args args = { .size = sizeof args };
    float data[2 * 5 * 3 * 3 * 7], result[210];
    for (int i = 0; i < 630; i++)
        data[i] = (float)(i % 13);
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 5, all, &packed), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write_floats(device, &packed, data), CLF_SUCCESS);
    for (int i = 0; i < 3; i++) {
        args.io[i] = shape4(2, 3, 5, 7);
        args.io[i].mem = packed.mem;
        args.io[i].offset = (uint64_t)(4 * 21 * i);
        args.io[i].strides[0] = 5 * 63;
        args.io[i].strides[1] = 7;
        args.io[i].strides[2] = 63;
    }
    cr_assert_eq(clf_tensor_alloc(device, CLF_F32, 4, args.io[0].shape, &out), CLF_SUCCESS);
    args.io[CLF_QKV_OUT] = out;
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &out, result), CLF_SUCCESS);
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < 3; h++)
            for (int e = 0; e < 7; e++) {
                float sum = 0;
                for (int j = 0; j < 5; j++)
                    sum += data[((b * 5 + j) * 9 + 6 + h) * 7 + e];
                cr_assert_eq(result[((b * 3 + h) * 5 + 4) * 7 + e], 2 * sum);
            }
    /* The third part as output: its range interleaves with q's and k's, its elements do not. */
    args.io[CLF_QKV_OUT] = args.io[CLF_QKV_V];
    args.io[CLF_QKV_V] = args.io[CLF_QKV_K];
    cr_expect_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    args.io[CLF_QKV_OUT].offset -= 4;
    cr_expect_eq(clf_apply(instance, &args), CLF_BUFFER_OVERLAP);
    clf_tensor_free(device, &packed);
    clf_tensor_free(device, &out);
}

Test(run, empty_problems)
{
    static const int64_t shapes[][3] = { { 0, 4, 5 }, { 2, 0, 5 }, { 0, 0, 0 } };
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD };
    cl_event done = NULL;

    for (size_t i = 0; i < 3; i++) {
        clf_args args = toy_args(shapes[i][0], 3, shapes[i][1], shapes[i][2], 6, 7);
        clf_plan *plan = NULL;
        const int calls = toy_forwards;
        cr_assert_eq(clf_plan_create(instance, &args, NULL, &plan), CLF_SUCCESS, "%s", clf_error_message());
        give_memory(&args.io[CLF_QKV_K]);
        give_memory(&args.io[CLF_QKV_V]);
        clf_buffer workspace = { .bytes = clf_plan_get_info(plan).workspace_bytes };
        cr_assert_eq(clf_pool_acquire(device, workspace.bytes, &workspace.mem), CLF_SUCCESS);
        cr_assert_eq(clf_forward(plan, &args, workspace, (clf_buffer){ 0 }, NULL, 0, NULL, &done), CLF_SUCCESS, "%s",
                     clf_error_message());
        cr_expect_eq(toy_forwards, calls);
        cr_assert_not_null(done, "a marker's event");
        cr_expect_eq(clWaitForEvents(1, &done), CL_SUCCESS);
        clReleaseEvent(done);
        clf_pool_release(device, workspace.mem, NULL);
        clf_tensor_free(device, &args.io[CLF_QKV_K]);
        clf_tensor_free(device, &args.io[CLF_QKV_V]);
        clf_plan_release(plan);
    }

    /* No keys: rows of zeros. No queries: gradients of zero. */
    float values[2 * 3 * 5 * 7];
    clf_args args = toy_args(2, 3, 4, 0, 6, 7);
    give_memory(&args.io[CLF_QKV_Q]);
    give_memory(&args.io[CLF_QKV_OUT]);
    cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], values), CLF_SUCCESS);
    cr_expect_eq(values[100], 0);
    clf_tensor_free(device, &args.io[CLF_QKV_Q]);
    clf_tensor_free(device, &args.io[CLF_QKV_OUT]);

    args = toy_args(2, 3, 0, 5, 6, 7);
    args.grad[CLF_QKV_OUT] = args.io[CLF_QKV_OUT];
    args.grad[CLF_QKV_V] = args.io[CLF_QKV_V];
    cr_assert_eq(clf_prepare(instance, &args, &options), CLF_SUCCESS, "%s", clf_error_message());
    give_memory(&args.io[CLF_QKV_K]);
    give_memory(&args.io[CLF_QKV_V]);
    give_memory(&args.grad[CLF_QKV_V]);
    memset(values, 1, sizeof values);
    cr_assert_eq(clf_tensor_write_floats(device, &args.grad[CLF_QKV_V], values), CLF_SUCCESS);
    cr_assert_eq(clf_apply_training(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_apply_backward(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_tensor_read_floats(device, &args.grad[CLF_QKV_V], values), CLF_SUCCESS);
    cr_expect_eq(values[100], 0);
    clf_tensor_free(device, &args.io[CLF_QKV_K]);
    clf_tensor_free(device, &args.io[CLF_QKV_V]);
    clf_tensor_free(device, &args.grad[CLF_QKV_V]);
}

Test(run, profile)
{
    clf__profile profile = { .count = 0 };
    problem p = { .workspace = { 0 } };
    double seconds = -1;
    setup(&p, instance, CLF_FORWARD);
    clf__plan_profile(p.plan, &profile);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(forward(&p, NULL, 0, NULL, NULL), CLF_SUCCESS);
    cr_expect_eq(profile.count, 20);
    cr_assert_eq(clf__profile_take(&profile, &seconds), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect(seconds > 0 && seconds < 60);
    cr_expect_eq(profile.count, 0);
    cr_assert_eq(forward(&p, NULL, 0, NULL, NULL), CLF_SUCCESS);
    clf__profile_free(&profile);
    clf__plan_profile(p.plan, NULL);
    teardown(&p);
}
