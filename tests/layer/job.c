#include "job.h"

#include "../unit/toy.h"
#include "component/plan.h"
#include "device/program.h"
#include <math.h>
#include <stdlib.h>

static const int64_t whole[] = { 1, JOB_HEADS, JOB_LENGTH, JOB_WIDTH }, rows[] = { 1, JOB_HEADS, JOB_LENGTH };

static void free_tensors(job *j, clf_args *args)
{
    for (int i = 0; i < CLF_MAX_IO; i++) {
        clf_tensor_free(j->device, &args->io[i]);
        clf_tensor_free(j->device, &args->grad[i]);
    }
}

static void free_plan(job *j)
{
    clf_plan_release(j->plan);
    j->plan = NULL;
    clf_pool_release(j->device, j->workspace.mem, NULL);
    clf_pool_release(j->device, j->saved.mem, NULL);
    j->workspace = j->saved = (clf_buffer){ 0 };
}

void job_close(job *j)
{
    if (j->device) {
        free_plan(j);
        free_tensors(j, &j->args);
        free_tensors(j, &j->toy_args);
    }
    clf_instance_release(j->attention);
    clf_instance_release(j->toy);
    clf_device_release(j->device);
    j->attention = j->toy = NULL;
    j->device = NULL;
}

/* ---- the stages ------------------------------------------------------------------------------------ */

static clf_status open_device(job *j)
{
    return j->context ? clf_device_wrap(j->context, j->id, j->queue, &j->device) : clf_device_open(NULL, &j->device);
}

static clf_status build(job *j)
{
    clf_status status = CLF_SUCCESS;

    if (!j->attention)
        status = clf_build(j->device, CLF_ATTENTION, "{\"name\": \"scaled_dot_product\", \"causal\": true}",
                           &j->attention);
    if (status == CLF_SUCCESS && !j->toy)
        status = toy_instance(j->device, &toy, "{}", NULL, &j->toy);
    return status;
}

/* Rows of q lie apart and k is stored by position, so that rectangles and reordering are met too. */
static void lay_out(clf_args *args)
{
    clf_tensor *q = &args->io[CLF_QKV_Q], *k = &args->io[CLF_QKV_K];

    q->shape[3] = JOB_WIDTH;
    k->shape[1] = JOB_HEADS;
    k->shape[2] = JOB_LENGTH;
    k->strides[1] = JOB_WIDTH;
    k->strides[2] = JOB_HEADS * JOB_WIDTH;
}

static clf_status allocate(job *j)
{
    static const int64_t wide[] = { 1, JOB_HEADS, JOB_LENGTH, JOB_WIDTH + 4 },
                         by_position[] = { 1, JOB_LENGTH, JOB_HEADS, JOB_WIDTH };
    struct { clf_tensor *tensor; int rank; const int64_t *shape; } all[] = {
        { &j->args.io[CLF_QKV_Q], 4, wide },        { &j->args.io[CLF_QKV_K], 4, by_position },
        { &j->args.io[CLF_QKV_V], 4, whole },       { &j->args.io[CLF_QKV_OUT], 4, whole },
        { &j->args.io[CLF_QKV_LSE], 3, rows },      { &j->args.grad[CLF_QKV_Q], 4, whole },
        { &j->args.grad[CLF_QKV_K], 4, whole },     { &j->args.grad[CLF_QKV_V], 4, whole },
        { &j->args.grad[CLF_QKV_OUT], 4, whole },   { &j->toy_args.io[CLF_QKV_Q], 4, whole },
        { &j->toy_args.io[CLF_QKV_K], 4, whole },   { &j->toy_args.io[CLF_QKV_V], 4, whole },
        { &j->toy_args.io[CLF_QKV_OUT], 4, whole }, { &j->toy_args.grad[CLF_QKV_OUT], 4, whole },
    };
    clf_status status = CLF_SUCCESS;

    j->args.size = j->toy_args.size = sizeof j->args;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && status == CLF_SUCCESS; i++)
        status = clf_tensor_alloc(j->device, CLF_F32, all[i].rank, all[i].shape, all[i].tensor);
    if (status) {
        free_tensors(j, &j->args);
        free_tensors(j, &j->toy_args);
        return status;
    }
    lay_out(&j->args);
    return CLF_SUCCESS;
}

static clf_status fill(job *j)
{
    const clf_tensor *all[] = { &j->args.io[CLF_QKV_Q],       &j->args.io[CLF_QKV_K],
                                &j->args.io[CLF_QKV_V],       &j->args.grad[CLF_QKV_OUT],
                                &j->toy_args.io[CLF_QKV_V],   &j->toy_args.grad[CLF_QKV_OUT] };
    float values[JOB_ELEMENTS];
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < 6 && status == CLF_SUCCESS; i++) {
        for (int k = 0; k < JOB_ELEMENTS; k++)
            values[k] = (float)(k * (2 * i + 7) % 13) / 8 - 0.75f;
        status = clf_tensor_write_floats(j->device, all[i], values);
    }
    return status;
}

static clf_status plan(job *j)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD };
    clf_status status = clf_plan_create(j->attention, &j->args, &options, &j->plan);

    if (status)
        return status;
    const clf_plan_info info = clf_plan_get_info(j->plan);
    j->workspace.bytes = info.workspace_bytes;
    j->saved.bytes = info.saved_bytes;
    if (info.workspace_bytes)
        status = clf_pool_acquire(j->device, info.workspace_bytes, &j->workspace.mem);
    if (status == CLF_SUCCESS && info.saved_bytes)
        status = clf_pool_acquire(j->device, info.saved_bytes, &j->saved.mem);
    if (status)
        free_plan(j);
    return status;
}

