/* The toy of toy.h on a device, and one problem with memory whose result is known. */
#ifndef CLF_UNIT_TOY_PROBLEM_H
#define CLF_UNIT_TOY_PROBLEM_H

#include "devices.h"
#include "toy.h"

static clf_device   *device;
static clf_instance *instance;

static inline void open_device(void)
{
    cr_assert_eq(clf_device_open(NULL, &device), CLF_SUCCESS, "%s", clf_error_message());
    cr_assert_eq(toy_instance(device, &toy, "{}", NULL, &instance), CLF_SUCCESS, "%s", clf_error_message());
}

static inline void close_device(void)
{
    clf_instance_release(instance);
    cr_expect_eq(clf_pool_get_stats(device).in_use, 0);
    clf_device_release(device);
}

/* One problem with memory: B 2, H 3, Q 4, K 5, D 6, E 7 unless told otherwise. */
typedef struct problem {
    clf_args   args;
    clf_plan  *plan;
    clf_buffer workspace, saved;
    float      v[2 * 3 * 5 * 7];
} problem;

static inline void give_memory(clf_tensor *tensor)
{
    if (tensor->rank && clf_tensor_elements(tensor)) {
        const clf_tensor plain = *tensor;
        cr_assert_eq(clf_tensor_alloc(device, plain.dtype, plain.rank, plain.shape, tensor), CLF_SUCCESS);
    }
}

static inline void setup(problem *p, clf_instance *of, int passes)
{
    const clf_plan_options options = { .size = sizeof options, .passes = passes };
    static const unsigned char mask[20] = { 1, 0, 0, 0, 0,  1, 1, 0, 0, 0,  1, 1, 1, 0, 1,  0, 0, 0, 0, 0 };

    p->args = toy_args(2, 3, 4, 5, 6, 7);
    p->args.io[CLF_QKV_ATT_MASK] = clf_tensor_view(NULL, CLF_U8, 2, (int64_t[]){ 4, 5 });
    if (passes & CLF_BACKWARD) {
        p->args.grad[CLF_QKV_OUT] = p->args.io[CLF_QKV_OUT];
        p->args.grad[CLF_QKV_V] = p->args.io[CLF_QKV_V];
    }
    cr_assert_eq(clf_plan_create(of, &p->args, &options, &p->plan), CLF_SUCCESS, "%s", clf_error_message());
    for (int i = 0; i < CLF_MAX_IO; i++) {
        give_memory(&p->args.io[i]);
        give_memory(&p->args.grad[i]);
    }
    for (int i = 0; i < 210; i++)
        p->v[i] = (float)(i % 17) - 8;
    cr_assert_eq(clf_tensor_write_floats(device, &p->args.io[CLF_QKV_V], p->v), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_write(device, &p->args.io[CLF_QKV_ATT_MASK], mask), CLF_SUCCESS);
    const clf_plan_info info = clf_plan_get_info(p->plan);
    p->workspace = (clf_buffer){ .bytes = info.workspace_bytes };
    p->saved = (clf_buffer){ .bytes = info.saved_bytes };
    cr_assert_eq(clf_pool_acquire(device, info.workspace_bytes, &p->workspace.mem), CLF_SUCCESS);
    if (info.saved_bytes)
        cr_assert_eq(clf_pool_acquire(device, info.saved_bytes, &p->saved.mem), CLF_SUCCESS);
}

static inline void teardown(problem *p)
{
    clFinish(clf_device_queue(device));
    for (int i = 0; i < CLF_MAX_IO; i++) {
        clf_tensor_free(device, &p->args.io[i]);
        clf_tensor_free(device, &p->args.grad[i]);
    }
    clf_pool_release(device, p->workspace.mem, NULL);
    if (p->saved.mem)
        clf_pool_release(device, p->saved.mem, NULL);
    clf_plan_release(p->plan);
}

static const int keys_of[4][5] = { { 1 }, { 1, 1 }, { 1, 1, 1, 0, 1 }, { 0 } };

static inline void expect_output(const problem *p)
{
    float out[2 * 3 * 4 * 7];
    cr_assert_eq(clf_tensor_read_floats(device, &p->args.io[CLF_QKV_OUT], out), CLF_SUCCESS);
    for (int n = 0; n < 6; n++)
        for (int i = 0; i < 4; i++)
            for (int e = 0; e < 7; e++) {
                float sum = 0;
                for (int j = 0; j < 5; j++)
                    sum += keys_of[i][j] ? p->v[(n * 5 + j) * 7 + e] : 0;
                cr_assert_eq(out[(n * 4 + i) * 7 + e], 2 * sum);
            }
}

static inline void expect_gradients(const problem *p, const float *g)
{
    float grad[210], gain_grad, wanted = 0;
    clf_tensor gain;
    cr_assert_eq(clf_tensor_read_floats(device, &p->args.grad[CLF_QKV_V], grad), CLF_SUCCESS);
    for (int n = 0; n < 6; n++)
        for (int j = 0; j < 5; j++)
            for (int e = 0; e < 7; e++) {
                float sum = 0;
                for (int i = 0; i < 4; i++)
                    sum += keys_of[i][j] ? g[(n * 4 + i) * 7 + e] : 0;
                cr_assert_eq(grad[(n * 5 + j) * 7 + e], 2 * sum);
                wanted += sum * p->v[(n * 5 + j) * 7 + e];
            }
    cr_assert_eq(clf_instance_gradient(clf_plan_instance(p->plan), "gain", &gain), CLF_SUCCESS);
    cr_assert_eq(clf_tensor_read_floats(device, &gain, &gain_grad), CLF_SUCCESS);
    cr_assert_eq(gain_grad, wanted);
}

static inline clf_status forward(const problem *p, cl_command_queue queue, cl_uint n, const cl_event *wait,
                                 cl_event *event)
{
    return clf_forward(p->plan, &p->args, p->workspace, p->saved, queue, n, wait, event);
}

#endif
