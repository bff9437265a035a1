/* A part that is nothing but one matrix product: `gemm_problem` is what it plans and runs. */
#ifndef CLF_UNIT_GEMM_PART_H
#define CLF_UNIT_GEMM_PART_H

#include "ops/gemm.h"
#include <string.h>

typedef struct gemm_config {
    clf_attention_config base;
} gemm_config;

static const clf_field gemm_fields[] = { CLF_ATTENTION_FIELDS(gemm_config), CLF_FIELDS_END };

/* A run needs an output: one number that nobody writes. */
static const clf_io gemm_io[] = {
    { "unused", "N", CLF_OUTPUT, CLF_IO_SINGLE, 0, "" }, CLF_IO_END
};

static clf__gemm_problem gemm_problem;

static clf_status gemm_plan(clf_plan *plan)
{
    clf__gemm_choice *choice = clf_plan_state(plan, sizeof *choice);
    return choice ? clf__gemm_plan(plan, &gemm_problem, choice) : CLF_OUT_OF_HOST_MEMORY;
}

static clf_status gemm_forward(clf_run *run)
{
    return clf__gemm(run, clf_plan_state(clf_run_plan(run), 0), &gemm_problem);
}

static const clf_descriptor gemm_descriptor = {
    .summary = "a matrix product", .config = CLF_SCHEMA(gemm_config, gemm_fields), .io = gemm_io, .plan = gemm_plan,
    .forward = gemm_forward,
};
static const clf_component gemm_part = { sizeof(clf_descriptor), CLF_FEEDFORWARD, "gemm", &gemm_descriptor, NULL };

/* Plan, workspace and the unused output; release with gemm_close. */
typedef struct gemm_fixture {
    clf_instance *instance;
    clf_plan     *plan;
    clf_args      args;
    clf_buffer    workspace;
} gemm_fixture;

static void gemm_close(clf_device *device, gemm_fixture *fixture)
{
    clf_plan_release(fixture->plan);
    clf_instance_release(fixture->instance);
    clf_tensor_free(device, &fixture->args.io[0]);
    if (fixture->workspace.mem)
        clf_pool_release(device, fixture->workspace.mem, NULL);
}

/* Plans `problem`, and remembers it for the runs. */
static clf_status gemm_open(clf_device *device, const clf__gemm_problem *problem, gemm_fixture *fixture)
{
    const int64_t one = 1;
    void *config = NULL;
    clf_status status;

    gemm_problem = *problem;
    *fixture = (gemm_fixture){ .args = { .size = sizeof fixture->args } };
    if ((status = clf_config_parse(&gemm_descriptor.config, "{}", NULL, &config)) == CLF_SUCCESS)
        status = clf_instance_create(device, &gemm_part, config, NULL, &fixture->instance);
    clf_config_free(&gemm_descriptor.config, config);
    if (status == CLF_SUCCESS &&
        (status = clf_tensor_alloc(device, CLF_F32, 1, &one, &fixture->args.io[0])) == CLF_SUCCESS)
        status = clf_plan_create(fixture->instance, &fixture->args, NULL, &fixture->plan);
    if (status == CLF_SUCCESS && (fixture->workspace.bytes = clf_plan_get_info(fixture->plan).workspace_bytes) > 0)
        status = clf_pool_acquire(device, fixture->workspace.bytes, &fixture->workspace.mem);
    if (status)
        gemm_close(device, fixture);
    return status;
}

static clf_status gemm_enqueue(gemm_fixture *fixture, cl_event *event)
{
    return clf_forward(fixture->plan, &fixture->args, fixture->workspace, (clf_buffer){ 0 }, NULL, 0, NULL, event);
}

#endif
