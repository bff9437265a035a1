/* A part for the tests of component, plan and registry: out = gain * sum of the values that a query sees.
 * It brings its own kernel source, has parameters and buffers of every initialiser, and counts its calls. */
#ifndef CLF_UNIT_TOY_H
#define CLF_UNIT_TOY_H

#include "device/source.h"
#include <clformers/author.h>
#include <string.h>

typedef struct toy_config {
    clf_attention_config base;
    int landmarks;
    int features;
    int computed; /* by resolve: 1 without a problem, else 100 + keys */
} toy_config;

static const clf_field toy_fields[] = {
    CLF_ATTENTION_FIELDS(toy_config),
    CLF_INT(toy_config, landmarks, 4, .min = 1, .max = 64, .doc = "landmarks"),
    CLF_INT(toy_config, features, 8, .doc = "width of the features; 0 for none"),
    CLF_FIELDS_END
};

static const char toy_text[] =
    "__kernel void toy_sum(__global const float *v, const long4 v_at, __global const uchar *mask,\n"
    "                      const long4 mask_at, __global float *sums, const ulong sums_at, const int4 shape)\n"
    "{ /* grid (E, Q, B*H); shape {H, Q, K, E} */\n"
    "    const int e = get_global_id(0), i = get_global_id(1);\n"
    "    const int b = get_global_id(2) / shape.s0, h = get_global_id(2) % shape.s0;\n"
    "    float sum = 0;\n"
    "    for (int j = 0; j < shape.s2; j++)\n"
    "        if (!mask || mask[b * mask_at.s0 + h * mask_at.s1 + i * mask_at.s2 + j * mask_at.s3])\n"
    "            sum += v[v_at.s0 + b * v_at.s1 + h * v_at.s2 + j * v_at.s3 + e];\n"
    "    sums[sums_at + ((long)get_global_id(2) * shape.s1 + i) * shape.s3 + e] = sum;\n"
    "}\n"
    "__kernel void toy_gain(__global const float *sums, const ulong sums_at, __global const float *gain,\n"
    "                       __global float *out, const long4 out_at, const int4 shape)\n"
    "{\n"
    "    const int e = get_global_id(0), i = get_global_id(1);\n"
    "    const int b = get_global_id(2) / shape.s0, h = get_global_id(2) % shape.s0;\n"
    "    out[out_at.s0 + b * out_at.s1 + h * out_at.s2 + i * out_at.s3 + e] =\n"
    "        gain[0] * sums[sums_at + ((long)get_global_id(2) * shape.s1 + i) * shape.s3 + e];\n"
    "}\n"
    "__kernel void toy_grad_v(__global const float *g, const long4 g_at, __global const uchar *mask,\n"
    "                         const long4 mask_at, __global const float *gain, __global float *grad, const long4 at, const int4 shape)\n"
    "{ /* grid (E, K, B*H) */\n"
    "    const int e = get_global_id(0), j = get_global_id(1);\n"
    "    const int b = get_global_id(2) / shape.s0, h = get_global_id(2) % shape.s0;\n"
    "    float sum = 0;\n"
    "    for (int i = 0; i < shape.s1; i++)\n"
    "        if (!mask || mask[b * mask_at.s0 + h * mask_at.s1 + i * mask_at.s2 + j * mask_at.s3])\n"
    "            sum += g[g_at.s0 + b * g_at.s1 + h * g_at.s2 + i * g_at.s3 + e];\n"
    "    grad[at.s0 + b * at.s1 + h * at.s2 + j * at.s3 + e] = gain[0] * sum;\n"
    "}\n"
    "__kernel void toy_grad_gain(__global const float *g, const long4 g_at, __global const float *sums,\n"
    "                            const ulong sums_at, __global float *grad, const int4 shape, const int items)\n"
    "{\n"
    "    float sum = 0;\n"
    "    for (int n = 0; n < items; n++)\n"
    "        for (int i = 0; i < shape.s1; i++)\n"
    "            for (int e = 0; e < shape.s3; e++)\n"
    "                sum += sums[sums_at + ((long)n * shape.s1 + i) * shape.s3 + e] *\n"
    "                       g[g_at.s0 + n / shape.s0 * g_at.s1 + n % shape.s0 * g_at.s2 + i * g_at.s3 + e];\n"
    "    grad[0] = sum;\n"
    "}\n";