/* Backward waits for forward's event, the readers for backward's. */
static clf_status run(job *j)
{
    cl_event forward = NULL, backward = NULL;
    clf_status status = clf_forward(j->plan, &j->args, j->workspace, j->saved, NULL, 0, NULL, &forward);

    if (status == CLF_SUCCESS)
        status = clf_backward(j->plan, &j->args, j->workspace, j->saved, NULL, 1, &forward, &backward);
    if (status == CLF_SUCCESS)
        (void)clWaitForEvents(1, &backward); /* reading waits too */
    if (forward)
        clReleaseEvent(forward);
    if (backward)
        clReleaseEvent(backward);
    return status;
}

static clf_status read_results(job *j)
{
    const struct { const clf_tensor *tensor; float *values; } all[] = {
        { &j->args.io[CLF_QKV_OUT], j->results.out },
        { &j->args.io[CLF_QKV_LSE], j->results.lse },
        { &j->args.grad[CLF_QKV_Q], j->results.grads[0] },
        { &j->args.grad[CLF_QKV_K], j->results.grads[1] },
        { &j->args.grad[CLF_QKV_V], j->results.grads[2] },
        { &j->args.io[CLF_QKV_Q], j->results.applied }, /* a view with gaps; overwritten later */
    };
    clf_status status = CLF_SUCCESS;

    for (size_t i = 0; i < sizeof all / sizeof all[0] && status == CLF_SUCCESS; i++)
        status = clf_tensor_read_floats(j->device, all[i].tensor, all[i].values);
    return status;
}

static clf_status apply(job *j)
{
    clf_status status = clf_apply(j->attention, &j->args);

    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(j->device, &j->args.io[CLF_QKV_OUT], j->results.applied);
    if (status == CLF_SUCCESS)
        status = clf_apply_training(j->attention, &j->args);
    if (status == CLF_SUCCESS)
        status = clf_apply_backward(j->attention, &j->args);
    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(j->device, &j->args.grad[CLF_QKV_Q], j->results.applied_grad);
    return status;
}

static clf_status apply_toy(job *j)
{
    clf_tensor gradient;
    clf_status status = clf_apply_training(j->toy, &j->toy_args);

    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(j->device, &j->toy_args.io[CLF_QKV_OUT], j->results.sums);
    if (status == CLF_SUCCESS)
        status = clf_apply_backward(j->toy, &j->toy_args);
    if (status == CLF_SUCCESS)
        status = clf_instance_gradient(j->toy, "gain", &gradient);
    if (status == CLF_SUCCESS)
        status = clf_tensor_read_floats(j->device, &gradient, &j->results.gain_grad);
    return status;
}

static clf_status prepare(job *j)
{
    const clf_plan_options options = { .size = sizeof options, .passes = CLF_FORWARD | CLF_BACKWARD };

    return clf_prepare(j->attention, &j->args, &options);
}

static clf_status profile(job *j)
{
    clf__profile times = { NULL, 0, 0 };
    double seconds;
    clf_status status;

    clf__plan_profile(j->plan, &times);
    status = clf_forward(j->plan, &j->args, j->workspace, j->saved, NULL, 0, NULL, NULL);
    if (status == CLF_SUCCESS)
        status = clf__profile_take(&times, &seconds);
    clf__plan_profile(j->plan, NULL);
    clf__profile_free(&times);
    return status;
}

/* Buffers of growing size, given back with and without an event, reused and trimmed. */
static clf_status grow_pool(job *j)
{
    cl_mem buffers[6] = { NULL };
    cl_event done = NULL;
    clf_status status = CLF_SUCCESS;

    for (int i = 0; i < 4 && status == CLF_SUCCESS; i++)
        status = clf_pool_acquire(j->device, (uint64_t)4096 << i, &buffers[i]);
    if (status == CLF_SUCCESS)
        status = clf_forward(j->plan, &j->args, j->workspace, j->saved, NULL, 0, NULL, &done);
    clf_pool_release(j->device, buffers[0], done);
    buffers[0] = NULL;
    if (done)
        clReleaseEvent(done);
    clf_pool_release(j->device, buffers[1], NULL);
    buffers[1] = NULL;
    if (status == CLF_SUCCESS)
        status = clf_pool_acquire(j->device, 4096, &buffers[4]);
    clf_pool_trim(j->device, 0);
    if (status == CLF_SUCCESS)
        status = clf_pool_acquire(j->device, 8192, &buffers[5]);
    for (int i = 0; i < 6; i++)
        clf_pool_release(j->device, buffers[i], NULL);
    return status;
}

const job_stage job_stages[] = {
    { "opening a device", open_device }, { "building instances", build }, { "allocating tensors", allocate },
    { "writing tensors", fill },         { "planning", plan },            { "forward and backward", run },
    { "reading tensors", read_results }, { "convenience calls", apply },  { "a part with parameters", apply_toy },
    { "preparing", prepare },            { "profiling", profile },        { "growing the pool", grow_pool },
    { NULL, NULL },
};

/* ---- comparing ----------------------------------------------------------------------------------------- */

bool job_agree(const job_results *a, const job_results *b)
{
    const float *x = (const float *)a, *y = (const float *)b;

    for (size_t i = 0; i < sizeof *a / sizeof *x; i++)
        if (!(fabsf(x[i] - y[i]) <= 1e-4f * (1 + fabsf(y[i]))))
            return false;
    return true;
}
