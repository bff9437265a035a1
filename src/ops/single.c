/* Between f32 and the storage type. */
#include "ops/single.h"
#include "component/plan.h"
#include "component/random.h"
#include "ops/lanes.h"

clf_status clf__single_plan(clf_plan *plan, int lanes, clf_dtype storage, clf__single *single)
{
    char options[CLF__LANES_OPTIONS];
    clf_status status;

    *single = (clf__single){ .lanes = lanes };
    clf__lanes_options(lanes, storage, "", options, sizeof options);
    status = clf__plan_kernel(plan, "ops/single.cl", options, "clf_single_widen", &single->widen);
    return status ? status : clf__plan_kernel(plan, "ops/single.cl", options, "clf_single_narrow", &single->narrow);
}

void clf__single_bind(clf_binder *binder, const clf_tensor *tensor)
{
    const cl_long4 nowhere = { { 0 } };

    if (tensor->rank > 0) {
        clf__lanes_bind(binder, tensor);
        return;
    }
    clf_bind_mem(binder, NULL);
    clf_bind_value(binder, &nowhere, sizeof nowhere);
}

void clf__single_bind_shape(clf_binder *binder, const clf_tensor *tensor, int64_t last)
{
    const cl_int4 shape = { { (cl_int)tensor->shape[1], (cl_int)tensor->shape[2], (cl_int)tensor->shape[3],
                              (cl_int)last } };
    clf_bind_value(binder, &shape, sizeof shape);
}

void clf__single_bind_dropout(clf_binder *binder, const clf_args *args, float dropout)
{
    const cl_float scale = dropout < 1 ? 1 / (1 - dropout) : 0;
    const cl_uint8 random = { { (cl_uint)args->seed, (cl_uint)(args->seed >> 32), (cl_uint)args->offset,
                                (cl_uint)(args->offset >> 32), clf__dropout_threshold(dropout), dropout > 0 } };

    clf_bind_value(binder, &scale, sizeof scale);
    clf_bind_value(binder, &random, sizeof random);
}

clf_status clf__single_launch(clf_run *run, clf_binder *binder, int lanes, const clf_tensor *tensor)
{
    return clf__lanes_launch(run, binder, lanes, tensor->shape[0] * tensor->shape[1] * tensor->shape[2] *
                                                     clf__lanes_blocks(lanes, tensor->shape[3]));
}

clf_status clf__single_widen(clf_run *run, const clf__single *single, const clf_tensor *from, const clf_tensor *keep,
                             const clf_tensor *to, float dropout)
{
    clf_binder binder = clf_bind(single->widen);

    clf__single_bind(&binder, from);
    clf__single_bind(&binder, keep);
    clf__single_bind(&binder, to);
    clf__single_bind_shape(&binder, to, 0);
    clf__single_bind_dropout(&binder, clf_run_args(run), dropout);
    return clf__single_launch(run, &binder, single->lanes, to);
}

clf_status clf__single_narrow(clf_run *run, const clf__single *single, const clf_tensor *from, const clf_tensor *to,
                              float dropout)
{
    clf_binder binder = clf_bind(single->narrow);

    clf__single_bind(&binder, from);
    clf__single_bind(&binder, to);
    clf__single_bind_shape(&binder, to, 0);
    clf__single_bind_dropout(&binder, clf_run_args(run), dropout);
    return clf__single_launch(run, &binder, single->lanes, to);
}