static const struct clf_source toy_sources[] = { { "attention/toy.cl", toy_text }, { NULL, NULL } };

static void one_shape(const void *config, int *rank, int64_t *shape)
{
    (void)config;
    *rank = 1;
    shape[0] = 1;
}

static void weight_shape(const void *config, int *rank, int64_t *shape)
{
    *rank = 2;
    shape[0] = 3;
    shape[1] = ((const toy_config *)config)->landmarks;
}

static void feature_shape(const void *config, int *rank, int64_t *shape)
{
    *rank = ((const toy_config *)config)->features > 0 ? 1 : 0;
    shape[0] = ((const toy_config *)config)->features;
}

static const clf_parameter toy_parameters[] = {
    { "gain", one_shape, CLF_F32, CLF_INIT_OWN, 0, "factor" },
    { "weight", weight_shape, CLF_DTYPE_NONE, CLF_INIT_UNIFORM, 0, "unused" },
    { .name = NULL }
};
static const clf_parameter toy_buffers[] = {
    { "features", feature_shape, CLF_DTYPE_NONE, CLF_INIT_NORMAL, 2, "unused" },
    { "order", weight_shape, CLF_I32, CLF_INIT_OWN, 0, "unused" },
    { .name = NULL }
};

static int toy_fail_initialise;
static clf_status toy_initialise(const void *config, const clf_parameter *what, uint64_t seed, double *data)
{
    (void)seed;
    if (strcmp(what->name, "gain") == 0)
        data[0] = 2;
    else
        for (int i = 0; i < 3 * ((const toy_config *)config)->landmarks; i++)
            data[i] = toy_fail_initialise ? 1e10 : 100 - i;
    return CLF_SUCCESS;
}

static clf_status toy_resolve(void *config, const clf_args *args)
{
    toy_config *c = config;
    c->computed = args ? 100 + (int)args->io[CLF_QKV_K].shape[2] : 1;
    return c->landmarks == 13 ? CLF_UNSUPPORTED : CLF_SUCCESS;
}

typedef struct toy_state {
    cl_kernel sum, gain, grad_v, grad_gain;
    uint64_t  sums; /* bytes into workspace, or into saved when there is a backward pass */
} toy_state;

static int  toy_planned, toy_forwards, toy_backwards, toy_broken_launch;
static clf_args toy_seen; /* what the last plan callback saw */
static bool toy_refuses;

static clf_status toy_plan(clf_plan *plan)
{
    const clf_args *args = clf_plan_args(plan);
    const clf_tensor *out = &args->io[CLF_QKV_OUT];
    const uint64_t bytes = 4 * (uint64_t)clf_tensor_elements(out);
    toy_state *state = clf_plan_state(plan, sizeof *state);
    clf_status status;

    toy_planned++;
    toy_seen = *args;
    if (!state)
        return CLF_OUT_OF_HOST_MEMORY;
    clf_plan_add_reason(plan, "better", "not on this device");
    if (toy_refuses)
        return clf_plan_refuse(plan, "nothing can do %d queries", (int)out->shape[2]);
    clf_plan_set_family(plan, "simple");
    clf_plan_workspace(plan, 100); /* so that the next piece has to be aligned */
    state->sums = clf_plan_passes(plan) & CLF_BACKWARD ? clf_plan_saved(plan, bytes) : clf_plan_workspace(plan, bytes);
    if ((status = clf_plan_kernel(plan, "attention/toy.cl", "", "toy_sum", &state->sum)) ||
        (status = clf_plan_kernel(plan, "attention/toy.cl", "", "toy_gain", &state->gain)) ||
        (status = clf_plan_kernel(plan, "attention/toy.cl", "", "toy_grad_v", &state->grad_v)))
        return status;
    return clf_plan_kernel(plan, "attention/toy.cl", NULL, "toy_grad_gain", &state->grad_gain);
}

