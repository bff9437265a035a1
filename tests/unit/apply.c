/* Convenience calls: plans, memory and order are theirs. */
#include "toy_problem.h"
#include <pthread.h>

TestSuite(apply, .init = open_device, .fini = close_device);

Test(apply, values)
{
    problem p = { .workspace = { 0 } };
    float g[168];
    setup(&p, instance, CLF_FORWARD | CLF_BACKWARD);
    for (int i = 0; i < 168; i++)
        g[i] = (float)(i % 3);
    cr_assert_eq(clf_tensor_write_floats(device, &p.args.grad[CLF_QKV_OUT], g), CLF_SUCCESS);
    cr_expect_eq(clf_apply_backward(instance, &p.args), CLF_INVALID_VALUE);
    const int planned = toy_planned;
    const uint64_t before = clf_pool_get_stats(device).in_use;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(clf_apply(instance, &p.args), CLF_SUCCESS, "%s", clf_error_message());
    expect_output(&p);
    cr_expect_eq(toy_planned, planned + 1, "the plan is kept");
    cr_expect_eq(clf_pool_get_stats(device).in_use, before);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(clf_apply_training(instance, &p.args), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_apply_training(instance, &p.args), CLF_SUCCESS, "%s", clf_error_message());
        expect_output(&p);
        cr_assert_eq(clf_apply_backward(instance, &p.args), CLF_SUCCESS, "%s", clf_error_message());
        expect_gradients(&p, g);
        cr_expect_eq(clf_apply_backward(instance, &p.args), CLF_INVALID_VALUE);
        cr_expect_eq(clf_pool_get_stats(device).in_use, before, "saved is given back");
    }
    cr_expect_eq(toy_planned, planned + 2);
    cr_expect_eq(clf_apply(NULL, &p.args), CLF_INVALID_VALUE);
    cr_expect_eq(clf_apply(instance, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_apply_training(instance, NULL), CLF_INVALID_VALUE);
    cr_expect_eq(clf_apply_backward(NULL, NULL), CLF_INVALID_VALUE);
    teardown(&p);
}

static void *apply_often(void *result)
{
    clf_args args = toy_args(1, 1, 2, 3, 4, 5);
    float values[15], out[10];
    bool *good = result;

    for (int i = 0; i < 15; i++)
        values[i] = 1;
    *good = true;
    for (int n = 2; n < 40; n++) {
        args = toy_args(1, 1, 2, 1 + n % 3, 4, 5);
        for (int i = 0; i < CLF_MAX_IO && *good; i++)
            if (args.io[i].rank)
                *good = !clf_tensor_alloc(device, CLF_F32, 4, args.io[i].shape, &args.io[i]);
        *good = *good && !clf_tensor_write_floats(device, &args.io[CLF_QKV_V], values) && !clf_apply(instance, &args) &&
                !clf_tensor_read_floats(device, &args.io[CLF_QKV_OUT], out) && out[9] == 2.0f * (float)(1 + n % 3);
        for (int i = 0; i < CLF_MAX_IO; i++)
            clf_tensor_free(device, &args.io[i]);
    }
    return NULL;
}

/* Several threads take turns. */
Test(apply, from_threads)
{
    pthread_t threads[4];
    bool good[4] = { false };
    if (clf_device_get_info(device)->simulator)
        cr_skip_test("Oclgrind runs the kernels of one thread only");
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, apply_often, &good[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        cr_expect(good[i], "thread %d", i);
}

/* More problems than the cache holds; the one that waits for its backward stays. */
Test(apply, cache)
{
    problem p = { .workspace = { 0 } };
    setup(&p, instance, CLF_FORWARD | CLF_BACKWARD);
    cr_assert_eq(clf_apply_training(instance, &p.args), CLF_SUCCESS);
    const int planned = toy_planned;
    for (int round = 0; round < 2; round++)
        for (int n = 1; n <= 12; n++) {
            clf_args args = toy_args(1, 1, n, 2, 3, 4);
            for (int i = 0; i < CLF_MAX_IO; i++)
                give_memory(&args.io[i]);
            cr_assert_eq(clf_apply(instance, &args), CLF_SUCCESS, "%s", clf_error_message());
            for (int i = 0; i < CLF_MAX_IO; i++)
                clf_tensor_free(device, &args.io[i]);
        }
    cr_expect_eq(toy_planned, planned + 24, "12 in turn do not fit into 8");
    cr_assert_eq(clf_apply_backward(instance, &p.args), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_apply_training(instance, &p.args), CLF_SUCCESS);
    cr_expect_eq(toy_planned, planned + 24);
    teardown(&p);
}

Test(apply, prepare)
{
    const clf_plan_options both = { .size = sizeof both, .passes = CLF_FORWARD | CLF_BACKWARD };
    problem p = { .workspace = { 0 } };
    setup(&p, instance, CLF_FORWARD | CLF_BACKWARD);
    const uint64_t before = clf_pool_get_stats(device).in_use;
    cr_assert_eq(clf_prepare(instance, &p.args, NULL), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(clf_prepare(instance, &p.args, &both), CLF_SUCCESS, "%s", clf_error_message());
    cr_expect_eq(clf_pool_get_stats(device).in_use, before);
    const int planned = toy_planned;
    cr_assert_eq(clf_apply(instance, &p.args), CLF_SUCCESS);
    cr_assert_eq(clf_apply_training(instance, &p.args), CLF_SUCCESS);
    cr_expect_eq(toy_planned, planned);
    expect_output(&p);
    cr_expect_eq(clf_prepare(instance, NULL, NULL), CLF_INVALID_VALUE);
    p.args.io[CLF_QKV_Q].dtype = CLF_I8;
    cr_expect_eq(clf_prepare(instance, &p.args, NULL), CLF_INVALID_DTYPE);
    p.args.io[CLF_QKV_Q].dtype = CLF_F32;
    teardown(&p);
}

/* An out-of-order device: the convenience calls keep their order. */
Test(apply, out_of_order_device)
{
    cl_int code;
    cl_command_queue queue = clCreateCommandQueue(clf_device_context(device), clf_device_id(device),
                                                  CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &code);
    clf_device *first = device, *wrapped = NULL;
    clf_instance *own = NULL;
    problem p = { .workspace = { 0 } };
    float g[168] = { 1, 2, 3 };

    if (code)
        cr_skip_test("no out-of-order queues");
    cr_assert_eq(clf_device_wrap(clf_device_context(device), clf_device_id(device), queue, &wrapped), CLF_SUCCESS);
    device = wrapped;
    cr_assert_eq(toy_instance(device, &toy, "{}", NULL, &own), CLF_SUCCESS);
    setup(&p, own, CLF_FORWARD | CLF_BACKWARD);
    cr_assert_eq(clf_tensor_write_floats(device, &p.args.grad[CLF_QKV_OUT], g), CLF_SUCCESS);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(clf_apply_training(own, &p.args), CLF_SUCCESS, "%s", clf_error_message());
        cr_assert_eq(clf_apply_backward(own, &p.args), CLF_SUCCESS, "%s", clf_error_message());
        expect_output(&p);
        expect_gradients(&p, g);
    }
    teardown(&p);
    clf_instance_release(own);
    clf_device_release(wrapped);
    clReleaseCommandQueue(queue);
    device = first;
}
