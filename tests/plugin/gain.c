/* The part of the plugins of this folder: out = gain * mean of the values. */
#include <clformers/author.h>

typedef struct gain_config {
    clf_attention_config base;
    float gain;
} gain_config;

static const clf_field gain_fields[] = {
    CLF_ATTENTION_FIELDS(gain_config),
    CLF_FLOAT(gain_config, gain, 2, .doc = "factor"),
    CLF_FIELDS_END
};

static clf_status gain_plan(clf_plan *plan)
{
    cl_kernel *kernel = clf_plan_state(plan, sizeof *kernel);
    return kernel ? clf_plan_kernel(plan, "attention/gain.cl", "", "gain", kernel) : CLF_OUT_OF_HOST_MEMORY;
}

static void bind_tensor(clf_binder *binder, const clf_tensor *tensor)
{
    const int64_t at[4] = { (int64_t)(tensor->offset / 4), tensor->strides[0], tensor->strides[1], tensor->strides[2] };
    clf_bind_mem(binder, tensor->mem);
    clf_bind_value(binder, at, sizeof at);
}

static clf_status gain_forward(clf_run *run)
{
    const clf_args    *args = clf_run_args(run);
    const clf_tensor  *v = &args->io[CLF_QKV_V], *out = &args->io[CLF_QKV_OUT];
    const gain_config *config = clf_plan_config(clf_run_plan(run));
    const cl_kernel   *kernel = clf_plan_state(clf_run_plan(run), 0);
    const cl_int       keys = (cl_int)v->shape[2], heads = (cl_int)v->shape[1];
    const size_t       grid[3] = { (size_t)out->shape[3], (size_t)out->shape[2], (size_t)(out->shape[0] * out->shape[1]) };
    const size_t       group[3] = { 1, 1, 1 };
    clf_binder         binder = clf_bind(*kernel);
    bind_tensor(&binder, v);
    bind_tensor(&binder, out);
    clf_bind_value(&binder, &keys, sizeof keys);
    clf_bind_value(&binder, &heads, sizeof heads);
    clf_bind_value(&binder, &config->gain, sizeof config->gain);
    return clf_launch(run, &binder, 3, grid, group);
}

CLF_REGISTER_ATTENTION(gain) = {
    .summary = "mean of the values, amplified",
    .config = CLF_SCHEMA(gain_config, gain_fields),
    .programs = { "attention/gain.cl" },
    .io = clf_attention_io_qkv,
    .plan = gain_plan,
    .forward = gain_forward,
};