static void bind_tensor(clf_binder *binder, const clf_tensor *tensor, size_t size)
{
    const int64_t at[4] = { (int64_t)(tensor->offset / size), tensor->strides[0], tensor->strides[1],
                            tensor->strides[2] };
    clf_bind_mem(binder, tensor->mem);
    clf_bind_value(binder, at, sizeof at);
}

static void bind_mask(clf_binder *binder, const clf_tensor *mask)
{
    clf_bind_mem(binder, mask->mem);
    clf_bind_value(binder, mask->strides, 4 * sizeof mask->strides[0]);
}

static clf_buffer toy_sums(const clf_run *run, cl_ulong *at)
{
    clf_plan *plan = clf_run_plan(run);
    const toy_state *state = clf_plan_state(plan, 0);
    const clf_buffer buffer = clf_plan_passes(plan) & CLF_BACKWARD ? clf_run_saved(run) : clf_run_workspace(run);
    *at = (buffer.offset + state->sums) / 4;
    return buffer;
}

static clf_status toy_forward(clf_run *run)
{
    const clf_args *args = clf_run_args(run);
    const toy_state *state = clf_plan_state(clf_run_plan(run), 0);
    const clf_tensor *out = &args->io[CLF_QKV_OUT], *v = &args->io[CLF_QKV_V];
    const cl_int shape[4] = { (cl_int)out->shape[1], (cl_int)out->shape[2], (cl_int)v->shape[2],
                              (cl_int)out->shape[3] };
    const size_t grid[3] = { (size_t)out->shape[3], (size_t)out->shape[2], (size_t)(out->shape[0] * out->shape[1]) };
    clf_tensor gain;
    cl_ulong at;
    const clf_buffer sums = toy_sums(run, &at);
    clf_status status = clf_instance_parameter(clf_plan_instance(clf_run_plan(run)), "gain", &gain);

    toy_forwards++;
    clf_binder binder = clf_bind(state->sum);
    bind_tensor(&binder, v, 4);
    bind_mask(&binder, &args->io[CLF_QKV_ATT_MASK]);
    clf_bind_mem(&binder, sums.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_value(&binder, shape, sizeof shape);
    if (status || (status = clf_launch(run, &binder, 3, grid, NULL)))
        return status;
    binder = clf_bind(state->gain);
    clf_bind_mem(&binder, sums.mem);
    clf_bind_value(&binder, &at, toy_broken_launch == 1 ? 3 : sizeof at);
    clf_bind_mem(&binder, gain.mem);
    bind_tensor(&binder, out, 4);
    clf_bind_value(&binder, shape, sizeof shape);
    const size_t local[3] = { 4096, 4096, 64 };
    return clf_launch(run, &binder, 3, grid, toy_broken_launch == 2 ? local : NULL);
}

static clf_status toy_backward(clf_run *run)
{
    const clf_args *args = clf_run_args(run);
    clf_instance *instance = clf_plan_instance(clf_run_plan(run));
    const toy_state *state = clf_plan_state(clf_run_plan(run), 0);
    const clf_tensor *g = &args->grad[CLF_QKV_OUT], *grad_v = &args->grad[CLF_QKV_V], *v = &args->io[CLF_QKV_V];
    const cl_int shape[4] = { (cl_int)g->shape[1], (cl_int)g->shape[2], (cl_int)v->shape[2], (cl_int)g->shape[3] };
    const cl_int items = (cl_int)(g->shape[0] * g->shape[1]);
    const size_t grid[3] = { (size_t)v->shape[3], (size_t)v->shape[2], (size_t)items }, one = 1;
    clf_tensor gain, grad_gain;
    cl_ulong at;
    const clf_buffer sums = toy_sums(run, &at);
    clf_status status;

    toy_backwards++;
    if ((status = clf_instance_parameter(instance, "gain", &gain)) ||
        (status = clf_instance_gradient(instance, "gain", &grad_gain)))
        return status;
    clf_binder binder = clf_bind(state->grad_v);
    bind_tensor(&binder, g, 4);
    bind_mask(&binder, &args->io[CLF_QKV_ATT_MASK]);
    clf_bind_mem(&binder, gain.mem);
    bind_tensor(&binder, grad_v, 4);
    clf_bind_value(&binder, shape, sizeof shape);
    if (grad_v->rank && (status = clf_launch(run, &binder, 3, grid, NULL)))
        return status;
    binder = clf_bind(state->grad_gain);
    bind_tensor(&binder, g, 4);
    clf_bind_mem(&binder, sums.mem);
    clf_bind_value(&binder, &at, sizeof at);
    clf_bind_mem(&binder, grad_gain.mem);
    clf_bind_value(&binder, shape, sizeof shape);
    clf_bind_value(&binder, &items, sizeof items);
    return clf_launch(run, &binder, 1, &one, NULL);
}

#define TOY_DESCRIPTOR(traits_)                                                                              \
    {                                                                                                        \
        .summary = "sums of values | for tests", .paper = "nobody 2020", .config = CLF_SCHEMA(toy_config, toy_fields), \
        .programs = { "attention/toy.cl" }, .io = clf_attention_io_qkv, .traits = (traits_),                 \
        .parameters = toy_parameters, .buffers = toy_buffers, .resolve = toy_resolve,                        \
        .initialise = toy_initialise, .plan = toy_plan, .forward = toy_forward, .backward = toy_backward,    \
    }

enum { TOY_TRAITS = CLF_TRAIT_CAUSAL | CLF_TRAIT_ATTENTION_MASK | CLF_TRAIT_KEY_PADDING_MASK | CLF_TRAIT_CROSS |
                    CLF_TRAIT_VALUE_WIDTH | CLF_TRAIT_DROPOUT | CLF_TRAIT_LSE | CLF_TRAIT_LOW_PRECISION };

static const clf_descriptor toy_descriptor = TOY_DESCRIPTOR(TOY_TRAITS);
static const clf_descriptor bare_descriptor = TOY_DESCRIPTOR(0);
static const clf_descriptor square_descriptor = TOY_DESCRIPTOR(CLF_TRAIT_SQUARE_SEQUENCE);
static const clf_component toy = { sizeof(clf_descriptor), CLF_ATTENTION, "toy", &toy_descriptor, toy_sources };
static const clf_component bare = { sizeof(clf_descriptor), CLF_ATTENTION, "bare", &bare_descriptor, toy_sources };
static const clf_component square = { sizeof(clf_descriptor), CLF_ATTENTION, "square", &square_descriptor,
                                      toy_sources };

static inline clf_status toy_instance(clf_device *device, const clf_component *component, const char *json,
                                      const clf_instance_options *options, clf_instance **instance)
{
    void *config = NULL;
    clf_status status = clf_config_parse(&component->descriptor->config, json, NULL, &config);
    *instance = NULL;
    if (status == CLF_SUCCESS)
        status = clf_instance_create(device, component, config, options, instance);
    clf_config_free(&component->descriptor->config, config);
    return status;
}

/* A description in f32 unless changed afterwards. */
static inline clf_tensor shape4(int64_t b, int64_t h, int64_t n, int64_t d)
{
    return clf_tensor_view(NULL, CLF_F32, 4, (const int64_t[]){ b, h, n, d });
}

static inline clf_args toy_args(int64_t b, int64_t h, int64_t q, int64_t k, int64_t d, int64_t e)
{
    clf_args args = { .size = sizeof args };
    args.io[CLF_QKV_Q] = shape4(b, h, q, d);
    args.io[CLF_QKV_K] = shape4(b, h, k, d);
    args.io[CLF_QKV_V] = shape4(b, h, k, e);
    args.io[CLF_QKV_OUT] = shape4(b, h, q, e);
    return args;
}

static inline void toy_unused(void)
{
    (void)square;
    (void)bare;
    (void)toy;
    (void)toy_instance;
}

#endif
