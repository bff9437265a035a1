/* A tiny attention problem with memory of its own, for tests of threads and events. */
#ifndef CLF_UNIT_SMALL_H
#define CLF_UNIT_SMALL_H

#include <clformers/clformers.h>

enum { SMALL_HEADS = 2, SMALL_LENGTH = 9, SMALL_WIDTH = 8, SMALL_ELEMENTS = SMALL_HEADS * SMALL_LENGTH * SMALL_WIDTH };

typedef struct small {
    clf_device *device;
    clf_plan   *plan;
    clf_args    args;
    clf_buffer  workspace, saved;
} small;

typedef struct small_results {
    float out[SMALL_ELEMENTS], grad_q[SMALL_ELEMENTS], grad_k[SMALL_ELEMENTS], grad_v[SMALL_ELEMENTS];
} small_results;

static const int small_inputs[] = { CLF_QKV_Q, CLF_QKV_K, CLF_QKV_V };

/* The naive family: it compiles fast and runs everywhere. */
static inline clf_status small_instance(clf_device *device, clf_instance **instance)
{
    return clf_build(device, CLF_ATTENTION, "{\"name\": \"scaled_dot_product\", \"causal\": true}", instance);
}

static inline void small_free(small *s)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        clf_tensor_free(s->device, &s->args.io[i]);
        clf_tensor_free(s->device, &s->args.grad[i]);
    }
    clf_pool_release(s->device, s->workspace.mem, NULL);
    clf_pool_release(s->device, s->saved.mem, NULL);
    clf_plan_release(s->plan);
    s->plan = NULL;
}

/* A plan for both passes and its tensors, filled with numbers that `seed` decides. */
static inline clf_status small_make(small *s, clf_device *device, clf_instance *instance, int seed)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD,
                                       .family = "reference", .allow_reference = true };
    const int64_t shape[] = { 1, SMALL_HEADS, SMALL_LENGTH, SMALL_WIDTH };
    clf_tensor *tensors[8] = { NULL };
    float values[SMALL_ELEMENTS];
    clf_status status = CLF_SUCCESS;

    *s = (small){ .device = device, .args = { .size = sizeof s->args } };
    for (int i = 0; i < 3; i++) {
        tensors[i] = &s->args.io[small_inputs[i]];
        tensors[4 + i] = &s->args.grad[small_inputs[i]];
    }
    tensors[3] = &s->args.grad[CLF_QKV_OUT];
    tensors[7] = &s->args.io[CLF_QKV_OUT];
    for (int i = 0; i < 8 && status == CLF_SUCCESS; i++)
        status = clf_tensor_alloc(device, CLF_F32, 4, shape, tensors[i]);
    for (int i = 0; i < 4 && status == CLF_SUCCESS; i++) {
        for (int k = 0; k < SMALL_ELEMENTS; k++)
            values[k] = (float)(k * (2 * i + 5 + seed) % 17) / 8 - 1;
        status = clf_tensor_write_floats(device, tensors[i], values);
    }
    if (status == CLF_SUCCESS)
        status = clf_plan_create(instance, &s->args, &options, &s->plan);
    if (status == CLF_SUCCESS) {
        const clf_plan_info info = clf_plan_get_info(s->plan);
        s->workspace.bytes = info.workspace_bytes;
        s->saved.bytes = info.saved_bytes;
        if (info.workspace_bytes)
            status = clf_pool_acquire(device, info.workspace_bytes, &s->workspace.mem);
        if (status == CLF_SUCCESS && info.saved_bytes)
            status = clf_pool_acquire(device, info.saved_bytes, &s->saved.mem);
    }
    return status;
}

static inline clf_status small_forward(small *s, cl_command_queue queue, cl_event wait, cl_event *event)
{
    return clf_forward(s->plan, &s->args, s->workspace, s->saved, queue, wait != NULL, wait ? &wait : NULL, event);
}

static inline clf_status small_backward(small *s, cl_command_queue queue, cl_event wait, cl_event *event)
{
    return clf_backward(s->plan, &s->args, s->workspace, s->saved, queue, wait != NULL, wait ? &wait : NULL, event);
}

static inline clf_status small_read(small *s, small_results *results)
{
    clf_status status = clf_tensor_read_floats(s->device, &s->args.io[CLF_QKV_OUT], results->out);

    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(s->device, &s->args.grad[CLF_QKV_Q], results->grad_q);
    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(s->device, &s->args.grad[CLF_QKV_K], results->grad_k);
    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(s->device, &s->args.grad[CLF_QKV_V], results->grad_v);
    return status;
}

#endif
